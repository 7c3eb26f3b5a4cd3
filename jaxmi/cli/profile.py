"""A JAX trace of training, from the first point of the learning curve to the second."""

from pathlib import Path

import jax

from jaxmi.training.seeds import Curves, Point


class Profile:
    """Records what the devices do; a `seeds.Watcher`. TensorBoard or Perfetto shows the trace."""

    def __init__(self, path: Path) -> None:
        """Takes the folder to write to."""
        self._path, self._points = path, 0

    def resumed(self, curves: Curves) -> None:
        """Does nothing."""

    def advanced(self, points: dict[int, Point]) -> None:
        """Starts at the first point, when everything is warm, and stops at the second."""
        self._points += 1
        if self._points == 1:
            jax.profiler.start_trace(self._path)
        elif self._points == 2:
            jax.profiler.stop_trace()
