"""Features of inputs, their information in bits, and partitions of equal granularity."""

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.judge.features import (
    coordinates,
    count_donors,
    domain_rows,
    draw_donors,
    evaluate_feature,
    feature_bits,
    partition,
)
from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.evaluate import evaluate
from jaxmi.programs.parse import parse

RNG = np.random.default_rng


def test_a_feature_of_some_inputs_is_that_of_the_domain_there(transformer: Challenge) -> None:
    rows = RNG(0).permutation(12769)[:500]
    program = parse("return (x * 7 + y) % p > 50 or x == 3", "pairs")
    everywhere = evaluate(program, PairDomain())
    np.testing.assert_array_equal(
        evaluate_feature(program, domain_rows(transformer, rows), {}), everywhere[rows]
    )


def test_a_feature_of_images_compares_them_with_training_images(cnn: Challenge) -> None:
    rows = np.arange(59_900, 60_100)
    program = parse("return l1(image, template(59950)) + bonus", "image", ["bonus"])
    values = evaluate_feature(program, domain_rows(cnn, rows), {"bonus": np.full(200, 0.5)})
    plain = parse("return l1(image, template(59950))", "image")
    expected = evaluate(plain, ImageDomain(cnn.inputs[rows], cnn.inputs[:60_000]))
    np.testing.assert_array_equal(values, expected + 0.5)
    assert values.argmin() == 50


def test_large_whole_numbers_are_told_apart(transformer: Challenge) -> None:
    program = parse("return 2 ** 52 + y", "pairs")  # single precision would round it
    values = evaluate_feature(program, domain_rows(transformer, np.arange(100)), {})
    assert len(np.unique(values)) == 100


def test_readouts_come_under_their_names(transformer: Challenge) -> None:
    domain = domain_rows(transformer, np.arange(113, 123))
    values = evaluate_feature(
        parse("return a * x + y", "pairs", ["a"]), domain, {"a": np.arange(10) * 0.5}
    )
    np.testing.assert_array_equal(values, np.arange(10) * 1.5)
    with pytest.raises(InputError, match=r"no finite number at x = 1, y = 4$"):
        evaluate_feature(
            parse("return a", "pairs", ["a"]), domain, {"a": np.array([0.0] * 4 + [np.nan] * 6)}
        )


@pytest.mark.parametrize("noise", [None, 0.0, 0.05])
def test_donors_are_of_those_that_the_claim_is_about(noise) -> None:
    feature, reached = RNG(1).integers(0, 6, 400), RNG(2).random(400) < 0.5
    donors = draw_donors(feature, reached, noise, RNG(3))
    np.testing.assert_array_equal(donors[~reached], np.flatnonzero(~reached))
    assert reached[donors[reached]].all()
    assert (donors[reached] != np.flatnonzero(reached)).all()
    far = np.abs(feature[donors] - feature)
    assert far.max() == 0 or noise == 0.05
    alone = np.arange(400) == 7
    np.testing.assert_array_equal(draw_donors(feature, alone, noise, RNG(3)), np.arange(400))


def test_donors_are_counted_by_group_or_within_the_noise() -> None:
    feature = np.array([5.0, 0.0, 5.0, 5.0, 9.0, 10.0])
    np.testing.assert_array_equal(count_donors(feature, None), [2, 0, 2, 2, 0, 0])
    np.testing.assert_array_equal(count_donors(feature, 0.0), [2, 1, 2, 2, 1, 1])  # the nearest
    np.testing.assert_array_equal(count_donors(feature, 0.05), [2, 1, 2, 2, 1, 1])  # within 1
    np.testing.assert_array_equal(count_donors(feature, 0.25), [5, 3, 5, 5, 4, 4])  # within 5
    np.testing.assert_array_equal(count_donors(feature > 4, 0.1), [4, 1, 4, 4, 4, 4])


def test_the_count_is_the_perplexity_of_the_donors_that_are_drawn() -> None:
    """For an input in the middle, the count is 2 ** (entropy of its donors), within 20 %."""
    feature, noise = np.linspace(0, 1, 401), 0.05
    everyone = np.ones(401, bool)
    drawn = [draw_donors(feature, everyone, noise, RNG(seed))[200] for seed in range(1500)]
    shares = np.unique(drawn, return_counts=True)[1] / 1500
    perplexity = 2 ** -(shares * np.log2(shares)).sum()
    assert count_donors(feature, noise)[200] == pytest.approx(perplexity, rel=0.2)


def test_bits_are_the_entropy_of_the_groups() -> None:
    for sizes in ([8], [4, 4], [1] * 8, [6, 1, 1]):
        feature = np.repeat(np.arange(len(sizes)), sizes)
        shares = np.array(sizes) / 8
        entropy = -(shares * np.log2(shares)).sum()
        assert feature_bits(count_donors(feature, None), 8) == pytest.approx(entropy)


@pytest.mark.parametrize("depth", [0, 1, 3, 6])
def test_cells_are_as_many_as_asked_of_one_size_each(depth: int) -> None:
    where = RNG(0).normal(size=(1000, 3)) * [5.0, 1.0, 2.0]
    cell = partition(where, depth)
    sizes = np.bincount(cell)
    assert len(sizes) == 2**depth
    assert np.ptp(sizes) <= 1
    assert feature_bits(count_donors(cell, None), 1000) == pytest.approx(depth, abs=0.05)


def test_inputs_of_a_cell_are_near_in_every_coordinate_that_varies(transformer: Challenge) -> None:
    where = coordinates(domain_rows(transformer, np.arange(12769)))
    cell = partition(where, 6)
    spans = [np.ptp(where[cell == number], axis=0) for number in range(64)]
    assert np.max(spans) <= 16  # of 113, in x and in y
    one_way = partition(where * [1.0, 0.0], 6)
    assert np.ptp(where[one_way == 0], axis=0)[1] == 112  # the control: by x only


def test_images_of_a_cell_are_near_and_no_image_is_left_out(cnn: Challenge) -> None:
    domain = domain_rows(cnn, np.arange(2000))
    where = coordinates(domain)
    assert where.shape == (2000, 8)
    cell = partition(where, 5)
    pixels = domain.images.reshape(2000, -1).astype(float)

    def spread(groups):
        return np.mean([pixels[groups == g].var(axis=0).sum() for g in range(32)])

    assert spread(cell) < 0.9 * spread(RNG(0).permutation(cell))
