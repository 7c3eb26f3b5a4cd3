"""Variables are found where they were planted, not in a look-up of rows with the same labels."""

import jax
import numpy as np
import pytest
from mechanism.test_tables import small

from jaxmi.mechanism import variables
from jaxmi.mechanism.account import run_network
from jaxmi.mechanism.interchange import KINDS, LEAST, Neurons, Pairs, draw_pairs, sites_of
from jaxmi.mechanism.look_ups import look_up_sites
from jaxmi.mechanism.replacement import Source
from jaxmi.mechanism.variables import (
    COMPUTED,
    IN_PART,
    NOT_COMPUTED,
    UNKNOWN,
    Finding,
    find_variables,
    variables_of,
    verdict,
)
from jaxmi.models.transformer import Transformer
from jaxmi.planted.network import Planted
from jaxmi.planted.random_pairs import plant_conditions, plant_rows
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.programs.variables import hypotheses
from jaxmi.report import variables_page

P = 47
TEXT = """z = 0
if y < 3 * sqrt(x) + 8:
    z += 3
if y > x + 4:
    z -= 2
if y < 48 - x:
    z += 2
z += int(x ** 1.5) % 5 - 2
return z >= 0
"""
PROGRAM, DOMAIN = parse(TEXT, "pairs"), PairDomain(P)
OWN = label(PROGRAM, DOMAIN) == 1
X = np.arange(P)


def conditions() -> Planted:
    thresholds = [np.ceil(3 * np.sqrt(X) + 8), X + 5, 48 - X]
    thresholds = [np.clip(t, 0, P).astype(int) for t in thresholds]
    residue = (X**1.5).astype(int) % 5 - 2.0
    return plant_conditions(thresholds, [3, 2, 2], residue, -1.5, 32, 16)


def rows() -> Planted:
    return plant_rows(OWN.reshape(P, P), 32, 16)


def source_of(network: Planted) -> Source:
    tokens = np.column_stack([*np.indices((P, P)).reshape(2, -1), np.full(P * P, P)])
    run = run_network(Transformer(network.config), network.params(), tokens.astype(np.int32))
    difference = run.mlp.difference(run.resid_mid)
    assert ((difference > 0) == OWN).all()
    return Source(run.mlp, run.resid_mid, run.neurons, (P, P), difference)


def findings(network: Planted) -> dict[tuple[str, str], Finding]:
    sites = sites_of(source_of(network))
    look_ups = look_up_sites(OWN.reshape(P, P))
    found = find_variables(hypotheses(PROGRAM, DOMAIN), OWN, (P, P), sites, look_ups=look_ups)
    return {(one.name, one.site): one for one in found}


@pytest.fixture(scope="module")
def planted() -> dict[tuple[str, str], Finding]:
    return findings(conditions())


@pytest.fixture(scope="module")
def looked_up() -> dict[tuple[str, str], Finding]:
    return findings(rows())


PARTS = ["y < 3 * sqrt(x) + 8", "y > x + 4", "y < 48 - x", "int(x ** 1.5) % 5"]


@pytest.mark.parametrize("name", PARTS)
def test_what_was_planted_is_computed_and_what_is_looked_up_is_not(
    name: str, planted: dict, looked_up: dict
) -> None:
    for site in ("resid_mid", "neurons"):
        own, other = planted[name, site], looked_up[name, site]
        assert own.strict_pairs >= LEAST
        assert own.verdict == COMPUTED, own
        assert np.mean([own.strict, own.keep, own.follow]) > 0.8
        assert other.verdict in (NOT_COMPUTED, IN_PART), other
        assert own.strict_beyond_operands > other.strict_beyond_operands + 0.25
        assert own.strict_beyond_operands > own.shuffled_strict_beyond_operands + 0.4
        assert own.strict >= 0.97 and own.look_up_strict < 0.97
    assert planted[name, "neurons"].neurons and planted[name, "resid_mid"].neurons is None


def test_the_right_constant_is_told_from_a_moved_one(planted: dict) -> None:
    told = [
        one.strict_beside_moved - one.moved_constant_strict
        for one in planted.values()
        if None not in (one.strict_beside_moved, one.moved_constant_strict)
    ]
    assert len(told) >= 4
    assert np.mean(told) > 0.2


def test_operands_have_no_strict_pairs_beyond_operands(planted: dict) -> None:
    for operand in ("x", "y"):
        assert planted[operand, "neurons"].strict is not None
        assert planted[operand, "neurons"].strict_beyond_operands is None


def test_exchanging_a_planted_condition_s_neurons_is_setting_it() -> None:
    """Without any learning: the two neurons of a condition, in the direction of the read-out."""
    network = conditions()
    source = source_of(network)
    one = next(h for h in hypotheses(PROGRAM, DOMAIN) if h.variable.name == PARTS[1])
    direction = np.zeros((1, network.config.d_mlp))
    direction[0, [2, 3]] = source.mlp.weights[[2, 3]]
    direction /= np.linalg.norm(direction)
    site = Neurons(source.mlp.weights, source.neurons, source.difference, direction)
    rng = np.random.default_rng(0)
    bases, sources = rng.integers(0, P * P, (2, 5000))
    labels = one.variable.labels(bases, sources)
    pairs = Pairs(bases, sources, labels, np.zeros(5000, int))
    assert ((site.difference(direction.T, pairs) > 0) == labels).all()


def test_pairs_are_of_their_kinds_and_balanced() -> None:
    one = next(h for h in hypotheses(PROGRAM, DOMAIN) if h.variable.name == PARTS[1])
    rng, inputs = np.random.default_rng(0), np.arange(0, P * P, 3)
    pairs = draw_pairs(one.variable.labels, OWN, inputs, 100, rng)
    base, source, labels = OWN[pairs.bases], OWN[pairs.sources], pairs.labels
    assert (labels == one.variable.labels(pairs.bases, pairs.sources)).all()
    assert np.isin(pairs.bases, inputs).all() and np.isin(pairs.sources, inputs).all()
    strict, keep, follow = (pairs.kinds == kind for kind in range(len(KINDS)))
    assert (labels != base)[strict].all() and (base == source)[strict].all()
    assert ((labels == base) & (labels != source))[keep].all()
    assert ((labels == source) & (labels != base))[follow].all()
    for kind in (strict, keep, follow):
        assert 0 < kind.sum() <= 100 and labels[kind].mean() == 0.5
    wanted = draw_pairs(one.variable.labels, OWN, inputs, 100, rng, lambda b, s, _: b > s)
    assert (wanted.bases > wanted.sources).all()


@pytest.mark.parametrize(
    ("share", "shuffled", "expected"),
    [
        (0.9, 0.3, COMPUTED),
        (0.7, 0.3, COMPUTED),
        (0.69, 0.1, IN_PART),
        (0.9, 0.55, IN_PART),
        (0.3, 0.1, IN_PART),
        (0.9, 0.8, NOT_COMPUTED),
        (0.99, 0.8, COMPUTED),
        (0.98, 0.95, NOT_COMPUTED),
        (0.2, 0.1, NOT_COMPUTED),
        (None, 0.1, UNKNOWN),
        (0.9, None, UNKNOWN),
    ],
)
def test_the_rule(share: float | None, shuffled: float | None, expected: str) -> None:
    assert verdict(share, shuffled) == expected


@pytest.mark.parametrize(
    ("share", "look_up", "expected"),
    [
        (0.9, 0.6, COMPUTED),
        (0.9, 0.75, IN_PART),
        (0.9, 0.9, IN_PART),
        (1.0, 0.96, COMPUTED),
        (1.0, 0.98, UNKNOWN),
    ],
)
def test_the_rule_beside_a_look_up(share: float, look_up: float, expected: str) -> None:
    assert verdict(share, 0.1, look_up) == expected


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        pytest.param("pairs", {"n_layers": 2, "d_mlp": 9}, marks=pytest.mark.slow),
        ("triples", {"d_model": 4, "n_heads": 1}),
    ],
)
def test_a_network_of_any_size_is_asked(kind: str, sizes: dict[str, int], monkeypatch) -> None:
    monkeypatch.setattr("jaxmi.mechanism.interchange.STEPS", 3)
    monkeypatch.setattr("jaxmi.mechanism.interchange.NEURON_STEPS", 3)
    challenge, params, _ = small(kind, **{"d_model": 8, "n_heads": 2, **sizes})
    assert challenge.program is not None
    found = variables_of(challenge, params, challenge.program, max_inputs=200)
    assert found.program == challenge.program and 0 <= found.agreement <= 1
    names = {one["name"] for one in found.as_json}
    assert {"x", "y"} <= names and len(found.variables) == 2 * len(names)
    section = variables_page.section(found, "given")
    for name in names:
        assert name in section.code


def test_the_report_says_which(planted: dict) -> None:
    found = variables.Findings(PROGRAM, 1.0, list(planted.values()))
    text = variables_page.summary(found)
    names = ", ".join(PARTS)
    assert f"gives 100.0% of its labels. Computed inside, at one site at least: {names}" in text
    section = variables_page.section(found, "recovered")
    assert "The recovered program below gives 100.0%" in section.text
    assert section.figures["variables"][:4] == b"\x89PNG"
    for one in planted.values():
        line = next(
            line
            for line in section.code.splitlines()
            if line.split("  ")[0] == one.name and f"  {one.site}  " in line
        )
        assert line.endswith(f"%  {one.verdict}") or line.endswith(f"-  {one.verdict}")
        assert f"{one.strict:.0%}" in line
    nothing = variables.Findings(PROGRAM, 1.0, [])
    assert variables_page.summary(nothing) == ""
    assert not variables_page.section(nothing, "given").figures


@pytest.mark.slow
def test_a_network_as_initialised_computes_nothing() -> None:
    """With a program whose labels it does not give, there is nothing to tell, or nothing found."""
    challenge, _, _ = small("pairs", d_model=8, n_heads=2, d_mlp=9)
    params = jax.jit(challenge.init)(jax.random.key(0))
    assert challenge.program is not None
    found = variables_of(challenge, params, challenge.program)
    assert found.variables
    assert all(one.verdict in (UNKNOWN, NOT_COMPUTED) for one in found.variables)
