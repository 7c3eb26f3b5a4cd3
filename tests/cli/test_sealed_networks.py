"""Sealed challenges' networks, and tables of any challenge: explain, evaluate and recover."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import jaxmi
from jaxmi.api import SealedChallenge
from jaxmi.challenges.pairs import PairChallenge
from jaxmi.errors import InputError
from jaxmi.programs.parse import parse
from jaxmi.sealed.read import open_bundle, read_bundle
from jaxmi.workflows.challenges import define, write_challenge
from jaxmi.workflows.recover import read_predictions, write_recovery

PROGRAM = "return x ** 2 < 40 * y"


def test_a_sealed_network_has_no_labels_until_its_challenge_is_opened(
    sealed_folder: Path, key_file: Path
) -> None:
    sealed = jaxmi.load_challenge(sealed_folder)
    assert isinstance(sealed, SealedChallenge)
    challenge = sealed.network.challenge
    assert (challenge.labels == -1).all() and challenge.program is None
    assert challenge.published is None and challenge.sealed
    assert "labels not known" in repr(challenge) and "not known" in challenge._repr_html_()
    assert "true labels" not in sealed.network._repr_html_()
    opened = open_bundle(read_bundle(sealed_folder), key_file, None).challenge
    assert not opened.sealed and set(opened.labels) == {0, 1}  # the control


def test_evaluate_says_what_a_sealed_challenge_states(run, sealed_folder: Path, capsys) -> None:
    bundle = read_bundle(sealed_folder)
    for path in (sealed_folder, sealed_folder / "network"):
        result = run("evaluate", str(path))
        stated = result["stated"]
        assert {name: one["right"] for name, one in stated.items()} == bundle.counts
        assert {name: one["inputs"] for name, one in stated.items()} == bundle.sizes
        assert stated["test"]["share"] == bundle.counts["test"] / 6385
        accuracies = {key: value for key, value in result.items() if key.endswith("_accuracy")}
        assert accuracies == dict.fromkeys(
            ("train_accuracy", "test_accuracy", "domain_accuracy"), None
        )
    from jaxmi.cli.main import main

    main(["evaluate", str(sealed_folder)])
    shown = capsys.readouterr().out
    assert f"{bundle.counts['test']:,} of 6,385" in shown
    assert "not recomputed" in shown.replace("\n", " ").replace("  ", " ")


def test_a_sealed_challenge_is_shown_by_its_networks_answers(
    run, fails, sealed_folder: Path, key_file: Path, tmp_path: Path, capsys
) -> None:
    bundle = read_bundle(sealed_folder)
    result = run("challenge", "show", str(sealed_folder), "--out", str(tmp_path / "shown.png"))
    assert result["sealed"] == {"commitment": bundle.commitment, "stated": bundle.stated()}
    answers = np.load(sealed_folder / "model_labels.npz")["labels"]
    assert result["label1_share"] == answers.mean() and result["program"] is None
    true = open_bundle(bundle, key_file, None).challenge.labels  # the control
    assert result["label1_share"] != true.mean()
    assert (tmp_path / "shown.png").read_bytes()[1:4] == b"PNG"
    copy, second = tmp_path / "copy", tmp_path / "2.png"
    shutil.copytree(sealed_folder, copy)
    (copy / "domain.npz").write_bytes(b"")
    assert "domain.npz" in fails(2, "challenge", "show", str(copy), "--out", str(second))
    assert not second.exists()
    from jaxmi.cli.main import main

    main(["challenge", "show", str(sealed_folder), "--out", str(tmp_path / "3.png")])
    assert f"{bundle.counts['test']:,} of 6,385 (test)" in " ".join(capsys.readouterr().out.split())


def test_evaluate_recomputes_what_is_not_sealed(run, checkpoints: Path) -> None:
    result = run("evaluate", str(checkpoints / "transformer"))
    assert "stated" not in result and result["test_accuracy"] > 0.95


def test_a_sealed_network_outside_of_its_folder_states_nothing(
    fails, run, sealed_folder: Path
) -> None:
    shutil.copytree(sealed_folder / "network", "network")
    assert "outside of its folder" in fails(2, "evaluate", "network")
    shutil.copytree(sealed_folder, "bundle")
    Path("bundle/README.md").write_text("altered")
    assert "README.md" in fails(2, "evaluate", "bundle")
    assert "README.md" in fails(2, "explain", "bundle", "--out", "out")
    assert "README.md" in fails(2, "recover", "bundle", "--out", "out")


@pytest.mark.long
def test_a_sealed_challenge_is_explained_without_its_labels(
    run, sealed_folder: Path, key_file: Path
) -> None:
    result = run("explain", str(sealed_folder), "--out", "out")
    assert "accuracy" not in result["figures"] and "fixed_accuracy" not in result["figures"]
    assert result["published"] == {}
    html = " ".join(Path("out/report.html").read_text().split())
    assert "Sealed challenge: pairs" in html and "sealed; it predicts label 1" in html
    assert "The published claim" not in html and "published network" not in html
    bundle = read_bundle(sealed_folder)
    opened = open_bundle(bundle, key_file, None).challenge  # the control: it has an accuracy
    labels = opened.predict(bundle.checkpoint.params)
    shares = {name: value for name, value in opened.metrics(labels).items() if value is not None}
    assert 0 < shares["domain_accuracy"] < 1
    for share in shares.values():
        assert f"{share:.2%}" not in html


@pytest.mark.long
def test_a_network_of_an_own_challenge_is_trained_and_explained(run, tmp_path: Path) -> None:
    """Two blocks of four heads; the control is the same network before training."""
    challenge = jaxmi.make_challenge(
        "z = 0\nif x ** 2 < 40 * y:\n    z += 3\nif y < 15:\n    z -= 1\nreturn z >= 1",
        p=31,
        name="mine",
        network={"d_model": 32, "n_heads": 4, "d_mlp": 64, "n_layers": 2},
    )
    trained, start = (
        jaxmi.train(challenge, seeds=[0], progress=False, steps=steps, eval_every=steps)[0]
        for steps in (300, 1)
    )
    trained.save("trained")
    result = run("explain", "trained", "--out", "out")
    figures = result["figures"]
    assert result["challenge"] == "mine" and result["published"] == {}
    assert figures["accuracy"] > 0.9
    assert "attention_block1_head3_kept_if_fixed" in figures
    assert figures["full_filters_agreement"] > figures["constant_answer"] + 0.05
    before = jaxmi.explain(start)
    assert before.metrics["accuracy"] < figures["accuracy"] - 0.1
    assert before.metrics["full_filters_agreement"] < before.metrics["constant_answer"] + 0.05
    html = Path("out/report.html").read_text()
    assert "jaxmi explain trained --out out" in html
    assert "challenge 2&#39;s network, tested on this network" in html


@pytest.fixture
def mine(tmp_path: Path) -> PairChallenge:
    """Make the folder `mine`, a challenge on pairs below 19, and its labels as `table.npz`."""
    definition = define(PROGRAM, p=19, name="mine", train_share=0.3, network={"d_model": 16})
    write_challenge(definition, Path("mine"))
    challenge = jaxmi.load_challenge("mine")
    assert isinstance(challenge, PairChallenge)
    np.savez("table.npz", labels=challenge.as_table(challenge.labels))
    return challenge


def test_a_table_of_other_pairs_is_read_with_its_challenge_or_without(
    mine: PairChallenge, caplog: pytest.LogCaptureFixture
) -> None:
    table = Path("table.npz")
    caplog.set_level("INFO")
    named = read_predictions(table, None, "mine")
    assert named.splits.sum() == len(mine.splits["test"])
    assert named.truth is not None and (named.truth == mine.labels).all()
    assert not caplog.records
    alone = read_predictions(table, None)
    assert not alone.splits.any() and alone.truth is None and alone.challenge.p == 19
    assert "name its challenge with --challenge" in caplog.text
    caplog.clear()
    np.savez("told.npz", labels=named.labels.reshape(19, 19), is_train=mine.is_train)
    told = read_predictions(Path("told.npz"), None)
    assert (told.splits == named.splits).all() and not caplog.records


def test_what_does_not_belong_to_a_table_is_refused(
    fails, mine: PairChallenge, checkpoints: Path, sealed_folder: Path
) -> None:
    recover = ("recover", "table.npz", "--out", "out")
    with pytest.raises(InputError, match=r"--truth: table\.npz names no challenge"):
        write_recovery(Path("table.npz"), Path("out"), True, False, None)
    assert "(19, 19), expected (113, 113)" in fails(2, *recover, "--challenge", "transformer")
    assert "(19, 19), expected" in fails(2, *recover, "--challenge", str(sealed_folder))
    assert "absent: not transformer, cnn, or the folder" in fails(
        2, *recover, "--challenge", "absent"
    )
    network = str(checkpoints / "transformer")
    assert "names its own challenge" in fails(
        2, "recover", network, "--out", "out", "--challenge", "mine"
    )
    assert not Path("out").exists()


@pytest.mark.slow
def test_a_table_of_an_own_challenge_is_recovered_and_its_program_scored(
    run, mine: PairChallenge
) -> None:
    result = run("recover", "table.npz", "--challenge", "mine", "--truth", "--out", "out")
    assert result["challenge"] == "mine" and result["agreement_truth"] > 0.98
    score = run("score", "out/program.txt", "--challenge", "mine", "--out", "scored")
    assert score["checkpoint"] is None  # a challenge of one's own has no network of its own
    assert score["agreement_truth"] == pytest.approx(result["agreement_truth"])
    assert Path("scored/differences.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads(Path("scored/score.json").read_text())["challenge"] == "mine"
    parse(Path("out/program.txt").read_text(), "pairs")
