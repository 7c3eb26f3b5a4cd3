"""Methods asked: each score is checked, and its time taken."""

import time
from collections.abc import Sequence

import numpy as np

from jaxmi.errors import InputError
from jaxmi.methods.asking import Marked
from jaxmi.methods.marks import Answer
from jaxmi.methods.questions import Method, NeuronsQuestion


def answer(
    name: str, method: Method, questions: Sequence[Marked], group: str, program: str
) -> list[Answer]:
    """Ask a method all questions; those that it has no answer to are left out.

    Args:
      name: The method's name, for messages and results.
      method: The method.
      questions: The questions, with their truth.
      group: The plants that they are about.
      program: The program that the plants are of.

    Raises:
      InputError: if the method raises, or a score is not what it should be; names the method and
        the question.
    """
    found = []
    for one in questions:
        view = one.planted.view
        _ = view.difference, view.active, view.contributions  # all methods share these
        start = time.process_time()
        try:
            score = method(view, one.question)
        except (Exception, SystemExit) as error:  # a user's method may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"method {name}: {one.text} ({program}): {reason}") from error
        seconds = time.process_time() - start
        if score is None:
            continue
        try:
            truth, scores = _checked(one, score)
        except InputError as error:
            raise InputError(f"method {name}: {one.text} ({program}): {error}") from None
        found.append(
            Answer(
                method=name,
                kind=one.kind,
                site=one.site,
                group=group,
                program=program,
                negative=one.negative,
                pair=one.pair,
                truth=truth,
                scores=scores,
                seconds=seconds,
            )
        )
    return found


def _checked(one: Marked, score: object) -> tuple[tuple[bool, ...], tuple[float, ...]]:
    """Return the truth and the scores, of neurons those of the candidates."""
    try:
        numbers = np.asarray(score)
    except Exception as error:  # a list of lists of different lengths, say
        raise InputError(f"{_shown(score)} is no score: {error}") from error
    if numbers.dtype.kind not in "fiub":
        raise InputError(f"{_shown(score)} is no score: expected {_expected(one)}")
    if isinstance(one.question, NeuronsQuestion):
        n = len(one.question.candidates)
        if numbers.shape != (n,):
            raise InputError(f"scores of shape {numbers.shape}: expected {_expected(one)}")
        assert isinstance(one.truth, np.ndarray)
        truth, numbers = one.truth[one.question.candidates], numbers[one.question.candidates]
    else:
        if numbers.shape != ():
            raise InputError(f"a score of shape {numbers.shape}: expected {_expected(one)}")
        truth, numbers = np.array([bool(one.truth)]), numbers.reshape(1)
    if not np.isfinite(numbers).all():
        raise InputError(f"{_shown(score)} is no score: expected finite numbers")
    return tuple(map(bool, truth)), tuple(map(float, numbers))


def _expected(one: Marked) -> str:
    if isinstance(one.question, NeuronsQuestion):
        return f"{len(one.question.candidates)} numbers, one for each neuron, or None"
    return "a number, or None"


def _shown(score: object) -> str:
    text = " ".join(repr(score).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
