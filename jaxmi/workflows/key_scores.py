"""Explanations of a sealed mechanism scored against its key, from files to files: one, or many."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxmi.errors import InputError
from jaxmi.files import takes_any_path
from jaxmi.storage.atomic import check_files
from jaxmi.workflows.score import (
    RANKING,
    RANKING_TABLE,
    SCORE,
    explanation_from,
    judged_folder,
    written,
    written_ranking,
)
from jaxmi.workflows.submissions import EXPLANATION, Against, find_explanations, printable

if TYPE_CHECKING:
    from jaxmi.judge.key_score import KeyScore
    from jaxmi.sealed.read import Bundle, Opened

logger = logging.getLogger(__name__)


@takes_any_path
def score_by_key(path: Path, against: Against, out: Path | None, force: bool) -> dict[str, Any]:
    """Score one explanation against the key of a sealed mechanism.

    Args:
      path: The JSON file.
      against: The challenge, and its key.
      out: A folder to write the result to.
      force: Replace files that exist.

    Returns:
      What `jaxmi score --answer --json` prints.

    Raises:
      InputError: if something cannot be used; names the place in the submission.
    """
    if path.suffix != EXPLANATION:
        raise InputError(
            f"{path}: the key of a mechanism scores explanations ({EXPLANATION}), not programs or "
            "labels"
        )
    if out is not None:
        check_files(out, (SCORE,), force)
    bundle, opened = _open(against)
    score = _score(path, bundle, opened)
    result = {"submission": printable(path.name), "checkpoint": judged_folder(against)}
    return written({**result, **score.metrics(), "table": score.table()}, SCORE, out)


@takes_any_path
def rank_by_key(path: Path, against: Against, out: Path | None, force: bool) -> dict[str, Any]:
    """Rank all explanations in a folder; list those that cannot be used.

    Args:
      path: The folder.
      against: The challenge, and its key.
      out: A folder to write the ranking to, as JSON and Markdown.
      force: Replace files that exist.

    Returns:
      What `jaxmi score --answer --json` prints: "ranking", best first, and "refused".

    Raises:
      InputError: if the folder holds no explanation, or none that can be used.
    """
    if out is not None:
        check_files(out, (RANKING, RANKING_TABLE), force)
    files = find_explanations(path)
    bundle, opened = _open(against)
    ranking: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for file in files:
        try:
            score = _score(file, bundle, opened)
        except InputError as error:
            refused[printable(file.name)] = printable(str(error))
            logger.info(f"refused: {printable(str(error))}")
        else:
            ranking.append({"submission": printable(file.name), **score.metrics()})
    if not ranking:
        raise InputError(f"{path} holds no explanation that can be scored")
    ranking.sort(key=lambda entry: -entry["total"])
    result = {"challenge": against.challenge, "ranking": ranking, "refused": refused}
    return written_ranking(result, out)


def _open(against: Against) -> "tuple[Bundle, Opened]":
    from jaxmi.sealed.read import open_bundle, read_bundle

    assert against.answer is not None
    if against.checkpoint is not None:
        raise InputError(
            f"--checkpoint {against.checkpoint}: a sealed challenge has a network of its own"
        )
    bundle = read_bundle(Path(against.challenge))
    return bundle, open_bundle(bundle, against.answer, against.data_dir)


def _score(path: Path, bundle: "Bundle", opened: "Opened") -> "KeyScore":
    from jaxmi.judge.key_score import score_against_key

    assert opened.mechanism is not None
    checkpoint = bundle.checkpoint
    explanation = explanation_from(path, checkpoint.challenge, checkpoint.origin)
    try:
        return score_against_key(explanation, opened.mechanism, opened.challenge, checkpoint.params)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
