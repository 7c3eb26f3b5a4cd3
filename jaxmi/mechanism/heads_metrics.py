"""Every metric of a transformer's attention heads: add one here, measure it in `heads`.

`TABLE` is that of the published network's sizes; `metrics_of` gives another network's. Keys begin
with `head0_`, `head1_` and so on, or with `heads_` for all heads together; those of controls with
`control_`.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from jaxmi.explanation.metrics import Control, Metric, MetricTable, Unit
from jaxmi.mechanism.metrics import Kept, add_kept
from jaxmi.models.transformer import TransformerConfig

ENOUGH = 0.05
"""Attention depends on the operands if this share of it moves, and that matters if this share of
the labels is lost, when it is taken from another input; as for the second solution's claim."""

MARGIN = 0.02
"""The share must exceed its controls' by this much."""

LEADING = 8
"""A control turns a change within so many principal components of the residual stream. The stream
of the published network varies in about as many; other directions hardly reach the labels."""

TURNED = f"the same change turned within the {LEADING} leading components"
"""The name of that control."""

ALL_NEURONS = "all"
"""The key of the group of all neurons."""

ANY = ""
"""Stands for all operands together, where metrics are by operand."""

PATTERN = "pattern"
"""The part of what a head adds that its varying attention makes."""

JOINT = "joint"
"""The part of a pattern's variance that is of no single operand."""


class Group(NamedTuple):
    """The metrics of a group of neurons."""

    name: str
    """Its name in keys."""
    label: str
    neurons: Metric
    importance: Metric


class Scope(NamedTuple):
    """The metrics of one head, or of all heads together."""

    name: str
    """"head 0", or "all heads"."""
    ablated: Kept
    """Its output at its mean."""
    zeroed: Kept
    alone: Kept
    """All other heads' outputs at their means; of all heads, the best head's."""
    resampled: Metric
    """Its output taken from another input; the control turns the change."""
    pattern_resampled: Mapping[str, Metric]
    """Operand, or `ANY` -> its attention, and nothing else, taken from another value of that."""
    moved: Mapping[str, Metric]
    """Operand, or `ANY` -> the share of attention that moves with another value of that."""
    shares: Mapping[str, Metric]
    """Operand, or `JOINT` -> its share of the pattern's variance."""
    added: Mapping[tuple[str, str], Metric]
    """(group, part) -> the share of the variance of the group's input."""

    @property
    def interventions(self) -> tuple[Metric, ...]:
        """All that say what happens to the labels, in the order of the report."""
        assert self.resampled.control is not None
        return (
            *self.ablated,
            *self.zeroed,
            *self.alone,
            self.resampled,
            self.resampled.control.metric,
            *self.pattern_resampled.values(),
        )


class HeadMetrics(NamedTuple):
    """The metrics of a network's heads."""

    table: MetricTable
    groups: tuple[Group, ...]
    """The group of all neurons, then the others."""
    every: Scope
    """All heads together."""
    heads: tuple[Scope, ...]
    untrained_moved: Mapping[str, Metric]
    """As `Scope.moved`, of all heads of an untrained network."""
    untrained_resampled: Mapping[str, Metric]
    """As `Scope.pattern_resampled`, of all heads of an untrained network."""
    turned_resampled: Metric
    """The control of `Scope.pattern_resampled` that turns the change."""


def value_of(operand: str) -> str:
    """Return the name of the part of what a head adds that an operand's value makes."""
    return f"{operand}_value"


@cache
def metrics_of(n_heads: int, operands: tuple[str, ...] = ("x", "y")) -> HeadMetrics:
    """Return the metrics of a network of some size.

    Args:
      n_heads: The number of its heads.
      operands: The names of the tokens before the last.
    """
    table = MetricTable()
    groups = tuple(
        Group(
            name,
            label,
            table.add(f"neuron_group_{name}_count", f"neurons {label}", Unit.COUNT),
            table.add(f"neuron_group_{name}_importance", f"neurons {label}: share of importance"),
        )
        for name, label in _group_names(operands).items()
    )
    which = (ANY, *operands)
    untrained_moved = {
        operand: table.add(
            f"control_untrained_heads_pattern_moved{_ending(operand)}",
            f"untrained network: share of attention that moves with another {operand or 'input'}",
        )
        for operand in which
    }
    untrained_resampled = {
        operand: table.add(
            f"control_untrained_heads_pattern_resampled{_ending(operand)}_agreement",
            f"untrained network: attention taken from another {operand or 'input'}: labels kept",
        )
        for operand in which
    }
    turned = table.add(
        "control_heads_pattern_resampled_agreement",
        f"labels kept with {TURNED}",
    )
    scopes = [
        _scope(table, key, name, groups, operands, untrained_moved, untrained_resampled)
        for key, name in (
            ("heads", "all heads"),
            *((f"head{head}", f"head {head}") for head in range(n_heads)),
        )
    ]
    return HeadMetrics(
        table, groups, scopes[0], tuple(scopes[1:]), untrained_moved, untrained_resampled, turned
    )


def _scope(
    table: MetricTable,
    key: str,
    name: str,
    groups: tuple[Group, ...],
    operands: tuple[str, ...],
    untrained_moved: Mapping[str, Metric],
    untrained_resampled: Mapping[str, Metric],
) -> Scope:
    """Add the metrics of one head, or of all together, to a table."""
    is_every = key == "heads"
    # The rows of a report's table are labelled by those of all heads.
    prefix = "" if is_every else f"{name}: "
    its = "outputs" if is_every else "its output"
    pattern = "attention" if is_every else "its attention"

    def untrained(controls: Mapping[str, Metric], operand: str) -> Control | None:
        return Control(controls[operand], "untrained network") if is_every else None

    turned = table.add(
        f"control_{key}_resampled_agreement",
        f"{prefix}{TURNED}: labels kept",
    )
    parts = {
        **{value_of(operand): f"the value of {operand}" for operand in operands},
        PATTERN: "varying attention",
    }
    return Scope(
        name,
        add_kept(table, f"{key}_ablated", f"{prefix}{its} at the mean"),
        add_kept(table, f"{key}_zeroed", f"{prefix}{its} at zero"),
        add_kept(
            table,
            f"{key}_alone",
            f"{prefix}all other heads' outputs at the mean{', best head' if is_every else ''}",
        ),
        table.add(
            f"{key}_resampled_agreement",
            f"{prefix}{its} taken from another input: labels kept",
            control=Control(turned, TURNED),
        ),
        {
            operand: table.add(
                f"{key}_pattern_resampled{_ending(operand)}_agreement",
                f"{prefix}{pattern} taken from another {operand or 'input'}: labels kept",
                control=untrained(untrained_resampled, operand),
            )
            for operand in (ANY, *operands)
        },
        {
            operand: table.add(
                f"{key}_pattern_moved{_ending(operand)}",
                f"{prefix}share of attention that moves with another {operand or 'input'}",
                control=untrained(untrained_moved, operand),
            )
            for operand in (ANY, *operands)
        },
        {
            operand: table.add(
                f"{key}_pattern_{operand}_share",
                f"{prefix}share of the attention's variance that is of "
                + ("no single operand" if operand == JOINT else f"{operand} alone"),
            )
            for operand in (*operands, JOINT)
        },
        {
            (group.name, part): table.add(
                f"{key}_{group.name}_{part}_share",
                f"{prefix}added to the input of neurons {group.label}, by {words}",
                Unit.PART,
            )
            for group in groups
            for part, words in parts.items()
        },
    )


def group_name(towards: int, operand: str | None) -> str:
    """Return the key of a group of neurons.

    Args:
      towards: The label that they raise.
      operand: The operand that their input is mostly of; None: no single one.
    """
    return f"label{towards}_{'mixed' if operand is None else f'mostly_{operand}'}"


def _group_names(operands: tuple[str, ...]) -> dict[str, str]:
    """Return the key of each group of neurons, and its name for people."""
    names = {ALL_NEURONS: "of all kinds"}
    for towards in (1, 0):
        for operand in (*operands, None):
            depends = "mixed input" if operand is None else f"input mostly of {operand}"
            names[group_name(towards, operand)] = f"for label {towards}, {depends}"
    return names


def _ending(operand: str) -> str:
    return f"_{operand}" if operand else ""


TABLE = metrics_of(TransformerConfig.n_heads).table

MAIN: tuple[Metric, ...] = (
    metrics_of(TransformerConfig.n_heads).every.moved[ANY],
    metrics_of(TransformerConfig.n_heads).every.pattern_resampled[ANY],
)
"""The metrics that are printed."""
