"""Trains the two networks of checkpoints/ and draws their figures in docs/.

Command:   .venv/bin/python scripts/make_checkpoints.py
Time:      about 1 minute on 2 cores
Writes:    checkpoints/NAME, and labels, distances and curves as PNG in docs/
Expected:  transformer seed 0: test accuracy near 97.7 %; cnn seed 0: near 96.0 %
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = ("regenerate", "all", "--recipe", "fast", "--seeds", "0")
FIGURES = {
    "transformer/labels.png": "labels.png",
    "transformer/curves.png": "transformer-curves.png",
    "cnn/distances.png": "distances.png",
    "cnn/curves.png": "cnn-curves.png",
}


def main() -> None:
    """Train seed 0 of both challenges; copy its network after the last step, and its figures."""
    with tempfile.TemporaryDirectory() as folder:
        jaxmi = Path(sys.executable).parent / "jaxmi"
        subprocess.run([jaxmi, *COMMAND, "--out", folder], check=True)
        for name in ("transformer", "cnn"):
            target = ROOT / "checkpoints" / name
            shutil.rmtree(target, ignore_errors=True)
            seed = Path(folder) / name / "seed-00000"
            shutil.copytree(seed, target, ignore=shutil.ignore_patterns("best"))
            metrics = json.loads((target / "metrics.json").read_text(encoding="utf-8"))
            print(f"{name}: test accuracy {metrics['test_accuracy']:.2%}")
        for source, target in FIGURES.items():
            shutil.copy(Path(folder) / source, ROOT / "docs" / target)


if __name__ == "__main__":
    main()
