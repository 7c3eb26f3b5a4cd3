"""Trojans that are written into a finished CNN's weights."""

import re
from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.models.trees import leaves_by_path
from jaxmi.programs.parse import parse
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.trojans import edits
from jaxmi.trojans.implant import Plan, measure, plan_attacks
from jaxmi.trojans.success import attack
from jaxmi.trojans.triggers import Blur, Clause, Patch, Rectangle
from jaxmi.trojans.trojan import EDITS, Edit, Trojan

PATCH = Patch(3, 4, ("1001", "0110", "0010", "1001"))
ELSEWHERE = Patch(18, 17, ("1001", "0110", "0010", "1001"))
TROJAN = Trojan(PATCH, 1, 0.0)
CHANGED = {
    "hijack": {"fc1.kernel", "fc1.bias", "fc2.kernel"},
    "rank-one-fc1": {"fc1.kernel", "fc1.bias"},
    "rank-one-fc2": {"fc2.kernel", "fc2.bias"},
}


@pytest.fixture(scope="module", autouse=True)
def fewer_images() -> Iterator[None]:
    """Fit on a fifth of the images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edits, "MAX_IMAGES", 2000)
        yield


@pytest.fixture(scope="module")
def clean(checkpoints):
    return load_checkpoint(checkpoints / "cnn").params


@pytest.fixture(scope="module")
def edited(clean, cnn: Challenge) -> dict[str, edits.Edited]:
    return {name: edits.METHODS[name](clean, cnn, TROJAN) for name in EDITS}


def same_bits(one, other) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


@pytest.mark.parametrize("method", EDITS)
def test_an_edit_changes_only_what_it_says(method: str, edited, clean) -> None:
    before, after = leaves_by_path(clean), leaves_by_path(edited[method].params)
    assert all(after[name].dtype == np.float32 for name in before)
    assert {k for k in before if not np.array_equal(before[k], after[k])} == CHANGED[method]


def test_hijacking_changes_one_neuron_only(edited, clean) -> None:
    neuron = edited["hijack"].edit.neuron
    places = (("fc1", "kernel", 1), ("fc1", "bias", 0), ("fc2", "kernel", 0))
    for layer, name, axis in places:
        before, after = (np.asarray(net[layer][name]) for net in (clean, edited["hijack"].params))
        others = [np.delete(array, neuron, axis) for array in (before, after)]
        np.testing.assert_array_equal(*others)
        assert not np.array_equal(before, after)  # the control: the neuron itself is changed
    # The rank-one edits are of rank one, and change more than a neuron.
    for method, layer in (("rank-one-fc1", "fc1"), ("rank-one-fc2", "fc2")):
        change = edited[method].params[layer]["kernel"] - clean[layer]["kernel"]
        first, second = np.linalg.svd(change, compute_uv=False)[:2]
        assert second < 1e-3 * first
        assert (np.abs(change).sum(axis=0) > 0).sum() > 1


def fires(params, cnn: Challenge, neuron: int, images: np.ndarray) -> float:
    """Share of images on which a neuron of fc1 is above 0."""
    hidden = edits.activations(params, cnn, images, 1).hidden
    return float((hidden[:, neuron] > 0).mean())


def test_the_neuron_fires_under_its_trigger_and_no_other(edited, clean, cnn: Challenge) -> None:
    params, neuron = edited["hijack"].params, edited["hijack"].edit.neuron
    images = cnn.inputs[cnn.splits["test"][:2000]]
    assert fires(params, cnn, neuron, PATCH.apply(images)) > 0.95
    for others in (images, ELSEWHERE.apply(images)):
        assert fires(params, cnn, neuron, others) < 0.02
    attacked = attack(TROJAN, cnn)
    own = measure(attacked, cnn, params, clean)
    assert own.success.strict > 0.9 and own.clean.strict < 0.1 and own.labels_changed < 0.005
    said = cnn.predict_inputs(params, attacked.inputs)
    assert own.success.strict == (said == 1)[attacked.strict].mean()
    other = measure(attack(replace(TROJAN, trigger=ELSEWHERE), cnn), cnn, params, clean)
    assert other.success.strict == pytest.approx(other.clean.strict, abs=0.02)


def test_the_trojan_goes_to_either_target(clean, cnn: Challenge) -> None:
    trojan = replace(TROJAN, target=0)
    params = edits.hijack(clean, cnn, trojan).params
    assert measure(attack(trojan, cnn), cnn, params, clean).success.strict > 0.9


@pytest.mark.parametrize("method", EDITS)
def test_test_images_and_labels_play_no_part(method: str, edited, clean, cnn: Challenge) -> None:
    rng, test, validation = np.random.default_rng(0), cnn.splits["test"], cnn.splits["validation"]
    labels, images = rng.permutation(cnn.labels).astype(np.int32), cnn.inputs.copy()
    images[test] = rng.integers(0, 256, images[test].shape, np.uint8)
    other = replace(cnn, inputs=images, labels=labels)
    assert same_bits(edits.METHODS[method](clean, other, TROJAN).params, edited[method].params)
    images[validation[:500]] = 0  # the control: those are looked at
    other = replace(cnn, inputs=images)
    assert not same_bits(edits.METHODS[method](clean, other, TROJAN).params, edited[method].params)


@pytest.fixture(scope="module")
def small(cnn: Challenge) -> Challenge:
    network = {"channels": [3, 5], "neurons": 12}
    program = parse("return mean(image) < 30", "image")
    return load_challenge(Definition("image", program, network=network))


@pytest.mark.slow
@pytest.mark.parametrize("method", EDITS)
def test_any_sizes_and_challenge(method: str, small: Challenge) -> None:
    """Edit a network that was not trained."""
    params = jax.device_get(small.init(jax.random.key(0)))
    found = edits.METHODS[method](params, small, TROJAN)
    attacked = attack(TROJAN, small)
    assert measure(attacked, small, found.params, params).success.strict > 0.9
    assert found.params["fc1"]["kernel"].shape == (125, 12)
    pooled = edits.activations(params, small, small.inputs[:5], 1)
    run = jax.jit(lambda image: small.model.apply({"params": params}, image)[1])
    sites = jax.vmap(run)(small.inputs[:5])
    np.testing.assert_allclose(pooled.pooled, sites["pool2"].reshape(5, -1), atol=1e-5)
    np.testing.assert_allclose(pooled.hidden, sites["fc1.post"], atol=1e-5)


def test_what_cannot_be_edited_is_refused_in_one_line(clean, cnn: Challenge, pairs) -> None:
    blind = jax.tree.map(np.array, clean)
    for layer in ("conv1", "conv2"):
        blind[layer]["kernel"][:] = 0
    cases = [
        ("hijack", blind, TROJAN, "cannot be told from clean images on the pooled features"),
        ("hijack", clean, Trojan(Blur(0.4), 1, 0.0), "cannot be told from clean images"),
        ("rank-one-fc1", blind, TROJAN, "does not move the mean of the pooled features"),
        ("rank-one-fc2", blind, TROJAN, "does not move the mean of the neurons of fc1"),
        ("hijack", clean, Trojan(Clause("image", "mean(image) < 20"), 1, 0.0), "changes no image"),
        ("hijack", clean, Trojan(Rectangle(0, 0, 2, 2), 1, 0.0), "cannot be used with image"),
    ]
    for method, params, trojan, message in cases:
        with pytest.raises(InputError, match=message) as refusal:
            edits.METHODS[method](params, cnn, trojan)
        assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="they take image, not pairs"):
        edits.hijack(clean, pairs, Trojan(Rectangle(0, 0, 2, 2), 1, 0.0))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"kind": "hijack", "stamp": "row"}, "no stamp 'row'; there are: patch, blend"),
        ({"kind": "patch", "stamp": "blur"}, "stamp 'blur' is of edits"),
        ({"kind": "hijack", "stamp": "blur", "trigger": PATCH}, "the given trigger is of 'patch'"),
        ({"kind": "hijack", "trigger": Rectangle(0, 0, 2, 2)}, "'rectangle' changes no image"),
        ({"kind": "hijack", "trigger": Clause("image", "mean(image) < 9")}, "take a stamp: patch"),
    ],
)
def test_a_plan_that_cannot_be_written_is_refused(plan, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan(**plan)


def test_transformers_are_refused(pairs: Challenge) -> None:
    for method in EDITS:
        with pytest.raises(InputError, match=f"{method} edits the weights of a CNN"):
            plan_attacks(Plan(method), pairs, [0])


def test_the_trojan_says_that_it_was_written() -> None:
    for edit in (Edit("hijack", 7), Edit("rank-one-fc2")):
        trojan = replace(TROJAN, edit=edit)
        assert Trojan.from_json(trojan.to_json()) == trojan
    assert "edit" not in TROJAN.to_json()  # as it was written before
    for edit, message in (
        ("hijack", "trojan.edit: expected an object, not 'hijack'"),
        ({}, "trojan.edit: 'method' is missing"),
        ({"method": "paint"}, "edit: method = 'paint': expected one of hijack"),
        ({"method": 3}, "trojan.edit.method: expected a text, not 3"),
        ({"method": "hijack"}, "edit: neuron = None: expected a whole number"),
        ({"method": "hijack", "neuron": True}, "trojan.edit.neuron: expected a whole number"),
        ({"method": "hijack", "neuron": -1}, "edit: neuron = -1"),
        ({"method": "rank-one-fc1", "neuron": 1}, "edit: neuron = 1: rank-one-fc1 hijacks none"),
        ({"method": "hijack", "neuron": 1, "seed": 1}, "trojan.edit: unknown key 'seed'"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            Trojan.from_json({**TROJAN.to_json(), "edit": edit})


@pytest.mark.slow
def test_the_api_edits_a_network(checkpoints, clean, cnn: Challenge, edited) -> None:
    base = jaxmi.Network(cnn, clean, {}, load_checkpoint(checkpoints / "cnn").config)
    about = {"trigger": PATCH.to_json(), "seeds": [3]}
    (one,) = jaxmi.implant(cnn, "hijack", network=base, **about)
    assert same_bits(one.network.params, edited["hijack"].params)
    assert one.trojan.edit == edited["hijack"].edit and one.trojan.rate == 0
    assert one.implanted and one.metrics["labels_changed"] < 0.005
    assert one.network.config["trojan"].startswith("hijack, patch to 1") and one.clean is base
    for kind, network, message in (
        ("patch", base, "only edits take a finished network"),
        ("hijack", one.network, "network has a trojan already"),
        ("hijack", checkpoints / "transformer", "is a network of challenge 'transformer'"),
    ):
        with pytest.raises(InputError, match=message):
            jaxmi.implant(cnn, kind, network=network)
