"""What subcommands share: common flags, and how a result is shown."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import arg

Result = Mapping[str, Any]
"""What a subcommand returns, as JSON types; `--json` prints it."""

OptionalPath = Annotated[Path | None, arg(metavar="PATH")]
"""A path that may be left out; the field's docstring says what happens then."""

OptionalText = Annotated[str | None, arg(metavar="TEXT")]
"""A text that may be left out."""

OptionalNumber = Annotated[int | None, arg(metavar="N")]
"""A whole number that may be left out."""


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Every subcommand has these."""

    json: bool = False
    """Print the result as one JSON object on stdout, and nothing else there."""


@dataclass(frozen=True, kw_only=True)
class DataOptions(CommonOptions):
    """Most subcommands have these."""

    data_dir: OptionalPath = None
    """Folder with MNIST's four IDX files, raw or .gz. Default: JAXMI_DATA_DIR, else the cache, else
    a download. Only challenges on images need it."""


@dataclass(frozen=True, kw_only=True)
class Subcommand(ABC):
    """A subcommand; its fields are the arguments, their docstrings the help.

    Options that belong together are a dataclass of their own, and a group in `--help`.
    """

    example: ClassVar[str]
    """A command line, which `--help` shows."""

    common: Annotated[CommonOptions, arg(name="common")] = CommonOptions()

    @abstractmethod
    def run(self) -> Result:
        """Do the work, with progress on stderr; return the result."""

    @property
    def resumes(self) -> bool:
        """True if the same command goes on where a signal has ended it; `StoppedError` aside."""
        return False

    def show(self, result: Result) -> None:
        """Print the result for a person, on stdout."""
        for name, value in result.items():
            print(f"{name}: {value}")


@dataclass(frozen=True, kw_only=True)
class DataSubcommand(Subcommand):
    """A subcommand that may need MNIST."""

    common: Annotated[DataOptions, arg(name="common")] = DataOptions()

    @property
    def data_dir(self) -> Path | None:
        """The folder with MNIST that was named, if one was."""
        return self.common.data_dir
