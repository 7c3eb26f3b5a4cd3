"""Runs the real command line in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence

COMMAND = [sys.executable, "-m", "jaxmi.cli.main"]


def start(*args: str, program: Sequence[str] = COMMAND, **environment: str) -> subprocess.Popen:
    """Starts the command, or a program around it."""
    return subprocess.Popen(
        [*program, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def read_until(process: subprocess.Popen, words: str) -> list[str]:
    """Reads the process's stderr up to a line with some words, which must come."""
    assert process.stderr is not None
    lines = []
    while not lines or words not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], f"ended without {words!r}: {''.join(lines)}"
    return lines


def finish(process: subprocess.Popen, code: int = 0) -> tuple[str, str]:
    """Waits for the end; checks the exit code; returns stdout and stderr."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert "Traceback" not in err, err
    return out, err
