"""Run the real command line in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from jaxmi.signals import REQUESTS

COMMAND = [sys.executable, "-m", "jaxmi.cli.main"]
SIGNALS = [
    pytest.param(signum, id=signum.name, marks=[pytest.mark.long] * (signum != signal.SIGTERM))
    for signum in REQUESTS
]
"""The signals that ask to stop. All are handled alike, so CI sends whole runs one of them only."""


def start(*args: str, program: Sequence[str] = COMMAND, **environment: str) -> subprocess.Popen:
    """Start the command line, or a program around it."""
    return subprocess.Popen(
        [*program, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def read_until(process: subprocess.Popen, text: str) -> list[str]:
    """Read the process's stderr up to a line that holds a text; fail if it ends before."""
    assert process.stderr is not None
    lines = []
    while not lines or text not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], f"ended without {text!r}: {''.join(lines)}"
    return lines


def finish(process: subprocess.Popen, code: int = 0) -> tuple[str, str]:
    """Wait for the end, check the exit code, and return stdout and stderr."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert "Traceback" not in err, err
    return out, err
