"""Every figure of challenge 1's explanation, from what was observed of the network."""

import numpy as np

from jaxmi.challenges.solutions import ClueSolution
from jaxmi.explain.bands import best_band
from jaxmi.explain.clue_recovery import Recovery, measure
from jaxmi.explain.cnn_detectors import (
    Detectors,
    Groups,
    Halves,
    Neurons,
)
from jaxmi.explain.cnn_experiments import (
    ablate_to_zero,
    kept_at_minimum,
    kept_by_half,
    scrub_armwise,
    scrub_near,
    scrub_random,
)
from jaxmi.explain.scrub import DonorRule, chance_level, difference
from jaxmi.types import Figures

DRAWS = 5
"""How often donors are drawn for each row of scrubbing."""

RANDOM_GROUPS = 30
"""How many random partitions of the neurons the true groups are compared with."""


def structure(neurons: Neurons, detectors: Detectors) -> Figures:
    """Returns class shares, variance shares, and how many neurons each group has."""
    labels = neurons.labels
    shares = detectors.plane.variance_shares
    return {
        "label1_share": float(labels.mean()),
        "chance": chance_level(labels),
        "pca_variance_1": float(shares[0]),
        "pca_variance_2": float(shares[1]),
        "neurons_left": int(detectors.groups.anti1.sum()),
        "neurons_right": int(detectors.groups.one.sum()),
        "neurons_dead": int(neurons.dead.sum()),
    }


def bands(neurons: Neurons, images: np.ndarray, clue: np.ndarray) -> Figures:
    """Returns how well bands on L1 distance and similarity fit the network's labels."""
    figures: Figures = {}
    for metric in ("l1", "similarity"):
        band = best_band(measure(images, clue, metric), neurons.labels)
        figures[f"{metric}_band_agreement"] = band.agreement
    return figures


def ablations(neurons: Neurons, groups: Groups) -> dict[str, np.ndarray]:
    """Returns logit differences: untouched, and with either group and both at zero."""
    named = {**groups._asdict(), "both": groups.both}
    ablated = {f"zero_{name}": ablate_to_zero(neurons, g) for name, g in named.items()}
    return {"logit_diff": difference(neurons.logits), **ablated}


def contributions(differences: dict[str, np.ndarray], labels: np.ndarray) -> Figures:
    """What each group adds to the logit difference, on average over the images of either label."""
    figures: Figures = {}
    for group in ("anti1", "one"):
        added = differences["logit_diff"] - differences[f"zero_{group}"]
        for label in (0, 1):
            chosen = added[labels == label]
            figures[f"adds_{group}_label{label}"] = float(chosen.mean()) if chosen.size else 0.0
    return figures


def minima(neurons: Neurons, groups: Groups, halves: Halves) -> Figures:
    """Labels kept with neurons at their minimum; a network that answers 0 keeps the share of 0."""
    figures: Figures = {}
    named = {**groups._asdict(), "both": groups.both}
    for half, members in halves._asdict().items():
        for name, group in named.items():
            kept = kept_at_minimum(neurons, group, members)
            figures[f"kept_{half}half_min_{name}"] = kept
        figures[f"class0_{half}half"] = float((neurons.labels[members] == 0).mean())
    true = kept_by_half(neurons, groups, halves)
    random = [kept_by_half(neurons, groups.shuffled(seed), halves) for seed in range(RANDOM_GROUPS)]
    figures["min_specificity"] = true.specificity
    figures["min_specificity_random_mean"] = float(np.mean([kept.specificity for kept in random]))
    figures["kept_without_other"] = min(true.without_other)
    worse = [min(kept.without_other) for kept in random]
    figures["kept_without_other_random_mean"] = float(np.mean(worse))
    return figures


def scrubs(neurons: Neurons, groups: Groups, scores: np.ndarray, solution: ClueSolution) -> Figures:
    """Returns the published scrub at every noise, and with any image as donor."""
    figures: Figures = {}
    both = groups.both
    outcomes = {
        f"{noise:g}": scrub_near(neurons, both, scores, noise, DRAWS) for noise in solution.noises
    }
    outcomes["random"] = scrub_random(neurons, both, DRAWS)
    for name, outcome in outcomes.items():
        figures[f"scrub_{name}"] = outcome.kept
        figures[f"scrub_{name}_std"] = outcome.kept_std
        figures[f"scrub_{name}_logit_error"] = outcome.logit_error
    return figures


def armwise(
    neurons: Neurons, groups: Groups, halves: Halves, relevant: DonorRule
) -> tuple[Figures, np.ndarray]:
    """Returns the arm-wise scrub of true, swapped and random groups; and each random outcome."""
    true = scrub_armwise(neurons, groups, halves, DRAWS, relevant)
    swapped = scrub_armwise(neurons, groups.swapped, halves, DRAWS, relevant)
    alone = scrub_armwise(neurons, groups, halves, DRAWS)
    random = np.array(
        [
            scrub_armwise(neurons, groups.shuffled(seed), halves, 1, relevant).kept
            for seed in range(RANDOM_GROUPS)
        ]
    )
    figures: Figures = {
        "armwise_true": true.kept,
        "armwise_true_std": true.kept_std,
        "armwise_true_logit_error": true.logit_error,
        "armwise_random_mean": float(random.mean()),
        "armwise_random_std": float(random.std(ddof=1)),
        "armwise_random_max": float(random.max()),
        "armwise_swapped": swapped.kept,
        "armwise_irrelevant_only": alone.kept,
    }
    return figures, random


def recovered(recovery: Recovery, clue: np.ndarray, solution: ClueSolution) -> Figures:
    """Returns what the search without the hint found, and how it compares with the hint."""
    order, correlation = recovery.ranking
    pixels = np.corrcoef(recovery.template.reshape(-1), clue.reshape(-1))
    first, second = correlation[order[:2]]
    figures = {
        "recovered_clue_index": recovery.clue,
        "recovered_clue_correlation": float(first),
        "recovered_clue_margin": float(first - second),
        "recovered_true_clue_rank": recovery.ranking.rank_of(solution.clue_index),
        "recovered_template_correlation": float(pixels[0, 1]),
        "recovered_template_agreement": recovery.template_band.agreement,
        "recovered_band_agreement": recovery.band.agreement,
        "recovered_band_low": recovery.band.low,
        "recovered_band_high": recovery.band.high,
    }
    figures |= {f"recovered_{m}_agreement": b.agreement for m, b in recovery.bands.items()}
    if recovery.baseline is not None:
        figures["baseline_clue_index"] = int(recovery.baseline.order[0])
        figures["baseline_true_clue_rank"] = recovery.baseline.rank_of(solution.clue_index)
    return figures
