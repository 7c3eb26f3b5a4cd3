"""Each test runs in an empty folder, and commands in this process."""

import json
from pathlib import Path

import pytest

from jaxmi.cli.main import main


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Runs a command and returns the JSON object that it prints; stdout holds nothing else."""

    def run(*args: str) -> dict:
        main([*args, "--json"])
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must fail with a code and one line on stderr; returns the line."""

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
