"""Watchers of a training run: progress on stderr, curves for TensorBoard, a JAX trace."""

import logging
import shutil
import time
from collections.abc import Iterable, Iterator
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
from jaxmi.training.seeds import Curves, Point

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

logger = logging.getLogger(__name__)


class Profile:
    """Records what the devices do; a `seeds.Watcher`. TensorBoard or Perfetto shows the trace."""

    def __init__(self, path: Path) -> None:
        """Takes the folder to write to."""
        self._path, self._points, self._running = path, 0, False

    def __enter__(self) -> "Profile":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the trace, if there was no second point."""
        self._stop()

    def resumed(self, curves: Curves) -> None:
        """Does nothing."""

    def advanced(self, points: dict[int, Point]) -> None:
        """Starts at the first point, when everything is warm, and stops at the second.

        Where there is but one, the trace shows what comes after it.
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
"""How often a plain line is written at most, but for each seed's last."""


class Progress:
    """Shows how far a run is, its rate in optimiser steps per second, and the current accuracy."""

    def __init__(self, challenge: str, steps: int, n_seeds: int, name_seeds: bool = True) -> None:
        """Takes what the whole run amounts to: `steps` for each of `n_seeds`."""
        self._name_seeds = name_seeds
        self._challenge, self._steps = challenge, steps
        self._total, self._done = steps * n_seeds, 0
        self._steps_of: dict[int, int] = {}
        self._first: tuple[float, int] | None = None
        self._last_line = 0.0
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not Console(stderr=True).is_terminal,
        )
        self._task = self._bar.add_task(f"{challenge}: compiling", total=self._total, rate="")

    def __enter__(self) -> "Progress":
        """Starts the display."""
        self._bar.start()
        if self._bar.disable:
            logger.info(f"{self._challenge}: compiling")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the display as it stands."""
        self._bar.stop()

    def resumed(self, curves: Curves) -> None:
        """Takes note of what was done before."""
        for seed, curve in curves.items():
            self._count(seed, int(curve[-1]["step"]))
        self._first = None

    def advanced(self, points: dict[int, Point]) -> None:
        """Takes note of a point of the learning curves."""
        now = time.monotonic()
        for seed, point in points.items():
            self._count(seed, int(point["step"]))
        rate, left = "", ""
        if self._first is None:  # the first point ends the wait for the compiler: rates start here
            self._first = now, self._done
        else:
            per_second = (self._done - self._first[1]) / max(now - self._first[0], 1e-9)
            rate = f"{per_second:,.0f} steps/s"
            left = f", {(self._total - self._done) / per_second:,.0f} s left"
        seeds = list(points)
        which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]}..{seeds[-1]}"
        accuracy = sum(point["test_accuracy"] for point in points.values()) / len(points)
        which = f" {which}" if self._name_seeds else ""
        text = f"{self._challenge}{which}: test {accuracy:.2%}"
        self._bar.update(self._task, completed=self._done, description=text, rate=rate)
        step = int(points[seeds[0]]["step"])
        if self._bar.disable and (
            step == self._steps or now - self._last_line >= SECONDS_BETWEEN_LINES
        ):
            self._last_line = now
            logger.info(
                f"{text}, step {step:,} of {self._steps:,}" + (f", {rate}{left}" if rate else "")
            )

    def _count(self, seed: int, step: int) -> None:
        self._done += step - self._steps_of.get(seed, 0)
        self._steps_of[seed] = step


def track(items: Iterable[T], total: int) -> Iterator[T]:
    """Passes items on, with a bar on a terminal if there are several."""
    console = Console(stderr=True)
    disable = total == 1 or not console.is_terminal
    return iter(rich_track(items, "networks", total, console=console, disable=disable))


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
    """Writes each seed's curve to a folder of its own."""

    def __init__(self, path: Path) -> None:
        """Takes the folder of all seeds."""
        self._path = path
        self._writers: "dict[int, SummaryWriter]" = {}
        self._begun: set[int] = set()

    def resumed(self, curves: Curves) -> None:
        """Writes the curves so far."""
        for seed, curve in curves.items():
            for point in curve:
                self._write(seed, point)

    def advanced(self, points: dict[int, Point]) -> None:
        """Writes a point of each seed's curve."""
        if self._writers.keys() - points.keys():  # the next batch of seeds
            for writer in self._writers.values():
                writer.close()
            self._writers = {}
        for seed, point in points.items():
            self._write(seed, point)
            self._writers[seed].flush()

    def _write(self, seed: int, point: Point) -> None:
        if seed not in self._writers:
            if seed not in self._begun:
                # What an earlier process wrote may go beyond the state that it saved.
                shutil.rmtree(self._seed_path(seed), ignore_errors=True)
                self._begun.add(seed)
            from tensorboardX import SummaryWriter

            self._writers[seed] = SummaryWriter(str(self._seed_path(seed)))
        for name, value in point.items():
            if name != "step":
                self._writers[seed].add_scalar(name, value, int(point["step"]))

    def _seed_path(self, seed: int) -> Path:
        return self._path / f"seed-{seed:05d}"
