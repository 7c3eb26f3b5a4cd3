"""Watchers of a training run: progress, curves for TensorBoard, a JAX trace."""

import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import track as rich_track

from jaxmi.errors import UnavailableError
from jaxmi.files import takes_any_path
from jaxmi.notebook import Line, in_notebook
from jaxmi.training.seeds import Curves, Point

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

logger = logging.getLogger(__name__)


class Profile:
    """Record a JAX trace, as a `seeds.Watcher`; TensorBoard or Perfetto shows it."""

    @takes_any_path
    def __init__(self, path: Path) -> None:
        """Take the folder to write to."""
        self._path, self._points, self._running = path, 0, False

    def __enter__(self) -> "Profile":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the trace, if there was no second point."""
        self._stop()

    def resumed(self, curves: Curves) -> None:
        """Do nothing."""

    def advanced(self, points: dict[int, Point]) -> None:
        """Start at the first point, when everything is compiled, and stop at the second.

        If there is only one, the trace shows what comes after it.
        """
        self._points += 1
        if self._points == 1:
            jax.profiler.start_trace(self._path)
            self._running = True
        elif self._points == 2:
            self._stop()

    def _stop(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False


T = TypeVar("T")

SECONDS_BETWEEN_LINES = 5.0
"""Least time between two plain lines; each seed's last line is always written."""


class Progress:
    """Show the progress of a run, its rate in optimiser steps per second, and the test accuracy."""

    def __init__(self, challenge: str, steps: int, n_seeds: int, unit: str | None = "seed") -> None:
        """Take the size of the run: `steps` optimiser steps for each of `n_seeds` seeds.

        Args:
          challenge: What is trained on, for the display.
          steps: Optimiser steps per seed.
          n_seeds: How many seeds.
          unit: What the numbers of the points count; None does not show the numbers.
        """
        self._unit = unit
        self._challenge, self._steps = challenge, steps
        self._total, self._done = steps * n_seeds, 0
        self._steps_of: dict[int, int] = {}
        self._first: tuple[float, int] | None = None
        self._text = f"{challenge}: compiling"
        self._last_line = 0.0
        self._cell = Line() if in_notebook() else None
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=(console := Console(stderr=True)),
            disable=self._cell is not None or not _takes_bars(console),
        )
        self._task = self._bar.add_task(f"{challenge}: compiling", total=self._total, rate="")

    def __enter__(self) -> "Progress":
        """Start the display."""
        self._bar.start()
        if self._cell is not None:
            self._cell.show(f"{self._challenge}: compiling", 0.0)
        elif self._bar.disable:
            logger.info(f"{self._challenge}: compiling")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the display, and leave it visible; say in a cell if the training has not ended."""
        with suppress(OSError):  # the terminal was closed
            self._bar.stop()
        if self._cell is not None:
            ended = "" if error is None else f", ended by {kind.__name__ if kind else error}"
            self._cell.show(f"{self._text}{ended}", self._done / self._total, last=True)

    def resumed(self, curves: Curves) -> None:
        """Count the steps that an earlier process took."""
        for seed, curve in curves.items():
            self._count(seed, int(curve[-1]["step"]))
        self._first = None

    def advanced(self, points: dict[int, Point]) -> None:
        """Show a new point of the learning curves."""
        now = time.monotonic()
        for seed, point in points.items():
            self._count(seed, int(point["step"]))
        rate, left = "", ""
        if (
            self._first is None
        ):  # compilation is over at the first point: rates are measured from here
            self._first = now, self._done
        else:
            per_second = (self._done - self._first[1]) / max(now - self._first[0], 1e-9)
            rate = f"{per_second:,.0f} steps/s"
            left = f", {(self._total - self._done) / per_second:,.0f} s left"
        seeds = list(points)
        which = f" {self._unit} {seeds[0]}"
        if len(seeds) > 1:
            which = f" {self._unit}s {seeds[0]}..{seeds[-1]}"
        accuracy = sum(point["test_accuracy"] for point in points.values()) / len(points)
        text = f"{self._challenge}{which if self._unit else ''}: test {accuracy:.2%}"
        self._bar.update(self._task, completed=self._done, description=text, rate=rate)
        step = int(points[seeds[0]]["step"])
        self._text = f"{text}, step {step:,} of {self._steps:,}"
        line = self._text + (f", {rate}{left}" if rate else "")
        if self._cell is not None:
            self._cell.show(line, self._done / self._total)
        elif self._bar.disable and (
            step == self._steps or now - self._last_line >= SECONDS_BETWEEN_LINES
        ):
            self._last_line = now
            logger.info(line)

    def _count(self, seed: int, step: int) -> None:
        self._done += step - self._steps_of.get(seed, 0)
        self._steps_of[seed] = step


def _takes_bars(console: Console) -> bool:
    """Return whether a bar can be redrawn: FORCE_COLOR alone makes no terminal of a file."""
    return sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal


def track(items: Iterable[T], total: int) -> Iterator[T]:
    """Iterate over items; on a terminal or in a notebook show a bar if there are several."""
    if in_notebook() and total > 1:
        return _track_in_cell(items, total)
    console = Console(stderr=True)
    disable = total == 1 or not _takes_bars(console)
    return iter(rich_track(items, "networks", total, console=console, disable=disable))


def _track_in_cell(items: Iterable[T], total: int) -> Iterator[T]:
    line = Line()
    for number, item in enumerate(items):
        line.show(f"networks: {number} of {total}", number / total)
        yield item
    line.show(f"networks: {total} of {total}", 1.0, last=True)


@contextmanager
def stages(name: str, progress: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows what is done next, in a notebook's cell; elsewhere it logs.

    Args:
      name: What is worked on.
      progress: Show it; else the function does nothing.
    """
    line = Line() if progress and in_notebook() else None
    text = name

    def show(stage: str) -> None:
        nonlocal text
        text = f"{name}: {stage}"
        if line is not None:
            line.show(text, last=True)
        elif progress:
            logger.info(text)

    start = time.monotonic()
    try:
        yield show
    except BaseException as error:
        if line is not None:
            line.show(f"{text}, ended by {type(error).__name__}", last=True)
        raise
    if line is not None:
        line.show(f"{name}: done in {time.monotonic() - start:.0f} s", last=True)


def check_tensorboard() -> None:
    """Check that learning curves can be written for TensorBoard.

    Raises:
      UnavailableError: if tensorboardX is not installed.
    """
    if find_spec("tensorboardX") is None:
        raise UnavailableError(
            "--tensorboard needs tensorboardX, which is not installed: "
            "pip install 'jaxmi[tensorboard]'"
        )


class TensorBoard:
    """Write each seed's learning curve to its own folder, as a `seeds.Watcher`."""

    @takes_any_path
    def __init__(self, path: Path) -> None:
        """Take the folder of all seeds."""
        self._path = path
        self._writers: "dict[int, SummaryWriter]" = {}
        self._cleared: set[int] = set()

    def resumed(self, curves: Curves) -> None:
        """Write the curves so far."""
        for seed, curve in curves.items():
            for point in curve:
                self._write(seed, point)

    def advanced(self, points: dict[int, Point]) -> None:
        """Write a point of each seed's curve."""
        if self._writers.keys() - points.keys():  # the next batch of seeds
            for writer in self._writers.values():
                writer.close()
            self._writers = {}
        for seed, point in points.items():
            self._write(seed, point)
            self._writers[seed].flush()

    def _write(self, seed: int, point: Point) -> None:
        if seed not in self._writers:
            if seed not in self._cleared:
                # An earlier process may have written points beyond its last saved state.
                shutil.rmtree(self._seed_path(seed), ignore_errors=True)
                self._cleared.add(seed)
            from tensorboardX import SummaryWriter

            self._writers[seed] = SummaryWriter(str(self._seed_path(seed)))
        for name, value in point.items():
            if name != "step":
                self._writers[seed].add_scalar(name, value, int(point["step"]))

    def _seed_path(self, seed: int) -> Path:
        return self._path / f"seed-{seed:05d}"
