"""Challenges on triples on the command line: made, trained on, scored, exported, refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxmi.workflows.train import find_challenges

SMALL = ("--p", "7", "--network", "d_model=16", "n_heads=2", "d_mlp=32")


def truth() -> np.ndarray:
    x, y, w = np.indices((7, 7, 7))
    return (x + y * w) % 5 < 2


@pytest.fixture
def trained(run, in_an_empty_folder: Path) -> str:
    Path("mine.py").write_text("return (x + y * w) % 5 < 2")
    run("challenge", "make", "mine.py", "--out", "own", *SMALL)
    run("regenerate", "own", "--out", "run", "--set", "steps=20", "eval_every=10")
    return "run/seed-00000"


@pytest.mark.slow
def test_every_subcommand_reads_a_challenge_on_triples(run, fails, trained: str) -> None:
    assert {path.name for path in Path("run").glob("labels-*.png")} == {
        f"labels-w-{i}.png" for i in (0, 2, 4, 6)
    }
    shown = run("challenge", "show", "own")
    assert (shown["kind"], shown["p"], shown["inputs"]) == ("triples", 7, 343)
    assert shown["network"]["n_ctx"] == 4
    run("labels", "own", "--out", "labels.npz")
    run("predict", trained, "--out", "predicted.npz")
    with np.load("labels.npz") as labels, np.load("predicted.npz") as predicted:
        assert (labels["labels"] == truth()).all()
        assert labels["is_train"].shape == (7, 7, 7)
        accuracy = (predicted["labels"] == truth()).mean()
    evaluated = run("evaluate", trained)
    assert evaluated["domain_accuracy"] == pytest.approx(accuracy)
    scored = ("score", "mine.py", "--challenge", "own", "--checkpoint", trained)
    score = run(*scored, "--out", "score")
    assert score["agreement_truth"] == 1
    assert Path("score/differences.png").is_file()
    regions = score["differences"]["network"]["largest"]
    assert all(", w = " in region["name"] for region in regions)
    table = run("score", "predicted.npz", "--challenge", "own")
    assert table["agreement_truth"] == pytest.approx(accuracy)  # the control
    for before in ("explain", "recover"):
        refusal = f"{before} is for pairs and images so far; {trained} is of triples"
        assert refusal in fails(2, before, trained, "--out", "other")
    assert "is of triples" in fails(2, "recover", trained, "--explain", "--out", "other")
    args = ("recover", "predicted.npz", "--challenge", "own", "--out", "other")
    assert "recover is for pairs and images so far; own is of triples" in fails(2, *args)
    assert "'triples'" in fails(2, "challenge", "new", "--kind", "triples", "--out", "other")
    assert not Path("other").exists()
    tokens = run("data", "tfds", "own", "--out", "dataset")["features"]["tokens"]
    assert tokens["shape"] == [4]

    run("export", trained, "--to", "safetensors", "--out", "file.safetensors")
    run("import", "file.safetensors", "--out", "back")
    first, again = (Path(folder, "params.safetensors").read_bytes() for folder in (trained, "back"))
    assert first == again
    shutil.rmtree("back")
    run("import", "file.safetensors", "--challenge", "own", "--out", "back")
    refused = ("import", "file.safetensors", "--challenge", "transformer", "--out", "other")
    assert "expected float32" in fails(2, *refused)


def test_labels_from_a_table(run, fails) -> None:
    is_train = np.random.default_rng(0).random((7, 7, 7)) < 0.5
    np.savez("table.npz", labels=truth(), is_train=is_train)
    args = ("challenge", "make", "--labels", "table.npz", "--split", "table.npz", "--out", "own")
    made = run(*args, "--kind", "triples", *SMALL)
    assert made["split"]["train"] == is_train.sum()
    assert "idle" not in {rule["rule"] for rule in made["fairness"]}
    shutil.rmtree("own")
    assert "expected (7, 7) or (49,)" in fails(2, *args, *SMALL)  # the control: pairs by default


def test_a_folder_of_programs_may_hold_every_kind() -> None:
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("return x < y")
    Path("texts/b.txt").write_text("return x < w")
    Path("texts/c.txt").write_text("return mean(image) < 30")
    found = find_challenges(["texts"])
    kinds = [one if isinstance(one, str) else one.kind for one in found]
    assert kinds == ["pairs", "triples", "image"]
