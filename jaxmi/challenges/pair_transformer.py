"""Challenge 2: a transformer that labels pairs of numbers below 113."""

import jax
import numpy as np

from jaxmi.challenges.challenge import Challenge, FilterSolution, Published
from jaxmi.data.pairs import all_pairs, split_indices, to_tokens
from jaxmi.models.transformer import Transformer
from jaxmi.models.transformer_fast import last_logits
from jaxmi.programs.domain import P
from jaxmi.programs.published_labels import label_table
from jaxmi.types import Array, Params

PUBLISHED = Published(
    train_accuracy=1 - 19 / 6384,
    test_accuracy=1 - 155 / 6385,
    domain_accuracy=1 - 174 / 12769,
    casper_figure=1 - 2 * 174 / 12769,
)
"""Recomputed on the published weights; the post quotes the last as a test accuracy, 97.27 %."""


def _fast(params: Params, tokens: Array, dropout_key: jax.Array | None) -> jax.Array:
    del dropout_key  # this network has no dropout
    return last_logits(params, tokens)


def load_pair_transformer() -> Challenge:
    """Builds challenge 2: 12,769 token sequences, their labels, and the published split."""
    train, test = split_indices(P)
    model = Transformer()

    def readable(params: Params, tokens: Array, dropout_key: jax.Array | None) -> jax.Array:
        del dropout_key
        return jax.vmap(lambda one: model.apply({"params": params}, one)[0][-1])(tokens)

    return Challenge(
        name="transformer",
        title="Challenge 2: pairs and a transformer",
        inputs=to_tokens(all_pairs(P), P),
        labels=np.asarray(label_table(P)).reshape(-1),
        splits={"train": train, "test": test},
        curve_splits={"train": train, "test": test},
        selection_split="test",
        model=model,
        forms={"fast": _fast, "readable": readable},
        chunk=1600,
        published=PUBLISHED,
        solution=FilterSolution(),
    )
