"""Components: what is exchanged, what is left, and their share of a site's variance."""

import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.explanation.components import (
    Component,
    dual_directions,
    replace_rest,
    variance_share,
)

AXES = ("pos", "d_model")
N, POS, D = 300, 3, 6
RNG = np.random.default_rng
VALUES = RNG(0).normal(size=(N, POS, D)).astype(np.float32) * np.arange(1, D + 1, dtype=np.float32)
DONORS = RNG(1).permutation(N)
EVERYONE = np.ones(N, bool)


def neurons(pos, which) -> Component:
    return Component(AXES, (np.atleast_1d(pos), np.atleast_1d(which)))


def directions(pos, rows) -> Component:
    return Component(
        AXES, (np.array([pos]),), np.asarray(rows, float), dual_directions(np.array(rows), "a")
    )


def test_neurons_come_from_the_donor_and_nothing_else_does() -> None:
    left = neurons(2, [1, 4]).exchange(VALUES, DONORS)
    expected = VALUES.copy()
    expected[:, 2, [1, 4]] = VALUES[DONORS][:, 2, [1, 4]]
    np.testing.assert_array_equal(left, expected)


def test_neurons_are_directions_along_the_axes() -> None:
    by_rows = directions(2, np.eye(D)[[1, 4]]).exchange(VALUES, DONORS)
    np.testing.assert_allclose(by_rows, neurons(2, [1, 4]).exchange(VALUES, DONORS), atol=1e-5)


def test_one_readout_is_exchanged_while_the_others_and_the_rest_stay() -> None:
    """Readouts need not be orthogonal: exchanging one leaves the others as they are."""
    rows = RNG(2).normal(size=(3, D))
    duals = dual_directions(rows, "a")
    one = Component(AXES, (np.array([1]),), rows[:1], duals[:, :1])
    left = one.exchange(VALUES, DONORS)
    before, after = VALUES[:, 1] @ rows.T, left[:, 1] @ rows.T
    np.testing.assert_allclose(after[:, 0], before[DONORS, 0], atol=1e-4)
    np.testing.assert_allclose(after[:, 1:], before[:, 1:], atol=1e-4)
    outside = np.eye(D) - np.linalg.pinv(rows) @ rows
    np.testing.assert_allclose(left[:, 1] @ outside, VALUES[:, 1] @ outside, atol=1e-4)
    np.testing.assert_array_equal(left[:, [0, 2]], VALUES[:, [0, 2]])


def test_what_keeps_its_own_is_not_changed_in_any_bit() -> None:
    donors = np.where(RNG(3).random(N) < 0.5, np.arange(N), DONORS)
    own = donors == np.arange(N)
    for component in (neurons(0, [2]), directions(0, RNG(4).normal(size=(2, D)))):
        left = component.exchange(VALUES, donors)
        np.testing.assert_array_equal(left[own], VALUES[own])
        assert (left[~own] != VALUES[~own]).any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    "component", [neurons([0, 2], [1, 4]), directions(2, RNG(5).normal(size=(3, D)))]
)
def test_a_component_and_everything_else_are_the_whole(component) -> None:
    """Both taken from one donor, one after the other, give the donor's activations."""
    left = component.exchange(VALUES, DONORS)
    assert (left != VALUES[DONORS]).any()
    both = replace_rest(left, VALUES[DONORS], [(component, EVERYONE)])
    np.testing.assert_allclose(both, VALUES[DONORS], atol=1e-4)
    np.testing.assert_array_equal(replace_rest(VALUES, VALUES[DONORS], []), VALUES[DONORS])


def test_everything_else_leaves_claimed_neurons_and_directions_alone() -> None:
    rows = RNG(6).normal(size=(2, D))
    claimed = [
        (directions(2, rows), EVERYONE),
        (neurons(2, 3), EVERYONE),
        (neurons(0, 1), EVERYONE),
    ]
    rest = replace_rest(VALUES, VALUES[DONORS], claimed)
    np.testing.assert_allclose(rest[:, 2] @ rows.T, VALUES[:, 2] @ rows.T, atol=1e-4)
    np.testing.assert_allclose(rest[:, 2, 3], VALUES[:, 2, 3], atol=1e-5)
    np.testing.assert_array_equal(rest[:, 0, 1], VALUES[:, 0, 1])
    np.testing.assert_array_equal(rest[:, 1], VALUES[DONORS][:, 1])
    outside = np.linalg.svd(np.concatenate([rows, np.eye(D)[[3]]]))[2][3:]
    np.testing.assert_allclose(rest[:, 2] @ outside.T, VALUES[DONORS][:, 2] @ outside.T, atol=1e-4)


def test_what_a_claim_does_not_reach_is_replace_rest() -> None:
    """A claim about few inputs does not protect its component in the others."""
    first, second = RNG(7).random((2, N)) < 0.4
    claimed = [(neurons(0, 1), first), (neurons(0, 2), second)]
    rest = replace_rest(VALUES, VALUES[DONORS], claimed)
    for place, reached in ((1, first), (2, second)):
        np.testing.assert_array_equal(rest[reached, 0, place], VALUES[reached, 0, place])
        np.testing.assert_array_equal(rest[~reached, 0, place], VALUES[DONORS][~reached, 0, place])


def test_the_variance_share_is_that_of_the_variance_at_the_positions_that_are_touched() -> None:
    variances = VALUES.astype(float).var(axis=0)
    assert variance_share(VALUES, [neurons(2, [5])]) == pytest.approx(
        variances[2, 5] / variances[2].sum()
    )
    several = variance_share(VALUES, [neurons([0, 2], [5])])
    assert several == pytest.approx(variances[[0, 2], 5].sum() / variances[[0, 2]].sum())
    assert variance_share(VALUES, [neurons([0, 1, 2], np.arange(D))]) == pytest.approx(1.0)
    along = directions(2, np.eye(D)[[5]])
    assert variance_share(VALUES, [along]) == pytest.approx(
        variance_share(VALUES, [neurons(2, [5])]), abs=1e-6
    )
    both = variance_share(VALUES, [along, neurons(2, [5]), neurons(2, [0])])
    assert both == pytest.approx(variance_share(VALUES, [neurons(2, [0, 5])]), abs=1e-6)
    dead = VALUES * (np.arange(D) != 3)
    assert variance_share(dead, [neurons(2, [3])]) == 0.0
    assert variance_share(np.zeros_like(VALUES), [neurons(2, [3])]) == 0.0
    assert variance_share(VALUES, []) == 0.0
    masked = np.where(np.arange(D) == 0, np.float32(-np.inf), VALUES)  # as in attention scores
    assert 0 < variance_share(masked, [neurons(2, [5])]) < 1


def turner(seed):
    drawn = {}

    def turn(axis, size):
        if (axis, size) not in drawn:
            rng = RNG([seed, size])
            rotation = np.linalg.qr(rng.normal(size=(size, size)))[0]
            drawn[axis, size] = rng.permutation(size) if axis else rotation
        return drawn[axis, size]

    return turn


def test_random_components_are_as_large_and_overlap_as_before() -> None:
    turn = turner(0)
    first, second = neurons(2, [0, 1, 2]), neurons([0, 2], [2, 3])
    a, b = (component.randomised(turn, (POS, D)) for component in (first, second))
    assert [len(index) for index in a.index] == [1, 3]
    assert [len(index) for index in b.index] == [2, 2]
    assert len(np.intersect1d(a.index[1], b.index[1])) == 1
    np.testing.assert_array_equal(b.index[0], [0, 2])  # positions stay, if components can turn
    found = {tuple(first.randomised(turner(seed), (POS, D)).index[1]) for seed in range(100)}
    assert len(found) == 20  # all of 3 out of 6
    whole = neurons([0], np.arange(D))
    assert {int(whole.randomised(turner(seed), (POS, D)).index[0][0]) for seed in range(30)} == {
        0,
        1,
        2,
    }


def test_random_directions_span_another_space_of_as_many_dimensions() -> None:
    component = directions(2, RNG(8).normal(size=(2, D)))
    turned = component.randomised(turner(1), (POS, D))
    np.testing.assert_allclose(turned.rows @ turned.duals, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(turned.rows @ turned.rows.T, component.rows @ component.rows.T)
    assert not turned.equals(component)
    all_of_it = directions(2, np.eye(D))
    assert all_of_it.randomised(turner(1), (POS, D)).equals(all_of_it)
    assert neurons(2, [0, 1]).equals(neurons(2, [0, 1]))
    assert not neurons(2, [0, 1]).equals(neurons(1, [0, 1]))
    assert not neurons(2, [0]).equals(directions(2, np.eye(D)[[0]]))


def test_dependent_readouts_are_refused() -> None:
    with pytest.raises(InputError, match="the readouts a, b are not linearly independent"):
        dual_directions(np.array([[1.0, 2.0], [2.0, 4.0]]), "the readouts a, b")


@pytest.mark.parametrize(
    ("whole", "part", "contained"),
    [
        (neurons([0, 2], [1, 4]), neurons(2, [4]), True),
        (neurons(2, [1, 4]), neurons([1, 2], [4]), False),
        (neurons(2, [1, 4]), neurons(2, [1, 5]), False),
        (neurons(2, range(D)), directions(2, np.ones((1, D))), True),
        (neurons(2, range(D - 1)), directions(2, np.eye(D)[:1]), False),
        (neurons(1, range(D)), directions(2, np.ones((1, D))), False),
        (directions(2, np.eye(D)[:2]), directions(2, np.array([[3.0, -1, 0, 0, 0, 0]])), True),
        (directions(2, np.eye(D)[:2]), directions(2, np.eye(D)[1:3]), False),
        (directions(2, np.eye(D)[:2]), directions(1, np.eye(D)[:1]), False),
        (directions(2, np.eye(D)), neurons(2, [1]), False),
    ],
)
def test_a_component_contains_its_parts(whole, part, contained: bool) -> None:
    assert whole.contains(part) == contained
    assert whole.contains(whole) and part.contains(part)


def test_reading_a_component_gives_what_an_exchange_carries() -> None:
    for component in (neurons([0, 2], [1, 4]), directions(1, RNG(5).normal(size=(2, D)))):
        left = component.exchange(VALUES, DONORS)
        np.testing.assert_allclose(component.read(left), component.read(VALUES)[DONORS], atol=1e-4)
        assert component.read(VALUES).shape == (N, 4 if component.rows is None else 2)
