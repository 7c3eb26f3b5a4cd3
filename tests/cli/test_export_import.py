"""`jaxmi export` and `jaxmi import` as their user meets them."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from reference.torch_cnn import MnistNet
from reference.torch_transformer import PairTransformer
from safetensors.numpy import load_file, save_file
from storage.test_layouts import same_bits

from jaxmi.challenges.registry import load_challenge
from jaxmi.cli.main import main
from jaxmi.storage.checkpoints import DEFINITION, Checkpoint, load_checkpoint, save_checkpoint
from jaxmi.storage.layouts import TRANSFORMER_LENS_4
from jaxmi.workflows.challenges import define, write_challenge

QUICK = ["--set", "steps=20", "eval_every=10"]


@pytest.mark.parametrize(
    ("name", "to", "file"),
    [
        ("cnn", "casper", "f.pt"),
        ("transformer", "casper", "f.pt"),
        ("transformer", "transformer-lens", "f.pt"),
        ("transformer", "safetensors", "new/folder/f.safetensors"),
    ],
)
def test_there_and_back_predicts_the_same_bits(
    run, checkpoints: Path, mnist_data, name: str, to: str, file: str
) -> None:
    before = str(checkpoints / name)
    assert run("export", before, "--to", to, "--out", file) == {"format": to, "files": [file]}
    found = run("import", file, "--from", to, "--challenge", name, "--out", "back")
    assert found["checkpoint"] == "back"
    assert found["challenge"] == name
    run("predict", before, "--out", "before.npz")
    run("predict", "back", "--out", "after.npz")
    before_arrays, after_arrays = np.load("before.npz"), np.load("after.npz")
    for array in ("logits", "labels"):
        assert before_arrays[array].tobytes() == after_arrays[array].tobytes()
    evaluated = run("evaluate", "back")
    recorded = load_checkpoint(checkpoints / name).metrics
    assert load_checkpoint(Path("back")).metrics == recorded
    assert evaluated["test_accuracy"] == pytest.approx(recorded["test_accuracy"], abs=1e-3)


def test_a_published_file_imports_and_evaluates(run, cnn) -> None:
    """A state dict that somebody else saved, and a note of what file it was."""
    torch.save(MnistNet().state_dict(), "mnist_model.pt")
    assert run("import", "mnist_model.pt", "--out", "published") == {
        "challenge": "cnn",
        "layout": "casper",
        "has_checksums": False,
        "checkpoint": "published",
    }
    assert 0 < run("evaluate", "published")["test_accuracy"] < 1
    config = json.loads(Path("published/config.json").read_text())
    assert config["imported"]["file"] == "mnist_model.pt"


@pytest.mark.slow
def test_a_run_exports_all_its_seeds(run, fails, quick_run) -> None:
    quick_run("3:6")
    found = run("export", "run", "--to", "casper", "--out", "files")
    assert found["files"] == [f"files/seed-{seed:05d}.pt" for seed in (3, 4, 5)]
    run("export", "run", "--to", "safetensors", "--stack", "--out", "stack.safetensors")
    stack = load_file("stack.safetensors")
    for i, file in enumerate(found["files"]):
        state = torch.load(file)["model"]
        PairTransformer().load_state_dict(state, strict=True)
        assert stack.keys() == state.keys()
        for name, tensor in state.items():
            np.testing.assert_array_equal(stack[name][i], tensor)
    assert "stack of networks" in fails(2, "import", "stack.safetensors", "--out", "one")

    # Nothing is replaced unasked, and what is asked for replaces no other file.
    Path("files/notes.txt").write_text("precious")
    again = ("export", "run", "--to", "casper", "--out", "files")
    assert "files/seed-00003.pt exists already" in fails(2, *again)
    run(*again, "--force")
    assert Path("files/notes.txt").read_text() == "precious"
    assert len(os.listdir("files")) == 4


def test_the_documented_way_to_run_a_stack(run, quick_run, checkpoints: Path) -> None:
    """docs/checkpoints.md's snippet, on three seeds."""
    quick_run("3:6")
    run("export", "run", "--to", "safetensors", "--stack", "--out", "all.safetensors")
    docs = (checkpoints.parent / "docs" / "checkpoints.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", docs, re.DOTALL)
    inputs = torch.tensor([[x, y, 113] for x in range(4) for y in range(4)])
    variables = {"module": PairTransformer(), "inputs": inputs}
    exec(snippet, variables)
    assert variables["seeds"] == [3, 4, 5]
    logits, _ = variables["logits"]
    for i in range(3):
        one = PairTransformer()
        one.load_state_dict({name: tensor[i] for name, tensor in variables["stack"].items()})
        torch.testing.assert_close(logits[i], one(inputs)[0], rtol=1e-4, atol=1e-5)


SMALL = {"d_model": 64, "n_heads": 4, "d_mlp": 256, "n_layers": 2}


@pytest.fixture
def own_run() -> Checkpoint:
    """A run of two seeds of a challenge that a user made, in run/; the challenge is own/."""
    own = define("return x * y % 5 < 2", p=59, network=SMALL)
    write_challenge(own, Path("own"))
    challenge = load_challenge(own)
    config = {"challenge": "own", "model": challenge.model_config, DEFINITION: own.to_json()}
    Path("run").mkdir()
    Path("run/run.json").write_text(json.dumps({"finished": True}))
    for seed in (0, 1):
        params = challenge.init(jax.random.key(seed))
        save_checkpoint(Path(f"run/seed-{seed:05d}"), params, {**config, "seed": seed}, {})
    return load_checkpoint(Path("run/seed-00001"))


@pytest.mark.slow
def test_a_run_of_another_size_goes_there_and_back(run, own_run: Checkpoint) -> None:
    for to in ("casper", "transformer-lens", "transformer-lens-4", "safetensors"):
        files = run("export", "run", "--to", to, "--out", to)["files"]
        found = run("import", files[1], "--out", f"{to}-back")
        assert found["challenge"] == "own"
        assert found["layout"] == ("casper" if to == "safetensors" else to)
        back = load_checkpoint(Path(f"{to}-back"))
        assert same_bits(back.params, own_run.params)
        assert back.definition == own_run.definition
        assert back.config["seed"] == 1
    run("export", "run", "--to", "transformer-lens", "--stack", "--out", "s.safetensors")
    stack = load_file("s.safetensors")
    assert stack["blocks.1.attn.W_Q"].shape == (2, 4, 64, 16)
    np.testing.assert_array_equal(stack["blocks.1.attn.W_Q"][1], own_run.params["attn_1"]["W_Q"])


def test_a_file_of_another_size_needs_its_challenge(run, fails, own_run: Checkpoint) -> None:
    """Where jaxmi did not write it; what is wrong with the challenge is said."""
    save_file(TRANSFORMER_LENS_4.write(own_run.params), "f.safetensors")
    line = fails(2, "import", "f.safetensors", "--out", "net")
    for part in ("d_vocab = 60", "d_model = 64", "d_mlp = 256", "n_layers = 2", "--challenge"):
        assert part in line
    assert "no challenge 'owm'" in fails(
        2, "import", "f.safetensors", "--challenge", "owm", "--out", "net"
    )
    assert not Path("net").exists()
    assert run("import", "f.safetensors", "--challenge", "own", "--out", "net") == {
        "challenge": "own",
        "layout": "transformer-lens-4",
        "has_checksums": False,
        "checkpoint": "net",
    }
    assert same_bits(load_checkpoint(Path("net")).params, own_run.params)
    assert run("evaluate", "net") == {**run("evaluate", "run/seed-00001"), "checkpoint": "net"}
    write_challenge(define("return 0", p=59, network={**SMALL, "n_heads": 8}), Path("other"))
    run("import", "f.safetensors", "--challenge", "other", "--out", "misread")  # shapes are equal
    write_challenge(define("return 0", p=58, network=SMALL), Path("third"))
    line = fails(2, "import", "f.safetensors", "--challenge", "third", "--out", "no")
    assert "tensor embed.weight is float32[60, 64], expected float32[59, 64]" in line


def test_a_bundle_is_for_the_published_challenges(fails, own_run: Checkpoint) -> None:
    for path in ("run", "run/seed-00001"):
        line = fails(2, "export", path, "--to", "bundle", "--out", "bundle")
        assert "a network of your challenge 'own'; bundles are for the published" in line
        assert "another --to, such as casper" in line
    assert not Path("bundle").exists()


def test_seeds_are_in_numerical_order(run) -> None:
    """Also beyond the five digits of a folder's name."""
    run("regenerate", "transformer", "--seeds", "99999,100000", "--out", "run", *QUICK)
    found = run("export", "run", "--to", "safetensors", "--out", "files")
    assert found["files"] == [f"files/seed-{seed}.safetensors" for seed in (99999, 100000)]


def test_one_damaged_seed_of_a_run_writes_nothing(quick_run, fails) -> None:
    quick_run("0:3")
    params = Path("run/seed-00001/params.safetensors")
    params.write_bytes(params.read_bytes()[:-1] + b"!")
    line = fails(2, "export", "run", "--to", "casper", "--out", "files")
    assert "run/seed-00001/params.safetensors: tensor" in line
    assert os.listdir() == ["run"]


def test_a_run_that_goes_on_exports_what_is_there(quick_run, capsys) -> None:
    quick_run()
    record = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**record, "finished": False}))
    main(["export", "run", "--to", "safetensors", "--out", "files"])
    out, err = capsys.readouterr()
    assert out == "files/seed-00000.safetensors\n"
    assert "run is not finished; it has 1 seed" in err


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["export", "{}/cnn", "--to", "transformer-lens", "--out", "f.pt"], "transformer-lens"),
        (["export", "{}/cnn", "--to", "casper", "--out", "f.safetensors"], "f.safetensors"),
        (["export", "{}/cnn", "--to", "safetensors", "--out", "f.pt"], "f.pt"),
        (["export", "{}/cnn", "--to", "onnx", "--out", "f.pt"], "onnx"),
        (["export", "{}/cnn", "--to", "casper", "--out", "/proc/f.pt"], "/proc"),
        (["export", "{}/cnn", "--to", "casper", "--stack", "--out", "f.pt"], "one network"),
        (["export", "{}/cnn", "--to", "bundle", "--stack", "--out", "b"], "--stack"),
        (["export", "{}/cnn", "--to", "casper", "--out", "x" * 300 + ".pt"], "xxx"),
        (["export", "{}/cnn", "--to", "safetensors", "--out", "/proc/x/f.safetensors"], "/proc"),
        (["import", "x" * 300, "--out", "net"], "xxx"),
        (["import", "{}/cnn/params.safetensors", "--out", "/proc/net"], "/proc/net"),
        (["import", "{}/cnn/params.safetensors", "--out", "/dev/null/net"], "/dev/null/net"),
        (["import", "{}/cnn/params.safetensors", "--out", "x" * 300], "xxx"),
        (["export", "{}", "--to", "casper", "--out", "f.pt"], "cnn, transformer"),
        (["export", "nothing", "--to", "casper", "--out", "f.pt"], "nothing"),
        (["export", "nothing", "--to", "bundle", "--out", "b"], "nothing"),
        (["import", "nothing.pt", "--out", "net"], "nothing.pt"),
        (["import", "{}/cnn/params.safetensors", "--out", "net"], "cnn is a checkpoint already"),
        (["import", "{}/cnn/config.json", "--out", "net"], "config.json"),
        (["import", "{}", "--out", "net"], "checkpoints"),
        (["import", "{}/cnn/params.safetensors", "--from", "onnx", "--out", "net"], "onnx"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    fails, checkpoints: Path, args: list[str], named: str
) -> None:
    assert named in fails(2, *(arg.format(checkpoints) for arg in args))
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--to", "casper", "--stack", "--out", "f.pt"], "--to casper"),
        (["--to", "safetensors", "--stack", "--out", "f.pt"], "f.pt"),
        (["--to", "transformer-lens", "--stack", "--out", "f.pt"], "f.pt"),
        (["--to", "casper", "--out", "f.pt"], "f.pt would be a folder"),
    ],
)
def test_what_does_not_go_for_a_run_is_said(quick_run, fails, args: list[str], named: str) -> None:
    quick_run()
    assert named in fails(2, "export", "run", *args)
    assert os.listdir() == ["run"]


def test_a_checkpoint_is_never_written_into(run, fails, checkpoints: Path) -> None:
    shutil.copytree(checkpoints / "cnn", "net")
    before = Path("net/params.safetensors").read_bytes()
    args = ("export", "net", "--to", "safetensors", "--out", "net/params.safetensors", "--force")
    assert "net is a checkpoint" in fails(2, *args)
    assert Path("net/params.safetensors").read_bytes() == before


def test_links_are_followed_and_not_lost(run, fails, checkpoints: Path) -> None:
    run("export", str(checkpoints / "cnn"), "--to", "casper", "--out", "f.pt")
    run("import", "f.pt", "--out", "net")
    Path("link").symlink_to("net")
    Path("dangling.pt").symlink_to("nowhere")
    run("import", "f.pt", "--out", "link", "--force")
    assert Path("link").is_symlink()
    args = ("export", str(checkpoints / "cnn"), "--to", "casper", "--out", "dangling.pt")
    assert "dangling.pt exists already" in fails(2, *args)
    assert sorted(os.listdir()) == ["dangling.pt", "f.pt", "link", "net"]


def test_what_a_file_holds_cannot_steer_the_terminal(fails) -> None:
    torch.save({"\x1b[31mred": 1}, "f.pt")
    assert "\\x1b[31mred' is a int" in fails(2, "import", "f.pt", "--out", "net")


def test_a_pickle_that_wants_to_run_code_writes_nothing(fails) -> None:
    class Pwns:
        def __reduce__(self):
            return os.mkdir, ("pwned",)

    torch.save({"model": Pwns()}, "evil.pt")
    line = fails(2, "import", "evil.pt", "--from", "casper", "--challenge", "cnn", "--out", "net")
    assert "evil.pt: its pickle calls posix.mkdir" in line
    assert os.listdir() == ["evil.pt"]


def test_only_a_checkpoint_is_replaced_by_import(run, fails, checkpoints: Path) -> None:
    run("export", str(checkpoints / "cnn"), "--to", "casper", "--out", "f.pt")
    run("import", "f.pt", "--out", "net")
    assert "net exists already; --force replaces it" in fails(2, "import", "f.pt", "--out", "net")
    run("import", "f.pt", "--out", "net", "--force")
    Path("net/thesis.tex").write_text("precious")
    line = fails(2, "import", "f.pt", "--out", "net", "--force")
    assert "net holds thesis.tex too, which --force would remove" in line
    assert Path("net/thesis.tex").read_text() == "precious"


def test_without_pytorch_safetensors_still_work(run, fails, checkpoints: Path, monkeypatch) -> None:
    run("export", str(checkpoints / "cnn"), "--to", "casper", "--out", "f.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    source = str(checkpoints / "cnn")
    line = fails(1, "export", source, "--to", "casper", "--out", "g.pt")
    assert "pip install 'jaxmi[torch]'" in line
    run("export", source, "--to", "safetensors", "--out", "f.safetensors")
    run("import", "f.safetensors", "--out", "net")
    run("import", "f.pt", "--out", "from-pt")  # reading needs no PyTorch
    assert sorted(os.listdir()) == ["f.pt", "f.safetensors", "from-pt", "net"]
