"""The published solutions as submitted explanations, written for any network of their kind.

`scripts/make_explanations.py` writes those of `checkpoints/` into `judge/examples/`.
"""

from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.errors import InputError
from jaxmi.explanation.cnn_detectors import SITE, find_detectors, observe, similarity
from jaxmi.explanation.network import Network
from jaxmi.explanation.transformer_evidence import RESID_MID, find_filters, run_both_ways
from jaxmi.mechanism.second_solution import SecondSolution, second_solution
from jaxmi.mechanism.tables import tables_of
from jaxmi.models.transformer import Transformer, part_name
from jaxmi.programs.bands import best_band

FIRST, SECOND = "(Heimersheim and Hobbhahn, 2023)", "(RGRGRG, 2023)"
"""Who published the solutions, as the titles end."""

RESID_PRE, HIDDEN = "blocks.0.hook_resid_pre", "blocks.0.mlp.hook_pre"
"""The sites of the second solution's claims: where x and y are apart, and the neurons' inputs."""

NEARLY = 0.01
"""Noise on the second solution's features, as a share of their range: "nearly the same"."""

_NOT_ABOUT = "{}: the solution is about a transformer of one block, on pairs"

DIGITS = 4
"""Significant digits of a readout's weights."""


def clue_detectors(network: Network, challenge: Challenge) -> dict[str, Any]:
    """Return the submission with detectors of the clue and of its inverse.

    Raises:
      InputError: if the challenge has no clue.
    """
    solution = challenge.solution
    if not isinstance(solution, ClueSolution):
        raise InputError(f"{challenge.name} has no clue that detectors could detect")
    neurons = observe(network, images := challenge.inputs[: solution.images])
    scores = similarity(images, images[solution.clue_index])
    groups = find_detectors(neurons, scores, solution).groups
    inverse, clue, dead = (
        {"site": SITE, "components": {"neuron": np.flatnonzero(mask).tolist()}}
        for mask in (groups.anti_clue, groups.clue, neurons.dead)
    )
    carried = {"feature": "similarity", "match": {"near": solution.control_noise}}
    definitions = {
        "clue": f"template({solution.clue_index})",
        "similarity": "2 * dot(image, clue) / 255 - 784 * mean(image)",
        "like_clue": f"similarity >= {sum(best_band(scores, neurons.labels)[:2]) / 2:.0f}",
    }
    claims = [inverse | carried, clue | carried, inverse | {"feature": "0", "where": "like_clue"}]
    claims += [clue | {"feature": "0", "where": "not like_clue"}, dead | {"feature": "0"}]
    title = f"Detectors of the clue and of its inverse {FIRST}"
    return {
        "challenge": challenge.name,
        "title": title,
        "definitions": definitions,
        "claims": claims,
    }


def two_filters(network: Network, challenge: Challenge) -> dict[str, Any]:
    """Return the submission with two filters: the last row of the published scrubbing table.

    Raises:
      InputError: if the network is not a transformer of one block on pairs, of more than two
        dimensions.
    """
    model = challenge.model
    if challenge.kind != "pairs" or not isinstance(model, Transformer) or model.config.n_layers > 1:
        raise InputError(_NOT_ABOUT.format(challenge.name))
    if (width := model.config.d_model) < 3:
        raise InputError(f"{challenge.name}: a plane is all of a stream of {width} dimensions")
    boundary = find_filters(run_both_ways(network, challenge.inputs)[0]).boundary
    site, readouts, definitions = {"site": RESID_MID}, {}, {}
    claims = [site | {"components": {"pos": 2, "pca": f"2:{width}"}, "feature": "0"}]
    for name, normal, threshold in zip(("alpha", "beta"), *boundary[:2], strict=True):
        readouts[name] = site | {"pos": 2, "pca": normal.round(3).tolist()}
        definitions[f"{name}_passed"] = f"{name} > {threshold:.3f}"
        readout = site | {"components": {"pos": 2, "readouts": [name]}}
        claims.append(readout | {"feature": f"{name}_passed"})
    for name, other in (("alpha", "beta"), ("beta", "alpha")):
        readout = site | {"components": {"pos": 2, "readouts": [name]}}
        claims.append(readout | {"where": f"not {other}_passed", "feature": "0"})
    head = {"challenge": challenge.name, "title": f"Two filters in a plane {FIRST}"}
    return {**head, "readouts": readouts, "definitions": definitions, "claims": claims}


def extended_embeddings(
    network: Network, challenge: Challenge, noise: float = NEARLY
) -> dict[str, Any]:
    """Return the submission with extended embeddings and clusters of neurons.

    x and y carry nothing but their extended embedding, and the neurons of a cluster nothing but
    their cluster's input; docs/second-solution.md has the claims.

    Args:
      network: The network; its labels do not enter.
      challenge: Its challenge.
      noise: How nearly the same donors' features are: a share of the feature's range.

    Raises:
      InputError: if the network is not a transformer of one block on pairs.
    """
    solution, model = second_solution(challenge, network.params), challenge.model
    if solution is None or not isinstance(model, Transformer):
        raise InputError(_NOT_ABOUT.format(challenge.name))
    tables = tables_of(network.params, model.config)
    attention = tables.patterns(challenge.inputs[:, :-1]).mean(axis=0)
    part = network.params[part_name("attn", 0)]
    w_v, w_o = (np.asarray(part[name], np.float64) for name in ("W_V", "W_O"))
    chain = tables.mlp.w_in @ tables.mlp.weights
    match, readouts, claims = {"match": {"near": noise}}, {}, []
    for place, operand in enumerate(solution.domain.values):
        weights = np.einsum("h,hmd,hdk,k->m", attention[place], w_v, w_o, chain, optimize=True)
        name = f"embedding_{operand}"
        readouts[name] = {"site": RESID_PRE, "pos": place, "d_model": _unit(weights)}
        claims.append({"site": RESID_PRE, "components": {"pos": place}, "feature": name} | match)
    for name, neurons, weights in _clusters(solution, tables.mlp.w_in):
        readouts[name] = {"site": RESID_MID, "pos": 2, "d_model": weights}
        components = {"pos": 2, "neuron": neurons}
        claims.append({"site": HIDDEN, "components": components, "feature": name} | match)
    title = f"Extended embeddings and clusters of neurons {SECOND}"
    return {"challenge": challenge.name, "title": title, "readouts": readouts, "claims": claims}


def _clusters(
    solution: SecondSolution, w_in: np.ndarray
) -> list[tuple[str, list[int], list[float]]]:
    """Return each cluster's name, its neurons, and the mean direction that they read."""
    clusters = solution.clusters
    if clusters is None:
        return []
    read = []
    for number in np.unique(clusters.cluster):
        neurons = clusters.neurons[clusters.cluster == number]
        directions = w_in[:, neurons] / np.linalg.norm(w_in[:, neurons], axis=0)
        name = f"cluster_{number + 1}"
        read.append((name, neurons.tolist(), _unit(directions.mean(axis=1))))
    return read


def _unit(weights: np.ndarray) -> list[float]:
    """Return a direction of length 1, to `DIGITS` significant digits."""
    length = np.linalg.norm(weights)
    scaled = weights / length if length > 0 else weights
    return [float(f"{weight:.{DIGITS}g}") for weight in scaled]
