"""Every metric of a mechanism of an image network: add one here, measure it in `image_account`.

`agreement` is the share of the network's own labels that a replacement gives; `mistakes` is that
share among the images that the network gets wrong. All are of held-out images but for neurons that
were chosen and refitted on all.
"""

from functools import partial

from jaxmi.explanation.metrics import Control, Metric, MetricTable, Unit
from jaxmi.mechanism import metrics as numbers
from jaxmi.mechanism.boundary import MAX_SCORES
from jaxmi.mechanism.metrics import FEW, OTHER_SEED, add_kept

MAX_EDGES = 4
"""Edges beyond the first so many have no metrics of their own."""

TABLE = MetricTable()
for _by_count in FEW.values():
    for _kept_by in _by_count.values():
        for _metric in _kept_by:
            TABLE.include(_metric)
for _metric in OTHER_SEED:
    TABLE.include(_metric)

COUNTS, MAIN_COUNT = numbers.COUNTS, numbers.MAIN_COUNT


_kept = partial(add_kept, TABLE)

NEAREST = _kept("nearest_image", "label of the nearest image of the other half")

# How many scores there are.
SCORES = TABLE.add("scores_count", "scores that the boundary hangs on", Unit.COUNT)
EDGES = TABLE.add("scores_edges", "edges on them", Unit.COUNT)
NORMALS_UNTRAINED = {
    k: TABLE.add(
        f"normals_{k}_untrained", f"the same, {k} direction{'s'[: k - 1]}, untrained network"
    )
    for k in range(1, MAX_SCORES + 1)
}
NORMALS = {
    k: TABLE.add(
        f"normals_{k}",
        f"normals of the boundary along {k} direction{'s'[: k - 1]}",
        control=Control(NORMALS_UNTRAINED[k], "untrained network"),
    )
    for k in range(1, MAX_SCORES + 1)
}
"""Number of directions -> the share of the normals' squared length that they carry."""

# Every neuron reads the scores only.
LINEAR = _kept("linear", "neurons read weighted sums of the pixels")
SCORES_OTHERS = {
    other: _kept(f"scores_{other}", f"neurons read {label} only")
    for other, label in (
        ("random", "as many random directions"),
        ("components", "as many principal components"),
        ("untrained", "an untrained network's scores"),
        ("other_seed", "another seed's scores"),
    )
}
"""Other directions -> what is kept if the neurons read these only."""
SCORES_ONLY = _kept(
    "scores", "neurons read the scores only", SCORES_OTHERS["random"], "as many random directions"
)

# The label as a rule on the edges.
RULE_RANDOM = _kept("rule_random", "rule on random directions, edges at the same shares")
RULE = _kept("rule", "rule on the scores' edges", RULE_RANDOM, "random directions")

# Which neurons follow which score.
DEAD = TABLE.add("score_neurons_dead", "neurons that are active on no image", Unit.COUNT)
NEURONS = {
    i: TABLE.add(f"score_{i}_neurons", f"neurons that follow score {i}", Unit.COUNT)
    for i in range(1, MAX_SCORES + 1)
}
READ_ONE = TABLE.add("neurons_one_score", "share of what neurons read that is their own score")
READ_RANDOM = TABLE.add(
    "neurons_all_scores_random", "share that is any of as many random directions"
)
READ_ALL = TABLE.add(
    "neurons_all_scores",
    "share of what neurons read that is any of the scores",
    control=Control(READ_RANDOM, "as many random directions"),
)
IMAGE = {
    i: TABLE.add(f"score_{i}_image", f"image most like score {i}", Unit.INDEX)
    for i in range(1, MAX_SCORES + 1)
}
IMAGE_CORRELATION = {
    i: TABLE.add(
        f"score_{i}_image_correlation",
        f"correlation of the similarity to it with score {i}",
        Unit.CORRELATION,
    )
    for i in range(1, MAX_SCORES + 1)
}

# Scrubbing each score's neurons by that score.
SCRUB_CONTROLS = {
    control: TABLE.add(f"score_scrub_{control}", f"scrub of each score's neurons, {label}")
    for control, label in (
        ("random_groups", "random neurons, as many"),
        ("swapped", "by another score"),
        ("other_images", "by the similarity to a random image"),
        ("permuted", "by the score, randomly permuted"),
        ("anyone", "any image as donor"),
    )
}
SCRUB = TABLE.add(
    "score_scrub",
    "scrub of each score's neurons, donor's score off by 0.1 % of the range",
    control=Control(SCRUB_CONTROLS["random_groups"], "random neurons, as many"),
)

# Interchange: what the rule predicts if one score, or one edge's neurons, come from another image.
SCORE_INTERCHANGE_RANDOM = {
    i: TABLE.add(f"score_{i}_interchange_random", f"a random direction exchanged for score {i}")
    for i in range(1, MAX_SCORES + 1)
}
SCORE_INTERCHANGE = {
    i: TABLE.add(
        f"score_{i}_interchange",
        f"score {i} exchanged in what neurons read: labels as the rule says",
        control=Control(SCORE_INTERCHANGE_RANDOM[i], "a random direction"),
    )
    for i in range(1, MAX_SCORES + 1)
}
EDGE_NEURONS = {
    i: TABLE.add(f"edge_{i}_neurons", f"neurons of edge {i}", Unit.COUNT)
    for i in range(1, MAX_EDGES + 1)
}
EDGE_INTERCHANGE_RANDOM = {
    i: TABLE.add(f"edge_{i}_interchange_random", f"as many random neurons exchanged for edge {i}")
    for i in range(1, MAX_EDGES + 1)
}
EDGE_INTERCHANGE = {
    i: TABLE.add(
        f"edge_{i}_interchange",
        f"edge {i}'s neurons exchanged: labels as the rule says",
        control=Control(EDGE_INTERCHANGE_RANDOM[i], "random neurons, as many"),
    )
    for i in range(1, MAX_EDGES + 1)
}

# Beside a program that is known.
PROGRAM_NEXT = {
    i: TABLE.add(
        f"score_{i}_program_next_r2",
        f"the same, of the condition that fits score {i} next best",
        Unit.R2,
        needs_truth=True,
    )
    for i in range(1, MAX_SCORES + 1)
}
PROGRAM = {
    i: TABLE.add(
        f"score_{i}_program_r2",
        f"squared correlation of score {i} with a condition of the program",
        Unit.R2,
        control=Control(PROGRAM_NEXT[i], "the next best condition"),
        needs_truth=True,
    )
    for i in range(1, MAX_SCORES + 1)
}

MAIN: tuple[Metric, ...] = (
    SCORES,
    EDGES,
    SCORES_ONLY.agreement,
    RULE.agreement,
    SCRUB,
    FEW["own"][MAIN_COUNT].agreement,
    FEW["heldout"][MAIN_COUNT].mistakes,
)
"""The metrics that are printed."""
