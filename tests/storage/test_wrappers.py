"""State dicts found in what training scripts save; real files of PyTorch, and near misses."""

import argparse
import collections
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.torch_cnn import MnistNet
from reference.torch_transformer import PairTransformer
from safetensors.numpy import load_file, save_file
from storage.test_layouts import same_bits

from jaxmi.errors import InputError
from jaxmi.storage import foreign
from jaxmi.storage.layouts import CASPER_CNN, LAYOUTS, TRANSFORMER_LENS
from jaxmi.storage.pytorch_file import PickledFile
from jaxmi.storage.wrappers import choose

CONFIG = {
    "args": argparse.Namespace(lr=1e-3),
    "counts": collections.defaultdict(int, a=1),
    "names": {"a", "b"},
    ("a", "tuple"): 1,
    "dtype": torch.float16,
    "folder": Path("runs"),
    "loss": [np.float64(0.5), np.float64(0.25)],
    "table": np.zeros((3, 3)),
    "epoch": 10,
}

SAVINGS = [
    {},
    {"pickle_protocol": 3},
    {"pickle_protocol": 4},
    {"pickle_protocol": 5},
    {"_use_new_zipfile_serialization": False},
    {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
]


def sequential() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 8, 3), torch.nn.MaxPool2d(2), torch.nn.ReLU()),
        *(torch.nn.Conv2d(8, 16, 3), torch.nn.MaxPool2d(2), torch.nn.ReLU(), torch.nn.Flatten()),
        *(torch.nn.Linear(400, 200), torch.nn.ReLU(), torch.nn.Linear(200, 2)),
    )


def prefixed(state, prefix: str) -> dict:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def trained_optimizer(model: MnistNet) -> dict:
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 1, 28, 28))[0].sum().backward()
    optimizer.step()
    return optimizer.state_dict()


WRAPPED = {
    key: lambda state, key=key: {key: state, **CONFIG}
    for key in (
        *("model", "net", "network", "params", "weights", "model_state", "model_dict"),
        *("module", "state_dict", "model_state_dict", "a name of one's own"),
    )
} | {
    "three levels": lambda state: {"run": {"best": {"weights": state}}, **CONFIG},
    "a configuration named model": lambda state: {"model": CONFIG, "state_dict": state},
    "lightning": lambda state: {
        "state_dict": {**prefixed(state, "model."), "metric.total": torch.ones(3)},
        "hyper_parameters": CONFIG,
    },
    "DataParallel": lambda state: prefixed(state, "module."),
    "compile": lambda state: prefixed(state, "_orig_mod."),
    "combined": lambda state: {"model": prefixed(state, "module._orig_mod.net.")},
    "inner compile": lambda state: {
        name.replace(".", "._orig_mod.", 1): tensor for name, tensor in state.items()
    },
    "average": lambda state: {"n_averaged": torch.tensor(3), **prefixed(state, "module.")},
    "the same twice": lambda state: {"model": state, "best": dict(state)},
    "beside numbers": lambda state: {**state, "epoch": 3, "note": "good"},
    "optimizer": lambda state: {"net": state, "optimizer": trained_optimizer(MnistNet())},
    "numpy": lambda state: {"params": {name: t.numpy() for name, t in state.items()}},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_state_dict_is_found_in_its_wrapper(tmp_path: Path, name: str) -> None:
    state = MnistNet().state_dict()
    expected = CASPER_CNN.read({name: tensor.numpy() for name, tensor in state.items()})
    for options in SAVINGS:
        torch.save(WRAPPED[name](state), tmp_path / "f.pt", **options)
        network = foreign.import_network(tmp_path / "f.pt")
        assert same_bits(network.params, expected)


@pytest.mark.parametrize("options", SAVINGS)
@pytest.mark.parametrize("model", [MnistNet(), PairTransformer(), sequential()])
def test_a_pickled_module_gives_its_tensors(tmp_path: Path, model, options) -> None:
    torch.save({"net": model, **CONFIG}, tmp_path / "f.pt", **options)
    torch.save(model.state_dict(), tmp_path / "g.pt")
    found, expected = (foreign.import_network(tmp_path / f"{name}.pt") for name in "fg")
    assert same_bits(found.params, expected.params)
    assert "is a pickled module" in " ".join(found.config["imported"]["notes"])


def test_the_layers_of_a_sequential_are_taken_by_order(tmp_path: Path) -> None:
    """And give PyTorch's own logits; in another order, or with other shapes, they are refused."""
    model = sequential()
    torch.save(model.state_dict(), tmp_path / "f.pt")
    network = foreign.import_network(tmp_path / "f.pt")
    names = [f"{layer}.{part}" for layer in ("conv1", "conv2", "fc1", "fc2") for part in "wb"]
    values = [tensor.detach().numpy() for tensor in model.state_dict().values()]
    assert len(names) == len(values)
    written = CASPER_CNN.write(network.params)
    for array, expected in zip(written.values(), values, strict=True):
        np.testing.assert_array_equal(array, expected)
    swapped = model.state_dict()
    swapped["0.weight"], swapped["3.weight"] = swapped["3.weight"], swapped["0.weight"]
    torch.save(swapped, tmp_path / "f.pt")
    with pytest.raises(InputError, match="layout is not clear"):
        foreign.import_network(tmp_path / "f.pt")


def test_if_several_fit_the_user_is_asked(tmp_path: Path) -> None:
    path, state = tmp_path / "f.pt", MnistNet().state_dict()
    ema = {name: 2 * tensor for name, tensor in state.items()}
    torch.save({"model": state, "ema": {"shadow": prefixed(ema, "module.")}}, path)
    with pytest.raises(InputError, match=r"--key: model, ema\.shadow\.module"):
        foreign.import_network(path)
    for key, factor in (("model", 1), ("ema.shadow.module", 2), ("ema.shadow.module.", 2)):
        found = foreign.import_network(path, key=key)
        bias = factor * state["fc1.bias"].numpy()
        np.testing.assert_array_equal(found.params["fc1"]["bias"], bias)
    with pytest.raises(InputError, match="no network under --key emma; it has model, ema"):
        foreign.import_network(path, key="emma")
    torch.save({"states": [state, ema]}, path)
    with pytest.raises(InputError, match=r"--key: states\.0, states\.1"):
        foreign.import_network(path)
    found = foreign.import_network(path, key="states.1")
    np.testing.assert_array_equal(found.params["fc1"]["bias"], 2 * state["fc1.bias"].numpy())


@pytest.mark.parametrize(
    ("dtype", "lossless"), [(torch.float64, False), (torch.float16, True), (torch.bfloat16, True)]
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_other_widths_become_float32(
    tmp_path: Path, dtype: torch.dtype, lossless: bool, suffix: str
) -> None:
    from safetensors.torch import save_file as save_torch

    state = {name: (t.double() / 3).to(dtype) for name, t in MnistNet().state_dict().items()}
    path = tmp_path / f"f.{suffix}"
    torch.save(state, path) if suffix == "pt" else save_torch(state, path)
    found = foreign.import_network(path)
    np.testing.assert_array_equal(found.params["fc2"]["bias"], state["fc2.bias"].float().numpy())
    (note,) = found.config["imported"]["notes"]
    assert ("without loss" if lossless else "rounds") in note


def test_parts_of_safetensors_are_read_by_their_index(tmp_path: Path) -> None:
    tensors = {name: t.numpy() for name, t in MnistNet().state_dict().items()}
    names = list(tensors)
    weight_map = {name: f"model-{1 + i % 2}.safetensors" for i, name in enumerate(names)}
    for part in set(weight_map.values()):
        held = {name: tensors[name] for name in names if weight_map[name] == part}
        save_file(held, tmp_path / part)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for path in (index, tmp_path):
        assert same_bits(foreign.import_network(path).params, CASPER_CNN.read(tensors))
    for other, message in (
        ("../model-1.safetensors", "names '../model-1.safetensors' as a part"),
        ("model-3.safetensors", "which is not beside it"),
        ("model-1.safetensors", "tensor conv1.bias is not in"),
    ):
        changed = {**weight_map, names[1]: other}
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(InputError, match=message):
            foreign.import_network(index)
    assert load_file(tmp_path / "model-1.safetensors")


def test_weights_in_npz(tmp_path: Path) -> None:
    tensors = {name: t.numpy() for name, t in MnistNet().state_dict().items()}
    np.savez(tmp_path / "f.npz", **tensors)
    assert same_bits(foreign.import_network(tmp_path / "f.npz").params, CASPER_CNN.read(tensors))


def logits_with_biases(tensors: dict[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """HookedTransformer's forward pass without LayerNorm, in float64, one block."""
    t = {name: array.astype(np.float64) for name, array in tensors.items()}
    a, m = "blocks.0.attn.", "blocks.0.mlp."
    x = t["embed.W_E"][tokens] + t["pos_embed.W_pos"]
    q, k, v = (
        np.einsum("npm,hmd->nphd", x, t[f"{a}W_{n}"]) + t[f"{a}b_{n}"] for n in ("Q", "K", "V")
    )
    scores = np.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    pattern = np.exp(scores - scores.max(-1, keepdims=True))
    pattern /= pattern.sum(-1, keepdims=True)
    z = np.einsum("nhqk,nkhd->nqhd", pattern, v)
    x = x + np.einsum("nqhd,hdm->nqm", z, t[f"{a}W_O"]) + t[f"{a}b_O"]
    hidden = np.maximum(x @ t[f"{m}W_in"] + t[f"{m}b_in"], 0)
    x = x + hidden @ t[f"{m}W_out"] + t[f"{m}b_out"]
    return x[:, -1] @ t["unembed.W_U"] + t["unembed.b_U"]


def test_biases_that_change_no_prediction_are_folded(tmp_path: Path, trained, transformer) -> None:
    """The logits' differences are those of the network with the biases, on all pairs' sample."""
    tensors = TRANSFORMER_LENS.write(trained["transformer"].params)
    rng = np.random.default_rng(0)
    for name in ("b_K", "b_V", "b_O"):
        name = f"blocks.0.attn.{name}"
        tensors[name] = rng.normal(size=tensors[name].shape, scale=0.3).astype(np.float32)
    tensors["unembed.b_U"] = rng.normal(size=114, scale=1.0).astype(np.float32)
    w_u = tensors["unembed.W_U"]
    tensors["unembed.W_U"] = w_u - w_u.mean(1, keepdims=True)
    tensors["unembed.b_U"] -= tensors["unembed.b_U"].mean()
    save_file(tensors, tmp_path / "f.safetensors")
    network = foreign.import_network(tmp_path / "f.safetensors")
    rows = np.arange(0, 12_769, 41)
    ours = transformer.logits(network.params, rows)
    theirs = logits_with_biases(tensors, np.asarray(transformer.inputs)[rows])
    difference = (ours[:, 1] - ours[:, 0]) - (theirs[:, 1] - theirs[:, 0])
    scale = np.abs(theirs).max()
    assert np.abs(difference).max() < 1e-4 * scale
    plain = logits_with_biases(
        {**tensors, "unembed.b_U": 0 * tensors["unembed.b_U"]},
        np.asarray(transformer.inputs)[rows],
    )
    changed = (plain[:, 1] - plain[:, 0]) - (theirs[:, 1] - theirs[:, 0])
    assert np.abs(changed).max() > 1e-3 * scale  # the control: leaving a bias out is seen
    notes = " ".join(network.config["imported"]["notes"])
    for words in ("b_V and b_O moved", "b_K is left out", "b_U moved", "unembedding is centred"):
        assert words in notes


def test_layer_norm_is_refused(tmp_path: Path, trained) -> None:
    tensors = TRANSFORMER_LENS.write(trained["transformer"].params)
    tensors["ln_final.w"] = np.ones(128, np.float32)
    save_file(tensors, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="has LayerNorm"):
        foreign.import_network(tmp_path / "f.safetensors")


def test_what_was_taken_is_said_once(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "jaxmi")
    torch.save({"net": prefixed(MnistNet().state_dict(), "module.")}, tmp_path / "f.pt")
    foreign.import_network(tmp_path / "f.pt")
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "the state dict is the one under net",
        "the prefix module. is taken off its names",
    ]


def test_a_second_network_is_not_hidden_by_what_lies_before_it(tmp_path: Path) -> None:
    history = [{"loss": 0.1 * i} for i in range(12_000)]
    state, other = MnistNet().state_dict(), MnistNet().state_dict()
    saved = {"model": state, "history": history, "more": {"best": {"weights": other}}}
    torch.save(saved, tmp_path / "f.pt")
    with pytest.raises(InputError, match=r"holds 2 networks; .*: model, more\.best\.weights"):
        foreign.import_network(tmp_path / "f.pt")
    del saved["more"]  # the control
    torch.save(saved, tmp_path / "f.pt")
    foreign.import_network(tmp_path / "f.pt")


def test_a_file_of_very_many_networks_is_refused(tmp_path: Path) -> None:
    state = {name: tensor.numpy() for name, tensor in MnistNet().state_dict().items()}
    file = PickledFile([dict(state) for _ in range(1001)], {}, "<", None)
    with pytest.raises(InputError, match="more than 1,000 networks"):
        choose(file, LAYOUTS)
    few = PickledFile([dict(state) for _ in range(3)], {}, "<", None)
    assert choose(few, LAYOUTS).tensors.keys() == state.keys()
