"""`jaxmi challenge make` and `show`: folders, tables of labels, splits, pictures, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmi.cli.challenge import parse_sizes
from jaxmi.errors import InputError

TEXT = "z = x * y % 7\nreturn z < 3\n"
SMALL = ("--p", "13", "--network", "d_model=16", "n_heads=2", "d_mlp=32")


@pytest.fixture(autouse=True)
def program() -> Path:
    path = Path("mine.py")
    path.write_text(TEXT)
    return path


def truth(p: int) -> np.ndarray:
    x, y = np.indices((p, p))
    return (x * y % 7 < 3).astype(np.int32)


def test_a_program_becomes_a_folder_that_every_subcommand_reads(run) -> None:
    made = run("challenge", "make", "mine.py", "--out", "own", *SMALL, "--train-share", "0.25")
    assert made["name"] == "own"
    assert made["p"] == 13
    assert made["split"] == {"train": 42, "test": 127}
    assert made["network"]["d_mlp"] == 32
    assert made["label1_share"] == pytest.approx(truth(13).mean())
    assert {rule["rule"] for rule in made["fairness"]} >= {"share", "noise", "tree", "idle"}
    assert [path.name for path in Path("own").iterdir()] == ["challenge.json"]
    assert run("labels", "own", "--out", "labels.npz")["challenge"] == "own"
    with np.load("labels.npz") as arrays:
        assert (arrays["labels"] == truth(13)).all()
        assert arrays["is_train"].sum() == 42
    score = run("score", "mine.py", "--challenge", "own")
    assert score["agreement_truth"] == 1
    Path("other.txt").write_text("return x * y % 7 < 2")
    assert run("score", "other.txt", "--challenge", "own")["agreement_truth"] < 0.95  # the control


def test_labels_and_split_from_tables(run) -> None:
    is_train = np.random.default_rng(0).random((13, 13)) < 0.5
    np.savez("table.npz", labels=truth(13), is_train=is_train)
    made = run(
        "challenge", "make", "--labels", "table.npz", "--split", "table.npz", "--out", "own", *SMALL
    )
    assert made["program"] is None
    assert "idle" not in {rule["rule"] for rule in made["fairness"]}
    run("labels", "own", "--out", "labels.npz")
    with np.load("labels.npz") as arrays:
        assert (arrays["labels"] == truth(13)).all()
        assert (arrays["is_train"] == is_train).all()
    np.savez("rows.npz", train=np.flatnonzero(is_train))
    run("challenge", "make", "mine.py", "--split", "rows.npz", "--out", "again", *SMALL)
    splits = [json.loads(Path(f, "challenge.json").read_text())["split"] for f in ("own", "again")]
    assert splits[0] == splits[1]


def test_a_picture_is_drawn_and_not_replaced_unasked(run, fails) -> None:
    run("challenge", "make", "mine.py", "--out", "own", *SMALL)
    shown = run("challenge", "show", "own")
    assert shown["picture"] == "own.png"
    assert Path("own.png").read_bytes().startswith(b"\x89PNG")
    assert "own.png exists already" in fails(2, "challenge", "show", "own")
    run("challenge", "show", "own", "--force")
    assert run("challenge", "show", "transformer", "--out", "it.svg")["p"] == 113
    assert "a picture's name ends in" in fails(2, "challenge", "show", "own", "--out", "it.txt")


def test_images_are_told_by_the_programs_names(run, mnist_data) -> None:
    Path("image.py").write_text("return l1(image, template(6)) < 30000")
    made = run(
        "challenge", "make", "image.py", "--out", "own", "--network", "channels=3,5", "neurons=20"
    )
    assert made["kind"] == "image"
    assert made["network"]["channels"] == [3, 5]
    run("challenge", "show", "own")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("mine.py", "--p", "1"), "p = 1: expected a whole number, at least 5"),
        (("mine.py", "--p", "100000"), "needs about"),
        (("mine.py", "--network", "n_heads=3"), "does not divide"),
        (("mine.py", "--network", "width=3"), "has no 'width'"),
        (("mine.py", "--network", "d_model"), "expected NAME=NUMBER"),
        (("mine.py", "--kind", "image"), "line 1, column 5: unknown name 'x'"),
        (("mine.py", "--data", "."), "has no train-images-idx3-ubyte"),
        (("mine.py", "--labels", "t.npz"), "and not both"),
        ((), "name a program"),
        (("none.py",), "none.py"),
        (("mine.py", "--split", "mine.py"), "mine.py"),
        (("mine.py", "--name", "transformer"), "stands for a published challenge"),
        (("--labels", "odd.npz", "--p", "13"), "odd.npz"),
        (("--labels", "many.npz", "--p", "13"), "the labels must be 0 or 1; one is 2"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(fails, args, message: str) -> None:
    np.savez("odd.npz", labels=truth(12))
    np.savez("many.npz", labels=2 * truth(13))
    before = sorted(Path().rglob("*"))
    assert message in fails(2, "challenge", "make", *args, "--out", "own")
    assert sorted(Path().rglob("*")) == before


def test_only_a_challenge_alone_is_replaced(run, fails) -> None:
    run("challenge", "make", "mine.py", "--out", "own", *SMALL)
    args = ("challenge", "make", "mine.py", "--out", "own", *SMALL)
    assert "own exists already; --force replaces it" in fails(2, *args)
    assert run(*args, "--force")["p"] == 13
    Path("own/notes.txt").touch()
    assert "holds more than a challenge" in fails(2, *args, "--force")
    assert Path("own/notes.txt").exists()


def test_an_altered_or_absent_challenge_is_named(run, fails) -> None:
    run("challenge", "make", "mine.py", "--out", "own", *SMALL)
    path = Path("own/challenge.json")
    path.write_text(path.read_text().replace("13", "14"))
    for args in (("challenge", "show", "own"), ("labels", "own", "--out", "l.npz")):
        assert "was altered" in fails(2, *args)
    for args in (("challenge", "show", "other"), ("labels", "other", "--out", "l.npz")):
        assert "no challenge 'other': expected transformer, cnn, or a folder" in fails(2, *args)


def test_sizes_are_read() -> None:
    assert parse_sizes(("d_model=64", "channels=4,8")) == {"d_model": 64, "channels": [4, 8]}
    for text in ("d_model", "d_model=", "d_model=x", "d_model=-1", "=3", "d_model=1.5"):
        with pytest.raises(InputError, match="expected NAME=NUMBER"):
            parse_sizes((text,))
    with pytest.raises(InputError, match="comes twice"):
        parse_sizes(("d_model=1", "d_model=2"))
