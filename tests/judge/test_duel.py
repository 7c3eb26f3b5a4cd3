"""Duels on a planted network: the true feature wins, needless bits and random features do not."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from judge.planted import BOTH, DECOY, LABEL, RESID, ROWS, Z, at, planted, sums

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import origin
from jaxmi.errors import InputError
from jaxmi.judge import duel, subject
from jaxmi.judge.duel import duel_explanations
from jaxmi.judge.duel_score import BOTH as BOTH_PERMIT
from jaxmi.judge.duel_score import (
    CLASSES,
    NEITHER,
    NO_DISAGREEMENT,
    NOT_SHOWN,
    OTHER,
    OWNER,
    Cell,
    Duel,
    Estimate,
    Interventions,
    estimate,
)
from jaxmi.judge.features import count_donors
from jaxmi.judge.judge_explanation import bind_claims
from jaxmi.judge.permissions import Contents, Permissions, draw_permitted
from jaxmi.judge.subject import Exchange
from jaxmi.judge.submission import Explanation, read_explanation

RANDOM = "(x * 37 + y * 91) % 101 < 40"
"""A feature without meaning, with nearly as many bits as `LABEL`."""


def explained(*claims: dict, **parts) -> Explanation:
    text = json.dumps({"challenge": "transformer", "claims": claims, **parts})
    return read_explanation(text, "transformer", origin("transformer"))


@pytest.fixture(scope="module")
def params() -> dict:
    return planted()


@pytest.fixture
def compare(transformer: Challenge, params, monkeypatch) -> Callable[..., Duel]:
    monkeypatch.setattr(duel, "EXCHANGE_DRAWS", 4)
    monkeypatch.setattr(duel, "INPUTS", 256)

    def compare(one: Explanation, other: Explanation, rows=ROWS[::2]) -> Duel:
        return duel_explanations((one, other), ("one", "other"), transformer, params, rows)

    return compare


def kept(duel: Duel, side: int, name: str) -> float:
    cell = duel.interventions[side].cells[name]
    return cell.kept / cell.exchanged


def test_the_true_feature_is_right_on_both_kinds_of_exchange(compare) -> None:
    found = compare(explained(sums([4], LABEL)), explained(sums([4], DECOY)))
    assert [side.right for side in found.interventions] == ["one", "one"]
    assert kept(found, 0, OWNER) == kept(found, 0, BOTH_PERMIT) == 1.0
    assert kept(found, 1, OWNER) < 0.5 < kept(found, 1, BOTH_PERMIT)
    assert kept(found, 0, NEITHER) < 0.5
    for side, sign in zip(found.interventions, (1, -1), strict=True):
        assert side.lead is not None and sign * side.lead.value > 0.4
    assert found.difference.low > 0.3
    per_bit = found.difference_per_bit
    assert per_bit is not None and per_bit.low > 0.3
    assert "one keeps more labels (" in found.verdict
    assert found.verdict.count("one is right") == 2
    turned = compare(explained(sums([4], DECOY)), explained(sums([4], LABEL)))
    assert [side.right for side in turned.interventions] == ["other", "other"]


def test_an_explanation_against_itself_is_a_tie(compare) -> None:
    found = compare(explained(sums([4], "y % 10 < 7")), explained(sums([4], "y % 10 < 7")))
    assert found.difference == (0, 0, 0) and found.difference_per_bit == (0, 0, 0)
    for side in found.interventions:
        assert side.cells[OWNER].exchanged == side.cells[OTHER].exchanged == 0
        assert side.right == NO_DISAGREEMENT
    assert found.interventions[0].cells == found.interventions[1].cells
    assert found.verdict.count("a tie in labels") == 2


def test_a_finer_partition_of_the_same_gains_nothing(compare) -> None:
    """It forbids exchanges that keep the label; it never permits one that the coarser forbids."""
    finer = explained(sums([4], f"2 * ({LABEL}) + (x >= 56)"))
    found = compare(explained(sums([4], LABEL)), finer)
    one, other = found.interventions
    assert (one.right, other.right) == ("one", NO_DISAGREEMENT)
    assert one.loss is not None and one.loss.high < 0.05
    assert other.cells[OWNER].exchanged == 0
    assert found.sides[1].bits == pytest.approx(found.sides[0].bits + 1, abs=0.02)
    assert abs(found.difference.value) < 0.01
    per_bit = found.difference_per_bit
    assert per_bit is not None and per_bit.low > 0.1


def test_a_random_partition_keeps_nothing_per_bit_and_is_never_right(compare) -> None:
    found = compare(explained(sums([4], LABEL)), explained(sums([4], RANDOM)))
    assert [side.right for side in found.interventions] == ["one", "one"]
    assert found.sides[0].bits == pytest.approx(found.sides[1].bits, abs=0.1)
    true, random = (side.per_bit() for side in found.sides)
    assert true is not None and random is not None
    assert true.low > 0.3 and abs(random.value) < 0.03


def test_each_is_right_where_the_other_leaves_out_half(compare) -> None:
    found = compare(explained(sums([4], "x % 10 < 7")), explained(sums([4], "y % 10 < 7")))
    assert [side.right for side in found.interventions] == ["other", "one"]
    for side in found.interventions:
        assert side.rise is not None and side.rise.value > 0.05


def test_a_component_without_effect_makes_nobody_right(compare) -> None:
    found = compare(explained(sums([5], LABEL)), explained(sums([5], RANDOM)))
    assert [side.right for side in found.interventions] == [NOT_SHOWN, NOT_SHOWN]
    assert all(
        side.cells[OWNER].kept == side.cells[OWNER].exchanged for side in found.interventions
    )
    for side in found.sides:
        per_bit = side.per_bit()
        assert per_bit is not None and per_bit.value == 0


def test_a_component_that_does_not_vary_is_never_exchanged(compare) -> None:
    """A donor with the same content changes nothing, and would count as a label kept."""
    found = compare(explained(sums([20], LABEL)), explained(sums([4], LABEL)))
    assert all(cell.exchanged == 0 for cell in found.interventions[0].cells.values())
    assert found.interventions[0].right == NO_DISAGREEMENT
    assert found.interventions[1].cells[BOTH_PERMIT].exchanged > 400


@pytest.mark.long
def test_explanations_of_different_sites_are_compared_by_their_features(compare) -> None:
    early = explained(at({"pos": 2, "head": 0}, BOTH, site=Z))
    found = compare(explained(sums([4], LABEL)), early)
    one, other = found.interventions
    assert (one.right, other.right) == ("one", NO_DISAGREEMENT)
    false = compare(
        explained(sums([4], LABEL)), explained(at({"pos": 2, "head": 0}, DECOY, site=Z))
    )
    assert [side.right for side in false.interventions] == ["one", "one"]


@pytest.mark.slow
def test_claims_with_conditions_permit_what_either_permits(compare) -> None:
    """What x is does not matter where y fails: so the second claim permits more exchanges."""
    half, rest = sums([4], "x % 10 < 7"), sums([4], "0", where="y % 10 >= 7")
    found = compare(explained(half, rest), explained(half))
    assert found.sides[0].bits < found.sides[1].bits
    assert found.interventions[1].right == NO_DISAGREEMENT


def test_a_constant_explanation_has_no_bit(compare) -> None:
    found = compare(explained(sums(["5:7"], "0")), explained(sums([4], LABEL)))
    assert found.sides[0].bits == 0 and found.sides[0].per_bit() is None
    assert found.difference_per_bit is None
    assert "labels per bit of feature: not compared, since one has no bit" in found.verdict
    assert json.loads(json.dumps(found.metrics(), allow_nan=False)) == found.metrics()


def test_the_result_is_json_and_the_same_again(compare) -> None:
    one, other = explained(sums([4], "x % 10 < 7")), explained(sums([4], DECOY))
    found = compare(one, other)
    metrics = found.metrics()
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert compare(one, other).metrics() == metrics
    assert [side["submission"] for side in metrics["explanations"]] == ["one", "other"]
    first = metrics["interventions"][0]
    assert first["inputs"] == 4 * 256
    assert 0 < first["permitted_by_owner"]["kept"] < first["permitted_by_owner"]["exchanged"]
    assert {example["kept"] for example in first["examples"]} == {True, False}
    assert first["examples"][0]["donors"].keys() == {"claims[0]"}
    for rows in (found.rows(), found.exchange_rows()):
        assert {len(row) for row in rows} == {3}
    assert "one is right" in repr(found) or "other is right" in repr(found)
    assert "bits of feature" in found._repr_html_()


@pytest.mark.slow
def test_both_are_scored_on_the_inputs_of_the_one_with_fewer(compare, monkeypatch) -> None:
    monkeypatch.setattr(subject, "MAX_NUMBERS", 3 * 128 * 600)
    wide = explained(at({"pos": 2, "d_model": [4]}, LABEL))
    monkeypatch.setattr(duel, "POOL", 300)
    found = compare(wide, explained(at({"pos": 2, "head": 0}, DECOY, site=Z)), rows=None)
    assert found.inputs == 600
    two = explained(sums([4], LABEL), at({"pos": 2, "head": 0}, BOTH, site=Z))
    assert compare(two, wide, rows=None).inputs == 300


def test_errors_name_the_submission_and_the_claim(compare) -> None:
    good, bad = explained(sums([4], LABEL)), explained(sums([4], "1 / x"))
    with pytest.raises(InputError, match=r"^other: claims\[0\]\.feature: ZeroDivisionError"):
        compare(good, bad)


# What an explanation permits.


def permissions(transformer, params, *claims: dict, **parts) -> Permissions:
    bound = bind_claims(explained(*claims, **parts), transformer, params, ROWS)
    return Permissions(bound, np.arange(len(ROWS)))


@pytest.mark.parametrize("feature", ["0", LABEL, BOTH, "x", "x * p + y"])
def test_bits_of_exact_features_are_the_entropy_of_their_partition(
    transformer, params, feature: str
) -> None:
    values = {
        "0": np.zeros(900),
        LABEL: (ROWS // 113 % 10 < 7) & (ROWS % 113 % 10 < 7),
        BOTH: (ROWS // 113 % 10 < 7) + (ROWS % 113 % 10 < 7).astype(int),
        "x": ROWS // 113,
        "x * p + y": ROWS,
    }[feature]
    shares = np.unique(values, return_counts=True)[1] / 900
    entropy = -(shares * np.log2(shares)).sum()
    claim = permissions(transformer, params, sums([4], feature))
    assert claim.bits() == pytest.approx(entropy, abs=1e-9)
    twice = permissions(transformer, params, sums([4], feature), sums([5], feature))
    assert twice.bits() == claim.bits()  # the same feature again says nothing more


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.1])
def test_nearly_the_same_permits_the_judges_donors(transformer, params, noise: float) -> None:
    values = (ROWS // 113 + 0.37 * (ROWS % 113)).astype(float)
    claim = sums([4], "x + 0.37 * y", match={"near": noise})
    permitted = permissions(transformer, params, claim).alike(np.arange(900))
    others = permitted.sum(axis=1) - 1
    assert permitted.diagonal().all()
    np.testing.assert_array_equal(np.maximum(others, 1), others)  # the nearest is always a donor
    expected = count_donors(values, noise)
    assert (others == expected).mean() > 0.95  # rounding at the window's edge; ties of the nearest


def test_a_condition_restricts_inputs_and_donors(transformer, params) -> None:
    where = permissions(transformer, params, sums([4], "0", where="x < 50"))
    inside = ROWS // 113 < 50
    alike = where.alike(np.arange(900))
    np.testing.assert_array_equal(alike, inside[:, None] & inside)


def test_a_larger_components_claim_speaks_of_its_parts(transformer, params) -> None:
    found = permissions(transformer, params, sums(["4:6"], LABEL), sums([9], DECOY))
    parts = permissions(transformer, params, sums([5], "0"), sums(["5:8"], "0"))
    inner, wider = (claim.component for claim in parts.components)
    of = found.of(RESID, inner, np.arange(900))
    label = (ROWS // 113 % 10 < 7) & (ROWS % 113 % 10 < 7)
    np.testing.assert_array_equal(of, label[:, None] == label)
    assert found.of(RESID, wider, np.arange(900)) is None
    assert found.of(Z, inner, np.arange(900)) is None


def test_donors_with_the_same_content_count_once_and_differ_in_little_else() -> None:
    x, y = np.divmod(np.arange(25), 5)
    points = np.stack([x, y], axis=1).astype(float)
    contents, seven = Contents(x[:, None].astype(float), points), np.array([7])  # x = 1, y = 2
    donors, changes = contents.donors(seven)[0], contents.changes(seven)[0]
    assert [divmod(i, 5) for i in np.flatnonzero(donors & changes)] == [
        *((0, 2), (2, 2), (3, 2), (4, 2))
    ]
    assert [divmod(i, 5) for i in np.flatnonzero(donors & ~changes)] == [(1, 1), (1, 3)]
    everyone = Contents(points, points).donors(np.array([7]))[0]
    assert everyone.sum() == 24 and not everyone[7]
    assert not Contents(np.zeros((25, 1)), points).changes(np.arange(25)).any()


def test_donors_are_drawn_evenly_and_never_where_there_is_none() -> None:
    permitted = np.zeros((3, 6), bool)
    permitted[0, [1, 4]], permitted[2, 5] = True, True
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_permitted(permitted, rng) for _ in range(400)])
    assert set(drawn[:, 0]) == {1, 4} and 150 < (drawn[:, 0] == 1).sum() < 250
    assert (drawn[:, 1] == -1).all() and (drawn[:, 2] == 5).all()
    assert (draw_permitted(np.zeros((2, 3), bool), rng) == -1).all()


def test_an_exchange_of_everything_gives_the_donors_labels(transformer, params) -> None:
    (claim,) = bind_claims(explained(sums("0:128", LABEL)), transformer, params, ROWS)
    rows = np.arange(200)
    donors = np.where(rows % 2 == 0, rows + 500, -1)
    exchange = Exchange(claim.site, claim.component, donors)
    logits, changed = claim.subject.exchanged(rows, [exchange])
    own = claim.subject.logits
    np.testing.assert_allclose(logits[::2], own[500:700:2], atol=1e-5)
    np.testing.assert_allclose(logits[1::2], own[1:200:2], atol=1e-5)
    assert not changed[1::2].any() and changed[::2].any()


# The rule.


def interventions(excess: Estimate, rise: Estimate, exchanged: int = 500) -> Interventions:
    cells = {name: Cell(exchanged, exchanged // 2, Estimate(0.5, 0.4, 0.6)) for name in CLASSES}
    return Interventions(
        "one", "other", 1000, cells, 100, excess, {}, excess, rise, rise, examples=()
    )


@pytest.mark.parametrize(
    ("excess", "rise", "right"),
    [
        ((0.10, 0.06, 0.14), (0.3, 0.2, 0.4), "other"),
        ((0.10, -0.02, 0.22), (0.3, 0.2, 0.4), NOT_SHOWN),
        ((0.04, 0.03, 0.049), (0.3, 0.2, 0.4), "one"),
        ((0.04, 0.01, 0.07), (0.3, 0.2, 0.4), NOT_SHOWN),
        ((0.00, -0.01, 0.01), (0.04, 0.03, 0.05), NOT_SHOWN),
        ((0.00, -0.01, 0.01), (0.3, -0.1, 0.7), NOT_SHOWN),
    ],
)
def test_who_is_right_follows_from_the_printed_rule(excess, rise, right: str) -> None:
    found = interventions(Estimate(*excess), Estimate(*rise))
    assert found.right == right
    assert ("is right" in found.verdict) == (right != NOT_SHOWN)
    assert "labels stay in 250 of 500" in found.verdict
    few = interventions(Estimate(*excess), Estimate(*rise), exchanged=9)
    assert few.right == NO_DISAGREEMENT
    assert replace(found, excess=None).right == NOT_SHOWN
    assert "too few exchanges to compare with" in replace(found, excess=None).verdict


def test_intervals_are_students() -> None:
    found = estimate([0.4, 0.5, 0.6])
    assert found.value == pytest.approx(0.5)
    assert found.high - found.value == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-4)
