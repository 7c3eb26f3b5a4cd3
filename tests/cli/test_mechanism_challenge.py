"""Mechanism challenges from the command line: posed, shown, scored, revealed, and refused."""

import json
from pathlib import Path

import pytest

from jaxmi.cli.main import main
from jaxmi.judge.key_explanation import explanation_of
from jaxmi.sealed.read import open_bundle, read_bundle

SMALL = ("--p", "23", "--network", "d_model=64", "n_heads=8", "d_mlp=160", "--programs", "50")


def pose() -> None:
    main(["challenge", "new", "--kind", "mechanism", "--out", "task", *SMALL])


def write_explanation(name: str, claims: slice = slice(None)) -> None:
    bundle = read_bundle("task")
    opened = open_bundle(bundle, "task.answer.json", None)
    assert opened.mechanism is not None
    true = explanation_of(opened.mechanism, opened.challenge, bundle.checkpoint.params)
    Path(name).write_text(json.dumps(true | {"claims": true["claims"][claims]}))


@pytest.mark.slow
def test_a_mechanism_is_posed_shown_scored_and_revealed(run, fails, capsys) -> None:
    pose()
    said = capsys.readouterr().out
    key = json.loads(Path("task.answer.json").read_text())
    assert key["fingerprint"] in said and key["salt"] not in said
    assert key["mechanism"]["mechanism"] not in said

    assert run("challenge", "verify", "task")["task"] == "mechanism"
    shown = run("challenge", "show", "task", "--out", "shown.png")
    assert shown["program"] == key["program"] and shown["sealed"]["task"] == "mechanism"

    write_explanation("true.json")
    write_explanation("some.json", slice(0, 2))
    by_key = ("--challenge", "task", "--answer", "task.answer.json")
    scored = run("score", "true.json", *by_key, "--out", "scored")
    assert scored["total"] == pytest.approx(1, abs=1e-6) and scored["mechanism_right"]
    assert json.loads(Path("scored/score.json").read_text())["total"] == scored["total"]
    part = run("score", "some.json", *by_key)
    assert part["total"] < 0.8 and part["precision"] == pytest.approx(1, abs=1e-3)

    Path("several").mkdir()
    for name in ("true.json", "some.json"):
        Path(name).rename(f"several/{name}")
    Path("several/none.json").write_text("[]")
    ranked = run("score", "several", *by_key, "--out", "ranked")
    assert [one["submission"] for one in ranked["ranking"]] == ["true.json", "some.json"]
    assert list(ranked["refused"]) == ["none.json"]
    assert "| 1 | true.json | 1.000 |" in Path("ranked/ranking.md").read_text()

    explained = ("--submission", "several/some.json")
    revealed = run("challenge", "reveal", "task", "task.answer.json", *explained)
    assert revealed["mechanism"] == key["mechanism"]
    assert revealed["submission"]["total"] == part["total"]
    main(["challenge", "reveal", "task", "task.answer.json", *explained])
    said = capsys.readouterr().out
    assert f"The mechanism: {key['mechanism']['mechanism']}." in said
    assert "parts of the key found" in said

    refused = "the key of a mechanism scores explanations"
    assert refused in fails(2, "score", "task/program.txt", *by_key)
    assert refused in fails(
        2, "challenge", "reveal", "task", "task.answer.json", "--submission", "task/program.txt"
    )
    assert "a key scores one explanation" in fails(
        2, "score", "several/true.json", "--against", "several/some.json", *by_key
    )
    assert "asks for a mechanism" in fails(2, "challenge", "solve", "task", "--out", "s.txt")
    altered = key | {"mechanism": key["mechanism"] | {"mechanism": "rows", "words": "?"}}
    Path("altered.json").write_text(json.dumps(altered))
    for command in (
        ("challenge", "reveal", "task", "altered.json"),
        ("score", "several/true.json", "--challenge", "task", "--answer", "altered.json"),
    ):
        assert "the key was altered" in fails(2, *command)


@pytest.mark.slow
def test_without_the_key_claims_are_tested_on_the_network(run, capsys) -> None:
    pose()
    capsys.readouterr()
    write_explanation("true.json")
    judged = run("score", "true.json", "--challenge", "task")
    assert judged["grade"] == "complete" and "total" not in judged
    program = run("score", "task/program.txt", "--challenge", "task")
    assert program["as_stated"] is True and program["agreement_network"] == 1


def test_what_cannot_be_posed_is_refused(fails) -> None:
    new = ("challenge", "new", "--out", "task")
    assert "isn't trained" in fails(2, *new, "--kind", "mechanism", "--train-share", "0.5")
    assert "--hide-program is of --kind mechanism" in fails(2, *new, "--hide-program")
    assert "p = 2: expected" in fails(2, *new, "--kind", "mechanism", "--p", "2")
    assert not Path("task").exists() and not Path("task.answer.json").exists()
