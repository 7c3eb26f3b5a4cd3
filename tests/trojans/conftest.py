"""Small challenges to put trojans into."""

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import load_challenge
from jaxmi.programs.parse import parse

SMALL = {"d_model": 16, "n_heads": 2, "d_mlp": 32}


def numbers(kind: str, text: str, p: int) -> Challenge:
    program = parse(text, kind)
    return load_challenge(Definition(kind, program, domain={"p": p}, network=SMALL))


@pytest.fixture(scope="session")
def pairs() -> Challenge:
    return numbers("pairs", "return x + y < 31", 31)


@pytest.fixture(scope="session")
def triples() -> Challenge:
    return numbers("triples", "return x + y + w < 20", 13)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
