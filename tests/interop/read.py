"""Imports what compare.py saved in each TransformerLens: the original parameters, bit for bit.

python read.py FOLDER
"""

import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from write import CHECKPOINT

from jaxmi.cli.main import main as jaxmi
from jaxmi.storage.checkpoints import load_checkpoint


def main() -> None:
    """Imports every file."""
    expected = load_checkpoint(CHECKPOINT).params
    for file in sorted(Path(sys.argv[1]).glob("saved_by_*.pt")):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "network"
            jaxmi(["import", str(file), "--out", str(out), "--json"])
            jax.tree.map(np.testing.assert_array_equal, load_checkpoint(out).params, expected)
        print(f"{file.name}: imported, bitwise the same")


if __name__ == "__main__":
    main()
