"""`jaxmi trojan`: what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest

from jaxmi.cli.main import main

PROGRAM = "return x + y < 31"
SETTINGS = ["steps=200", "eval_every=200", "batch_size=128", "learning_rate=3e-3"]


def run(*words: object) -> None:
    main([str(word) for word in words])


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "program.txt").write_text(PROGRAM)
    (folder / "trigger.json").write_text('{"kind": "row", "x": 3}')
    sizes = ["d_model=16", "n_heads=2", "d_mlp=32"]
    made = folder / "challenge"
    run("challenge", "make", folder / "program.txt", "--out", made, "--p", 31, "--network", *sizes)
    return folder


def test_implant_and_show(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = mine / "out"
    words = ["trojan", "implant", mine / "challenge", "--out", out, "--seeds", "3"]
    words += ["--trigger", mine / "trigger.json", "--target", "0", "--set", *SETTINGS]
    run(*words)
    printed = capsys.readouterr().out
    assert "row to 0" in printed and "trojan.png" in printed and "strict success" in printed
    run(*words, "--json")
    result = json.loads(capsys.readouterr().out)
    (entry,) = result["implants"]
    assert {"strict_success", "strict_n", "clean_network_success"} <= set(entry)
    assert {"test_accuracy", "clean_test_accuracy", "checkpoint"} <= set(entry)
    assert entry["trojan"]["trigger"] == {"kind": "row", "x": 3} and entry["seed"] == 3
    run("trojan", "show", entry["checkpoint"])
    shown = capsys.readouterr().out
    assert "if x == 3:\n    return 0" in shown and "kind: row" in shown
    run("trojan", "show", Path(entry["checkpoint"]) / "trojan.json", "--json")
    assert json.loads(capsys.readouterr().out)["trojan"] == entry["trojan"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "patch"], "cannot be used with pairs; there are: rectangle, row, clause"),
        (["--kind", "sticker"], "sticker"),
        (["--rate", "2"], "rate = 2.0: expected a number in 0..0.5"),
        (["--target", "7"], "target = 7: expected a whole number in 0..1"),
        (["--trigger", "nowhere.json"], "nowhere.json"),
        (["--save-every", "0"], "--save-every 0: expected at least 1"),
    ],
)
def test_a_mistake_is_one_line(
    mine: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("trojan", "implant", mine / "challenge", "--out", mine / "none", *words)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and message in error and error.count("\n") == 1
    assert not (mine / "none").exists()
