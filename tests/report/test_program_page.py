"""The section on a program read off the weights: with and without classes, truth, a program."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxmi
from jaxmi.mechanism import metrics as table
from jaxmi.mechanism.account import Account, account
from jaxmi.report import program_figures, program_page


@pytest.fixture(scope="module")
def given() -> Account:
    """An account of a network with random classes of x in its embedding."""
    network = {"d_model": 16, "n_heads": 2, "d_mlp": 48}
    challenge = jaxmi.make_challenge("return x % 3 < 1", p=19, network=network)
    params = jax.jit(challenge.init)(jax.random.key(0))
    classes = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    params["W_E"] = 0.1 * params["W_E"].at[:19].add(20 * classes[np.arange(19) % 3])
    return account(challenge, params)


def test_the_section_has_the_program_its_figure_and_its_controls(given: Account) -> None:
    assert given.program is not None
    (section,) = program_page.sections(given)
    assert section.code == given.program.reading.text
    assert section.figures["program"].startswith(b"\x89PNG")
    assert f"{given.metrics[table.PROGRAM.agreement.key]:.1%}" in section.reason
    assert "largest of" not in section.text
    assert "A program of" in program_page.sentence(given)


def test_the_strictest_control_is_named(given: Account) -> None:
    keys = {
        "its classes permuted": table.PROGRAM_PERMUTED,
        "one label throughout": table.PROGRAM_CONSTANT,
    }
    for name, kept in keys.items():
        metrics = {**given.metrics, kept.agreement.key: 0.999}
        assert program_page._strictest(metrics) == (name, 0.999)
        (section,) = program_page.sections(replace(given, metrics=metrics))
        assert section.verdict == "not shown"


def test_parts_that_are_not_drawn_are_told(given: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    assert given.program is not None
    count = len(given.program.reading.pieces)
    assert count > 1
    monkeypatch.setattr(program_figures, "MOST_PANELS", count - 1)
    (section,) = program_page.sections(given)
    assert f"The {count - 1} largest of {count} parts" in section.text
    assert len([a for a in program_figures.program(given).axes if a.has_data()]) == count - 1


def test_a_network_without_a_program_says_why(given: Account) -> None:
    without = replace(given, program=None)
    assert program_page.sections(without) == ()
    assert "longer than the language" in program_page.sentence(without)
    assert program_page.sentence(replace(without, metrics={})) == ""
