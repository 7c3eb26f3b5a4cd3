"""Submissions read and judged, from files to files: one, a ranking of many, a duel of two.

JAX is imported only once a submission has been read: a text that is no program is refused at once.
"""

import logging
import math
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmi.challenges.definition import is_challenge_folder
from jaxmi.drawing import try_to_save
from jaxmi.errors import InputError
from jaxmi.files import check_regular_file, takes_any_path, write_text
from jaxmi.programs import language as lang
from jaxmi.programs.domain import NUMBER_DOMAINS, Domain, ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import KIND_OF
from jaxmi.programs.parse import parse
from jaxmi.sealed import NETWORK
from jaxmi.storage.atomic import atomic_files, check_files
from jaxmi.workflows.label_tables import hint_if_transposed
from jaxmi.workflows.submissions import (
    EXPLANATION,
    Against,
    Submission,
    find_domain,
    find_submissions,
    path_or_text,
    printable,
    read_kind,
    read_submission,
)

if TYPE_CHECKING:
    from jaxmi.challenges.challenge import Challenge
    from jaxmi.challenges.registry import Origin
    from jaxmi.judge.duel_score import Duel
    from jaxmi.judge.explanation_score import ExplanationScore
    from jaxmi.judge.score import Reference, Score
    from jaxmi.judge.submission import Explanation
    from jaxmi.types import Params

logger = logging.getLogger(__name__)


SCORE, MAP, RANKING, RANKING_TABLE = "score.json", "differences.png", "ranking.json", "ranking.md"
DUEL = "duel.json"

REGIONS = 10
"""How many of the regions where labels differ are named."""


@takes_any_path
def score_file(path: Path, against: Against, out: Path | None, force: bool) -> dict[str, Any]:
    """Judge one program or table of labels.

    Args:
      path: The submission.
      against: What it is judged by.
      out: A folder to write the result to, and a map of where labels differ.
      force: Replace files that exist.

    Returns:
      What `jaxmi score --json` prints.

    Raises:
      InputError: if something cannot be used; of a program, with line and column.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if out is not None:
        check_files(out, (SCORE, MAP), force)
    kind = read_kind(against.challenge)
    load = partial(load_domain, against.challenge, against.data_dir)
    submission = read_submission(path, kind, load)

    from jaxmi.workflows.references import load_reference

    reference = load_reference(against)
    score, result = _score(submission, reference, against)
    if out is not None:
        from jaxmi.report.scores import difference_figure
        from jaxmi.storage.checkpoints import write_json

        drawing = partial(difference_figure, reference, score, submission.rows, submission.name)
        with atomic_files(out) as folder:
            write_json(folder / SCORE, result)
            has_map = try_to_save(folder / MAP, drawing, dpi=110)
        result["files"] = [str(out / name) for name in (SCORE, *([MAP] if has_map else []))]
    return result


@takes_any_path
def rank_folder(path: Path, against: Against, out: Path | None, force: bool) -> dict[str, Any]:
    """Rank all programs and tables in a folder; list those that cannot be used.

    Args:
      path: The folder.
      against: What they are judged by.
      out: A folder to write the ranking to, as JSON and Markdown.
      force: Replace files that exist.

    Returns:
      What `jaxmi score --json` prints: "ranking", best first, and "refused".

    Raises:
      InputError: if the folder holds no submission, or none that can be used.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if out is not None:
        check_files(out, (RANKING, RANKING_TABLE), force)
    kind = read_kind(against.challenge)
    load = cache(partial(load_domain, against.challenge, against.data_dir))
    read: list[Submission] = []
    refused: dict[str, str] = {}
    for file in find_submissions(path):
        try:
            read.append(read_submission(file, kind, load))
        except InputError as error:
            refused[printable(file.name)] = printable(str(error))
            logger.info(f"refused: {printable(str(error))}")
    if not read:
        raise InputError(f"{path} holds no submission that can be judged")

    from jaxmi.workflows.references import load_reference

    reference = load_reference(against)
    ranking = sorted((_score(one, reference, against)[1] for one in read), key=_merit)
    result = {"challenge": against.challenge, "ranking": ranking, "refused": refused}
    return written_ranking(result, out)


@takes_any_path
def score_explanation(
    path: Path, against: Against, out: Path | None, force: bool
) -> dict[str, Any]:
    """Judge an explanation of a network.

    Args:
      path: The JSON file.
      against: The challenge and the network.
      out: A folder to write the result to.
      force: Replace files that exist.

    Returns:
      What `jaxmi score --json` prints.

    Raises:
      InputError: if something cannot be used; names the place in the submission.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    from jaxmi.judge.judge_explanation import judge_explanation
    from jaxmi.workflows.references import find_origin, load_judged_network

    if out is not None:
        check_files(out, (SCORE,), force)
    explanation = explanation_from(path, *find_origin(against.challenge))
    score = judge_explanation(explanation, *load_judged_network(against))
    result = {"submission": path.name, "checkpoint": judged_folder(against), **score.metrics()}
    result["table"] = score.rows()
    return written(result, SCORE, out)


@takes_any_path
def score_duel(
    path: Path, other: Path, against: Against, out: Path | None, force: bool
) -> dict[str, Any]:
    """Compare two explanations of one network.

    Args:
      path: The JSON file of one.
      other: That of the other.
      against: The challenge and the network.
      out: A folder to write the result to.
      force: Replace files that exist.

    Returns:
      What `jaxmi score --against --json` prints.

    Raises:
      InputError: if something cannot be used; names the submission, and the place in it.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if out is not None:
        check_files(out, (DUEL,), force)
    _check_two(path, other)

    from jaxmi.workflows.references import find_origin, load_judged_network

    name, known = find_origin(against.challenge)
    read = (explanation_from(path, name, known), explanation_from(other, name, known))
    duel = _duel((path, other), read, *load_judged_network(against))
    result = {"checkpoint": judged_folder(against), **duel.metrics()}
    result |= {"table": duel.rows(), "exchange_table": duel.exchange_rows()}
    return written(result, DUEL, out)


@takes_any_path
def judge_duel(path: Path, other: Path, challenge: "Challenge", params: "Params") -> "Duel":
    """Compare two explanations without writing anything.

    Args:
      path: The JSON file of one.
      other: That of the other.
      challenge: The challenge whose network they are about.
      params: The network's parameters.

    Raises:
      InputError: as `score_duel`.
    """
    from jaxmi.challenges.registry import Origin

    _check_two(path, other)
    known = Origin(challenge.kind, challenge.model)
    read = (
        explanation_from(path, challenge.name, known),
        explanation_from(other, challenge.name, known),
    )
    return _duel((path, other), read, challenge, params)


def _check_two(path: Path, other: Path) -> None:
    """Check that two files may be explanations, and are not the same.

    Raises:
      InputError: if they are not.
    """
    for file in (path, other):
        if file.suffix != EXPLANATION:
            what = "a folder" if file.is_dir() else "not one"
            raise InputError(
                f"{file} is {what}: --against compares two explanations, which end in {EXPLANATION}"
            )
        check_regular_file(file)
    if path.exists() and other.exists() and path.samefile(other):
        raise InputError(f"--against {other}: the same file as {path}; name another explanation")


@takes_any_path
def explanation_from(path: Path, name: str, known: "Origin") -> "Explanation":
    """Read an explanation; errors name the file.

    Raises:
      InputError: if it cannot be used.
    """
    from jaxmi.judge.submission import read_explanation

    try:
        return read_explanation(path, name, known)
    except InputError as error:
        named = str(error).startswith(str(path))
        raise error if named else InputError(f"{path}: {error}") from error


def _duel(
    paths: tuple[Path, Path],
    explanations: "tuple[Explanation, Explanation]",
    challenge: "Challenge",
    params: "Params",
) -> "Duel":
    from jaxmi.judge.duel import duel_explanations

    one, other = paths
    short = printable(one.name), printable(other.name)
    names = short if short[0] != short[1] else (printable(str(one)), printable(str(other)))
    return duel_explanations(explanations, names, challenge, params)


@takes_any_path
def written(result: dict[str, Any], name: str, out: Path | None) -> dict[str, Any]:
    """Write a result of explanations into a folder, if there is one; return it with its file."""
    from jaxmi.storage.checkpoints import write_json

    if out is None:
        return result
    with atomic_files(out) as folder:
        write_json(folder / name, result)
    return {**result, "files": [str(out / name)]}


@takes_any_path
def written_ranking(result: dict[str, Any], out: Path | None) -> dict[str, Any]:
    """Write a ranking into a folder, if there is one, and its table; return it with its files."""
    from jaxmi.report.scores import ranking_markdown
    from jaxmi.storage.checkpoints import write_json

    if out is None:
        return result
    with atomic_files(out) as folder:
        write_json(folder / RANKING, result)
        write_text(folder / RANKING_TABLE, ranking_markdown(result))
    return {**result, "files": [str(out / RANKING), str(out / RANKING_TABLE)]}


@takes_any_path
def judge_submission(
    submission: "str | lang.Program | np.ndarray | Path",
    challenge: "Challenge",
    params: "Params | None" = None,
    truth_known: bool = True,
    stated: Mapping[str, int] | None = None,
) -> "Score | ExplanationScore":
    """Judge one submission without writing anything.

    Args:
      submission: A program or its text, labels of the whole domain, or a file of any of these or of
        an explanation. A text that ends like the name of such a file is one.
      challenge: Inputs, splits and labels.
      params: The network to compare with, or that an explanation is about.
      truth_known: Whether the challenge's labels are the true ones.
      stated: A sealed challenge's counts: split name, or "domain" -> on how many inputs its network
        is right.

    Raises:
      InputError: if the submission cannot be used; for a program with line and column.
    """
    from jaxmi.challenges.registry import Origin
    from jaxmi.judge.judge_explanation import judge_explanation
    from jaxmi.judge.score import Reference

    submission = path_or_text(submission)
    if isinstance(submission, Path) and submission.suffix == EXPLANATION:
        if params is None:
            raise InputError(f"{submission} explains a network: give the network, too")
        known = Origin(challenge.kind, challenge.model)
        explanation = explanation_from(submission, challenge.name, known)
        return judge_explanation(explanation, challenge, params)
    domain, rows = challenge.program_domain, slice(None)
    if isinstance(submission, Path):
        file = read_submission(submission, challenge.kind, lambda: domain)
        labels, rows = file.labels, file.rows
    elif isinstance(submission, np.ndarray):
        labels = submission.reshape(-1).astype(np.int32)
    else:
        program = parse(submission, challenge.kind) if isinstance(submission, str) else submission
        labels = label(program, domain)
    reference = Reference(
        challenge,
        truth=challenge.labels if truth_known else None,
        network=None if params is None else challenge.predict(params),
        stated=stated or {},
    )
    return reference.score(labels, rows)


@takes_any_path
def load_domain(challenge: str, data_dir: Path | None) -> Domain:
    """Return the inputs that a challenge's programs label.

    Args:
      challenge: A challenge's name or its folder.
      data_dir: A folder with the images, for images; None looks in the cache, then downloads.

    Raises:
      InputError: if there is no such challenge.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    from jaxmi.challenges.images import load_images

    kind, domain = find_domain(challenge)
    if kind in NUMBER_DOMAINS:
        numbers = NUMBER_DOMAINS[kind]
        return numbers(domain["p"]) if "p" in domain else numbers()
    mnist = load_images(domain, data_dir)
    return ImageDomain(mnist.images, mnist.images[: mnist.n_train])


def _score(
    submission: Submission, reference: "Reference", against: Against
) -> tuple["Score", dict[str, Any]]:
    score = reference.score(submission.labels, submission.rows)
    grid, known = reference.challenge.grid, reference.truth
    known = reference.network if known is None else known
    if submission.program is None and grid is not None and known is not None:
        hint_if_transposed(submission.labels, known, grid, submission.name)
    differences = reference.differences(score, submission.rows)
    return score, {
        **submission.about(),
        "challenge": against.challenge,
        "checkpoint": judged_folder(against),
        "judged": len(submission.labels),
        **score.metrics(),
        "as_stated": score.as_stated,
        "differences": {
            name: {
                "inputs": sum(region.differing for region in regions),
                "regions": len(regions),
                "largest": [region._asdict() for region in regions[:REGIONS]],
            }
            for name, regions in differences.items()
        },
        "verdict": score.verdict,
    }


def judged_folder(against: Against) -> str | None:
    """Return the folder of the network that is judged, if there is one."""
    folder = Path(against.challenge)
    if against.challenge not in KIND_OF and not is_challenge_folder(folder):
        return str(folder / NETWORK)
    return None if against.checkpoint is None else str(against.checkpoint)


def _merit(result: Mapping[str, Any]) -> tuple[int | float, ...]:
    """Return the sort key of a ranking; the best submission has the least.

    Submissions are ranked by agreement with the true labels, then with the network, then by length.
    While the true labels are sealed: by whether the counts are the stated ones, then by the
    distance between agreement with the network and the stated agreement, then by length.
    """
    length = result["description_length"]
    brevity = math.inf if length is None else length
    if result["agreement_truth"] is None and result["network_truth"] is not None:
        far = abs(result["agreement_network"] - result["network_truth"])
        return not result["as_stated"], far, brevity
    figures = (result["agreement_truth"], result["agreement_network"])
    return (*(-(share or 0.0) for share in figures), brevity)
