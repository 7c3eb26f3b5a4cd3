"""Challenge 1's evidence on a planted network: the true claim passes, wrong ones fail."""

import numpy as np
import pytest

from jaxmi.challenges.challenge import ClueSolution
from jaxmi.errors import InputError
from jaxmi.explanation.cnn_detectors import (
    SITE,
    Groups,
    Halves,
    Neurons,
    ablate_to_zero,
    find_detectors,
    fit_arms,
    halve,
    kept_at_minimum,
    kept_by_half,
    scrub_armwise,
    scrub_near,
    scrub_random,
)
from jaxmi.explanation.scrub import Claim, near, scrub
from jaxmi.programs.bands import Band, best_band

N = 4000
SOLUTION = ClueSolution()
# Neurons 0-9 detect the inverse, 10-29 the clue, 30-34 are dead; each with a strength of its own.
ANTI_CLUE, CLUE, DEAD = (
    np.isin(np.arange(35), group) for group in (range(10), range(10, 30), range(30, 35))
)
TRUE = Groups(ANTI_CLUE, CLUE)


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(0).normal(0.0, 10.0, N)


@pytest.fixture(scope="module")
def neurons(scores) -> Neurons:
    rng = np.random.default_rng(1)
    strength = rng.uniform(0.5, 1.5, 35)
    signal = np.where(
        ANTI_CLUE, np.maximum(-5 - scores, 0)[:, None], np.maximum(scores - 4, 0)[:, None]
    )
    activations = (strength * signal * ~DEAD).astype(np.float32)
    weights = np.where(ANTI_CLUE, 0.1, 0.05)[:, None] * np.array([[-1.0, 1.0]])
    bias = np.array([[0.25, -0.25]])

    return Neurons(activations, (activations @ weights + bias).astype(np.float32), weights)


@pytest.fixture(scope="module")
def halves(scores, neurons) -> Halves:
    return halve(scores, best_band(scores, neurons.labels))


def test_arms_have_the_planted_slopes_and_the_stated_lengths() -> None:
    x = np.concatenate([np.linspace(-20, -2.01, 300), np.linspace(-1.99, 25, 500)])
    y = np.where(x < -2, 1.5 * x + 4, -0.7 * x - 3) + np.random.default_rng(0).normal(
        0, 0.01, len(x)
    )
    arms = fit_arms(np.stack([x, y], axis=1), split=-2.0, lengths=(3.0, 5.0))
    np.testing.assert_allclose(arms.directions, [[-3, -4.5], [5, -3.5]], atol=0.01)
    assert arms.split == -2.0


def test_a_split_that_leaves_one_side_empty_moves_to_the_median() -> None:
    x = np.linspace(-0.2, 0.3, 101)
    arms = fit_arms(np.stack([x, np.abs(x)], axis=1), split=-2.0, lengths=(3.0, 5.0))
    assert arms.split == np.median(x)
    with pytest.raises(InputError, match="make no arm"):
        fit_arms(np.zeros((10, 2)), -2.0, (3.0, 5.0))
    crowded = np.stack(
        [np.r_[np.zeros(60), np.linspace(-1, 1, 40)], np.linspace(0, 1, 100)], axis=1
    )
    assert fit_arms(crowded, -2.0, (3.0, 5.0)).split == 0.0  # more than half share the median


def test_the_planted_groups_are_found_and_dead_neurons_belong_to_neither(neurons, scores) -> None:
    found = find_detectors(neurons, scores, SOLUTION)
    np.testing.assert_array_equal(found.groups.anti_clue, ANTI_CLUE)
    np.testing.assert_array_equal(found.groups.clue, CLUE)
    np.testing.assert_array_equal(neurons.dead, DEAD)
    assert np.corrcoef(found.points[:, 0], scores)[0, 1] > 0.8
    upside_down = find_detectors(neurons, -scores, SOLUTION)
    np.testing.assert_array_equal(upside_down.groups.anti_clue, CLUE)


def test_the_band_and_the_halves_are_the_planted_ones(neurons, scores, halves) -> None:
    band = best_band(scores, neurons.labels)
    assert band.agreement == 1.0
    assert -6 < band.low < -5 < 4 < band.high < 5
    np.testing.assert_array_equal(halves.clue, scores >= (band.low + band.high) / 2)
    np.testing.assert_array_equal(halves.anti_clue, ~halves.clue)
    for open_band in (Band(-np.inf, np.inf, 0.5), Band(-np.inf, -8.0, 0.5), Band(8.0, np.inf, 0.5)):
        assert halve(scores, open_band).clue.mean() == pytest.approx(0.5, abs=0.01)


def test_zeroed_detectors_leave_the_bias(neurons) -> None:
    nothing_left = ablate_to_zero(neurons, TRUE.both)
    np.testing.assert_allclose(nothing_left, -0.5, atol=2e-5)  # sums of some 60 in float32
    untouched = ablate_to_zero(neurons, DEAD)
    np.testing.assert_array_equal(untouched, neurons.logits[:, 1] - neurons.logits[:, 0])


def test_at_the_minimum_only_the_half_s_own_group_is_missed(neurons, halves) -> None:
    for half, own, other in ((halves.anti_clue, ANTI_CLUE, CLUE), (halves.clue, CLUE, ANTI_CLUE)):
        class0 = (neurons.labels[half] == 0).mean()
        kept = kept_at_minimum(neurons, [own, other], [half])
        np.testing.assert_allclose(kept, [[class0, 1.0]])
    assert kept_by_half(neurons, TRUE, halves).specificity > 0.3
    assert kept_by_half(neurons, TRUE.swapped, halves).specificity < -0.3
    random = [kept_by_half(neurons, TRUE.shuffled(s), halves).specificity for s in range(20)]
    assert abs(np.mean(random)) < 0.15


def test_the_minimum_is_over_all_images_and_not_over_the_half(neurons, halves) -> None:
    """Every neuron is raised in one half: its minimum over that half would still say 1."""
    raised = neurons.activations + 3 * (halves.clue[:, None] & ~DEAD).astype(np.float32)
    change = (raised - neurons.activations) @ neurons.weights
    raised = Neurons(raised, (neurons.logits + change).astype(np.float32), neurons.weights)
    assert raised.labels[halves.clue].all()
    assert kept_at_minimum(raised, [TRUE.both], [halves.clue]) == 0.0


def test_a_scrub_touches_its_group_only(neurons, scores) -> None:
    assert scrub_near(neurons, DEAD, scores, 1.0, 1).kept == 1.0
    assert scrub_random(neurons, DEAD, 1).kept == 1.0
    clue_only = scrub_near(neurons, CLUE, scores, 1.0, 2).kept
    assert scrub_near(neurons, TRUE.both, scores, 1.0, 2).kept < clue_only < 1.0


def test_the_published_scrub_tests_the_feature_and_is_blind_to_the_groups(neurons, scores) -> None:
    kept = scrub_near(neurons, TRUE.both, scores, 1e-4, 3).kept
    assert kept > 0.99
    shuffled = scrub_near(neurons, TRUE.shuffled(0).both, scores, 1e-4, 3).kept
    assert shuffled == kept
    permuted = np.random.default_rng(2).permutation(scores)
    chance = scrub_random(neurons, TRUE.both, 3)
    decoy = scrub_near(neurons, TRUE.both, permuted, 1e-4, 3)
    assert decoy.kept == pytest.approx(chance.kept, abs=0.03)
    assert chance.kept == pytest.approx(chance.chance, abs=0.03)


@pytest.mark.parametrize("noise", [None, 1e-3])
def test_the_armwise_scrub_tells_the_true_groups_from_others(
    neurons, scores, halves, noise
) -> None:
    relevant = None if noise is None else near(scores, noise)

    def kept(groups, draws=1):
        return scrub_armwise(neurons, groups, halves, draws, relevant).kept

    true = kept(TRUE, 3)
    random = [kept(TRUE.shuffled(seed)) for seed in range(20)]
    assert true > 0.99
    assert max(random) < true - 0.03
    assert kept(TRUE.swapped, 3) < min(0.65, np.mean(random))
    empty = Groups(np.zeros(35, bool), TRUE.both)  # nothing claimed of one half: no error
    assert kept(empty) < true


def test_the_armwise_scrub_asks_of_the_half_s_own_group_what_it_is_told(
    neurons, scores, halves
) -> None:
    """A wrong feature for the relevant group fails, though the groups are right."""
    permuted = near(np.random.default_rng(4).permutation(scores), 1e-3)
    assert scrub_armwise(neurons, TRUE, halves, 3, permuted).kept < 0.7
    untouched = scrub_armwise(neurons, TRUE, halves, 3)
    assert untouched.kept == 1.0


def test_shuffled_groups_are_a_partition_of_the_same_neurons() -> None:
    for seed in range(5):
        shuffled = TRUE.shuffled(seed)
        np.testing.assert_array_equal(shuffled.both, TRUE.both)
        assert not (shuffled.anti_clue & shuffled.clue).any()
        assert shuffled.anti_clue.sum() == ANTI_CLUE.sum()
    assert (TRUE.shuffled(0).anti_clue != TRUE.shuffled(1).anti_clue).any()


def test_balancing_moves_the_bias_only(neurons) -> None:
    rng = np.random.default_rng(3)
    shifts = rng.normal(size=(N, 1)).astype(np.float32)  # no two logit differences alike
    bias = np.array([[0.0, 99.0]], np.float32)
    logits = neurons.logits + shifts * np.array([[0.0, 1.0]], np.float32) + bias
    biased = Neurons(neurons.activations, logits, neurons.weights)
    assert biased.labels.mean() == 1.0
    balanced = biased.balanced()
    assert balanced.labels.mean() == pytest.approx(0.5, abs=0.001)
    moved = biased.logits - balanced.logits
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:1], moved.shape), atol=1e-4)
    np.testing.assert_array_equal(balanced.activations, neurons.activations)


def test_exchanging_what_groups_add_is_exchanging_their_activations(
    neurons, scores, halves
) -> None:
    """The logits are linear in the neurons, so both give the same labels."""
    bias = neurons.logits[0] - neurons.activations[0] @ neurons.weights

    def read_out(scrubbed):
        return (scrubbed[SITE] @ neurons.weights + bias[None]).astype(np.float32)

    rules = [near(scores, 0.01), near(-scores, 0.02)]
    exchanged = [Claim(SITE, rule, group) for rule, group in zip(rules, TRUE, strict=True)]
    by_activations = scrub({SITE: neurons.activations}, exchanged, read_out, neurons.logits, 2)
    added = neurons.added(TRUE)
    rest = neurons.logits - added.sum(axis=1)
    by_added = scrub(
        {"added": added},
        [Claim("added", rule, (i, slice(None))) for i, rule in enumerate(rules)],
        lambda scrubbed: (rest + scrubbed["added"].sum(axis=1)).astype(np.float32),
        neurons.logits,
        2,
    )
    assert by_added.kept == pytest.approx(by_activations.kept, abs=1e-3)
    assert by_added.logit_error == pytest.approx(by_activations.logit_error, rel=1e-3)
    np.testing.assert_allclose(neurons.added([TRUE.both])[:, 0], added.sum(axis=1), atol=1e-4)
    assert np.abs(neurons.added([TRUE.clue]) - added[:, :1]).max() > 1


def test_neurons_that_are_all_alike_are_refused(scores) -> None:
    silent = Neurons(
        np.zeros((N, 35), np.float32), np.zeros((N, 2), np.float32), np.ones((35, 2), np.float32)
    )
    with pytest.raises(InputError, match="all alike"):
        find_detectors(silent, scores, SOLUTION)
