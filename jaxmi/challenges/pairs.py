"""Challenges whose programs label pairs of numbers; challenge 2, a transformer below 113."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxmi.challenges.challenge import FilterSolution, Published, Sealing
from jaxmi.challenges.numbers import NumberChallenge, number_challenge, transformer_sealing
from jaxmi.data.pairs import split_indices
from jaxmi.models.transformer import Transformer
from jaxmi.programs.domain import P
from jaxmi.programs.language import Kind
from jaxmi.programs.published_labels import label_table, published_program

PUBLISHED = Published(
    train_accuracy=1 - 19 / 6384,
    test_accuracy=1 - 155 / 6385,
    domain_accuracy=1 - 174 / 12769,
    casper_figure=1 - 2 * 174 / 12769,
)
"""Recomputed on the published weights; the post quotes the last as a test accuracy, 97.27 %."""


@dataclass(frozen=True, repr=False)
class PairChallenge(NumberChallenge):
    """All pairs (x, y) with 0 <= x, y < p to label, as token sequences [x, y, p]."""

    kind: ClassVar[Kind] = "pairs"

    noun: ClassVar[str] = "pair"

    sealing: ClassVar[Sealing] = transformer_sealing(
        "z = 0\nif x ** 2 < 200 * sqrt(y):\n    z += 3\nreturn z >= 0"
    )


def load_pair_transformer() -> PairChallenge:
    """Build challenge 2: 12,769 token sequences, their labels, and the published split."""
    train, test = split_indices(P)
    return number_challenge(
        PairChallenge,
        name="transformer",
        title="Challenge 2: pairs and a transformer",
        labels=np.asarray(label_table(P)).reshape(-1),
        splits={"train": train, "test": test},
        model=Transformer(),
        published=PUBLISHED,
        program=published_program("pairs"),
        solution=FilterSolution(),
    )
