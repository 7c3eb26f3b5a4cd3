"""Questions about plants: their truth is what exchanges on the network itself say."""

from collections import Counter

import numpy as np
import pytest

from jaxmi.explanation.network import Network
from jaxmi.methods import causal_models, truth
from jaxmi.methods.asking import MOVED, OTHER, SAME_LABELS, Marked
from jaxmi.methods.network import SITES
from jaxmi.methods.questions import Asked, ComputedQuestion, ExplanationQuestion, NeuronsQuestion
from jaxmi.planted.key import BEFORE_MLP, NEURONS, POSITION
from jaxmi.planted.look_up import changes
from jaxmi.programs.variables import Variable

N_PAIRS = 60


def drawn(one: Asked):
    pairs = one.pairs(N_PAIRS, np.random.default_rng(1))
    assert len(pairs.bases) >= N_PAIRS
    return pairs


def labels_after(marked: Marked, part: truth.KeyPart, site: str, pairs) -> np.ndarray:
    """Run the model itself in JAX, with a part of its activations from the sources."""
    view = marked.planted.view
    network = Network(view.challenge.model, view.params, 200)
    inputs = np.asarray(view.inputs)
    clean = network.read(inputs[pairs.bases], [site])[site].astype(np.float64)
    other = network.read(inputs[pairs.sources], [site])[site].astype(np.float64)
    change = (other - clean)[:, POSITION]
    if site == NEURONS:
        change *= np.isin(np.arange(change.shape[1]), part.neurons)
    else:
        assert part.directions is not None
        change = change @ part.directions.T @ part.directions
    clean[:, POSITION] += change
    logits = network.patched(inputs[pairs.bases], {site: clean.astype(np.float32)})
    return logits[:, 1] > logits[:, 0]


def part_of(marked: Marked) -> truth.KeyPart:
    return next(part for part in marked.planted.parts if part.name == marked.about)


@pytest.mark.parametrize("site", SITES)
def test_the_network_holds_what_it_is_said_to_compute(questions: list[Marked], site: str) -> None:
    asked = [one for one in questions if one.kind == "computed" and one.site == site]
    right = [one for one in asked if one.truth is True]
    assert len(right) >= 2
    for one in right:
        assert isinstance(one.question, ComputedQuestion)
        pairs = drawn(one.question)
        held = labels_after(one, part_of(one), site, pairs) == pairs.labels
        assert held.mean() >= truth.HELD_FROM  # the weights have noise
        strict = one.question.strict(N_PAIRS, np.random.default_rng(1))
        # The controls: all other parts, and the whole site.
        others = [part for part in one.planted.parts if part.at(site) and part.name != one.about]
        for part in others:
            assert (labels_after(one, part, site, strict) == strict.labels).mean() < 0.9


def test_no_part_of_another_mechanism_does_what_the_variable_does(questions: list[Marked]) -> None:
    wrong = [one for one in questions if one.negative == SAME_LABELS and one.kind == "computed"]
    assert wrong
    for one in wrong:
        assert isinstance(one.question, ComputedQuestion)
        assert one.exchanged is not None and one.exchanged < truth.MIMICKED_FROM
        pairs = one.question.strict(N_PAIRS, np.random.default_rng(2))
        here = [part for part in one.planted.parts if part.at(one.site)]
        shares = [
            (labels_after(one, part, one.site, pairs) == pairs.labels).mean() for part in here
        ]
        assert max(shares) < truth.MIMICKED_FROM + 0.1
        np.testing.assert_array_equal(one.question.own, one.planted.view.labels)


def test_other_wrong_variables_say_other_labels(questions: list[Marked]) -> None:
    wrong = [one for one in questions if one.negative in (MOVED, OTHER)]
    assert {one.negative for one in wrong} == {MOVED, OTHER}
    for one in wrong:
        assert isinstance(one.question, ComputedQuestion)
        assert (one.question.own != one.planted.view.labels).any()


def test_the_neurons_of_a_variable_are_those_whose_exchange_is_its_exchange(
    questions: list[Marked],
) -> None:
    asked = [one for one in questions if one.kind == "neurons"]
    assert asked
    for one in asked:
        assert isinstance(one.question, NeuronsQuestion) and isinstance(one.truth, np.ndarray)
        pairs = drawn(one.question)
        carriers = truth.KeyPart("", True, None, np.flatnonzero(one.truth))
        rest = truth.KeyPart("", True, None, np.flatnonzero(one.question.candidates & ~one.truth))
        held = labels_after(one, carriers, NEURONS, pairs) == pairs.labels
        assert held.mean() >= truth.HELD_FROM
        assert (labels_after(one, rest, NEURONS, pairs) == pairs.labels).mean() < 0.9


def test_each_variable_is_asked_of_two_networks_with_the_same_labels(
    questions: list[Marked],
) -> None:
    """So whatever does not look at the network is right as often as wrong."""
    there: Counter[tuple[int, str]] = Counter()
    for one in questions:
        if one.kind == "computed" and one.negative in ("", SAME_LABELS):
            sign = 1 if one.truth else -1
            assert isinstance(one.question, ComputedQuestion)
            there[id(one.question.variable), one.site] += sign
    assert there and not any(there.values())
    pairs = {one.pair for one in questions if one.kind == "explanation"}
    for pair in pairs:
        both = [one for one in questions if one.kind == "explanation" and one.pair == pair]
        assert sorted(bool(one.truth) for one in both) == [False, True]
        assert both[0].planted is both[1].planted
        for one in both:
            assert isinstance(one.question, ExplanationQuestion)
            for asked in one.question.variables:
                np.testing.assert_array_equal(asked.own, one.planted.view.labels)


@pytest.mark.parametrize("along", ["x", "y"])
def test_the_places_of_a_look_up_are_a_causal_model_of_its_labels(along: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.cumsum(rng.random((9, 9)) < 0.3, axis=1) % 2 == 1
    found = causal_models.of_look_up(labels, "rows" if along == "y" else "columns")
    places = changes(labels if along == "y" else labels.T)
    assert 1 < len(found) <= len(places)
    x, y = np.divmod(np.arange(81), 9)
    for one in found:
        k = int(one.variable.name.split()[3]) - 1
        below = (y < places[k][x]) if along == "y" else (x < places[k][y])
        np.testing.assert_array_equal(one.values == 1, below)
        own = one.labels(np.arange(81), np.arange(81))
        np.testing.assert_array_equal(own, labels.reshape(-1))
        # Another value is another term of the sum: one more or one less.
        total = sum(
            (1 if i % 2 == 0 else -1) * ((y >= row[x]) if along == "y" else (x >= row[y]))
            for i, row in enumerate(places.astype(int))
        )
        changed = total + (1 if k % 2 == 0 else -1) * (below.astype(int) - ~below)
        flipped = one.variable.counterfactual[1 - one.values, np.arange(81)]
        np.testing.assert_array_equal(flipped, changed > 0)


def test_a_variable_that_is_an_operand_is_not_asked_about() -> None:
    """In x % 2 == 0 and y % 2 == 0 whatever holds x holds the first condition."""
    p = 12
    x, y = np.divmod(np.arange(p * p), p)
    even_x, even_y = x % 2 == 0, y % 2 == 0

    def asked(first: np.ndarray, rest: np.ndarray) -> Asked:
        variable = Variable("v", "condition", first.astype(int), np.stack([rest, ~rest]))
        return Asked(variable, first ^ rest)

    assert not causal_models.can_be_asked(asked(even_x, even_y), 40, 0)
    assert causal_models.can_be_asked(asked(x + y < 9, x + 2 * y < 14), 40, 0)


def test_a_method_sees_no_key(questions: list[Marked]) -> None:
    one = questions[0]
    seen = {*vars(one.planted.view), *vars(one.question), *vars(one.planted.view.challenge)}
    assert not seen & {"key", "truth", "mechanism", "planted"}
    of = (one.planted.view, one.question, one.planted.view.challenge)
    values = [value for each in of for value in vars(each).values()]
    assert len(values) > 5
    assert not any(value is one.planted.key or value is one.truth for value in values)
    assert BEFORE_MLP in one.planted.view.activations


def test_variables_that_share_a_direction_are_exchanged_by_it_alone(
    questions: list[Marked],
) -> None:
    one = next(one for one in questions if one.truth is True and one.site == BEFORE_MLP)
    assert isinstance(one.question, ComputedQuestion)
    part, view = part_of(one), one.planted.view
    pairs = one.question.strict(N_PAIRS, np.random.default_rng(1))
    alone, twice = (truth.share_right(view, BEFORE_MLP, [part] * n, pairs) for n in (1, 2))
    assert alone == twice >= truth.HELD_FROM
