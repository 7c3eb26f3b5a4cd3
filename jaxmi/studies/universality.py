"""Do all seeds learn the mechanism of the published solutions? One study for each challenge.

Every network is explained as `jaxmi explain` explains it, with its controls. A study checks a
network: each check compares a metric of the network with its control in the same network, or with
a number. A check is universal if it holds in every seed. The study also reports how metrics spread
over seeds, and which seeds are outliers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation.cnn_solution import explain_cnn
from jaxmi.explanation.transformer_solution import explain_transformer
from jaxmi.studies.bootstrap import estimate, estimate_share, median
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
class Check:
    """A comparison of a network's metric with a control or a number."""

    name: str
    description: str
    metric: str
    control: str | int | float
    """Another metric that it must exceed, or a number."""
    equal: bool = False
    """Whether it must equal the number instead."""

    def holds(self, metrics: Figures) -> bool:
        """Return whether a network passes."""
        bar = metrics[self.control] if isinstance(self.control, str) else self.control
        value = metrics[self.metric]
        return value == bar if self.equal else value > bar


CHECKS = {
    "cnn": (
        Check("detectors", "there are clue detectors", "neurons_right", 0),
        Check("anti_detectors", "there are anti-clue detectors", "neurons_left", 0),
        Check(
            "specific",
            "each half of the images needs its own group more than random groups, on average",
            "kept_without_other",
            "kept_without_other_random_mean",
        ),
        Check(
            "armwise",
            "arm-wise scrubbing keeps more with the true groups than with any of 30 random ones",
            "armwise_true",
            "armwise_random_max",
        ),
        Check(
            "similarity",
            "scrubbing by similarity to the clue keeps more than by any of 30 other 1s",
            "scrub_0.001",
            "control_other_ones_scrub_max",
        ),
        Check(
            "armwise_trained",
            "arm-wise scrubbing keeps more than in the same seed's network before training",
            "armwise_true",
            "control_untrained_armwise_true",
        ),
        Check(
            "trained",
            "scrubbing by similarity keeps more than in the same seed's network before training",
            "scrub_0.001",
            "control_untrained_scrub_0.001",
        ),
        Check(
            "clue",
            "the clue ranks first of all images without the hint",
            "recovered_true_clue_rank",
            1,
            True,
        ),
    ),
    "transformer": (
        Check(
            "fixed_95",
            "fixing attention keeps more than 95 % of the labels",
            "fixed_baseline",
            0.95,
        ),
        Check(
            "plane",
            "scrub 1 in the plane of most variance keeps more than in the best of 5 random planes",
            "full_scrub_1",
            "control_leading_plane_scrub_1_max",
        ),
        Check(
            "filters",
            "two filters in that plane agree better than in the best of 5 random planes",
            "full_filters_agreement",
            "control_leading_plane_filters_agreement_max",
        ),
        Check(
            "sides",
            "scrub 1+2 keeps more than with any of 5 pairs of turned sides",
            "full_scrub_1_2",
            "control_wrong_sides_scrub_1_2_max",
        ),
        Check(
            "goal_95", "the two filters alone give more than 95 % of the labels", "full_goal", 0.95
        ),
        Check("mlp", "the MLP alone keeps more than 99 % of the labels", "mlp_alone_kept", 0.99),
    ),
}
"""Challenge -> the checks of the published solution. The names are part of the findings' names."""

SCRUBS = ("1", "1star", "2", "3a", "3b", "1_2", "1_3a", "1_3b", "1_2_3a", "1_2_3b", "1_2_3a_3b")
METRICS = {
    "cnn": (
        *("pca_variance_1", "pca_variance_2", "neurons_left", "neurons_right", "neurons_dead"),
        *("live_neurons_towards_1", "similarity_band_agreement", "l1_band_agreement"),
        *("logit_diff_median", "logit_diff_mean"),
        *(
            f"zero_{group}_{statistic}"
            for group in ("anti1", "one", "both")
            for statistic in ("median", "mean")
        ),
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
"""Challenge -> the metrics whose spread over seeds is reported, as `jaxmi explain` names them."""

WITH_ORIGINAL = ("transformer",)
"""Challenges whose networks are also trained by the published recipe."""

ORIGINAL_PREFIX = "original_"
"""Precedes the names of findings on networks by the published recipe."""

OUTLIER = 4.0
"""A seed is an outlier if a metric is so many robust standard deviations from the median."""


def trainings(name: str, quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return the published challenge and, for the transformer, a few networks as published."""
    base = plain(name, quick, data_dir)
    return [base, original_recipe(base)] if name in WITH_ORIGINAL and not quick else [base]


def measure(training: Training, trained: Trained) -> Measured:
    """Explain a network, with all metrics of the published solution."""
    challenge = training.challenge
    part = SUBSETS[challenge.name](challenge) if training.is_quick else challenge
    metrics = EXPLAIN[challenge.name](part, trained)
    test = challenge.splits["test"]
    correct = challenge.logits(trained.params, test).argmax(axis=-1) == challenge.labels[test]
    metrics["test_accuracy"] = float(correct.mean())
    return {name: np.asarray(value, np.float64) for name, value in metrics.items()}


def _explain_cnn(challenge: Challenge, trained: Trained) -> Figures:
    """Explain a CNN; the untrained control is the same seed's network before training."""
    start = jax.jit(challenge.init)(jax.random.fold_in(jax.random.key(trained.seed), 0))
    return explain_cnn(challenge, trained.params, {"untrained": start}).figures


def _explain_transformer(challenge: Challenge, trained: Trained) -> Figures:
    return explain_transformer(challenge, trained.params).figures


EXPLAIN: dict[str, Callable[[Challenge, Trained], Figures]] = {
    "cnn": _explain_cnn,
    "transformer": _explain_transformer,
}
"""Challenge -> what explains its networks."""


def _first_images(challenge: Challenge, n: int) -> Challenge:
    assert challenge.digits is not None
    return replace(
        challenge,
        inputs=challenge.inputs[:n],
        labels=challenge.labels[:n],
        digits=challenge.digits[:n],
        solution=replace(challenge.solution, images=n),
    )


def _random_pairs(challenge: Challenge, n: int) -> Challenge:
    pairs = np.random.default_rng(0).permutation(len(challenge.labels))[:n]
    return replace(challenge, inputs=challenge.inputs[pairs], labels=challenge.labels[pairs])


SUBSETS: dict[str, Callable[[Challenge], Challenge]] = {
    "cnn": partial(_first_images, n=4000),
    "transformer": partial(_random_pairs, n=1500),
}
"""Challenge -> what takes fewer inputs of it, to be explained in the quick form."""


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate how often each check holds and how metrics spread, and name the outliers."""
    challenge = trainings[0].challenge
    checks = CHECKS[challenge.name]
    shown = (*METRICS[challenge.name], "test_accuracy")
    findings: dict[str, Finding] = {}
    held, values = {}, {}
    for training, prefix in zip(trainings, ("", ORIGINAL_PREFIX), strict=False):
        networks = [
            {name: float(value) for name, value in measured.items()}
            for measured in measurements[training.name].values()
        ]
        held[prefix] = np.array(
            [[check.holds(metrics) for metrics in networks] for check in checks]
        )
        values[prefix] = {name: np.array([metrics[name] for metrics in networks]) for name in shown}
        own_findings = check_findings(checks, held[prefix])
        for name, spread in values[prefix].items():
            own_findings[name] = estimate(f"median over networks of `{name}`", spread, median)
        findings |= {f"{prefix}{name}": finding for name, finding in own_findings.items()}
    seeds = list(measurements[trainings[0].name])
    tables = {
        prefix: {name: spread.round(5).tolist() for name, spread in table.items()}
        for prefix, table in values.items()
    }
    published = challenge.solution.figures
    data = {
        "seeds": seeds,
        "values": tables[""],
        "original": tables.get(ORIGINAL_PREFIX, {}),
        "published": {name: value for name, value in published.items() if name in shown},
        "claims": {check.name: check.description for check in checks},
        "failing": {
            check.name: np.array(seeds)[~passed].tolist()
            for check, passed in zip(checks, held[""], strict=True)
        },
        "apart": outliers(seeds, values[""]),
    }
    return Conclusion(findings, data)


def check_findings(
    checks: Sequence[Check], held: Bool[np.ndarray, "checks n"]
) -> dict[str, Finding]:
    """Estimate the share of networks in which each check holds, and all of them together."""
    compared = np.array([isinstance(check.control, str) for check in checks])
    findings = {
        f"claim_{check.name}": estimate_share(f"networks in which {check.description}", passed)
        for check, passed in zip(checks, held, strict=True)
    }
    description = "networks in which all checks hold"
    findings["claims_compared"] = estimate_share(
        f"{description} that compare with a control", np.all(held[compared], axis=0)
    )
    findings["claims_all"] = estimate_share(description, np.all(held, axis=0))
    return findings


def outliers(
    seeds: Sequence[int], values: dict[str, Float[np.ndarray, "n"]]
) -> list[dict[str, str | int | float]]:
    """Return the seeds whose metrics are outliers, after Iglewicz and Hoaglin (1993).

    The robust standard deviation is 1.4826 times the median distance from the median.
    """
    rows: list[dict[str, str | int | float]] = []
    for name, spread in values.items():
        middle = np.median(spread)
        deviation = 1.4826 * np.median(np.abs(spread - middle))
        if deviation == 0:
            continue
        for seed, value in zip(seeds, spread, strict=True):
            if abs(value - middle) > OUTLIER * deviation:
                rows.append(
                    {
                        "seed": seed,
                        "figure": name,
                        "value": round(float(value), 5),
                        "deviations": round(float((value - middle) / deviation), 1),
                    }
                )
    return sorted(rows, key=lambda row: (row["seed"], row["figure"]))


def _study(challenge: str, question: str, *main: str) -> Study:
    return Study(
        name=f"universality-{challenge}",
        question=question,
        n_seeds=32,
        trainings=partial(trainings, challenge),
        main=(*(f"claim_{check.name}" for check in CHECKS[challenge]), "claims_all", *main),
        measure=measure,
        conclude=conclude,
    )


CNN = _study("cnn", "Does every CNN learn detectors and anti-detectors of the clue image?")
TRANSFORMER = _study(
    "transformer",
    "Does every transformer add up embeddings and filter them in a plane?",
    *(f"{ORIGINAL_PREFIX}claim_{check.name}" for check in CHECKS["transformer"]),
)
