"""The report on a transformer: what is claimed, the evidence, its controls, what it does not show."""

from jaxmi.challenges.challenge import Challenge
from jaxmi.explain.transformer_solution import CONTROL_DRAWS, RUNS, TransformerExplanation
from jaxmi.report import transformer_figures as draw
from jaxmi.report.page import Page, Row, Section, png, verdict

CLAIM = (
    "The embeddings do the work. Attention hardly varies; it adds to the last position's residual stream "
    "one vector for x and one for y. Two directions of the sum, the filters alpha and beta, decide: the "
    "label is 1 where both exceed a threshold. The MLP turns this AND into logits."
)
NOT_SHOWN = (
    "What program the filters implement. They are tables over x and y; that they agree with the labels "
    "says nothing of x squared or of any bar, and the published solution did not find the program.",
    "That the plane is the network's own. It is the plane of most variance, and the two sides were fit "
    "to the network's labels; a fit with four numbers can agree with much by itself. The rows of "
    "scrubbing are the test, the random planes their control.",
    "What the other positions do: nothing is read there.",
)
ROWS = {
    "1": "1: all but the plane from any pair",
    "1*": "1*: all but the plane and one more dimension",
    "2": "2: alpha from pairs that pass it alike, beta too",
    "3a": "3a: alpha from any pair, where beta fails",
    "3b": "3b: beta from any pair, where alpha fails",
}
RUN_WORDS = {"full": "attention as it is", "fixed": "attention fixed"}


def transformer_page(
    found: TransformerExplanation, challenge: Challenge, name: str, command: str
) -> Page:
    """Puts the report together; figures are drawn here."""
    f, sizes = found.figures, challenge.model_config
    return Page(
        title=f"{challenge.title}: an explanation of {name}",
        subtitle=(
            f"One block, no LayerNorm, width {sizes['d_model']}, {sizes['n_heads']} heads of "
            f"{sizes['d_head']}, {sizes['d_mlp']:,} ReLU neurons. It gives {f['accuracy']:.2%} of all "
            f"{len(challenge.labels):,} pairs their true label, and labels "
            f"{f['label1_share']:.1%} of them 1. All figures below are about its own labels: logit 1 "
            "against logit 0 at the last position."
        ),
        claim=CLAIM,
        sections=(
            _attention(found),
            _filters(found, challenge),
            _plane(found),
            _sides(found),
            _mlp(found),
            _untrained(),
        ),
        not_shown=NOT_SHOWN,
        command=command,
        values=f,
        published=getattr(challenge.solution, "figures", {}),
    )


def _attention(found: TransformerExplanation) -> Section:
    f = found.figures
    heads = range(len(found.attention.mean))
    return Section(
        "Attention does not matter",
        (
            "Every head's pattern at the last position is set to its mean over all pairs. If attention "
            "did nothing but add up, the labels would stay.",
        ),
        png(attention=draw.attention(found)),
        (
            Row("labels kept with all heads fixed", "fixed_baseline", "chance", "labels by their shares"),
            Row("true labels, attention as it is", "accuracy"),
            Row("true labels, attention fixed", "fixed_accuracy"),
            *(
                Row(f"labels kept with head {h} alone fixed", f"attention_head{h}_kept_if_fixed")
                for h in heads
            ),
        ),
        verdict(f["fixed_baseline"], f["chance"]),
        f"{f['fixed_baseline']:.1%} of labels kept",
    )


def _filters(found: TransformerExplanation, challenge: Challenge) -> Section:
    f = found.figures
    control = f["control_random_plane_filters_agreement"]
    rows = [
        Row(f"{text}, {RUN_WORDS[run]}", f"{run}_{key}")
        for key, text in (
            ("filters_agreement", "both filters against the run's own labels"),
            ("goal", "both filters against the full network"),
            ("alpha_share", "pairs that pass alpha"),
            ("beta_share", "pairs that pass beta"),
            ("pca_variance_1", "first principal component, share of variance"),
            ("pca_variance_2", "second"),
            ("pca_variance_3", "third"),
            ("probe_resid_mid", "one linear side in all 128 dimensions, held-out pairs"),
        )
        for run in RUNS
    ]
    rows[0] = Row(rows[0].label, rows[0].key, "control_random_plane_filters_agreement", "random planes")
    rows[1] = Row(rows[1].label, rows[1].key, "control_random_dims_filters_agreement", "random components")
    return Section(
        "Two straight sides in a plane give the label",
        (
            "The residual stream before the MLP at the last position, on its first two principal "
            "components. Two half-planes are fit so that a pair is in both where its label is 1.",
            "Below: how strongly each pair passes either filter, row x, column y.",
        ),
        png(plane=draw.plane(found), filters=draw.filters(found, challenge.labels)),
        rows,
        verdict(f["full_filters_agreement"], control),
        f"{f['full_filters_agreement']:.1%} of labels; in random planes {control:.1%}",
    )


def _plane(found: TransformerExplanation) -> Section:
    f = found.figures
    control = f["control_random_plane_scrub_1"]
    return Section(
        "Nothing but the plane matters",
        (
            "Causal scrubbing: all other dimensions of the residual stream come from another pair.",
        ),
        {},
        [
            Row(f"{ROWS[row]}, {RUN_WORDS[run]}", f"{run}_scrub_{row.replace('*', 'star')}")
            if (run, row) != ("full", "1")
            else Row(
                f"{ROWS[row]}, {RUN_WORDS[run]}",
                "full_scrub_1",
                "control_random_plane_scrub_1",
                f"mean of {CONTROL_DRAWS} random planes",
            )
            for row in ("1", "1*")
            for run in RUNS
        ],
        verdict(f["full_scrub_1"], control),
        f"{f['full_scrub_1']:.1%} of labels kept; random planes {control:.1%}",
    )


def _sides(found: TransformerExplanation) -> Section:
    f = found.figures
    value, control = f["full_scrub_1_2_3a_3b"], f["control_random_plane_scrub_1_2"]
    rows = []
    for name in found.rows:
        key = name if name in ("baseline", "goal") else "scrub_" + name.replace("+", "_")
        label = {
            "baseline": "baseline: the run itself",
            "goal": "goal: the two filters alone",
            **ROWS,
        }.get(name, name)
        if name not in ("1", "1*"):
            rows += [Row(f"{label}, {RUN_WORDS[run]}", f"{run}_{key}") for run in RUNS]
    return Section(
        "Of the plane, only which sides are passed matters",
        (
            "Every row of the published table, all against the labels of the full network. In each, "
            "coordinates come from other pairs that the claim calls the same; rows with + make claims "
            "in turn. Every run is parted by its own thresholds (the published code parts the last row "
            "of the full run by the fixed run's). The published percentages are drawn into pictures "
            "only and not quoted here.",
        ),
        png(scrubs=draw.scrubs(found)),
        rows,
        verdict(value, control),
        f"{value:.1%} of labels kept with every claim at once; random planes {control:.1%}",
    )


def _mlp(found: TransformerExplanation) -> Section:
    return Section(
        "What the MLP adds",
        (
            "The logit difference is a sum of two parts: what the residual stream before the MLP gives "
            "directly, and what the MLP adds. Means over the four quadrants that the filters make.",
        ),
        png(mlp=draw.mlp(found)),
        (
            Row("labels kept without the MLP", "mlp_zero_kept"),
            Row("labels kept with the MLP's part at its mean", "mlp_mean_kept"),
            Row("labels kept with the direct part at its mean", "mlp_alone_kept"),
        ),
    )


def _untrained() -> Section:
    return Section(
        "The same on an untrained network",
        (
            "As initialised, with a bias that makes half of its labels 1. It attends evenly and adds "
            "embeddings up without having learnt to: so that its attention can be fixed is no evidence "
            "of a mechanism.",
        ),
        {},
        (
            Row("labels kept with attention fixed", "control_untrained_baseline"),
            Row("both filters against its labels", "control_untrained_filters_agreement"),
            Row("1: all but the plane from any pair", "control_untrained_scrub_1"),
            Row("1+2", "control_untrained_scrub_1_2"),
        ),
    )
