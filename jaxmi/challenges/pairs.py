"""Challenges whose programs label pairs of numbers; challenge 2, a transformer below 113."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from jaxmi.challenges.challenge import Challenge, FilterSolution, Published, Sealing
from jaxmi.data.pairs import all_pairs, is_train_table, split_indices, to_tokens
from jaxmi.errors import InputError
from jaxmi.models.transformer import Transformer
from jaxmi.models.transformer_fast import last_logits
from jaxmi.programs.domain import P, PairDomain
from jaxmi.programs.language import Kind
from jaxmi.programs.published_labels import label_table, published_program
from jaxmi.types import Array, Params

PUBLISHED = Published(
    train_accuracy=1 - 19 / 6384,
    test_accuracy=1 - 155 / 6385,
    domain_accuracy=1 - 174 / 12769,
    casper_figure=1 - 2 * 174 / 12769,
)
"""Recomputed on the published weights; the post quotes the last as a test accuracy, 97.27 %."""


@dataclass(frozen=True, repr=False)
class PairChallenge(Challenge):
    """All pairs (x, y) with 0 <= x, y < p to label, as token sequences [x, y, p]."""

    kind: ClassVar[Kind] = "pairs"

    sealing: ClassVar[Sealing] = Sealing(
        accuracy=(0.95, 0.995),
        foreign_files={"network.pt": "casper", "transformer_lens.pt": "transformer-lens"},
        inputs="12,769 pairs of numbers",
        train="one half of them",
        test="the other half",
        task=(
            "- Inputs: all pairs (x, y) of whole numbers with 0 <= x, y < {p}, as token sequences "
            "[x, y, {p}].\n"
            "- Network: the transformer of Casper's second challenge: one block, width 128, 8 "
            "heads of 16, causal mask, scores divided\n"
            "  by 4, 1,024 ReLU neurons with biases, no other bias, no layer norm. It predicts the "
            "token, 0 or 1, that has the\n"
            "  largest logit at the last position."
        ),
        example="z = 0\nif x ** 2 < 200 * sqrt(y):\n    z += 3\nreturn z >= 0",
    )

    @property
    def p(self) -> int:
        """The number of values that x and y take: the last token of every sequence."""
        return int(self.inputs[0, -1])

    @property
    def program_domain(self) -> PairDomain:
        """All pairs, row by row."""
        return PairDomain(self.p)

    def as_input(self, value: Any) -> np.ndarray:
        """Return a token sequence (3,), int32.

        Args:
          value: A pair [x, y], a sequence [x, y, p], or a row number x * p + y.

        Raises:
          InputError: if it is none of these.
        """
        tokens = np.asarray(value)
        expected = f"expected [x, y] with 0 <= x, y < {self.p}, or a row number"
        if tokens.dtype.kind not in "iu":
            raise InputError(f"{value!r}: {expected}")
        if tokens.shape == () and 0 <= tokens < len(self.inputs):
            return self.inputs[int(tokens)]
        if tokens.shape == (3,) and tokens[2] == self.p:
            tokens = tokens[:2]
        if tokens.shape != (2,) or tokens.min() < 0 or tokens.max() >= self.p:
            raise InputError(f"{value!r}: {expected}")
        return to_tokens(tokens[None].astype(np.int32), self.p)[0]

    @property
    def grid(self) -> tuple[int, int]:
        """(p, p), row = x."""
        return self.p, self.p

    def label_tables(self) -> dict[str, np.ndarray]:
        """Return labels (p, p) int32 and is_train (p, p) bool, row = x."""
        return {"labels": self.as_table(self.labels), "is_train": self.is_train}

    def domain_tables(self) -> dict[str, np.ndarray]:
        """Return the token sequences (p * p, 3), and each split's rows."""
        return {"inputs": self.inputs, **self.splits}

    @property
    def is_train(self) -> np.ndarray:
        """(p, p) bool, row = x: which pairs the network is trained on."""
        return is_train_table(self.p, self.splits["train"])


def _fast(params: Params, tokens: Array, dropout_key: jax.Array | None) -> jax.Array:
    del dropout_key  # this network has no dropout
    return last_logits(params, tokens)


def load_pair_transformer() -> PairChallenge:
    """Build challenge 2: 12,769 token sequences, their labels, and the published split."""
    train, test = split_indices(P)
    model = Transformer()

    def readable(params: Params, tokens: Array, dropout_key: jax.Array | None) -> jax.Array:
        del dropout_key
        return jax.vmap(lambda sequence: model.apply({"params": params}, sequence)[0][-1])(tokens)

    return PairChallenge(
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
        program=published_program("pairs"),
    )
