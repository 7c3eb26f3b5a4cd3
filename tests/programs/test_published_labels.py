"""Challenge 2's labels: exhaustively against float64 and exact rational evaluations."""

import hashlib
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmi.data.mnist import Mnist
from jaxmi.errors import InputError
from jaxmi.programs.domain import P
from jaxmi.programs.published_labels import (
    CALIBRATED_BAND,
    CLUE_INDEX,
    MAX_P,
    Band,
    isqrt,
    l1_distances,
    label_distances,
    label_images,
    label_pairs,
    label_table,
)


def test_distances_of_all_70000_images_are_exact(mnist_data: Mnist) -> None:
    clue = mnist_data.images[CLUE_INDEX].astype(np.int64)
    expected = np.abs(mnist_data.images.astype(np.int64) - clue[None]).sum(axis=(1, 2))
    distances = l1_distances(mnist_data.images, mnist_data.images[CLUE_INDEX])
    np.testing.assert_array_equal(distances, expected)


def test_one_call_labels_all_images_with_the_published_shares(mnist_data: Mnist) -> None:
    labels = np.asarray(label_images(mnist_data.images, mnist_data.images[CLUE_INDEX]))
    assert labels.shape == (70_000,)
    assert f"{labels[:50_000].mean():.4f}" == "0.5238"
    assert f"{labels[60_000:].mean():.4f}" == "0.5187"


def test_the_clue_is_a_handwritten_1(mnist_data: Mnist) -> None:
    assert mnist_data.digits[CLUE_INDEX] == 1


def test_the_band_holds_its_lower_end_and_not_its_upper() -> None:
    low, high = CALIBRATED_BAND
    distances = np.array([0, low - 1, low, high - 1, high], np.int32)
    np.testing.assert_array_equal(label_distances(distances), [1, 1, 0, 0, 1])


def test_the_band_matters(mnist_data: Mnist) -> None:
    """The control: moving a threshold by a percent changes labels."""
    images, clue = mnist_data.images[60_000:], mnist_data.images[CLUE_INDEX]
    moved = Band(CALIBRATED_BAND.low + 250, CALIBRATED_BAND.high)
    assert (label_images(images, clue) != label_images(images, clue, moved)).any()


def test_scaled_pixels_are_refused(mnist_data: Mnist) -> None:
    scaled = mnist_data.images[:2] / 255.0
    with pytest.raises((InputError, TypeError)):
        l1_distances(scaled, mnist_data.images[CLUE_INDEX])


def float_label(x: int, y: int, p: int) -> int:
    """The program as its author wrote it, in Python's float64."""
    return label_with_bars(x, y, p, int(x**1.5))


def label_with_bars(x: int, y: int, p: int, bars: int) -> int:
    """The same, with the value that decides the horizontal bars given."""
    z = 0.0
    if x**2 < 200 * math.sqrt(y):
        z += 3
    if y**2 < 600 * math.sqrt(x):
        z -= 2
    z += bars % 8 - 5
    if y < p - x + 20 and z < -3:
        z += 5.5
    return int(z >= 0)


def exact_label(x: int, y: int, p: int) -> int:
    """The same in rational arithmetic: a < b sqrt(c) iff a^2 < b^2 c, for what is not negative."""
    z = Fraction(0)
    if Fraction(x) ** 4 < 200**2 * Fraction(y):
        z += 3
    if Fraction(y) ** 4 < 600**2 * Fraction(x):
        z -= 2
    root = next(r for r in range(x * x + 1) if (r + 1) ** 2 > x**3)
    z += root % 8 - 5
    if y < p - x + 20 and z < -3:
        z += Fraction(11, 2)
    return int(z >= 0)


@pytest.mark.parametrize("reference", [float_label, exact_label])
def test_every_pair_of_the_challenge_has_the_programs_label(reference) -> None:
    expected = [[reference(x, y, P) for y in range(P)] for x in range(P)]
    np.testing.assert_array_equal(label_table(), expected)


@pytest.mark.parametrize("p", [1, 2, 29, 199])
def test_other_p_are_labelled_exactly(p: int) -> None:
    expected = [[exact_label(x, y, p) for y in range(p)] for x in range(p)]
    np.testing.assert_array_equal(label_table(p), expected)


def test_the_largest_p_does_not_overflow() -> None:
    corner = range(MAX_P - 40, MAX_P)
    expected = [[float_label(x, y, MAX_P) for y in corner] for x in corner]
    np.testing.assert_array_equal(label_table(MAX_P)[-40:, -40:], expected)


@pytest.mark.parametrize("p", [0, -1, MAX_P + 1, 10**9])
def test_a_p_beyond_32_bits_is_refused(p: int) -> None:
    with pytest.raises(InputError, match=str(p)):
        label_table(p)


def test_share_of_label_1_and_golden_hash() -> None:
    labels = np.asarray(label_table(), np.uint8)
    assert labels.sum() == 5465
    assert f"{labels.mean():.5f}" == "0.42799"
    digest = hashlib.sha256(labels.tobytes()).hexdigest()
    assert digest == "2a6385f0ade920377f3fa3aa054f03b9328221e6a530281727799aea6c20cc6c"


@pytest.mark.device
def test_labels_are_the_same_under_jit_and_without_x64() -> None:
    assert not jax.config.jax_enable_x64
    x, y = jnp.meshgrid(jnp.arange(P), jnp.arange(P), indexing="ij")
    jitted = jax.jit(label_pairs, static_argnums=2)(x, y, P)
    np.testing.assert_array_equal(jitted, label_table())
    assert jitted.dtype == jnp.int32


def test_float32_powers_by_logarithms_are_wrong() -> None:
    """The control: as accelerators compute powers, float32 misses whole numbers at some squares."""
    x = np.arange(1, MAX_P)
    exact = np.asarray(isqrt(jnp.asarray(x**3, jnp.int32)))
    powers = [
        jax.jit(lambda x: jnp.exp2(1.5 * jnp.log2(x)))(x.astype(np.float32)),
        jax.jit(lambda x: jnp.exp(1.5 * jnp.log(x)))(x.astype(np.float32)),
    ]
    missed = np.any([np.floor(power) != exact for power in powers], axis=0)
    assert missed[[math.isqrt(i) ** 2 == i for i in x]].any()


def test_one_unit_in_the_last_place_changes_labels() -> None:
    """The control's other half: such a miss is no matter of taste, it changes the challenge."""
    x = np.arange(P)
    short = np.nextafter((x**1.5).astype(np.float32), np.float32(0)).astype(int)
    exact = np.asarray(isqrt(jnp.asarray(x**3, jnp.int32)))
    assert set(np.flatnonzero(short != exact)) == {n * n for n in range(1, 11)}
    table = np.asarray(label_table())
    wrong = [label_with_bars(i, y, P, int(short[i])) != table[i, y] for i in x for y in range(P)]
    assert sum(wrong) > 100


@given(st.integers(0, 46340**2 - 1))
def test_isqrt_is_exact(n: int) -> None:
    assert int(isqrt(jnp.int32(n))) == math.isqrt(n)


def test_isqrt_is_exact_around_every_square() -> None:
    roots = np.arange(1, 46340, dtype=np.int64)
    for offset in (-1, 0, 1):
        n = roots**2 + offset
        expected = roots - (offset < 0)
        np.testing.assert_array_equal(isqrt(jnp.asarray(n, jnp.int32)), expected)
