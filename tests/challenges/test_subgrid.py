"""Parts of a domain of numbers: tables again, with the values they say."""

import numpy as np
import pytest

from jaxmi.challenges.subgrid import draw_subgrid


@pytest.mark.parametrize("operands", [("x", "y"), ("x", "y", "w")])
def test_rows_are_those_of_the_values(operands: tuple[str, ...]) -> None:
    part = draw_subgrid(operands, 11, max_inputs=7 ** len(operands) + 1)
    assert part.shape == (7,) * len(operands) and not part.whole
    places = np.unravel_index(part.rows, (11,) * len(operands))
    for axis, values in enumerate(part.values.values()):
        assert (np.diff(values) > 0).all()
        assert (np.unique(places[axis]) == values).all()
    assert (np.diff(part.rows) > 0).all() and len(part.rows) == 7 ** len(operands)


def test_a_domain_that_is_small_enough_is_whole() -> None:
    for most in (None, 25, 26):
        part = draw_subgrid(("x", "y"), 5, most)
        assert part.whole and (part.rows == np.arange(25)).all()
    assert not draw_subgrid(("x", "y"), 5, 24).whole  # the control


def test_values_differ_between_operands_and_repeat_for_a_seed() -> None:
    part, again = (draw_subgrid(("x", "y"), 100, 900) for _ in range(2))
    assert (part.rows == again.rows).all()
    assert (part.values["x"] != part.values["y"]).any()
    assert (draw_subgrid(("x", "y"), 100, 900, seed=1).rows != part.rows).any()


def test_slices_are_named_by_the_values_that_were_drawn() -> None:
    part = draw_subgrid(("x", "y", "w"), 40, 6**3)
    slices = part.slices(part.rows)
    drawn = part.values["w"]
    assert list(slices) == [f"w = {drawn[i]}" for i in (0, 1, 3, 5)]
    for place, table in slices.items():
        assert table.shape == (6, 6)
        assert (table % 40 == int(place.removeprefix("w = "))).all()
