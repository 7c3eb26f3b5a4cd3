"""In how many networks does each claim of challenge 2's two published solutions hold?

Both solutions are recomputed on every network as `jaxmi explain` recomputes them, with the same
controls, and every claim gets the verdict that the report gives it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmi.explanation import transformer_metrics as first
from jaxmi.explanation.transformer_solution import MAX_INPUTS, explain_transformer
from jaxmi.explanation.verdicts import HOLDS, IN_PART, NOT_SHOWN, Claim
from jaxmi.mechanism import second_metrics as second
from jaxmi.mechanism.second_solution import second_solution
from jaxmi.studies.bootstrap import estimate, estimate_share
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    naming_the_seed,
    one_block_on_pairs,
    plain,
)

QUICK_INPUTS = 400
"""Inputs that the quick form measures a network on, at most."""

VERDICTS = {"holds": HOLDS, "in_part": IN_PART, "not_shown": NOT_SHOWN}
"""Ending of a finding's name -> the verdict whose share of networks it is."""

ATTENTION = "attention_both_hold"
"""The finding on the two claims about attention, which contradict each other in words."""


@dataclass(frozen=True)
class Published:
    """A claim and the solution that makes it."""

    solution: str
    """"first" (Heimersheim and Hobbhahn, 2023) or "second" (RGRGRG, 2023)."""
    claim: Claim

    @property
    def name(self) -> str:
        """The beginning of its findings' names."""
        return f"{self.solution}_{self.claim.name}"


SOLUTIONS = {"first": first.CLAIMS, "second": second.CLAIMS}
"""Solution -> its claims."""

CLAIMS = tuple(
    Published(solution, claim) for solution, claims in SOLUTIONS.items() for claim in claims
)


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return challenge 2."""
    return trainings_of(plain("transformer", quick, data_dir))


def trainings_of(base: Training) -> list[Training]:
    """Return the training alone.

    Raises:
      InputError: if the solutions are not about such networks.
    """
    return one_block_on_pairs("solutions", base)


def measure(training: Training, trained: Trained) -> Measured:
    """Recompute both solutions on a network, with every metric of the report."""
    about = training.challenge, trained.params
    most = QUICK_INPUTS if training.is_quick else MAX_INPUTS
    with naming_the_seed(training, trained):
        metrics = explain_transformer(*about, most).metrics
        recomputed = second_solution(*about, most)
    assert recomputed is not None, "the second solution is about such networks"
    metrics |= recomputed.metrics
    return {key: np.asarray(value, np.float64) for key, value in metrics.items()}


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate each claim's metric and largest control, and how often it has each verdict."""
    (training,) = trainings
    networks = [
        {key: float(value) for key, value in measured.items()}
        for measured in measurements[training.name].values()
    ]
    verdicts = {
        published.name: [published.claim.verdict(network) for network in networks]
        for published in CLAIMS
    }
    findings: dict[str, Finding] = {}
    for published in CLAIMS:
        name, claim = published.name, published.claim
        asked = [network for network in networks if claim.known(network)]
        if asked:
            values = np.array([network[claim.metric.key] for network in asked])
            bars = np.array([claim.bar(network) for network in asked])
            about = f"mean over networks: {claim.metric.label}"
            findings[name] = estimate(about, values)
            findings[f"{name}_control"] = estimate(f"{about}: the largest control", bars)
        for ending, verdict in VERDICTS.items():
            findings[f"{name}_{ending}"] = estimate_share(
                f"networks in which a claim of the {published.solution} solution {_verb(verdict)}: "
                f"{claim.text}",
                np.array(verdicts[name]) == verdict,
            )
    findings |= _together(verdicts)
    shown = [
        {
            "name": published.name,
            "solution": published.solution,
            "text": published.claim.text,
            "metric": published.claim.metric.key,
            "controls": [metric.key for metric in published.claim.controls],
            "enough": published.claim.enough,
            "margin": published.claim.margin,
        }
        for published in CLAIMS
    ]
    seeds = list(measurements[training.name])
    return Conclusion(findings, {"claims": shown, "seeds": seeds, "verdicts": verdicts})


def _verb(verdict: str) -> str:
    return {HOLDS: "holds", IN_PART: "holds in part"}.get(verdict, "is not shown")


def _together(verdicts: dict[str, list[str]]) -> dict[str, Finding]:
    """Return how many of a solution's claims hold together, and both claims about attention."""
    findings = {}
    for solution, claims in SOLUTIONS.items():
        grid = np.array([verdicts[f"{solution}_{claim.name}"] for claim in claims])
        about = f"claims of the {solution} solution, of {len(claims)},"
        findings[f"{solution}_count_holds"] = estimate(
            f"mean over networks: {about} that hold", (grid == HOLDS).sum(axis=0)
        )
        findings[f"{solution}_count_not_shown"] = estimate(
            f"mean over networks: {about} that are not shown",
            (grid == NOT_SHOWN).sum(axis=0),
        )
        findings[f"{solution}_all_hold"] = estimate_share(
            f"networks in which every claim of the {solution} solution holds",
            np.all(grid == HOLDS, axis=0),
        )
        findings[f"{solution}_all_shown"] = estimate_share(
            f"networks in which every claim of the {solution} solution holds, at least in part",
            np.all(grid != NOT_SHOWN, axis=0),
        )
    hardly, matters = (
        np.array(verdicts[name]) == HOLDS
        for name in (f"first_{first.ATTENTION_CLAIM.name}", f"second_{second.ATTENTION_CLAIM.name}")
    )
    findings[ATTENTION] = estimate_share(
        "networks in which both claims about attention hold by their rules", hardly & matters
    )
    return findings


STUDY = Study(
    name="solutions",
    question="In how many networks does each claim of challenge 2's two published solutions hold?",
    n_seeds=32,
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer",),
    main=(
        *(f"{published.name}_holds" for published in CLAIMS),
        *(
            f"{solution}_{ending}"
            for solution in SOLUTIONS
            for ending in ("count_holds", "count_not_shown", "all_hold", "all_shown")
        ),
        ATTENTION,
    ),
    measure=measure,
    conclude=conclude,
)
