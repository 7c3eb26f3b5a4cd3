"""Studies conducted and written to folders: the result, its figure, each network's measurements."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from jaxmi.errors import InputError
from jaxmi.report.studies.draw import draw_study
from jaxmi.storage.atomic import atomic_files, check_files, check_writable
from jaxmi.storage.checkpoints import read_json
from jaxmi.studies.conduct import SCHEMA, NetworkStore, conduct
from jaxmi.studies.registry import load_study
from jaxmi.studies.study import FIRST_SEED, Training
from jaxmi.training.seeds import Watcher
from jaxmi.workflows.machine import prepare_devices, stop_on_sigterm
from jaxmi.workflows.progress import Progress

logger = logging.getLogger(__name__)

RESULT, MEASURED = "result.json", "measured"
FIGURES = ("figure.png", "figure.svg")
QUICK_SEEDS = 2
RUNS = Path("runs")
"""Where `jaxmi regenerate` puts its runs."""


def write_study(
    name: str,
    out: Path,
    seeds: Sequence[int] | None = None,
    quick: bool = False,
    runs: Path = RUNS,
    force: bool = False,
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """Conduct a study and write its folder.

    Args:
      name: The study.
      out: The folder to write.
      seeds: The seeds of each training; None takes as many as the study needs.
      quick: Train hardly anything: shows that the study runs.
      runs: The folder of run folders.
      force: Replace an existing result, and measure again.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      What `jaxmi study --json` prints.

    Raises:
      InputError: if a folder cannot be used.
      DivergedError, UnavailableError, StoppedError: as `train_seeds`.
    """
    study = load_study(name)
    if seeds is None:
        seeds = range(FIRST_SEED, FIRST_SEED + (QUICK_SEEDS if quick else study.n_seeds))
    if len(seeds) < 2:
        raise InputError(f"--seeds {seeds[0]}: an interval over seeds needs at least two")
    check_files(out, (RESULT, *FIGURES), force or _is_resumed(out, name, seeds, quick))
    check_writable(runs)
    prepare_devices(None, len(seeds))
    with stop_on_sigterm() as stopping:
        networks = NetworkStore(runs, _watch, stopping)
        trainings = study.trainings(quick, data_dir)
        result = conduct(
            study,
            trainings,
            seeds,
            quick,
            networks,
            out / MEASURED / name,
            logger.info,
            remeasure=force,
        )
    with atomic_files(out) as temporary:
        (temporary / RESULT).write_text(_lines(result))
        figure = draw_study(result)
        figure.savefig(temporary / "figure.png", dpi=120, bbox_inches="tight")
        with rc_context({"svg.hashsalt": name}):  # the same result gives the same bytes
            about = {"Date": None}
            figure.savefig(temporary / "figure.svg", bbox_inches="tight", metadata=about)
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


def _is_resumed(out: Path, name: str, seeds: Sequence[int], quick: bool) -> bool:
    """Return whether an existing result is resumed: the same study, with no more seeds."""
    if not (out / RESULT).is_file():
        return False
    there = read_json(out / RESULT)
    if there.get("schema") != SCHEMA:
        return False
    about = there["provenance"]
    held = (
        f"study {there['study']}, {'quick, ' if about['quick'] else ''}{len(about['seeds'])} seeds"
    )
    if (there["study"], about["quick"]) != (name, quick) or not set(about["seeds"]) <= set(seeds):
        raise InputError(
            f"{out / RESULT} holds {held}; choose another --out, or --force replaces it"
        )
    return True


@contextmanager
def _watch(training: Training, n_seeds: int) -> Iterator[Watcher]:
    with Progress(training.name, training.recipe.steps, n_seeds) as progress:
        yield progress
