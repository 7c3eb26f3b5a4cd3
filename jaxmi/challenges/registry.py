"""The challenges by name, and the kinds of challenge.

To add a kind of challenge, write a subclass of `Challenge` in a file of this folder, with a
function that builds one, and register it below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmi.challenges import images, pairs
from jaxmi.challenges.challenge import Challenge, Published, sizes
from jaxmi.errors import InputError
from jaxmi.models.cnn import SITES as CNN_SITES
from jaxmi.models.cnn import Cnn
from jaxmi.models.transformer import SITES as TRANSFORMER_SITES
from jaxmi.models.transformer import Transformer
from jaxmi.programs.domain import P, PairDomain, image_tables
from jaxmi.programs.language import Kind
from jaxmi.types import Params


@dataclass(frozen=True)
class Registration:
    """A challenge that can be asked for by name; none of it needs the challenge's data."""

    kind: type[Challenge]
    load: Callable[[Path | None], Challenge]
    """Builds the challenge; takes the folder with its data."""
    model: Cnn | Transformer
    example: np.ndarray
    """An input of the right shape."""
    sites: Mapping[str, tuple[str, ...]]
    """Site of the network -> names of its axes."""
    label_tables: Mapping[tuple[int, ...], slice]
    """Shape of a table of labels -> the rows of the domain that such a table covers."""
    published: Published


CHALLENGES = {
    "transformer": Registration(
        kind=pairs.PairChallenge,
        load=lambda data_dir: pairs.load_pair_transformer(),
        model=Transformer(),
        example=np.zeros(3, np.int32),
        sites=TRANSFORMER_SITES,
        label_tables=PairDomain(P).table_shapes,
        published=pairs.PUBLISHED,
    ),
    "cnn": Registration(
        kind=images.ImageChallenge,
        load=images.load_mnist_cnn,
        model=Cnn(),
        example=np.zeros((28, 28), np.uint8),
        sites=CNN_SITES,
        label_tables=image_tables(n_train=60_000, n_test=10_000),
        published=images.PUBLISHED,
    ),
}

NAMES = tuple(CHALLENGES)
"""Every challenge's name."""


def registered(name: str) -> Registration:
    """Return what is known of a challenge without its data.

    Raises:
      InputError: if there is no such challenge.
    """
    if name not in CHALLENGES:
        raise InputError(f"unknown challenge {name!r}; the challenges are: {', '.join(NAMES)}")
    return CHALLENGES[name]


def load_challenge(name: str, data_dir: Path | None = None) -> Challenge:
    """Build a challenge.

    Args:
      name: One of `NAMES`.
      data_dir: A folder with MNIST, for "cnn"; None looks in the cache, then downloads.

    Raises:
      InputError: if there is no such challenge, or the data folder cannot be used.
      UnavailableError: if MNIST cannot be had.
    """
    return registered(name).load(data_dir)


def kind_of_challenge(kind: Kind) -> type[Challenge]:
    """Return the class of the challenges whose programs are of a kind."""
    return next(entry.kind for entry in CHALLENGES.values() if entry.kind.kind == kind)


def model_config(name: str) -> dict[str, Any]:
    """Return `Challenge.model_config`, without the challenge's data.

    Raises:
      InputError: if there is no such challenge.
    """
    return sizes(registered(name).model)


@cache
def param_shapes(name: str) -> Params:
    """Return the shapes and types of what `Challenge.init` draws, without the challenge's data.

    Raises:
      InputError: if there is no such challenge.
    """
    entry = registered(name)
    return jax.eval_shape(entry.model.init, jax.random.key(0), entry.example)["params"]
