"""Imports what compare.py saved in each TransformerLens: the original parameters, bit for bit.

python read.py FOLDER
"""

import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from write import CHECKPOINT, OWN

from jaxmi.cli.main import main as jaxmi
from jaxmi.storage.checkpoints import load_checkpoint


def read(folder: Path, checkpoint: Path, *told: str) -> None:
    """Imports every file of a network."""
    expected = load_checkpoint(checkpoint).params
    files = sorted(folder.glob("saved_by_*.pt"))
    assert files, folder
    for file in files:
        with tempfile.TemporaryDirectory() as temporary:
            out = Path(temporary) / "network"
            jaxmi(["import", str(file), "--out", str(out), *told, "--json"])
            jax.tree.map(np.testing.assert_array_equal, load_checkpoint(out).params, expected)
        print(f"{folder.name}/{file.name}: imported, bitwise the same")


def main() -> None:
    """Imports every network; TransformerLens's files of other sizes do not name their challenge."""
    folder = Path(sys.argv[1])
    read(folder, CHECKPOINT)
    for name in OWN:
        own = folder / name
        read(own, own / "network", "--challenge", str(own / "challenge"))


if __name__ == "__main__":
    main()
