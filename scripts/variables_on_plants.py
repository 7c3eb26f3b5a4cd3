"""Measure what `jaxmi explain --variables` says of planted networks; docs/variables.md has a table.

    python scripts/variables_on_plants.py --seeds 100:120 --out docs/variables-on-plants.json

Random programs, with guards and without, are compiled by all three mechanisms, in disguise. A
variable that a network holds by its key, in full, should be called computed; a variable of a
look-up should not. And each network should be said to follow the mechanism that was compiled.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.errors import InputError
from jaxmi.mechanism.account import run_network
from jaxmi.mechanism.interchange import sites_of
from jaxmi.mechanism.look_ups import find_model, look_up_sites
from jaxmi.mechanism.replacement import Source
from jaxmi.mechanism.variables import Findings, find_variables
from jaxmi.methods import marks
from jaxmi.planted.compile import MECHANISMS
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.sample import NumberGrammar, sample_program
from jaxmi.programs.show import show
from jaxmi.programs.variables import hypotheses
from jaxmi.workflows.plants import compile_network

GRAMMARS = {"without guards": NumberGrammar(guarded=(0, 0)), "with guards": NumberGrammar()}
NETWORK = {"d_mlp": 256}
SHARES = (0.1, 0.9)
"""Programs are drawn anew until the share of their labels that are 1 lies within these."""


def measure(seed: int, kind: str, p: int, sites: list[str]) -> list[dict[str, Any]]:
    """Ask the three plants of one random program; return an object for each."""
    rng = random.Random(seed)
    while True:
        program = sample_program(PairDomain(p), rng, GRAMMARS[kind])
        try:
            plants = {name: compile_network(program, name, p, NETWORK, seed) for name in MECHANISMS}
        except InputError:
            continue
        if SHARES[0] <= (plants["rows"].challenge.labels == 1).mean() <= SHARES[1]:
            break
    found = []
    for mechanism, plant in plants.items():
        challenge = plant.challenge
        assert isinstance(challenge, NumberChallenge)
        run = run_network(challenge.model, plant.params, challenge.inputs)
        difference = run.mlp.difference(run.resid_mid)
        source = Source(run.mlp, run.resid_mid, run.neurons, challenge.grid, difference)
        labels = difference > 0
        asked = [
            one
            for one in hypotheses(program, challenge.program_domain)
            if one.variable.role != "operand"
        ]
        at = {name: [s for s in of if s.name in sites] for name, of in _sites(source, labels)}
        own = at.pop("own")
        variables = find_variables(asked, labels, challenge.grid, own, look_ups=at)
        conditions = Findings(program, 1.0, variables).model if sites else None
        model = find_model(source, conditions)
        key = {one["name"]: one for one in plant.key["variables"]}
        found.append(
            {
                "seed": seed,
                "kind": kind,
                "mechanism": mechanism,
                "program": show(program),
                "model": model.model,
                "variables": [
                    {
                        "name": one.name,
                        "site": one.site,
                        "held": bool(key.get(one.name, {}).get("held")),
                        "full": bool(key.get(one.name, {}).get("full")),
                        "strict": one.strict,
                        "strict_beyond_operands": one.strict_beyond_operands,
                        "look_up_strict": one.look_up_strict,
                        "verdict": one.verdict,
                    }
                    for one in variables
                ],
            }
        )
    return found


def _sites(source: Source, labels: np.ndarray) -> list[tuple[str, Any]]:
    look_ups = look_up_sites(labels.reshape(source.shape))
    return [("own", sites_of(source)), *look_ups.items()]


def auroc(held: list[float], others: list[float]) -> float | None:
    """Return the probability that a held variable's share is above another's, ties half."""
    if not held or not others:
        return None
    truth = np.repeat([True, False], [len(held), len(others)])
    return marks.auroc(truth, np.array([*held, *others], np.float64))


def summary(networks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return verdicts of held and other variables, AUROC, and the confusion of mechanisms."""
    result: dict[str, Any] = {}
    for kind in GRAMMARS:
        mine = [one for one in networks if one["kind"] == kind]
        confusion: dict[str, dict[str, int]] = {}
        for one in mine:
            row = confusion.setdefault(one["mechanism"], {})
            row[one["model"]] = row.get(one["model"], 0) + 1
        by_site: dict[str, Any] = {}
        known = [v for one in mine for v in one["variables"] if v["strict"] is not None]
        for site in sorted({v["site"] for v in known}):
            groups = {
                "held": [v for v in known if v["site"] == site and v["held"] and v["full"]],
                "held_in_part": [v for v in known if v["site"] == site and v["held"] > v["full"]],
                "not_held": [v for v in known if v["site"] == site and not v["held"]],
            }
            by_site[site] = {
                name: {
                    "count": len(of),
                    "verdicts": {
                        verdict: sum(v["verdict"] == verdict for v in of)
                        for verdict in sorted({v["verdict"] for v in of})
                    },
                    "strict": float(np.mean([v["strict"] for v in of])) if of else None,
                }
                for name, of in groups.items()
            }
            by_site[site]["auroc"] = auroc(
                [v["strict"] for v in groups["held"]], [v["strict"] for v in groups["not_held"]]
            )
        result[kind] = {
            "programs": len({one["seed"] for one in mine}),
            "model": confusion,
            "sites": by_site,
        }
    return result


def main() -> None:
    """Measure, and write after every program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="100:120")
    parser.add_argument("--p", type=int, default=37)
    parser.add_argument("--sites", nargs="*", default=["resid_mid", "neurons"])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    first, last = map(int, arguments.seeds.split(":"))
    networks: list[dict[str, Any]] = []
    for seed in range(first, last):
        for kind in GRAMMARS:
            networks += measure(seed, kind, arguments.p, arguments.sites)
            given = {"p": arguments.p, "seeds": arguments.seeds, "sites": arguments.sites}
            text = json.dumps({**given, "summary": summary(networks), "networks": networks})
            arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
