"""`jaxmi export --to bundle`: what the published repository holds, and its README's word."""

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.torch_transformer import PairTransformer

from jaxmi.challenges.challenge import Challenge
from jaxmi.report import figures
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.storage.layouts import TRANSFORMER_LENS
from jaxmi.workflows.bundle import FILES, pickle_for_any_numpy

QUICK = ["--set", "steps=20", "eval_every=10"]
TRANSFORMER = {"README.md", "figs", *(file for file in FILES["transformer"] if "/" not in file)}


def test_a_bundle_holds_what_the_published_repository_does(
    run, checkpoints: Path, transformer: Challenge, mnist_data
) -> None:
    files = run("export", str(checkpoints), "--to", "bundle", "--out", "bundle")["files"]
    found = {str(path) for path in Path("bundle").rglob("*") if path.is_file()}
    assert found == set(files)
    published = {
        "mnist_model.pt",
        "transformer_model.pt",
        "transformer_label_info.pkl",
        "figs/mnist_example.png",
        "figs/transformer_labeling_function.png",
        "README.md",
    }
    assert {f"bundle/{file}" for file in published} <= found
    for figure in Path("bundle/figs").iterdir():
        assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_label_tables_are_what_a_published_notebook_computes(
    run, checkpoints: Path, transformer: Challenge
) -> None:
    """As theirs do: from PyTorch's logits of the exported file, 0 against 1."""
    source = str(checkpoints / "transformer")
    run("export", source, "--to", "bundle", "--out", "bundle")
    assert set(os.listdir("bundle")) == TRANSFORMER
    with open("bundle/transformer_label_info.pkl", "rb") as file:
        info = pickle.load(file)
    assert info.keys() == {"labels", "model_labels"}
    for table in info.values():
        assert (table.shape, table.dtype) == ((113, 113), np.float64)
    np.testing.assert_array_equal(info["labels"].ravel(), transformer.labels)
    model = PairTransformer()
    model.load_state_dict(torch.load("bundle/transformer_model.pt")["model"])
    with torch.no_grad():
        logits = model(torch.tensor(transformer.inputs).long())[0][:, -1].numpy()
    theirs = (logits[:, 0] < logits[:, 1]).reshape(113, 113)
    np.testing.assert_array_equal(info["model_labels"], theirs)
    quoted = 1 - 2 * abs(info["labels"] - info["model_labels"]).mean()
    assert quoted == pytest.approx(run("evaluate", source)["casper_figure"], abs=1e-9)


def test_the_figures_show_what_their_names_say(
    run, checkpoints: Path, transformer: Challenge, cnn: Challenge, monkeypatch
) -> None:
    drawn = {}
    for name in ("label_pair", "clue_image"):
        draw = getattr(figures, name)

        def watched(*arrays, name=name, draw=draw):
            drawn[name] = arrays
            return draw(*arrays)

        monkeypatch.setattr(figures, name, watched)
    run("export", str(checkpoints), "--to", "bundle", "--out", "bundle")
    with open("bundle/transformer_label_info.pkl", "rb") as file:
        info = pickle.load(file)
    truth, learned = drawn["label_pair"]
    np.testing.assert_array_equal(truth, info["labels"])
    np.testing.assert_array_equal(learned, info["model_labels"])
    assert (drawn["clue_image"][0] == cnn.inputs[6]).all()
    assert torch.load("bundle/transformer_lens_model.pt").keys() == {
        *TRANSFORMER_LENS.write(load_checkpoint(checkpoints / "transformer").params)
    }
    again = ("export", str(checkpoints), "--to", "bundle", "--out", "bundle", "--force")
    Path("bundle/notes.txt").write_text("precious")
    run(*again)
    assert Path("bundle/notes.txt").read_text() == "precious"


def test_the_cnns_snippet_runs(run, checkpoints: Path, mnist_data) -> None:
    """TransformerLens's are run by `make test-interop`."""
    run("export", str(checkpoints / "cnn"), "--to", "bundle", "--out", "bundle")
    readme = Path("bundle/README.md").read_text()
    assert "96.02 %" in readme
    assert "transformer" not in readme.partition("## Challenge 1")[2]
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    code = snippet + "print(model(torch.zeros(2, 1, 28, 28)).shape)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="bundle", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "torch.Size([2, 2])"


@pytest.mark.long
def test_runs_give_a_bundle_per_seed(run, fails, mnist_data) -> None:
    run("regenerate", "all", "--seeds", "0:2", "--out", "run", *QUICK)
    run("regenerate", "cnn", "--seeds", "2", "--out", "run/cnn", *QUICK)
    run("export", "run", "--to", "bundle", "--out", "bundles")
    assert sorted(os.listdir("bundles")) == ["seed-00000", "seed-00001", "seed-00002"]
    for seed in ("seed-00000", "seed-00001"):
        assert set(os.listdir(f"bundles/{seed}")) == TRANSFORMER | {"mnist_model.pt"}
    assert set(os.listdir("bundles/seed-00002")) == {"README.md", "figs", "mnist_model.pt"}
    line = fails(2, "export", "run/cnn", "--to", "bundle", "--out", "bundles")
    assert "bundles/seed-00000/README.md exists already" in line


def test_what_is_in_a_bundles_way_is_named_and_kept(fails, checkpoints: Path) -> None:
    Path("bundle").mkdir()
    Path("bundle/README.md").write_text("precious")
    Path("bundle/figs").write_text("a file")
    args = ("export", str(checkpoints / "transformer"), "--to", "bundle", "--out", "bundle")
    assert "bundle/README.md exists already" in fails(2, *args)
    assert "cannot write to bundle/figs" in fails(2, *args, "--force")
    assert Path("bundle/README.md").read_text() == "precious"
    assert sorted(os.listdir("bundle")) == ["README.md", "figs"]


def test_two_networks_of_one_challenge_are_no_bundle(fails, checkpoints: Path) -> None:
    for name in ("transformer", "cnn"):
        shutil.copytree(checkpoints / "cnn", Path("both") / name)
    line = fails(2, "export", "both", "--to", "bundle", "--out", "bundle")
    assert "both holds two networks of cnn" in line
    assert os.listdir() == ["both"]


def test_the_tables_pickle_names_only_what_every_numpy_has() -> None:
    pickled = pickle_for_any_numpy({"labels": np.arange(6).reshape(2, 3)})
    assert b"numpy._core" not in pickled
    np.testing.assert_array_equal(pickle.loads(pickled)["labels"], np.arange(6.0).reshape(2, 3))
