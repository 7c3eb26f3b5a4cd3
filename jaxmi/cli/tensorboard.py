"""Learning curves for TensorBoard: a `seeds.Watcher`; needs the extra `tensorboard`."""

import shutil
from pathlib import Path

from jaxmi.errors import UnavailableError
from jaxmi.training.trainer import Curves, Point

try:
    from tensorboardX import SummaryWriter
except ImportError as error:
    raise UnavailableError("--tensorboard needs tensorboardX: pip install tensorboardX") from error


class TensorBoard:
    """Writes each seed's curve to a folder of its own."""

    def __init__(self, path: Path) -> None:
        """Takes the folder of all seeds."""
        self._path = path
        self._writers: dict[int, SummaryWriter] = {}
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
            self._writers[seed] = SummaryWriter(str(self._seed_path(seed)))
        for name, value in point.items():
            if name != "step":
                self._writers[seed].add_scalar(name, value, int(point["step"]))

    def _seed_path(self, seed: int) -> Path:
        return self._path / f"seed-{seed:05d}"
