"""Changes along rows: they give the table back."""

import numpy as np
import pytest

from jaxmi.models.transformer import TransformerConfig
from jaxmi.planted.look_up import changes, plant_look_up
from jaxmi.planted.network import Planted, X


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_value_is_true_where_an_odd_number_of_places_is_at_most_its_own(share: float) -> None:
    table = np.random.default_rng(0).random((7, 9)) < share
    places = changes(table)
    odd = (places[:, :, None] <= np.arange(9)).sum(axis=0) % 2 == 1
    np.testing.assert_array_equal(odd, table)
    assert len(places) == (table[:, 0] + (table[:, 1:] != table[:, :-1]).sum(axis=1)).max()


def test_a_look_up_has_two_neurons_for_each_place() -> None:
    table = np.random.default_rng(0).random((7, 7)) < 0.5
    network = Planted(TransformerConfig(d_vocab=8, d_model=16, n_heads=2, d_head=8, d_mlp=20))
    plant_look_up(network, table, X)
    n = len(changes(table))
    assert network.needs() == {"d_model": 4 + 1 + n, "n_heads": 2, "d_mlp": 2 * n}
