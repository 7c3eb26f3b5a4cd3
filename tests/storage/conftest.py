"""The trained networks of the repository, as checkpoints."""

from pathlib import Path

import pytest

from jaxmi.challenges.registry import NAMES
from jaxmi.storage.checkpoints import Checkpoint, load_checkpoint


@pytest.fixture
def trained(checkpoints: Path) -> dict[str, Checkpoint]:
    return {name: load_checkpoint(checkpoints / name) for name in NAMES}
