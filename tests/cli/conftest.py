"""Each test runs in an empty folder, and subcommands in this process."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxmi.cli.main import main

QUICK = ("--set", "steps=20", "eval_every=10")
"""Trains for a moment."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run a subcommand and return the JSON object that it prints; stdout holds nothing else."""

    def run(*args: str) -> dict:
        main([*args, "--json"])
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]):
    """Run a subcommand that must fail with a code and one line on stderr; return the line."""

    def fails(code: int, *args: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(list(args))
        assert caught.value.code == code
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.strip().splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("jaxmi: ")
        return lines[0]

    return fails


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Train the transformer for a moment, each choice of seeds once; return where `run/` lies."""
    folders: dict[str, Path] = {}

    def train(seeds: str) -> Path:
        if seeds not in folders:
            folders[seeds] = tmp_path_factory.mktemp("trained")
            printed = io.StringIO()
            with (
                contextlib.chdir(folders[seeds]),
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(printed),
            ):
                main(["regenerate", "transformer", "--seeds", seeds, "--out", "run", *QUICK])
        return folders[seeds]

    return train


@pytest.fixture
def quick_run(trained: Callable[[str], Path]) -> Callable[..., str]:
    """Put a run of a moment into the folder `run`, as `regenerate --out run` does."""

    def quick_run(seeds: str = "0:1") -> str:
        shutil.copytree(trained(seeds) / "run", "run")
        return "run"

    return quick_run
