"""Marks of methods: AUROC and error rates, with intervals over programs.

A method's scores are compared where the answer is yes with those where it is no. Questions about
one program's networks depend on each other, so programs are resampled, with the seeds of their
disguises, and not questions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.studies.bootstrap import estimate, estimate_over_clusters, ratio, ratio_columns
from jaxmi.studies.study import Finding

ALL = "all"
"""In the place of a site or a group: all of them."""

CHOSEN = "chosen on other programs"
"""How a threshold was had that is not the method's own."""


@dataclass(frozen=True)
class Answer:
    """What a method answered to one question, and the truth."""

    method: str
    kind: str
    site: str
    group: str
    """The plants that the question is from: compiled, or trained."""
    program: str
    """The program that the network is of: questions of one program are resampled together."""
    negative: str
    """Why the answer is no; "" if it is yes."""
    pair: int
    """Of explanations: the two with the same number are compared."""
    truth: tuple[bool, ...]
    """One of a variable or an explanation; of neurons one for each candidate."""
    scores: tuple[float, ...]
    """As many as `truth`."""
    seconds: float
    """Process time."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Answer":
        """Return what `to_json` wrote."""
        return cls(**{**values, "truth": tuple(values["truth"]), "scores": tuple(values["scores"])})


class Split(NamedTuple):
    """Scores with their truth and their programs."""

    truth: Bool[np.ndarray, "n"]
    scores: Float[np.ndarray, "n"]
    programs: Int[np.ndarray, "n"]
    """The number of each one's program."""
    n_programs: int


def split(answers: Sequence[Answer]) -> Split:
    """Put answers side by side, those about neurons neuron by neuron."""
    names = sorted({one.program for one in answers})
    sizes = [len(one.truth) for one in answers]
    return Split(
        np.array([value for one in answers for value in one.truth], bool),
        np.array([value for one in answers for value in one.scores], np.float64),
        np.repeat([names.index(one.program) for one in answers], sizes).astype(int),
        len(names),
    )


def auroc(truth: Bool[np.ndarray, "n"], scores: Float[np.ndarray, "n"]) -> float:
    """Return how often a score where the answer is yes exceeds one where it is no; ties half."""
    ones, zeros = scores[truth], scores[~truth]
    above = (ones[:, None] > zeros).mean() + 0.5 * (ones[:, None] == zeros).mean()
    return float(above)


def estimate_auroc(description: str, of: Split) -> Finding:
    """Return the AUROC, with its interval over resampled programs."""
    of_program = np.eye(of.n_programs)[of.programs]
    ones, zeros = of_program[of.truth], of_program[~of.truth]
    yes, no = of.scores[of.truth][:, None], of.scores[~of.truth]
    wins = (yes > no) + 0.5 * (yes == no)
    return estimate_over_clusters(
        description, ones.T @ wins @ zeros, np.outer(ones.sum(axis=0), zeros.sum(axis=0))
    )


def best_threshold(of: Split) -> float:
    """Return the threshold with the fewest errors, as the mean of both rates.

    It lies midway between two scores; of equally good ones it is the middle one.
    """
    levels = np.unique(of.scores)
    between = np.concatenate([[levels[0]], (levels[1:] + levels[:-1]) / 2, [levels[-1] + 1.0]])
    missed = (of.scores[of.truth] < between[:, None]).mean(axis=1)
    false = (of.scores[~of.truth] >= between[:, None]).mean(axis=1)
    best = np.flatnonzero(missed + false == (missed + false).min())
    return float(between[best[len(best) // 2]])


def estimate_errors(of: Split, threshold: float) -> tuple[Finding, Finding]:
    """Return the shares of false and of missed answers, with intervals over programs.

    A score from the threshold on is a yes.
    """
    yes = of.scores >= threshold
    return (
        _share("share of the wrong that get a yes", of, yes[~of.truth], ~of.truth),
        _share("share of the right that get a no", of, ~yes[of.truth], of.truth),
    )


def _share(
    description: str, of: Split, errors: Bool[np.ndarray, "k"], where: Bool[np.ndarray, "n"]
) -> Finding:
    # Programs without such questions are left out, so that no resample is without any.
    programs = np.unique(of.programs[where], return_inverse=True)[1]
    wrong = np.bincount(programs, errors)
    return estimate(description, ratio_columns(wrong, np.bincount(programs)), ratio)


def mark(
    answers: Sequence[Answer], chosen: Sequence[Answer], own_threshold: float | None = None
) -> dict[str, Any] | None:
    """Return the mark of one method on questions of one kind, as JSON types.

    Args:
      answers: Those that are reported.
      chosen: The answers to the choosing seeds' questions; the threshold is chosen on these.
      own_threshold: The method's own, which is taken instead.

    Returns:
      None if there is no right or no wrong answer to give. Of neurons the AUROC is the mean over
      questions, and scores are in units of the question's largest; of explanations `right` is the
      share of pairs in which the right one has the larger score, ties half.
    """
    kind = answers[0].kind if answers else ""
    if kind == "neurons":
        answers, chosen = _scaled(answers), _scaled(chosen)
    of = split(answers)
    if of.truth.all() or not of.truth.any():
        return None
    found: dict[str, Any] = {"n_right": int(of.truth.sum()), "n_wrong": int((~of.truth).sum())}
    found["questions"], found["programs"] = len(answers), of.n_programs
    if kind == "neurons":
        found["auroc"] = _of_questions(answers, of.n_programs)
    else:
        found["auroc"] = _interval(estimate_auroc("AUROC", of))
    if kind == "explanation":
        found["right"] = _of_pairs(answers)
    threshold, by = own_threshold, "the method's own"
    if threshold is None:
        before = split(chosen)
        if not before.truth.any() or before.truth.all():
            return found
        threshold, by = best_threshold(before), CHOSEN
    false, missed = estimate_errors(of, threshold)
    found |= {"threshold": threshold, "threshold_is": by}
    return found | {"false_yes": _interval(false), "missed": _interval(missed)}


def _scaled(answers: Iterable[Answer]) -> list[Answer]:
    """Return answers about neurons with each question's scores in units of its largest."""
    found = []
    for one in answers:
        top = max(max(one.scores), 0.0) or 1.0
        scores = tuple(score / top for score in one.scores)
        found.append(Answer(**{**vars(one), "scores": scores}))
    return found


def _of_questions(answers: Sequence[Answer], n_programs: int) -> dict[str, float | None]:
    names = sorted({one.program for one in answers})
    sums = np.zeros((n_programs, 2))
    for one in answers:
        value = auroc(np.array(one.truth), np.array(one.scores))
        sums[names.index(one.program)] += value, 1
    return _interval(estimate("mean AUROC of a question", sums, ratio))


def _of_pairs(answers: Sequence[Answer]) -> dict[str, float | None]:
    names = sorted({one.program for one in answers})
    sums = np.zeros((len(names), 2))
    pairs: dict[tuple[str, int], dict[bool, list[float]]] = {}
    for one in answers:
        there = pairs.setdefault((one.program, one.pair), {})
        there.setdefault(one.truth[0], []).append(one.scores[0])
    for (program, _), both in pairs.items():
        (right,), (wrong,) = both[True], both[False]
        sums[names.index(program)] += (right > wrong) + 0.5 * (right == wrong), 1
    return _interval(estimate("share of pairs told right", sums, ratio))


def _interval(finding: Finding) -> dict[str, float | None]:
    """Return a value and the ends of its interval, which one program does not have."""
    known = finding.n > 1
    return {
        "value": finding.value,
        "low": finding.low if known else None,
        "high": finding.high if known else None,
    }
