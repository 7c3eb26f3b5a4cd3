"""Searches for the clue, without the hint, in networks trained on ten other clue images.

Command:   .venv/bin/python scripts/clue_without_hint.py
Time:      about 5 minutes on 2 cores
Writes:    nothing; prints the table of docs/explain-cnn.md, a line per digit
"""

from dataclasses import replace

import jax
import numpy as np

from jaxmi.challenges.registry import load_challenge
from jaxmi.data.mnist import load_mnist
from jaxmi.explanation.clue_search import fit_clue, pixel_moments, rank_by_bands
from jaxmi.explanation.cnn_detectors import observe
from jaxmi.explanation.network import Network
from jaxmi.programs.published_labels import (
    CALIBRATED_BAND,
    CLUE_INDEX,
    Band,
    l1_distances,
    label_distances,
)
from jaxmi.training.loop import make_train
from jaxmi.training.recipe import RECIPES

IMAGES = 60_000
"""The number of training images, among which the clue is searched."""


def main() -> None:
    """Train a network on the first image of each digit, search for it, and print a line."""
    challenge = load_challenge("cnn")
    images = challenge.inputs[:IMAGES]
    digits = load_mnist().digits[:IMAGES]
    moments = pixel_moments(images)
    quantiles = [
        (np.asarray(l1_distances(images, images[CLUE_INDEX])) < edge).mean()
        for edge in CALIBRATED_BAND
    ]
    print("| clue | digit | test | agreement | network | lead | second moments | brute force |")
    print("|---|---|---|---|---|---|---|---|")
    ranks = []
    for digit in range(10):
        clue = int(np.flatnonzero(digits == digit)[0])
        distances = np.asarray(l1_distances(challenge.inputs, images[clue]))
        band = Band(*(int(np.quantile(distances[:IMAGES], q)) for q in quantiles))
        other = replace(challenge, labels=np.asarray(label_distances(distances, band)))
        params = jax.jit(make_train(other, RECIPES["cnn"]["fast"]))(jax.random.key(digit)).params
        metrics = other.metrics(other.logits(params).argmax(axis=-1))
        neurons = observe(Network(challenge.model, params), images)
        fit = fit_clue(images, moments, neurons.activations, neurons.labels)
        assert fit.baseline is not None
        orders = (
            fit.ranking.order,
            fit.baseline.order,
            rank_by_bands(moments, neurons.labels),
        )
        ranks.append([int(np.flatnonzero(order == clue)[0]) + 1 for order in orders])
        first, second = fit.ranking.correlation[fit.ranking.order[:2]]
        network, moment, brute = ranks[-1]
        print(
            f"| {clue} | {digit} | {metrics['test_accuracy']:.2%} | {fit.band.agreement:.2%} "
            f"({fit.comparison}) | {network} | {first - second:.4f} | {moment} | {brute} |",
            flush=True,
        )
    firsts = (np.array(ranks) == 1).sum(axis=0)
    print(
        f"first of {IMAGES:,}: network {firsts[0]}, second moments {firsts[1]}, brute {firsts[2]}"
    )


if __name__ == "__main__":
    main()
