"""Challenges whose programs label pairs of numbers; challenge 2, a transformer below 113."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Int32

from jaxmi.challenges.challenge import (
    SECRET,
    Challenge,
    FilterSolution,
    Forward,
    Published,
    Sealing,
    SealingWords,
)
from jaxmi.challenges.definition import Definition, check_names, unpack
from jaxmi.data.pairs import all_pairs, is_train_table, split_indices, to_tokens
from jaxmi.errors import InputError
from jaxmi.models.transformer import Transformer, TransformerConfig
from jaxmi.models.transformer_fast import last_logits
from jaxmi.programs.domain import P, PairDomain
from jaxmi.programs.evaluate import label
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

MIN_P = 5
"""Least number of values of x and y: fewer leave next to nothing to train and test on."""

MEMORY_SHARE = 0.8
"""Share of the machine's memory that a challenge may need."""

_CHUNK, _CHUNK_WIDTH = 1600, 1024 + 128 + 114
"""Pairs to compute at once with the published network, and the numbers that each then needs."""


@dataclass(frozen=True, repr=False)
class PairChallenge(Challenge):
    """All pairs (x, y) with 0 <= x, y < p to label, as token sequences [x, y, p]."""

    kind: ClassVar[Kind] = "pairs"

    sealing: ClassVar[Sealing] = Sealing(
        accuracy=(0.95, 0.995),
        foreign_files={"network.pt": "casper", "transformer_lens.pt": "transformer-lens"},
        example="z = 0\nif x ** 2 < 200 * sqrt(y):\n    z += 3\nreturn z >= 0",
    )

    @property
    def sealing_words(self) -> SealingWords:
        """The pairs, the split and the transformer, in words."""
        assert isinstance(self.model, Transformer)
        c, p, n_train = self.model.config, self.p, len(self.splits["train"])
        half = n_train == len(self.inputs) // 2
        blocks = "one block" if c.n_layers == 1 else f"{c.n_layers} blocks"
        each = "" if c.n_layers == 1 else " a block"
        whose = "a transformer like that" if self.definition else "the transformer"
        return SealingWords(
            inputs=f"{len(self.inputs):,} pairs of numbers",
            train="one half of them" if half else f"{n_train:,} of them",
            test="the other half" if half else "the others",
            task=(
                f"- Inputs: all pairs (x, y) of whole numbers with 0 <= x, y < {p}, as token "
                f"sequences [x, y, {p}].\n"
                f"- Network: {whose} of Casper's second challenge: {blocks}, width {c.d_model}, "
                f"{c.n_heads} heads of {c.d_head}, causal mask, scores divided\n"
                f"  by {c.d_head**0.5:.4g}, {c.d_mlp:,} ReLU neurons{each} with biases, no other "
                "bias, no layer norm. It predicts the token, 0 or 1, that has the\n"
                "  largest logit at the last position."
            ),
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
    return _pair_challenge(
        name="transformer",
        title="Challenge 2: pairs and a transformer",
        labels=np.asarray(label_table(P)).reshape(-1),
        splits={"train": train, "test": test},
        model=Transformer(),
        published=PUBLISHED,
        program=published_program("pairs"),
    )


def build_pairs(definition: Definition) -> PairChallenge:
    """Build a challenge on all pairs below p, which need not be 113.

    Raises:
      InputError: if a number cannot be used, or the program fails on a pair.
    """
    model, p = pair_model(definition), _p(definition)
    if definition.program is not None:
        labels = label(definition.program, PairDomain(p))
    elif definition.sealed:
        labels = np.full(p * p, SECRET, np.int32)
    else:
        labels = unpack(definition.labels, p * p, "labels").astype(np.int32)
    return _pair_challenge(
        name=definition.name,
        title=definition.title,
        labels=labels,
        splits=_splits(p, definition.split),
        model=model,
        published=None,
        program=definition.program,
        definition=definition,
        sealed=definition.sealed,
    )


def pair_model(definition: Definition) -> Transformer:
    """Return the network of a challenge on pairs; nothing large is computed.

    Raises:
      InputError: if p or a size cannot be used; the message of a p that is too large names the
        memory that it would take.
    """
    sizes, p = definition.network, _p(definition)
    check_names(sizes, ("d_model", "n_heads", "d_head", "d_mlp", "n_layers"), "a transformer")
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise InputError(f"{name} = {size!r}: expected a whole number, at least 1")
    width, heads = (sizes.get(n, getattr(TransformerConfig, n)) for n in ("d_model", "n_heads"))
    if "d_head" not in sizes and width % heads:
        raise InputError(f"n_heads = {heads} does not divide d_model = {width}; give d_head, too")
    d_head = sizes.get("d_head", width // heads)
    model = Transformer(TransformerConfig(**{"d_vocab": p + 1, **sizes, "d_head": d_head}))
    n_parameters = _n_parameters(model.config)
    # Tokens, labels, splits, and what a program's values take; and all logits, once.
    needed = p * p * (120 + 4 * (p + 1)) + 40 * n_parameters
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > MEMORY_SHARE * available:
        raise InputError(
            f"p = {p} with {n_parameters:,} parameters needs about {needed / 1e9:,.0f} GB of "
            f"memory; this machine has {available / 1e9:,.0f} GB"
        )
    return model


def _n_parameters(c: TransformerConfig) -> int:
    block = 4 * c.n_heads * c.d_head * c.d_model + 2 * c.d_model * c.d_mlp + c.d_mlp + c.d_model
    return (2 * c.d_vocab + c.n_ctx) * c.d_model + c.n_layers * block


def _p(definition: Definition) -> int:
    check_names(definition.domain, ("p",), "a domain of pairs")
    p = definition.domain.get("p", P)
    if type(p) is not int or p < MIN_P:
        raise InputError(f"p = {p!r}: expected a whole number, at least {MIN_P}")
    return p


def _splits(p: int, split: Mapping[str, Any]) -> Mapping[str, Int32[np.ndarray, "_"]]:
    if "train" not in split:
        train, test = split_indices(p, split.get("train_share", 0.5), split.get("seed", 0))
    else:
        chosen = unpack(split["train"], p * p, "split")
        train, test = (np.flatnonzero(rows).astype(np.int32) for rows in (chosen, ~chosen))
    for name, rows in {"train": train, "test": test}.items():
        if not len(rows):
            raise InputError(f"the split leaves no pair to {name} on")
    return {"train": train, "test": test}


def _pair_challenge(
    *,
    name: str,
    title: str,
    labels: Int32[np.ndarray, "n"],
    splits: Mapping[str, Int32[np.ndarray, "_"]],
    model: Transformer,
    **about: Any,
) -> PairChallenge:
    config = model.config
    p, width = config.d_vocab - 1, config.d_mlp + config.d_model + config.d_vocab
    return PairChallenge(
        name=name,
        title=title,
        inputs=to_tokens(all_pairs(p), p),
        labels=labels,
        splits=splits,
        curve_splits=splits,
        selection_split="test",
        model=model,
        forms=_forms(model),
        chunk=max(64, _CHUNK * _CHUNK_WIDTH // width),
        solution=FilterSolution(),
        **about,
    )


def _forms(model: Transformer) -> Mapping[str, Forward]:
    def readable(params: Params, tokens: Array, dropout_key: jax.Array | None) -> jax.Array:
        del dropout_key
        return jax.vmap(lambda sequence: model.apply({"params": params}, sequence)[0][-1])(tokens)

    return {"fast": _fast, "readable": readable}
