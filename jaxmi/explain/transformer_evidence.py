"""Evidence that two filters in a plane of the residual stream decide, and that it could fail.

The published solution's experiments on a network like challenge 2's. The network runs as it is
("full") or with every head's attention at the last position set to its mean ("fixed"); either way
the residual stream before the MLP, at the last position, is projected on two directions, and two
half-planes there, alpha and beta, are asked whether their AND is the network's answer.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.explain.arms import AndBoundary, fit_and_boundary
from jaxmi.explain.directions import Pca, linear_probe, pca
from jaxmi.explain.edits import at, patch
from jaxmi.explain.network import Network
from jaxmi.explain.scrub import difference
from jaxmi.models.sites import Sites
from jaxmi.models.transformer import SITES, Mlp, Transformer, TransformerConfig
from jaxmi.types import Array, Params

PATTERN = "blocks.0.attn.hook_pattern"
RESID_MID = "blocks.0.hook_resid_mid"
LAST = -1
"""The position that answers."""


@dataclass(frozen=True)
class Stream:
    """One way to run a network: its residual stream before the MLP, and what it answers."""

    resid_mid: Float[np.ndarray, "n d_model"]
    """At the last position."""
    logits: Float[np.ndarray, "n 2"]
    """Of the tokens 0 and 1: no other is ever right."""

    @property
    def labels(self) -> Int[np.ndarray, "n"]:
        """1 where logit 1 exceeds logit 0."""
        return self.logits.argmax(axis=-1)


class Attention(NamedTuple):
    """How a network attends from the last position, over the domain."""

    mean: Float[np.ndarray, "head key"]
    """Each head's mean pattern: to x, to y, to the last token."""
    std: Float[np.ndarray, "head key"]
    """Its standard deviation over inputs."""
    kept_if_fixed: Float[np.ndarray, "head"]
    """Share of labels that stay if this head alone is set to its mean."""


class ReadOut:
    """From the residual stream before the MLP to the two logits: the MLP and the unembedding."""

    def __init__(self, network: Network, bias: float = 0.0) -> None:
        """Takes the network, and what to subtract of logit 1."""
        assert isinstance(network.model, Transformer)
        self._config, self._params = network.model.config, network.params
        self._bias = np.array([[0.0, bias]], np.float32)

    def __call__(self, resid_mid: Float[np.ndarray, "n d_model"]) -> Float[np.ndarray, "n 2"]:
        """Returns the logits of 0 and 1."""
        return np.asarray(_answer(self._config, self._params, resid_mid)[0]) - self._bias

    def parts(
        self, resid_mid: Float[np.ndarray, "n d_model"]
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Splits the logit difference into what comes past the MLP and what through it."""
        _, direct, through = _answer(self._config, self._params, resid_mid)
        return difference(np.asarray(direct)), difference(np.asarray(through))


@partial(jax.jit, static_argnames="config")
def _answer(
    config: TransformerConfig, params: Params, resid_mid: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The two logits, what of them comes directly, and what through the MLP."""
    resid_mid = resid_mid.astype(jnp.float32)
    with jax.default_matmul_precision("float32"):
        # The MLP treats rows alike, so inputs can stand where positions do.
        mlp_out: Any = Mlp(config).apply({"params": params["mlp"]}, resid_mid, Sites(SITES, None))
        unembed = params["W_U"][:, :2]
        return (resid_mid + mlp_out) @ unembed, resid_mid @ unembed, mlp_out @ unembed


def _resid_mid_from_pattern(network: Network, example: tuple[Array, Array]) -> jax.Array:
    tokens, pattern = example
    return network.run(tokens, at(PATTERN, patch(pattern)))[1][RESID_MID][LAST]


def run_both_ways(
    network: Network, inputs: Int[np.ndarray, "n 3"], balance: bool = False
) -> tuple[Stream, Stream, ReadOut, Attention]:
    """Runs a network as it is, and with its attention fixed.

    Args:
      network: Which.
      inputs: The domain.
      balance: Subtract the median logit difference, for a network that answers one class throughout
        because it was never trained.

    Returns:
      The full run, the fixed run, the read-out of both, and what the attention does.
    """
    activations = network.read(inputs, [PATTERN, RESID_MID])
    patterns, resid_mid = activations[PATTERN], activations[RESID_MID][:, LAST]
    read_out = ReadOut(network)
    if balance:
        read_out = ReadOut(network, float(np.median(difference(read_out(resid_mid)))))
    full = Stream(resid_mid, read_out(resid_mid))
    kept = []
    means = patterns.mean(axis=0)[:, LAST]
    for head in range(len(means)):
        fixed_mid = _with_pattern(network, inputs, patterns, means, [head])
        kept.append((read_out(fixed_mid).argmax(axis=-1) == full.labels).mean())
    fixed_mid = _with_pattern(network, inputs, patterns, means, slice(None))
    last = patterns[:, :, LAST]
    attention = Attention(last.mean(axis=0), last.std(axis=0), np.array(kept))
    return full, Stream(fixed_mid, read_out(fixed_mid)), read_out, attention


def _with_pattern(
    network: Network,
    inputs: np.ndarray,
    patterns: np.ndarray,
    means: np.ndarray,
    heads: list[int] | slice,
) -> np.ndarray:
    """The residual stream at the last position with some heads' attention there at its mean."""
    fixed = patterns.copy()
    fixed[:, heads, LAST] = means[heads]
    return network.over(_resid_mid_from_pattern, (inputs, fixed))


class Filters(NamedTuple):
    """Two filters in a plane of the residual stream."""

    basis: Pca
    """All directions; the filters lie in the first two."""
    points: Float[np.ndarray, "n 2"]
    """The inputs in the plane."""
    boundary: AndBoundary
    """The two half-planes, fit to the run's own labels."""

    @property
    def passed(self) -> Bool[np.ndarray, "n 2"]:
        """Whether each input passes alpha, and beta."""
        return self.boundary.filters(self.points)

    def coordinates(self, resid_mid: np.ndarray) -> np.ndarray:
        """Returns alpha's and beta's strength, then the other directions' coordinates."""
        coordinates = self.basis.project(resid_mid)
        coordinates[:, :2] = coordinates[:, :2] @ self.boundary.normals.T
        return coordinates

    def residual(self, coordinates: np.ndarray) -> np.ndarray:
        """Returns the residual stream that has these coordinates."""
        coordinates = coordinates.copy()
        coordinates[:, :2] = coordinates[:, :2] @ np.linalg.inv(self.boundary.normals.T)
        return self.basis.unproject(coordinates)


def find_filters(stream: Stream, basis: Pca | None = None) -> Filters:
    """Fits the two filters in the plane of a basis's first two directions; by default, PCA's."""
    basis = pca(stream.resid_mid) if basis is None else basis
    points = basis.project(stream.resid_mid)[:, :2]
    return Filters(basis, points, fit_and_boundary(points, stream.labels))


def random_plane(basis: Pca, rng: np.random.Generator, leading: int | None = None) -> Pca:
    """Returns a basis whose first two directions are random: a control.

    Args:
      basis: Principal components.
      rng: Draws the directions.
      leading: Within the first so many components, so that the plane has its share of the variance;
        None means within all.
    """
    k = len(basis.components) if leading is None else leading
    rotation = np.linalg.qr(rng.normal(size=(k, k)))[0]
    return basis._replace(
        components=np.concatenate([rotation @ basis.components[:k], basis.components[k:]])
    )


def random_components(basis: Pca, rng: np.random.Generator) -> Pca:
    """Returns the basis with two random components from the third on put first: a control."""
    chosen = 2 + rng.choice(len(basis.components) - 2, 2, replace=False)
    order = np.r_[chosen, np.setdiff1d(np.arange(len(basis.components)), chosen)]
    return basis._replace(components=basis.components[order])


def wrong_sides(filters: Filters, rng: np.random.Generator) -> Filters:
    """Returns filters turned by a random angle in the same plane: a control.

    By at least 60 degrees; thresholds are such that each is passed as often as before.
    """
    angle = rng.uniform(np.pi / 3, 5 * np.pi / 3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    normals = filters.boundary.normals @ turn.T
    strengths = filters.points @ normals.T
    shares = filters.passed.mean(axis=0)
    thresholds = [np.quantile(strengths[:, i], 1 - shares[i]) for i in range(2)]
    boundary = AndBoundary(normals, np.array(thresholds), 0.0)
    return filters._replace(boundary=boundary)


def probe_accuracy(activations: np.ndarray, labels: np.ndarray, seed: int = 0) -> float:
    """Returns how well a linear probe, fit on one random half, reads the labels of the other."""
    order = np.random.default_rng(seed).permutation(len(labels))
    fit, test = order[::2], order[1::2]
    return linear_probe(
        activations[fit], labels[fit], activations[test], labels[test], ridge=1e-3
    ).accuracy
