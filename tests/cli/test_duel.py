"""`jaxmi score --against`: two explanations of one network, and what is refused."""

import json
import os
from pathlib import Path

import pytest

import jaxmi
from jaxmi.cli.main import main

RESID = "blocks.0.hook_resid_mid"
SMALL = ("--p", "13", "--network", "d_model=16", "n_heads=2", "d_mlp=32")
OF_MINE = ("--challenge", "mine", "--checkpoint", "run/seed-00000")


def write(path: str, feature: str, challenge: str = "mine", **more) -> str:
    """Write an explanation: the residual stream at the last position carries a feature."""
    claim = {"site": RESID, "components": {"pos": 2}, "feature": feature, **more}
    Path(path).write_text(json.dumps({"challenge": challenge, "title": path, "claims": [claim]}))
    return path


@pytest.fixture
def trained(run) -> None:
    Path("mine.txt").write_text("return x % 3 < 1")
    run("challenge", "make", "mine.txt", "--out", "mine", *SMALL)
    run(
        *("regenerate", "mine", "--seeds", "0:1", "--out", "run"),
        *("--set", "steps=200", "eval_every=100"),
    )


@pytest.mark.slow
def test_a_duel_is_printed_written_and_the_same_from_python(trained, run, capsys) -> None:
    one, other = write("rows.json", "x % 3 < 1"), write("columns.json", "y % 3 < 1")
    found = run("score", one, "--against", other, *OF_MINE, "--out", "scored")
    assert [side["submission"] for side in found["explanations"]] == ["rows.json", "columns.json"]
    assert found["checkpoint"] == "run/seed-00000"
    assert found["inputs"] == 169 and found["challenge"] == "mine"
    rows, columns = found["explanations"]
    assert rows["kept"]["low"] <= rows["kept"]["value"] <= rows["kept"]["high"]
    assert rows["kept"]["value"] > columns["kept"]["value"] + 0.1
    assert found["kept_difference"]["low"] > 0
    assert {side["right"] for side in found["interventions"]} == {"rows.json"}
    assert rows["score"]["claims"][0]["feature"] == "x % 3 < 1"
    on_disk = json.loads(Path("scored/duel.json").read_text())
    assert on_disk == {key: value for key, value in found.items() if key != "files"}
    assert found["files"] == ["scored/duel.json"]
    main(["score", one, "--against", other, *OF_MINE])
    shown = capsys.readouterr().out
    for text in ("rows.json keeps more labels", "only the owner permits", "bits of feature"):
        assert text in shown
    duel = jaxmi.duel(one, Path(other), "mine", jaxmi.load("run")[0])
    assert isinstance(duel, jaxmi.Duel)
    assert json.loads(json.dumps(duel.metrics())) == {key: found[key] for key in duel.metrics()}
    with pytest.raises(jaxmi.errors.InputError, match=r"rows\.json explains a network: give"):
        jaxmi.duel(one, other, "mine")


def test_two_files_of_one_name_are_told_apart(trained, run) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
    one, other = write("a/same.json", "x % 3 < 1"), write("b/same.json", "x % 3 < 1")
    found = run("score", one, "--against", other, *OF_MINE)
    assert [side["submission"] for side in found["explanations"]] == [one, other]
    assert found["kept_difference"] == {"value": 0, "low": 0, "high": 0}
    assert {side["right"] for side in found["interventions"]} == {"no disagreement"}


def test_what_cannot_be_compared_is_named(fails, checkpoints: Path) -> None:
    one, other = write("one.json", "x", "transformer"), write("other.json", "y", "transformer")
    of = ("--challenge", "transformer", "--checkpoint", str(checkpoints / "transformer"))
    Path("p.txt").write_text("return x < y")
    Path("folder").mkdir()
    os.mkfifo("pipe.json")
    os.link(one, "linked.json")
    Path("deep.json").write_text("[" * 200_000)
    Path("nan.json").write_text('{"challenge": NaN}')
    write("cnn.json", "0", "cnn")
    write("wrong.json", "z", "transformer")
    for path, against, named in (
        ("p.txt", other, "p.txt is not one: --against compares two explanations"),
        (one, "p.txt", "p.txt is not one: --against compares two explanations"),
        ("folder", other, "folder is a folder: --against compares two explanations"),
        (one, "missing.json", "missing.json cannot be read: No such file"),
        ("missing.json", other, "missing.json cannot be read: No such file"),
        (one, "pipe.json", "pipe.json is not a regular file"),
        (one, one, "--against one.json: the same file as one.json"),
        (one, "linked.json", "--against linked.json: the same file as one.json"),
        (one, "deep.json", "deep.json: the submission is nested too deeply"),
        (one, "nan.json", "nan.json: the submission has NaN"),
        (one, "cnn.json", "cnn.json: challenge: 'cnn', but this is judged on 'transformer'"),
        ("wrong.json", other, "wrong.json: claims[0].feature: line 1, column 1: unknown name 'z'"),
        (one, "wrong.json", "wrong.json: claims[0].feature: line 1, column 1: unknown name 'z'"),
    ):
        assert named in fails(2, "score", path, "--against", against, *of, "--out", "out")
    assert not Path("out").exists()
    assert "name it with --checkpoint" in fails(
        2, "score", one, "--against", other, "--challenge", "transformer"
    )
    cnn = ("--challenge", "transformer", "--checkpoint", str(checkpoints / "cnn"))
    assert "a network of cnn, not of transformer" in fails(
        2, "score", one, "--against", other, *cnn
    )
    Path("out").mkdir()
    Path("out/duel.json").write_text("mine")
    assert "duel.json" in fails(2, "score", one, "--against", other, *of, "--out", "out")
    assert Path("out/duel.json").read_text() == "mine"
    write("late.json", "1 / x", "transformer")
    assert "late.json: claims[0].feature: ZeroDivisionError" in fails(
        2, "score", "late.json", "--against", other, *of, "--out", "new"
    )
    assert not Path("new").exists()
