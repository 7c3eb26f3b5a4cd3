"""Each test runs in an empty folder, and commands in this process."""

import json
import shutil
from pathlib import Path

import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import Answer, posed, seal
from jaxmi.cli.main import main
from jaxmi.cli.sealed_bundle import write_bundle
from jaxmi.cli.sealed_checks import read_bundle
from jaxmi.programs.parse import parse
from jaxmi.weights.native import load_checkpoint, write_json

SEALED = """z = 0
if x ** 3 < 4711 * sqrt(y):
    z += 3
z += int(y ** 1.7) % 6 - 4
return z >= 0
"""
"""A program with constants that nothing else has."""


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


@pytest.fixture(scope="session")
def answer() -> Answer:
    return seal(parse(SEALED, "pairs"))


@pytest.fixture(scope="session")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    transformer: Challenge,
    checkpoints: Path,
    answer: Answer,
) -> Path:
    """A sealed challenge with the repository's network, which knows nothing of the program."""
    folder = tmp_path_factory.mktemp("made")
    params = load_checkpoint(checkpoints / "transformer").params
    challenge = posed(transformer, answer.program)
    write_bundle(folder, challenge, params, answer, {"name": "fast", "steps": 1000})
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be altered."""
    return Path(shutil.copytree(made, tmp_path / "bundle"))


@pytest.fixture
def answer_file(answer: Answer, made: Path, tmp_path: Path) -> Path:
    path = tmp_path / "answer.json"
    write_json(path, {**answer.to_json(), "fingerprint": read_bundle(made).fingerprint})
    return path
