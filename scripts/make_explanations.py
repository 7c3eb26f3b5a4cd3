"""Writes the published solutions as submissions, with what `jaxmi explain` finds in checkpoints/.

Command:   .venv/bin/python scripts/make_explanations.py
Time:      about a minute on 2 cores
Writes:    jaxmi/judge/examples/NAME.json; prints their scores
Expected:  cnn: complete, 94.3 % of labels kept; transformer: in part given readouts, 83.4 %
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.challenges.registry import load_challenge, origin
from jaxmi.explanation.cnn_detectors import SITE, find_detectors, observe, similarity
from jaxmi.explanation.network import Network
from jaxmi.explanation.transformer_evidence import RESID_MID, find_filters, run_both_ways
from jaxmi.judge.judge_explanation import judge_explanation
from jaxmi.judge.submission import read_explanation
from jaxmi.programs.bands import best_band
from jaxmi.storage.checkpoints import load_checkpoint

ROOT, BY = Path(__file__).resolve().parent.parent, "(Heimersheim and Hobbhahn, 2023)"


def cnn(network: Network, challenge: Challenge) -> dict[str, Any]:
    """Return the submission with detectors of the clue and of its inverse."""
    solution = challenge.solution
    assert isinstance(solution, ClueSolution)
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
    title = f"Detectors of the clue and of its inverse {BY}"
    return {"challenge": "cnn", "title": title, "definitions": definitions, "claims": claims}


def transformer(network: Network, challenge: Challenge) -> dict[str, Any]:
    """Return the submission with two filters: the last row of the published scrubbing table."""
    boundary = find_filters(run_both_ways(network, challenge.inputs)[0]).boundary
    site, readouts, definitions = {"site": RESID_MID}, {}, {}
    claims = [site | {"components": {"pos": 2, "pca": "2:128"}, "feature": "0"}]
    for name, normal, threshold in zip(("alpha", "beta"), *boundary[:2], strict=True):
        readouts[name] = site | {"pos": 2, "pca": normal.round(3).tolist()}
        definitions[f"{name}_passed"] = f"{name} > {threshold:.3f}"
        readout = site | {"components": {"pos": 2, "readouts": [name]}}
        claims.append(readout | {"feature": f"{name}_passed"})
    for name, other in (("alpha", "beta"), ("beta", "alpha")):
        readout = site | {"components": {"pos": 2, "readouts": [name]}}
        claims.append(readout | {"where": f"not {other}_passed", "feature": "0"})
    head = {"challenge": "transformer", "title": f"Two filters in a plane {BY}"}
    return {**head, "readouts": readouts, "definitions": definitions, "claims": claims}


def main() -> None:
    """Write both submissions, and print how they score."""
    for name, submission in {"cnn": cnn, "transformer": transformer}.items():
        challenge, path = load_challenge(name), ROOT / f"jaxmi/judge/examples/{name}.json"
        params = load_checkpoint(ROOT / "checkpoints" / name).params
        path.write_text(json.dumps(submission(Network(challenge.model, params), challenge)) + "\n")
        score = judge_explanation(read_explanation(path, name, origin(name)), challenge, params)
        print(*("{:<24} {:>12} {:>15}  {}".format(*row) for row in score.rows()), sep="\n")
        print(score.verdict)


if __name__ == "__main__":
    main()
