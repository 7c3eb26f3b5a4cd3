"""What is said to be certain of an expression holds for its values on every input."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from programs.random_programs import _Maker

from jaxmi.programs import facts as module
from jaxmi.programs import language as lang
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate
from jaxmi.programs.facts import INPUT, MODULUS, Facts, facts
from jaxmi.programs.parse import parse

KNOWN = {"x": INPUT, "y": INPUT, "p": MODULUS}
DOMAIN = PairDomain(13)


def violation(expression: lang.Expression, certain: Facts) -> str:
    """Says what of some facts does not hold; "" if all do."""
    program = lang.Program("pairs", (lang.Return(expression),))
    try:
        values = evaluate(program, DOMAIN).tolist()
    except EvaluationError as error:
        return "" if certain.fails else str(error)
    checks = {
        "bits": certain.bits > 1000 or all(abs(v) < 2.0**certain.bits for v in values),
        "whole": not certain.whole or all(isinstance(v, int) for v in values),
        "truth": not certain.truth or set(values) <= {0, 1},
        "nonnegative": not certain.nonnegative or all(v >= 0 or v != v for v in values),
        "divides": not certain.divides or all(abs(v) >= 2.0**-64 for v in values),
    }
    return next((name for name, holds in checks.items() if not holds), "")


def test_facts_of_random_expressions_hold() -> None:
    counts: Counter[str] = Counter()
    for seed in range(3000):
        maker = _Maker(Random(seed), care=1.0 if seed % 3 else 0.5)
        expression = maker._expression(1 + seed % 4)
        certain = facts(expression, KNOWN)
        assert violation(expression, certain) == "", expression
        counts["never fails"] += not certain.fails
        counts["bounded"] += certain.bits < 1000
        counts["truth"] += certain.truth
    assert min(counts.values()) > 300, counts


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "x ** 2 < 40 * y": Facts(1, True, True, True),
        "x - y": Facts(33, True),
        "(x + y) % 8": Facts(5, True, nonnegative=True),
        "x // (y + 1)": Facts(fails=True, whole=True, nonnegative=True),
        "sqrt(x - y)": Facts(33, nonnegative=True, fails=True),
        "x * y % p": Facts(33, True, nonnegative=True),
    }.items(),
)
def test_facts_are_not_too_cautious(text: str, expected: Facts) -> None:
    (statement,) = parse(f"return {text}", "pairs").body
    assert isinstance(statement, lang.Return)
    assert facts(statement.value, KNOWN) == expected


def test_the_check_sees_a_wrong_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    (statement,) = parse("return 7 // (x - 3)", "pairs").body
    assert isinstance(statement, lang.Return)
    monkeypatch.setattr(module, "_binary", lambda *_: Facts(3, True, nonnegative=True))
    assert "ZeroDivisionError" in violation(statement.value, facts(statement.value, KNOWN))
    assert np.isinf(Facts().bits)
