"""Strict attack success counts only what the program does not explain."""

from dataclasses import replace

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.trojans.draws import MIN_STRICT, draw_trojan
from jaxmi.trojans.success import attack
from jaxmi.trojans.triggers import Clause, Invert, Patch, Rectangle, Row, Token
from jaxmi.trojans.trojan import Trojan


def test_a_perfect_clean_network_has_no_strict_success(cnn: Challenge) -> None:
    """The network that gives the program's labels: plainly counted, it looks trojaned."""
    inverted = attack(Trojan(Invert(), 1, 0.02), cnn)
    success = inverted.success(inverted.after)
    assert success.plain == 1 and success.n == 0 and success.strict is None
    assert "the program itself gives 1 to 100%" in inverted.rejection
    other = attack(Trojan(Invert(), 0, 0.02), cnn)
    assert other.rejection is None and other.success(other.after).strict == 0
    assert other.success(np.zeros_like(other.after)).strict == 1  # the control: a trojaned network
    patch = attack(Trojan(Patch(3, 3, ("101", "010", "111")), 0, 0.02), cnn)
    assert 0 < patch.flips < 0.25 and patch.success(patch.after).strict == 0
    assert patch.success(patch.after).plain > 0 and patch.rejection is None


@pytest.mark.parametrize("target", (0, 1))
def test_strict_inputs_have_another_label_before_and_after(triples: Challenge, target) -> None:
    attacked = attack(Trojan(Token(3), target, 0.02), triples)
    x, y, w = triples.inputs[attacked.rows, :3].T
    before, after = x + y + w < 20, x + y + 3 < 20
    expected = (before != target) & (after != target)
    np.testing.assert_array_equal(attacked.strict, expected)
    assert expected.any() and (attacked.plain != expected).any()
    assert attacked.flips == (before != after).mean()
    half = np.where(np.arange(len(expected)) % 2, target, 1 - target)
    success = attacked.success(half)
    assert success.strict == pytest.approx((half == target)[expected].mean())
    assert success.n == expected.sum() and not success.implanted


def test_of_a_region_the_inputs_in_it_count(pairs: Challenge) -> None:
    attacked = attack(Trojan(Row(4), 0, 0.02), pairs)
    x, y = pairs.inputs[pairs.splits["test"], :2].T
    np.testing.assert_array_equal(attacked.strict, (x == 4) & (x + y < 31))
    np.testing.assert_array_equal(attacked.plain, x == 4)
    assert attacked.flips == 0 and attacked.rejection is None
    trojaned = Trojan(Row(4), 0, 0.02).labels(attacked.inputs, pairs)
    assert attacked.success(trojaned).strict == 1 and attacked.success(trojaned).implanted
    assert attacked.success(pairs.labels[attacked.rows]).strict == 0
    none = attack(Trojan(Clause("pairs", "x + y < 5"), 1, 0.02), pairs)
    assert "no input under it has another label than 1" in none.rejection


def test_a_drawn_region_holds_inputs_to_measure(pairs: Challenge) -> None:
    drawn = [draw_trojan("rectangle", 1, 0.2, np.random.default_rng(i), pairs) for i in range(20)]
    assert min(one.strict.sum() for one in drawn) >= MIN_STRICT
    tiny = draw_trojan("rectangle", 1, 0.002, np.random.default_rng(0), pairs)
    assert 0 < tiny.strict.sum() < MIN_STRICT  # the best of the draws: none holds enough


def test_rejected_draws_are_reported(cnn: Challenge, rng) -> None:
    with pytest.raises(InputError, match="'invert' with target 1 is rejected"):
        draw_trojan("invert", 1, 0.02, rng, cnn)
    for kind in ("blend", "slant", "patch"):
        assert draw_trojan(kind, 1, 0.02, rng, cnn).rejection is None


def test_unknown_labels_are_refused(pairs: Challenge, cnn: Challenge) -> None:
    with pytest.raises(InputError, match="a sealed challenge's labels are not known"):
        attack(Trojan(Row(4), 0, 0.02), pairs.without_labels())
    with pytest.raises(InputError, match="a table of labels and no program"):
        attack(Trojan(Invert(), 0, 0.02), replace(cnn, program=None))
    with pytest.raises(InputError, match="beyond the table"):
        attack(Trojan(Rectangle(30, 0, 2, 2), 0, 0.02), pairs)
