"""Challenges on triples on the command line: made, trained on, scored, exported, refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxmi.cli.main import main
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
    recovered = run("recover", trained, "--truth", "--out", "recovered")
    assert Path("recovered/recovery.png").is_file()
    again = run("score", "recovered/program.txt", "--challenge", "own", "--checkpoint", trained)
    assert again["agreement_network"] == recovered["agreement_network"] > 0.6
    assert again["agreement_truth"] == recovered["agreement_truth"]
    explained = run("explain", trained, "--out", "explained")
    assert explained["figures"]["accuracy"] == pytest.approx(accuracy, abs=0.05)
    posed = run("challenge", "new", "--kind", "triples", "--p", "23", "--out", "sealed")
    assert posed["kind"] == "triples"
    verified = run("challenge", "verify", "sealed")
    assert "transformer_lens_4.safetensors" in verified["compared"]
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


@pytest.mark.slow
def test_a_program_on_triples_is_recovered_from_a_table(run, fails, capsys) -> None:
    x, y, w = np.indices((17, 17, 17))
    labels = x + y < w + 4
    arrays = {"labels": labels, "logits": np.stack([~labels, labels], -1).astype(float)}
    np.savez("table.npz", **arrays)
    main(["recover", "table.npz", "--out", "recovered", "--json"])
    printed = capsys.readouterr()
    assert "table.npz is of triples below 17; which of them were trained on is" in printed.err
    found = json.loads(printed.out)
    assert found["program"].splitlines()[1] in ("if x + y < w + 4:", "if x + y > w + 3:")
    assert found["agreement_network"] == 1 and Path("recovered/recovery.png").is_file()
    np.savez("split.npz", **arrays, is_train=x > y)
    error = fails(2, "recover", "split.npz", "--truth", "--out", "other")
    assert "names no challenge whose true labels are known" in error
    Path("own.txt").write_text("return x + y < w + 4")
    run("challenge", "make", "own.txt", "--out", "own", "--p", "17", *SMALL[2:])
    named = run("recover", "table.npz", "--challenge", "own", "--truth", "--out", "named")
    assert named["agreement_truth"] == 1
    np.savez("ragged.npz", labels=labels[:8])
    assert "(8, 17, 17)" in fails(2, "recover", "ragged.npz", "--out", "other")


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
