"""The bench compares like with like, and measures what it says."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

import jaxmi
from jaxmi.bench import measure
from jaxmi.bench.measure import PEAK_SIZE, square_product, summary, time_in_turn
from jaxmi.bench.steps import largest_gradient_difference, our_steps, torch_steps
from jaxmi.challenges.challenge import Challenge
from jaxmi.cli.bench import TARGETS, _value, targets_of
from jaxmi.errors import InputError
from jaxmi.models.transformer import Transformer, TransformerConfig
from jaxmi.models.transformer_fast import last_logits
from jaxmi.programs import compiled
from jaxmi.programs.domain import PairDomain
from jaxmi.training.recipe import RECIPES


@pytest.mark.parametrize("name", ["transformer", pytest.param("cnn", marks=pytest.mark.long)])
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


@pytest.mark.long
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


@pytest.mark.long
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


def own(text: str, **about) -> Challenge:
    network = {"d_model": 8, "n_heads": 2, "d_mlp": 16, **about.pop("network", {})}
    return jaxmi.make_challenge(text, network=network, **{"p": 7, **about})


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("return x < y", {}),
        pytest.param(
            "return x < y", {"network": {"n_layers": 3, "d_head": 3}}, marks=pytest.mark.slow
        ),
        pytest.param("return x < w", {"p": 5}, marks=pytest.mark.slow),
        ("return x < w", {"p": 5, "network": {"n_layers": 2}}),
    ],
)
def test_pytorch_computes_the_same_with_other_sizes(text: str, about: dict) -> None:
    loss, gradient = largest_gradient_difference(own(text, **about))
    assert loss < 1e-5
    assert gradient < 1e-3


@pytest.mark.slow
def test_pytorch_computes_the_same_cnn_of_other_sizes(mnist_data) -> None:
    sizes = {"channels": [3, 5], "neurons": 11}
    challenge = jaxmi.make_challenge("return mean(image) < 30", network=sizes)
    loss, gradient = largest_gradient_difference(challenge, 64)
    assert loss < 1e-5
    assert gradient < 1e-3


@pytest.mark.parametrize(
    ("operands", "n_layers"),
    [(2, 1), (3, 1), *(pytest.param(*one, marks=pytest.mark.slow) for one in [(2, 3), (3, 2)])],
)
def test_multiply_adds_are_those_that_the_compiler_counts(operands: int, n_layers: int) -> None:
    """Of matrix products alone: what one example adds, and the first examples share the rest."""
    config = TransformerConfig(
        d_vocab=8, n_ctx=operands + 1, d_model=64, n_heads=2, d_head=32, d_mlp=256,
        n_layers=n_layers,
    )  # fmt: skip
    tokens = np.full((200, operands + 1), 7, np.int32)
    params = jax.jit(Transformer(config).init)(jax.random.key(0), tokens[0])["params"]

    def flops(n: int) -> float:
        compiled = jax.jit(last_logits).lower(params, tokens[:n]).compile()
        counted = compiled.cost_analysis()
        assert counted is not None
        return counted["flops"]

    per_example = (flops(200) - flops(100)) / 100
    assert per_example == pytest.approx(2 * measure.multiply_adds(config), rel=0.1)
    fewer = replace(config, d_mlp=128)
    assert abs(per_example / (2 * measure.multiply_adds(fewer)) - 1) > 0.2  # the control


def test_the_published_multiply_adds() -> None:
    by_hand = 128 * 128 + 2 * 128 * 1024 + 128 * 114
    assert measure.multiply_adds(TransformerConfig()) == by_hand


def test_targets_stand_beside_the_published_challenges_only() -> None:
    mine = {"name": "transformer-like", "kind": "pairs", "definition_sha256": "ab"}
    published = {"name": "transformer", "kind": "pairs", "definition_sha256": None}
    assert set(targets_of(published)) == set(targets_of(None)) == set(TARGETS)
    assert all(targets_of(published).values())
    own_metrics = targets_of(mine)
    assert not any(own_metrics.values())
    assert {"pairs.step_ratio_vs_torch", "pairs.seconds_to_converged"} <= set(own_metrics)
    assert "seeds.cost_ratio_16_vs_2" in own_metrics
    assert not [name for name in own_metrics if name.startswith(("transformer", "cnn"))]


@pytest.mark.long
def test_seconds_to_convergence_need_a_network_that_has_converged() -> None:
    easy = own("return x < y", p=13, network={"d_model": 32, "d_mlp": 64})
    found = measure.seconds_to_converged(easy, 2)
    assert len(found["each"]) == 2
    assert all(seconds is not None and seconds > 0 for seconds in found["each"])
    rng = np.random.default_rng(0)
    noise = jaxmi.make_challenge(
        rng.integers(2, size=(31, 31)), p=31, network={"d_model": 2, "n_heads": 1, "d_mlp": 2}
    )
    assert measure.seconds_to_converged(noise, 2)["median"] is None


def test_a_challenge_that_cannot_be_measured_is_one_line(
    tmp_path: Path, sealed_folder: Path
) -> None:
    sealed = jaxmi.workflows.challenges.define(None, kind="pairs", p=7)
    jaxmi.workflows.challenges.write_challenge(sealed, tmp_path / "secret")
    for challenge, says in (
        ("nowhere", "no challenge 'nowhere'"),
        (str(tmp_path), "holds no challenge.json"),
        (str(sealed_folder), "needs its program or labels"),
        (str(tmp_path / "secret"), "needs its program or labels"),
    ):
        with pytest.raises(InputError, match=says):
            measure.measure_all(lambda what: None, True, challenge)
    with pytest.raises(InputError, match="nowhere"):
        measure.measure_all(lambda what: None, True, "cnn", Path("nowhere"))
