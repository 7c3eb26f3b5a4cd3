"""Do all seeds learn the published solutions' mechanism? One study for each challenge.

Every network is explained as `jaxmi explain` explains it, with its controls. Each claim is then a
comparison, within a network, of a figure with its control; a claim is universal if it holds in
every seed. How figures spread over seeds, and which seeds stand apart, is reported beside.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxmi.challenges.challenge import Challenge
from jaxmi.data.mnist import load_mnist
from jaxmi.explain.cnn_solution import explain_cnn
from jaxmi.explain.transformer_solution import explain_transformer
from jaxmi.studies.bootstrap import find, median, share
from jaxmi.studies.claims import CLAIMS, SHOWN, Claim
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
)
from jaxmi.studies.trainings import original_recipe, plain

QUICK_INPUTS = {"cnn": 4000, "transformer": 1500}
"""Inputs that are looked at when a study is only to be tried."""

APART = 4.0
"""A seed stands apart if a figure is so many robust standard deviations from the median."""


def trainings(name: str, quick: bool, data_dir: Path | None = None) -> list[Training]:
    """The published challenge; of the transformer, a few networks by the published recipe too."""
    base = plain(name, quick, data_dir)
    return [base, original_recipe(base)] if name == "transformer" and not quick else [base]


def measure(training: Training, trained: Trained) -> Measured:
    """Every figure of the published solution on a network."""
    challenge = training.challenge
    part = _part(challenge) if training.is_quick else challenge
    if challenge.name == "transformer":
        figures = explain_transformer(part, trained.params).figures
    else:
        start = jax.jit(challenge.init)(jax.random.fold_in(jax.random.key(trained.seed), 0))
        digits = load_mnist(training.data_dir).digits
        figures = explain_cnn(part, trained.params, digits, {"untrained": start}).figures
    test = challenge.splits["test"]
    right = challenge.logits(trained.params, test).argmax(axis=-1) == challenge.labels[test]
    figures["test_accuracy"] = float(right.mean())
    return {name: np.asarray(value, np.float64) for name, value in figures.items()}


def _part(challenge: Challenge) -> Challenge:
    """A challenge of fewer inputs, to be explained quickly."""
    n = QUICK_INPUTS[challenge.name]
    if challenge.name == "cnn":
        rows = np.arange(n)
        return replace(
            challenge,
            inputs=challenge.inputs[rows],
            labels=challenge.labels[rows],
            solution=replace(challenge.solution, images=n),
        )
    rows = np.random.default_rng(0).permutation(len(challenge.labels))[:n]
    return replace(challenge, inputs=challenge.inputs[rows], labels=challenge.labels[rows])


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """In how many seeds each claim holds, how figures spread, and who stands apart."""
    challenge = trainings[0].challenge
    claims = CLAIMS[challenge.name]
    shown = (*SHOWN[challenge.name], "test_accuracy")
    findings: dict[str, Finding] = {}
    held, values = {}, {}
    for training, prefix in zip(trainings, ("", "original_"), strict=False):
        networks = list(measurements[training.name].values())
        figures = [{name: float(value) for name, value in one.items()} for one in networks]
        held[prefix] = np.array([[claim.holds(one) for one in figures] for claim in claims])
        values[prefix] = {name: np.array([one[name] for one in figures]) for name in shown}
        found = claims_found(claims, held[prefix])
        for name, of in values[prefix].items():
            found[name] = find(f"median over networks of `{name}`", of, median)
        findings |= {f"{prefix}{name}": one for name, one in found.items()}
    seeds = list(measurements[trainings[0].name])
    tables = {
        prefix: {name: of.round(5).tolist() for name, of in table.items()}
        for prefix, table in values.items()
    }
    data = {
        "seeds": seeds,
        "values": tables[""],
        "original": tables.get("original_", {}),
        "published": {k: v for k, v in challenge.solution.figures.items() if k in shown},
        "claims": {claim.name: claim.words for claim in claims},
        "failing": {
            claim.name: np.array(seeds)[~ok].tolist()
            for claim, ok in zip(claims, held[""], strict=True)
        },
        "apart": stand_apart(seeds, values[""]),
    }
    return Conclusion(findings, data)


def claims_found(claims: Sequence[Claim], held: Bool[np.ndarray, "claims n"]) -> dict[str, Finding]:
    """In how many networks each claim holds, and in how many they hold together."""
    compared = np.array([isinstance(claim.control, str) for claim in claims])
    found = {
        f"claim_{claim.name}": share(f"networks in which {claim.words}", ok)
        for claim, ok in zip(claims, held, strict=True)
    }
    words = "networks in which all claims hold"
    found["claims_compared"] = share(
        f"{words} that compare with a control", np.all(held[compared], axis=0)
    )
    found["claims_all"] = share(words, np.all(held, axis=0))
    return found


def stand_apart(
    seeds: Sequence[int], values: dict[str, Float[np.ndarray, "n"]]
) -> list[dict[str, str | int | float]]:
    """Names the seeds that stand apart, and in what; after Iglewicz and Hoaglin (1993).

    The robust standard deviation is 1.4826 times the median distance from the median.
    """
    found = []
    for name, of in values.items():
        middle = np.median(of)
        spread = 1.4826 * np.median(np.abs(of - middle))
        if spread == 0:
            continue
        for seed, value in zip(seeds, of, strict=True):
            if abs(value - middle) > APART * spread:
                found.append(
                    {
                        "seed": seed,
                        "figure": name,
                        "value": round(float(value), 5),
                        "deviations": round(float((value - middle) / spread), 1),
                    }
                )
    return sorted(found, key=lambda one: (one["seed"], one["figure"]))


def _study(challenge: str, question: str, *main: str) -> Study:
    return Study(
        name=f"universality-{challenge}",
        question=question,
        n_seeds=32,
        trainings=partial(trainings, challenge),
        main=(*(f"claim_{claim.name}" for claim in CLAIMS[challenge]), "claims_all", *main),
        measure=measure,
        conclude=conclude,
    )


CNN = _study("cnn", "Does every CNN learn detectors and anti-detectors of the clue image?")
TRANSFORMER = _study(
    "transformer",
    "Does every transformer add up embeddings and filter them in a plane?",
    *(f"original_claim_{claim.name}" for claim in CLAIMS["transformer"]),
)
