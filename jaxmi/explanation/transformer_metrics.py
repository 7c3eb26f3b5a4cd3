"""Every metric of a transformer's explanation: add one here, measure it in transformer_solution.

`TABLE` is that of the published network's sizes; `table_for` gives another network's.

The published percentages are drawn into pictures and quoted nowhere, so no metric has a published
value.
"""

from functools import cache
from typing import NamedTuple

from jaxmi.explanation.metrics import Control, Metric, MetricTable, ScrubMetrics, Unit
from jaxmi.explanation.verdicts import Claim
from jaxmi.models.transformer import TransformerConfig

RUNS = {"full": "attention as it is", "fixed": "attention fixed"}
"""Way to run the network, as in keys -> its label."""

ROWS = {
    "1": "1: all but the plane from any input",
    "1*": "1*: all but the plane and one more dimension from any input",
    "2": "2: alpha from inputs that pass it alike, beta too",
    "3a": "3a: alpha from any input, where beta fails",
    "3b": "3b: beta from any input, where alpha fails",
    "1+2": "1+2",
    "1+3a": "1+3a",
    "1+3b": "1+3b",
    "1+2+3a": "1+2+3a",
    "1+2+3b": "1+2+3b",
    "1+2+3a+3b": "1+2+3a+3b",
}
"""Row of the published scrubbing table -> its label."""

QUADRANTS = ("TT", "TF", "FT", "FF")
"""Whether alpha is passed, then whether beta is."""

CONTROL_DRAWS = 5
"""Number of random planes, of pairs of components, and of turned sides."""

LEADING = 8
"""Random planes are also drawn within the first so many principal components."""

PLANES = {
    "random_plane": "random planes of all dimensions",
    "leading_plane": f"random planes of the first {LEADING} components",
    "random_dims": "pairs of components from the third on",
}
"""Control plane, as in keys -> its label."""

TURNED_ROWS = ("2", "1+2", "1+2+3a+3b")
"""The rows that are also scrubbed with the sides turned."""

TABLE = MetricTable()


def _row_key(row: str) -> str:
    return "scrub_" + row.replace("*", "star").replace("+", "_")


# Predictions.
ACCURACY = TABLE.add("accuracy", "true labels, attention as it is", needs_truth=True)
FIXED_ACCURACY = TABLE.add("fixed_accuracy", "true labels, attention fixed", needs_truth=True)
LABEL1_SHARE = TABLE.add("label1_share", "labels that are 1")
CHANCE = TABLE.add("chance", "labels kept by labels drawn at random by their shares")
CONSTANT = TABLE.add("constant_answer", "labels that are of the more frequent class")
_CONSTANT = Control(CONSTANT, "predicting one class throughout")


# Attention from the last position.
class Head(NamedTuple):
    """The metrics of one head."""

    name: str
    """Its number; with several blocks the block's before it, as in "1.0"."""
    attention: dict[tuple[str, str], Metric]
    """(an operand or "last", "mean" or "std") -> the attention to that token."""
    kept_if_fixed: Metric

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All of them."""
        return (*self.attention.values(), self.kept_if_fixed)


@cache
def heads_of(
    n_heads: int, n_layers: int = 1, operands: tuple[str, ...] = ("x", "y")
) -> tuple[Head, ...]:
    """Return the metrics of a network's heads, block after block.

    Args:
      n_heads: The number of heads of each block.
      n_layers: The number of blocks; keys name the block if there are several.
      operands: The names of the tokens before the last.
    """
    return tuple(
        _head(head, None if n_layers == 1 else block, operands)
        for block in range(n_layers)
        for head in range(n_heads)
    )


def _head(head: int, block: int | None, operands: tuple[str, ...]) -> Head:
    key = f"attention_head{head}" if block is None else f"attention_block{block}_head{head}"
    label = f"head {head}" if block is None else f"block {block}, head {head}"
    attention = {
        (token, statistic): Metric(
            f"{key}_{token}_{statistic}", f"{label}: attention to {to}, {of}", Unit.SHARE
        )
        for token, to in (*zip(operands, operands, strict=True), ("last", "the last token"))
        for statistic, of in (("mean", "mean"), ("std", "standard deviation"))
    }
    kept = Metric(f"{key}_kept_if_fixed", f"{label}: labels kept with it alone fixed", Unit.SHARE)
    return Head(str(head) if block is None else f"{block}.{head}", attention, kept)


_PUBLISHED_HEADS = tuple(
    TABLE.include(metric) for head in heads_of(TransformerConfig.n_heads) for metric in head.metrics
)


def table_for(
    n_heads: int, n_layers: int = 1, operands: tuple[str, ...] = ("x", "y")
) -> MetricTable:
    """Return the metrics of a network of other sizes: those of its own heads, and all others."""
    table = MetricTable()
    for metric in TABLE.values():
        if metric not in _PUBLISHED_HEADS:
            table.include(metric)
    for head in heads_of(n_heads, n_layers, operands):
        for metric in head.metrics:
            table.include(metric)
    return table


# Controls: other planes of the residual stream, and other sides in the same plane.
def _in_planes(key: str, label: str) -> dict[str, Metric]:
    return {
        plane: TABLE.add(f"control_{plane}_{key}", f"{label} in {in_plane}")
        for plane, in_plane in PLANES.items()
    }


def _turned(ending: str, statistic: str) -> dict[str, Metric]:
    return {
        row: TABLE.add(
            f"control_wrong_sides_{_row_key(row)}{ending}",
            f"scrub {row}, sides turned, {statistic}",
        )
        for row in TURNED_ROWS
    }


_BEST = f"best of {CONTROL_DRAWS}"
PLANE_AGREEMENT_MEAN = _in_planes("filters_agreement", "both filters, mean")
PLANE_AGREEMENT_MAX = _in_planes("filters_agreement_max", f"both filters, {_BEST}")
PLANE_SCRUB_MEAN = _in_planes(_row_key("1"), "scrub 1, mean")
PLANE_SCRUB_MAX = _in_planes(f"{_row_key('1')}_max", f"scrub 1, {_BEST}")
"""Control plane -> a metric of the full run in such planes."""

TURNED_MEAN = _turned("", "mean")
TURNED_MAX = _turned("_max", _BEST)
"""Row of scrubbing -> labels that it keeps with the sides turned."""

IN_LEADING = f"{_BEST} {PLANES['leading_plane']}"
"""Label of the strictest control plane."""


# The plane and the filters, in both runs.
def _in_both(
    key: str, label: str, unit: Unit = Unit.SHARE, control: Control | None = None
) -> dict[str, Metric]:
    """Add a metric of either run; the control is the full run's."""
    return {
        run: TABLE.add(
            f"{run}_{key}", f"{label}, {in_run}", unit, None, control if run == "full" else None
        )
        for run, in_run in RUNS.items()
    }


VARIANCES = [
    _in_both(f"pca_variance_{i}", f"{ordinal} principal component, share of variance")
    for i, ordinal in enumerate(("first", "second", "third"), start=1)
]
"""For the first three principal components, by run."""

FILTERS_AGREEMENT = _in_both(
    "filters_agreement",
    "both filters, the run's labels",
    control=Control(PLANE_AGREEMENT_MAX["leading_plane"], IN_LEADING),
)
ALPHA_SHARE = _in_both("alpha_share", "inputs that pass alpha")
BETA_SHARE = _in_both("beta_share", "inputs that pass beta")
PROBE = _in_both("probe_resid_mid", "one straight side in all dimensions, held-out inputs")
BASELINE = {
    "full": TABLE.add("full_baseline", "labels kept, attention as it is"),
    "fixed": TABLE.add("fixed_baseline", "labels kept, attention fixed", control=_CONSTANT),
}
GOAL = _in_both("goal", "both filters, the full network's labels")


def _scrubs(row: str) -> dict[str, ScrubMetrics]:
    control = None
    if row == "1":
        control = Control(PLANE_SCRUB_MAX["leading_plane"], IN_LEADING)
    elif row in TURNED_ROWS:
        control = Control(TURNED_MEAN[row], "turned sides")
    return {
        run: TABLE.add_scrub(
            f"{run}_{_row_key(row)}",
            f"scrub {ROWS[row]}, {in_run}",
            control=control if run == "full" else None,
        )
        for run, in_run in RUNS.items()
    }


SCRUBS = {row: _scrubs(row) for row in ROWS}
"""Row of scrubbing -> run -> the scrub, against the labels of the full network."""

# The MLP.
MLP_ZERO = TABLE.add("mlp_zero_kept", "labels kept without the MLP", control=_CONSTANT)
MLP_MEAN = TABLE.add(
    "mlp_mean_kept", "labels kept with the MLP's part at its mean", control=_CONSTANT
)
MLP_ALONE = TABLE.add(
    "mlp_alone_kept", "labels kept with the direct part at its mean", control=_CONSTANT
)


def _by_quadrant(part: str, way: str) -> dict[str, Metric]:
    side = {"T": "passed", "F": "failed"}
    return {
        quadrant: TABLE.add(
            f"{part}_logit_diff_{quadrant}",
            f"logit difference {way} the MLP, alpha {side[quadrant[0]]}, beta {side[quadrant[1]]}",
            Unit.LOGIT,
        )
        for quadrant in QUADRANTS
    }


DIRECT = _by_quadrant("direct", "past")
THROUGH = _by_quadrant("mlp", "through")
"""Quadrant -> mean logit difference that comes past the MLP, or through it."""

# The same on an untrained network.
COMPARED = (
    BASELINE["fixed"],
    FILTERS_AGREEMENT["full"],
    SCRUBS["1"]["full"].kept,
    SCRUBS["1+2"]["full"].kept,
)
"""The metrics that are also measured on an untrained network."""

ON_UNTRAINED = {
    metric: TABLE.add(
        f"control_untrained_{metric.key}", f"{metric.label}, untrained network", metric.unit
    )
    for metric in COMPARED
}
"""Metric -> that metric of an untrained network."""

MAIN: tuple[Metric, ...] = (
    ACCURACY,
    BASELINE["fixed"],
    FILTERS_AGREEMENT["full"],
    PLANE_AGREEMENT_MAX["leading_plane"],
    SCRUBS["1"]["full"].kept,
    SCRUBS["1*"]["full"].kept,
    SCRUBS["1+2"]["full"].kept,
    PLANE_SCRUB_MAX["leading_plane"],
    TURNED_MEAN["1+2"],
    MLP_ZERO,
)
"""The metrics that are printed, and that the table of seeds has."""

# The claims, each with the rule by which it is judged.
ATTENTION_CLAIM = Claim(
    "attention",
    "attention hardly varies: fixing it keeps the labels",
    BASELINE["fixed"],
    (CONSTANT,),
)
FILTERS_CLAIM = Claim(
    "filters",
    "two straight sides in a plane give the label",
    FILTERS_AGREEMENT["full"],
    (PLANE_AGREEMENT_MAX["leading_plane"],),
)
PLANE_CLAIM = Claim(
    "plane",
    "nothing but the plane matters",
    SCRUBS["1"]["full"].kept,
    (PLANE_SCRUB_MAX["leading_plane"],),
)


def _sides_claim(row: str) -> Claim:
    return Claim(
        "sides",
        "of the plane, only which sides are passed matters",
        SCRUBS[row]["full"].kept,
        (TURNED_MAX[row],),
    )


SIDES_CLAIM = _sides_claim("1+2+3a+3b")
SIDES_CLAIM_IN_PLANE = _sides_claim("2")
"""The same of a network whose stream is the plane, so that row 1 exchanges nothing."""

MLP_CLAIM = Claim("mlp", "the MLP gives the label, not what comes past it", MLP_ALONE, (CONSTANT,))
"""Reports show its metric without a verdict: its control is weak."""

CLAIMS = (ATTENTION_CLAIM, FILTERS_CLAIM, PLANE_CLAIM, SIDES_CLAIM, MLP_CLAIM)
"""The first solution's claims about a network whose stream has more dimensions than the plane."""
