"""Rules that make a random program a fair challenge, and draws of programs that keep them.

The labels of a fair program are neither nearly constant, nor noise, nor predictable from one input,
one threshold or a small decision tree; and every part of the program matters. Each rule bounds one
metric of a program. `draw_fair` draws programs until one keeps all rules.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer, Num

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.bands import best_band
from jaxmi.programs.domain import Domain, ImageDomain
from jaxmi.programs.evaluate import EvaluationError, label
from jaxmi.programs.sample import sample_program

MAX_DRAWS = 10_000
"""Draws before giving up; with the default grammar about 1 program on pairs in 12 is fair."""

DEPTH = 3
"""Depth of the decision tree that must not predict the labels."""

EVERY_KIND: tuple[lang.Kind, ...] = tuple(lang.SIGNATURES)
"""The kinds of a rule that is for all of them."""

_SLOPES = ((1, 1), (1, -1), (1, 2), (2, 1), (1, 3), (3, 1))


@dataclass(frozen=True, eq=False)
class Candidate:
    """A program, with its labels of a domain."""

    program: lang.Program
    domain: Domain
    labels: Bool[np.ndarray, "n"]
    """The program's labels, in domain order."""
    digits: Integer[np.ndarray, "n"] | None = None
    """The digit that each image shows; None if it is not known, or the inputs are no images."""


@dataclass(frozen=True)
class Rule:
    """Bounds on one metric of a program."""

    name: str
    description: str
    """The metric in words."""
    kinds: tuple[lang.Kind, ...]
    """The kinds of programs that the rule is for."""
    low: int | float
    high: int | float
    metric: Callable[[Candidate], int | float]
    needs_program: bool = False
    """Whether the metric is of the program's text, not of its labels alone."""

    def violation(self, candidate: Candidate) -> str | None:
        """Return how a program breaks the rule; None if it does not, or the rule is not for it."""
        if candidate.program.kind not in self.kinds:
            return None
        value = self.metric(candidate)
        if self.low <= value <= self.high:
            return None
        allowed = f"allowed {self.low:.0%} to {self.high:.0%}"
        return f"{self.name}: {self.description} is {value:.1%}, {allowed}"


def draw_fair(
    domain: Domain,
    rng: Random,
    grammar: Any = None,
    digits: Integer[np.ndarray, "n"] | None = None,
) -> tuple[lang.Program, Counter[str]]:
    """Draw programs until one breaks no rule.

    Args:
      domain: The inputs that the program labels; some thousand images will do.
      rng: Source of randomness, as in `sample_program`.
      grammar: Distribution of programs, as in `sample_program`.
      digits: The digit that each image shows; None skips the rule that needs it.

    Returns:
      The program, and how many were rejected, by the first rule that each broke.

    Raises:
      InputError: if none of `MAX_DRAWS` programs is fair.
    """
    rejected: Counter[str] = Counter()
    for _ in range(MAX_DRAWS):
        program = sample_program(domain, rng, grammar)
        candidate = Candidate(program, domain, label(program, domain).astype(bool), digits)
        broken = next((rule for rule in RULES if rule.violation(candidate)), None)
        if broken is None:
            return program, rejected
        rejected[broken.name] += 1
    raise InputError(
        f"of {MAX_DRAWS:,} programs none is fair: {dict(rejected)} by the first rule that each "
        "breaks; change the grammar"
    )


def band_accuracy(score: Num[np.ndarray, "n"], labels: Bool[np.ndarray, "n"]) -> float:
    """Return the best accuracy of a rule that sees one number: 1 within a band, or 1 outside it."""
    return max(best_band(score, labels).agreement, best_band(score, ~labels).agreement)


def tree_accuracy(
    features: Integer[np.ndarray, "n f"], labels: Bool[np.ndarray, "n"], depth: int
) -> float:
    """Return the training accuracy of a decision tree of at most some depth.

    The tree is grown greedily: every node takes the threshold on one feature that lowers the Gini
    impurity most. After Breiman et al., "Classification and Regression Trees" (1984).
    """
    return _tree_hits(features, labels, depth) / len(labels)


def _tree_hits(features: np.ndarray, labels: np.ndarray, depth: int) -> int:
    """Return how many labels a tree of some depth predicts."""
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
        # Half the Gini impurity of both sides, weighted by their sizes.
        impurity = below_ones * (below - below_ones) / below
        impurity = impurity + above_ones * (above - above_ones) / above
    impurity[(below == 0) | (above == 0)] = np.inf
    if not impurity.size or not np.isfinite(impurity.min()):
        return max(ones, n - ones)
    feature, threshold = np.unravel_index(impurity.argmin(), impurity.shape)
    low = features[:, feature] <= threshold
    return sum(_tree_hits(features[side], labels[side], depth - 1) for side in (low, ~low))


def _share(candidate: Candidate) -> float:
    return float(candidate.labels.mean())


def _noise(candidate: Candidate) -> float:
    """Return the share of neighbours that differ along one operand, whichever has the least."""
    table = candidate.labels.reshape(candidate.domain.shape)
    return min(float(np.diff(table, axis=axis).mean()) for axis in range(table.ndim))


def _one_number(candidate: Candidate) -> float:
    """Return the best accuracy from x alone, y alone, or one sum such as x + 2 * y."""
    x, y = np.indices(candidate.domain.shape).reshape(2, -1)
    sums = [a * x + b * y for a, b in ((1, 0), (0, 1), *_SLOPES)]
    return max(_lookup_accuracy(number - number.min(), candidate.labels) for number in sums)


def _two_numbers(candidate: Candidate) -> float:
    """Return the best accuracy from all operands but one."""
    table = candidate.labels.reshape(candidate.domain.shape)
    shares = (table.mean(axis=axis) for axis in range(table.ndim))
    return max(float(np.maximum(share, 1 - share).mean()) for share in shares)


def _one_threshold(candidate: Candidate) -> float:
    """Return the best accuracy of a band on one simple number."""
    if isinstance(candidate.domain, ImageDomain):
        return band_accuracy(candidate.domain.call("mean", (None,)), candidate.labels)
    x, y = np.indices(candidate.domain.shape).reshape(2, -1)
    return max(band_accuracy(score, candidate.labels) for score in (x, y, x + y, x - y, x * y))


def _tree(candidate: Candidate) -> float:
    domain = candidate.domain
    if isinstance(domain, ImageDomain):
        features = domain.images.reshape(len(domain.images), -1) // 16  # 16 shades of grey
    else:
        features = np.stack(tuple(domain.columns().values()), axis=1)
    return tree_accuracy(features, candidate.labels, DEPTH)


def _digits(candidate: Candidate) -> float:
    """Return the best accuracy from the digit alone; 0 if the digits are not known."""
    if candidate.digits is None:
        return 0.0
    return _lookup_accuracy(candidate.digits, candidate.labels)


def _idle(candidate: Candidate) -> float:
    """Return the smallest share of labels that change when some part is left out."""
    shorter = _shorter(candidate.program)
    return min((_changed_share(candidate, program) for program in shorter), default=1.0)


def _templates(candidate: Candidate) -> float:
    """Return the smallest share of labels that change when one template is replaced.

    It is replaced by each of the next three training images, and the median of their shares is
    taken, since one of them may happen to look alike.
    """
    assert isinstance(candidate.domain, ImageDomain)
    n = len(candidate.domain.templates)
    changes = []
    for index in candidate.program.templates:
        others = ((index + step) % n for step in (1, 2, 3))
        variants = (_with_template(candidate.program, index, other) for other in others)
        shares = [_changed_share(candidate, program) for program in variants]
        changes.append(float(np.median(shares)))
    return min(changes, default=1.0)


RULES = (
    Rule("share", "the share of label 1", EVERY_KIND, 0.3, 0.7, _share),
    Rule("noise", "the share of neighbours that differ", ("pairs", "triples"), 0, 0.05, _noise),
    Rule(
        "one number",
        "the best accuracy from x alone, y alone or one sum of them",
        ("pairs",),
        0,
        0.9,
        _one_number,
    ),
    Rule(
        "one threshold",
        "the best accuracy of a band on x, y, x + y, x - y, x * y or mean(image)",
        ("pairs", "image"),
        0,
        0.85,
        _one_threshold,
    ),
    Rule(
        "two numbers",
        "the best accuracy from two of the three numbers",
        ("triples",),
        0,
        0.9,
        _two_numbers,
    ),
    Rule("tree", f"the accuracy of a tree of depth {DEPTH}", EVERY_KIND, 0, 0.87, _tree),
    Rule("digits", "the best accuracy from the digit alone", ("image",), 0, 0.85, _digits),
    Rule(
        "idle",
        "the smallest share of labels that change when a part is left out",
        EVERY_KIND,
        0.02,
        1,
        _idle,
        needs_program=True,
    ),
    Rule(
        "templates",
        "the smallest share of labels that change with another template",
        ("image",),
        0.05,
        1,
        _templates,
        needs_program=True,
    ),
)
"""All rules, in the order in which they are checked: the fast ones first."""


def _lookup_accuracy(number: Integer[np.ndarray, "n"], labels: Bool[np.ndarray, "n"]) -> float:
    """Return the accuracy of the commoner label of each value of a whole number >= 0."""
    ones, counts = np.bincount(number, labels), np.bincount(number)
    return float(np.maximum(ones, counts - ones).sum() / counts.sum())


def _changed_share(candidate: Candidate, program: lang.Program) -> float:
    try:
        return float((label(program, candidate.domain) != candidate.labels).mean())
    except EvaluationError:  # the missing part is not idle: the program fails without it
        return 1.0


def _shorter(program: lang.Program) -> Iterator[lang.Program]:
    """Yield the program without one statement, one operand of `and` or `or`, or one end of a band.

    The first statement stays: it sets the variable that others add to.
    """
    for node in lang.walk(program):
        for simpler in _simpler(node):
            yield _mapped(program, lambda part, old=node, new=simpler: new if part is old else part)
        if isinstance(node, lang.Assign | lang.If) and node is not program.body[0]:
            yield _without(program, node)


def _simpler(node: lang.Node) -> tuple[lang.Expression, ...]:
    match node:
        case lang.Connected(operands=operands):
            return operands
        case lang.Compare(first=first, rest=(low, high)):
            return lang.Compare(first, (low,)), lang.Compare(low[1], (high,))
    return ()


def _without(part: Any, statement: lang.Statement) -> Any:
    """Return a part of a program without a statement, wherever that stands in it."""
    if isinstance(part, tuple):
        return tuple(_without(element, statement) for element in part if element is not statement)
    if not isinstance(part, lang.Node):
        return part
    return replace(part, **{n: _without(v, statement) for n, v in _fields(part).items()})


def _with_template(program: lang.Program, index: int, other: int) -> lang.Program:
    old, new = (lang.Call(lang.TEMPLATE, (lang.Number(i),)) for i in (index, other))
    return _mapped(program, lambda part: new if part == old else part)


def _mapped(part: Any, change: Callable[[lang.Node], lang.Node]) -> Any:
    """Return a part of a program with some nodes replaced, from the root down."""
    if isinstance(part, tuple):
        return tuple(_mapped(element, change) for element in part)
    if not isinstance(part, lang.Node):
        return part
    changed = change(part)
    if changed is not part:
        return changed
    return replace(part, **{n: _mapped(v, change) for n, v in _fields(part).items()})


def _fields(node: lang.Node) -> dict[str, Any]:
    return {name: value for name, value in vars(node).items() if name != "position"}
