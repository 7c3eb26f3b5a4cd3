"""Where jaxmi installs, and what it does without the modules that Windows lacks."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

LIKE_WINDOWS = """
import os, signal, sys
import jax, platformdirs, psutil  # which ask for what the system has
for name in ("fcntl", "grp", "pwd", "resource", "termios", "array_record"):
    sys.modules[name] = None
for name in ("sysconf", "sched_getaffinity", "getuid", "geteuid", "fork", "mkfifo", "uname"):
    delattr(os, name)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGQUIT"):
    delattr(signal, name)
"""
"""Takes away what Python on Windows does not have."""

ALL_MODULES = """
import importlib, pkgutil, jaxmi
for module in pkgutil.walk_packages(jaxmi.__path__, "jaxmi."):
    if module.name not in ("jaxmi.__main__", "jaxmi.bench.torch_networks"):
        importlib.import_module(module.name)
"""

RUN = """
from jaxmi.cli.main import main
main(sys.argv[1:])
"""


def python(code: str, *args: str, folder: Path, code_expected: int = 0) -> str:
    """Run a program in an empty folder; return what it printed on stderr."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == code_expected, done.stderr
    return done.stderr


@pytest.mark.slow
def test_without_the_modules_that_windows_lacks_networks_are_trained(tmp_path: Path) -> None:
    train = ["regenerate", "transformer", "--seeds", "0:1", "--out", "run", "--set", "steps=4"]
    python(LIKE_WINDOWS + ALL_MODULES + RUN, *train, "eval_every=2", folder=tmp_path)
    assert (tmp_path / "run/seed-00000/params.safetensors").is_file()
    python(LIKE_WINDOWS + RUN, *train, "eval_every=2", "--force", folder=tmp_path)
    assert not (tmp_path / "run.old").exists()


def test_run_folders_open_without_fcntl_and_a_dataset_says_what_it_needs(tmp_path: Path) -> None:
    code = LIKE_WINDOWS + "import jaxmi.storage.runs as runs\nassert runs.fcntl is None\n" + RUN
    error = python(
        code, "data", "tfds", "transformer", "--out", "d", folder=tmp_path, code_expected=1
    )
    assert "array-record" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_modules_are_indeed_taken_away(tmp_path: Path) -> None:
    error = python(LIKE_WINDOWS + "import fcntl", folder=tmp_path, code_expected=1)
    assert "import of fcntl halted" in error


PLATFORMS = {
    "Linux on x86-64": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux on arm64": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "macOS on arm64": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "Windows on x86-64": {"sys_platform": "win32", "platform_machine": "AMD64"},
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_package_without_a_build_is_asked_for_only_where_it_has_one(platform: str) -> None:
    asked = {
        requirement.name
        for requirement in map(Requirement, PROJECT["dependencies"])
        if requirement.marker is None or requirement.marker.evaluate(PLATFORMS[platform])
    }
    assert ("array-record" in asked) == (not platform.startswith("Windows"))
    assert {"jax", "numpy", "tensorflow-datasets", "tyro"} <= asked


def test_the_classifiers_agree_with_the_versions_that_install() -> None:
    named = {
        classifier.rpartition(" ")[2]
        for classifier in PROJECT["classifiers"]
        if classifier.startswith("Programming Language :: Python :: 3.")
    }
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert named == {f"3.{minor}" for minor in (11, 12, 13)}
    assert all(version in allowed for version in named)
    assert "3.10" not in allowed
