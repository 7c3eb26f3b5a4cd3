"""Recipes refuse numbers that make no sense, and name them."""

from dataclasses import replace

import pytest

from jaxmi.challenges.registry import NAMES
from jaxmi.errors import InputError
from jaxmi.training.recipe import RECIPES


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
