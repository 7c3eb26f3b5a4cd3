"""The published challenges by name, and the kinds of challenge.

To add a kind of challenge, write a subclass of `Challenge` in a file of this folder, with the
functions that build one from a `Definition`, and register it in `KINDS` below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxmi.challenges import images, pairs, triples
from jaxmi.challenges.challenge import Challenge, Published, sizes
from jaxmi.challenges.definition import Definition
from jaxmi.errors import InputError
from jaxmi.models.cnn import SITES as CNN_SITES
from jaxmi.models.cnn import Cnn
from jaxmi.models.transformer import MAX_LAYERS, Transformer
from jaxmi.models.transformer import sites as transformer_sites
from jaxmi.programs.domain import P, PairDomain, image_tables
from jaxmi.programs.language import Kind
from jaxmi.types import Params


@dataclass(frozen=True)
class KindOfChallenge:
    """What is the same for all challenges of a kind; none of it needs a challenge's data."""

    challenge: type[Challenge]
    build: Callable[[Definition, Path | None], Challenge]
    """Builds a challenge that a user made; takes the folder with its data."""
    model: Callable[[Definition], nn.Module]
    """Returns the network of a challenge that a user made."""
    example: np.ndarray
    """An input of the right shape, for a network of any size."""
    sites: Mapping[str, tuple[str, ...]]
    """Site of the largest network -> names of its axes."""


KINDS: Mapping[Kind, KindOfChallenge] = {
    "pairs": KindOfChallenge(
        challenge=pairs.PairChallenge,
        build=lambda definition, data_dir: pairs.build_pairs(definition),
        model=pairs.pair_model,
        example=np.zeros(3, np.int32),
        sites=transformer_sites(MAX_LAYERS),
    ),
    "image": KindOfChallenge(
        challenge=images.ImageChallenge,
        build=images.build_images,
        model=images.image_model,
        example=np.zeros((28, 28), np.uint8),
        sites=CNN_SITES,
    ),
    "triples": KindOfChallenge(
        challenge=triples.TripleChallenge,
        build=lambda definition, data_dir: triples.build_triples(definition),
        model=triples.triple_model,
        example=np.zeros(4, np.int32),
        sites=transformer_sites(MAX_LAYERS),
    ),
}
"""What programs label -> the challenges of that kind."""


@dataclass(frozen=True)
class Registration:
    """A published challenge; none of it needs the challenge's data."""

    kind: Kind
    load: Callable[[Path | None], Challenge]
    """Builds the challenge; takes the folder with its data."""
    model: nn.Module
    label_tables: Mapping[tuple[int, ...], slice]
    """Shape of a table of labels -> the rows of the domain that such a table covers."""
    published: Published


CHALLENGES = {
    "transformer": Registration(
        kind="pairs",
        load=lambda data_dir: pairs.load_pair_transformer(),
        model=Transformer(),
        label_tables=PairDomain(P).table_shapes,
        published=pairs.PUBLISHED,
    ),
    "cnn": Registration(
        kind="image",
        load=images.load_mnist_cnn,
        model=Cnn(),
        label_tables=image_tables(n_train=60_000, n_test=10_000),
        published=images.PUBLISHED,
    ),
}

NAMES = tuple(CHALLENGES)
"""Every published challenge's name."""


def registered(name: str) -> Registration:
    """Return what is known of a published challenge without its data.

    Raises:
      InputError: if there is no such challenge.
    """
    if name not in CHALLENGES:
        raise InputError(
            f"unknown challenge {name!r}; the challenges are: {', '.join(NAMES)}, or a folder that "
            "`jaxmi challenge make` made"
        )
    return CHALLENGES[name]


def load_challenge(name: str, data_dir: Path | None = None) -> Challenge:
    """Build a published challenge.

    Args:
      name: One of `NAMES`.
      data_dir: A folder with MNIST, for "cnn"; None looks in the cache, then downloads.

    Raises:
      InputError: if there is no such challenge, or the data folder cannot be used.
      UnavailableError: if MNIST cannot be had.
    """
    return registered(name).load(data_dir)


def build_challenge(definition: Definition, data_dir: Path | None = None) -> Challenge:
    """Build a challenge that a user made.

    Args:
      definition: What it is made of.
      data_dir: A folder with the images, for images; None looks where the definition says.

    Raises:
      InputError: if a part of the definition cannot be used.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    return KINDS[definition.kind].build(definition, data_dir)


@dataclass(frozen=True)
class Origin:
    """What a network was trained on, as far as is known without the challenge's data."""

    kind: Kind
    model: nn.Module
    """The network."""

    @property
    def model_config(self) -> dict[str, Any]:
        """The network's sizes, as JSON gives them back."""
        return sizes(self.model)

    @property
    def param_shapes(self) -> Params:
        """The shapes and types of the parameters."""
        return param_shapes(self.model, self.kind)


def origin(name: str, definition: Definition | None = None) -> Origin:
    """Return what a network was trained on.

    Args:
      name: The challenge's name.
      definition: What it was made of; None if it is a published challenge.

    Raises:
      InputError: if there is no published challenge of that name, or the definition's sizes cannot
        be used.
    """
    if definition is None:
        published = registered(name)
        return Origin(published.kind, published.model)
    return Origin(definition.kind, KINDS[definition.kind].model(definition))


@cache
def param_shapes(model: nn.Module, kind: Kind) -> Params:
    """Return the shapes and types of what `Challenge.init` draws, without a challenge's data."""
    return jax.eval_shape(model.init, jax.random.key(0), KINDS[kind].example)["params"]
