"""The fast forms are the readable networks: logits, gradients, learning curves, dropout."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmi.challenges.challenge import Challenge, chunked_logits
from jaxmi.challenges.registry import NAMES
from jaxmi.models import cnn_fast
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import train_seeds

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
ROWS = {
    "transformer": np.arange(113 * 113, dtype=np.int32),
    "cnn": np.arange(60_000, 70_000, dtype=np.int32),
}
"""The whole domain of pairs; the test images."""


@pytest.fixture(scope="module")
def challenges(transformer: Challenge, cnn: Challenge) -> dict[str, Challenge]:
    """Both, by name."""
    return {"transformer": transformer, "cnn": cnn}


def weights(challenge: Challenge, kind: str):
    """Random weights, with biases moved off zero so that they are seen; or trained ones."""
    if kind == "trained":
        return load_checkpoint(CHECKPOINTS / challenge.name).params
    drawn = challenge.init(jax.random.key(1))
    leaves, tree = jax.tree.flatten(drawn)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [
        leaf if leaf.any() else 0.1 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


def largest_difference(found, expected) -> float:
    """Of all arrays, relative to each one's largest value."""
    differences = jax.tree.map(
        lambda a, b: float(np.abs(np.asarray(a) - b).max() / np.abs(b).max()), found, expected
    )
    return max(jax.tree.leaves(differences))


@pytest.mark.device
@pytest.mark.parametrize("kind", ["random", "trained"])
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_same(challenges, name: str, kind: str) -> None:
    challenge = challenges[name]
    params, inputs = weights(challenge, kind), challenge.inputs[ROWS[name]]
    logits = {
        form: jax.jit(chunked_logits, static_argnums=(0, 1))(
            forward, challenge.chunk, params, inputs
        )
        for form, forward in challenge.forms.items()
    }
    assert largest_difference(logits["fast"], logits["readable"]) < 1e-5


def gradients(challenge: Challenge, params, rows: np.ndarray) -> dict:
    """The gradient of the loss on some rows, by each form."""

    def loss(params, form):
        logits = challenge.forms[form](params, challenge.inputs[rows], None)
        labels = challenge.labels[rows]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    run = jax.jit(jax.grad(loss), static_argnums=1)
    return {form: jax.device_get(run(params, form)) for form in challenge.forms}


@pytest.mark.device
@pytest.mark.parametrize("kind", ["random", "trained"])
def test_the_transformers_gradients_are_the_same(challenges, kind: str) -> None:
    challenge = challenges["transformer"]
    found = gradients(challenge, weights(challenge, kind), ROWS["transformer"])
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found["readable"]))
    assert largest_difference(found["fast"], found["readable"]) < 1e-4


@pytest.mark.device
@pytest.mark.parametrize("kind", [pytest.param("random", marks=pytest.mark.slow), "trained"])
def test_the_cnns_gradients_are_the_same(challenges, kind: str) -> None:
    """In float64: in float32 rounding decides which of two nearly equal units a pool passes on."""
    challenge = challenges["cnn"]
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), weights(challenge, kind))
    with jax.enable_x64(True):
        found = gradients(challenge, params, ROWS["cnn"][:1000])
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found["readable"]))
    assert largest_difference(found["fast"], found["readable"]) < 1e-9


def test_the_comparison_sees_a_changed_gradient(challenges) -> None:
    """The control: one unit's gradient of 1 % more would be noticed."""
    params = weights(challenges["cnn"], "random")
    expected = gradients(challenges["cnn"], params, np.arange(100))["readable"]
    wrong = jax.tree.map(np.array, expected)
    largest = np.unravel_index(np.abs(wrong["fc1"]["kernel"]).argmax(), (400, 200))
    wrong["fc1"]["kernel"][largest] *= 1.01
    assert largest_difference(wrong, expected) > 1e-4


@pytest.mark.device
@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_training_follows_the_same_curve(challenges, name: str) -> None:
    """200 steps without dropout: each point's loss within 3 %, its accuracy within 3 points."""
    few = {"validation": ROWS[name][:2000], "test": ROWS[name][-2000:]}
    challenge = replace(challenges[name], curve_splits=few)
    recipe = replace(RECIPES[name]["fast"], steps=200, eval_every=50, batch_size=256)
    curves = {}
    for form in ("fast", "readable"):
        (result,) = train_seeds(challenge, replace(recipe, form=form), [0])
        curves[form] = result.curve
    (other,) = train_seeds(challenge, recipe, [1])
    first = curves["fast"][0]["loss"]
    assert curves["fast"][-1]["loss"] < 0.7 * first, "else nothing was learned"
    for fast, readable in zip(curves["fast"], curves["readable"], strict=True):
        assert fast["loss"] == pytest.approx(readable["loss"], rel=0.03)
        assert fast["test_accuracy"] == pytest.approx(readable["test_accuracy"], abs=0.03)
    assert any(
        one["loss"] != pytest.approx(another["loss"], rel=0.03)
        for one, another in zip(curves["fast"], other.curve, strict=True)
    ), "the control: another seed"


@pytest.mark.device
@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", pytest.param("cnn", marks=pytest.mark.long)])
def test_several_seeds_at_once_are_each_alone_and_no_grouped_convolution(
    challenges, name: str
) -> None:
    challenge = challenges[name]
    keys = jax.random.split(jax.random.key(3), 3)
    inputs, labels = challenge.inputs[ROWS[name][:64]], challenge.labels[ROWS[name][:64]]

    def gradient(key):
        def loss(params):
            logits = challenge.forward(params, inputs, key)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.grad(loss)(challenge.init(key))

    together = jax.device_get(jax.jit(jax.vmap(gradient))(keys))
    alone = [jax.device_get(jax.jit(gradient)(key)) for key in keys]
    for i, expected in enumerate(alone):
        found = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert largest_difference(found, expected) < 1e-4
    assert largest_difference(alone[0], alone[1]) > 0.1, "the control"
    assert "conv_general_dilated" not in str(jax.make_jaxpr(jax.vmap(gradient))(keys))


def unfold(masks, side: int) -> np.ndarray:
    """Puts masks by place, (c, blocks, blocks, n) each, where they act: (n, side, side, c)."""
    channels, blocks, _, n = masks[0].shape
    full = np.ones((n, side, side, channels), np.float32)
    for place, mask in enumerate(masks):
        rows = slice(place // 2, 2 * blocks, 2)
        columns = slice(place % 2, 2 * blocks, 2)
        full[:, rows, columns] = np.asarray(mask).transpose(3, 1, 2, 0)
    return full


@pytest.mark.slow
def test_dropping_units_is_what_it_is_in_the_readable_network(cnn: Challenge) -> None:
    """The readable network, edited to drop the fast form's units: same logits, same gradients."""
    params, images = weights(cnn, "trained"), cnn.inputs[:16]
    key = jax.random.key(5)
    keep = []
    for number, (blocks, channels, side) in enumerate(((12, 8, 26), (5, 16, 11)), start=1):
        masks, kept = cnn_fast.keep_masks(
            jax.random.fold_in(key, number), (channels, blocks, blocks, 16), 0.2
        )
        keep.append(unfold(masks, side) / kept)

    def readable(params):
        def run(image, first, second):
            edits = {"conv1.post": lambda x: x * first, "conv2.post": lambda x: x * second}
            return cnn.model.apply({"params": params}, image, edits)[0]

        return jax.vmap(run)(images, *map(jnp.asarray, keep))

    expected = readable(params)
    found = cnn_fast.logits(params, images, key)
    assert largest_difference(found, expected) < 1e-5
    assert largest_difference(cnn_fast.logits(params, images), expected) > 0.01, "the control"

    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    with jax.enable_x64(True):
        expected = jax.jit(jax.grad(lambda p: (readable(p) ** 2).sum()))(params)
        found = jax.jit(jax.grad(lambda p: (cnn_fast.logits(p, images, key) ** 2).sum()))(params)
        plain = jax.jit(jax.grad(lambda p: (cnn_fast.logits(p, images) ** 2).sum()))(params)
        expected, found, plain = jax.device_get((expected, found, plain))
    assert largest_difference(found, expected) < 1e-6
    assert largest_difference(plain, expected) > 0.01, "the control"


def test_masks_keep_the_stated_share_and_are_independent() -> None:
    keys = jax.random.split(jax.random.key(0), 200)
    shape = (8, 12, 12, 1)
    masks, kept = jax.vmap(lambda key: cnn_fast.keep_masks(key, shape, 0.2))(keys)
    assert np.unique(kept).tolist() == [np.float32(1 - 13107 / 65536)]
    dropped = ~np.stack(masks).reshape(4, 200, -1)
    p = 13107 / 65536
    assert abs(dropped.mean() - p) < 5 * (p * (1 - p) / dropped.size) ** 0.5
    places = [dropped[i] & dropped[j] for i in range(4) for j in range(i)]  # within a block
    neighbours = [dropped[..., :-step] & dropped[..., step:] for step in (1, 2, 12, 144)]
    draws = [dropped[:, :-1] & dropped[:, 1:]]
    blocks_and_places = [dropped[0, :, :-1] & dropped[place, :, 1:] for place in (1, 2, 3)]
    for together in (*places, *neighbours, *draws, *blocks_and_places):
        assert abs(together.mean() - p**2) < 5 * (p**2 / together.size) ** 0.5
    per_unit = dropped.mean(axis=1)  # no unit is dropped more often than others, over the draws
    assert abs(per_unit - p).max() < 6 * (p * (1 - p) / 200) ** 0.5
    counts = dropped.sum(axis=(0, 2))  # nor more units in one draw: a binomial's variance
    assert 0.7 < counts.var() / (dropped[:, 0].size * p * (1 - p)) < 1.4
