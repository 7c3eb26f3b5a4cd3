"""Recipes refuse numbers that make no sense, and name them."""

from dataclasses import replace
from itertools import pairwise

import pytest

import jaxmi
from jaxmi.challenges.registry import NAMES
from jaxmi.errors import InputError
from jaxmi.training.recipe import (
    MAX_FAST_STEPS,
    MAX_RATE,
    MIN_FAST_STEPS,
    MIN_RATE,
    RECIPES,
    Recipe,
    fast_recipe_for_numbers,
    recipes_for,
)

WIDTHS = (1, 8, 32, 64, 128, 256, 1024, 4096)
PAIRS = {p: p * p // 2 for p in range(5, 510)}


def test_every_challenge_has_both_recipes() -> None:
    assert {name: set(recipes) for name, recipes in RECIPES.items()} == {
        name: {"fast", "published"} for name in NAMES
    }


def test_the_published_transformer_recipe_is_the_original() -> None:
    recipe = RECIPES["transformer"]["published"]
    assert (recipe.steps, recipe.batch_size, recipe.learning_rate) == (5000, None, 5e-4)
    assert (recipe.weight_decay, recipe.b1, recipe.b2) == (1.0, 0.9, 0.98)
    assert (recipe.warmup_steps, recipe.schedule) == (10, "constant")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", 1001),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("weight_decay", float("inf")),
        ("steps", 10**12),
        ("warmup_steps", 10**20),
        ("eval_every", 0),
        ("b1", 1.0),
        ("b2", -0.1),
        ("weight_decay", -1.0),
        ("warmup_steps", -1),
        ("schedule", "linear"),
        ("dropout", "no"),
        ("matmul_precision", "float8"),
        ("form", "slow"),
        ("microbatch", 0),
        ("microbatch", 100),
    ],
)
def test_impossible_numbers_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises((InputError, TypeError), match=field):
        replace(RECIPES["transformer"]["fast"], **{field: value})


def test_a_challenge_of_the_published_sizes_gets_the_published_recipes() -> None:
    mine = jaxmi.make_challenge("return x > y")
    assert recipes_for(mine) == RECIPES["transformer"]
    small = jaxmi.make_challenge("return x > y", p=31, network={"d_model": 32})
    assert recipes_for(small)["published"] == RECIPES["transformer"]["published"]
    assert recipes_for(small)["fast"] != RECIPES["transformer"]["fast"]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_rule_for_pairs_stays_within_its_bounds_at_every_p(width: int) -> None:
    for n_train in (1, *PAIRS.values()):
        recipe = fast_recipe_for_numbers(n_train, width)
        assert recipe.steps % recipe.eval_every == 0
        assert recipe.steps // recipe.eval_every == 20
        assert MIN_FAST_STEPS <= recipe.steps <= MAX_FAST_STEPS
        assert recipe.warmup_steps < recipe.steps
        assert recipe.batch_size is not None
        assert 1 <= recipe.batch_size <= min(512, n_train)
        assert MIN_RATE <= recipe.learning_rate <= MAX_RATE
        assert recipe.learning_rate * recipe.weight_decay == pytest.approx(2.4e-4, rel=0.1)


def test_more_pairs_are_never_trained_on_for_less_and_wider_networks_never_faster() -> None:
    def sizes(recipe: Recipe) -> tuple[int, int, float]:
        return recipe.steps, recipe.batch_size or 0, -recipe.learning_rate

    for width in WIDTHS:
        recipes = [sizes(fast_recipe_for_numbers(n, width)) for n in PAIRS.values()]
        assert all(b[0] >= a[0] and b[1] >= a[1] and b[2] == a[2] for a, b in pairwise(recipes))
    for n_train in PAIRS.values():
        recipes = [sizes(fast_recipe_for_numbers(n_train, width)) for width in WIDTHS]
        assert all(b[0] <= a[0] and b[1] == a[1] and b[2] >= a[2] for a, b in pairwise(recipes))
    wider, published = fast_recipe_for_numbers(6384, 256), RECIPES["transformer"]["fast"]
    assert sizes(wider) != sizes(published) == sizes(fast_recipe_for_numbers(6384, 128))
