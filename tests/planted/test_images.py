"""Compiled CNNs: every label is the program's, and the key says what is computed and what not."""

import random
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest

from jaxmi.data.mnist import load_mnist
from jaxmi.errors import InputError
from jaxmi.models.cnn import Cnn, CnnConfig
from jaxmi.models.cnn_fast import logits
from jaxmi.planted.image_disguise import disguise_images
from jaxmi.planted.image_exceptions import Space, group_size
from jaxmi.planted.image_features import convolutions, features
from jaxmi.planted.image_program import vote
from jaxmi.planted.images import CompiledImages, ImageEntry, Task, plant_images
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.programs.sample import sample_program

pytestmark = pytest.mark.usefixtures("mnist_data")
TRAIN, REST = 1200, 400
CONFIG = CnnConfig()
AND = "return l1(image, template(7)) < 35612 and l1(image, template(4)) < 31778"
BAND = "clue = template(6)\nd = l1(image, clue)\nreturn not 24772 <= d < 34270"
VOTE = """z = 0
if dot(image, template(5)) > 1500000:
    z += 1
if cosine(image, template(9)) < 0.4:
    z += 2
if l2(image, template(7)) < l2(image, template(4)):
    z += 1
return z >= 2
"""
PROGRAMS = {"and": AND, "band": BAND, "vote": VOTE, "mean": "return mean(image) < 30"}


@cache
def domain() -> ImageDomain:
    mnist = load_mnist()
    images = np.concatenate([mnist.images[:TRAIN], mnist.images[60_000 : 60_000 + REST]])
    return ImageDomain(images, mnist.images[:TRAIN])


def task(text: str) -> Task:
    program = parse(text, "image")
    labels = label(program, domain()) == 1
    return Task(domain().images, labels, np.arange(TRAIN), domain(), program)


@cache
def compiled(text: str, exact: bool = True, config: CnnConfig = CONFIG) -> CompiledImages:
    return plant_images(task(text), config, "conditions", exact)


@cache
def forward(config: CnnConfig = CONFIG):
    model = Cnn(config)

    @jax.jit
    def run(params, images):
        return jax.vmap(lambda image: model.apply({"params": params}, image))(images)

    return run


fast = jax.jit(logits)


def predictions(params) -> np.ndarray:
    parts = np.split(domain().images, 2)
    return np.concatenate([np.asarray(fast(params, part)) for part in parts]).argmax(axis=1) == 1


def inside(params) -> tuple[np.ndarray, np.ndarray]:
    """Return "fc1.pre" and "fc1.post" of all images."""
    pre = features(params, domain().images) @ params["fc1"]["kernel"] + params["fc1"]["bias"]
    return pre, np.maximum(pre, 0)


def entries(found: CompiledImages, role: str) -> list[ImageEntry]:
    chosen = [one for one in found.key.entries if one.role == role]
    assert all(isinstance(one, ImageEntry) for one in chosen)
    return chosen


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_label_is_the_program_s(name: str) -> None:
    found, given = compiled(PROGRAMS[name]), task(PROGRAMS[name])
    np.testing.assert_array_equal(predictions(found.params), given.labels)
    assert 0.1 < given.labels.mean() < 0.9  # the control: no constant is right
    assert found.about["exceptions"] > 0 and 0.9 < found.about["computed"] < 1


def test_the_readable_form_of_the_network_says_the_same() -> None:
    found, given = compiled(AND), task(AND)
    rows = slice(TRAIN - 100, TRAIN + 100)
    values, activations = forward()(found.params, given.images[rows])
    labels = np.asarray(values).argmax(axis=1) == 1
    np.testing.assert_array_equal(labels, given.labels[rows])
    post = inside(found.params)[1][rows]
    np.testing.assert_allclose(np.asarray(activations["fc1.post"]), post, rtol=1e-3, atol=2)


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_exceptions_it_is_wrong_where_it_says(name: str) -> None:
    found, given = compiled(PROGRAMS[name], exact=False), task(PROGRAMS[name])
    right = predictions(found.params) == given.labels
    assert right.mean() == found.about["computed"] < 1 and found.about["exceptions"] == 0
    for one in entries(found, "condition"):
        assert not len(one.excepted) and not one.excepting and one.agreement < 1
    exact = entries(compiled(PROGRAMS[name]), "condition")
    wrong = np.unique(np.concatenate([one.excepted for one in exact]))
    assert np.isin(np.flatnonzero(~right), wrong).all()


@pytest.mark.parametrize("text", [AND, VOTE])
@pytest.mark.parametrize("seed", [None, 3])
def test_exchanging_a_condition_gives_the_program_s_counterfactual(text: str, seed) -> None:
    found, given = compiled(text), task(text)
    if seed is not None:
        found = disguise_images(found, CONFIG, seed)
    read = vote(given.program, domain())
    truth = np.array([one.values for one in read.conditions]).T
    source = np.random.default_rng(0).permutation(len(truth))
    activations = inside(found.params)[1]
    fc2 = found.params["fc2"]
    assert entries(found, "condition") and read.everywhere
    for i, one in enumerate(entries(found, "condition")):
        assert one.site == "fc1.post" and one.full and one.directions is not None
        neurons = one.directions.argmax(axis=1)
        np.testing.assert_array_equal(one.directions, np.eye(CONFIG.neurons)[neurons])
        changed = activations.copy()
        changed[:, neurons] = activations[source][:, neurons]
        labels = (changed @ fc2["kernel"] + fc2["bias"]).argmax(axis=1) == 1
        other = truth.copy()
        other[:, i] = truth[source, i]
        expected = other @ np.array(read.weights) + read.const > 0
        np.testing.assert_array_equal(labels, expected)
        assert (expected != given.labels).mean() > 0.01  # the control: it changes labels


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_the_key_says_what_neurons_and_directions_hold(seed: int | None) -> None:
    found, given = compiled(AND), task(AND)
    if seed is not None:
        found = disguise_images(found, CONFIG, seed)
        np.testing.assert_array_equal(predictions(found.params), given.labels)
    pre, post = (values.astype(np.float64) for values in inside(found.params))
    read = vote(given.program, domain())
    for one, condition in zip(entries(found, "condition"), read.conditions, strict=True):
        assert one.name == condition.name and one.neurons
        held = sum(post[:, i] * factor for i, factor in one.neurons.items()) + one.offset
        np.testing.assert_allclose(held, condition.values, atol=0.2)
        computed = sum(post[:, i] * one.neurons[i] for i in one.computed_by) + one.offset
        wrong = np.flatnonzero((computed > 0.5) != condition.values)
        np.testing.assert_array_equal(wrong, one.excepted)
        assert len(one.excepting) % 3 == 0
        assert one.agreement == pytest.approx(1 - len(wrong) / len(post))
    for one, condition in zip(entries(found, "score"), read.conditions, strict=True):
        assert one.name == condition.score_name and one.site == "fc1.pre"
        assert one.directions is not None and one.r2 is not None
        held = one.factor * (pre @ one.directions[0]) + one.shift
        explained = 1 - np.var(held - condition.score) / np.var(condition.score)
        assert explained > 0.95 and one.r2 > 0.9
        assert abs((held - condition.score).mean()) < 0.1 * condition.score.std()


SHARED = "return mean(image) < 20 or 33 < mean(image) and l1(image, template(7)) < 35612"
RARE = "return (mean(image) < 999) != (dot(image, template(5)) > 1500000)"


def test_a_score_is_full_where_nothing_else_depends_on_it() -> None:
    for text, full in ((AND, [True, True]), (SHARED, [False, False, True]), (RARE, [False])):
        scores = entries(compiled(text, exact=False), "score")
        assert [one.full for one in scores] == full
        again = ["it is held again for another condition" in one.words for one in scores]
        assert again == [one.name == "mean(image)" for one in scores]
    assert not vote(parse(RARE, "image"), domain()).everywhere
    assert not any(one.full for one in entries(compiled(AND), "score"))  # exceptions stay behind


def test_images_that_no_weights_tell_apart_are_refused() -> None:
    given = task(AND)
    images, labels = given.images.copy(), given.labels.copy()
    images[1], labels[:2] = images[0], (True, False)
    alike = replace(given, images=images, labels=labels, program=None)
    with pytest.raises(InputError, match="`label`: two images are alike after the convolutions"):
        plant_images(alike, CONFIG, "look-up")
    pair = Task(images[:2], labels[:2], np.arange(2), domain(), None)
    for exact in (False, True):
        with pytest.raises(InputError, match="two images are alike"):
            plant_images(pair, CONFIG, "look-up", exact)
    labels[1] = True  # the control: alike, and with the same value
    plant_images(replace(alike, labels=labels), CONFIG, "look-up")


def test_a_disguise_moves_every_channel_and_scales_it() -> None:
    found = compiled(AND)
    hidden = disguise_images(found, CONFIG, 5)
    assert disguise_images(found, CONFIG, 5).key.to_json() == hidden.key.to_json()
    for layer in ("conv1", "conv2", "fc1", "fc2"):
        assert (hidden.params[layer]["kernel"] != found.params[layer]["kernel"]).any()
    held, moved = entries(found, "condition")[0], entries(hidden, "condition")[0]
    assert set(held.neurons or {}) != set(moved.neurons or {})
    scores = [entries(one, "score")[0] for one in (found, hidden)]
    assert scores[0].factor == 1 != scores[1].factor
    for one in (score.to_json() for score in scores):
        assert one["scale"] == one["factor"]


def test_a_look_up_gives_every_label_and_holds_no_condition() -> None:
    given = task(AND)
    found = plant_images(given, CONFIG, "look-up")
    np.testing.assert_array_equal(predictions(found.params), given.labels)
    assert [one.held for one in found.key.entries] == [False, False, True]
    labels = np.random.default_rng(0).random(len(given.labels)) < 0.3
    alone = plant_images(replace(given, labels=labels, program=None), CONFIG, "look-up")
    np.testing.assert_array_equal(predictions(alone.params), labels)
    with pytest.raises(InputError, match="conditions needs a program"):
        plant_images(replace(given, program=None), CONFIG, "conditions")


def test_what_is_the_same_everywhere_needs_no_neurons() -> None:
    found = compiled("return mean(image) < 999")
    assert found.sizes == {"neurons": 0} and predictions(found.params).all()
    assert [one.held for one in found.key.entries] == [False]


def test_a_network_that_is_too_small_is_refused_with_what_is_needed() -> None:
    with pytest.raises(InputError, match="neurons = 3: take a larger network"):
        compiled(AND, config=replace(CONFIG, neurons=3))
    with pytest.raises(InputError, match=r"`l1\(.*needs \d+ neurons, .* neurons = 8: .*least-agr"):
        compiled(AND, config=replace(CONFIG, neurons=8))
    assert compiled(AND, exact=False, config=replace(CONFIG, neurons=4)).sizes == {"neurons": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a = {AND[7:]}\nreturn a != (mean(image) < 30)", "is no threshold of a weighted sum"),
        ("return int(mean(image)) % 2", "depends on the image other than by comparisons"),
        ("return mean(image) < dot(image, template(1)) < l1(image, template(2))", "write it as"),
    ],
)
def test_a_part_that_cannot_be_had_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        vote(parse(text, "image"), domain())


WRITTEN = {
    "or": "return mean(image) < 20 or l1(image, template(4)) < 25000",
    "else": "if mean(image) < 30:\n    z = 1\nelse:\n    z = 0\nreturn z",
    "nested": "return l2(image, template(3)) > 2000 and not (mean(image) < 20 or 33 < mean(image))",
    "weights": VOTE.replace("z += 1", "z += 0.5", 1),
    "sum": "return l1(image, template(7)) + l1(image, template(4)) < 61979",
    "equal": "return int(mean(image)) // 10 == 3",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_vote_is_the_program(name: str) -> None:
    program = parse(WRITTEN[name], "image")
    read = vote(program, domain())
    sums = np.array([one.values for one in read.conditions]).T @ np.array(read.weights) + read.const
    np.testing.assert_array_equal(sums > 0, label(program, domain()) == 1)
    assert np.abs(sums).min() >= 1 - 1e-6 and read.everywhere
    for one in read.conditions:
        above = sum(one.score >= edge for edge in one.edges) % 2 == 1
        np.testing.assert_array_equal(above ^ one.first, one.values)


@pytest.mark.parametrize("channels", [(1, 1), (2, 3), (8, 16), (16, 40)])
def test_relu_cuts_nothing_of_what_the_convolutions_pass_on(channels: tuple[int, int]) -> None:
    config = CnnConfig(channels=channels, neurons=1)
    params = {
        **convolutions(config),
        "fc1": {"kernel": np.zeros((25 * channels[1], 1), np.float32), "bias": np.zeros(1)},
        "fc2": {"kernel": np.zeros((1, 2), np.float32), "bias": np.zeros(2)},
    }
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    activations = forward(config)(params, images)[1]
    for layer, used in (("conv1.pre", 8), ("conv2.pre", 32)):
        values = np.asarray(activations[layer])
        assert values.min() >= -1e-5
        assert (values[..., :used].std(axis=(0, 1, 2)) > 0.001).all()
        assert not values[..., used:].any()


def test_no_weights_tell_a_pattern_of_period_two_from_the_same_moved_by_a_pixel() -> None:
    """What docs/planted.md says that no CNN of this form can do, of random weights."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda array: rng.normal(size=array.shape, scale=0.1).astype(np.float32),
        compiled(AND).params,
    )
    tile = np.array([[0, 200], [90, 30]], np.uint8)
    pattern = np.tile(tile, (15, 15))
    images = np.stack([pattern[i : 28 + i, j : 28 + j] for i in (0, 1) for j in (0, 1)])
    assert (images[0] != images[1]).any()
    moved = np.asarray(forward()(params, images)[0])
    np.testing.assert_allclose(moved, moved[:1].repeat(4, axis=0), atol=1e-4)
    unseen = domain().images[:4].copy()
    unseen[:, 26:] = unseen[:, :, 26:] = 77
    seen = unseen.copy()
    seen[:, 5:20] = 255 - seen[:, 5:20]
    before, after, control = (
        np.asarray(forward()(params, images)[0]) for images in (domain().images[:4], unseen, seen)
    )
    np.testing.assert_allclose(before, after, atol=1e-4)
    assert np.abs(before - control).max() > 1e-3


def test_layers_single_out_their_images_and_no_others() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 60)).astype(np.float32)
    rows = rng.choice(4000, 100, replace=False)
    layers = Space(features).layers(rows, 20, rng)
    all_rows = np.concatenate([one.rows for one in layers])
    np.testing.assert_array_equal(np.sort(all_rows), np.sort(rows))
    for one in layers:
        sums = np.abs(features @ one.weights + np.float32(one.bias))
        inside = np.flatnonzero(sums < one.half)
        np.testing.assert_array_equal(inside, np.sort(one.rows))
        assert len(one.rows) <= 20 and one.clearance > 6


def test_group_size_is_the_least_that_fits() -> None:
    assert group_size([10, 5], 3) == 5 and group_size([10, 5], 15) == 1
    assert group_size([10, 5], 2) == 10 and group_size([10, 5], 1) is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 206))
def test_random_programs_are_exact_on_all_of_mnist(cnn, seed: int) -> None:
    program = sample_program(cnn.program_domain, random.Random(seed))
    labels = label(program, cnn.program_domain) == 1
    given = Task(cnn.inputs, labels, cnn.splits["train"], cnn.program_domain, program)
    found = plant_images(given, CONFIG, "conditions")
    np.testing.assert_array_equal(cnn.predict(found.params) == 1, labels)
