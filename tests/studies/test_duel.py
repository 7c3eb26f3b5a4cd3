"""The study `duel`: what it measures on barely trained networks, and what it concludes."""

import jax
import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.report.studies.duel import draw_duel
from jaxmi.studies import duel
from jaxmi.studies.study import Conclusion, Measured, Trained, plain, plain_of

SMALL = {"d_model": 8, "n_heads": 2, "d_mlp": 16}


def network(first: float, second: float, first_is_right: bool) -> Measured:
    """Measurements of a network in which the solutions keep these shares of labels."""
    measured: dict[str, float] = {}
    for name, kept, bits in (("first", first, 1.0), ("second", second, 10.0)):
        measured |= {f"{name}_{key}": 0.5 for key in duel.WORDS}
        measured |= {f"{name}_kept": kept, f"{name}_bits": bits, f"{name}_gain": kept - 0.5}
        measured[f"{name}_gain_per_bit"] = (kept - 0.5) / bits
        right = first_is_right == (name == "first")
        measured |= {f"{name}_is_right": float(right), f"{name}_other_is_right": float(not right)}
    for i in range(len(duel.NOISES)):
        measured |= {f"noise{i}_gain": 0.3, f"noise{i}_bits": 5.0}
    return {key: np.asarray(value) for key, value in measured.items()}


def conclude(*networks: Measured) -> Conclusion:
    training = plain("transformer", quick=True)
    return duel.conclude([training], {training.name: dict(enumerate(networks))})


def test_what_is_kept_who_is_ahead_and_who_is_right() -> None:
    found = conclude(*[network(0.9, 0.7, True)] * 3, network(0.6, 0.8, False)).findings
    assert found["difference_kept"].value == pytest.approx((3 * 0.2 - 0.2) / 4)
    assert found["difference_kept"].low < 0 < found["difference_kept"].high
    assert found["first_ahead_kept"].value == 0.75
    assert found["first_ahead_gain_per_bit"].value == 1.0  # 0.1 / 1 is more than 0.3 / 10
    shares = [
        found[f"{name}_{key}"].value for name in duel.NAMES for key in ("is_right", "is_wrong")
    ]
    assert shares == [0.75, 0.25, 0.25, 0.75]
    assert set(duel.STUDY.main) <= set(found)
    result = {
        "findings": {name: finding.to_json() for name, finding in found.items()},
        "data": conclude(network(0.9, 0.7, True)).data,
    }
    assert len(draw_duel(result).axes) == 4


def test_what_could_not_be_measured_is_left_out() -> None:
    bare = {
        key: value
        for key, value in network(0.9, 0.7, True).items()
        if not key.endswith(("_excess", "_loss", "_other_seed_gain", "_gain_per_bit"))
    }
    conclusion = conclude(bare, bare)
    assert "first_excess" not in conclusion.findings
    assert "difference_gain_per_bit" not in conclusion.findings
    assert conclusion.findings["first_kept"].n == 2
    result = {
        "findings": {name: one.to_json() for name, one in conclusion.findings.items()},
        "data": conclusion.data,
    }
    assert len(draw_duel(result).axes) == 4


@pytest.mark.slow
def test_a_network_is_measured_beside_another_seed_s(transformer: Challenge) -> None:
    own = jaxmi.make_challenge("return (x + 2 * y) % 5 < 2", p=11, network=SMALL)
    params, other = (jax.jit(own.init)(jax.random.key(seed)) for seed in (1, 2))
    training = plain_of(own, quick=True)
    alone = duel.measure(training, Trained(0, params, ()))
    beside = duel.measure(training, Trained(0, params, (), other))
    assert "first_other_seed_gain" not in alone and "first_other_seed_gain" in beside
    assert {key: float(value) for key, value in alone.items()} == {
        key: float(beside[key]) for key in alone
    }
    assert float(alone["first_bits"]) < float(alone["second_bits"]) <= np.log2(121)
    assert duel.trainings_of(training) == [training]


@pytest.mark.parametrize(
    ("text", "network", "has"),
    [
        ("return (x + y * w) % 5 < 2", SMALL, "is of triples"),
        ("return (x + y) % 5 < 2", {**SMALL, "n_layers": 2}, "has 2 blocks"),
        ("return (x + y) % 5 < 2", {**SMALL, "d_model": 2}, "has a stream of 2 dimensions"),
    ],
)
def test_a_challenge_that_the_solutions_are_not_about_is_refused(text, network, has) -> None:
    other = jaxmi.make_challenge(text, p=7, network=network)
    with pytest.raises(
        InputError, match=f"asks about transformers of one block on pairs; .* {has}"
    ):
        duel.trainings_of(plain_of(other, quick=True))


def test_images_are_refused(cnn: Challenge) -> None:
    with pytest.raises(InputError, match=r"study duel asks about transformers .* is of image"):
        duel.trainings_of(plain_of(cnn, quick=True))
