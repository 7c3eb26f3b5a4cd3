"""What subcommands share: common flags, and how a result is shown."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

Result = Mapping[str, Any]
"""What a subcommand returns, as JSON types; `--json` prints it."""

OptionalPath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")]
"""A path that may be left out; the field's docstring says what happens then."""

OptionalText = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
"""A text that may be left out."""

OptionalNumber = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
"""A whole number that may be left out."""


@dataclass(frozen=True, kw_only=True)
class Subcommand(ABC):
    """A subcommand; its fields are the arguments, their docstrings the help."""

    json: bool = False
    """Print the result as one JSON object on stdout, and nothing else there."""

    @abstractmethod
    def run(self) -> Result:
        """Do the work, with progress on stderr; return the result."""

    def show(self, result: Result) -> None:
        """Print the result for a person, on stdout."""
        for name, value in result.items():
            print(f"{name}: {value}")


@dataclass(frozen=True, kw_only=True)
class DataSubcommand(Subcommand):
    """A subcommand that may need MNIST."""

    data_dir: OptionalPath = None
    """Folder with MNIST's four IDX files, raw or .gz. Default: JAXMI_DATA_DIR, else the cache, else
    a download. Only challenges on images need it."""
