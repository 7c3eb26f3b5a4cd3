"""What every verb shares: the `--json` flag, and how its result is shown."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]
"""What a verb found out, as JSON types."""


@dataclass(frozen=True, kw_only=True)
class Verb(ABC):
    """A command of the command line; its fields are the command's arguments."""

    json: bool = False
    """Print one JSON object on stdout and nothing else there."""

    @abstractmethod
    def run(self) -> Result:
        """Does the work, reporting progress on stderr; returns the result."""

    def show(self, result: Result) -> None:
        """Prints the result for a person, on stdout."""
        for name, value in result.items():
            print(f"{name}: {value}")
