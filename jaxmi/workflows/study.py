"""Studies conducted and written to folders: the result, its figure, each network's measurements."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from jaxmi.challenges.registry import load_challenge
from jaxmi.drawing import try_to_save
from jaxmi.errors import InputError
from jaxmi.files import readable_texts, takes_any_path, write_text
from jaxmi.report.studies.draw import draw_study
from jaxmi.storage.atomic import atomic_files, check_files, check_writable
from jaxmi.storage.checkpoints import read_json
from jaxmi.studies.conduct import SCHEMA, NetworkStore, conduct
from jaxmi.studies.registry import load_study
from jaxmi.studies.study import FIRST_SEED, Training, plain_of
from jaxmi.training.seeds import Watcher
from jaxmi.workflows.challenges import find_labelled, identity
from jaxmi.workflows.machine import prepare_devices, stop_on_request
from jaxmi.workflows.progress import Progress

logger = logging.getLogger(__name__)

RESULT, MEASURED = "result.json", "measured"
FIGURES = ("figure.png", "figure.svg")
QUICK_SEEDS = 2
RUNS = Path("runs")
"""Where `jaxmi regenerate` puts its runs."""


@takes_any_path
def write_study(
    name: str,
    out: Path,
    seeds: Sequence[int] | None = None,
    quick: bool = False,
    runs: Path = RUNS,
    force: bool = False,
    data_dir: Path | None = None,
    challenge: str | Path | None = None,
) -> dict[str, Any]:
    """Conduct a study and write its folder.

    Args:
      name: The study; "universality" stands for the one that the challenge's kind has.
      out: The folder to write.
      seeds: The seeds of each training; None takes as many as the study needs.
      quick: Train hardly anything: shows that the study runs.
      runs: The folder of run folders.
      force: Replace an existing result, and measure again.
      data_dir: A folder with the images, for images; None looks in the cache, then downloads.
      challenge: A published challenge's name, or the folder of a user's, to ask the question of
        that one; None: of the published ones that the study is about.

    Returns:
      What `jaxmi study --json` prints.

    Raises:
      InputError: if a folder cannot be used, or the question has no meaning for the challenge.
      DivergedError, UnavailableError, StoppedError: as `train_seeds`.
    """
    found = None if challenge is None else find_labelled(challenge, "a study")
    study = load_study(name, None if found is None else identity(found)["kind"])
    name = study.name
    if study.challenges == (found,):
        found = None  # what it asks about anyway
    if found is not None and study.trainings_of is None:
        raise InputError(f"study {name} asks about the published challenges only")
    about = None if found is None else identity(found)
    if seeds is None:
        seeds = range(FIRST_SEED, FIRST_SEED + (QUICK_SEEDS if quick else study.n_seeds))
    if len(seeds) < 2:
        raise InputError(f"--seeds {seeds[0]}: an interval over seeds needs at least two")
    check_files(out, (RESULT, *FIGURES), force or _is_resumed(out, name, seeds, quick, about))
    check_writable(runs)
    prepare_devices(None, len(seeds))
    with stop_on_request() as stopping:
        networks = NetworkStore(runs, _watch, stopping)
        if found is None:
            trainings = study.trainings(quick, data_dir)
        else:
            assert study.trainings_of is not None
            base = plain_of(load_challenge(found, data_dir), quick, data_dir)
            trainings = study.trainings_of(base)
        result = conduct(
            study,
            trainings,
            seeds,
            quick,
            networks,
            out / MEASURED / name,
            logger.info,
            remeasure=force,
            about=about,
        )
    with atomic_files(out) as temporary:
        write_text(temporary / RESULT, _lines(readable_texts(result)))
        drawing = partial(draw_study, result)
        png, svg = (temporary / figure for figure in FIGURES)
        try_to_save(png, drawing, dpi=120, bbox_inches="tight")
        fixed = {"changes": {"svg.hashsalt": name}, "metadata": {"Date": None}}
        try_to_save(svg, drawing, bbox_inches="tight", **fixed)  # the same result, the same bytes
    return {"folder": str(out), **result}


def _lines(result: Mapping[str, Any]) -> str:
    """Return a result as JSON, with a line for each finding and each of the figure's tables."""
    parts = []
    for key, value in result.items():
        if key in ("findings", "data"):
            inner = ",\n".join(f"    {json.dumps(k)}: {_dump(v)}" for k, v in value.items())
            parts.append(f"  {json.dumps(key)}: {{\n{inner}\n  }}")
        else:
            parts.append(f"  {json.dumps(key)}: {_dump(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _is_resumed(
    out: Path, name: str, seeds: Sequence[int], quick: bool, challenge: Mapping[str, Any] | None
) -> bool:
    """Return whether an existing result is resumed: the same study, with no more seeds."""
    if not (out / RESULT).is_file():
        return False
    there = read_json(out / RESULT)
    if there.get("schema") != SCHEMA:
        return False
    about = there["provenance"]
    of = about.get("challenge")
    held = (
        f"study {there['study']}{_of(of)}, {'quick, ' if about['quick'] else ''}"
        f"{len(about['seeds'])} seeds"
    )
    same = (there["study"], about["quick"], of) == (name, quick, challenge)
    if not same or not set(about["seeds"]) <= set(seeds):
        raise InputError(
            f"{out / RESULT} holds {held}; choose another --out, or --force replaces it"
        )
    return True


def _of(challenge: Mapping[str, Any] | None) -> str:
    if challenge is None:
        return ""
    digest = challenge["definition_sha256"]
    return f" of {challenge['name']}" + (f" (definition {digest[:12]})" if digest else "")


@contextmanager
def _watch(training: Training, n_seeds: int) -> Iterator[Watcher]:
    with Progress(training.name, training.recipe.steps, n_seeds) as progress:
        yield progress
