"""The report on a transformer: the claim, the evidence with its controls, what is not shown."""

from collections.abc import Mapping
from functools import partial

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.explanation import transformer_metrics as table
from jaxmi.explanation.metrics import Metric
from jaxmi.explanation.transformer_evidence import resid_mid_of
from jaxmi.explanation.transformer_solution import TransformerExplanation
from jaxmi.explanation.verdicts import NOT_SHOWN as NO_EVIDENCE
from jaxmi.report import transformer_figures as draw
from jaxmi.report.page import PUBLISHED_CLAIM, Page, Section, png

CLAIM = """The embeddings do the work. Attention hardly varies; it adds one vector for each of
{operands} to the last position's residual stream. Two directions of the sum, the filters alpha
and beta, decide: the label is 1 where both exceed a threshold. The MLP turns this AND into
logits."""

CLAIM_TITLE = "What was published about challenge 2's network, tested on this network."
"""Before the claim, on pages of other challenges."""

NOT_SHOWN = """Which program the filters implement. They are tables over x and y. That they agree
with the labels is no evidence for any term of a program{example}.

That the network itself uses this plane. It is the plane of most variance, and the two sides were
fit to the network's labels; a fit with four numbers can agree with many labels by itself. The rows
of scrubbing are the test; random planes and turned sides are their controls.

What the other positions do. Nothing is read there."""

NO_OTHER_PLANE = "the residual stream has two dimensions, so there is no other plane as a control"

ABOUT_PUBLISHED = {
    True: """ (the published code takes the fixed run's threshold for the last row of the full
        run). The published percentages are drawn into pictures only, so none are shown here""",
    False: "",
}
"""What the section on the rows of scrubbing says about the published network."""

EXAMPLE = ", such as x squared, and the published solution did not find the program"
"""What `NOT_SHOWN` adds about challenge 2."""

BLOCKS = ("", "One block", "Two blocks", "Three blocks", "Four blocks")


def transformer_page(
    explanation: TransformerExplanation, challenge: Challenge, name: str, command: str
) -> Page:
    """Assemble the report on a transformer, and draw its figures.

    Args:
      explanation: The network's explanation.
      challenge: The challenge that it was trained on.
      name: What to call the network.
      command: The command that makes the report.
    """
    metrics, sizes = explanation.metrics, challenge.model_config
    n_layers = sizes.get("n_layers", 1)
    published = challenge.published is not None
    assert isinstance(challenge, NumberChallenge)
    domain, noun = explanation.domain, challenge.noun
    *others, last_operand = domain.values
    if challenge.sealed:
        accuracy = f"""How many of the {len(challenge.labels):,} true labels the network predicts is
            not known here, for they are sealed; it predicts label 1"""
    else:
        accuracy = f"""The network predicts the true label of {metrics[table.ACCURACY.key]:.2%} of
            {"all " if domain.whole else ""}{len(domain.rows):,} {noun}s, and label 1"""
    about_part = ""
    if not domain.whole:
        about_part = f""" Everything is measured on {len(domain.rows):,} of the
            {len(challenge.labels):,} {noun}s: those of {domain.shape[0]} random values of each of
            {", ".join(domain.values)}."""
    not_shown = NOT_SHOWN.format(example=EXAMPLE if published else "")
    if n_layers > 1:
        not_shown += f"""\n\nWhat block {n_layers - 2} and those before it compute. Only the last
            block's MLP is taken apart from what it reads."""
    return Page(
        title=f"{challenge.title}: an explanation of {name}",
        subtitle=f"""{BLOCKS[n_layers]}, no LayerNorm, width {sizes["d_model"]}, {sizes["n_heads"]}
            head{"s" if sizes["n_heads"] > 1 else ""} of {sizes["d_head"]}, {sizes["d_mlp"]:,} ReLU
            neurons{" each" if n_layers > 1 else ""}. {accuracy} for
            {metrics[table.LABEL1_SHARE.key]:.1%} of them. Everything below is about the network's
            own labels: logit 1 against logit 0 at the last position.{about_part}""",
        claim=CLAIM.format(operands=f"{', '.join(others)} and {last_operand}")
        + _about_blocks(n_layers),
        sections=(
            _attention(explanation, challenge),
            _filters(explanation, challenge),
            _plane(explanation),
            _sides(explanation, published),
            _mlp(explanation, n_layers),
            _untrained(),
        ),
        not_shown=not_shown,
        command=command,
        metrics=metrics,
        claim_title=PUBLISHED_CLAIM if published else CLAIM_TITLE,
        beside_published=published,
    )


def _about_blocks(n_layers: int) -> str:
    """Say what the claim, which was made of one block, means in a network of several."""
    if n_layers == 1:
        return ""
    return f""" That network has one block. In this one, of {n_layers} blocks, the residual stream
        is that before the last block's MLP ({resid_mid_of(n_layers)}), the MLP is the last block's,
        and attention is fixed in every block; the MLPs of the blocks before may do part of the
        work."""


def _in_both(*metrics: Mapping[str, Metric]) -> list[Metric]:
    """Return each metric's rows for either run."""
    return [by_run[run] for by_run in metrics for run in table.RUNS]


def _elsewhere(by_plane: Mapping[str, Metric]) -> list[Metric]:
    """Return rows for the same metric in planes that hold little of the variance."""
    return [by_plane[plane] for plane in ("random_plane", "random_dims")]


def _attention(explanation: TransformerExplanation, challenge: Challenge) -> Section:
    sizes = challenge.model_config
    heads = table.heads_of(sizes["n_heads"], sizes.get("n_layers", 1), challenge.axes)
    claim, metrics = table.ATTENTION_CLAIM, explanation.metrics
    return Section(
        "The labels survive fixed attention",
        """Every head's pattern is set to its mean over all inputs. If attention only added up
        embeddings, the labels would be kept. That they are kept is no evidence of a mechanism: see
        the untrained network below. That they are not kept is evidence against one. The figure
        shows attention from the last position.""",
        png(attention=partial(draw.attention, explanation, [head.name for head in heads])),
        (
            table.BASELINE["fixed"],
            table.ACCURACY,
            table.FIXED_ACCURACY,
            *(
                metric
                for head in heads
                for metric in (head.attention[challenge.axes[0], "std"], head.kept_if_fixed)
            ),
        ),
        claim.verdict(metrics),
        f"{metrics[claim.metric.key]:.1%} of labels kept; predicting one class throughout "
        f"{claim.bar(metrics):.1%}",
    )


def _filters(explanation: TransformerExplanation, challenge: Challenge) -> Section:
    claim, metrics = table.FILTERS_CLAIM, explanation.metrics
    return Section(
        "Two straight sides in a plane give the label",
        """The residual stream before the MLP at the last position, on its first two principal
        components. Two half-planes are fit so that an input is in both where its label is 1.

        Below them: how strongly each input passes either filter, row x, column y.""",
        png(
            plane=partial(draw.plane, explanation),
            filters=partial(draw.filters, explanation, challenge),
        ),
        (
            *_in_both(table.FILTERS_AGREEMENT, table.GOAL),
            *_elsewhere(table.PLANE_AGREEMENT_MEAN),
            *_in_both(table.ALPHA_SHARE, table.BETA_SHARE, *table.VARIANCES, table.PROBE),
        ),
        claim.verdict(metrics),
        f"{metrics[claim.metric.key]:.1%} of labels; "
        + (
            f"{table.IN_LEADING} {claim.bar(metrics):.1%}"
            if claim.known(metrics)
            else NO_OTHER_PLANE
        ),
    )


def _plane(explanation: TransformerExplanation) -> Section:
    claim, metrics = table.PLANE_CLAIM, explanation.metrics
    if not claim.known(metrics):
        return Section(
            "Nothing but the plane matters",
            "Nothing is tested here: the residual stream has no dimension outside the plane.",
            verdict=NO_EVIDENCE,
            reason=NO_OTHER_PLANE,
        )
    return Section(
        "Nothing but the plane matters",
        "Causal scrubbing: all other dimensions of the residual stream come from another input.",
        {},
        [
            *(table.SCRUBS[row][run].kept for row in ("1", "1*") for run in table.RUNS),
            *_elsewhere(table.PLANE_SCRUB_MEAN),
        ],
        claim.verdict(metrics),
        f"{metrics[claim.metric.key]:.1%} of labels kept; {table.IN_LEADING} "
        f"{claim.bar(metrics):.1%}",
    )


def _sides(explanation: TransformerExplanation, published: bool) -> Section:
    claim, metrics = table.SIDES_CLAIM, explanation.metrics
    if not claim.known(metrics):  # there is nothing but the plane
        claim = table.SIDES_CLAIM_IN_PLANE
    return Section(
        "Of the plane, only which sides are passed matters",
        f"""Every row of the published table, compared with the labels of the full network. In each
        row, coordinates come from other inputs that the claim calls equal; rows with + make their
        claims one after the other. Each run has its own thresholds{ABOUT_PUBLISHED[published]}. The
        control turns both sides by a random angle in the same plane, {table.CONTROL_DRAWS}
        times.""",
        png(scrubs=partial(draw.scrubs, explanation)),
        [
            *_in_both(table.BASELINE, table.GOAL),
            *(
                scrubs[run].kept
                for row, scrubs in table.SCRUBS.items()
                if row not in ("1", "1*")
                for run in table.RUNS
            ),
        ],
        claim.verdict(metrics),
        f"{metrics[claim.metric.key]:.1%} of labels kept with "
        f"{'row 2' if claim is table.SIDES_CLAIM_IN_PLANE else 'every claim at once'}; "
        f"turned sides at best {claim.bar(metrics):.1%}",
    )


def _mlp(explanation: TransformerExplanation, n_layers: int) -> Section:
    return Section(
        "What the MLP adds" if n_layers == 1 else "What the last block's MLP adds",
        """The logit difference is a sum of two parts: the direct contribution of the residual
        stream before the MLP, and the contribution of the MLP. The figure shows their means over
        the four quadrants that the filters make. Without the MLP's contribution for the input, the
        network may predict one class throughout: compare with the control.""",
        png(mlp=partial(draw.mlp, explanation)),
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
