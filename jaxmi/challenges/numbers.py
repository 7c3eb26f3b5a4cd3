"""Challenges whose programs label numbers below p: all pairs, or all triples, and a transformer.

`pairs.py` and `triples.py` are the kinds; here is what they share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
import psutil
from jaxtyping import Int32

from jaxmi.challenges.challenge import SECRET, Challenge, Forward, Sealing, SealingWords, as_array
from jaxmi.challenges.definition import Definition, check_names, unpack
from jaxmi.data.pairs import all_tuples, split_indices, to_tokens
from jaxmi.errors import InputError
from jaxmi.models.transformer import Transformer, TransformerConfig
from jaxmi.models.transformer_fast import last_logits
from jaxmi.programs.domain import NUMBER_DOMAINS, NumberDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import SIGNATURES, Program
from jaxmi.types import Array, Params

MIN_P = 5
"""Least number of values of each operand: fewer leave next to nothing to train and test on."""

MEMORY_SHARE = 0.8
"""Share of the machine's memory that a challenge may need."""

_CHUNK, _CHUNK_WIDTH = 1600, 1024 + 128 + 114
"""Inputs to compute at once with the published network, and the numbers that each then needs."""


@dataclass(frozen=True, repr=False)
class NumberChallenge(Challenge):
    """All combinations of some operands, each below p, as token sequences that end in p."""

    noun: ClassVar[str]
    """Noun for one input: "pair", "triple"."""

    @classmethod
    def operands(cls) -> tuple[str, ...]:
        """Return the operands' names, in the order of the tokens."""
        return SIGNATURES[cls.kind].operands

    @property
    def sealing_words(self) -> SealingWords:
        """The inputs, the split and the transformer, in words."""
        assert isinstance(self.model, Transformer)
        c, p, n_train = self.model.config, self.p, len(self.splits["train"])
        half = n_train == len(self.inputs) // 2
        blocks = "one block" if c.n_layers == 1 else f"{c.n_layers} blocks"
        each = "" if c.n_layers == 1 else " a block"
        whose = "a transformer like that" if self.definition else "the transformer"
        names = ", ".join(self.operands())
        return SealingWords(
            inputs=f"{len(self.inputs):,} {self.noun}s of numbers",
            train="one half of them" if half else f"{n_train:,} of them",
            test="the other half" if half else "the others",
            task=(
                f"- Inputs: all {self.noun}s ({names}) of whole numbers with 0 <= {names} < {p}, "
                f"as token sequences [{names}, {p}].\n"
                f"- Network: {whose} of Casper's second challenge: {blocks}, width {c.d_model}, "
                f"{c.n_heads} heads of {c.d_head}, causal mask, scores divided\n"
                f"  by {c.d_head**0.5:.4g}, {c.d_mlp:,} ReLU neurons{each} with biases, no other "
                "bias, no layer norm. It predicts the token, 0 or 1, that has the\n"
                "  largest logit at the last position."
            ),
        )

    @property
    def p(self) -> int:
        """The number of values that each operand takes: the last token of every sequence."""
        return int(self.inputs[0, -1])

    @property
    def program_domain(self) -> NumberDomain:
        """All inputs, in the order of `inputs`."""
        return NUMBER_DOMAINS[self.kind](self.p)

    def as_input(self, value: Any) -> np.ndarray:
        """Return a token sequence, int32.

        Args:
          value: The operands, such as [x, y]; a sequence, such as [x, y, p]; or a row number, such
            as x * p + y.

        Raises:
          InputError: if it is none of these.
        """
        tokens, n = as_array(value), len(self.operands())
        names = ", ".join(self.operands())
        expected = f"expected [{names}] with 0 <= {names} < {self.p}, or a row number"
        if tokens.dtype.kind not in "iu":
            raise InputError(f"{value!r}: {expected}")
        if tokens.shape == () and 0 <= tokens < len(self.inputs):
            return self.inputs[int(tokens)]
        if tokens.shape == (n + 1,) and tokens[n] == self.p:
            tokens = tokens[:n]
        if tokens.shape != (n,) or tokens.min() < 0 or tokens.max() >= self.p:
            raise InputError(f"{value!r}: {expected}")
        return to_tokens(tokens[None].astype(np.int32), self.p)[0]

    def label_inputs(
        self, inputs: Int32[np.ndarray, "m tokens"], program: Program | None = None
    ) -> Int32[np.ndarray, "m"]:
        """Return the labels of token sequences, each of which is in the domain."""
        labels = self.labels if program is None else label(program, self.program_domain)
        return labels[np.ravel_multi_index(tuple(inputs[:, :-1].T), self.grid)]

    @property
    def grid(self) -> tuple[int, ...]:
        """(p, p) for pairs, row = x; one axis per operand."""
        return (self.p,) * len(self.operands())

    def label_tables(self) -> dict[str, np.ndarray]:
        """Return labels, int32, and is_train, bool, each in the shape of `grid`."""
        return {"labels": self.as_table(self.labels), "is_train": self.is_train}

    def domain_tables(self) -> dict[str, np.ndarray]:
        """Return the token sequences, and each split's rows."""
        return {"inputs": self.inputs, **self.splits}

    @property
    def is_train(self) -> np.ndarray:
        """A bool for each input, in the shape of `grid`: whether the network is trained on it."""
        return self.as_table(self.train_mask)


Kind = TypeVar("Kind", bound=NumberChallenge)


def transformer_sealing(example: str) -> Sealing:
    """Return how challenges on numbers are posed under seal.

    Args:
      example: A program of the kind.
    """
    return Sealing(
        accuracy=(0.95, 0.995),
        foreign_files={
            "network.safetensors": "safetensors",
            "transformer_lens.safetensors": "transformer-lens",
            "transformer_lens_4.safetensors": "transformer-lens-4",
            "network.pt": "casper",
            "transformer_lens.pt": "transformer-lens",
        },
        example=example,
    )


def build_numbers(kind: type[Kind], definition: Definition, **about: Any) -> Kind:
    """Build a challenge that a user made, on all combinations of operands below p.

    Args:
      kind: The class of the challenge.
      definition: What it is made of.
      **about: Further fields of the class.

    Raises:
      InputError: if a number cannot be used, or the program fails on an input.
    """
    model, domain = number_model(kind, definition), _domain(kind, definition)
    n = domain.p ** len(domain.operands)
    if definition.program is not None:
        labels = label(definition.program, domain)
    elif definition.sealed:
        labels = np.full(n, SECRET, np.int32)
    else:
        labels = unpack(definition.labels, n, "labels").astype(np.int32)
    return number_challenge(
        kind,
        name=definition.name,
        title=definition.title,
        labels=labels,
        splits=_splits(kind, domain, definition.split),
        model=model,
        published=None,
        program=definition.program,
        definition=definition,
        sealed=definition.sealed,
        **about,
    )


def number_model(kind: type[NumberChallenge], definition: Definition) -> Transformer:
    """Return the network of a challenge on numbers; nothing large is computed.

    Raises:
      InputError: if p or a size cannot be used; the message of a p that is too large names the
        memory that it would take.
    """
    sizes, domain = definition.network, _domain(kind, definition)
    check_names(sizes, ("d_model", "n_heads", "d_head", "d_mlp", "n_layers"), "a transformer")
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise InputError(f"{name} = {size!r}: expected a whole number, at least 1")
    width, heads = (sizes.get(n, getattr(TransformerConfig, n)) for n in ("d_model", "n_heads"))
    if "d_head" not in sizes and width % heads:
        raise InputError(f"n_heads = {heads} does not divide d_model = {width}; give d_head, too")
    d_head, p, n_operands = sizes.get("d_head", width // heads), domain.p, len(domain.operands)
    config = {"d_vocab": p + 1, "n_ctx": n_operands + 1, **sizes, "d_head": d_head}
    model = Transformer(TransformerConfig(**config))
    n_parameters = _n_parameters(model.config)
    # Tokens, labels, splits, and what a program's values take; and all logits, once.
    needed = p**n_operands * (120 + 4 * (p + 1)) + 40 * n_parameters
    available = psutil.virtual_memory().total
    if needed > MEMORY_SHARE * available:
        raise InputError(
            f"p = {p} with {n_parameters:,} parameters needs about {needed / 1e9:,.0f} GB of "
            f"memory; this machine has {available / 1e9:,.0f} GB"
        )
    return model


def _n_parameters(c: TransformerConfig) -> int:
    block = 4 * c.n_heads * c.d_head * c.d_model + 2 * c.d_model * c.d_mlp + c.d_mlp + c.d_model
    return (2 * c.d_vocab + c.n_ctx) * c.d_model + c.n_layers * block


def _domain(kind: type[NumberChallenge], definition: Definition) -> NumberDomain:
    check_names(definition.domain, ("p",), f"a domain of {kind.noun}s")
    domain = NUMBER_DOMAINS[kind.kind]
    p = definition.domain.get("p", domain().p)
    if type(p) is not int or p < MIN_P:
        raise InputError(f"p = {p!r}: expected a whole number, at least {MIN_P}")
    return domain(p)


def _splits(
    kind: type[NumberChallenge], domain: NumberDomain, split: Mapping[str, Any]
) -> Mapping[str, Int32[np.ndarray, "_"]]:
    p, n = domain.p, len(domain.operands)
    if "train" not in split:
        train, test = split_indices(p, split.get("train_share", 0.5), split.get("seed", 0), n)
    else:
        chosen = unpack(split["train"], p**n, "split")
        train, test = (np.flatnonzero(rows).astype(np.int32) for rows in (chosen, ~chosen))
    for name, rows in {"train": train, "test": test}.items():
        if not len(rows):
            raise InputError(f"the split leaves no {kind.noun} to {name} on")
    return {"train": train, "test": test}


def number_challenge(
    kind: type[Kind],
    *,
    name: str,
    title: str,
    labels: Int32[np.ndarray, "n"],
    splits: Mapping[str, Int32[np.ndarray, "_"]],
    model: Transformer,
    **about: Any,
) -> Kind:
    """Return a challenge on numbers; the arguments are fields of `Challenge`."""
    config = model.config
    p, width = config.d_vocab - 1, config.d_mlp + config.d_model + config.d_vocab
    return kind(
        name=name,
        title=title,
        inputs=to_tokens(all_tuples(p, len(kind.operands())), p),
        labels=labels,
        splits=splits,
        curve_splits=splits,
        selection_split="test",
        model=model,
        forms=forms(model),
        chunk=max(64, _CHUNK * _CHUNK_WIDTH // width),
        **about,
    )


def forms(model: Transformer) -> Mapping[str, Forward]:
    """Return the network's forms on a batch; both compute the logits at the last position."""

    def readable(params: Params, tokens: Array, dropout_key: jax.Array | None) -> jax.Array:
        del dropout_key
        return jax.vmap(lambda sequence: model.apply({"params": params}, sequence)[0][-1])(tokens)

    return {"fast": _fast, "readable": readable}


def _fast(params: Params, tokens: Array, dropout_key: jax.Array | None) -> jax.Array:
    del dropout_key  # this network has no dropout
    return last_logits(params, tokens)
