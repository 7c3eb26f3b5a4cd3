"""Tests the wheel outside of the checkout, with the newest or the lowest versions that it takes.

Command:   python3 scripts/check_wheel.py newest|lowest [arguments of pytest]
Time:      minutes for the installation, then as long as the tests take
Writes:    .venv-newest or .venv-lowest, which a second call uses again
Expected:  all tests pass; those that need PyTorch are left out, since it is not installed

Newest: the newest Python found, every dependency unpinned. Lowest: the lowest Python that
pyproject.toml names, every direct dependency at the version that its bound names.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

NEEDED = (
    *("tests", "checkpoints", "docs", "scripts", "README.md", "CONTRIBUTING.md"),
    *("pyproject.toml", "Makefile", "constraints.txt"),
)
"""Files and folders that the tests read beside the installed package."""

WITHOUT_TYPE_CHECKS = "-q --import-mode=importlib --strict-markers --strict-config"
"""Pytest's options where jaxtyping is too old to check the types of a package that is installed."""

MINORS = range(40, 10, -1)
"""Minor versions of Python 3 to look for, the newest first."""


def main() -> None:
    """Install and test; exit with pytest's code."""
    parser = argparse.ArgumentParser(description="Test the installed wheel.")
    parser.add_argument("versions", choices=("newest", "lowest"))
    options, pytest = parser.parse_known_args()
    bin = ROOT / f".venv-{options.versions}" / "bin"
    install(bin.parent, options.versions)
    with tempfile.TemporaryDirectory() as folder:
        for name in NEEDED:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        run(bin / "python", "-m", "pip", "list", "--disable-pip-version-check")
        command = [bin / "python", "-m", "pytest", *(pytest or ["-m", "not slow"])]
        if options.versions == "lowest":
            command += ["--override-ini", f"addopts={WITHOUT_TYPE_CHECKS}"]
            command += ["-W", "ignore::DeprecationWarning"]  # old packages with newer ones below
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        sys.exit(subprocess.run(command, cwd=folder, env=environment).returncode)


def install(venv: Path, versions: str) -> None:
    """Make the environment, or bring it up to date with the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lowest_minor = int(project["requires-python"].rpartition(".")[2])
    tools = [tool for tool in extras["test"] if not tool.startswith("jaxmi")]
    python, pip = venv / "bin" / "python", ("-m", "pip", "--quiet", "--disable-pip-version-check")
    if not python.exists():
        minors = MINORS if versions == "newest" else [lowest_minor]
        run(next(found(minors)), "-m", "venv", venv)
    with tempfile.TemporaryDirectory() as folder:
        run(python, *pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
        (wheel,) = Path(folder).glob("*.whl")
        pinned = Path(folder) / "lowest.txt"
        pinned.write_text(
            "\n".join(at_bound(project["dependencies"]) if versions == "lowest" else [])
        )
        run(python, *pip, "install", "--upgrade", "--constraint", pinned, *tools, wheel)
        run(python, *pip, "install", "--force-reinstall", "--no-deps", wheel)  # of the same number


def at_bound(requirements: list[str]) -> Iterator[str]:
    """Yield each requirement with `==` in the place of `>=`."""
    for requirement in requirements:
        bound = re.fullmatch(r"([\w-]+)>=([\d.]+)(;.*)?", requirement)
        assert bound, requirement
        yield f"{bound[1]}=={bound[2]}{bound[3] or ''}"


def found(minors: range | list[int]) -> Iterator[str]:
    """Yield the Pythons on the path or of pyenv, in the order of the minor versions."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in minors:
        for python in (f"python3.{minor}", *map(str, pyenv.glob(f"3.{minor}.*/bin/python"))):
            works = shutil.which(python) and subprocess.run([python, "-c", ""], capture_output=True)
            if works and works.returncode == 0:
                yield python
    sys.exit(f"found no Python 3.{minors[-1]} to 3.{minors[0]}")


def run(*command: str | Path) -> None:
    """Run a command; end with its exit code if it fails."""
    done = subprocess.run([str(part) for part in command])
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
