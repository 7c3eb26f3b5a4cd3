"""`jaxmi methods`: what it prints and writes, and what it refuses."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from jaxmi.cli.main import main
from jaxmi.workflows import methods

QUESTIONS = cache(methods.questions_of)


@pytest.fixture(autouse=True)
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "questions_of", lambda seed: QUESTIONS(0))
    monkeypatch.setattr(methods, "CHOOSING", range(1))


def test_it_writes_marks_and_a_figure(run: Callable) -> None:
    Path("mine.py").write_text("def score(network, question):\n    return None\n")
    result = run(
        "methods",
        "--out",
        "out",
        "--only",
        "probe,labels",
        "--plants",
        "3",
        "--method",
        "mine.py:score",
    )
    assert result["settings"]["plants"] == 3 and result["settings"]["seeds"] == [100, 100]
    assert set(result["methods"]) == {"probe", "labels"}  # mine has no answer to anything
    written = json.loads(Path("out/methods.json").read_text())
    assert {"folder": "out", **written} == result
    assert Path("out/methods.png").read_bytes()[:4] == b"\x89PNG"
    assert Path("out/methods.svg").is_file()


def test_it_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods", "--out", "out", "--only", "probe,labels", "--plants", "1"])
    shown = capsys.readouterr().out
    assert shown.index("probe ") < shown.index("labels ") and "1.000" in shown and "0.500" in shown


def test_bad_input_is_one_line(fails: Callable) -> None:
    assert "method 'mine.py'" in fails(2, "methods", "--out", "out", "--method", "mine.py")
    assert "method 'best'" in fails(2, "methods", "--out", "out", "--only", "best")
    Path("mine.py").write_text("def score(network, question):\n    return 'yes'\n")
    line = fails(2, "methods", "--out", "out", "--method", "mine.py:score", "--only", "none")
    assert "method score: is `" in line and "'yes' is no score" in line
    Path("file").write_text("")
    assert "file" in fails(2, "methods", "--out", "file", "--only", "labels", "--plants", "1")
