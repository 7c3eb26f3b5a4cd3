"""Challenge 2's program, taken apart and put together."""

import numpy as np

from jaxmi.programs.domain import P
from jaxmi.programs.pair_labels import label_table
from jaxmi.studies import parts


def test_the_published_parts_give_the_published_labels() -> None:
    assert (parts.published().labels == np.asarray(label_table(P))).all()


def test_only_the_shapes_of_boundaries_are_changed() -> None:
    own, straight, bent = parts.published(), parts.straightened(), parts.bent()
    assert (straight.below_line == own.below_line).all()
    assert (straight.residues == own.residues).all()
    assert (bent.small_x == own.small_x).all()
    assert (bent.small_y == own.small_y).all()
    assert (bent.below_line != own.below_line).sum() > 1000
    assert (straight.small_x != own.small_x).sum() > 1000
    assert (straight.small_y != own.small_y).sum() > 1000


def edge(table: np.ndarray) -> np.ndarray:
    """How many pairs of each row satisfy a side."""
    return table.sum(axis=1)


def test_straightened_sides_are_straight_and_keep_their_ends() -> None:
    straight, own = parts.straightened(), parts.published()
    # A straight boundary moves by steps that differ by one at most; a curved one does not.
    for table, original, rows in (
        (straight.small_x, own.small_x, slice(0, 47)),
        (straight.small_y, own.small_y, slice(1, P)),
    ):
        steps, before = np.diff(edge(table)[rows]), np.diff(edge(original)[rows])
        assert np.ptp(steps) <= 1
        assert np.ptp(before) > 1
    assert abs(edge(straight.small_x)[46] - edge(own.small_x)[46]) <= 1
    assert abs(edge(straight.small_y)[[1, 112]] - edge(own.small_y)[[1, 112]]).max() <= 1


def test_the_arc_bends_and_keeps_its_ends() -> None:
    bent, own = edge(parts.bent().below_line), edge(parts.published().below_line)
    assert abs(bent[[21, 112]] - own[[21, 112]]).max() <= 2
    assert (bent[25:105] < own[25:105]).all()
    assert np.ptp(np.diff(own[21:])) == 0
    assert np.ptp(np.diff(bent[21:])) > 5
