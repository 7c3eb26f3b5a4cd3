"""The boundary study on synthetic mistakes: it finds those that are there, and no others."""

import numpy as np
import pytest
from studies.synthetic import measured

from jaxmi.programs.domain import P
from jaxmi.studies import boundary, parts
from jaxmi.studies.boundary import SHARES, bent, dense_split, is_dense, straightened
from jaxmi.studies.parts import CURVES, KINDS, ZONES, find_changes
from jaxmi.studies.study import Conclusion, Training

N = 12
NAMES = ("", "straight", "bent", "dense-alternate-0", "dense-alternate-1")


@pytest.fixture(scope="module")
def trainings() -> list[Training]:
    return boundary.trainings(quick=True)


def conclude(trainings: list[Training], chances: dict[str, np.ndarray]) -> Conclusion:
    """Conclude on synthetic networks that err at random, with a probability for each pair."""
    rng = np.random.default_rng(0)
    wrong = {name: {"wrong": rng.random((N, P, P)) < chances[name]} for name in NAMES}
    return boundary.conclude(trainings, measured(trainings, wrong))


def test_the_trainings_are_what_their_names_say(trainings: list[Training]) -> None:
    labels = {training.name: training.challenge.labels for training in trainings}
    assert (labels["transformer-quick-straight"] == straightened().labels.reshape(-1)).all()
    assert (labels["transformer-quick-bent"] == bent().labels.reshape(-1)).all()
    full = boundary.trainings(quick=False)
    assert [t.name for t in full if t.max_seeds] == ["transformer-published"]
    assert len({t.variant for t in full}) == len(full) - 1  # both plain ones have none


def test_only_the_shapes_of_boundaries_are_changed() -> None:
    own, straight, arc = parts.published(), straightened(), bent()
    assert (straight.below_line == own.below_line).all()
    assert (straight.residues == own.residues).all()
    assert (arc.small_x == own.small_x).all()
    assert (arc.small_y == own.small_y).all()
    assert (arc.below_line != own.below_line).sum() > 1000
    assert (straight.small_x != own.small_x).sum() > 1000
    assert (straight.small_y != own.small_y).sum() > 1000


def edge(table: np.ndarray) -> np.ndarray:
    """Count the pairs of each row that satisfy a side."""
    return table.sum(axis=1)


def test_straightened_sides_are_straight_and_keep_their_ends() -> None:
    straight, own = straightened(), parts.published()
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
    arc_edge, own = edge(bent().below_line), edge(parts.published().below_line)
    assert abs(arc_edge[[21, 112]] - own[[21, 112]]).max() <= 2
    assert (arc_edge[25:105] < own[25:105]).all()
    assert np.ptp(np.diff(own[21:])) == 0
    assert np.ptp(np.diff(arc_edge[21:])) > 5


@pytest.mark.parametrize("arrangement", ["alternate", "blocks"])
def test_every_row_is_dense_in_one_turn_and_sparse_in_the_other(arrangement: str) -> None:
    assert (is_dense(arrangement, 0) ^ is_dense(arrangement, 1)).all()
    assert SHARES[0] > 0.5 > SHARES[1]
    for turn in range(2):
        rows = dense_split(arrangement, turn)
        assert len(np.unique(rows)) == len(rows)
        counts = np.bincount(rows // P, minlength=P)
        wanted = [round(P * share) for share in SHARES]
        assert (counts == np.where(is_dense(arrangement, turn), *wanted)).all()


@pytest.mark.slow
def test_mistakes_that_are_spread_evenly_are_found_to_be(trainings: list[Training]) -> None:
    findings = conclude(trainings, {name: np.full((P, P), 0.1) for name in NAMES}).findings
    assert sum(findings[f"share_{zone}"].value for zone in ZONES) == pytest.approx(1)
    for zone in ZONES:
        assert findings[f"rate_{zone}"].value == pytest.approx(0.1, abs=0.03)
    for times in (0, 1, 2):
        in_a_row = 0.1 * P / 2
        assert findings[f"mistakes_per_row_{times}"].value == pytest.approx(in_a_row, rel=0.1)
    assert findings["alternate_sparse_over_dense"].value == pytest.approx(1, abs=0.15)
    # The control for "per unit of boundary": by chance it is the number of test pairs per unit.
    assert findings["straight_over_published_line"].value == pytest.approx(0.9, abs=0.15)


def test_mistakes_near_one_curve_are_found_there_and_nowhere_else(trainings) -> None:
    changes = find_changes(parts.published())
    chances = {name: np.zeros((P, P)) for name in NAMES}
    chances[""] = 0.5 * (changes.zones == KINDS.index("y4"))
    conclusion = conclude(trainings, chances)
    findings = conclusion.findings
    assert findings["share_y4"].value == 1
    assert findings["rate_y4"].value == pytest.approx(0.5, abs=0.05)
    assert findings["rate_x4"].value == findings["rate_bars"].value == 0
    assert findings["straight_over_published_y4"].value == 0
    near, far = conclusion.data["rates"]["y4"][0], conclusion.data["rates"]["y4"][-1]
    assert near["rate"] > 0.4
    assert far["rate"] == 0
    for kind in KINDS:
        pairs = sum(bin["pairs"] for bin in conclusion.data["rates"][kind])
        others = [i for i, name in enumerate(CURVES) if name != kind]
        assert pairs == (~np.isin(changes.zones, others) & held_out(trainings[0])).sum()


def held_out(training: Training) -> np.ndarray:
    table = np.zeros(P * P, bool)
    table[training.challenge.splits["test"]] = True
    return table.reshape(P, P)


@pytest.mark.slow
def test_an_effect_of_shape_is_told_from_one_of_the_rows(trainings: list[Training]) -> None:
    """The prediction by rows holds for mistakes that follow row changes, not for curvature."""
    shapes = {"": parts.published(), "straight": straightened(), "bent": bent()}
    per_row = {name: np.zeros((P, P)) for name in NAMES}
    curved = {name: np.zeros((P, P)) for name in NAMES}
    for name, shape in shapes.items():
        times = (np.diff(shape.labels, axis=1) != 0).sum(axis=1)
        per_row[name] = np.broadcast_to(0.1 * times[:, None] ** 2, (P, P))
        zones = find_changes(shape).zones
        bends = ("line",) if name == "bent" else () if name == "straight" else ("x4", "y4")
        curved[name] = 0.5 * np.isin(zones, [KINDS.index(kind) for kind in bends])
    findings = conclude(trainings, per_row).findings
    for name in ("straight", "bent"):
        by_rows = findings[f"{name}_mistakes_by_rows"].value
        assert findings[f"{name}_mistakes"].value == pytest.approx(by_rows, rel=0.08)
    findings = conclude(trainings, curved).findings
    assert findings["straight_mistakes"].value == 0 < findings["straight_mistakes_by_rows"].value
    assert findings["bent_over_published_x4"].value == 0
    assert findings["bent_per_edge_line"].value > 0 == findings["per_edge_line"].value


def test_an_effect_of_length_is_told_from_one_of_the_rows(trainings: list[Training]) -> None:
    """Every boundary has the same mistakes per unit, whatever its shape."""
    chances = {name: np.zeros((P, P)) for name in NAMES}
    for name in ("", "straight", "bent"):
        changes, test = boundary.changes_of(name), held_out(trainings[0])
        for number, kind in enumerate(CURVES):
            zone = changes.zones == number
            per_pair = 0.5 * changes.lengths[kind].sum() / (test & zone).sum()
            chances[name][zone] = per_pair
    findings = conclude(trainings, chances).findings
    for name in ("straight", "bent"):
        by_length = findings[f"{name}_mistakes_by_length"].value
        assert findings[f"{name}_mistakes"].value == pytest.approx(by_length, rel=0.1)
        for kind in CURVES:
            ratio = findings[f"{name}_over_published_{kind}_over_rows"]
            assert ratio.low < 1 < ratio.high
    for kind in ("x4", "y4"):
        ratio = findings[f"line_over_{kind}_over_rows"]
        assert ratio.low < 1 < ratio.high
        assert ratio.value == pytest.approx(1, abs=0.2)
    assert findings["per_edge_line_over_rows"].value == pytest.approx(
        findings["per_edge_line"].value
    )


def test_an_effect_of_density_is_found(trainings: list[Training]) -> None:
    chances = {name: np.full((P, P), 0.1) for name in NAMES}
    for turn in range(2):
        sparse = ~is_dense("alternate", turn)
        chances[f"dense-alternate-{turn}"] = np.where(sparse, 0.4, 0.1)[:, None]
    findings = conclude(trainings, chances).findings
    finding = findings["alternate_sparse_over_dense"]
    assert finding.low < 4 < finding.high
    assert finding.low > 3
    over_rows = findings["alternate_sparse_over_dense_over_rows"]
    assert over_rows.value == pytest.approx(finding.value)
    assert over_rows.low < finding.low < finding.high < over_rows.high
    rule = findings["alternate_sparse_over_dense_row_rule"]
    wanted = (
        findings["alternate_row_rule_sparse"].value / findings["alternate_row_rule_dense"].value
    )
    assert rule.value == pytest.approx(wanted)
    assert rule.low > 1  # nearer training pairs make copying better
    against = findings["alternate_sparse_over_dense_against_row_rule"]
    assert against.value == pytest.approx(finding.value / rule.value)


@pytest.mark.slow
def test_open_pairs_hold_the_mistakes_of_a_row_wise_guesser(trainings: list[Training]) -> None:
    """Networks that copy the nearest training pair to the left err on open pairs only."""
    labels = parts.published().labels
    train = ~held_out(trainings[0])
    last = np.maximum.accumulate(np.where(train, np.arange(P), -1), axis=1)
    copied = np.take_along_axis(labels, np.maximum(last, 0), axis=1)
    wrong = (copied != labels) & (last >= 0)
    chances = {name: np.zeros((P, P)) for name in NAMES}
    chances[""] = wrong.astype(float)
    findings = conclude(trainings, chances).findings
    assert findings["open_mistakes_share"].value > 0.9
    assert findings["open_pairs_share"].value < 0.05
    chances[""] = np.full((P, P), 0.1)
    even = conclude(trainings, chances).findings  # the control
    assert even["open_mistakes_share"].value == pytest.approx(
        even["open_pairs_share"].value, abs=0.01
    )
