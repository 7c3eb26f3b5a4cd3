"""The networks in checkpoints/ are what their files say they are."""

from pathlib import Path

import pytest

from jaxmi.challenges.registry import NAMES
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.workflows.networks import load_network

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
METRICS = ("train_accuracy", "test_accuracy", "domain_accuracy", "casper_figure")


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_metrics_are_the_recomputed_ones(name: str, mnist_data) -> None:
    """To one example in a thousand: another processor may round a doubtful logit the other way."""
    challenge, params = load_network(CHECKPOINTS / name)
    recorded = load_checkpoint(CHECKPOINTS / name).metrics
    metrics = challenge.metrics(challenge.logits(params).argmax(axis=-1))
    for key in METRICS:
        assert recorded[key] == pytest.approx(metrics[key], abs=1e-3), key


@pytest.mark.parametrize("name", NAMES)
def test_they_reach_the_published_test_accuracy(name: str, mnist_data) -> None:
    challenge, params = load_network(CHECKPOINTS / name)
    right = challenge.logits(params).argmax(axis=-1) == challenge.labels
    assert right[challenge.splits["test"]].mean() >= challenge.published.test_accuracy


def test_they_are_small() -> None:
    size = sum(path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file())
    assert size < 5e6
