"""A challenge: inputs, exact labels, a split, and the network that is trained on them.

The published solutions: how each looked into its network, and the figures it found there.

Both by Stefan Heimersheim and Marius Hobbhahn (2023), on Casper's published weights. What they say
of a network is recomputed by `jaxmi.explanation`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, Int, Int32

from jaxmi.types import Array, Params


@dataclass(frozen=True)
class ClueSolution:
    """Challenge 1: two groups of neurons detect the clue image and its inverse."""

    clue_index: int = 6
    """The clue among the training images: the hint that came with the challenge."""

    images: int = 60_000
    """The network is looked at on the first so many images: MNIST's training images."""

    arm_split: float = -2.0
    """Images to the left of this on the first principal component form the left arm."""

    arm_lengths: tuple[float, float] = (3.0, 5.0)
    """How far the two arms' vectors go along the first principal component."""

    noises: tuple[float, ...] = (0.0001, 0.001, 0.01, 0.1)
    """Causal scrubbing: noise on the similarity, as shares of its range."""

    control_noise: float = 0.001
    """The noise at which controls are scrubbed too; one of `noises`."""

    figures: Mapping[str, float] = field(
        default_factory=lambda: {
            "pca_variance_1": 0.602,
            "pca_variance_2": 0.290,
            "similarity_band_agreement": 0.9625,
            "l1_band_agreement": 0.9624,
            "logit_diff_median": 0.38,
            "logit_diff_mean": 3.44,
            "zero_anti1_median": -0.64,
            "zero_anti1_mean": 4.07,
            "zero_one_median": -4.08,
            "zero_one_mean": -1.03,
            "zero_both_median": -0.40,
            "zero_both_mean": -0.40,
            "kept_anti1half_min_anti1": 0.48,
            "kept_anti1half_min_one": 0.99,
            "kept_anti1half_min_both": 0.48,
            "kept_onehalf_min_anti1": 0.94,
            "kept_onehalf_min_one": 0.48,
            "kept_onehalf_min_both": 0.48,
            "scrub_0.0001": 0.95,
            "scrub_0.001": 0.95,
            "scrub_0.01": 0.93,
            "scrub_0.1": 0.64,
            "scrub_random": 0.50,
            "scrub_random_groups": 0.946,
            "armwise_true": 0.94,
            "armwise_random_mean": 0.75,
            "armwise_swapped": 0.50,
            "recovered_clue_index": 6,
            "recovered_template_correlation": 0.87,
            "recovered_template_agreement": 0.960,
            "recovered_band_agreement": 0.962,
            "recovered_l1_agreement": 0.962,
        }
    )
    """On the published network, shares in 0..1. The published solution's own figures, but for the
    L1 band, the arm-wise scrub, the random groups and the clue found without the hint, which were
    recomputed on the published weights."""


@dataclass(frozen=True)
class FilterSolution:
    """Challenge 2: two filters, which the embeddings compute and the MLP joins by AND."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """None: the published percentages are drawn into pictures and quoted nowhere."""


Forward = Callable[[Params, Array, jax.Array | None], jax.Array]
"""(params, inputs (n, ...), dropout key or None) -> logits (n, classes)."""


@dataclass(frozen=True)
class Published:
    """What the author, or a recomputation on his files, reports of the published network."""

    train_accuracy: float | None
    test_accuracy: float
    domain_accuracy: float | None
    casper_figure: float | None


@dataclass(frozen=True)
class Challenge:
    """Everything that defines a challenge; nothing about how a network for it is trained."""

    name: str
    """"transformer" or "cnn"."""

    title: str
    """What a figure's heading calls it."""

    inputs: np.ndarray
    """The whole domain in canonical order, (n, ...)."""

    labels: Int32[np.ndarray, "n"]
    """The labelling program's output on every input, 0 or 1."""

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

    published: Published
    """Figures of the published network, to be compared with."""

    solution: ClueSolution | FilterSolution
    """How the published network was explained, to be compared with."""

    @property
    def model_config(self) -> dict[str, Any]:
        """The network's sizes, as JSON gives them back."""
        return sizes(self.model)

    @property
    def forward(self) -> Forward:
        """The network on a batch, in its fast form."""
        return self.forms["fast"]

    def init(self, key: jax.Array) -> Params:
        """Draws a network's initial parameters."""
        return self.model.init(key, self.inputs[0])["params"]

    @cached_property
    def _logits(self) -> Callable[[Params, Array], jax.Array]:
        return jax.jit(partial(chunked_logits, self.forward, self.chunk))

    def logits(
        self, params: Params, rows: Int[np.ndarray, "m"] | slice = slice(None)
    ) -> Float[np.ndarray, "m classes"]:
        """Runs a network over inputs, the whole domain by default.

        Args:
          params: The network's parameters.
          rows: Which inputs.
        """
        with jax.default_matmul_precision("float32"):
            return np.asarray(self._logits(params, self.inputs[rows]))

    def metrics(self, predictions: Int[np.ndarray, "n"]) -> dict[str, float | None]:
        """Compares predicted labels of the whole domain with the true ones.

        Args:
          predictions: One label per input, in domain order.

        Returns:
          The accuracy on each split and on the domain, in 0..1, under "train_accuracy" and so on,
          and "casper_figure" = 1 - 2 * (share of errors on the domain): what the post quotes as
          the transformer's accuracy on the test half. None where the post has no such figure.
        """
        right = predictions == self.labels
        metrics: dict[str, float | None] = {
            f"{name}_accuracy": float(right[rows].mean()) for name, rows in self.splits.items()
        }
        metrics["domain_accuracy"] = float(right.mean())
        quoted = self.published.casper_figure is not None
        metrics["casper_figure"] = float(1 - 2 * (1 - right.mean())) if quoted else None
        return metrics


def sizes(model: nn.Module) -> dict[str, Any]:
    """Returns a network's sizes, as JSON gives them back."""
    return json.loads(json.dumps(asdict(model.config)))


def chunked_logits(
    forward: Forward, chunk: int, params: Params, inputs: Array
) -> Float[jax.Array, "n classes"]:
    """Evaluates a batch of any size, `chunk` examples at a time, without dropout."""
    n, chunk = len(inputs), min(len(inputs), chunk)
    rows = jnp.minimum(jnp.arange(-(-n // chunk) * chunk), n - 1).reshape(-1, chunk)
    logits = jax.lax.map(lambda chunk_rows: forward(params, inputs[chunk_rows], None), rows)
    return logits.reshape(-1, logits.shape[-1])[:n]
