"""The sections of a report that say what a transformer's attention heads add and attend by."""

from functools import partial

from jaxmi.explanation.metrics import Metric
from jaxmi.mechanism import heads_metrics as table
from jaxmi.mechanism.heads import MOSTLY, PAIRS, TURNS, Comparison, Heads
from jaxmi.report import heads_figures as draw
from jaxmi.report.page import Section, png

ADDED = "What each head adds to the neurons"
WITHOUT = "Labels without a head"
DEPENDS = "Attention depends on the operands"
MATTERS = "What attention depends on matters"

RULE = f"""The claim holds from {table.ENOUGH:.0%} on, if that is at least {100 * table.MARGIN:.0f}
points more than every control; it holds in part below {table.ENOUGH:.0%}, if it is so much more."""


def summary(heads: Heads) -> str:
    """Return what the report's opening says of the heads, in one sentence."""
    metrics, every = heads.metrics, heads.names.every
    operands = list(heads.domain.values)
    pattern = every.pattern_resampled
    single = ", ".join(f"of another {o} {pattern[o].format(metrics)}" for o in operands)
    attention = (
        f"with the attention of another input {pattern[table.ANY].format(metrics)} of its labels "
        f"stay ({single})"
    )
    shares = {scope.name: added_by(heads, scope) for scope in heads.names.heads}
    known = {name: share for name, share in shares.items() if share is not None}
    if len(known) < 2:
        return f"W{attention[1:]}."
    most = max(known, key=lambda name: known[name])
    return (
        f"Of its {len(known)} heads {most} adds most to the neurons' input, {known[most]:.0%} of "
        f"its variance; {attention}."
    )


def added_by(heads: Heads, scope: table.Scope, group: str = table.ALL_NEURONS) -> float | None:
    """Return the share of a group's input that a head adds; None if no neuron of it matters."""
    keys = [metric.key for (name, _), metric in scope.added.items() if name == group]
    if any(key not in heads.metrics for key in keys):
        return None
    return sum(float(heads.metrics[key]) for key in keys)


def sections(heads: Heads) -> tuple[Section, ...]:
    """Return the evidence on the heads, with its figure and verdicts."""
    return (_added(heads), _without(heads), _depends(heads), _matters(heads))


def _scopes(heads: Heads) -> tuple[table.Scope, ...]:
    return (heads.names.every, *heads.names.heads)


def _added(heads: Heads) -> Section:
    groups = "; ".join(
        f"{group.label} {group.importance.format(heads.metrics)} "
        f"({group.neurons.format(heads.metrics)})"
        for group in heads.names.groups[1:]
        if heads.metrics[group.importance.key] > 0
    )
    return Section(
        ADDED,
        f"""The input of a neuron is a sum over heads, and each head's part is a sum: what the value
        of each operand adds at mean attention, and what attention adds by its distance from the
        mean. The share of a part is its covariance with the neuron's input over the input's
        variance, over all inputs; so the shares of all parts of all heads sum to 100 %. A part that
        works against the others has a share below 0.

        Neurons are grouped by the sign of their weight in the logit difference, and by what their
        input depends on: mostly on one operand if that alone explains {MOSTLY:.0%} of the input's
        variance, else mixed. No label and no cluster enters. In a group each neuron counts by its
        importance, the variance of what it adds to the logit difference. The groups' shares of all
        importance, and their neurons: {groups or "no neuron matters"}.""",
        png(heads=partial(draw.heads, heads)),
        comparison={
            scope.name: [m for m in scope.added.values() if m.key in heads.metrics]
            for scope in _scopes(heads)
        },
    )


def _without(heads: Heads) -> Section:
    def rows(scope: table.Scope) -> list[Metric]:
        known = [metric for metric in scope.interventions if metric.key in heads.metrics]
        return [*known, *scope.moved.values(), *scope.shares.values()]

    return Section(
        WITHOUT,
        f"""Each head's output is replaced by its mean over all inputs, by zero, or by its output on
        another random input. A further test replaces only its attention, and keeps the input's own
        values. "From another x" takes the score of a different x, and the scores of the other
        tokens from the input itself. Labels kept are the network's own. "All other heads' outputs
        at the mean" leaves a single head. What is taken from other inputs is measured on {PAIRS:,}
        random pairs of different inputs, the same for all heads.

        The control of resampling is a change of the same size for each input: the change that
        resampling makes, turned at random within the {table.LEADING} leading principal components
        of the residual stream, in which the stream varies most ({TURNS} random rotations). A head
        whose resampling loses no more labels than that is not shown to matter. With all outputs
        from another input, the labels are those of other random inputs: that is chance.

        The last rows say how much attention moves, as the share of it that goes to another token,
        and which share of its variance is of one operand alone.""",
        comparison={scope.name: rows(scope) for scope in _scopes(heads)},
    )


def _depends(heads: Heads) -> Section:
    metrics, every, claim = heads.metrics, heads.names.every, heads.depends
    single = "; ".join(
        f"another {operand} {metrics[every.moved[operand].key]:.1%}"
        for operand in heads.domain.values
    )
    return Section(
        DEPENDS,
        f"""When an input is exchanged for another random one, a share of each head's attention goes
        to another token: half the sum of the absolute differences, mean over heads. The control is
        the network as initialised. {RULE}""",
        metrics=[*every.moved.values(), *every.shares.values()],
        verdict=claim.verdict,
        reason=f"{claim.value:.1%} of attention moves with another input; {_beside(claim)}; "
        f"{single}",
    )


def _matters(heads: Heads) -> Section:
    names, claim = heads.names, heads.matters
    pattern = names.every.pattern_resampled
    single = "; ".join(
        f"another {operand} {heads.lost(pattern[operand]):.1%}" for operand in heads.domain.values
    )
    return Section(
        MATTERS,
        f"""Attention may vary to no effect. All heads attend as they do on another random input, or
        on one whose x, or whose y, is another; what they attend to has its own values. There are
        two controls: the same on the network as initialised, where a label is whether the logit
        difference exceeds its median; and {table.TURNED} of the residual stream, of the same size
        for each input. {RULE}""",
        metrics=[*pattern.values(), names.turned_resampled],
        verdict=claim.verdict,
        reason=f"{claim.value:.1%} of labels are lost with the attention of another input; "
        f"{_beside(claim)}; {single}",
    )


def _beside(claim: Comparison) -> str:
    return ", ".join(f"{name} {value:.1%}" for name, value in claim.controls.items())
