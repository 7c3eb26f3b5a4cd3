"""Questions about the plants of few programs, made once: each takes seconds."""

from functools import cache

import pytest

from jaxmi.methods.asking import Marked
from jaxmi.workflows import methods

questions_of = cache(methods.questions_of)


@pytest.fixture(scope="session")
def questions() -> list[Marked]:
    return questions_of(0)


@pytest.fixture
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let marks be about program 1, and thresholds about program 0."""
    monkeypatch.setattr(methods, "questions_of", lambda seed: questions_of(min(seed, 1)))
    monkeypatch.setattr(methods, "CHOOSING", range(1))
