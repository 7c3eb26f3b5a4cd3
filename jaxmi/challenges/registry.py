"""The published challenges by name, and the kinds of challenge.

To add a kind of challenge, write a subclass of `Challenge` in a file of this folder, with the
functions that build one from a `Definition`, and register it in `KINDS` below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxmi.challenges import images, pairs, triples
from jaxmi.challenges.challenge import Challenge, FilterSolution, Published, sizes
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.numbers import NumberChallenge, build_numbers, number_model
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path
from jaxmi.models.cnn import SITES as CNN_SITES
from jaxmi.models.cnn import Cnn
from jaxmi.models.transformer import MAX_LAYERS, Transformer
from jaxmi.models.transformer import sites as transformer_sites
from jaxmi.programs.domain import P, PairDomain, image_tables
from jaxmi.programs.language import Kind
from jaxmi.settings import with_fixed_settings
from jaxmi.types import Params


@dataclass(frozen=True)
class KindOfChallenge:
    """A kind of challenge: its class, and what all of its challenges share."""

    challenge: type[Challenge]
    build: Callable[[Definition, Path | None], Challenge]
    """Builds a challenge that a user made; takes the folder with its data."""
    model: Callable[[Definition], nn.Module]
    """Returns the network of a challenge that a user made."""
    example: np.ndarray
    """An input of the right shape, for a network of any size."""
    sites: Mapping[str, tuple[str, ...]]
    """Site of the largest network -> names of its axes."""


def _kind_of_numbers(kind: type[NumberChallenge], **about: Any) -> KindOfChallenge:
    return KindOfChallenge(
        challenge=kind,
        build=lambda definition, data_dir: build_numbers(kind, definition, **about),
        model=partial(number_model, kind),
        example=np.zeros(len(kind.operands()) + 1, np.int32),
        sites=transformer_sites(MAX_LAYERS),
    )


KINDS: Mapping[Kind, KindOfChallenge] = {
    "pairs": _kind_of_numbers(pairs.PairChallenge, solution=FilterSolution()),
    "image": KindOfChallenge(
        challenge=images.ImageChallenge,
        build=images.build_images,
        model=images.image_model,
        example=np.zeros((28, 28), np.uint8),
        sites=CNN_SITES,
    ),
    "triples": _kind_of_numbers(triples.TripleChallenge),
}
"""Kind -> the class of its challenges, and how they are built."""


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


@takes_any_path
def load_challenge(challenge: str | Definition, data_dir: Path | None = None) -> Challenge:
    """Build a challenge.

    Args:
      challenge: One of `NAMES`, or the definition of a challenge that a user made.
      data_dir: A folder with the images, for images; None looks where the definition says, for
        MNIST in the cache, then downloads.

    Raises:
      InputError: if there is no such challenge, a part of the definition cannot be used, or the
        data folder cannot.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if isinstance(challenge, Definition):
        return KINDS[challenge.kind].build(challenge, data_dir)
    return registered(challenge).load(data_dir)


def name_of(challenge: str | Definition) -> str:
    """Return a challenge's name."""
    return challenge if isinstance(challenge, str) else challenge.name


@dataclass(frozen=True)
class Origin:
    """The origin of a network: its challenge's kind and model, known without the data."""

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


def origin(challenge: str | Definition) -> Origin:
    """Return the kind and the network of a challenge.

    Args:
      challenge: As in `load_challenge`.

    Raises:
      InputError: if there is no published challenge of that name, or the definition's sizes cannot
        be used.
    """
    if isinstance(challenge, Definition):
        return Origin(challenge.kind, KINDS[challenge.kind].model(challenge))
    published = registered(challenge)
    return Origin(published.kind, published.model)


@cache
@with_fixed_settings
def param_shapes(model: nn.Module, kind: Kind) -> Params:
    """Return the shapes and types of what `Challenge.init` draws, without a challenge's data."""
    return jax.eval_shape(model.init, jax.random.key(0), KINDS[kind].example)["params"]
