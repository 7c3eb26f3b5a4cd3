"""Random labelling programs, from a stated distribution over programs like the published ones.

With the operating system's entropy (`secrets.SystemRandom()`) as the source of randomness, nobody
chose or has seen the program. `fairness.py` decides which programs make a fair challenge.
"""

from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain, ImageDomain, NumberDomain, P
from jaxmi.programs.parse import parse
from jaxmi.programs.show import power

Range = tuple[int, int]
"""Lowest and highest value, both included."""


@dataclass(frozen=True)
class NumberGrammar:
    """Programs on numbers: z sums terms where their conditions hold, and the label is z >= 0."""

    boundaries: Range = (1, 3)
    """Number of terms whose condition is a curved or straight boundary."""

    curved: int | float = 0.7
    """Expected share of curves among the boundaries: one power of x against one of y."""

    periodic: Range = (1, 2)
    """Number of periodic terms, such as `int(x ** 1.5) % 8 - 5`."""

    guarded: Range = (0, 2)
    """Number of further terms with a boundary and a bound on the sum z so far."""

    exponents: tuple[int | float, ...] = (0.5, 1, 1.3, 1.5, 1.7, 2, 3)
    """Exponents in curves; 0.5 is written as `sqrt`."""

    stripe_exponents: tuple[float, ...] = (1.3, 1.5, 1.7)
    """Exponents of one input in periodic terms, which make bars along the other input."""

    slanted: int | float = 0.4
    """Expected share of periodic terms with both inputs, such as `(x + 2 * y) // 9 % 5`."""

    moduli: Range = (3, 8)
    """Moduli of periodic terms."""

    widths: Range = (8, 24)
    """Divisors of a sum of both inputs: about the width of a stripe."""

    weights: tuple[int | float, ...] = (1, 2, 3, 4, 2.5, 5.5)
    """Numbers that a term adds or subtracts."""

    anchors: Range = (20, 92)
    """Coordinates of an input on each boundary, whose constants are then rounded to two digits."""

    planes: int | float = 0.5
    """Expected share of planes among the straight boundaries of programs on triples."""

    def scaled_to(self, p: int) -> "NumberGrammar":
        """Return the grammar for operands below another p: boundaries and stripes in proportion."""
        anchors, widths = (
            (max(least, round(low * p / P)), max(least, round(high * p / P)))
            for least, (low, high) in ((1, self.anchors), (2, self.widths))
        )
        return replace(self, anchors=anchors, widths=widths)


@dataclass(frozen=True)
class ImageGrammar:
    """Programs on images: conditions on the distances from an image to training images."""

    forms: dict[str, int] = field(
        default_factory=lambda: {"band": 4, "pair": 3, "joined": 3, "sum": 2}
    )
    """Form -> its weight: a band of one distance; a comparison of two distances; two conditions
    joined by `and` or `or`; three conditions that add to a sum."""

    metrics: tuple[str, ...] = ("l1", "l2", "dot", "cosine")
    """Functions of two images."""

    brightness: int | float = 0.15
    """Expected share of conditions on `mean(image)` in joined forms and sums."""

    quantiles: tuple[float, float] = (0.25, 0.75)
    """A threshold lies between these quantiles of the number it bounds; it has three digits."""

    band: tuple[float, float] = (0.3, 0.55)
    """Lowest and highest share of the images within a band."""


def sample_program(
    domain: Domain,
    rng: Random,
    grammar: NumberGrammar | ImageGrammar | None = None,
) -> lang.Program:
    """Draw a program that labels a domain.

    Args:
      domain: All pairs or triples; or images, whose quantiles become thresholds: some thousands
        will do.
      rng: Source of randomness: `secrets.SystemRandom()`, or `random.Random(seed)`.
      grammar: The distribution; None takes the default of the domain's kind and p.
    """
    if isinstance(domain, NumberDomain):
        grammar = grammar or NumberGrammar().scaled_to(domain.p)
        assert isinstance(grammar, NumberGrammar)
        return parse(_Numbers(rng, grammar, domain).text(), domain.kind)
    assert isinstance(domain, ImageDomain)
    grammar = grammar or ImageGrammar()
    assert isinstance(grammar, ImageGrammar)
    return parse(_Images(rng, grammar, domain).text(), "image")


class _Numbers:
    """Draw texts of programs on pairs or triples."""

    def __init__(self, rng: Random, grammar: NumberGrammar, domain: NumberDomain) -> None:
        self._rng, self._grammar = rng, grammar
        self._p, self._operands = domain.p, domain.operands

    def text(self) -> str:
        grammar = self._grammar
        terms = [self._bounded("") for _ in range(self._rng.randint(*grammar.boundaries))]
        terms += [self._periodic() for _ in range(self._rng.randint(*grammar.periodic))]
        self._rng.shuffle(terms)
        for _ in range(self._rng.randint(*grammar.guarded)):
            sign = self._rng.choice("<>")
            terms.append(self._bounded(f" and z {sign} {self._rng.randint(-3, 2)}"))
        return "\n".join(["z = 0", *terms, "return z >= 0"])

    def _bounded(self, guard: str) -> str:
        curved = self._rng.random() < self._grammar.curved
        condition = self._curve() if curved else self._line()
        return f"if {condition}{guard}:\n    z {self._rng.choice('+-')}= {self._weight()}"

    def _weight(self) -> int | float:
        return self._rng.choice(self._grammar.weights)

    def _anchor(self) -> tuple[int, int]:
        return self._rng.randint(*self._grammar.anchors), self._rng.randint(*self._grammar.anchors)

    def _two(self) -> list[str]:
        """Return two operands in random order."""
        return self._rng.sample(self._operands, 2)

    def _ordered(self) -> list[str]:
        """Return two operands in their order; of a pair's there is no choice."""
        two = self._operands if len(self._operands) == 2 else self._two()
        return sorted(two, key=self._operands.index)

    def _curve(self) -> str:
        """Return one power below a multiple of another, equal at an anchor."""
        (left, right), sign = self._two(), self._rng.choice("<>")
        i, j = self._rng.sample(self._grammar.exponents, 2)
        a, b = self._anchor()
        factor = _rounded(a**i / b**j)
        return f"{power(left, i)} {sign} {factor} * {power(right, j)}"

    def _line(self) -> str:
        """Return a bound by a straight line through an anchor."""
        a, b = self._anchor()
        sign = self._rng.choice("<>")
        if len(self._operands) > 2 and self._rng.random() < self._grammar.planes:
            return self._plane(a, b, sign)
        match self._rng.randrange(3):
            case 0:
                x, y = self._ordered()
                return f"{y} {sign} p - {x}{_plus(a + b - self._p)}"
            case 1:
                x, y = self._ordered()
                return f"{y} {sign} {x}{_plus(b - a)}"
        slope = self._rng.choice([2, 3])
        left, right = self._two()
        return f"{left} + {slope} * {right} {sign} {a + slope * b}"

    def _plane(self, a: int, b: int, sign: str) -> str:
        """Return a bound by a plane of all operands through an anchor."""
        c, last_sign = self._rng.randint(*self._grammar.anchors), self._rng.choice([1, -1])
        first, second, third = self._operands
        return (
            f"{first} + {second} {'+' if last_sign > 0 else '-'} {third} "
            f"{sign} {a + b + last_sign * c}"
        )

    def _periodic(self) -> str:
        modulus = self._rng.randint(*self._grammar.moduli)
        if self._rng.random() < self._grammar.slanted:
            width = self._rng.randint(*self._grammar.widths)
            slope = self._rng.choice([1, 2, 3])
            left, right = self._two()
            if slope == 1:
                left, right = sorted((left, right), key=self._operands.index)
            both = f"{left} + {slope} * {right}" if slope > 1 else f"{left} + {right}"
            wave = f"({both}) // {width}"
        else:
            exponent = self._rng.choice(self._grammar.stripe_exponents)
            wave = f"int({self._rng.choice(self._operands)} ** {exponent})"
        return f"z += {wave} % {modulus} - {self._rng.randint(1, modulus - 1)}"


class _Images:
    """Draw texts of programs on images."""

    def __init__(self, rng: Random, grammar: ImageGrammar, domain: ImageDomain) -> None:
        self._rng, self._grammar, self._domain = rng, grammar, domain

    def text(self) -> str:
        forms = self._grammar.forms
        (form,) = self._rng.choices(list(forms), list(forms.values()))
        match form:
            case "band":
                return f"return {self._band()}"
            case "pair":
                return f"return {self._nearer()}"
            case "joined":
                connective = self._rng.choice(["and", "or"])
                return f"return {self._condition()} {connective} {self._condition()}"
        terms = [f"if {self._condition()}:\n    z += {self._rng.choice([1, 2, 3])}" for _ in "123"]
        return "\n".join(["z = 0", *terms, f"return z >= {self._rng.choice([2, 3])}"])

    def _condition(self) -> str:
        if self._rng.random() < self._grammar.brightness:
            return self._threshold("mean", ())
        if self._rng.random() < 0.3:
            return self._nearer()
        return self._threshold(*self._score())

    def _score(self) -> tuple[str, tuple[int, ...]]:
        return self._rng.choice(self._grammar.metrics), (self._template(),)

    def _template(self) -> int:
        return self._rng.randrange(len(self._domain.templates))

    def _nearer(self) -> str:
        metric = self._rng.choice(self._grammar.metrics)
        left, right = (_score_text(metric, (self._template(),)) for _ in range(2))
        return f"{left} {self._rng.choice('<>')} {right}"

    def _threshold(self, metric: str, templates: tuple[int, ...]) -> str:
        bound = self._quantile(metric, templates, self._rng.uniform(*self._grammar.quantiles))
        return f"{_score_text(metric, templates)} {self._rng.choice('<>')} {bound}"

    def _band(self) -> str:
        metric, templates = self._score()
        share = self._rng.uniform(*self._grammar.band)
        low = self._rng.uniform(0.1, 0.9 - share)
        bounds = [self._quantile(metric, templates, q) for q in (low, low + share)]
        band = f"{bounds[0]} <= {_score_text(metric, templates)} < {bounds[1]}"
        return f"not {band}" if self._rng.random() < 0.5 else band

    def _quantile(self, metric: str, templates: tuple[int, ...], q: float) -> int | float:
        scores = self._domain.call(metric, (None, *templates))
        return _rounded(float(np.quantile(scores, q)), digits=3)


def _score_text(metric: str, templates: tuple[int, ...]) -> str:
    return f"{metric}({', '.join(['image', *(f'template({i})' for i in templates)])})"


def _rounded(value: float, digits: int = 2) -> int | float:
    """Round to some significant digits; return an int if the result is whole."""
    rounded = float(f"{value:.{digits - 1}e}")
    return int(rounded) if rounded == int(rounded) else rounded


def _plus(value: int) -> str:
    """Return the text that adds a constant."""
    return f" + {value}" if value > 0 else f" - {-value}" if value < 0 else ""
