"""Ctrl-C leaves finished seeds, an earlier run, and nothing half-written."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def interrupt(*args: str, after: str, pattern: str = "*") -> subprocess.CompletedProcess:
    """Starts the real command; a moment after a line on stderr and a path, presses Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: inherited
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "jaxmi.cli.main", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        lines = []
        while after.encode() not in (lines[-1:] or [b""])[0]:
            lines.append(process.stderr.readline())
            assert lines[-1], b"".join(lines)
        while not any(Path.cwd().glob(pattern)):  # evaluation is compiled first
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, b"".join(lines) + err)


def test_a_run_interrupted_while_compiling_leaves_nothing() -> None:
    done = interrupt("regenerate", "transformer", "--out", "run", after="compiling")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == b"jaxmi: interrupted"
    assert not Path("run").exists()


def test_an_interrupted_force_puts_the_earlier_run_back(quick_run) -> None:
    quick_run()
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    interrupt("regenerate", "transformer", "--out", "run", "--force", after="compiling")
    after = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert after == before
    assert [path.name for path in Path.cwd().iterdir()] == ["run"]


@pytest.mark.long
def test_an_interrupted_run_keeps_and_lists_its_finished_seeds(run) -> None:
    seeds = ["--seeds", "0:5000", "--set", "steps=2", "eval_every=1"]
    done = interrupt(
        "regenerate",
        "transformer",
        "--out",
        "run",
        *seeds,
        after="step 2 of 2",
        pattern="run/seed-*[0-9]",
    )
    assert done.returncode == 1
    record = json.loads(Path("run/run.json").read_text())
    assert record["finished"] is False
    listed = {Path(entry["checkpoint"]).name for entry in record["runs"]}
    found = {path.name for path in Path("run").glob("seed-*")}
    assert listed
    assert listed <= found
    assert len(found - listed) <= 1
    assert run("evaluate", record["runs"][0]["checkpoint"])["challenge"] == "transformer"
