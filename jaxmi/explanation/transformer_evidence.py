"""Evidence that two filters in a plane of the residual stream decide, and that it could fail.

The published solution's experiments on a network like challenge 2's. The network runs as it is
("full") or with every head's attention at the last position set to its mean ("fixed"); either way
the residual stream before the MLP, at the last position, is projected on two directions, and two
half-planes there, alpha and beta, are asked whether their AND is the network's answer.

Two arms in a plane: their slopes, and two straight sides whose AND separates two classes.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Bool, Float, Int

from jaxmi.errors import InputError
from jaxmi.explanation.directions import Pca, linear_probe, pca
from jaxmi.explanation.edits import at, patch
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import difference
from jaxmi.models.sites import Sites
from jaxmi.models.transformer import SITES, Mlp, Transformer, TransformerConfig
from jaxmi.types import Array, Params


class Arms(NamedTuple):
    """Two arms, left and right, that leave the origin of a plane."""

    directions: Float[np.ndarray, "2 2"]
    """A vector along each, the left arm's first."""
    split: float
    """The horizontal coordinate that parts the points of the two."""


def fit_arms(points: Float[np.ndarray, "n 2"], split: float, lengths: tuple[float, float]) -> Arms:
    """Fits an arm to the points left of a vertical line, and one to the rest.

    Each is a least-squares line of the second coordinate on the first, of which only the slope is
    used. If fewer than 1 % of the points lie on one side, the line is moved to the median.

    Args:
      points: In the plane.
      split: Where the line is, in the points' units.
      lengths: How far each arm's vector goes horizontally: `left * (-1, -slope)` and
        `right * (1, slope)`.

    Raises:
      InputError: if the points of one side share one horizontal coordinate.
    """
    left = points[:, 0] < split
    if not 0.01 <= left.mean() <= 0.99:
        split = float(np.median(points[:, 0]))
        left = points[:, 0] < split
        if not left.any():  # more than half of the points lie on it
            left = points[:, 0] <= split
    directions = []
    for side, sign, length in ((left, -1.0, lengths[0]), (~left, 1.0, lengths[1])):
        x, y = points[side].T
        if len(x) == 0 or np.ptp(x) == 0:
            raise InputError(f"the {len(x)} points on one side of {split:g} make no arm")
        slope = np.cov(x, y)[0, 1] / np.var(x, ddof=1)
        directions.append([length * sign, length * sign * slope])
    return Arms(np.array(directions), split)


class AndBoundary(NamedTuple):
    """Two half-planes, alpha and beta: class 1 where a point lies in both."""

    normals: Float[np.ndarray, "2 2"]
    """Unit vectors; alpha's is the one that comes first going counter-clockwise by less than pi."""
    thresholds: Float[np.ndarray, "2"]
    """A point lies in a half-plane if `point @ normal > threshold`."""
    agreement: float
    """The share of points whose label this gives, in 0..1."""

    def filters(self, points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n 2"]:
        """Returns whether each point lies in alpha, and in beta."""
        return points @ self.normals.T > self.thresholds


def fit_and_boundary(points: Float[np.ndarray, "n 2"], labels: Int[np.ndarray, "n"]) -> AndBoundary:
    """Finds two half-planes whose intersection agrees with the labels.

    A smooth loss is minimised on a sample of the points from the best of 288 wedges, since it has
    local minima, and the results are polished on the agreement of all points. Nothing is assumed of
    where the wedge opens; which half-plane comes first is a convention.

    Args:
      points: In the plane.
      labels: 0 or 1; if all are the same, any wedge around all points, or none, will do.

    Raises:
      InputError: if the points are all alike.
    """
    centre, scale = points.mean(axis=0), points.std()
    if scale == 0:
        raise InputError(f"no boundary between {len(points)} points that are all alike")
    unit = (points - centre) / scale
    sample = np.random.default_rng(0).permutation(len(points))[:SAMPLE]
    signs = 2.0 * labels[sample] - 1

    def loss(wedge: np.ndarray) -> tuple[float, np.ndarray]:
        return _smooth_loss(wedge, unit[sample], signs)

    def disagreement(wedge: np.ndarray) -> float:
        inside = (unit @ _normals(wedge).T > wedge[2:]).all(axis=1)
        return float((inside != labels).mean())

    starts = sorted(_wedges(), key=lambda wedge: loss(wedge)[0])[:REFINED]
    smooth = [scipy.optimize.minimize(loss, start, jac=True).x for start in starts]
    polished = [
        scipy.optimize.minimize(disagreement, wedge, method="Nelder-Mead").x
        for wedge in sorted(smooth, key=disagreement)[:POLISHED]
    ]
    best = min(polished, key=disagreement)
    normals = _normals(best)
    if np.linalg.det(normals) < 0:
        best, normals = best[[1, 0, 3, 2]], normals[::-1]
    boundary = AndBoundary(normals, best[2:] * scale + normals @ centre, 0.0)
    agreement = float((boundary.filters(points).all(axis=1) == labels).mean())
    return boundary._replace(agreement=agreement)


SOFTNESS = 0.1
"""Width of the smooth boundary, in standard deviations of the points."""

SAMPLE = 3000
"""How many points the smooth loss is computed on."""

REFINED = 6
"""How many of the wedges the smooth loss is minimised from."""

POLISHED = 3
"""How many of those are polished."""


def _wedges() -> list[np.ndarray]:
    """Starting values: two angles and two offsets each."""
    return [
        np.array([middle - opening, middle + opening, offset, offset])
        for middle in np.linspace(0, 2 * np.pi, 24, endpoint=False)
        for opening in (0.3, 0.6, 0.9, 1.2)
        for offset in (-0.5, 0.0, 0.5)
    ]


def _normals(wedge: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(wedge[:2]), np.sin(wedge[:2])], axis=1)


def _smooth_loss(
    wedge: np.ndarray, points: np.ndarray, signs: np.ndarray
) -> tuple[float, np.ndarray]:
    """Logistic loss of how far inside of both half-planes each point lies, and its gradient."""
    normals = _normals(wedge)
    depths = points @ normals.T - wedge[2:]
    nearer = depths.argmin(axis=1)
    margins = signs * depths[np.arange(len(points)), nearer] / SOFTNESS
    slopes = -signs * scipy.special.expit(-margins) / SOFTNESS / len(points)
    turned = points @ np.stack([-normals[:, 1], normals[:, 0]])  # what turning a normal changes
    parts = slopes[:, None] * (nearer[:, None] == np.array([[0, 1]]))
    gradient = np.concatenate([(parts * turned).sum(axis=0), -parts.sum(axis=0)])
    return float(np.logaddexp(0, -margins).mean()), gradient


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
    return network.map(_resid_mid_from_pattern, (inputs, fixed))


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
