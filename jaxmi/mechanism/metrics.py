"""Every metric of a transformer's mechanism: add one here, measure it in `account`.

`agreement` is the share of the network's own labels that a replacement gives; `mistakes` is that
share among the inputs that the network gets wrong. Many things have the first; only what computes
as the network does has the second.
"""

from functools import partial
from typing import NamedTuple

from jaxmi.explanation.metrics import Control, Metric, MetricTable, Unit

COUNTS = (8, 16, 32, 64)
"""Numbers of neurons that are chosen."""

MAIN_COUNT = 32
"""The number of neurons that verdicts are about."""

TABLE = MetricTable()


class Kept(NamedTuple):
    """What a replacement keeps."""

    agreement: Metric
    mistakes: Metric


def add_kept(
    metrics: MetricTable, key: str, label: str, controls: "Kept | None" = None, of: str = ""
) -> Kept:
    """Add what a replacement keeps to a table of metrics.

    Args:
      metrics: The table.
      key: The beginning of both keys.
      label: What the replacement is.
      controls: What its control keeps; None: it has none.
      of: What the control is.
    """
    return Kept(
        *(
            metrics.add(
                f"{key}_{what}",
                f"{label}: {words}",
                control=Control(controls[i], of) if controls else None,
                needs_truth=what == "mistakes",
            )
            for i, (what, words) in enumerate(
                (("agreement", "labels kept"), ("mistakes", "mistakes kept"))
            )
        )
    )


_kept = partial(add_kept, TABLE)


# What attention, and the residual stream before the MLP, can be replaced by.
MEAN = _kept("attention_mean", "attention at its mean")
ADDITIVE = _kept("attention_additive", "attention a sum of functions of one operand")
RANK1 = _kept("attention_rank1", "attention a product of functions of one operand")
ONLY = {
    operand: _kept(f"attention_{operand}_only", f"attention a function of {operand} alone")
    for operand in ("x", "y", "w")
}
"""Operand -> attention depends on it only."""
RESID_ADDITIVE = _kept("resid_additive", "residual stream a sum of functions of one operand")
INTERACTIONS = (1, 2)
RESID_INTERACTIONS = {
    k: _kept(f"resid_interaction{k}", f"the same, and {k} direction{'s'[: k - 1]} more")
    for k in INTERACTIONS
}
COMPONENTS = (2, 4, 8)
RESID_COMPONENTS = {
    k: _kept(f"resid_components{k}", f"residual stream, first {k} principal components")
    for k in COMPONENTS
}

# Few neurons, with their read-out refitted.
CHOICES = {
    "other_seed": "neurons of another seed",
    "random": "random neurons",
    "untrained": "neurons of an untrained network",
    "heldout": "neurons, held-out inputs",
    "other_seed_heldout": "neurons of another seed, held-out inputs",
    "untrained_heldout": "neurons of an untrained network, held-out inputs",
}
"""Choice, as in keys -> its label."""

FEW = {
    choice: {k: _kept(f"neurons_{k}_{choice}", f"{k} {label}") for k in COUNTS}
    for choice, label in CHOICES.items()
}
FEW["own"] = {
    k: _kept(f"neurons_{k}", f"{k} neurons", FEW["untrained"][k], "as many of an untrained network")
    for k in COUNTS
}
"""Choice -> number of neurons -> what they keep."""

OTHER_SEED = _kept("other_seed", "another seed's labels as they are")
NEAREST = _kept("nearest_fitted", "label of the nearest input of the other half, held-out inputs")

# A smaller network: tables of few dimensions, few neurons.
REPLACEMENT_NUMBERS = TABLE.add("replacement_numbers", "smaller network: its numbers", Unit.COUNT)
REPLACEMENT_OTHERS = {
    other: _kept(f"replacement_{other}_heldout", f"smaller {words}, held-out inputs")
    for other, words in (
        ("other_seed", "network cut out of another seed"),
        ("untrained", "network cut out of an untrained one"),
    )
}
"""Another network -> what one of the same form cut out of it keeps."""
REPLACEMENT = _kept("replacement", "smaller network")
REPLACEMENT_HELDOUT = _kept(
    "replacement_heldout",
    "smaller network, held-out inputs",
    REPLACEMENT_OTHERS["untrained"],
    "cut out of an untrained one",
)
TUNED = _kept("replacement_tuned", "smaller network tuned to the labels")
TUNED_HELDOUT = _kept(
    "replacement_tuned_heldout", "smaller network tuned to the labels, held-out inputs"
)
TRAPS_OF_TUNING = (TUNED, TUNED_HELDOUT)
"""Measured by the study only: tuning takes longer than the rest of the account."""
ROW_THRESHOLDS_NUMBERS = TABLE.add(
    "row_thresholds_numbers", "two thresholds a row: their numbers", Unit.COUNT
)
ROW_THRESHOLDS = _kept("row_thresholds", "two thresholds a row")

# A program, read off the weights.
PROGRAM_PERMUTED = _kept("weights_program_permuted", "program read with permuted classes")
PROGRAM_WITHOUT = _kept("weights_program_no_classes", "program read without classes")
PROGRAM_UNTRAINED = _kept("weights_program_untrained", "program read off an untrained network")
PROGRAM_CONSTANT = _kept("weights_program_constant", "one label throughout")
PROGRAM_OF_LABELS = _kept(
    "weights_program_of_labels", "the same pieces fitted to the network's own labels"
)
PROGRAM = _kept(
    "weights_program",
    "program read off the weights",
    PROGRAM_PERMUTED,
    "its classes permuted",
)
PROGRAM_ACCURACY = TABLE.add(
    "weights_program_accuracy", "program read off the weights: true labels", needs_truth=True
)
SMOOTH = _kept("smooth_network", "smaller network with smooth tables")
PROGRAM_NUMBERS = TABLE.add(
    "weights_program_numbers", "program read off the weights: its numbers", Unit.COUNT
)
PROGRAM_SIZE = TABLE.add(
    "weights_program_size", "program read off the weights: its length in nodes", Unit.COUNT
)
PLACED_FAR = TABLE.add(
    "weights_program_placed_far",
    "labels far from a threshold changed by its neurons at their mean",
)
PLACED_OTHERS = TABLE.add(
    "weights_program_placed_others",
    "labels near a threshold changed by other neurons at their mean",
)
PLACED = TABLE.add(
    "weights_program_placed",
    "labels near a threshold changed by its neurons at their mean",
    control=Control(PLACED_OTHERS, "as many other neurons"),
)

# Classes of values that the weights tell apart.
R2 = {o: TABLE.add(f"row_class_{o}_r2", f"best class of {o}, R2", Unit.R2) for o in ("x", "y", "w")}
NEXT_R2 = {
    o: TABLE.add(f"row_class_{o}_next_r2", f"second-best class of {o}, R2", Unit.R2) for o in R2
}
PERMUTED_R2 = {
    o: TABLE.add(f"row_class_{o}_permuted_r2", f"best of permuted classes of {o}, R2", Unit.R2)
    for o in R2
}
UNTRAINED_R2 = {
    o: TABLE.add(f"row_class_{o}_untrained_r2", f"best class of {o}, untrained, R2", Unit.R2)
    for o in R2
}
CLASS_METRICS = (R2, NEXT_R2, PERMUTED_R2, UNTRAINED_R2)
"""All of them, each by operand."""

ROW_CLASS = {operand: f"row_class_{operand}" for operand in R2}
"""Operand -> the key of the class that was found: a text, or None."""

ROW_CLASS_SECOND = {operand: f"row_class_{operand}_second" for operand in R2}
"""Operand -> the key of the class that was found beside it: a text, or None."""

MAIN: tuple[Metric, ...] = (
    ADDITIVE.agreement,
    FEW["own"][MAIN_COUNT].agreement,
    FEW["own"][MAIN_COUNT].mistakes,
    FEW["heldout"][MAIN_COUNT].agreement,
    FEW["untrained"][MAIN_COUNT].agreement,
    REPLACEMENT_NUMBERS,
    REPLACEMENT_HELDOUT.agreement,
    REPLACEMENT_HELDOUT.mistakes,
    PROGRAM.agreement,
    R2["x"],
    PERMUTED_R2["x"],
)
"""The metrics that are printed."""
