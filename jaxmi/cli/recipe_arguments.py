"""Seeds and recipe changes as the user writes them."""

import re
from dataclasses import fields, replace
from types import UnionType
from typing import Any

from jaxmi.errors import InputError
from jaxmi.training.recipe import Recipe

MAX_SEEDS = 1_000_000
"""More in one run are surely a slip of the finger."""


def parse_seeds(text: str) -> list[int]:
    """Reads "first:end", "seed" or "seed,seed,...".

    Raises:
      InputError: if the text is neither, or names no seed, or one twice.
    """
    if match := re.fullmatch(r"(\d{1,12}):(\d{1,12})", text):
        if int(match[2]) - int(match[1]) > MAX_SEEDS:
            raise InputError(f"--seeds {text}: more than {MAX_SEEDS:,} seeds in one run")
        seeds = list(range(int(match[1]), int(match[2])))
    elif re.fullmatch(r"\d{1,12}(,\d{1,12})*", text):
        seeds = [int(seed) for seed in text.split(",")]
    else:
        raise InputError(f"--seeds {text}: expected first:end (0:8), a seed, or seeds with commas")
    if not seeds:
        raise InputError(f"--seeds {text} names no seed: the end must lie behind the first")
    if max(seeds) >= 2**32:
        raise InputError(f"--seeds {text}: a seed must be below 2**32")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {text} names a seed twice")
    return seeds


def change_recipe(recipe: Recipe, changes: tuple[str, ...]) -> Recipe:
    """Applies "name=value" texts to a recipe.

    Raises:
      InputError: if a text is no such pair, names no number of the recipe, or gives a value that it
        cannot take.
    """
    types: dict[str, Any] = {field.name: field.type for field in fields(Recipe)}
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in types:
            raise InputError(
                f"--set {change}: expected NAME=VALUE with a name of {', '.join(types)}"
            )
        value = _read_value(text)
        if types[name] is float and type(value) is int:
            value = float(value)
        kind = types[name]
        fits = isinstance(value, kind) if isinstance(kind, type | UnionType) else True
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"--set {change}: {text!r} is no value for {name}")
        values[name] = value
    return replace(recipe, **values)


def _read_value(text: str) -> int | float | bool | str | None:
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text
