"""Makes the two published solutions as submissions about our networks: jaxmi/judge/examples/.

Neurons, directions and thresholds are what `jaxmi explain` finds, rounded.

Command:   .venv/bin/python scripts/make_explanations.py
Time:      about a minute on 2 cores
Expected:  cnn: complete, 94.3 % of labels kept; transformer: in part given readouts, 83.4 %
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.challenges.registry import load_challenge
from jaxmi.explanation.cnn_detectors import SITE, find_detectors, observe, similarity
from jaxmi.explanation.network import Network
from jaxmi.explanation.transformer_evidence import RESID_MID, find_filters, run_both_ways
from jaxmi.judge.judge_explanation import judge_explanation
from jaxmi.judge.submission import read_explanation
from jaxmi.programs.bands import best_band
from jaxmi.storage.checkpoints import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
BY = "(Heimersheim and Hobbhahn, 2023)"


def cnn(network: Network, challenge: Challenge) -> dict[str, Any]:
    """Detectors of the clue and of its inverse."""
    solution = challenge.solution
    assert isinstance(solution, ClueSolution)
    neurons = observe(network, images := challenge.inputs[: solution.images])
    scores = similarity(images, images[solution.clue_index])
    groups = find_detectors(neurons, scores, solution).groups
    middle = sum(best_band(scores, neurons.labels)[:2]) / 2
    inverse, clue, dead = (
        {"site": SITE, "components": {"neuron": np.flatnonzero(mask).tolist()}}
        for mask in (groups.anti_clue, groups.clue, neurons.dead)
    )
    carried = {"feature": "similarity", "match": {"near": solution.control_noise}}
    definitions = {
        "clue": f"template({solution.clue_index})",
        "similarity": "2 * dot(image, clue) / 255 - 784 * mean(image)",
        "like_clue": f"similarity >= {middle:.0f}",
    }
    claims = [inverse | carried, clue | carried, inverse | {"feature": "0", "where": "like_clue"}]
    claims += [clue | {"feature": "0", "where": "not like_clue"}, dead | {"feature": "0"}]
    head = {"challenge": "cnn", "title": f"Detectors of the clue and of its inverse {BY}"}
    return {**head, "definitions": definitions, "claims": claims}


def transformer(network: Network, challenge: Challenge) -> dict[str, Any]:
    """Two filters in a plane: the last row of the published scrubbing table."""
    boundary = find_filters(run_both_ways(network, challenge.inputs)[0]).boundary
    at, readouts, definitions = {"site": RESID_MID, "pos": 2}, {}, {}
    claims: list[dict[str, Any]] = [{"components": {"pos": 2, "pca": "2:128"}, "feature": "0"}]
    for name, normal, threshold in zip(("alpha", "beta"), *boundary[:2], strict=True):
        readouts[name] = at | {"pca": normal.round(3).tolist()}
        definitions[f"{name}_passed"] = f"{name} > {threshold:.3f}"
        claims.append({"components": {"pos": 2, "readouts": [name]}, "feature": f"{name}_passed"})
    for name, other in (("alpha", "beta"), ("beta", "alpha")):
        where = {"components": {"pos": 2, "readouts": [name]}, "where": f"not {other}_passed"}
        claims.append(where | {"feature": "0"})
    claims = [{"site": RESID_MID, **claim} for claim in claims]
    parts = {"readouts": readouts, "definitions": definitions, "claims": claims}
    return {"challenge": "transformer", "title": f"Two filters in a plane {BY}", **parts}


for name in ("cnn", "transformer"):
    challenge = load_challenge(name)
    params = load_checkpoint(ROOT / "checkpoints" / name).params
    made = (cnn if name == "cnn" else transformer)(Network(challenge.model, params), challenge)
    path = ROOT / f"jaxmi/judge/examples/{name}.json"
    path.write_text(json.dumps(made) + "\n")
    score = judge_explanation(read_explanation(path, name), challenge, params)
    rows = ("{:<24} {:>12} {:>15}  {}".format(*row) for row in score.rows())
    print(*rows, score.verdict, sep="\n")
