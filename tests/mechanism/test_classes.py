"""Classes of values are found where they were planted, and nowhere else."""

import numpy as np
import pytest

from jaxmi.mechanism.classes import CANDIDATES, class_of, class_text, find_classes
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse

VALUES = np.arange(113)


def vectors(exponent: float, modulus: int, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    """Return a smooth curve plus an offset for each class."""
    rng = np.random.default_rng(seed)
    offsets = rng.normal(size=(modulus, 4))[class_of(VALUES, exponent, modulus)]
    smooth = np.stack([VALUES / 50, (VALUES / 80) ** 2, np.sin(VALUES / 60), VALUES * 0], axis=1)
    return smooth + offsets + noise * rng.normal(size=(113, 4))


@pytest.mark.parametrize(("exponent", "modulus"), [(1.5, 8), (1.0, 5), (2.0, 7), (1.3, 12)])
def test_planted_classes_are_found(exponent: float, modulus: int) -> None:
    found = find_classes(vectors(exponent, modulus), "x", VALUES)
    assert found.found == found.best == class_text("x", exponent, modulus)
    assert found.score > 0.6 and found.score > found.next_score  # x % 10 knows x % 5, too
    assert found.permuted_score < 0.2
    assert found.ranking[0] == (found.best, found.score) and len(found.ranking) == len(CANDIDATES)
    np.testing.assert_array_equal(found.values, class_of(VALUES, exponent, modulus))


@pytest.mark.parametrize("second", [(1.0, 7), (1.2, 6)])
def test_a_second_class_is_found_once_the_first_is_taken_out(second: tuple[float, int]) -> None:
    one = vectors(1.5, 8)
    both = one + 0.5 * vectors(*second, noise=0, seed=3)
    first = find_classes(both, "x", VALUES)
    assert first.found == "int(x ** 1.5) % 8"
    further = find_classes(both, "x", VALUES, taken_out=first.values)
    assert further.found == class_text("x", *second) and further.score > 0.5
    assert find_classes(one, "x", VALUES, taken_out=first.values).found is None  # the control


def test_nothing_is_found_where_nothing_was_planted() -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        noise = np.cumsum(rng.normal(size=(113, 4)), axis=0)
        assert find_classes(noise, "x", VALUES, seed).found is None
        assert find_classes(rng.normal(size=(113, 4)), "x", VALUES, seed).found is None
    smooth = vectors(1.5, 8, noise=0)
    smooth = np.stack([(VALUES / 50) ** k for k in range(4)], axis=1)
    assert find_classes(smooth, "x", VALUES).found is None
    assert find_classes(np.zeros((113, 4)), "x", VALUES).found is None


def test_classes_that_explain_next_to_nothing_are_not_found() -> None:
    planted = vectors(1.5, 8)
    trace = planted + 100 * np.stack([VALUES / 50] * 4, axis=1)
    found = find_classes(trace, "y", VALUES)
    assert found.best == "int(y ** 1.5) % 8" and found.score > 0.6  # it is seen,
    assert found.share < 0.03 and found.found is None  # and is a trace


def test_some_of_the_values_are_enough() -> None:
    chosen = np.sort(np.random.default_rng(1).permutation(113)[:90])
    found = find_classes(vectors(1.5, 8)[chosen], "x", chosen)
    assert found.found == "int(x ** 1.5) % 8"
    shifted = find_classes(vectors(1.5, 8)[chosen], "x", np.arange(90))  # the control
    assert shifted.found is None


@pytest.mark.parametrize(("exponent", "modulus"), [(1.0, 5), (1.5, 8), (1.7, 6), (2.0, 7)])
def test_the_text_is_the_class_in_the_language(exponent: float, modulus: int) -> None:
    for residue in range(modulus):
        program = parse(f"return {class_text('x', exponent, modulus)} == {residue}", "pairs")
        labels = label(program, PairDomain()).reshape(113, 113)[:, 0]
        np.testing.assert_array_equal(labels == 1, class_of(VALUES, exponent, modulus) == residue)
