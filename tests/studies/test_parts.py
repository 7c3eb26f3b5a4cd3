"""Challenge 2's program in parts, and where its labels change."""

import numpy as np
import pytest

from jaxmi.data.pairs import is_train_table, split_indices
from jaxmi.programs.domain import P
from jaxmi.programs.published_labels import label_table
from jaxmi.studies import parts
from jaxmi.studies.boundary import bent, straightened
from jaxmi.studies.parts import CURVES, KINDS, NEAR, ZONES, find_changes, open_pairs


@pytest.mark.parametrize("shape", [parts.published, straightened, bent])
def test_every_change_of_the_label_has_one_kind(shape) -> None:
    labels, changes = shape().labels, find_changes(shape())
    edges = sum(int((np.diff(labels, axis=axis) != 0).sum()) for axis in (0, 1))
    assert sum(lengths.sum() for lengths in changes.lengths.values()) == edges
    assert all(changes.lengths[kind].sum() > 15 for kind in KINDS)
    within = (np.diff(labels, axis=1) != 0).sum(axis=1)  # along a row only curves change labels
    between = np.append((np.diff(labels, axis=0) != 0).sum(axis=1), 0)  # counted in the first row
    assert (sum(changes.lengths.values()) == within + between).all()


def test_zones_follow_from_the_distances() -> None:
    changes = find_changes(parts.published())
    assert set(np.unique(changes.zones)) == set(range(len(ZONES)))
    curves, bars = changes.distances[: len(CURVES)], changes.distances[len(CURVES)]
    near = curves.min(axis=0) <= NEAR
    assert (near == (changes.zones < len(CURVES))).all()
    assert (curves.argmin(axis=0)[near] == changes.zones[near]).all()
    assert ((bars <= NEAR) & ~near == (changes.zones == KINDS.index("bars"))).all()


def test_each_boundary_has_its_own_name() -> None:
    """By hand: a label that changes along a row where one side alone changes is that side's."""
    changes, labels = find_changes(parts.published()), parts.published().labels
    counts = dict.fromkeys(CURVES, 0)
    for x in range(P):
        for y in range(P - 1):
            sides = {
                "x4": [x**4 < 40_000 * v for v in (y, y + 1)],
                "y4": [v**4 < 360_000 * x for v in (y, y + 1)],
                "line": [x + v < P + 20 for v in (y, y + 1)],
            }
            differing = [name for name, (left, right) in sides.items() if left != right]
            if labels[x, y] != labels[x, y + 1] and len(differing) == 1:
                number = KINDS.index(differing[0])
                assert changes.distances[number][x, y] == 0.5
                assert (
                    ZONES[changes.zones[x, y]] in differing
                    or (changes.distances[: len(CURVES), x, y] == 0.5).sum() > 1
                )
                counts[differing[0]] += 1
    assert all(count > 10 for count in counts.values())


def test_distances_are_to_the_middle_of_the_nearest_edge() -> None:
    """By hand: only the line x + y = 133, in rows that all have the same residue."""
    own = parts.published()
    nothing = np.zeros((P, P), bool)
    only_line = parts.Parts(nothing, nothing, own.below_line, np.zeros(P, np.int64))
    assert (only_line.labels == own.below_line).all()
    changes = find_changes(only_line)
    lengths = {kind: units.sum() for kind, units in changes.lengths.items()}
    assert lengths == {"x4": 0, "y4": 0, "line": 2 * 92, "bars": 0}
    assert (changes.lengths["line"][21:112] == 2).all()
    distance = changes.distances[KINDS.index("line")]
    assert distance[60, 72] == 0.5  # the last one below
    assert distance[60, 73] == 0.5
    assert distance[60, 71] == np.hypot(1, 0.5)
    assert np.isinf(changes.distances[KINDS.index("bars")]).all()


def test_rows_that_differ_by_their_residue_only_are_bars() -> None:
    nothing = np.zeros((P, P), bool)
    bars = parts.Parts(nothing, nothing, nothing, np.where(np.arange(P) < 50, 7, 3))
    lengths = find_changes(bars).lengths
    assert lengths["bars"][49] == P
    assert sum(units.sum() for units in lengths.values()) == P


def test_open_pairs_are_those_between_different_neighbours_of_their_row() -> None:
    labels = parts.published().labels
    is_train = is_train_table(P, split_indices(P)[0])
    is_open = open_pairs(labels, is_train)
    for x in range(P):
        for y in range(P):
            left = [labels[x, k] for k in range(y) if is_train[x, k]]
            right = [labels[x, k] for k in range(y + 1, P) if is_train[x, k]]
            wanted = bool(left and right) and left[-1] != right[0] and not is_train[x, y]
            assert is_open[x, y] == wanted
    assert 100 < is_open.sum() < 200
    assert not open_pairs(np.ones((P, P), np.int32), is_train).any()


def test_the_published_parts_give_the_published_labels() -> None:
    assert (parts.published().labels == np.asarray(label_table(P))).all()
