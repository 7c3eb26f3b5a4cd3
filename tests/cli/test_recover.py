"""The program is recovered from a network's answers alone, and bad input is refused at once."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import Key, posed, seal
from jaxmi.cli.main import main
from jaxmi.errors import InputError
from jaxmi.judge.score import Reference
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show
from jaxmi.recovery.evidence import Candidate
from jaxmi.recovery.recover import Judgement, Recovery
from jaxmi.report.scores import difference_figure
from jaxmi.sealed.write import write_bundle
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.workflows import recover
from jaxmi.workflows.recover import read_predictions

PUBLISHED = Path(jaxmi.__file__).parent / "programs" / "published" / "transformer.txt"


@pytest.fixture(scope="module")
def recovered(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> dict:
    """What the command gives for the repository's own network."""
    from jaxmi.workflows.recover import write_recovery

    out = tmp_path_factory.mktemp("recovered")
    return write_recovery(checkpoints / "transformer", out / "recovery", True, False, None)


@pytest.mark.slow
def test_challenge_2_is_recovered_to_the_last_label(recovered: dict, run, checkpoints) -> None:
    assert recovered["agreement_truth"] == 1
    assert recovered["found"] and recovered["confidence"] > 0.9
    evaluated = run("evaluate", str(checkpoints / "transformer"))
    assert recovered["network_truth"] == evaluated["domain_accuracy"] < 1
    assert recovered["agreement_network"] == recovered["network_truth"]
    for constant in ("200", "600", "1.5", "p - x + 20"):
        assert constant in recovered["program"]
    assert recovered["description_length"] == parse(PUBLISHED.read_text(), "pairs").size


@pytest.mark.slow
def test_what_was_recovered_is_on_disk_and_a_submission(recovered: dict, run) -> None:
    program, result, figure = map(Path, recovered["files"])
    assert program.read_text() == recovered["program"]
    assert json.loads(result.read_text()) == {k: v for k, v in recovered.items() if k != "files"}
    assert figure.read_bytes()[:4] == b"\x89PNG"
    score = run("score", str(program), "--challenge", "transformer")
    assert score["agreement_truth"] == 1
    costs = [recovered["nats"], *(one["nats"] for one in recovered["runners_up"])]
    assert costs == sorted(costs)
    assert all(one["differs"] > 0 for one in recovered["runners_up"])


@pytest.mark.long
def test_the_truth_plays_no_part_unless_it_is_asked_for(
    recovered: dict, run, transformer: Challenge, checkpoints: Path
) -> None:
    """From a table in which true labels stand that are wrong: the same program comes out."""
    run("predict", str(checkpoints / "transformer"), "--out", "answers.npz")
    answers = dict(np.load("answers.npz"))
    np.savez("both.npz", model_labels=answers["labels"], labels=1 - answers["labels"])
    np.savez("told.npz", **answers, is_train=np.isin(np.arange(12_769), 0).reshape(113, 113))
    table = run("recover", "both.npz", "--out", "out", "--truth")
    assert table["program"] == recovered["program"]
    assert table["agreement_truth"] == pytest.approx(1 - table["agreement_network"])
    assert table["network_truth"] == 0
    assert "agreement_truth" not in run("recover", "answers.npz", "--out", "out", "--force")
    assert read_predictions(Path("told.npz"), None).splits.sum() == 12_768
    assert read_predictions(Path("answers.npz"), None).splits.sum() == 6385
    assert (
        read_predictions(Path("both.npz"), None).labels == (answers["labels"] == 1).ravel()
    ).all()


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({}, "holds no array `labels`"),
        ({"labels": np.ones((113, 113))}, "one label for every input"),
        ({"labels": np.eye(112, 113)}, "(112, 113), expected (113, 113) or (12769,) or (70000,)"),
        ({"labels": np.eye(113) * np.nan}, "expected whole numbers from 0 to 32,767"),
        ({"labels": np.eye(113) - 1}, "expected whole numbers from 0 to 32,767"),
        ({"labels": np.full((113, 113), "one")}, "expected whole numbers from 0 to 32,767"),
        ({"labels": np.eye(113), "logits": np.zeros((113, 2))}, "`logits` is (113, 2)"),
        ({"labels": np.eye(113), "logits": np.full((113, 113, 2), np.inf)}, "not finite"),
        ({"labels": np.eye(113), "is_train": 2 * np.ones((113, 113))}, "`is_train`"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(fails, arrays: dict, named: str) -> None:
    np.savez("table.npz", **arrays)
    line = fails(2, "recover", "table.npz", "--out", "out")
    assert "table.npz" in line and named in line
    assert not Path("out").exists()


def test_what_is_no_network_or_would_be_lost_is_refused(fails, bundle: Path) -> None:
    assert "absent is no checkpoint: there is no such" in fails(
        2, "recover", "absent", "--out", "out"
    )
    Path("run").mkdir()
    Path("run/run.json").write_text("{}")
    assert "name one, such as run/seed-00000" in fails(2, "recover", "run", "--out", "out")
    sealed = str(bundle / "network")
    assert "true labels are not known" in fails(2, "recover", sealed, "--out", "out", "--truth")
    explain = ("--out", "out", "--explain")
    np.savez("table.npz", labels=np.eye(113))
    assert "table.npz is a table" in fails(2, "recover", "table.npz", *explain)
    assert not Path("out").exists()
    Path("out").mkdir()
    Path("out/program.txt").write_text("mine")
    assert "out/program.txt exists" in fails(2, "recover", sealed, "--out", "out")
    assert Path("out/program.txt").read_text() == "mine"


@pytest.mark.long
def test_a_sealed_challenge_is_solved_by_the_counts_that_it_states(
    run, fails, transformer: Challenge, checkpoints: Path
) -> None:
    key = seal(parse(PUBLISHED.read_text(), "pairs"))
    params = load_checkpoint(checkpoints / "transformer").params
    for name in ("true", "other"):
        Path(name).mkdir()
    write_bundle(Path("true"), posed(transformer, key.program), params, key, {"name": "fast"})
    solved = run("challenge", "solve", "true", "--out", "mine.txt")
    assert solved["as_stated"]
    assert Path("mine.txt").read_text() == solved["submitted"]
    score = run("score", "mine.txt", "--challenge", "true")
    assert score["as_stated"]
    assert "mine.txt exists" in fails(2, "challenge", "solve", "true", "--out", "mine.txt")
    assert ".txt or .py" in fails(2, "challenge", "solve", "true", "--out", "mine.json")


@pytest.mark.long
def test_a_program_with_other_counts_is_not_said_to_be_the_sealed_one(run, bundle: Path) -> None:
    """The control: this network was trained on another program than the sealed one."""
    solved = run("challenge", "solve", str(bundle), "--out", "mine.py")
    assert solved["found"] and not solved["as_stated"]
    assert "200" in solved["submitted"]


@pytest.fixture
def returns(monkeypatch):
    """Has the search return programs, the best first, whatever the answers."""

    def returns(*texts: str, confidence: float = 0.9) -> None:
        programs = [parse(text, "pairs") for text in texts]
        labels = [label(program, PairDomain()).reshape(-1) == 1 for program in programs]
        found = tuple(
            Candidate(program, own, 10.0 * i)
            for i, (program, own) in enumerate(zip(programs, labels, strict=True))
        )
        judgement = Judgement(confidence, ())
        monkeypatch.setattr(
            recover, "recover", lambda _, evidence: Recovery(evidence, found, judgement, 1.0, 1)
        )

    return returns


def test_the_first_program_with_the_stated_counts_is_submitted_or_else_the_first(
    run, returns, bundle: Path, key: Key
) -> None:
    sealed = show(key.program)
    for found, chosen, as_stated in (
        (("return x > 3", sealed, "return y > 3"), sealed, True),
        (("return x > 3", "return y > 3"), "return x > 3", False),
    ):
        returns(*found)
        solved = run("challenge", "solve", str(bundle), "--out", "mine.txt", "--force")
        assert parse(solved["submitted"], "pairs") == parse(chosen, "pairs")
        assert Path("mine.txt").read_text() == solved["submitted"]
        assert solved["as_stated"] is as_stated


def test_each_program_is_compared_with_the_truth(run, returns) -> None:
    x, y = np.indices((113, 113))
    np.savez("table.npz", model_labels=x > 10, labels=(x > 3).astype(int))
    returns("return x > 10", "return x > 3", "return y > 3")
    result = run("recover", "table.npz", "--out", "out", "--truth")
    assert result["agreement_truth"] == result["network_truth"] == ((x > 10) == (x > 3)).mean()
    told = [one["agreement_truth"] for one in result["runners_up"]]
    assert told == [1, ((y > 3) == (x > 3)).mean()]


def test_the_true_labels_are_not_shown_unless_they_are_asked_for(run, returns, monkeypatch) -> None:
    shown = []

    def figure(reference: Reference, *rest) -> Figure:
        shown.append(reference.truth)
        return difference_figure(reference, *rest)

    monkeypatch.setattr(recover, "difference_figure", figure)
    np.savez("table.npz", labels=np.indices((113, 113))[0] > 10)
    returns("return x > 10")
    for asked in ((), ("--truth",)):
        run("recover", "table.npz", "--out", "out", "--force", *asked)
    assert [truth is None for truth in shown] == [True, False]


@pytest.mark.parametrize("confidence", [0.1, 0.9])
def test_a_program_that_is_likely_wrong_is_said_to_be_not_found(
    returns, capsys, confidence
) -> None:
    np.savez("table.npz", labels=np.indices((113, 113))[0] > 10)
    returns("return x > 10", confidence=confidence)
    main(["recover", "table.npz", "--out", "out"])
    assert ("not found: confidence 0.10" in capsys.readouterr().err) is (confidence < 0.5)


def test_an_explanation_in_the_way_is_refused_before_the_search(
    fails, checkpoints: Path, monkeypatch
) -> None:
    monkeypatch.setattr(recover, "recover", lambda *_: pytest.fail("it searched"))
    Path("out/explained").mkdir(parents=True)
    Path("out/explained/report.html").write_text("mine")
    network = str(checkpoints / "transformer")
    line = fails(2, "recover", network, "--out", "out", "--explain")
    assert "out/explained/report.html exists" in line


def test_answers_of_images_are_of_the_rows_that_they_count(mnist_data) -> None:
    rng = np.random.default_rng(0)
    for n, first in ((70_000, 0), (60_000, 0), (10_000, 60_000)):
        np.savez("images.npz", labels=rng.integers(0, 2, n))
        answers = read_predictions(Path("images.npz"), None)
        inputs = answers.domain.images
        assert len(inputs) == n
        np.testing.assert_array_equal(inputs[0], mnist_data.images[first])
        assert len(answers.domain.templates) == 60_000
    np.savez("images.npz", labels=rng.integers(0, 2, (10, 1000)))
    with pytest.raises(InputError, match=r"\(10, 1000\)"):
        read_predictions(Path("images.npz"), None)
