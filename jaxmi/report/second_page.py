"""The sections of a report that test challenge 2's second published solution."""

from collections.abc import Sequence
from functools import partial

from jaxmi.explanation.verdicts import HOLDS, IN_PART, MARGIN, NOT_SHOWN, Claim
from jaxmi.mechanism import second_metrics as table
from jaxmi.mechanism.second_solution import SecondSolution
from jaxmi.report import second_figures as draw
from jaxmi.report.page import Section, png

EMBEDDINGS = "Extended embeddings set each row's pattern"
CLUSTERS = "Neurons fall into interpretable clusters"

RULE = """A claim holds from {enough} on, if it exceeds its best control by {margin:.0%}; it holds
in part if it only exceeds that control."""


def sections(solution: SecondSolution) -> tuple[Section, ...]:
    """Return the evidence for and against the solution, with its figures and verdicts."""
    return (_embeddings(solution), _clusters(solution))


def _embeddings(solution: SecondSolution) -> Section:
    claims = (*table.EMBEDDING_CLAIMS, table.ATTENTION_CLAIM)
    attention = table.ATTENTION_CLAIM
    return Section(
        EMBEDDINGS,
        f"""RGRGRG's claims about challenge 2's network (2023) are tested on this network. A value's
        extended embedding is one number: its embedding times V and O of every head, by the head's
        mean attention, times W_in, W_out and the difference of the two logits' columns of W_U. No
        ReLU is applied, and no label enters. The figure shows it along either operand, and the
        network's labels with the rows in its order.

        "Replaced by the value of nearest extended embedding" never takes the value itself. The
        control shuffles W_out's neurons: a read-out of the same embeddings that is not the
        network's. {RULE.format(enough="90 %", margin=MARGIN)} Attention matters from
        {attention.enough:.0%} of lost labels on, in part from {attention.margin:.0%}.""",
        png(extended=partial(draw.extended_embeddings, solution)),
        [
            *(metric for claim in claims for metric in (claim.metric, *claim.controls)),
            table.ROW_KEPT_HEADS,
            table.ROW_KEPT_VECTOR,
            table.ONLY_COMPONENT,
        ],
        *_verdict(solution, claims),
    )


def _clusters(solution: SecondSolution) -> Section:
    clusters = solution.clusters
    if clusters is None:
        return Section(
            CLUSTERS,
            "Too few neurons are active on some inputs and not on others.",
            verdict=NOT_SHOWN,
            reason=f"{solution.metrics[table.LIVE.key]} such neurons",
        )
    enough = f"90 %, of the silhouette {table.CLUSTER_CLAIMS[0].enough}"
    rule = RULE.format(enough=enough, margin=MARGIN)
    return Section(
        CLUSTERS,
        f"""RGRGRG shows four neurons, and says that they stand for clusters. What x and y add to a
        neuron's input, W_E times V, O and W_in, is a curve over the values of x and one over those
        of y; neurons are clustered by both together, scaled to length 1. Their curves are drawn
        below. That k-means finds clusters is no evidence: it finds them in a normal cloud of the
        same covariance, too, which is the control of the silhouette. {rule}""",
        png(clusters=partial(draw.neuron_clusters, solution, clusters)),
        [
            table.LIVE,
            *(m for claim in table.CLUSTER_CLAIMS for m in (claim.metric, *claim.controls)),
        ],
        *_verdict(solution, table.CLUSTER_CLAIMS),
    )


def _verdict(solution: SecondSolution, claims: Sequence[Claim]) -> tuple[str, str]:
    """Return the verdict on several claims together, and each claim's own."""
    metrics = solution.metrics
    verdicts = [claim.verdict(metrics) for claim in claims]
    together = IN_PART
    if set(verdicts) in ({HOLDS}, {NOT_SHOWN}):
        together = verdicts[0]
    reasons = [
        f"{claim.text}: {verdict} ({claim.metric.unit.format(metrics[claim.metric.key])}; "
        f"control {claim.metric.unit.format(claim.bar(metrics))})"
        for claim, verdict in zip(claims, verdicts, strict=True)
    ]
    return together, "; ".join(reasons)
