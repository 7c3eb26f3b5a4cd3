"""A JAX trace of training, from the first point of the learning curve to the second."""

from pathlib import Path

import jax

from jaxmi.training.trainer import Curves, Point


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
