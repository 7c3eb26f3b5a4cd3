"""The report on a transformer: the claim, the evidence with its controls, what is not shown."""

from collections.abc import Mapping

from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation import transformer_metrics as table
from jaxmi.explanation.metrics import Metric
from jaxmi.explanation.transformer_solution import TransformerExplanation
from jaxmi.explanation.verdicts import verdict
from jaxmi.report import transformer_figures as draw
from jaxmi.report.page import Page, Section, png

CLAIM = """The embeddings do the work. Attention hardly varies; it adds one vector for x and one
vector for y to the last position's residual stream. Two directions of the sum, the filters alpha
and beta, decide: the label is 1 where both exceed a threshold. The MLP turns this AND into
logits."""

NOT_SHOWN = """Which program the filters implement. They are tables over x and y. That they agree
with the labels is no evidence for any term of the program, such as x squared, and the published
solution did not find the program.

That the network itself uses this plane. It is the plane of most variance, and the two sides were
fit to the network's labels; a fit with four numbers can agree with many labels by itself. The rows
of scrubbing are the test; random planes and turned sides are their controls.

What the other positions do. Nothing is read there."""


def transformer_page(
    explanation: TransformerExplanation, challenge: Challenge, name: str, command: str
) -> Page:
    """Assemble the report on a network of challenge 2, and draw its figures.

    Args:
      explanation: The network's explanation.
      challenge: Challenge 2.
      name: What to call the network.
      command: The command that makes the report.
    """
    metrics, sizes = explanation.metrics, challenge.model_config
    return Page(
        title=f"{challenge.title}: an explanation of {name}",
        subtitle=f"""One block, no LayerNorm, width {sizes["d_model"]}, {sizes["n_heads"]} heads of
            {sizes["d_head"]}, {sizes["d_mlp"]:,} ReLU neurons. The network predicts the true label
            of {metrics[table.ACCURACY.key]:.2%} of all {len(challenge.labels):,} pairs, and label 1
            for {metrics[table.LABEL1_SHARE.key]:.1%} of them. Everything below is about the
            network's own labels: logit 1 against logit 0 at the last position.""",
        claim=CLAIM,
        sections=(
            _attention(explanation),
            _filters(explanation, challenge),
            _plane(explanation),
            _sides(explanation),
            _mlp(explanation),
            _untrained(),
        ),
        not_shown=NOT_SHOWN,
        command=command,
        metrics=metrics,
    )


def _in_both(*metrics: Mapping[str, Metric]) -> list[Metric]:
    """Return each metric's rows for either run."""
    return [by_run[run] for by_run in metrics for run in table.RUNS]


def _elsewhere(by_plane: Mapping[str, Metric]) -> list[Metric]:
    """Return rows for the same metric in planes that hold little of the variance."""
    return [by_plane[plane] for plane in ("random_plane", "random_dims")]


def _attention(explanation: TransformerExplanation) -> Section:
    kept, constant = (
        explanation.metrics[metric.key] for metric in (table.BASELINE["fixed"], table.CONSTANT)
    )
    return Section(
        "The labels survive fixed attention",
        """Every head's pattern at the last position is set to its mean over all pairs. If attention
        only added up embeddings, the labels would be kept. That they are kept is no evidence of a
        mechanism: see the untrained network below. That they are not kept is evidence against
        one.""",
        png(attention=draw.attention(explanation)),
        (
            table.BASELINE["fixed"],
            table.ACCURACY,
            table.FIXED_ACCURACY,
            *(
                metric
                for head in range(len(explanation.attention.mean))
                for metric in (table.ATTENTION[head, "x", "std"], table.KEPT_IF_FIXED[head])
            ),
        ),
        verdict(kept, constant),
        f"{kept:.1%} of labels kept; predicting one class throughout {constant:.1%}",
    )


def _filters(explanation: TransformerExplanation, challenge: Challenge) -> Section:
    value = explanation.metrics[table.FILTERS_AGREEMENT["full"].key]
    random = explanation.metrics[table.PLANE_AGREEMENT_MAX["leading_plane"].key]
    return Section(
        "Two straight sides in a plane give the label",
        """The residual stream before the MLP at the last position, on its first two principal
        components. Two half-planes are fit so that a pair is in both where its label is 1.

        Below them: how strongly each pair passes either filter, row x, column y.""",
        png(plane=draw.plane(explanation), filters=draw.filters(explanation, challenge)),
        (
            *_in_both(table.FILTERS_AGREEMENT, table.GOAL),
            *_elsewhere(table.PLANE_AGREEMENT_MEAN),
            *_in_both(table.ALPHA_SHARE, table.BETA_SHARE, *table.VARIANCES, table.PROBE),
        ),
        verdict(value, random),
        f"{value:.1%} of labels; {table.IN_LEADING} {random:.1%}",
    )


def _plane(explanation: TransformerExplanation) -> Section:
    value = explanation.metrics[table.SCRUBS["1"]["full"].kept.key]
    random = explanation.metrics[table.PLANE_SCRUB_MAX["leading_plane"].key]
    return Section(
        "Nothing but the plane matters",
        "Causal scrubbing: all other dimensions of the residual stream come from another pair.",
        {},
        [
            *(table.SCRUBS[row][run].kept for row in ("1", "1*") for run in table.RUNS),
            *_elsewhere(table.PLANE_SCRUB_MEAN),
        ],
        verdict(value, random),
        f"{value:.1%} of labels kept; {table.IN_LEADING} {random:.1%}",
    )


def _sides(explanation: TransformerExplanation) -> Section:
    every_claim = "1+2+3a+3b"
    value = explanation.metrics[table.SCRUBS[every_claim]["full"].kept.key]
    turned = explanation.metrics[table.TURNED_MAX[every_claim].key]
    return Section(
        "Of the plane, only which sides are passed matters",
        f"""Every row of the published table, compared with the labels of the full network. In each
        row, coordinates come from other pairs that the claim calls equal; rows with + make their
        claims one after the other. Each run has its own thresholds (the published code takes the
        fixed run's threshold for the last row of the full run). The published percentages are drawn
        into pictures only, so none are shown here. The control turns both sides by a random angle
        in the same plane, {table.CONTROL_DRAWS} times.""",
        png(scrubs=draw.scrubs(explanation)),
        [
            *_in_both(table.BASELINE, table.GOAL),
            *(
                scrubs[run].kept
                for row, scrubs in table.SCRUBS.items()
                if row not in ("1", "1*")
                for run in table.RUNS
            ),
        ],
        verdict(value, turned),
        f"{value:.1%} of labels kept with every claim at once; turned sides at best {turned:.1%}",
    )


def _mlp(explanation: TransformerExplanation) -> Section:
    return Section(
        "What the MLP adds",
        """The logit difference is a sum of two parts: the direct contribution of the residual
        stream before the MLP, and the contribution of the MLP. The figure shows their means over
        the four quadrants that the filters make. Without the MLP's contribution for the pair, the
        network may predict one class throughout: compare with the control.""",
        png(mlp=draw.mlp(explanation)),
        (table.MLP_ZERO, table.MLP_MEAN, table.MLP_ALONE),
    )


def _untrained() -> Section:
    return Section(
        "The same on an untrained network",
        """A network as initialised, with a bias that makes half of its labels 1. It attends evenly
        and adds embeddings up without training. That attention can be fixed is therefore no
        evidence of a mechanism.""",
        comparison={
            "this network": table.COMPARED,
            "untrained": [table.ON_UNTRAINED[metric] for metric in table.COMPARED],
        },
    )
