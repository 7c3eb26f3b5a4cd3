"""A program on images as a weighted vote of conditions, each a comparison of one score.

Conditions are the comparisons that the image alone decides. The rest of the program is a function
of their truth values; it is planted if it is a threshold of a weighted sum of them.
"""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linprog

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import evaluate, label
from jaxmi.programs.show import show_expression
from jaxmi.programs.variables import changed

MAX_CONDITIONS = 10
"""A program may have as many different conditions: all combinations of them are tried."""


@dataclass(frozen=True, eq=False)
class Condition:
    """A comparison that the image alone decides."""

    name: str
    """As the program writes it, with other assigned names written out."""
    values: Bool[np.ndarray, "n"]
    """Whether it holds, of each image."""
    score_name: str
    """What it compares: an expression, or the difference of two."""
    score: Float[np.ndarray, "n"]
    """Its value, of each image."""
    edges: list[float]
    """The scores at which the truth value changes, ascending: each is the first score with the new
    value."""

    @property
    def first(self) -> bool:
        """Whether the condition holds below all edges."""
        return bool(self.values[self.score.argmin()])


@dataclass(frozen=True, eq=False)
class Vote:
    """A program as a weighted sum of conditions: the label is 1 where the sum is above 0."""

    conditions: list[Condition]
    weights: list[float]
    const: float
    """The sum is the weights of the conditions that hold, plus this; at least 1 from 0."""
    everywhere: bool
    """Whether the vote is the program for all combinations of truth values, also those that no
    image has."""


def vote(program: lang.Program, domain: ImageDomain) -> Vote:
    """Take a program on images apart into a vote of conditions.

    Args:
      program: A program on images.
      domain: The images.

    Raises:
      InputError: if it fails on an image, depends on the image other than by comparisons, has too
        many conditions, or is no threshold of a weighted sum of them; says which.
    """
    labels = label(program, domain) == 1
    body = _inlined(program).body
    found: dict[lang.Compare, Condition] = {}
    for node in lang.walk(lang.Program("image", body)):
        if isinstance(node, lang.Compare) and _is_condition(node) and node not in found:
            found[node] = _condition(node, domain)
    if len(found) > MAX_CONDITIONS:
        raise InputError(f"{len(found)} conditions: at most {MAX_CONDITIONS} can be planted")
    nodes, conditions = list(found), list(found.values())
    combinations = np.array(list(product((False, True), repeat=len(nodes))), bool)
    expected = np.array([_label(body, nodes, one) for one in combinations.tolist()], bool)
    places = 2 ** np.arange(len(nodes))[::-1]
    held = np.array([one.values for one in conditions], bool).reshape(len(nodes), len(labels))
    rows = held.T @ places if len(nodes) else np.zeros(len(labels), int)
    assert (expected[rows] == labels).all()
    solved = _weights(combinations, expected)
    if solved is None:
        occurring = np.unique(rows)
        solved = _weights(combinations[occurring], expected[occurring])
        if solved is None:
            names = "; ".join(f"`{one.name}`" for one in conditions)
            raise InputError(
                f"the label is no threshold of a weighted sum of the conditions {names}: one "
                "hidden layer adds conditions up; take a program that joins them by `and` or `or`, "
                "or adds constants under them, or take look-up"
            )
        return Vote(conditions, *solved, everywhere=False)
    return Vote(conditions, *solved, everywhere=True)


def _inlined(program: lang.Program) -> lang.Program:
    """Return the program with names that are assigned once, outside of branches, written out."""
    counts = Counter(node.name for node in lang.walk(program) if isinstance(node, lang.Assign))
    values: dict[str, lang.Expression] = {}

    def inlined(node: lang.Node) -> lang.Node | None:
        return values.get(node.name) if isinstance(node, lang.Name) else None

    body: list[lang.Statement] = []
    for statement in program.body:
        written: Any = changed(statement, inlined)
        if (
            isinstance(written, lang.Assign)
            and written.operator is None
            and counts[written.name] == 1
            and lang.names_in(written.value) <= {"image"}
        ):
            values[written.name] = written.value
        else:
            body.append(written)
    return replace(program, body=tuple(body))


def _is_condition(node: lang.Compare) -> bool:
    inner = [part for part in lang.walk(node) if isinstance(part, lang.Compare)]
    return lang.names_in(node) == {"image"} and len(inner) == 1


def _condition(node: lang.Compare, domain: ImageDomain) -> Condition:
    name = show_expression(node)
    values = _evaluated(node, domain).astype(bool)
    parts = [node.first, *(part for _, part in node.rest)]
    varying = list(dict.fromkeys(part for part in parts if lang.names_in(part)))
    if len(varying) > 2 or (len(varying) == 2 and len(parts) > 2):
        raise InputError(f"`{name}` compares more than two numbers of the image: write it as two")
    left, right = next(pairwise(varying), (varying[0], None))
    score = left if right is None else lang.Binary("-", left, right)
    numbers = _evaluated(score, domain).astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"`{show_expression(score)}` is not finite on every image")
    distinct, first, at = np.unique(numbers, return_index=True, return_inverse=True)
    truth = values[first]
    edges = distinct[1:][truth[1:] != truth[:-1]].tolist()
    assert (truth[at.reshape(-1)] == values).all(), "a comparison is a function of its score"
    return Condition(name, values, show_expression(score), numbers, edges)


def _evaluated(value: lang.Expression, domain: ImageDomain) -> np.ndarray:
    return evaluate(lang.Program("image", (lang.Return(value),)), domain)


def _label(body: tuple[lang.Statement, ...], nodes: list[lang.Compare], truth: list[bool]) -> bool:
    """Return the label where conditions have given truth values."""
    given = dict(zip(nodes, truth, strict=True))

    def settled(node: lang.Node) -> lang.Node | None:
        if isinstance(node, lang.Compare) and node in given:
            return lang.Number(given[node])
        return None

    program = lang.Program("image", changed(body, settled))
    for node in lang.walk(program):
        if isinstance(node, lang.Name) and node.name == "image":
            raise InputError(
                "the label depends on the image other than by comparisons such as "
                "`l1(image, template(6)) < 30000` that the image alone decides"
            )
    blank = np.zeros((1, 1, 1), np.uint8)
    return bool(label(program, ImageDomain(blank, blank))[0])


def _weights(
    truth: Bool[np.ndarray, "k c"], expected: Bool[np.ndarray, "k"]
) -> tuple[list[float], float] | None:
    """Return weights and a constant whose sum is >= 1 where expected, else <= -1; None if none."""
    k, n = truth.shape
    if not n:
        return [], 1.0 if expected.all() else -1.0
    signs = np.where(expected, 1.0, -1.0)
    held = truth.astype(np.float64)
    rows = -signs[:, None] * np.concatenate([held, -held, np.ones((k, 1))], axis=1)
    cost = np.append(np.ones(2 * n), 0)
    bounds = [(0, None)] * (2 * n) + [(None, None)]
    found = linprog(cost, A_ub=rows, b_ub=-np.ones(k), bounds=bounds, method="highs-ds")
    if not found.success:
        return None
    solution = np.round(found.x, 9)
    return (solution[:n] - solution[n : 2 * n]).tolist(), float(solution[-1])
