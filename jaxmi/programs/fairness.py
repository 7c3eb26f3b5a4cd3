"""What makes a random program a fair challenge: rules, each with a figure that it bounds.

A fair program's labels are neither nearly constant, nor to be had by looking at one input, one
threshold or a small decision tree, nor noise; and nothing that stands in it is idle.

How far simple rules get at labels: one band on a number, one small decision tree.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer, Num, UInt8

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain, ImageDomain
from jaxmi.programs.evaluate import EvaluationError, label
from jaxmi.programs.sample import sample_program


def best_band(score: Num[np.ndarray, "n"], labels: Bool[np.ndarray, "n"]) -> float:
    """Returns the best accuracy of a rule that is told one number: within a band, or outside it.

    A band that is open to one side is a threshold.
    """
    _, which = np.unique(score, return_inverse=True)
    gains = np.bincount(which.reshape(-1), np.where(labels, 1, -1))
    sums = np.concatenate([[0], np.cumsum(gains)])
    # The label 1 within the band gains what the sum gains from its start to its end.
    inside = (sums - np.minimum.accumulate(sums)).max()
    outside = (np.maximum.accumulate(sums) - sums).max()
    ones = int(labels.sum())
    return float(max(len(labels) - ones + inside, ones + outside) / len(labels))


def tree_accuracy(
    features: UInt8[np.ndarray, "n f"], labels: Bool[np.ndarray, "n"], depth: int
) -> float:
    """Returns the accuracy of a decision tree on what it was grown on.

    Grown greedily: every node takes the threshold on one feature that lowers the Gini impurity
    most. After Breiman et al., "Classification and Regression Trees" (1984).
    """
    return _right(features, labels, depth) / len(labels)


def _right(features: np.ndarray, labels: np.ndarray, depth: int) -> int:
    """How many labels a tree of some depth gets right."""
    n, ones = len(labels), int(labels.sum())
    if depth == 0 or ones in (0, n):
        return max(ones, n - ones)
    n_features, size = features.shape[1], int(features.max()) + 1
    cells = (features.astype(np.int64) + size * np.arange(n_features)).reshape(-1)
    counts = np.bincount(cells, minlength=n_features * size).reshape(n_features, size)
    weights = np.repeat(labels, n_features)
    hits = np.bincount(cells, weights, minlength=n_features * size).reshape(n_features, size)
    below, below_ones = counts.cumsum(axis=1)[:, :-1], hits.cumsum(axis=1)[:, :-1]
    above, above_ones = n - below, ones - below_ones
    with np.errstate(invalid="ignore", divide="ignore"):
        # What is left to be wrong about: twice the impurity, summed over both sides.
        left = below_ones * (below - below_ones) / below
        left = left + above_ones * (above - above_ones) / above
    left[(below == 0) | (above == 0)] = np.inf
    if not left.size or not np.isfinite(left.min()):
        return max(ones, n - ones)
    feature, threshold = np.unravel_index(left.argmin(), left.shape)
    low = features[:, feature] <= threshold
    return sum(_right(features[side], labels[side], depth - 1) for side in (low, ~low))


_SLOPES = ((1, 1), (1, -1), (1, 2), (2, 1), (1, 3), (3, 1))

MAX_DRAWS = 10_000
"""How often to draw; of the grammar on pairs about 1 in 12 is fair."""

DEPTH = 3
"""Of the decision tree that must not learn the labels."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A program, with its labels of a domain."""

    program: lang.Program
    domain: Domain
    labels: Bool[np.ndarray, "n"]
    """In domain order."""
    digits: Integer[np.ndarray, "n"] | None = None
    """Of images, the digit that each shows, if it is known."""


@dataclass(frozen=True)
class Rule:
    """A program is fair if a figure of it lies within bounds."""

    name: str
    says: str
    """What the figure is, in words."""
    kinds: tuple[lang.Kind, ...]
    low: int | float
    high: int | float
    figure: Callable[[Candidate], int | float]

    def broken(self, candidate: Candidate) -> str | None:
        """Says how a program breaks the rule; None if it does not, or the rule is not for it."""
        if candidate.program.kind not in self.kinds:
            return None
        value = self.figure(candidate)
        if self.low <= value <= self.high:
            return None
        return f"{self.name}: {self.says} is {value:.1%}, allowed {self.low:.0%} to {self.high:.0%}"


def draw_fair(
    domain: Domain,
    rng: Random,
    grammar: Any = None,
    digits: Integer[np.ndarray, "n"] | None = None,
) -> tuple[lang.Program, Counter[str]]:
    """Draws programs until one breaks no rule.

    Args:
      domain: What it labels; of images some thousands will do.
      rng: Where chance comes from.
      grammar: As in `sample_program`.
      digits: Of images, the digit that each shows; None leaves out the rule that asks for it.

    Returns:
      The program, and how many were rejected, by the first rule that each broke.

    Raises:
      InputError: if none of `MAX_DRAWS` is fair: the grammar is to blame.
    """
    rejected: Counter[str] = Counter()
    for _ in range(MAX_DRAWS):
        program = sample_program(domain, rng, grammar)
        candidate = Candidate(program, domain, label(program, domain).astype(bool), digits)
        rule = next((rule for rule in RULES if rule.broken(candidate)), None)
        if rule is None:
            return program, rejected
        rejected[rule.name] += 1
    raise InputError(f"of {MAX_DRAWS:,} programs none is fair: {dict(rejected)}")


def _share(candidate: Candidate) -> float:
    return float(candidate.labels.mean())


def _one_number(candidate: Candidate) -> float:
    """How many labels x alone tells, or y, or a sum such as x + 2 * y."""
    x, y = np.indices(candidate.domain.shape).reshape(2, -1)
    sums = [a * x + b * y for a, b in ((1, 0), (0, 1), *_SLOPES)]
    return max(_told_by(number - number.min(), candidate.labels) for number in sums)


def _one_threshold(candidate: Candidate) -> float:
    """How many labels a band on one simple number tells."""
    if isinstance(candidate.domain, ImageDomain):
        return best_band(candidate.domain.call("mean", (None,)), candidate.labels)
    x, y = np.indices(candidate.domain.shape).reshape(2, -1)
    return max(best_band(score, candidate.labels) for score in (x, y, x + y, x - y, x * y))


def _tree(candidate: Candidate) -> float:
    domain = candidate.domain
    if isinstance(domain, ImageDomain):
        features = domain.images.reshape(len(domain.images), -1) // 16  # 16 shades of grey
    else:
        features = np.indices(domain.shape).reshape(2, -1).T.astype(np.uint8)
    return tree_accuracy(features, candidate.labels, DEPTH)


def _noise(candidate: Candidate) -> float:
    """How many neighbours differ, along x or along y, whichever is fewer."""
    table = candidate.labels.reshape(candidate.domain.shape)
    return min(float(np.diff(table, axis=axis).mean()) for axis in (0, 1))


def _digits(candidate: Candidate) -> float:
    """How many labels the digit tells."""
    if candidate.digits is None:
        return 0.0
    return _told_by(candidate.digits, candidate.labels)


def _idle(candidate: Candidate) -> float:
    """The fewest labels that change when some part is left out."""
    shorter = _shorter(candidate.program)
    changed = (_changed(candidate, program) for program in shorter)
    return min(changed, default=1.0)


def _templates(candidate: Candidate) -> float:
    """The fewest labels that change when one template becomes another: the next image, and so on.

    Of three others the median, since one may happen to be alike.
    """
    changes = []
    for index in candidate.program.templates:
        others = ((index + step) % len(_images(candidate).templates) for step in (1, 2, 3))
        swapped = (_with_template(candidate.program, index, other) for other in others)
        changes.append(float(np.median([_changed(candidate, program) for program in swapped])))
    return min(changes, default=1.0)


RULES = (
    Rule("share", "the share of label 1", ("pairs", "image"), 0.3, 0.7, _share),
    Rule("noise", "the share of neighbours that differ", ("pairs",), 0, 0.05, _noise),
    Rule(
        "one number",
        "what x alone, y alone or one sum of them tells of the labels",
        ("pairs",),
        0,
        0.9,
        _one_number,
    ),
    Rule(
        "one threshold",
        "what a band on x, y, x + y, x - y, x * y or mean(image) tells of the labels",
        ("pairs", "image"),
        0,
        0.85,
        _one_threshold,
    ),
    Rule("tree", f"the accuracy of a tree of depth {DEPTH}", ("pairs", "image"), 0, 0.87, _tree),
    Rule("digits", "what the digit tells of the labels", ("image",), 0, 0.85, _digits),
    Rule("idle", "what the idlest part changes of the labels", ("pairs", "image"), 0.02, 1, _idle),
    Rule("templates", "what another template changes", ("image",), 0.05, 1, _templates),
)
"""In the order in which they are asked: the quick ones first."""


def _images(candidate: Candidate) -> ImageDomain:
    assert isinstance(candidate.domain, ImageDomain)
    return candidate.domain


def _told_by(number: Integer[np.ndarray, "n"], labels: Bool[np.ndarray, "n"]) -> float:
    """How many labels are told by a whole number, 0 or more: the commoner label of each value."""
    ones, of = np.bincount(number, labels), np.bincount(number)
    return float(np.maximum(ones, of - ones).sum() / of.sum())


def _changed(candidate: Candidate, program: lang.Program) -> float:
    try:
        return float((label(program, candidate.domain) != candidate.labels).mean())
    except EvaluationError:  # nothing is idle without which the program fails
        return 1.0


def _shorter(program: lang.Program) -> Iterator[lang.Program]:
    """Without a statement, all but one operand of an `and` or `or`, or one end of a band."""
    for node in lang.walk(program):
        for simpler in _simpler(node):
            yield _mapped(program, lambda part, old=node, new=simpler: new if part is old else part)
        if isinstance(node, lang.Assign | lang.If) and node is not program.body[0]:  # that sets z
            yield _without(program, node)


def _simpler(node: lang.Node) -> tuple[lang.Expression, ...]:
    match node:
        case lang.Connected(operands=operands):
            return operands
        case lang.Compare(first=first, rest=(one, two)):
            return lang.Compare(first, (one,)), lang.Compare(one[1], (two,))
    return ()


def _without(part: Any, statement: lang.Statement) -> Any:
    """A program without a statement, wherever it stands."""
    if isinstance(part, tuple):
        return tuple(_without(element, statement) for element in part if element is not statement)
    if not isinstance(part, lang.Node):
        return part
    return replace(part, **{n: _without(v, statement) for n, v in vars(part).items() if n != "at"})


def _with_template(program: lang.Program, index: int, other: int) -> lang.Program:
    old, new = (lang.Call(lang.TEMPLATE, (lang.Number(i),)) for i in (index, other))
    return _mapped(program, lambda part: new if part == old else part)


def _mapped(part: Any, change: Callable[[lang.Node], lang.Node]) -> Any:
    """A program with some of its nodes changed, from the root down."""
    if isinstance(part, tuple):
        return tuple(_mapped(element, change) for element in part)
    if not isinstance(part, lang.Node):
        return part
    changed = change(part)
    if changed is not part:
        return changed
    return replace(part, **{n: _mapped(v, change) for n, v in vars(part).items() if n != "at"})
