"""Finds out everything that has to be known of a GPU or TPU, in ten minutes.

Command:   .venv/bin/python scripts/on_accelerator.py --out accelerator.json
Time:      10 minutes at most (--minutes); on 2 CPU cores --quick takes about 2
Writes:    the file, anew after each part
Expected:  exit code 0: every part has figures; docs/many-seeds.md says how to read them

Each part runs in a process of its own, one after another, since an accelerator serves one process
at a time; what fails, or takes too long, leaves the others alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jaxmi
from jaxmi.storage.atomic import atomic_files

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable

MEASURED = ("peak", "seeds_per_hour", "forms", "precision", "memory", "recover", "torch")
"""Parts of `jaxmi.bench.device`, in the order in which they are wanted."""

PARTS = ("doctor", *MEASURED, "tests", "torch_compiled", "bench")
"""All parts, in their order: the last are left out if the time is up."""

MOST = {"tests": 0.35}
"""Part -> the largest share of the time that it may take."""

QUICK_TESTS = ("tests/training/test_precision.py",)
"""The tests of the quick form."""

ENOUGH = 5
"""Seconds: with less left, no part is started."""


def main() -> None:
    """Run the parts; exit with 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("accelerator.json"), metavar="FILE")
    parser.add_argument("--minutes", type=float, default=10.0, help="stop when these have passed")
    parser.add_argument("--quick", action="store_true", help="small numbers: shows that it runs")
    parser.add_argument("--parts", default=",".join(PARTS), help="default: all, in this order")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts {unknown[0]}: expected some of {', '.join(PARTS)}")
    if not options.minutes > 0:
        parser.error(f"--minutes {options.minutes}: expected more than 0")
    if options.out.is_dir() or not options.out.absolute().parent.is_dir():
        parser.error(f"--out {options.out}: expected a file in a folder that exists")
    sys.exit(1 if run_parts(parts, options.out, options.minutes, options.quick) else 0)


def run_parts(parts: Sequence[str], out: Path, minutes: float, quick: bool) -> bool:
    """Run parts and write the file after each; return whether something failed."""
    start = time.monotonic()
    result: dict[str, Any] = {
        "about": {
            "jaxmi": jaxmi.__version__,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "minutes": minutes,
            "quick": quick,
            "finished": False,
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            left = start + 60 * minutes - time.monotonic()
            if left < ENOUGH:
                result[part] = {"left_out": f"{minutes:g} minutes were up"}
            else:
                print(f"{part} ...", file=sys.stderr, flush=True)
                limit = min(left, 60 * minutes * MOST.get(part, 1.0))
                result[part] = run_part(part, limit, quick, Path(folder))
            write(result, out)
    result["about"] |= {"finished": True, "seconds": round(time.monotonic() - start, 1)}
    write(result, out)
    failed = [name for name, one in result.items() if has_error(one)]
    print(f"{out}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return bool(failed)


def run_part(part: str, limit: float, quick: bool, folder: Path) -> dict[str, Any]:
    """Run a part for so many seconds at most; return its seconds, and figures, an error, or both.

    With both, the figures are those that were measured before the error.
    """
    report = folder / "tests.xml"
    commands: dict[str, list[str | Path]] = {
        "doctor": ["-m", "jaxmi.cli.main", "doctor", "--json"],
        "tests": ["-m", "pytest", "-m", "device", "--junitxml", report, *QUICK_TESTS * quick],
        "bench": ["-m", "jaxmi.cli.main", "bench", "--quick", "--json"],
    }
    measured = ["-m", "jaxmi.bench.device", part, *["--quick"] * quick]
    start = time.monotonic()
    if part == "bench" and quick:
        return {"seconds": 0.0, "left_out": "in the quick form"}
    out, error = run([PYTHON, *commands.get(part, measured)], limit, folder)
    result: dict[str, Any] = {"seconds": round(time.monotonic() - start, 1)}
    figures = tests_of(report) if part == "tests" else last_line(out)
    if part == "tests" and figures:
        error = None  # a test that fails is among the figures
    if error is None and figures is None:
        error = "no figures were printed"
    if error is not None:
        result["error"] = error
    return result | ({} if figures is None else {"figures": figures})


def run(command: Sequence[str | Path], limit: float, folder: Path) -> tuple[str, str | None]:
    """Run a command in the checkout; return what it printed, and why it failed, if it did."""
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),  # parts train the same networks
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # PyTorch needs some of the memory, too
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    with (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            stop(process)
            out, _ = process.communicate()
            return out, f"stopped after {limit:.0f} seconds"
        if process.returncode:
            errors.seek(0)
            lines = (errors.read() + out).strip().splitlines()
            return out, f"exit code {process.returncode}: {(lines or [''])[-1][:500]}"
    return out, None


def stop(process: subprocess.Popen) -> None:
    """End a process that was started for itself, with those that it started."""
    if hasattr(os, "killpg"):
        import signal

        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def last_line(out: str) -> Any:
    """Return the last line that is JSON; None if none is."""
    for line in reversed(out.splitlines()):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None


def tests_of(report: Path) -> dict[str, Any] | None:
    """Return how many tests pytest's report has, and which failed; None if there is no report."""
    if not report.is_file():
        return None
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total = sum(int(suite.get("tests", 0)) for suite in suites)
    failed = {
        f"{case.get('classname')}.{case.get('name')}": (problem.get("message") or "")[:300]
        for suite in suites
        for case in suite.iter("testcase")
        for problem in (*case.iter("failure"), *case.iter("error"))
    }
    return {"tests": total, "failed": failed} if total else None


def has_error(result: Mapping[str, Any]) -> bool:
    """Return whether a part, or a row of it, failed."""
    figures = result.get("figures") or {}
    return (
        "error" in result
        or bool(figures.get("failed"))
        or any(isinstance(row, dict) and "error" in row for row in figures.values())
    )


def write(result: Mapping[str, Any], out: Path) -> None:
    """Write the file, whole."""
    with atomic_files(out.absolute().parent) as folder:
        (folder / out.name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
