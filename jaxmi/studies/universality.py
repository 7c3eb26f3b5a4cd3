"""Do all seeds learn the published solutions' mechanism? One study for each challenge.

Every network is explained as `jaxmi explain` explains it, with its controls. Each claim is then a
comparison, within a network, of a figure with its control; a claim is universal if it holds in
every seed. How figures spread over seeds, and which seeds stand apart, is reported beside.

What the published solutions claim of a network, each against a control of the same network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation.cnn_solution import explain_cnn
from jaxmi.explanation.transformer_solution import explain_transformer
from jaxmi.studies.bootstrap import find, median, share
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    original_recipe,
    plain,
)
from jaxmi.types import Figures


@dataclass(frozen=True)
class Claim:
    """Something said of a network: a figure, against a control or a bar."""

    name: str
    words: str
    figure: str
    control: str | int | float
    """Another figure that it must exceed, or a number."""
    equal: bool = False
    """Whether it must equal the number instead."""

    def holds(self, figures: Figures) -> bool:
        """Whether it holds of a network."""
        bar = figures[self.control] if isinstance(self.control, str) else self.control
        value = figures[self.figure]
        return value == bar if self.equal else value > bar


CLAIMS = {
    "cnn": (
        Claim("detectors", "there are 1 detectors", "neurons_right", 0),
        Claim("anti_detectors", "there are anti-1 detectors", "neurons_left", 0),
        Claim(
            "specific",
            "each half of the images needs its own group more than random groups, on average",
            "kept_without_other",
            "kept_without_other_random_mean",
        ),
        Claim(
            "armwise",
            "arm-wise scrubbing: the true groups keep more labels than the best of 30 random ones",
            "armwise_true",
            "armwise_random_max",
        ),
        Claim(
            "similarity",
            "scrubbing by similarity to the clue keeps more than by any of 30 other 1s",
            "scrub_0.001",
            "control_other_ones_scrub_max",
        ),
        Claim(
            "armwise_trained",
            "arm-wise scrubbing keeps more than in the same seed's network before training",
            "armwise_true",
            "control_untrained_armwise_true",
        ),
        Claim(
            "trained",
            "scrubbing by similarity keeps more than in the same seed's network before training",
            "scrub_0.001",
            "control_untrained_scrub_0.001",
        ),
        Claim("clue", "the clue is found without the hint", "recovered_true_clue_rank", 1, True),
    ),
    "transformer": (
        Claim(
            "fixed_95",
            "fixing attention keeps more than 95 % of the labels",
            "fixed_baseline",
            0.95,
        ),
        Claim(
            "plane",
            "scrub 1 in the plane of most variance keeps more than in the best of 5 random planes",
            "full_scrub_1",
            "control_leading_plane_scrub_1_max",
        ),
        Claim(
            "filters",
            "two filters in that plane agree better than in the best of 5 random planes",
            "full_filters_agreement",
            "control_leading_plane_filters_agreement_max",
        ),
        Claim(
            "sides",
            "scrub 1+2 keeps more than with any of 5 pairs of turned sides",
            "full_scrub_1_2",
            "control_wrong_sides_scrub_1_2_max",
        ),
        Claim(
            "goal_95", "the two filters alone give more than 95 % of the labels", "full_goal", 0.95
        ),
        Claim("mlp", "the MLP alone keeps more than 99 % of the labels", "mlp_alone_kept", 0.99),
    ),
}

SCRUBS = ("1", "1star", "2", "3a", "3b", "1_2", "1_3a", "1_3b", "1_2_3a", "1_2_3b", "1_2_3a_3b")
SHOWN = {
    "cnn": (
        *("pca_variance_1", "pca_variance_2", "neurons_left", "neurons_right", "neurons_dead"),
        *("live_neurons_towards_1", "similarity_band_agreement", "l1_band_agreement"),
        *("logit_diff_median", "logit_diff_mean"),
        *(f"zero_{group}_{of}" for group in ("anti1", "one", "both") for of in ("median", "mean")),
        *(
            f"kept_{half}half_min_{group}"
            for half in ("anti1", "one")
            for group in ("anti1", "one", "both")
        ),
        *("kept_without_other", "kept_without_other_random_mean"),
        *(f"scrub_{noise}" for noise in ("0.0001", "0.001", "0.01", "0.1", "random")),
        *("control_other_ones_scrub_max", "control_brightness_scrub", "control_permuted_scrub"),
        *("control_untrained_scrub_0.001", "scrub_random_groups"),
        *("control_untrained_armwise_true",),
        *("armwise_true", "armwise_random_mean", "armwise_random_max", "armwise_swapped"),
        *("recovered_template_correlation", "recovered_template_agreement"),
        *("recovered_clue_correlation", "recovered_band_agreement"),
    ),
    "transformer": (
        *("accuracy", "fixed_baseline", "control_untrained_fixed_baseline"),
        *("full_pca_variance_1", "full_pca_variance_2", "full_pca_variance_3"),
        *("full_filters_agreement", "control_leading_plane_filters_agreement_max"),
        *("full_probe_resid_mid", "full_goal", "fixed_goal"),
        *(f"{run}_scrub_{row}" for run in ("full", "fixed") for row in SCRUBS),
        *("control_leading_plane_scrub_1", "control_leading_plane_scrub_1_max"),
        *("control_wrong_sides_scrub_2_max", "control_wrong_sides_scrub_1_2_max"),
        *("control_random_plane_scrub_1", "mlp_zero_kept", "mlp_alone_kept", "constant_answer"),
    ),
}
"""Challenge -> the figures whose spread over seeds is reported, as `jaxmi explain` names them."""


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
        figures = explain_cnn(part, trained.params, {"untrained": start}).figures
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
