"""Fixtures of the tests of the judge."""

import json

import pytest
from judge.planted import ROWS, planted

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import origin
from jaxmi.judge.explanation_score import ExplanationScore
from jaxmi.judge.judge_explanation import judge_explanation
from jaxmi.judge.submission import read_explanation


@pytest.fixture(scope="module")
def judge(transformer: Challenge):
    params = planted()

    def judge(*claims: dict, **parts) -> ExplanationScore:
        text = json.dumps({"challenge": "transformer", "claims": claims, **parts})
        explanation = read_explanation(text, "transformer", origin("transformer"))
        return judge_explanation(explanation, transformer, params, ROWS)

    return judge
