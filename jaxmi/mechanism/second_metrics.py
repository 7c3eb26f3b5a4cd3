"""Every metric of challenge 2's second published solution, its controls, and each claim's rule.

The claims are of RGRGRG, *Thoughts about the Mechanistic Interpretability Challenge #2* (2023);
docs/second-solution.md says how each is read here.
"""

from jaxmi.explanation.metrics import Control, Metric, MetricTable, Unit
from jaxmi.explanation.verdicts import Claim

OPERANDS = ("x", "y")
"""The operands of a pair: rows of the table of labels are values of the first."""

DRAWS = 5
"""Draws of each random control; the best of them is the control."""

PERMUTATIONS = 100
"""Permutations of values that a trend is compared with."""

CLUSTERS = 4
"""Clusters of neurons: the post shows one neuron of each of so many."""

TABLE = MetricTable()


def _controlled(key: str, label: str, control: str, of: str, unit: Unit = Unit.SHARE) -> Metric:
    """Add a metric and its control, whose key begins with `control_`."""
    other = TABLE.add(f"control_{key}", f"{label}: {control}", unit)
    return TABLE.add(key, label, unit, control=Control(other, of))


# Extended embeddings: W_E, then V and O of every head, W_in, W_out, and W_U's difference.
ROWS = _controlled(
    "extended_embedding_row_rank",
    "rank correlation of x's extended embedding with the row's share of label 1",
    "best of 5 with W_out's neurons shuffled",
    "shuffled neurons",
    Unit.CORRELATION,
)
ROWS_UNTRAINED = TABLE.add(
    "control_extended_embedding_row_rank_untrained",
    "the same by an untrained network's matrices",
    Unit.CORRELATION,
)
ROW_KEPT = _controlled(
    "extended_embedding_row_kept",
    "labels kept with x replaced by the value of nearest extended embedding",
    "best of 5 with W_out's neurons shuffled",
    "shuffled neurons",
)
ROW_KEPT_NEXT = TABLE.add(
    "control_extended_embedding_row_kept_next", "labels kept with x replaced by the next value"
)
ROW_KEPT_HEADS = TABLE.add(
    "extended_embedding_row_kept_heads",
    "labels kept with x replaced by the value that is nearest in every head's extended embedding",
)
ROW_KEPT_VECTOR = TABLE.add(
    "extended_embedding_row_kept_vector",
    "labels kept with x replaced by the value that is nearest in all that it adds before the MLP",
)
BOTH_KEPT = _controlled(
    "extended_embedding_both_kept",
    "labels kept with both operands replaced by values of nearest extended embedding",
    "best of 5 with W_out's neurons shuffled",
    "shuffled neurons",
)
ONLY = _controlled(
    "extended_embedding_only_kept",
    "labels kept if x adds nothing but its extended embedding",
    "best of 5 random directions of its first 8 components",
    "random directions",
)
ONLY_COMPONENT = TABLE.add(
    "extended_embedding_component_kept",
    "labels kept if x adds nothing but its first principal component",
)
NOTHING = TABLE.add("extended_embedding_nothing_kept", "labels kept if x adds nothing")
TREND = {
    o: _controlled(
        f"extended_embedding_{o}_trend",
        f"rank correlation of {o}'s extended embedding with {o}",
        "best of 100 permutations",
        "permuted",
        Unit.CORRELATION,
    )
    for o in OPERANDS
}
RUNS = {
    o: _controlled(
        f"extended_embedding_{o}_runs",
        f"correlation of {o}'s extended embedding with the mean of its two neighbours",
        "best of 100 permutations",
        "permuted",
        Unit.CORRELATION,
    )
    for o in OPERANDS
}

# Neurons by what the values of x and of y add to their input: W_E, V and O, W_in.
LIVE = TABLE.add("neuron_clusters_live", "neurons active on 5 to 95 % of the inputs", Unit.COUNT)
SILHOUETTE = _controlled(
    "neuron_clusters_silhouette",
    f"silhouette of {CLUSTERS} clusters of neurons",
    "best of 5 normal clouds of equal covariance",
    "normal clouds",
    Unit.CORRELATION,
)
CLUSTERS_KEPT = _controlled(
    "neuron_clusters_kept",
    "labels kept if a neuron's input is its cluster's, scaled",
    f"best of 5 with {CLUSTERS} random neurons as centres",
    "random centres",
)
CLUSTERS_RANDOM = TABLE.add(
    "control_neuron_clusters_kept_random", "the same with random clusters of equal sizes"
)
CLUSTER_TREND = {
    o: _controlled(
        f"neuron_clusters_{o}_trend",
        f"rank correlation of a cluster's input with {o}, mean over clusters",
        "best of 100 permutations",
        "permuted",
        Unit.CORRELATION,
    )
    for o in OPERANDS
}

# Attention.
ATTENTION_LOST = _controlled(
    "attention_fixed_lost",
    "labels lost with every head's attention at its mean",
    "of an untrained network",
    "untrained",
)

MAIN: tuple[Metric, ...] = (ROW_KEPT, ONLY, SILHOUETTE, CLUSTERS_KEPT)
"""The metrics that are printed."""


def _of(metric: Metric) -> Metric:
    assert metric.control is not None
    return metric.control.metric


EMBEDDING_CLAIMS = (
    Claim(
        "rows",
        "x's extended embedding orders the rows by their share of label 1",
        ROWS,
        (_of(ROWS), ROWS_UNTRAINED),
    ),
    Claim(
        "row_donors",
        "rows of nearly the same extended embedding have the same labels",
        ROW_KEPT,
        (_of(ROW_KEPT), ROW_KEPT_NEXT),
    ),
    Claim(
        "only",
        "nothing else of what x adds matters",
        ONLY,
        (_of(ONLY), NOTHING),
    ),
    Claim(
        "both",
        "the extended embeddings of x and y together give the labels",
        BOTH_KEPT,
        (_of(BOTH_KEPT), ROW_KEPT_NEXT),
    ),
    *(
        Claim(
            f"{o}_trend",
            f"the extended embedding rises or falls along {o}",
            TREND[o],
            (_of(TREND[o]),),
        )
        for o in OPERANDS
    ),
    *(
        Claim(
            f"{o}_runs",
            f"the extended embedding rises and falls in runs along {o}",
            RUNS[o],
            (_of(RUNS[o]),),
        )
        for o in OPERANDS
    ),
)
CLUSTER_CLAIMS = (
    Claim(
        "clusters",
        f"neurons fall into {CLUSTERS} clusters by what x and y add to their input",
        SILHOUETTE,
        (_of(SILHOUETTE),),
        enough=0.5,
    ),
    Claim(
        "clusters_kept",
        "a neuron does what its cluster does",
        CLUSTERS_KEPT,
        (_of(CLUSTERS_KEPT), CLUSTERS_RANDOM),
    ),
    *(
        Claim(
            f"clusters_{o}_trend",
            f"a cluster's input rises or falls along {o}",
            CLUSTER_TREND[o],
            (_of(CLUSTER_TREND[o]),),
        )
        for o in OPERANDS
    ),
)
ATTENTION_CLAIM = Claim(
    "attention",
    "attention matters",
    ATTENTION_LOST,
    (_of(ATTENTION_LOST),),
    enough=0.05,
    margin=0.02,
)
CLAIMS = (*EMBEDDING_CLAIMS, *CLUSTER_CLAIMS, ATTENTION_CLAIM)
"""The second solution's claims. A silhouette of 0.5 is a reasonable structure after Kaufman and
Rousseeuw (1990); attention is said to matter where fixing it loses 5 % of the labels."""
