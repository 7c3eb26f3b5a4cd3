"""Do all seeds learn the mechanism of the published solutions? One study for each network.

Every network is explained as `jaxmi explain` explains it, with its controls. A study checks a
network: each check compares a metric of the network with its control in the same network, or with
a number. A check is universal if it holds in every seed. The study also reports how metrics spread
over seeds, and which seeds are outliers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.explanation import cnn_metrics as cnn
from jaxmi.explanation import transformer_metrics as transformer
from jaxmi.explanation.cnn_solution import explain_cnn, known_clue, prepare
from jaxmi.explanation.metrics import Metric
from jaxmi.explanation.transformer_solution import MAX_INPUTS, explain_transformer
from jaxmi.studies.bootstrap import estimate, estimate_share, median
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    naming_the_seed,
    network_of,
    original_recipe,
    plain,
    refuse,
)
from jaxmi.types import Metrics


@dataclass(frozen=True)
class Check:
    """A comparison of a network's metric with a control or a number.

    A check is not a verdict of `explanation.verdicts`. It asks for more than the control by any
    margin, and for no minimum: the study's statistic is the share of networks that pass.
    """

    name: str
    description: str
    metric: Metric
    control: Metric | int | float
    """Another metric that it must exceed, or a number."""
    equal: bool = False
    """Whether it must equal the number instead."""
    elsewhere: str | None = None
    """The description for other challenges than the published one, if it is another."""

    @property
    def keys(self) -> set[str]:
        """The keys of the metrics that it compares; a small network may lack one."""
        compared = (self.metric, self.control)
        return {metric.key for metric in compared if isinstance(metric, Metric)}

    def holds(self, metrics: Metrics) -> bool:
        """Return whether a network passes."""
        control = self.control
        bar = metrics[control.key] if isinstance(control, Metric) else control
        value = metrics[self.metric.key]
        return value == bar if self.equal else value > bar


CHECKS = {
    "cnn": (
        Check("detectors", "there are clue detectors", cnn.NEURONS_RIGHT, 0),
        Check("anti_detectors", "there are anti-clue detectors", cnn.NEURONS_LEFT, 0),
        Check(
            "specific",
            "each half of the images needs its own group more than random groups, on average",
            cnn.KEPT_WITHOUT_OTHER,
            cnn.KEPT_WITHOUT_OTHER_RANDOM,
        ),
        Check(
            "armwise",
            "arm-wise scrubbing keeps more with the true groups than with any of 30 random ones",
            cnn.ARMWISE.kept,
            cnn.ARMWISE_RANDOM_MAX,
        ),
        Check(
            "similarity",
            "scrubbing by similarity to the clue keeps more than by any of 30 other 1s",
            cnn.CONTROL_SCRUB,
            cnn.OTHER_ONES_SCRUB_MAX,
            elsewhere="scrubbing by similarity to the clue keeps more than by any of 30 other "
            "images of its digit",
        ),
        Check(
            "armwise_trained",
            "arm-wise scrubbing keeps more than in the same seed's network before training",
            cnn.ARMWISE.kept,
            cnn.ON_CONTROL_NETWORK["untrained", cnn.ARMWISE.kept],
        ),
        Check(
            "trained",
            "scrubbing by similarity keeps more than in the same seed's network before training",
            cnn.CONTROL_SCRUB,
            cnn.ON_CONTROL_NETWORK["untrained", cnn.CONTROL_SCRUB],
        ),
        Check(
            "clue",
            "the clue ranks first of all images without the hint",
            cnn.FIT_CLUE_RANK,
            1,
            True,
            "the clue that the program names ranks first of all images",
        ),
    ),
    "transformer": (
        Check(
            "fixed_95",
            "fixing attention keeps more than 95 % of the labels",
            transformer.BASELINE["fixed"],
            0.95,
        ),
        Check(
            "plane",
            "scrub 1 in the plane of most variance keeps more than in the best of 5 random planes",
            transformer.SCRUBS["1"]["full"].kept,
            transformer.PLANE_SCRUB_MAX["leading_plane"],
        ),
        Check(
            "filters",
            "two filters in that plane agree better than in the best of 5 random planes",
            transformer.FILTERS_AGREEMENT["full"],
            transformer.PLANE_AGREEMENT_MAX["leading_plane"],
        ),
        Check(
            "sides",
            "scrub 1+2 keeps more than with any of 5 pairs of turned sides",
            transformer.SCRUBS["1+2"]["full"].kept,
            transformer.TURNED_MAX["1+2"],
        ),
        Check(
            "goal_95",
            "the two filters alone give more than 95 % of the labels",
            transformer.GOAL["full"],
            0.95,
        ),
        Check(
            "mlp",
            "the MLP alone keeps more than 99 % of the labels",
            transformer.MLP_ALONE,
            0.99,
        ),
    ),
}
"""Network, as `network_of` returns it -> the checks of the published solution. The names are part
of the findings' names."""

METRICS: dict[str, tuple[Metric, ...]] = {
    "cnn": (
        *(cnn.VARIANCE_1, cnn.VARIANCE_2, cnn.NEURONS_LEFT, cnn.NEURONS_RIGHT, cnn.NEURONS_DEAD),
        *(cnn.TOWARDS_1, cnn.SIMILARITY_BAND, cnn.L1_BAND),
        *(
            by_group[group]
            for group in cnn.MEDIAN_WITHOUT
            for by_group in (cnn.MEDIAN_WITHOUT, cnn.MEAN_WITHOUT)
        ),
        *cnn.AT_MINIMUM.values(),
        *(cnn.KEPT_WITHOUT_OTHER, cnn.KEPT_WITHOUT_OTHER_RANDOM),
        *(scrub.kept for scrub in (*cnn.SCRUBS.values(), cnn.SCRUB_RANDOM)),
        *(cnn.OTHER_ONES_SCRUB_MAX, cnn.BRIGHTNESS_SCRUB, cnn.PERMUTED_SCRUB),
        cnn.ON_CONTROL_NETWORK["untrained", cnn.CONTROL_SCRUB],
        cnn.SCRUB_RANDOM_GROUPS,
        cnn.ON_CONTROL_NETWORK["untrained", cnn.ARMWISE.kept],
        *(cnn.ARMWISE.kept, cnn.ARMWISE_RANDOM_MEAN, cnn.ARMWISE_RANDOM_MAX, cnn.ARMWISE_SWAPPED),
        *(cnn.FIT_TEMPLATE_CORRELATION, cnn.FIT_TEMPLATE_BAND),
        *(cnn.FIT_CLUE_CORRELATION, cnn.FIT_BAND),
    ),
    "transformer": (
        *(transformer.ACCURACY, transformer.BASELINE["fixed"]),
        transformer.ON_UNTRAINED[transformer.BASELINE["fixed"]],
        *(variance["full"] for variance in transformer.VARIANCES),
        transformer.FILTERS_AGREEMENT["full"],
        transformer.PLANE_AGREEMENT_MAX["leading_plane"],
        *(transformer.PROBE["full"], *transformer.GOAL.values()),
        *(scrubs[run].kept for run in transformer.RUNS for scrubs in transformer.SCRUBS.values()),
        transformer.PLANE_SCRUB_MEAN["leading_plane"],
        transformer.PLANE_SCRUB_MAX["leading_plane"],
        *(transformer.TURNED_MAX["2"], transformer.TURNED_MAX["1+2"]),
        transformer.PLANE_SCRUB_MEAN["random_plane"],
        *(transformer.MLP_ZERO, transformer.MLP_ALONE, transformer.CONSTANT),
    ),
}
"""Network, as `network_of` returns it -> the metrics whose spread over seeds is reported."""

TEST_ACCURACY = "test_accuracy"
"""The accuracy on the test split, which the study reports beside the explanation's metrics."""

ORIGINAL_PREFIX = "original_"
"""Precedes the names of findings on networks by the published recipe."""

QUICK_IMAGES, QUICK_PAIRS = 4000, 1500
"""Inputs that the quick form explains a network on, at most; of images more if the clue is not
among so many."""

OUTLIER = 4.0
"""A seed is an outlier if a metric is so many robust standard deviations from the median."""


def trainings(name: str, quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return the published challenge and, for the transformer, a few networks as published."""
    return trainings_of(plain(name, quick, data_dir))


def trainings_of(base: Training) -> list[Training]:
    """Return the training, and for challenge 2 a few networks as published.

    Raises:
      InputError: if the network is too small to be explained.
    """
    for size, what in (("d_model", "dimensions of the residual stream"), ("neurons", "neurons")):
        if base.challenge.model_config.get(size, 2) < 2:
            raise refuse("universality", base.challenge, f"needs two {what}", "has one")
    return [base, *original_recipe(base)]


def measure(training: Training, trained: Trained) -> Measured:
    """Explain a network, with all metrics of the published solution."""
    challenge = training.challenge
    with naming_the_seed(training, trained):
        metrics = EXPLAIN[network_of(challenge)](challenge, trained, training.is_quick)
    test = challenge.splits["test"]
    correct = challenge.logits(trained.params, test).argmax(axis=-1) == challenge.labels[test]
    metrics[TEST_ACCURACY] = float(correct.mean())
    return {name: np.asarray(value, np.float64) for name, value in metrics.items()}


def _explain_cnn(challenge: Challenge, trained: Trained, quick: bool) -> Metrics:
    """Explain a CNN; the untrained control is the same seed's network before training."""
    if quick:
        challenge = _first_images(challenge, QUICK_IMAGES)
    start = jax.jit(challenge.init)(jax.random.fold_in(jax.random.key(trained.seed), 0))
    prepared = prepare(challenge, {"untrained": start})
    return explain_cnn(challenge, trained.params, prepared).metrics


def _explain_transformer(challenge: Challenge, trained: Trained, quick: bool) -> Metrics:
    most = QUICK_PAIRS if quick else MAX_INPUTS
    return explain_transformer(challenge, trained.params, most).metrics


EXPLAIN: dict[str, Callable[[Challenge, Trained, bool], Metrics]] = {
    "cnn": _explain_cnn,
    "transformer": _explain_transformer,
}
"""Network, as `network_of` returns it -> a function that explains such networks; in the quick form
on fewer inputs."""


def _first_images(challenge: Challenge, n: int) -> Challenge:
    """Return a challenge on its first n training images, or on more: the clue is among them."""
    assert challenge.digits is not None and isinstance(challenge.solution, ClueSolution)
    n = min(max(n, (known_clue(challenge) or 0) + 1), challenge.solution.images)
    return replace(
        challenge,
        inputs=challenge.inputs[:n],
        labels=challenge.labels[:n],
        digits=challenge.digits[:n],
        solution=replace(challenge.solution, images=n),
    )


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate how often each check holds and how metrics spread, and name the outliers."""
    challenge = trainings[0].challenge
    is_published = challenge.published is not None
    measured_keys = set(next(iter(measurements[trainings[0].name].values())))
    checks = [
        check
        if is_published or check.elsewhere is None
        else replace(check, description=check.elsewhere)
        for check in CHECKS[network_of(challenge)]
        if check.keys <= measured_keys
    ]
    shown = (*(metric.key for metric in METRICS[network_of(challenge)]), TEST_ACCURACY)
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
        values[prefix] = {
            name: np.array([metrics[name] for metrics in networks])
            for name in shown
            if all(math.isfinite(metrics.get(name, math.nan)) for metrics in networks)
        }
        own_findings = check_findings(checks, held[prefix])
        for name, spread in values[prefix].items():
            own_findings[name] = estimate(f"median over networks of `{name}`", spread, median)
        findings |= {f"{prefix}{name}": finding for name, finding in own_findings.items()}
    seeds = list(measurements[trainings[0].name])
    tables = {
        prefix: {name: spread.round(5).tolist() for name, spread in table.items()}
        for prefix, table in values.items()
    }
    data = {
        "seeds": seeds,
        "values": tables[""],
        "original": tables.get(ORIGINAL_PREFIX, {}),
        "published": {
            metric.key: metric.published
            for metric in METRICS[network_of(challenge)]
            if is_published and metric.published is not None
        },
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
    compared = np.array([isinstance(check.control, Metric) for check in checks])
    findings = {
        f"claim_{check.name}": estimate_share(f"networks in which {check.description}", passed)
        for check, passed in zip(checks, held, strict=True)
    }
    description = "networks in which all checks hold"
    if compared.any():
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
        trainings_of=trainings_of,
        challenges=(challenge,),
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
