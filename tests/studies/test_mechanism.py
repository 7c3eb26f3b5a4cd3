"""The study `mechanism`: what it measures on barely trained networks, and what it concludes."""

import jax
import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.mechanism import metrics as table
from jaxmi.mechanism.classes import CANDIDATES
from jaxmi.report.studies.mechanism import draw_mechanism
from jaxmi.studies import mechanism
from jaxmi.studies.study import Conclusion, Measured, Trained, plain, plain_of

TRUE = CANDIDATES.index((1.5, 8))


def network(agreement: float, mistakes: float | None, best: int, found: bool) -> Measured:
    few = table.FEW["own"][32]
    values = {few.agreement.key: agreement}
    values |= {by_operand["x"].key: 0.3 for by_operand in table.CLASS_METRICS}
    if mistakes is not None:
        values[few.mistakes.key] = mistakes
    measured = {key: np.asarray(value) for key, value in values.items()}
    return measured | {"best_class_x": np.asarray(best), "found_class_x": np.asarray(found)}


def conclude(*networks: Measured) -> Conclusion:
    training = plain("transformer", quick=True)
    return mechanism.conclude([training], {training.name: dict(enumerate(networks))})


def test_goals_and_classes_are_counted_over_networks() -> None:
    conclusion = conclude(
        network(0.999, 0.95, TRUE, True),
        network(0.996, 0.95, TRUE, True),
        network(0.998, 0.80, 0, False),
        network(0.998, 0.91, TRUE, False),
    )
    found = {key: finding.value for key, finding in conclusion.findings.items()}
    assert found["neurons_32_agreement"] == pytest.approx(0.99775)
    assert found["neurons_32_agreement_enough"] == found["neurons_32_mistakes_enough"] == 0.75
    assert found["row_class_x_first"] == 0.75 and found["row_class_x_found"] == 0.5
    assert conclusion.data["classes"]["x"] == {"int(x ** 1.5) % 8": 3, "x % 3": 1}
    result = {
        "findings": {key: one.to_json() for key, one in conclusion.findings.items()},
        "data": conclusion.data,
    }
    assert len(draw_mechanism(result).axes) == 6


def test_programs_and_attention_are_counted_over_networks() -> None:
    networks = [network(0.999, 0.95, TRUE, True) for _ in range(4)]
    for measured, agreement, depends in zip(
        networks, (0.98, 0.96, 0.97, 0.5), (1, 1, 0, 1), strict=True
    ):
        measured[table.PROGRAM.agreement.key] = np.asarray(agreement)
        measured[mechanism.DEPENDS] = np.asarray(depends)
    del networks[3][mechanism.DEPENDS]  # of several blocks
    findings = conclude(*networks).findings
    assert findings["weights_program_agreement_enough"].value == 0.5
    assert findings["attention_depends"].value == pytest.approx(2 / 3)
    assert "attention_matters" not in findings


def test_networks_without_mistakes_are_concluded_too() -> None:
    conclusion = conclude(network(0.999, None, 0, False), network(0.999, None, 0, False))
    assert "neurons_32_mistakes" not in conclusion.findings
    assert conclusion.findings["row_class_x_first"].value == 0


def test_a_network_is_measured_beside_the_next_seed() -> None:
    challenge: Challenge = jaxmi.make_challenge("return x % 3 < 1", p=7, network={"d_mlp": 40})
    training = plain_of(challenge, quick=True)
    params, other = (challenge.init(jax.random.key(seed)) for seed in (0, 1))
    alone = mechanism.measure(training, Trained(0, params, ()))
    assert alone.keys() >= {mechanism.DEPENDS, mechanism.MATTERS, *mechanism.ATTENTION}
    beside = mechanism.measure(training, Trained(0, params, (), other))
    assert not any("other_seed" in key for key in alone)
    assert beside.keys() > alone.keys() and "other_seed_agreement" in beside
    itself = mechanism.measure(training, Trained(0, params, (), params))
    assert itself["other_seed_agreement"] == 1 > beside["other_seed_agreement"]  # the control
    assert mechanism.trainings_of(training) == [training]


def test_images_are_refused(cnn: Challenge) -> None:
    with pytest.raises(InputError, match="asks about transformers; cnn has a CNN"):
        mechanism.trainings_of(plain_of(cnn, quick=True))
