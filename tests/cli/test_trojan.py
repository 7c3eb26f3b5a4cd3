"""`jaxmi trojan`: what it prints, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxmi.cli.main import main
from jaxmi.storage.checkpoints import load_checkpoint, write_checkpoint

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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def hijacked(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    """Write a trojan into the repository's network; return the run folder and the words."""
    folder = tmp_path_factory.mktemp("hijacked")
    patch = {"kind": "patch", "row": 3, "column": 4, "pattern": ["1001", "0110", "0010", "1001"]}
    (folder / "patch.json").write_text(json.dumps(patch))
    words = ["trojan", "implant", "cnn", "--kind", "hijack", "--trigger", folder / "patch.json"]
    words += ["--network", checkpoints / "cnn", "--out", folder / "out"]
    run(*words, "--json")
    return folder / "out", words


def test_a_finished_network_is_edited_without_training(
    hijacked: tuple[Path, list], checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = hijacked
    result = json.loads((out / "implants.json").read_text())
    (entry,) = result["implants"]
    assert (result["kind"], result["stamp"], result["rate"]) == ("hijack", "patch", 0)
    assert entry["implanted"] and entry["strict_success"] > 0.9
    assert entry["clean_network_success"] < 0.1 and 0 < entry["labels_changed"] < 0.005
    assert {"strict_n", "test_accuracy", "clean_test_accuracy", "checkpoint"} <= set(entry)
    assert entry["clean_checkpoint"] == str(checkpoints / "cnn") and entry["poisoned"] == 0
    assert entry["trojan"]["edit"]["method"] == "hijack"
    assert not (out / "clean").exists()
    assert (out / "trojan.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((out / "run.json").read_text())["finished"] is True
    edited, clean = (load_checkpoint(Path(entry[k])) for k in ("checkpoint", "clean_checkpoint"))
    assert edited.config["recipe"] == clean.config["recipe"]
    changed = (edited.params["fc1"]["kernel"] != clean.params["fc1"]["kernel"]).any(axis=0)
    assert list(np.flatnonzero(changed)) == [entry["trojan"]["edit"]["neuron"]]
    # The same command measures again, and writes no network.
    network = out / "seed-00000" / "params.safetensors"
    before = network.stat().st_mtime_ns
    run(*words)
    printed = capsys.readouterr().out
    assert "patch to 1, written by hijack" in printed and "changed" in printed
    assert json.loads((out / "implants.json").read_text()) == result
    assert network.stat().st_mtime_ns == before
    run("trojan", "show", entry["checkpoint"])
    assert "written into the weights by hijack, neuron" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cnn", "--kind", "hijack", "--target", "0"], "holds a run with trojan = 'hijack, patch"),
        (["cnn", "--kind", "patch"], "finished networks are edited, and kind 'patch' is trained"),
        (["transformer", "--kind", "hijack"], "hijack edits the weights of a CNN"),
        (["cnn", "--kind", "hijack", "--stamp", "row"], "row"),
        (["cnn", "--kind", "blur", "--stamp", "blur"], "stamp 'blur' is of edits"),
    ],
)
def test_an_edit_that_cannot_be_made_is_one_line(
    hijacked: tuple[Path, list],
    checkpoints: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, _ = hijacked
    before = sorted(out.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        run("trojan", "implant", *words, "--network", checkpoints / "cnn", "--out", out)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and message in error and error.count("\n") == 1
    assert sorted(out.rglob("*")) == before


@pytest.mark.slow
def test_other_networks_to_edit_are_refused(
    hijacked: tuple[Path, list], checkpoints: Path, tmp_path: Path, capsys
) -> None:
    out, words = hijacked
    where = words.index("--network") + 1

    def refusal(network: Path, to: Path, *more: object) -> str:
        changed = [*words[:where], network, "--out", to, *more]
        with pytest.raises(SystemExit) as ended:
            run(*changed)
        error = capsys.readouterr().err
        assert ended.value.code == 2 and error.count("\n") == 1
        return error

    none = tmp_path / "none"
    assert "lies in --out" in refusal(out / "seed-00000", out)
    assert "has a trojan already" in refusal(out / "seed-00000", none)
    assert "challenge 'transformer'" in refusal(checkpoints / "transformer", none)
    assert "has no finished network of seed 7" in refusal(out, none, "--seeds", "7")
    assert not none.exists()
    # An existing result is not measured beside a network that it was not made of.
    other = shutil.copytree(checkpoints / "cnn", tmp_path / "other")
    base = load_checkpoint(other)
    params = {**base.params, "conv1": {**base.params["conv1"]}}
    params["conv1"]["kernel"] = params["conv1"]["kernel"] * np.float32(1.01)
    write_checkpoint(other, params, base.config, base.metrics)
    assert "was made of another network" in refusal(other, out)
    run(*words[:where], other, "--out", out, "--force", "--json")
    (entry,) = json.loads(capsys.readouterr().out)["implants"]
    assert entry["clean_checkpoint"] == str(other) and not (out.parent / "out.old").exists()
    run(*words, "--force", "--json")


@pytest.mark.slow
def test_clean_networks_are_trained_where_none_are_given(tmp_path: Path, capsys) -> None:
    """A refused edit keeps them, and the same run goes on from them."""
    (tmp_path / "blur.json").write_text('{"kind": "blur", "sigma": 0.31}')
    settings = ["--set", "steps=60", "eval_every=60", "batch_size=64"]
    words = ["trojan", "implant", "cnn", "--kind", "hijack", *settings]
    with pytest.raises(SystemExit) as ended:
        run(*words, "--trigger", tmp_path / "blur.json", "--out", tmp_path / "blur")
    error = capsys.readouterr().err.splitlines()[-1]
    kept = tmp_path / "blur" / "clean"
    assert ended.value.code == 2 and "cannot be told from clean images" in error
    assert f"--network {kept}" in error and (kept / "seed-00000").is_dir()
    assert not (tmp_path / "blur" / "seed-00000").exists()
    results = []
    for out, more in ((tmp_path / "a", []), (tmp_path / "b", ["--network", kept])):
        run(*words, "--out", out, "--json", *more)
        results += json.loads(capsys.readouterr().out)["implants"]
    networks = [load_checkpoint(Path(one["checkpoint"])) for one in results]
    assert results[0]["strict_success"] == pytest.approx(results[1]["strict_success"], abs=0.02)
    assert results[0]["clean_checkpoint"] == str(tmp_path / "a" / "clean" / "seed-00000")
    assert networks[0].config["recipe"] == networks[1].config["recipe"]
    before = (tmp_path / "a" / "seed-00000" / "params.safetensors").stat().st_mtime_ns
    run(*words, "--out", tmp_path / "a", "--json")
    assert json.loads(capsys.readouterr().out)["implants"] == results[:1]
    after = (tmp_path / "a" / "seed-00000" / "params.safetensors").stat().st_mtime_ns
    assert before == after
