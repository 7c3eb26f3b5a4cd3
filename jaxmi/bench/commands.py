"""The real command in a process of its own: how long it takes, how much memory."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxmi.bench.rounds import summary

_JAXMI = (sys.executable, "-m", "jaxmi.cli.main")


def command_seconds(args: list[str], repeats: int) -> dict[str, float]:
    """Wall time of the command in a process of its own; `OUT` stands for a new folder."""
    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [str(Path(folder) / "run") if arg == "OUT" else arg for arg in args]
            began = time.perf_counter()
            subprocess.run([*_JAXMI, *command], capture_output=True, check=True)
            seconds.append(time.perf_counter() - began)
    return summary(seconds)


def peak_memory(name: str) -> float:
    """Returns the largest resident set, in GB, of a run of sixteen seeds, cut short (on Linux)."""
    with tempfile.TemporaryDirectory() as folder:
        steps = ["--save-every", "10", "--set", "steps=20", "eval_every=10"]
        out = ["--seeds", "0:16", "--out", str(Path(folder) / "run")]
        code = (
            "import sys; from jaxmi.cli.main import main\n"
            "try: main(sys.argv[1:])\n"
            "finally:\n"
            "  line = next(x for x in open('/proc/self/status') if x.startswith('VmHWM'))\n"
            "  print(line.split()[1], file=sys.stderr)"
        )
        command = [sys.executable, "-c", code, "regenerate", name, *out, *steps]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1]) * 1024 / 1e9
