"""Files of other tools: round trips through disk, what others saved, the first offender."""

import hashlib
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.torch_cnn import MnistNet
from reference.torch_transformer import PairTransformer
from safetensors.numpy import load_file, save_file
from storage.test_layouts import random_params, same_bits

from jaxmi.challenges.registry import NAMES, origin
from jaxmi.errors import InputError
from jaxmi.storage import foreign
from jaxmi.storage.checkpoints import Checkpoint
from jaxmi.storage.layouts import CASPER_CNN, CASPER_TRANSFORMER, TRANSFORMER_LENS

CASES = [
    ("casper", "cnn", "f.pt"),
    ("casper", "transformer", "f.pth"),
    ("transformer-lens", "transformer", "f.pt"),
    ("transformer-lens", "transformer", "f.safetensors"),
    ("transformer-lens-4", "transformer", "f.pt"),
    ("safetensors", "cnn", "f.safetensors"),
    ("safetensors", "transformer", "f.safetensors"),
]


@pytest.mark.parametrize(("format_name", "challenge", "file"), CASES)
def test_importing_inverts_exporting(
    tmp_path: Path, trained, format_name: str, challenge: str, file: str
) -> None:
    """Bitwise, with and without being told what it is; where the network comes from is kept."""
    path, checkpoint = tmp_path / file, trained[challenge]
    foreign.export_network(checkpoint, format_name, path)
    for told in ((), (format_name,), (None, challenge), (format_name, challenge)):
        back = foreign.import_network(path, *told)
        assert same_bits(back.params, checkpoint.params)
        assert back.metrics == checkpoint.metrics
        imported = back.config.pop("imported")
        assert imported == {
            "file": file,
            "layout": "casper" if format_name == "safetensors" else format_name,
            "has_checksums": True,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        assert back.config == checkpoint.config


@pytest.mark.parametrize(("format_name", "challenge", "file"), CASES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_any_tree_survives_the_file(
    tmp_path_factory, format_name: str, challenge: str, file: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("any") / file
    params = random_params(challenge, seed)
    config = {"challenge": challenge, "model": origin(challenge).model_config, "seed": seed}
    foreign.export_network(Checkpoint(params, config, {}), format_name, path)
    assert same_bits(foreign.import_network(path).params, params)


def test_pytorch_opens_what_was_exported(tmp_path: Path, trained) -> None:
    """In the ways in which notebooks do it, from memory and memory-mapped."""
    foreign.export_network(trained["cnn"], "casper", tmp_path / "mnist_model.pt")
    foreign.export_network(trained["transformer"], "casper", tmp_path / "transformer_model.pt")
    for options in ({"weights_only": True}, {"weights_only": False}, {"mmap": True}):
        plain = torch.load(tmp_path / "mnist_model.pt", **options)
        MnistNet().load_state_dict(plain, strict=True)
        wrapped = torch.load(tmp_path / "transformer_model.pt", **options)
        assert wrapped.keys() == {"model"}
        PairTransformer().load_state_dict(wrapped["model"], strict=True)
    for name, array in CASPER_CNN.write(trained["cnn"].params).items():
        np.testing.assert_array_equal(plain[name], array)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("name", NAMES)
def test_files_that_others_saved_are_imported(
    tmp_path: Path, name: str, device: str, monkeypatch
) -> None:
    """Without our record: a state dict, on any device, beside what else a training script saves."""
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: device)
    model = MnistNet() if name == "cnn" else PairTransformer()
    state = model.state_dict()
    optimizer = torch.optim.AdamW(model.parameters())
    zeros = torch.zeros(1, 1, 28, 28) if name == "cnn" else torch.zeros(1, 3, dtype=torch.long)
    model(zeros)[0].sum().backward()
    optimizer.step()
    others = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "losses": [0.5, 0.25],
        "shape": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "epoch": 4999,
    }
    lightning = {"state_dict": state, "epoch": 4999}
    for content in (state, OrderedDict(state.items()), {"model": state}, others, lightning):
        torch.save(content, tmp_path / "f.pt")
        network = foreign.import_network(tmp_path / "f.pt")
        assert network.challenge == name
        assert network.metrics == {}
        assert not network.config["imported"]["has_checksums"]
        layout = CASPER_CNN if name == "cnn" else CASPER_TRANSFORMER
        written = layout.write(network.params)
        for key, tensor in state.items():
            np.testing.assert_array_equal(written[key], tensor)


def test_parameters_count_as_tensors(tmp_path: Path) -> None:
    torch.save(dict(MnistNet().named_parameters()), tmp_path / "f.pt")
    assert foreign.import_network(tmp_path / "f.pt").challenge == "cnn"


@pytest.mark.parametrize(
    ("ignore", "mask"),
    [
        (-np.inf, np.tril(np.ones((3, 3), np.float32))),  # the solvers' notebook's mask
        (-1e5, np.tril(np.ones((3, 3), bool))),  # TransformerLens 1
        (-1e10, np.tril(np.ones((3, 3), bool))),  # the notebook
        (-np.inf, np.zeros((0, 0), bool)),  # TransformerLens 3
    ],
)
def test_constants_of_other_versions_are_accepted(
    tmp_path: Path, trained, ignore: float, mask: np.ndarray
) -> None:
    params = trained["transformer"].params
    tensors = TRANSFORMER_LENS.write(params)
    tensors["blocks.0.attn.IGNORE"] = np.array(ignore, np.float32)
    tensors["blocks.0.attn.mask"] = mask
    save_file(tensors, tmp_path / "f.safetensors")
    assert same_bits(foreign.import_network(tmp_path / "f.safetensors").params, params)


def _swap(tensors, a, b):
    tensors[a], tensors[b] = tensors[b], tensors[a]


DAMAGE = {
    "tensor fc1.bias is missing": lambda t: t.pop("fc1.bias"),
    "unexpected tensor fc3.bias": lambda t: t.update({"fc3.bias": t["fc1.bias"]}),
    "tensor fc1.bias is float32[1, 200], expected float32[200]": lambda t: t.update(
        {"fc1.bias": t["fc1.bias"][None]}
    ),
    "tensor fc1.weight is float32[400, 200], expected float32[200, 400]": lambda t: t.update(
        {"fc1.weight": t["fc1.weight"].T.copy()}
    ),
    "tensor fc2.bias is float64[2], expected float32[2]": lambda t: t.update(
        {"fc2.bias": t["fc2.bias"].astype(np.float64)}
    ),
    "tensor fc2.bias has values that are not finite": lambda t: t.update(
        {"fc2.bias": t["fc2.bias"] * np.float32(np.inf)}
    ),
    "tensor conv1.weight is float32[16, 8, 3, 3], expected float32[8, 1, 3, 3]": lambda t: _swap(
        t, "conv1.weight", "conv2.weight"
    ),
}


@pytest.mark.parametrize("message", DAMAGE)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_first_offender_is_named(tmp_path: Path, trained, suffix: str, message: str) -> None:
    """In a file without our record, so that only its tensors speak."""
    tensors = CASPER_CNN.write(trained["cnn"].params)
    DAMAGE[message](tensors)
    path = tmp_path / f"f{suffix}"
    if suffix == ".pt":
        torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)
    else:
        save_file(tensors, path)
    with pytest.raises(InputError) as caught:
        foreign.import_network(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_bias_that_the_network_lacks_is_refused(tmp_path: Path, trained) -> None:
    tensors = TRANSFORMER_LENS.write(trained["transformer"].params)
    tensors["blocks.0.attn.b_Q"][3, 5] = 1e-3
    save_file(tensors, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match=r"attn\.b_Q, float32\[8, 16\], must be zero"):
        foreign.import_network(tmp_path / "f.safetensors")


def test_a_missing_constant_is_named(tmp_path: Path, trained) -> None:
    tensors = TRANSFORMER_LENS.write(trained["transformer"].params)
    del tensors["blocks.0.attn.IGNORE"]
    save_file(tensors, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match=r"tensor blocks\.0\.attn\.IGNORE is missing"):
        foreign.import_network(tmp_path / "f.safetensors")


@pytest.mark.parametrize("mask", [np.ones((3, 3), bool), np.tril(np.ones((2, 2), bool))])
def test_another_mask_is_refused(tmp_path: Path, trained, mask: np.ndarray) -> None:
    tensors = TRANSFORMER_LENS.write(trained["transformer"].params)
    save_file({**tensors, "blocks.0.attn.mask": mask}, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match=r"attn\.mask, bool.* must be lower-triangular"):
        foreign.import_network(tmp_path / "f.safetensors")


def test_the_file_must_be_what_the_user_says(tmp_path: Path, trained) -> None:
    foreign.export_network(trained["cnn"], "casper", tmp_path / "f.pt")
    foreign.export_network(trained["cnn"], "safetensors", tmp_path / "f.safetensors")
    for file, told, message in (
        ("f.pt", ("safetensors", None), r"is a \.pt file"),
        ("f.safetensors", ("casper", None), r"is a \.safetensors file"),
        ("f.pt", ("casper", "transformer"), "W_K is missing"),
        ("f.pt", ("transformer-lens", None), "W_K is missing"),
        ("f.pt", ("transformer-lens", "cnn"), "transformer-lens is no format"),
    ):
        with pytest.raises(InputError, match=message):
            foreign.import_network(tmp_path / file, *told)


def test_a_stack_holds_each_network(tmp_path: Path, trained) -> None:
    """And PyTorch runs them at once, as `torch.func` stacks modules."""
    config = trained["cnn"].config
    networks = [Checkpoint(random_params("cnn", seed), config, {}) for seed in range(3)]
    networks.append(trained["cnn"])
    foreign.export_stack(networks, "safetensors", tmp_path / "f.safetensors")
    stack = load_file(tmp_path / "f.safetensors")
    for i, network in enumerate(networks):
        tensors = {name: array[i] for name, array in stack.items()}
        assert same_bits(CASPER_CNN.read(tensors), network.params)
    images = torch.rand(5, 1, 28, 28)
    model = MnistNet().eval()
    state = {name: torch.tensor(array[2:]) for name, array in stack.items()}
    state = {name: tensor.nan_to_num(0, 0, 0).clamp(-1, 1) for name, tensor in state.items()}
    together = torch.vmap(lambda one: torch.func.functional_call(model, one, (images,))[0])(state)
    alone = torch.func.functional_call(model, {n: t[1] for n, t in state.items()}, (images,))[0]
    torch.testing.assert_close(together[1], alone)
    with pytest.raises(InputError, match="stack of networks"):
        foreign.import_network(tmp_path / "f.safetensors")


def test_files_are_the_same_bytes_each_time(tmp_path: Path, trained, monkeypatch) -> None:
    """Today and tomorrow: a zip archive would note the time."""
    day = time.localtime(86_400 * 365 * 30)
    for file in ("a.pt", "b.pt", "a.safetensors", "b.safetensors"):
        name = "casper" if file.endswith(".pt") else "safetensors"
        foreign.export_network(trained["cnn"], name, tmp_path / file)
        monkeypatch.setattr(time, "localtime", lambda *_: day)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    a, b = (tmp_path / f"{stem}.safetensors" for stem in "ab")
    assert a.read_bytes() == b.read_bytes()
