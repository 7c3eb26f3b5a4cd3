"""Two filters in a plane of a transformer's residual stream, and the controls that they can fail.

The published solution (Heimersheim and Hobbhahn, 2023) runs the network as it is ("full"), and with
every head's attention set to its mean ("fixed"). In either run the residual stream before the MLP,
at the last position, is projected onto a plane. Two half-planes, the filters alpha and beta, are
fit so that a pair lies in both where the network's label is 1.

The published network has one block. In a network of several, the stream is that before the last
block's MLP, and attention is fixed in every block: what is before the plane may still be computed
by the MLPs of the blocks before.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Bool, Float, Int

from jaxmi.errors import InputError
from jaxmi.explanation.directions import Pca, linear_probe, pca
from jaxmi.explanation.edits import at, compose, patch
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import difference
from jaxmi.models.sites import Sites
from jaxmi.models.transformer import Mlp, Transformer, TransformerConfig, part_name, sites
from jaxmi.types import Array, Params

PATTERN = "blocks.0.attn.hook_pattern"
RESID_MID = "blocks.0.hook_resid_mid"
"""Sites of a network of one block; `patterns_of` and `resid_mid_of` name another network's."""
LAST = -1
"""The position whose logits are the prediction."""

SOFTNESS = 0.1
"""Width of the smooth boundary, in standard deviations of the points."""

SAMPLE = 3000
"""Number of points that the smooth loss is computed on."""

STARTS = 6
"""Number of wedges that the smooth loss is minimised from."""

REFINED = 3
"""Number of minima that are refined by the agreement on all points."""


@dataclass(frozen=True)
class Stream:
    """One run of a network: its residual stream before the MLP, and its logits."""

    resid_mid: Float[np.ndarray, "n d_model"]
    """The residual stream before the MLP, at the last position."""
    logits: Float[np.ndarray, "n 2"]
    """The logits of the tokens 0 and 1, the only labels."""

    @property
    def labels(self) -> Int[np.ndarray, "n"]:
        """1 where logit 1 exceeds logit 0."""
        return self.logits.argmax(axis=-1)


def patterns_of(n_layers: int) -> list[str]:
    """Return the sites of the attention patterns of a network's blocks."""
    return [f"blocks.{block}.attn.hook_pattern" for block in range(n_layers)]


def resid_mid_of(n_layers: int) -> str:
    """Return the site of the residual stream that is explained: before the last block's MLP."""
    return f"blocks.{n_layers - 1}.hook_resid_mid"


class Attention(NamedTuple):
    """A network's attention from the last position, over the domain; heads block after block."""

    mean: Float[np.ndarray, "head key"]
    """Each head's mean pattern: to each operand, then to the last token."""
    std: Float[np.ndarray, "head key"]
    """Standard deviation of each head's pattern over inputs."""
    kept_if_fixed: Float[np.ndarray, "head"]
    """Share of labels that is kept if this head alone is set to its mean."""


class ReadOut:
    """The last block's MLP and the unembedding: from the stream before that to two logits."""

    def __init__(self, network: Network, bias: float = 0.0) -> None:
        """Read out from a network; `bias` is subtracted from logit 1."""
        assert isinstance(network.model, Transformer)
        self._config, self._params = network.model.config, network.params
        self._bias = np.array([[0.0, bias]], np.float32)
        self._rest: Rest | None = None

    def __call__(self, resid_mid: Float[np.ndarray, "n d_model"]) -> Float[np.ndarray, "n 2"]:
        """Return the logits of 0 and 1."""
        return np.asarray(_read_out(self._config, self._params, resid_mid)[0]) - self._bias

    def parts(
        self, resid_mid: Float[np.ndarray, "n d_model"]
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Split the logit difference into the part past the MLP and the part through it."""
        _, direct, through = _read_out(self._config, self._params, resid_mid)
        return difference(np.asarray(direct)), difference(np.asarray(through))

    def rest_of(self, stream: Stream, basis: "Pca") -> "Rest":
        """Prepare the read-out of a run in coordinates; it is kept until another is asked for."""
        if self._rest is None or self._rest.stream is not stream or self._rest.basis is not basis:
            self._rest = _rest(self._config, self._params, stream, basis)
        return self._rest

    def of_coordinates(
        self, rest: "Rest", leading: Float[np.ndarray, "n k"], donors: Int[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n 2"]:
        """Return the logits, where the stream is put together from coordinates and a rest.

        Args:
          rest: The run.
          leading: Each input's coordinates on the first directions, as many as `EXCHANGED` or all.
          donors: The input from which the coordinates on all other directions are taken.
        """
        logits = _read_out_of_coordinates(rest.arrays, leading.astype(np.float32), donors)
        return np.asarray(logits) - self._bias


EXCHANGED = 3
"""The directions of a basis that scrubs exchange one by one: the plane, and one more."""


class Rest(NamedTuple):
    """A run without its coordinates on the first directions, as the last MLP reads it.

    The MLP's input is linear in the coordinates. So a scrub that exchanges few of them, and takes
    all others from one donor, needs no new product of matrices.
    """

    stream: Stream
    basis: Pca
    arrays: dict[str, jax.Array]
    """`neurons` (n, d_mlp) and `logits` (n, 2), what the rest adds to both; `to_neurons` (k, d_mlp)
    and `to_logits` (k, 2), what a unit of each coordinate adds; `read` (d_mlp, 2), the neurons'
    weights in the logits."""


@partial(jax.jit, static_argnames="config")
def _rest_arrays(
    config: TransformerConfig, params: Params, rest: jax.Array, directions: jax.Array
) -> dict[str, jax.Array]:
    with jax.default_matmul_precision("float32"):
        mlp = params[part_name("mlp", config.n_layers - 1)]
        unembed = params["W_U"][:, :2]
        return {
            "neurons": rest @ mlp["W_in"] + mlp["b_in"][None],
            "logits": rest @ unembed + (mlp["b_out"] @ unembed)[None],
            "to_neurons": directions @ mlp["W_in"],
            "to_logits": directions @ unembed,
            "read": mlp["W_out"] @ unembed,
        }


def _rest(config: TransformerConfig, params: Params, stream: Stream, basis: Pca) -> Rest:
    directions = basis.components[:EXCHANGED]
    rest = stream.resid_mid - basis.project(stream.resid_mid, EXCHANGED) @ directions
    arrays = _rest_arrays(config, params, *(np.float32(each) for each in (rest, directions)))
    return Rest(stream, basis, arrays)


@jax.jit
def _read_out_of_coordinates(
    arrays: dict[str, jax.Array], leading: jax.Array, donors: jax.Array
) -> jax.Array:
    with jax.default_matmul_precision("float32"):
        neurons = jax.nn.relu(arrays["neurons"][donors] + leading @ arrays["to_neurons"])
        direct = arrays["logits"][donors] + leading @ arrays["to_logits"]
        return direct + neurons @ arrays["read"]


@partial(jax.jit, static_argnames="config")
def _read_out(
    config: TransformerConfig, params: Params, resid_mid: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the two logits, their direct part, and their part through the MLP."""
    resid_mid = resid_mid.astype(jnp.float32)
    with jax.default_matmul_precision("float32"):
        # The MLP acts on each row separately, so rows may be inputs instead of positions. Only its
        # neurons are taken from it: what follows is linear, and shorter by way of the two logits.
        last = config.n_layers - 1
        mlp = params[part_name("mlp", last)]
        seen = Sites(sites(config.n_layers), None)
        Mlp(config, last).apply({"params": mlp}, resid_mid, seen)
        neurons = seen.activations[f"blocks.{last}.mlp.hook_post"]
        unembed = params["W_U"][:, :2]
        direct = resid_mid @ unembed
        through = neurons @ (mlp["W_out"] @ unembed) + (mlp["b_out"] @ unembed)[None]
        return direct + through, direct, through


def _n_layers(network: Network) -> int:
    assert isinstance(network.model, Transformer)
    return network.model.config.n_layers


def _resid_mid_from_patterns(
    network: Network, example: tuple[Array, dict[str, Array]]
) -> jax.Array:
    tokens, patterns = example
    edits = compose(*(at(site, patch(pattern)) for site, pattern in patterns.items()))
    return network.run(tokens, edits)[1][resid_mid_of(_n_layers(network))][LAST]


def run_both_ways(
    network: Network,
    inputs: Int[np.ndarray, "n tokens"],
    balance: bool = False,
    each_head: bool = True,
) -> tuple[Stream, Stream, ReadOut, Attention]:
    """Run a network as it is, and with its attention fixed in every block.

    Args:
      network: The network.
      inputs: The domain, or a part of it, as tokens.
      balance: Subtract the median logit difference. An untrained network may predict one class
        throughout; this makes half of its labels 1.
      each_head: Also fix the attention of each head alone; if not, `kept_if_fixed` is empty.

    Returns:
      The full run, the fixed run, the read-out of both, and the attention.
    """
    sites_of_patterns = patterns_of(_n_layers(network))
    site = resid_mid_of(_n_layers(network))
    activations = network.read(inputs, [*sites_of_patterns, site])
    patterns = {name: activations[name] for name in sites_of_patterns}
    resid_mid = activations[site][:, LAST]
    read_out = ReadOut(network)
    if balance:
        read_out = ReadOut(network, float(np.median(difference(read_out(resid_mid)))))
    full = Stream(resid_mid, read_out(resid_mid))
    kept = []
    for name, pattern in patterns.items():
        for head in range(pattern.shape[1] if each_head else 0):
            # Blocks after this one compute their attention anew.
            fixed_mid = _with_patterns(network, inputs, {name: _fixed(pattern, [head])})
            kept.append((read_out(fixed_mid).argmax(axis=-1) == full.labels).mean())
    fixed = {name: _fixed(pattern, slice(None)) for name, pattern in patterns.items()}
    fixed_mid = _with_patterns(network, inputs, fixed)
    last = np.concatenate([pattern[:, :, LAST] for pattern in patterns.values()], axis=1)
    attention = Attention(last.mean(axis=0), last.std(axis=0), np.array(kept))
    return full, Stream(fixed_mid, read_out(fixed_mid)), read_out, attention


def _fixed(
    pattern: Float[np.ndarray, "n head query key"], heads: list[int] | slice
) -> Float[np.ndarray, "n head query key"]:
    """Return patterns with some heads' attention at its mean over inputs, from every position.

    In a network of one block only the last position's attention reaches the prediction.
    """
    fixed = pattern.copy()
    fixed[:, heads] = pattern.mean(axis=0)[heads]
    return fixed


def _with_patterns(
    network: Network, inputs: np.ndarray, patterns: dict[str, np.ndarray]
) -> np.ndarray:
    """Return the residual stream that is explained, with other attention patterns."""
    return network.map(_resid_mid_from_patterns, (inputs, patterns))


class AndBoundary(NamedTuple):
    """Two half-planes, alpha and beta: class 1 where a point lies in both."""

    normals: Float[np.ndarray, "2 2"]
    """Unit vectors; beta's is less than pi counter-clockwise of alpha's."""
    thresholds: Float[np.ndarray, "2"]
    """A point lies in a half-plane if `point @ normal > threshold`."""
    agreement: float
    """The share of points whose label the AND of the half-planes gives, in 0..1."""

    def filters(self, points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n 2"]:
        """Return, for each point, whether it lies in alpha, and whether it lies in beta."""
        return points @ self.normals.T > self.thresholds


class Filters(NamedTuple):
    """Two filters in a plane of the residual stream."""

    basis: Pca
    """A basis of the residual stream; the plane is that of its first two directions."""
    points: Float[np.ndarray, "n 2"]
    """The inputs' coordinates in the plane."""
    boundary: AndBoundary
    """The two half-planes, fit to the run's own labels."""

    @property
    def passed(self) -> Bool[np.ndarray, "n 2"]:
        """For each input, whether it passes alpha, and whether it passes beta."""
        return self.boundary.filters(self.points)

    def coordinates(self, resid_mid: np.ndarray, count: int | None = None) -> np.ndarray:
        """Return alpha's and beta's strength, then the coordinates on the other directions.

        Args:
          resid_mid: The residual stream, (n, d_model).
          count: The number of coordinates, at least 2; None: all.
        """
        coordinates = self.basis.project(resid_mid, count)
        coordinates[:, :2] = coordinates[:, :2] @ self.boundary.normals.T
        return coordinates

    def residual(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the residual stream that has these coordinates."""
        return self.basis.unproject(self.on_basis(coordinates))

    def on_basis(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the coordinates with those in the plane on the basis, not on the normals."""
        coordinates = coordinates.copy()
        coordinates[:, :2] = coordinates[:, :2] @ np.linalg.inv(self.boundary.normals.T)
        return coordinates


def find_filters(stream: Stream, basis: Pca | None = None) -> Filters:
    """Fit the two filters in the plane of a basis's first two directions; by default, PCA's."""
    basis = pca(stream.resid_mid) if basis is None else basis
    points = basis.project(stream.resid_mid)[:, :2]
    return Filters(basis, points, fit_and_boundary(points, stream.labels))


def random_plane(basis: Pca, rng: np.random.Generator, leading: int | None = None) -> Pca:
    """Return a basis whose first two directions are random: a control.

    Args:
      basis: Principal components.
      rng: Draws the directions.
      leading: Draw within this many leading components, so that the plane has a share of the
        variance; None draws within all components.
    """
    k = len(basis.components) if leading is None else min(leading, len(basis.components))
    rotation = np.linalg.qr(rng.normal(size=(k, k)))[0]
    return basis._replace(
        components=np.concatenate([rotation @ basis.components[:k], basis.components[k:]])
    )


def varying(basis: Pca) -> int:
    """Return the number of components with more variance than float32's rounding makes."""
    return int((basis.variance_shares > np.finfo(np.float32).eps ** 2).sum())


def random_components(basis: Pca, rng: np.random.Generator) -> Pca:
    """Return the basis with two random components, after the second, put first: a control.

    Both are components along which the activations vary: `varying` of them, at least 4.
    """
    first = rng.choice(np.arange(2, varying(basis)), 2, replace=False)
    order = np.r_[first, np.setdiff1d(np.arange(len(basis.components)), first)]
    return basis._replace(components=basis.components[order])


def wrong_sides(filters: Filters, rng: np.random.Generator) -> Filters:
    """Return filters that are turned by a random angle in the same plane: a control.

    The angle is at least 60 degrees either way. Thresholds are moved so that each filter is passed
    as often as before.
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
    """Return the accuracy of a linear probe that is fit on one random half, on the other half."""
    order = np.random.default_rng(seed).permutation(len(labels))
    fit, test = order[::2], order[1::2]
    return linear_probe(
        activations[fit], labels[fit], activations[test], labels[test], ridge=1e-3
    ).accuracy


def fit_and_boundary(points: Float[np.ndarray, "n 2"], labels: Int[np.ndarray, "n"]) -> AndBoundary:
    """Fit two half-planes whose intersection agrees with the labels.

    A smooth loss has local minima, so it is minimised on a sample of the points from the best of
    288 wedges; the best results are refined by the agreement on all points. The wedge may open in
    any direction. Which half-plane comes first is a convention.

    Args:
      points: Points in the plane.
      labels: 0 or 1. If all labels are equal, the result is any wedge around all points, or around
        none.

    Raises:
      InputError: if all points are the same.
    """
    centre, scale = points.mean(axis=0), points.std()
    if scale == 0:
        raise InputError(f"no boundary separates {len(points)} points that are all alike")
    unit = (points - centre) / scale
    sample = np.random.default_rng(0).permutation(len(points))[:SAMPLE]
    signs = 2.0 * labels[sample] - 1

    def loss(wedge: np.ndarray) -> tuple[float, np.ndarray]:
        return _smooth_loss(wedge, unit[sample], signs)

    def disagreement(wedge: np.ndarray) -> float:
        inside = (unit @ _normals(wedge).T > wedge[2:]).all(axis=1)
        return float((inside != labels).mean())

    wedges = _wedges()
    losses = _smooth_losses(np.stack(wedges), unit[sample], signs)
    starts = [wedges[i] for i in np.argsort(losses, kind="stable")[:STARTS]]
    smooth = [scipy.optimize.minimize(loss, start, jac=True).x for start in starts]
    refined = [
        scipy.optimize.minimize(disagreement, wedge, method="Nelder-Mead").x
        for wedge in sorted(smooth, key=disagreement)[:REFINED]
    ]
    best = min(refined, key=disagreement)
    normals = _normals(best)
    if np.linalg.det(normals) < 0:
        best, normals = best[[1, 0, 3, 2]], normals[::-1]
    boundary = AndBoundary(normals, best[2:] * scale + normals @ centre, 0.0)
    agreement = float((boundary.filters(points).all(axis=1) == labels).mean())
    return boundary._replace(agreement=agreement)


def _wedges() -> list[np.ndarray]:
    """Return the starting wedges: two angles and two offsets each."""
    return [
        np.array([middle - opening, middle + opening, offset, offset])
        for middle in np.linspace(0, 2 * np.pi, 24, endpoint=False)
        for opening in (0.3, 0.6, 0.9, 1.2)
        for offset in (-0.5, 0.0, 0.5)
    ]


def _normals(wedge: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(wedge[:2]), np.sin(wedge[:2])], axis=1)


def _smooth_losses(
    wedges: Float[np.ndarray, "w 4"], points: np.ndarray, signs: np.ndarray
) -> Float[np.ndarray, "w"]:
    """Return the loss of `_smooth_loss` for many wedges."""
    normals = np.stack([np.cos(wedges[:, :2]), np.sin(wedges[:, :2])], axis=-1)
    depths = np.einsum("wij,nj->win", normals, points) - wedges[:, 2:, None]
    return np.logaddexp(0, -signs * depths.min(axis=1) / SOFTNESS).mean(axis=1)


def _smooth_loss(
    wedge: np.ndarray, points: np.ndarray, signs: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the logistic loss of the points' depth in both half-planes, and its gradient."""
    normals = _normals(wedge)
    depths = points @ normals.T - wedge[2:]
    nearer = depths.argmin(axis=1)
    margins = signs * depths[np.arange(len(points)), nearer] / SOFTNESS
    slopes = -signs * scipy.special.expit(-margins) / SOFTNESS / len(points)
    by_angle = points @ np.stack([-normals[:, 1], normals[:, 0]])  # derivative of each depth
    parts = slopes[:, None] * (nearer[:, None] == np.array([[0, 1]]))
    gradient = np.concatenate([(parts * by_angle).sum(axis=0), -parts.sum(axis=0)])
    return float(np.logaddexp(0, -margins).mean()), gradient
