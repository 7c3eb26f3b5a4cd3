"""A learning curve shows whether its network has converged."""

import json
from pathlib import Path

import pytest

from jaxmi.programs.language import Kind
from jaxmi.training.convergence import has_converged, not_converged
from jaxmi.training.seeds import Point

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


def curve(train: list[float], test: list[float] | None = None) -> list[Point]:
    return [
        {"step": 10 * (i + 1), "loss": 0.1, "train_accuracy": a, "test_accuracy": b}
        for i, (a, b) in enumerate(zip(train, test or [0.5] * len(train), strict=True))
    ]


@pytest.mark.parametrize(("name", "kind"), [("transformer", "pairs"), ("cnn", "image")])
def test_the_published_recipes_networks_have_converged(name: str, kind: Kind) -> None:
    lines = (CHECKPOINTS / name / "curve.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    assert has_converged(points, kind)
    risen = {
        key: value + (0.02 if key == "test_accuracy" else 0) for key, value in points[-1].items()
    }
    assert not has_converged([*points[:-1], risen], kind)


def test_a_network_on_pairs_must_fit_its_training_pairs() -> None:
    assert has_converged(curve([0.99] * 10), "pairs")
    assert not has_converged(curve([0.98] * 10), "pairs")
    assert has_converged(curve([0.95] * 10), "image")


@pytest.mark.parametrize("kind", ["pairs", "image"])
def test_an_accuracy_that_still_rises_is_seen_on_any_split(kind: Kind) -> None:
    late = [0.5] * 8 + [0.6, 0.7]
    assert not has_converged(curve([1.0] * 10, late), kind)
    assert has_converged(curve([1.0] * 10, [0.5] * 7 + [0.6] * 3), kind)


def test_an_accuracy_that_wanders_does_not_rise() -> None:
    assert has_converged(
        curve([0.92, 0.95, 0.93, 0.96, 0.92, 0.94, 0.93, 0.92, 0.92, 0.96]), "image"
    )


def test_one_point_shows_no_rise() -> None:
    assert has_converged(curve([0.6]), "image")
    assert not has_converged(curve([0.6]), "pairs")


def test_seeds_that_have_not_converged_are_named() -> None:
    curves = {3: curve([1.0] * 5), 7: curve([0.9] * 5)}
    assert not_converged(curves, "pairs") == [7]
    assert not_converged(curves, "image") == []
