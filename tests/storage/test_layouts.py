"""Layouts: the published names and shapes, bitwise round trips, agreement with PyTorch."""

import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.torch_cnn import MnistNet
from reference.torch_transformer import PairTransformer

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import NAMES, origin, param_shapes
from jaxmi.errors import InputError
from jaxmi.models.cnn import Cnn, CnnConfig
from jaxmi.models.transformer import MAX_LAYERS, Transformer, TransformerConfig
from jaxmi.models.trees import leaves_by_path
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.storage.foreign import export_network
from jaxmi.storage.layouts import CASPER_CNN, LAYOUTS, TRANSFORMER_LENS, Layout, detect
from jaxmi.workflows.networks import load_network

PUBLISHED = {
    "cnn": {
        "conv1.weight": (8, 1, 3, 3),
        "conv1.bias": (8,),
        "conv2.weight": (16, 8, 3, 3),
        "conv2.bias": (16,),
        "fc1.weight": (200, 400),
        "fc1.bias": (200,),
        "fc2.weight": (2, 200),
        "fc2.bias": (2,),
    },
    "transformer": {
        "embed.W_E": (128, 114),
        "pos_embed.W_pos": (3, 128),
        "blocks.0.attn.W_K": (8, 16, 128),
        "blocks.0.attn.W_Q": (8, 16, 128),
        "blocks.0.attn.W_V": (8, 16, 128),
        "blocks.0.attn.W_O": (128, 128),
        "blocks.0.attn.mask": (3, 3),
        "blocks.0.mlp.W_in": (1024, 128),
        "blocks.0.mlp.b_in": (1024,),
        "blocks.0.mlp.W_out": (128, 1024),
        "blocks.0.mlp.b_out": (128,),
        "unembed.W_U": (128, 114),
    },
}
"""The published state dicts."""

IDS = [f"{layout.name}-{layout.published}" for layout in LAYOUTS]


def random_params(name: str, seed: int):
    """Parameters of a published challenge's network; see `draw_params`."""
    return draw_params(origin(name).param_shapes, seed)


def draw_params(shapes, seed: int):
    """A tree of any finite float32: subnormal, negative zero, the largest."""
    rng = np.random.default_rng(seed)

    def draw(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        bits = rng.integers(0, 2**32, shape.shape, np.uint32)
        values = bits.view(np.float32)
        return np.where(np.isfinite(values), values, np.float32(-0.0))

    return jax.tree.map(draw, shapes)


def same_bits(a, b) -> bool:
    a, b = leaves_by_path(a), leaves_by_path(b)
    assert a.keys() == b.keys()
    return all(
        a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes() for name in a
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_casper_layout_has_the_published_names_and_shapes(name: str) -> None:
    layout = next(one for one in LAYOUTS if (one.name, one.published) == ("casper", name))
    tensors = layout.write(random_params(name, 0))
    assert {key: array.shape for key, array in tensors.items()} == PUBLISHED[name]
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    assert PairTransformer().state_dict().keys() == PUBLISHED["transformer"].keys()
    assert MnistNet().state_dict().keys() == PUBLISHED["cnn"].keys()


@pytest.mark.parametrize("layout", LAYOUTS, ids=IDS)
def test_the_tables_are_of_the_networks_parameters(layout: Layout) -> None:
    """Every parameter once, and axes that multiply to its size."""
    shapes = {
        name: leaf.shape
        for name, leaf in leaves_by_path(origin(layout.published).param_shapes).items()
    }
    assert sorted(row.ours for row in layout.table().rows) == sorted(shapes)
    for row in layout.table().rows:
        assert math.prod(row.shape) == math.prod(shapes[row.ours]), row.name


@pytest.mark.parametrize("layout", LAYOUTS, ids=IDS)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_reading_inverts_writing_bitwise(layout: Layout, seed: int) -> None:
    params = random_params(layout.published, seed)
    tensors = layout.write(params)
    back = layout.read(tensors)
    assert same_bits(back, params)
    assert same_bits(layout.write(back), tensors)
    # The control: rotating one tensor is seen, wherever it happens.
    name = list(tensors)[seed % len(layout.parameters)]
    assert not same_bits(layout.read({**tensors, name: np.roll(tensors[name], 1)}), params)


def models(kind: str) -> st.SearchStrategy:
    """Networks of any sizes."""
    size = st.integers(1, 12)
    if kind == "image":
        return st.builds(
            lambda c1, c2, neurons: Cnn(CnnConfig(channels=(c1, c2), neurons=neurons)),
            *(size, size, size),
        )
    sizes = {n: size for n in ("d_vocab", "d_model", "n_heads", "d_head", "d_mlp")}
    sizes["n_layers"] = st.integers(1, MAX_LAYERS)
    return st.builds(lambda **given: Transformer(TransformerConfig(**given)), **sizes)


@pytest.mark.parametrize("layout", LAYOUTS, ids=IDS)
@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_networks_of_any_sizes_survive_bitwise(layout: Layout, data, seed: int) -> None:
    """Also where the sizes are known from the tensors only."""
    model = data.draw(models(layout.kind))
    shapes = param_shapes(model, layout.kind)
    params, table = draw_params(shapes, seed), layout.table(model.config)
    assert sorted(row.ours for row in table.rows) == sorted(leaves_by_path(shapes))
    tensors = layout.write(params)
    assert {row.name: row.shape for row in table.rows}.items() <= {
        name: array.shape for name, array in tensors.items()
    }.items()
    assert same_bits(table.write(params), tensors)
    assert same_bits(table.read(tensors), params)
    assert layout.likeness(tensors) == 1
    found = layout.find_sizes(tensors)
    if found.heads_known:
        assert found.config == model.config
        assert same_bits(layout.read(tensors), params)
    else:
        assert layout.name == "transformer-lens-4"
        with pytest.raises(InputError, match="number of heads"):
            layout.read(tensors)
    # The control: a tensor less, and one with an axis too long, are named.
    name = list(tensors)[seed % len(tensors)]
    with pytest.raises(InputError, match=f"tensor {re.escape(name)} is missing"):
        table.read({key: array for key, array in tensors.items() if key != name})
    longer = np.zeros((*tensors[name].shape, 2), np.float32)
    with pytest.raises(InputError, match=f"tensor {re.escape(name)}"):
        table.read({**tensors, name: longer})


def test_the_layout_is_told_from_the_tensors_of_other_sizes() -> None:
    model = Transformer(TransformerConfig(60, 3, 64, 4, 16, 256, 2))
    params = draw_params(param_shapes(model, "pairs"), 0)
    for layout in LAYOUTS[1:]:
        assert detect(layout.write(params), LAYOUTS) is layout
    params = draw_params(param_shapes(Cnn(CnnConfig((3, 5), 7)), "image"), 0)
    assert detect(CASPER_CNN.write(params), LAYOUTS) is CASPER_CNN


def test_several_blocks_have_transformer_lenses_names() -> None:
    model = Transformer(TransformerConfig(60, 3, 64, 4, 16, 256, 2))
    params = draw_params(param_shapes(model, "pairs"), 0)
    tensors = TRANSFORMER_LENS.write(params)
    assert len(tensors) == 4 + 2 * 14
    assert tensors["blocks.1.attn.mask"].shape == (3, 3)
    assert tensors["blocks.1.attn.b_Q"].shape == (4, 16)
    assert tensors["unembed.b_U"].shape == (60,)
    np.testing.assert_array_equal(tensors["blocks.1.attn.W_Q"], params["attn_1"]["W_Q"])
    np.testing.assert_array_equal(tensors["blocks.0.mlp.W_in"], params["mlp"]["W_in"])


@pytest.mark.parametrize("layout", LAYOUTS, ids=IDS)
def test_the_trained_networks_survive_bitwise(layout: Layout, trained) -> None:
    params = trained[layout.published][1]
    assert same_bits(layout.read(layout.write(params)), params)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest, of logits less their row's mean, relative to the largest such logit."""
    ours, theirs = (x - x.mean(axis=-1, keepdims=True) for x in (ours, theirs))
    return float(abs(ours - theirs).max() / abs(theirs).max())


def torch_logits(challenge: Challenge, rows: np.ndarray | slice, state) -> np.ndarray:
    """Loads a state dict strictly into the independent PyTorch network and runs it."""
    model = (PairTransformer() if challenge.name == "transformer" else MnistNet()).eval()
    model.load_state_dict(state, strict=True)
    inputs = torch.tensor(challenge.inputs[rows])
    with torch.no_grad():
        if challenge.name == "transformer":
            return model(inputs.long())[0][:, -1].numpy()
        return model(inputs[:, None].float() / 255)[0].numpy()


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_gives_the_same_logits(name: str, trained, checkpoints: Path, tmp_path) -> None:
    """From the exported file, on all 12,769 pairs and on the 10,000 test images."""
    challenge, params = trained[name]
    export_network(load_checkpoint(checkpoints / name), "casper", tmp_path / "f.pt")
    state = torch.load(tmp_path / "f.pt", weights_only=True)
    state = state["model"] if name == "transformer" else state
    rows = slice(None) if name == "transformer" else challenge.splits["test"]
    ours, theirs = challenge.logits(params, rows), torch_logits(challenge, rows, state)
    assert len(ours) == {"transformer": 12_769, "cnn": 10_000}[name]
    assert difference(ours, theirs) <= 2e-6
    np.testing.assert_array_equal(ours.argmax(axis=-1), theirs.argmax(axis=-1))


def test_a_wrong_permutation_of_fc1_is_seen(trained) -> None:
    """The control: with fc1's inputs left in our order, shapes fit and the logits do not."""
    challenge, params = trained["cnn"]
    rows = challenge.splits["test"]
    ours = challenge.logits(params, rows)
    state = {name: torch.tensor(array) for name, array in CASPER_CNN.write(params).items()}
    state["fc1.weight"] = torch.tensor(params["fc1"]["kernel"]).T
    theirs = torch_logits(challenge, rows, state)
    assert difference(ours, theirs) > 0.1
    assert (ours.argmax(axis=-1) == theirs.argmax(axis=-1)).mean() < 0.9


def test_transformer_lens_gets_what_it_expects() -> None:
    """Its 18 names; `make test-interop` loads them into the real one."""
    tensors = TRANSFORMER_LENS.write(random_params("transformer", 0))
    assert len(tensors) == 18
    assert tensors["blocks.0.attn.mask"].dtype == bool
    assert tensors["blocks.0.attn.IGNORE"].shape == ()
    assert np.isneginf(tensors["blocks.0.attn.IGNORE"])
    for name in ("blocks.0.attn.b_Q", "blocks.0.attn.b_O", "unembed.b_U"):
        assert not tensors[name].any()


def test_the_documentation_has_the_tables() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()
    ours = {
        name: leaf.shape
        for challenge in NAMES
        for name, leaf in leaves_by_path(origin(challenge).param_shapes).items()
    }

    def cell(shape: tuple[int, ...]) -> str:
        return f"({', '.join(map(str, shape))})"

    casper_cnn, casper, lens, lens_4 = (layout.table() for layout in LAYOUTS)
    lines = [
        *(
            f"| `{row.name}` | {cell(row.shape)} | `{row.ours}` | {cell(ours[row.ours])} |"
            for row in casper_cnn.rows
        ),
        *(
            f"| `{row.name}` | {cell(row.shape)} | {cell(other.shape)} | `{row.ours}` |"
            for row, other in zip(casper.rows, lens.rows, strict=True)
        ),
        *(f"| `{row.name}` | {cell(row.shape)} | `{row.ours}` |" for row in lens_4.rows),
    ]
    assert [line for line in lines if line not in docs] == []


@pytest.fixture(scope="module")
def trained(checkpoints, mnist_data):
    """The networks in checkpoints/, with their challenges."""
    return {name: load_network(checkpoints / name) for name in NAMES}
