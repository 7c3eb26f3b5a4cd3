"""A thousand corruptions of each format: the original tensors, or one clear line; see fuzz.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

N = 1000
CASES = [
    ("native", "cnn"),
    ("native", "transformer"),
    pytest.param("casper", "cnn", marks=pytest.mark.slow),
    pytest.param("casper", "transformer", marks=pytest.mark.long),
    pytest.param("transformer-lens", "transformer", marks=pytest.mark.slow),
    pytest.param("transformer-lens-4", "transformer", marks=pytest.mark.long),
    ("safetensors", "cnn"),
    ("safetensors", "transformer"),
    ("published", "cnn"),
    ("published", "transformer"),
    ("script", "cnn"),
    pytest.param("script", "transformer", marks=pytest.mark.slow),
]


def fuzz(format_name: str, checkpoint: Path, *options: str) -> dict:
    """In a process of its own, whose memory is limited and which may crash."""
    script = Path(__file__).with_name("fuzz.py")
    command = [sys.executable, script, format_name, checkpoint, str(N), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("format_name", "challenge"), CASES)
def test_a_corrupt_file_is_refused_or_harmless(
    format_name: str, challenge: str, checkpoints: Path
) -> None:
    found = fuzz(format_name, checkpoints / challenge)
    assert found["bad"] == []
    counts = found["counts"]
    assert sum(counts.values()) == N
    kinds = {key.partition(" ")[0] for key in counts}
    assert kinds >= {"flip", "truncate", "splice"}
    for kind in kinds:  # corruptions do reach what counts
        assert counts[f"{kind} refused"] > N / len(kinds) / 2, counts


def test_without_the_record_other_tensors_would_be_loaded(checkpoints: Path) -> None:
    """The control: flipped bits and swapped tensors that no reader of the format notices."""
    bad = fuzz("safetensors", checkpoints / "transformer", "blind")["bad"]
    assert any("flip" in line and "other tensors" in line for line in bad)
    assert any("swap" in line and "other tensors" in line for line in bad)
