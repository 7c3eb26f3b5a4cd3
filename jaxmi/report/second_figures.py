"""Figures of challenge 2's second published solution."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmi.mechanism.second_solution import NeuronClusters, SecondSolution
from jaxmi.report.figures import LABELS

COLOURS = ("#2f5d8a", "#e0a526", "#d1352b", "#4f9a57")
"""One of each cluster."""


def extended_embeddings(solution: SecondSolution) -> Figure:
    """Draw both extended embeddings along the operands, and the rows in the order of x's."""
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    (along_x, along_y), (as_is, sorted_rows) = figure.subplots(2, 2, height_ratios=(1, 1.3))
    for axes, (name, embedding), other in zip(
        (along_x, along_y), solution.embeddings.items(), (1, 0), strict=True
    ):
        _draw_embedding(axes, name, embedding, solution, solution.labels.mean(axis=other))
    order = solution.embeddings["x"].argsort()
    _draw_labels(as_is, solution.labels, "row, in the order of x")
    _draw_labels(sorted_rows, solution.labels[order], "row, in the order of its extended embedding")
    return figure


def _draw_embedding(
    axes: Axes, name: str, embedding: np.ndarray, solution: SecondSolution, share: np.ndarray
) -> None:
    values = solution.domain.values[name]
    axes.plot(values, embedding, color="#cccccc", linewidth=0.8, zorder=1)
    points = axes.scatter(values, embedding, c=share, cmap="viridis", vmin=0, vmax=1, s=16)
    axes.set_xlabel(name)
    axes.set_ylabel("extended embedding")
    axes.set_title(f"of {name}; colour: share of label 1", fontsize=10)
    assert axes.figure is not None
    axes.figure.colorbar(points, ax=axes)


def _draw_labels(axes: Axes, labels: np.ndarray, of_rows: str) -> None:
    axes.imshow(labels, cmap=LABELS, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_xlabel("y")
    axes.set_ylabel(of_rows)
    axes.set_title("the network's labels", fontsize=10)


def neuron_clusters(solution: SecondSolution, clusters: NeuronClusters) -> Figure:
    """Draw the neurons by their curves' leading coordinates, and each cluster's mean curve."""
    figure = Figure(figsize=(13, 3.9), layout="constrained")
    cloud, *panels = figure.subplots(1, 3, width_ratios=(1, 1.4, 1.4))
    centred = clusters.points - clusters.points.mean(axis=0)
    plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    for one, colour in enumerate(COLOURS):
        member = clusters.cluster == one
        cloud.scatter(*plane[member].T, s=6, color=colour, label=f"{int(member.sum())} neurons")
        for axes, (name, curves) in zip(panels, clusters.centres.items(), strict=True):
            axes.plot(solution.domain.values[name], curves[one], color=colour, linewidth=1)
    cloud.set_title("neurons, by what x and y add", fontsize=10)
    cloud.set_xlabel("first coordinate")
    cloud.set_ylabel("second coordinate")
    cloud.legend(fontsize=7)
    for axes, name in zip(panels, clusters.centres, strict=True):
        axes.set_xlabel(name)
        axes.set_title(f"what {name} adds to a cluster's neurons, scaled", fontsize=10)
        axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
    return figure
