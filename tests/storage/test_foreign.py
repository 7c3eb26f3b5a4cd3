"""Files of other tools: round trips through disk, what others saved, the first offender."""

import hashlib
import time
from collections import OrderedDict
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.torch_cnn import MnistNet
from reference.torch_transformer import PairTransformer, Sizes
from safetensors.numpy import load_file, save_file
from storage.test_layouts import random_params, same_bits

from jaxmi.challenges.registry import NAMES, origin
from jaxmi.errors import InputError
from jaxmi.programs.language import PUBLISHED, Kind
from jaxmi.storage import foreign
from jaxmi.storage.checkpoints import (
    DEFINITION,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    write_safetensors,
)
from jaxmi.storage.layouts import CASPER_CNN, CASPER_TRANSFORMER, LAYOUTS, TRANSFORMER_LENS
from jaxmi.workflows.challenges import define

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
    "tensor fc2.bias is int64[2], expected float32[2]": lambda t: t.update(
        {"fc2.bias": t["fc2.bias"].astype(np.int64)}
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
    tensors["blocks.0.attn.b_K"][3, 5] = 1e-3
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


def own_network(kind: Kind, name: str = "own", **network) -> Checkpoint:
    """A random network of a challenge that a user made."""
    own = define("return 0", kind=kind, name=name, network=network, **OWN_DOMAINS[kind])
    made_of = origin(own)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape, scale=0.1).astype(np.float32),
        made_of.param_shapes,
    )
    config = {"format": 1, "challenge": name, "model": made_of.model_config}
    return Checkpoint(params, {**config, DEFINITION: own.to_json(), "seed": 3}, {"a": 0.5})


OWN_DOMAINS = {"pairs": {"p": 59}, "image": {}}
OWN = [
    ("pairs", {"d_model": 64, "n_heads": 4, "d_mlp": 256}),
    ("pairs", {"d_model": 64, "n_heads": 4, "d_mlp": 256, "n_layers": 2}),
    ("pairs", {"d_model": 20, "n_heads": 3, "d_head": 7, "d_mlp": 16, "n_layers": 3}),
    ("image", {"channels": [3, 5], "neurons": 7}),
]


@pytest.mark.parametrize(("kind", "network"), OWN)
def test_networks_of_other_sizes_come_back_from_the_file_alone(
    tmp_path: Path, kind: Kind, network
) -> None:
    """Told nothing, told the challenge, in every format; another challenge is refused."""
    checkpoint = own_network(kind, **network)
    other = own_network(kind, "another", **network).definition
    for format_name, challenge, file in CASES:
        if challenge != PUBLISHED[kind]:
            continue
        path = tmp_path / f"{format_name}-{file}"
        foreign.export_network(checkpoint, format_name, path)
        for told in ({}, {"format_name": format_name}, {"challenge": checkpoint.definition}):
            back = foreign.import_network(path, **told)
            assert same_bits(back.params, checkpoint.params)
            assert back.metrics == checkpoint.metrics
            assert {**back.config, "imported": None} == {**checkpoint.config, "imported": None}
        with pytest.raises(InputError, match="with challenge = 'own'"):
            foreign.import_network(path, None, other)
        with pytest.raises(InputError, match=r"tensor .* is .*, expected"):
            foreign.import_network(path, None, PUBLISHED[kind])


@pytest.mark.parametrize(("kind", "network"), OWN)
def test_without_a_record_the_challenge_must_be_named(tmp_path: Path, kind: Kind, network) -> None:
    checkpoint = own_network(kind, **network)
    for layout in LAYOUTS:
        if layout.kind != kind:
            continue
        path = tmp_path / f"{layout.name}.safetensors"
        save_file(layout.write(checkpoint.params), path)
        back = foreign.import_network(path, None, checkpoint.definition)
        assert same_bits(back.params, checkpoint.params)
        assert back.definition == checkpoint.definition
        assert back.config["model"] == checkpoint.config["model"]
        parts = back.params, back.config, back.metrics
        save_checkpoint(tmp_path / f"{layout.name}-network", *parts)
        assert same_bits(
            load_checkpoint(tmp_path / f"{layout.name}-network").params, checkpoint.params
        )
        with pytest.raises(InputError) as caught:
            foreign.import_network(path)
        message = str(caught.value)
        assert "--challenge" in message
        for size in {"pairs": ("d_vocab = 60", "d_mlp = "), "image": ("channels = 3,5",)}[kind]:
            assert size in message
        if layout.name == "transformer-lens-4":
            assert "n_heads * d_head = " in message


def test_the_record_must_be_of_the_tensors_sizes(tmp_path: Path) -> None:
    """And of the same definition as the challenge that is named."""
    one, two = (own_network("pairs", **network) for _, network in OWN[:2])
    path = tmp_path / "f.safetensors"
    for params, config in ((one.params, two.config), (two.params, one.config)):
        tensors = CASPER_TRANSFORMER.write(params)
        write_safetensors(path, tensors, {"config": config, "metrics": {}})
        with pytest.raises(InputError, match=r"tensor blocks\.1\.attn"):
            foreign.import_network(path)
    altered = {**one.config, "model": two.config["model"]}
    tensors = CASPER_TRANSFORMER.write(one.params)
    write_safetensors(path, tensors, {"config": altered, "metrics": {}})
    with pytest.raises(InputError, match="record is of a network with model = "):
        foreign.import_network(path)
    write_safetensors(path, tensors, {"config": one.config, "metrics": {}})
    other = define("return 1", p=59, network=OWN[0][1])
    with pytest.raises(InputError, match="record is of another challenge named 'own'"):
        foreign.import_network(path, None, other)


@pytest.mark.parametrize("network", [OWN[1][1], OWN[2][1]])
def test_pytorch_gives_the_same_logits_of_two_blocks(tmp_path: Path, network) -> None:
    """In a network that is written after the published one's description, of these sizes."""
    checkpoint = own_network("pairs", **network)
    foreign.export_network(checkpoint, "casper", tmp_path / "f.pt")
    c = checkpoint.origin.model.config
    sizes = Sizes(c.d_vocab, c.d_model, c.n_heads, c.d_head, c.d_mlp, c.n_layers)
    model = PairTransformer(sizes)
    model.load_state_dict(torch.load(tmp_path / "f.pt")["model"], strict=True)
    tokens = np.array([[x, y, 59] for x in range(0, 59, 7) for y in range(59)])
    with torch.no_grad():
        theirs, sites = model(torch.tensor(tokens))
    run = jax.vmap(lambda one: checkpoint.origin.model.apply({"params": checkpoint.params}, one))
    ours, activations = run(tokens)
    assert sites.keys() <= activations.keys()
    for name, value in {**sites, "logits": theirs}.items():
        expected = ours if name == "logits" else activations[name]
        assert abs(value.detach().numpy() - expected).max() < 1e-5 * abs(expected).max(), name


def test_pytorch_gives_the_same_logits_of_another_cnn(tmp_path: Path) -> None:
    checkpoint = own_network("image", channels=[3, 5], neurons=7)
    foreign.export_network(checkpoint, "casper", tmp_path / "f.pt")
    model = MnistNet((3, 5), 7).eval()
    model.load_state_dict(torch.load(tmp_path / "f.pt"), strict=True)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    with torch.no_grad():
        theirs = model(torch.tensor(images[:, None] / 255.0).float())[0].numpy()
    run = jax.vmap(lambda one: checkpoint.origin.model.apply({"params": checkpoint.params}, one)[0])
    assert abs(theirs - run(images)).max() < 1e-5 * abs(theirs).max()


def test_a_stack_of_other_sizes(tmp_path: Path) -> None:
    checkpoint = own_network("pairs", **OWN[1][1])
    foreign.export_stack([checkpoint] * 2, "transformer-lens", tmp_path / "f.safetensors")
    stack = load_file(tmp_path / "f.safetensors")
    assert stack["blocks.1.attn.W_Q"].shape == (2, 4, 64, 16)
    for name, array in TRANSFORMER_LENS.write(checkpoint.params).items():
        np.testing.assert_array_equal(stack[name][1], array)


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
