"""What Python would raise, and on which input: those that fail drop out, the first is named."""

import numpy as np

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain


class EvaluationError(InputError):
    """A program fails on an input; the message names the line and the first such input."""


class Failures:
    """The inputs on which a program has failed so far."""

    def __init__(self, domain: Domain) -> None:
        """Begins with none."""
        self._domain = domain
        self.running = np.ones((1,) * len(domain.shape), bool)
        self._noted: list[tuple[int, lang.Position, Exception]] = []

    def note(self, where: np.ndarray, errors: np.ndarray | Exception, node: lang.Node) -> None:
        """Takes inputs out of the run, and notes the first of them."""
        where = np.broadcast_to(where & self.running, self._domain.shape)
        if where.any():
            first = int(where.argmax())
            error = np.broadcast_to(np.asarray(errors, object), where.shape).flat[first]
            self._noted.append((first, node.at, error))
            self.running = self.running & ~where

    def raise_first(self) -> None:
        """Raises what Python would raise on the first input that fails.

        Raises:
          EvaluationError: if any does.
        """
        if not self._noted:
            return
        position, at, error = min(self._noted, key=lambda noted: noted[0])
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}, "
        said = error.args[-1]  # some begin with a number
        raise EvaluationError(
            f"{place(at)}{kind}{said} at {self._domain.describe(position)}"
        ) from error


def place(at: lang.Position) -> str:
    """Returns how a message begins that is about a place in a text."""
    return f"line {at.line}, column {at.column}: " if at.line else ""
