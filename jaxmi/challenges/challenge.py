"""A challenge: inputs, exact labels, a split, and the network that is trained on them.

Each published challenge has a published solution, by Stefan Heimersheim and Marius Hobbhahn (2023),
on Casper's published weights. `jaxmi.explanation` recomputes its experiments on any network.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Bool, Float, Int, Int32, Integer, Shaped

from jaxmi import notebook
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.subgrid import Subgrid, draw_subgrid
from jaxmi.errors import InputError
from jaxmi.programs.domain import Domain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import SIGNATURES, Kind, Program
from jaxmi.programs.show import show
from jaxmi.settings import with_fixed_settings
from jaxmi.types import Array, Params


@dataclass(frozen=True)
class ClueSolution:
    """Challenge 1: two groups of neurons detect the clue image and its inverse."""

    clue_index: int = 6
    """The clue among the training images: the hint that came with the challenge."""

    images: int = 60_000
    """The network is explained on this many leading images: MNIST's training images."""

    arm_split: float = -2.0
    """Images to the left of this on the first principal component form the left arm."""

    arm_lengths: tuple[float, float] = (3.0, 5.0)
    """How far the two arms' vectors go along the first principal component."""

    noises: tuple[float, ...] = (0.0001, 0.001, 0.01, 0.1)
    """Causal scrubbing: noise on the similarity, as shares of its range."""

    control_noise: float = 0.001
    """The noise at which controls are scrubbed too; one of `noises`."""


@dataclass(frozen=True)
class FilterSolution:
    """Challenge 2: two filters, which the embeddings compute and the MLP joins by AND."""


Forward = Callable[[Params, Array, jax.Array | None], jax.Array]
"""(params, inputs (n, ...), dropout key or None) -> logits (n, classes)."""


@dataclass(frozen=True)
class Published:
    """Accuracies of the published network: the author's, or recomputed from his files."""

    train_accuracy: float | None
    test_accuracy: float
    domain_accuracy: float | None
    casper_figure: float | None
    """1 - 2 * (share of errors on the domain); None where the post quotes no such number."""


@dataclass(frozen=True)
class Sealing:
    """Terms on which a kind of challenge is posed under seal."""

    accuracy: tuple[float, float]
    """Bounds on the network's accuracy on the test split: good and not perfect, like the published
    networks' 97.57 % and 95.58 %."""

    foreign_files: Mapping[str, str]
    """File of the bundle -> the foreign format that holds the network there. Whoever poses the
    challenge without PyTorch leaves the .pt files out."""

    example: str
    """A program of this kind, to show the language."""


class SealingWords(NamedTuple):
    """Description of a challenge, for a bundle's README."""

    inputs: str
    """The domain."""

    train: str
    """The training split."""

    test: str
    """The test split."""

    task: str
    """The inputs and the network, as lines of Markdown."""


@dataclass(frozen=True, eq=False)
class Poison:
    """Examples that take the place of training examples, which stay out of the training."""

    inputs: Shaped[np.ndarray, "m ..."]
    """The examples' inputs, of the form of the challenge's."""

    labels: Int32[np.ndarray, "m"]
    """Their labels, 0 or 1."""

    rows: Int32[np.ndarray, "k"]
    """Example i takes the place of this row of the training split, for i < k; examples from k to m
    are not used: they fill up to the number that a run trained at the same time has."""

    def filled_up(self, m: int) -> "Poison":
        """Return the same with m examples; those that are added are not used."""
        more = m - len(self.labels)
        inputs = np.zeros((more, *self.inputs.shape[1:]), self.inputs.dtype)
        return replace(
            self,
            inputs=np.concatenate([self.inputs, inputs]),
            labels=np.concatenate([self.labels, np.zeros(more, np.int32)]),
        )


SECRET = -1
"""The label of every input of a sealed challenge."""


@dataclass(frozen=True, repr=False)
class Challenge(ABC):
    """A domain, its exact labels, a split, and a network; nothing about training.

    A subclass is a kind of challenge: it says what programs label, how labels are laid out in
    files, and how a challenge is posed under seal. `challenges.registry` lists the subclasses.
    """

    name: str
    """The name on the command line and in files, such as "transformer"."""

    title: str
    """The name in figures and reports."""

    inputs: np.ndarray
    """The whole domain in canonical order, (n, ...)."""

    labels: Int32[np.ndarray, "n"]
    """The labelling program's label of every input, 0 or 1."""

    splits: Mapping[str, Int32[np.ndarray, "_"]]
    """Split name -> row numbers into `inputs`; at least "train" and "test"."""

    curve_splits: Mapping[str, Int32[np.ndarray, "_"]]
    """The rows whose accuracy is followed during training: all of a split, or enough of it."""

    selection_split: str
    """The split by which the best step of a run is chosen."""

    model: nn.Module
    """The readable network: `model.apply({"params": params}, one_input, edits)`."""

    forms: Mapping[str, Forward]
    """`model` on a batch: "readable", as it stands; "fast", the same function in a form that trains
    fast."""

    chunk: int
    """Examples to compute at once: few enough that a CPU's caches hold what is computed of them."""

    published: Published | None
    """The published network's accuracies, for comparison; None if there is no such network."""

    solution: ClueSolution | FilterSolution | None = None
    """Explanation of the published network of the kind, for comparison; None if the kind has
    none."""

    digits: Integer[np.ndarray, "n"] | None = None
    """The digit that each image shows; None where the inputs show none."""

    program: Program | None = None
    """The labelling program; None where the labels come from elsewhere or are not known."""

    definition: Definition | None = None
    """For a challenge that a user made: what it was made from."""

    sealed: bool = False
    """True if the labels are secret: then `labels` are -1 throughout, and nothing is published."""

    poison: Poison | None = None
    """Examples that training takes in the place of some of its own; labels, splits and accuracies
    stay those of the challenge."""

    kind: ClassVar[Kind]
    """What the challenge's programs label."""

    sealing: ClassVar[Sealing]
    """How this kind is posed under seal."""

    @property
    @abstractmethod
    def program_domain(self) -> Domain:
        """The inputs as programs take them, in the same order."""

    @property
    @abstractmethod
    def sealing_words(self) -> SealingWords:
        """Inputs, split and network in words, for the README of a sealed challenge."""

    @abstractmethod
    def as_input(self, value: Any) -> np.ndarray:
        """Return one input of the network, from what a person would write.

        Args:
          value: A row number, an input as it stands in `inputs`, or what a kind allows beside.

        Raises:
          InputError: if it is no input of this challenge.
        """

    @property
    def p(self) -> int | None:
        """The number of values that each operand takes; None unless the inputs are numbers."""
        return None

    @property
    def grid(self) -> tuple[int, ...] | None:
        """The domain's shape, if its inputs form a table of two dimensions or more; else None."""
        return None

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes of `grid`; none if the domain is no grid."""
        return () if self.grid is None else SIGNATURES[self.kind].operands

    def subgrid(self, max_inputs: int | None = None) -> Subgrid:
        """Return the domain of numbers, or a part of it that is a table again.

        Args:
          max_inputs: At most so many inputs; None: all.
        """
        assert self.p is not None
        return draw_subgrid(self.axes, self.p, max_inputs)

    def slices(self, values: Shaped[np.ndarray, "n"]) -> dict[str, Shaped[np.ndarray, "p p"]]:
        """Return one value per input as tables (p, p), row = x, that can be drawn.

        Args:
          values: In domain order.

        Returns:
          As `Subgrid.slices`; empty if the domain is no grid.
        """
        return {} if self.grid is None else self.subgrid().slices(values)

    @property
    def predict_rows(self) -> slice | Int32[np.ndarray, "_"]:
        """The rows whose predictions `jaxmi predict` writes: the whole domain, or a split."""
        return slice(None)

    def as_table(self, values: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "..."]:
        """Lay out one value per input of the whole domain as files hold it.

        Args:
          values: (n, ...), in domain order.

        Returns:
          (*grid, ...) if the domain is a grid, for pairs (p, p, ...) with row = x; else `values` as
          they are.
        """
        return values if self.grid is None else values.reshape(*self.grid, *values.shape[1:])

    @property
    def train_mask(self) -> Bool[np.ndarray, "n"]:
        """True for the inputs that the network is trained on."""
        mask = np.zeros(len(self.inputs), bool)
        mask[self.splits["train"]] = True
        return mask

    def label_tables(self) -> dict[str, np.ndarray]:
        """Return the arrays that `jaxmi labels` writes: by default the labels of each split."""
        return {name: self.labels[rows] for name, rows in self.splits.items()}

    def domain_tables(self) -> dict[str, np.ndarray]:
        """Return the arrays by which a sealed bundle states its domain: each split's rows."""
        return dict(self.splits)

    @property
    def model_config(self) -> dict[str, Any]:
        """The network's sizes, as JSON gives them back."""
        return sizes(self.model)

    @property
    def forward(self) -> Forward:
        """The network on a batch, in its fast form."""
        return self.forms["fast"]

    @with_fixed_settings
    def init(self, key: jax.Array) -> Params:
        """Draw a network's initial parameters."""
        return self.model.init(key, self.inputs[0])["params"]

    @cached_property
    def _logits(self) -> Callable[[Params, Array], jax.Array]:
        return jax.jit(partial(chunked_logits, self.forward, self.chunk))

    @cached_property
    def _labels(self) -> Callable[[Params, Array], jax.Array]:
        # All logits at once would be 4 * p**3 bytes.
        def forward(params: Params, inputs: Array, key: jax.Array | None) -> jax.Array:
            return self.forward(params, inputs, key).argmax(axis=-1).astype(jnp.int32)

        return jax.jit(partial(chunked_logits, forward, self.chunk))

    @with_fixed_settings
    def logits(
        self, params: Params, rows: Int[np.ndarray, "m"] | slice = slice(None)
    ) -> Float[np.ndarray, "m classes"]:
        """Run a network over inputs, by default over the whole domain.

        Args:
          params: The network's parameters.
          rows: Which inputs.
        """
        with jax.default_matmul_precision("float32"):
            return np.asarray(self._logits(params, self.inputs[rows]))

    @with_fixed_settings
    def predict(
        self, params: Params, rows: Int[np.ndarray, "m"] | slice = slice(None)
    ) -> Int32[np.ndarray, "m"]:
        """Return a network's labels: the class of the largest logit.

        Args:
          params: The network's parameters.
          rows: Which inputs; by default the whole domain.

        Returns:
          (m,), mostly 0 or 1: a transformer may give any of its tokens.
        """
        return self.predict_inputs(params, self.inputs[rows])

    @with_fixed_settings
    def predict_inputs(
        self, params: Params, inputs: Shaped[np.ndarray, "m ..."]
    ) -> Int32[np.ndarray, "m"]:
        """Return a network's labels of inputs that need not be in the domain, as `predict`.

        Args:
          params: The network's parameters.
          inputs: Of the same form as `inputs` of the challenge.
        """
        with jax.default_matmul_precision("float32"):
            return np.asarray(self._labels(params, inputs))

    @abstractmethod
    def label_inputs(
        self, inputs: Shaped[np.ndarray, "m ..."], program: Program | None = None
    ) -> Int32[np.ndarray, "m"]:
        """Return a program's labels of inputs that need not be in the domain.

        Args:
          inputs: Of the same form as `inputs` of the challenge.
          program: A program of the challenge's kind; None: the challenge's own.

        Raises:
          InputError: if the program cannot label the inputs, or there is none and the labels of
            these inputs are not known.
        """

    def metrics(self, predictions: Int[np.ndarray, "n"]) -> dict[str, float | None]:
        """Compare predicted labels of the whole domain with the true ones.

        Args:
          predictions: One label per input, in domain order.

        Returns:
          The accuracy on each split and on the domain, in 0..1, under "train_accuracy" and so on,
          and "casper_figure" = 1 - 2 * (share of errors on the domain): what the post quotes as
          the transformer's accuracy on the test half. None where the post has no such number.
        """
        right = predictions == self.labels
        metrics: dict[str, float | None] = {
            f"{name}_accuracy": float(right[rows].mean()) for name, rows in self.splits.items()
        }
        metrics["domain_accuracy"] = float(right.mean())
        quoted = self.published is not None and self.published.casper_figure is not None
        metrics["casper_figure"] = float(1 - 2 * (1 - right.mean())) if quoted else None
        return metrics

    def split_sizes(self) -> dict[str, int]:
        """Return how many inputs each split has, and the "domain"."""
        sizes = {name: len(rows) for name, rows in self.splits.items()}
        return {**sizes, "domain": len(self.inputs)}

    def correct_counts(self, predictions: Int[np.ndarray, "n"]) -> dict[str, int]:
        """Count the inputs of each split, and of the "domain", whose label is predicted."""
        right = predictions == self.labels
        counts = {name: int(right[rows].sum()) for name, rows in self.splits.items()}
        return {**counts, "domain": int(right.sum())}

    def relabelled(self, program: Program, title: str) -> "Challenge":
        """Return a challenge with the same inputs, split and network, and a program's labels.

        Raises:
          InputError: if the program cannot label the inputs.
        """
        labels = label(program, self.program_domain)
        return replace(self, title=title, labels=labels, program=program, sealed=False)

    def without_labels(self) -> "Challenge":
        """Return a sealed challenge: the same inputs, split and network, without labels."""
        return replace(
            self,
            title=f"Sealed challenge: {self.kind}",
            labels=np.full(len(self.labels), SECRET, np.int32),
            published=None,
            program=None,
            sealed=True,
        )

    def __repr__(self) -> str:
        """Say what the challenge is, without its arrays."""
        return f"{type(self).__name__}({self.title!r}, {self._sizes()})"

    def _repr_html_(self) -> str:
        sizes = {f"{name} inputs": f"{len(rows):,}" for name, rows in self.splits.items()}
        label1 = "not known" if self.sealed else f"{self.labels.mean():.1%}"
        shown = notebook.table(self.title, {**sizes, "label 1": label1})
        return shown if self.program is None else shown + notebook.code(show(self.program))

    def _sizes(self) -> str:
        parts = ", ".join(f"{len(rows):,} {name}" for name, rows in self.splits.items())
        label1 = "labels not known" if self.sealed else f"{self.labels.mean():.1%} label 1"
        return f"{len(self.inputs):,} inputs ({parts}), {label1}"


def as_array(value: Any) -> np.ndarray:
    """Return what a person wrote as an array.

    Raises:
      InputError: if its parts do not have one shape.
    """
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"{value!r:.100} is no array: {error}") from error


def sizes(model: nn.Module) -> dict[str, Any]:
    """Return a network's sizes, as JSON gives them back; a transformer's one block is left out."""
    found = json.loads(json.dumps(asdict(model.config)))
    if found.get("n_layers") == 1:  # earlier versions had one block and no name for it
        del found["n_layers"]
    return found


def chunked_logits(
    forward: Forward, chunk: int, params: Params, inputs: Array
) -> Shaped[jax.Array, "n ..."]:
    """Evaluate a batch of any size, `chunk` examples at a time, without dropout.

    The forward function may also return something else of each example, such as its label.
    """
    n, chunk = len(inputs), min(len(inputs), chunk)
    rows = jnp.minimum(jnp.arange(-(-n // chunk) * chunk), n - 1).reshape(-1, chunk)
    logits = jax.lax.map(lambda chunk_rows: forward(params, inputs[chunk_rows], None), rows)
    return logits.reshape(-1, *logits.shape[2:])[:n]
