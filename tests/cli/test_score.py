"""Submissions as a user hands them in: programs, tables, folders, to open and sealed challenges."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import jaxmi
from jaxmi.programs.show import show
from jaxmi.workflows.bundle import pickle_for_any_numpy

PUBLISHED = Path(jaxmi.__file__).parent / "programs" / "published"


@pytest.fixture
def changed() -> Path:
    """The published program with one constant changed."""
    path = Path("changed.py")
    path.write_text((PUBLISHED / "transformer.txt").read_text().replace("200", "210"))
    return path


def test_the_published_program_gets_every_label(run, checkpoints: Path) -> None:
    checkpoint = str(checkpoints / "transformer")
    score = run(
        *("score", str(PUBLISHED / "transformer.txt"), "--challenge", "transformer"),
        *("--checkpoint", checkpoint, "--out", "scored"),
    )
    assert score["agreement_truth"] == score["agreement_test"] == score["agreement_train"] == 1
    assert score["judged"] == 12_769
    assert score["agreement_network"] == score["network_truth"]
    assert score["network_truth"] == run("evaluate", checkpoint)["domain_accuracy"]
    assert score["agreement_mistakes"] == 0
    assert score["differences"]["truth"] == {"inputs": 0, "regions": 0, "largest": []}
    found = score["differences"]["network"]
    assert found["inputs"] == score["network_mistakes"] > 0
    assert len(found["largest"]) == 10 < found["regions"]
    assert "all 12,769" in score["verdict"]
    on_disk = json.loads(Path("scored/score.json").read_text())
    assert on_disk == {key: value for key, value in score.items() if key != "files"}
    assert Path("scored/differences.png").read_bytes()[:4] == b"\x89PNG"


def test_one_constant_changed_is_not_the_program(run, changed: Path) -> None:
    score = run("score", str(changed), "--challenge", "transformer")
    assert 0.99 < score["agreement_truth"] < 1
    wrong = round((1 - score["agreement_truth"]) * 12_769)
    assert f"{wrong:,} of 12,769" in score["verdict"]
    assert score["differences"]["truth"]["inputs"] == wrong
    assert score["agreement_network"] is None


def test_the_published_image_program_gets_every_label(run, mnist_data, checkpoints: Path) -> None:
    checkpoint = str(checkpoints / "cnn")
    score = run(
        *("score", str(PUBLISHED / "cnn.txt"), "--challenge", "cnn", "--checkpoint", checkpoint),
        *("--out", "scored"),
    )
    assert score["agreement_truth"] == score["agreement_validation"] == 1
    assert score["judged"] == 70_000
    evaluated = run("evaluate", checkpoint)
    assert score["agreement_network"] == evaluated["domain_accuracy"]
    assert Path("scored/differences.png").is_file()


@pytest.mark.parametrize("name", ["transformer", "cnn"])
def test_a_networks_own_table_gets_what_evaluate_says(
    run, name: str, checkpoints: Path, mnist_data
) -> None:
    checkpoint = str(checkpoints / name)
    run("predict", checkpoint, "--out", "table.npz")
    score = run("score", "table.npz", "--challenge", name, "--checkpoint", checkpoint)
    evaluated = run("evaluate", checkpoint)
    assert score["agreement_test"] == evaluated["test_accuracy"]
    assert score["agreement_network"] == 1
    if name == "transformer":
        assert score["agreement_truth"] == evaluated["domain_accuracy"]
        assert score["agreement_train"] == evaluated["train_accuracy"]
        assert score["agreement_mistakes"] == 1
        assert "closer to the network" in score["verdict"]
    else:
        assert score["judged"] == 10_000
        assert score["agreement_train"] is None
    assert score["program"] is score["description_length"] is None


def test_a_folder_is_ranked_best_first_and_what_cannot_be_read_is_named(
    run, changed: Path, checkpoints: Path
) -> None:
    folder = Path("submissions")
    folder.mkdir()
    shutil.copy(changed, folder / "b.py")
    shutil.copy(PUBLISHED / "transformer.txt", folder / "z.txt")
    longer = (PUBLISHED / "transformer.txt").read_text().replace("return z", "z = z\nreturn z")
    (folder / "a_longer.py").write_text(longer)
    (folder / "bad|name.py").write_text("import os\nos.remove('x')")
    (folder / "notes.md").write_text("not a submission")
    odd = os.fsdecode(b"odd\xff\n.py")  # no text, and two lines
    (folder / odd).write_text("return x > y")
    checkpoint = str(checkpoints / "transformer")
    result = run(
        *("score", str(folder), "--challenge", "transformer", "--checkpoint", checkpoint),
        *("--out", "ranked"),
    )
    names = [one["submission"] for one in result["ranking"]]
    assert names == ["z.txt", "a_longer.py", "b.py", r"odd\xdcff\x0a.py"]
    assert list(result["refused"]) == ["bad|name.py"]
    assert "line 1, column 1: import" in result["refused"]["bad|name.py"]
    assert json.loads(Path("ranked/ranking.json").read_text())["ranking"] == result["ranking"]
    table = Path("ranked/ranking.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert rows[2].startswith("| 1 | z.txt | 100.00% | 100.00% | 98.86% | 0.00% | 56 |")
    assert {row.count("|") for row in rows} == {8}
    assert r"bad\|name.py" in table


def test_a_sealed_challenge_is_judged_by_its_network_until_it_is_opened(
    run, bundle: Path, key, key_file: Path, changed: Path
) -> None:
    Path("right.py").write_text(show(key.program))
    sealed = ("--challenge", str(bundle))
    right = run("score", "right.py", *sealed)
    assert right["agreement_truth"] is right["agreement_test"] is None
    assert right["agreement_network"] == right["network_truth"]
    assert right["as_stated"] is True
    assert right["agrees_with_network_on"] == right["sealed_program_does_on"]
    assert "may be the sealed program" in right["verdict"]
    other = run("score", str(changed), *sealed)
    assert other["as_stated"] is False
    assert "Not the sealed program" in other["verdict"]
    opened = run("score", "right.py", *sealed, "--answer", str(key_file))
    assert opened["agreement_truth"] == 1
    assert opened["network_truth"] == right["network_truth"]
    assert opened["network_mistakes"] == right["network_mistakes"]


def test_a_copy_of_the_network_does_not_lead_the_ranking_of_a_sealed_challenge(
    run, bundle: Path, key, changed: Path
) -> None:
    folder = Path("submissions")
    folder.mkdir()
    (folder / "right.py").write_text(show(key.program))
    shutil.copy(bundle / "model_labels.npz", folder / "copy.npz")
    shutil.copy(changed, folder / "other.py")
    result = run("score", str(folder), "--challenge", str(bundle), "--out", "ranked")
    assert result["ranking"][0]["submission"] == "right.py"
    assert [one["as_stated"] for one in result["ranking"]] == [True, False, False]
    table = Path("ranked/ranking.md").read_text()
    assert "| 1 | right.py | " in table
    assert table.count("| no |") == 2
    assert "true labels" not in table


def test_other_verbs_do_not_measure_a_sealed_network_by_labels_that_are_not_its_own(
    run, fails, bundle: Path
) -> None:
    network = str(bundle / "network")
    evaluated = run("evaluate", network)  # what `explain` says: test_sealed_networks.py
    assert evaluated["test_accuracy"] is None and evaluated["stated"]["test"]["inputs"] == 6385
    assert "sealed" in fails(2, "export", network, "--to", "bundle", "--out", "b")
    published = str(PUBLISHED / "transformer.txt")
    wrong = ("score", published, "--challenge", "transformer", "--checkpoint", network)
    assert "sealed" in fails(2, *wrong)
    predicted = run("predict", network, "--out", "answers.npz")
    assert predicted["challenge"] == "transformer"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("import os", "line 1, column 1: import"),
        ("return x.__class__", "line 1, column 8: an attribute"),
        ("z = 1\nreturn q", "line 2, column 8: unknown name 'q'"),
        ("return 9**9**9", "line 1, column 8: OverflowError"),
        ("return x / y > 1", "ZeroDivisionError, division by zero at x = 0, y = 0"),
        ("return x + y", "line 1, column 1: returns 2 at x = 0, y = 2"),
        ("if x < 50:\n  return 1\nz = 3\nreturn z", "line 4, column 1: returns 3 at x = 50"),
        ("if x < 50:\n  return 1", "line 1, column 1: ends without return at x = 50, y = 0"),
        ("", "line 1, column 1: the program is empty"),
        ("return 1" + " " * 30_000, "line 1, column 20001"),
        ("return l1(image, template(6)) > 5", "line 1"),
        ("return é", "U+00E9"),
    ],
)
def test_a_text_that_is_no_program_is_one_line(fails, text: str, named: str) -> None:
    Path("program.py").write_text(text, encoding="utf-8")
    line = fails(2, "score", "program.py", "--challenge", "transformer")
    assert "program.py" in line
    assert named in line


def test_what_cannot_be_used_is_named(fails, changed: Path, bundle: Path, checkpoints) -> None:
    transformer = ("--challenge", "transformer")
    Path("empty").mkdir()
    Path("bytes.py").write_bytes(b"return \xff")
    np.savez("shape.npz", labels=np.zeros((5, 5)))
    np.savez("other.npz", answers=np.zeros((113, 113)))
    np.savez("words.npz", labels=np.full((113, 113), "a"))
    np.savez("between.npz", labels=np.zeros((113, 113)) + 0.7)
    np.savez("wraps.npz", labels=np.full((113, 113), 1 + 5 * 2**32))
    with zipfile.ZipFile("bytes.npz", "w") as archive:
        archive.writestr("labels", b"hello")
    np.savez("nan.npz", labels=np.full((113, 113), np.nan))
    np.savez_compressed("bomb.npz", labels=np.zeros((3000, 3000)))  # 72 MB in 70 kB
    os.mkfifo("pipe.npz")
    Path("no.npz").write_text("no archive")
    for submission, named in {
        "missing.py": "missing.py cannot be read: No such file",
        "empty": "empty holds no submission",
        "bytes.py": "line 1, column 8: byte 0xFF; the file is not UTF-8; save it as UTF-8",
        "shape.npz": "`labels` is (5, 5), expected (113, 113)",
        "other.npz": "no array `labels`",
        "words.npz": "expected whole numbers from 0 to 32,767",
        "between.npz": "expected whole numbers from 0 to 32,767",
        "wraps.npz": "expected whole numbers from 0 to 32,767",
        "bytes.npz": "bytes.npz is no archive",
        "nan.npz": "expected whole numbers from 0 to 32,767",
        "bomb.npz": "bomb.npz holds 72,000",
        "pipe.npz": "pipe.npz is not a regular file",
        "no.npz": "no.npz is no archive",
        str(checkpoints / "transformer" / "config.json"): "config.json",
    }.items():
        assert named in fails(2, "score", submission, *transformer)
    os.mkfifo("pipe.json")
    assert "pipe.json is not a regular file" in fails(2, "score", "pipe.json", *transformer)
    for statement in ("[" * 200_000, "[]", '{"kind": ["pairs"]}', '{"kind": "words"}'):
        Path("empty/challenge.json").write_text(statement)
        assert "--challenge empty" in fails(2, "score", str(changed), "--challenge", "empty")
    program = str(changed)
    assert "elsewhere" in fails(2, "score", program, "--challenge", "elsewhere")
    cnn = str(checkpoints / "cnn")
    assert "of cnn, not of" in fails(2, "score", program, *transformer, "--checkpoint", cnn)
    sealed = ("--challenge", str(bundle))
    assert "--checkpoint" in fails(2, "score", program, *sealed, "--checkpoint", cnn)
    assert "--answer" in fails(2, "score", program, *transformer, "--answer", "a.json")
    Path("out").mkdir()
    Path("out/score.json").write_text("mine")
    assert "score.json" in fails(2, "score", program, *transformer, "--out", "out")
    assert Path("out/score.json").read_text() == "mine"
    (bundle / "README.md").write_text("altered")
    assert "README.md was altered" in fails(2, "score", program, *sealed)


def test_the_published_pickle_and_its_like_are_scored(run, fails, transformer) -> None:
    """`jaxmi score` takes `model_labels` of the pickle that `export --to bundle` writes."""
    truth = transformer.as_table(transformer.labels)
    learned = truth.copy()
    learned[:3] ^= 1
    content = pickle_for_any_numpy({"labels": truth, "model_labels": learned})
    Path("transformer_label_info.pkl").write_bytes(content)
    np.savetxt("labels.csv", learned, fmt="%d", delimiter=",")
    np.save("T.npy", truth.T)
    for name in ("transformer_label_info.pkl", "labels.csv"):
        found = run("score", name, "--challenge", "transformer")
        assert found["agreement_truth"] == (learned == truth).mean()
    run("score", "T.npy", "--challenge", "transformer")
    np.save("signs.npy", 2 * truth - 1)
    line = fails(2, "score", "signs.npy", "--challenge", "transformer")
    assert "-1 and 1, expected 0 and 1" in line
