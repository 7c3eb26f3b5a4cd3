"""Progress on stderr: a live bar on a terminal, elsewhere plain lines of a training run."""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import track as rich_track

from jaxmi.cli.verb import log
from jaxmi.training.trainer import Curves, Point

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
            log(f"{self._challenge}: compiling")
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
            log(f"{text}, step {step:,} of {self._steps:,}" + (f", {rate}{left}" if rate else ""))

    def _count(self, seed: int, step: int) -> None:
        self._done += step - self._steps_of.get(seed, 0)
        self._steps_of[seed] = step


def track(items: Iterable[T], total: int) -> Iterator[T]:
    """Passes items on, with a bar on a terminal if there are several."""
    console = Console(stderr=True)
    disable = total == 1 or not console.is_terminal
    return iter(rich_track(items, "networks", total, console=console, disable=disable))
