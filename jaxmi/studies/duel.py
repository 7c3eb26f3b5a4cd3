"""Which published solution of challenge 2 keeps more labels, and who is right where they disagree?

Both solutions are written as submitted explanations of every network and compared on the same
inputs and draws, as `jaxmi score --against` does.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import Origin
from jaxmi.explanation.network import Network
from jaxmi.judge.duel import duel_explanations
from jaxmi.judge.duel_score import CLASSES, CONTROLS, OTHER, OWNER, Estimate, Interventions, Side
from jaxmi.judge.judge_explanation import bind_claims, run_claims, with_features
from jaxmi.judge.permissions import Permissions
from jaxmi.judge.published import extended_embeddings, two_filters
from jaxmi.judge.submission import Explanation, read_explanation
from jaxmi.studies.bootstrap import estimate, estimate_share
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    one_block_on_pairs,
    plain,
)
from jaxmi.types import Params

ROWS, QUICK_ROWS = 3000, 200
"""Inputs that a network is measured on, at most; the same for all networks."""

NOISES = (0.001, 0.003, 0.03, 0.1)
"""Other noise on the second solution's features: is the answer one of how fine they are?"""

FIRST, SECOND = "first", "second"
NAMES = (FIRST, SECOND)
"""The solutions, as their findings' names begin."""

WRITERS = {FIRST: two_filters, SECOND: extended_embeddings}

WORDS = {
    "kept": "labels kept",
    "kept_rest": "labels kept with the rest resampled",
    "bits": f"bits of feature, on {ROWS} inputs of the domain, or all",
    "gain": "labels kept beyond a constant feature",
    "gain_per_bit": "the same per bit of feature",
    "similar_per_bit": "the same of similar inputs, of equal granularity",
    "both": "labels kept where both permit the exchange",
    "owner": "labels kept where only it permits the exchange",
    "other": "labels kept where only the other permits the exchange",
    "neither": "labels kept where neither permits the exchange",
    "loss": "labels kept where both permit, less where only it does, same inputs",
    "loss_permuted": "the same, the other's features permuted",
    "loss_similar": "the same, similar inputs in the other's place",
    "excess": "the loss beyond the better control",
    "rise": "labels kept where only it permits, less where neither does",
    "lead": "labels kept where only it permits, less where only the other does",
    "other_seed_gain": "labels kept beyond a constant feature, explanation of another seed",
}
"""Ending of a measurement's name -> what it is, of exchanges of the solution's own components."""


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return challenge 2."""
    return trainings_of(plain("transformer", quick, data_dir))


def trainings_of(base: Training) -> list[Training]:
    """Return the training alone.

    Raises:
      InputError: if the solutions are not about such networks.
    """
    return one_block_on_pairs("duel", base)


def measure(training: Training, trained: Trained) -> Measured:
    """Write both solutions for a network, and compare them on it."""
    challenge, params = training.challenge, trained.params
    n = min(QUICK_ROWS if training.is_quick else ROWS, len(challenge.inputs))
    drawn = np.random.default_rng(0).choice(len(challenge.inputs), n, replace=False)
    rows = np.sort(drawn)
    one, other = (_written(name, challenge, params) for name in NAMES)
    duel = duel_explanations((one, other), NAMES, challenge, params, rows)
    found: dict[str, float] = {}
    for side, interventions in zip(duel.sides, duel.interventions, strict=True):
        for key, value in (_of_side(side) | _of_exchanges(interventions)).items():
            found[f"{side.name}_{key}"] = value
    for i, noise in enumerate(NOISES):
        explanation = _read(
            extended_embeddings(Network(challenge.model, params), challenge, noise), challenge
        )
        gain, bits = _gain(explanation, challenge, params, rows)
        found |= {f"noise{i}_gain": gain, f"noise{i}_bits": bits}
    if trained.other is not None:
        for name in NAMES:
            explanation = _written(name, challenge, trained.other)
            found[f"{name}_other_seed_gain"] = _gain(explanation, challenge, params, rows)[0]
    return {key: np.asarray(value, np.float64) for key, value in found.items()}


def _written(name: str, challenge: Challenge, params: Params) -> Explanation:
    return _read(WRITERS[name](Network(challenge.model, params), challenge), challenge)


def _read(submission: Mapping[str, Any], challenge: Challenge) -> Explanation:
    known = Origin(challenge.kind, challenge.model)
    return read_explanation(json.dumps(submission), challenge.name, known)


def _of_side(side: Side) -> dict[str, float]:
    found = {
        "kept": float(side.kept.mean()),
        "kept_rest": float(side.kept_rest.mean()),
        "bits": side.bits,
        "gain": float(side.gain().mean()),
    }
    per_bit = {"gain_per_bit": side.per_bit(), "similar_per_bit": side.similar_per_bit()}
    return found | _values(per_bit)


def _of_exchanges(found: Interventions) -> dict[str, float]:
    estimates = {name: found.cells[name].share for name in CLASSES}
    estimates |= {"loss": found.loss, "excess": found.excess}
    estimates |= {"rise": found.rise, "lead": found.lead}
    estimates |= {f"loss_{name}": found.control_losses[name] for name in CONTROLS}
    right = {found.owner: OWNER, found.other: OTHER}.get(found.right)
    return {
        **_values(estimates),
        "is_right": float(right == OWNER),
        "other_is_right": float(right == OTHER),
    }


def _values(estimates: Mapping[str, Estimate | None]) -> dict[str, float]:
    """Return the means of those that could be estimated."""
    return {name: found.value for name, found in estimates.items() if found is not None}


def _gain(
    explanation: Explanation, challenge: Challenge, params: Params, rows: Int[np.ndarray, "n"]
) -> tuple[float, float]:
    """Return the labels that features keep beyond a constant feature, and their bits."""
    claims = bind_claims(explanation, challenge, params, rows)
    subject = claims[0].subject
    constant = with_features(claims, [np.zeros(subject.n)] * len(claims))
    kept, kept_constant = (run_claims(subject, one, draws=2).kept for one in (claims, constant))
    return kept - kept_constant, Permissions(claims, np.arange(subject.n)).bits()


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate what each solution keeps, who keeps more, and how often each is right."""
    (training,) = trainings
    networks = list(measurements[training.name].values())

    def known(key: str) -> np.ndarray:
        return np.array([float(network[key]) for network in networks if key in network])

    findings: dict[str, Finding] = {}
    for name in NAMES:
        for key, words in WORDS.items():
            if len(values := known(f"{name}_{key}")):
                about = f"mean over networks: {name} solution, {words}"
                findings[f"{name}_{key}"] = estimate(about, values)
        findings[f"{name}_is_right"] = estimate_share(
            f"networks in which the {name} solution is right where only it permits the exchange",
            known(f"{name}_is_right") > 0,
        )
        findings[f"{name}_is_wrong"] = estimate_share(
            f"networks in which the other solution is right where only the {name} permits",
            known(f"{name}_other_is_right") > 0,
        )
    for key, words in (("kept", "labels"), ("gain_per_bit", "labels per bit")):
        pairs = [
            (float(network[f"{FIRST}_{key}"]), float(network[f"{SECOND}_{key}"]))
            for network in networks
            if f"{FIRST}_{key}" in network and f"{SECOND}_{key}" in network
        ]
        if pairs:
            gap = np.subtract(*np.array(pairs).T)
            about = f"mean over networks: {words} kept by the first solution, less by the second"
            findings[f"difference_{key}"] = estimate(about, gap)
            findings[f"first_ahead_{key}"] = estimate_share(
                f"networks in which the first solution keeps more {words}", gap > 0
            )
    for i, noise in enumerate(NOISES):
        about = f"mean over networks: second solution with noise {noise}"
        gain = f"{about}, labels kept beyond a constant feature"
        findings[f"noise{i}_gain"] = estimate(gain, known(f"noise{i}_gain"))
        findings[f"noise{i}_bits"] = estimate(f"{about}, {WORDS['bits']}", known(f"noise{i}_bits"))
    points = [
        {"solution": name, "bits": float(network[bits]), "gain": float(network[gain])}
        for network in networks
        for name, bits, gain in (
            *((name, f"{name}_bits", f"{name}_gain") for name in NAMES),
            *((SECOND, f"noise{i}_bits", f"noise{i}_gain") for i in range(len(NOISES))),
        )
    ]
    excess = {name: known(f"{name}_excess").tolist() for name in NAMES}
    return Conclusion(findings, {"points": points, "excess": excess})


STUDY = Study(
    name="duel",
    question="Which published solution of challenge 2 keeps more labels per bit of feature, and "
    "which is right where only one permits an exchange?",
    n_seeds=32,  # each takes most of a minute to measure
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer",),
    compares=True,
    main=(
        "first_kept",
        "second_kept",
        "difference_kept",
        "first_ahead_kept",
        "first_bits",
        "second_bits",
        "first_gain_per_bit",
        "first_similar_per_bit",
        "second_gain_per_bit",
        "second_similar_per_bit",
        "first_owner",
        "first_neither",
        "first_excess",
        "first_is_right",
        "first_is_wrong",
        "second_owner",
        "second_neither",
        "second_excess",
        "second_is_right",
        "second_is_wrong",
        "first_other_seed_gain",
        "second_other_seed_gain",
    ),
    measure=measure,
    conclude=conclude,
)
