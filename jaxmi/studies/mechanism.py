"""What do transformers compute, whatever their program, and is it the same in every seed?

Every network is given the account that `jaxmi explain` gives it, beside another seed's. The study
says how often few neurons suffice, how many of a network's own mistakes they make, whether the
classes of values that the program uses come first in the weights, how far a program goes that is
read off the weights, and of how many networks attention depends on the operands and matters.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.explanation.verdicts import HOLDS
from jaxmi.mechanism import heads_metrics
from jaxmi.mechanism import metrics as table
from jaxmi.mechanism.account import account, tuned
from jaxmi.mechanism.classes import CANDIDATES, class_text
from jaxmi.mechanism.heads import heads
from jaxmi.models.transformer import TransformerConfig
from jaxmi.programs.show import show
from jaxmi.studies.bootstrap import estimate, estimate_share
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    plain,
    refuse,
)

QUICK_PAIRS = 1500
"""Inputs that the quick form measures a network on, at most."""

ENOUGH_PROGRAM, MOST_PERMUTED = 0.97, 0.80
"""What a program read off the weights should keep of a network's labels, and what it should keep at
most if its classes are permuted."""

DEPENDS, MATTERS = "attention_depends", "attention_matters"
"""Names of measurements: whether attention depends on the operands, and whether that matters."""

_NAMES = heads_metrics.metrics_of(TransformerConfig.n_heads)
ATTENTION = {
    metric.key: metric
    for metric in (
        *_NAMES.every.moved.values(),
        *_NAMES.untrained_moved.values(),
        *_NAMES.every.shares.values(),
        *_NAMES.every.pattern_resampled.values(),
        _NAMES.turned_resampled,
        *_NAMES.untrained_resampled.values(),
    )
}
"""The metrics of all heads together: heads of two seeds have nothing to do with each other."""

ENOUGH_AGREEMENT, ENOUGH_MISTAKES = 0.997, 0.90
"""What `MAIN_COUNT` neurons should keep of a network's labels, and of its mistakes."""

BEST, FOUND = "best_class_{}", "found_class_{}"
"""Names of measurements, by operand: the number of the best candidate, and whether it is found."""


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return challenge 2."""
    return trainings_of(plain("transformer", quick, data_dir))


def trainings_of(base: Training) -> list[Training]:
    """Return the training alone.

    Raises:
      InputError: if the challenge is on images.
    """
    if not isinstance(base.challenge, NumberChallenge):
        raise refuse("mechanism", base.challenge, "asks about transformers", "has a CNN")
    return [base]


def measure(training: Training, trained: Trained) -> Measured:
    """Give an account of a network, and tune its smaller networks to its labels."""
    most = {"max_inputs": QUICK_PAIRS} if training.is_quick else {}
    found = account(training.challenge, trained.params, trained.other, **most)
    metrics = found.metrics | tuned(found)
    of_heads = heads(training.challenge, trained.params, found.untrained, **most)
    if of_heads is not None:
        known = of_heads.metrics
        metrics |= {key: known[key] for key in ATTENTION if key in known}
        for name, claim in ((DEPENDS, of_heads.depends), (MATTERS, of_heads.matters)):
            metrics[name] = int(claim.verdict == HOLDS)
    measured = {key: np.asarray(value, np.float64) for key, value in metrics.items()}
    names = [class_text("x", *one) for one in CANDIDATES]
    for operand, classes in found.classes.items():
        best = classes.best.replace(operand, "x")
        measured[BEST.format(operand)] = np.asarray(names.index(best))
        measured[FOUND.format(operand)] = np.asarray(classes.found is not None)
    return measured


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate every metric, how often the goals are reached, and how often classes agree."""
    (training,) = trainings
    networks = list(measurements[training.name].values())
    findings: dict[str, Finding] = {}
    values = {}
    for key, metric in (*table.TABLE.items(), *ATTENTION.items()):
        known = [float(network[key]) for network in networks if key in network]
        if known:
            values[key] = known
            findings[key] = estimate(f"mean over networks: {metric.label}", np.array(known))
    findings |= _goals(networks)
    for name, words in ((DEPENDS, "depends on the operands"), (MATTERS, "does, and that matters")):
        known = [bool(network[name]) for network in networks if name in network]
        if known:
            findings[name] = estimate_share(f"networks whose attention {words}", np.array(known))
    operands = [name for name in table.R2 if BEST.format(name) in networks[0]]
    ranked = {}
    for operand in operands:
        found, counts = _classes(training, operand, networks)
        findings |= found
        ranked[operand] = counts
    return Conclusion(findings, {"values": values, "classes": ranked})


def _goals(networks: Sequence[Measured]) -> dict[str, Finding]:
    """Return the shares of networks in which few neurons, or a program, keep enough."""
    few = table.FEW["own"][table.MAIN_COUNT]
    findings = {}
    for kept, enough in (
        (few.agreement, ENOUGH_AGREEMENT),
        (few.mistakes, ENOUGH_MISTAKES),
        (table.PROGRAM.agreement, ENOUGH_PROGRAM),
    ):
        known = [float(network[kept.key]) for network in networks if kept.key in network]
        if known:
            findings[f"{kept.key}_enough"] = estimate_share(
                f"networks in which {kept.label} is at least {enough:.1%}",
                np.array(known) >= enough,
            )
    permuted = table.PROGRAM_PERMUTED.agreement
    known = [float(network[permuted.key]) for network in networks if permuted.key in network]
    if known:
        findings[f"{permuted.key}_low"] = estimate_share(
            f"networks in which {permuted.label} is at most {MOST_PERMUTED:.1%}",
            np.array(known) <= MOST_PERMUTED,
        )
    return findings


def _classes(
    training: Training, operand: str, networks: Sequence[Measured]
) -> tuple[dict[str, Finding], dict[str, int]]:
    """Return how often an operand's classes are found, and are the program's."""
    best = np.array([int(network[BEST.format(operand)]) for network in networks])
    found = np.array([bool(network[FOUND.format(operand)]) for network in networks])
    names = [class_text(operand, *CANDIDATES[i]) for i in best]
    findings = {
        f"row_class_{operand}_found": estimate_share(
            f"networks whose weights tell apart classes of {operand}", found
        )
    }
    program = training.challenge.program
    text = "" if program is None else show(program)
    used = [class_text(operand, *one) for one in CANDIDATES if class_text(operand, *one) in text]
    if used:
        findings[f"row_class_{operand}_first"] = estimate_share(
            f"networks in which the best of {len(CANDIDATES)} classes is the program's, "
            f"{' or '.join(used)}",
            np.array([name in used for name in names]),
        )
    counts = {name: names.count(name) for name in sorted(set(names), key=names.count, reverse=True)}
    return findings, counts


STUDY = Study(
    name="mechanism",
    question="How few neurons compute a transformer's labels, and which classes of values do its "
    "weights tell apart?",
    n_seeds=32,
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer",),
    compares=True,
    main=(
        "attention_mean_agreement",
        "attention_additive_agreement",
        "neurons_32_agreement",
        "neurons_32_mistakes",
        "neurons_32_agreement_enough",
        "neurons_32_mistakes_enough",
        "neurons_32_heldout_agreement",
        "neurons_32_heldout_mistakes",
        "neurons_32_other_seed_heldout_mistakes",
        "neurons_32_untrained_agreement",
        "replacement_numbers",
        "replacement_heldout_agreement",
        "replacement_heldout_mistakes",
        "replacement_tuned_mistakes",
        "replacement_tuned_heldout_agreement",
        "replacement_tuned_heldout_mistakes",
        "row_thresholds_agreement",
        "row_thresholds_mistakes",
        "row_class_x_first",
        "row_class_x_r2",
        "row_class_x_next_r2",
        "row_class_x_permuted_r2",
        "row_class_x_untrained_r2",
        "row_class_y_found",
        "weights_program_agreement",
        "weights_program_mistakes",
        "weights_program_accuracy",
        "weights_program_agreement_enough",
        "weights_program_permuted_agreement",
        "weights_program_permuted_agreement_low",
        "weights_program_no_classes_agreement",
        "weights_program_untrained_agreement",
        "weights_program_of_labels_agreement",
        "weights_program_numbers",
        "weights_program_placed",
        "weights_program_placed_far",
        "weights_program_placed_others",
        "attention_depends",
        "attention_matters",
    ),
    measure=measure,
    conclude=conclude,
)
