"""The bench compares like with like, and measures what it says."""

from dataclasses import replace

import jax
import pytest
import torch

from jaxmi.bench import measure
from jaxmi.bench.measure import PEAK_SIZE, square_product, summary, time_in_turn
from jaxmi.bench.steps import largest_gradient_difference, our_steps, torch_steps
from jaxmi.challenges.challenge import Challenge
from jaxmi.cli.bench import TARGETS, _value
from jaxmi.programs import compiled
from jaxmi.programs.domain import PairDomain
from jaxmi.training.recipe import RECIPES


@pytest.mark.parametrize("name", ["transformer", pytest.param("cnn", marks=pytest.mark.slow)])
def test_pytorch_computes_the_same_loss_and_gradients(
    request: pytest.FixtureRequest, name: str
) -> None:
    challenge: Challenge = request.getfixturevalue(name)
    loss, gradient = largest_gradient_difference(challenge)
    assert loss < 1e-5
    assert gradient < 1e-3


@pytest.mark.slow
def test_the_comparison_sees_another_network(cnn: Challenge) -> None:
    """The control: a network whose pixels are not scaled has another loss."""
    changed = replace(
        cnn, forms={"fast": lambda p, x, k: cnn.forms["fast"](p, (x // 2).astype(x.dtype), k)}
    )
    assert largest_gradient_difference(changed)[0] > 1e-5


@pytest.mark.slow
def test_both_sides_really_train(transformer: Challenge, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed are optimiser steps from gradients; ours by the code that trains."""
    moved, before = [], {}

    def step(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for i, weight in enumerate(group["params"]):
                assert weight.grad is not None
                moved.append(bool(weight.grad.abs().max() > 0))
                before[i] = weight.detach().clone()
        real_step(optimizer)
        weights = optimizer.param_groups[0]["params"]
        assert any((weight != before[i]).any() for i, weight in enumerate(weights))

    real_step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    recipe = replace(RECIPES["transformer"]["published"], batch_size=64)
    assert recipe.steps == 5000
    for run in (our_steps(transformer, recipe, 2, 1), torch_steps(transformer, recipe, 2, 1)):
        seconds = time_in_turn({"it": run}, rounds=2)["it"]
        assert len(seconds) == 2
        assert min(seconds) > 1e-4, "else nothing was waited for"
    assert len(moved) == 11 * 2 * 3, "11 parameters, 2 steps, 2 rounds and a warm-up"
    assert all(moved)


def test_rounds_take_turns() -> None:
    order = []
    things = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = time_in_turn(things, rounds=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    assert summary([1.0, 2.0, 3.0]) == {"median": 2.0, "low": 1.5, "high": 2.5}


def test_the_peak_is_a_product_of_the_stated_size() -> None:
    assert jax.block_until_ready(square_product()()).shape == (PEAK_SIZE, PEAK_SIZE)


@pytest.mark.slow
def test_the_cost_of_seeds_counts_every_compilation(
    transformer: Challenge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        RECIPES["transformer"], "fast", replace(RECIPES["transformer"]["fast"], batch_size=32)
    )
    few = {name: rows[:8] for name, rows in transformer.splits.items()}
    found = measure.seeds_cost(replace(transformer, curve_splits=few), rounds=2)
    assert found["compilations"] == 1
    assert 0.1 < found["cost_ratio_16_vs_2"]["median"] < 10


def test_programs_are_really_evaluated_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real_label = [], measure.label
    monkeypatch.setattr(measure, "CANDIDATES", 200)
    monkeypatch.setattr(measure, "label", lambda *given: calls.append(given) or real_label(*given))
    monkeypatch.setattr(compiled, "label", lambda *given: pytest.fail("this one is not compiled"))
    found = measure.programs_per_second("transformer", PairDomain(29), rounds=2)
    assert len(calls) == 10 * 3, "a twentieth of the candidates, in 2 rounds and a warm-up"
    assert len({program for program, _ in calls}) == 10
    ways = {"exact_per_second", "compiled_per_second", "constants_per_second"}
    assert set(found) == ways
    assert all(0 < rate["low"] <= rate["median"] < 1e7 for rate in found.values())


def test_the_table_finds_every_figure() -> None:
    result = {
        "transformer": {
            "step_ratio_vs_torch": 9.0,
            "share_of_matmul_peak": 0.5,
            "seconds_to_published": {"each": [3.0, None], "median": 3.0},
        },
        "cnn": {
            "image_ratio_vs_torch": 4.0,
            "seconds_to_published": {"each": [9.0], "median": 9.0},
        },
        "seeds": {"cost_ratio_16_vs_2": 1.0, "compilations": 1.0},
        "programs": {"cost_ratio": {"median": 1.0, "low": 0.9, "high": 1.1}},
        "cold_start_seconds": {"median": 9.0, "low": 8.0, "high": 10.0},
        "warm_start_seconds": {"median": 5.0, "low": 4.0, "high": 6.0},
        "help_seconds": {"median": 0.3, "low": 0.3, "high": 0.3},
        "peak_rss_gb": {"transformer": 0.8, "cnn": 0.9},
    }
    values = {name: _value(result, name) for name in TARGETS}
    assert all(value is not None for value, _ in values.values())
    assert values["transformer.seconds_to_published"] == (3.0, "3, -")
    assert values["peak_rss_gb"][0] == 0.9
    assert _value({}, "cnn.image_ratio_vs_torch") == (None, "")
