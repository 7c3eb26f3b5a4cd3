"""Random labelling programs: a stated distribution over programs like the published ones.

Drawn with the operating system's entropy (`secrets.SystemRandom()`), they are what nobody chose.
Which of them make a fair challenge is `fairness.py`'s to say.
"""

from dataclasses import dataclass, field
from random import Random

import numpy as np

from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain, ImageDomain, PairDomain
from jaxmi.programs.parse import parse

Range = tuple[int, int]
"""Both ends included."""


@dataclass(frozen=True)
class PairGrammar:
    """Programs on pairs: terms are added to z where conditions hold; the label says if z >= 0."""

    boundaries: Range = (1, 3)
    """How many terms have a curved or straight boundary for their condition."""

    curved: int | float = 0.7
    """How many of the boundaries are curves, on average: one power of x against one of y."""

    periodic: Range = (1, 2)
    """How many terms are periodic, such as `int(x ** 1.5) % 8 - 5`."""

    guarded: Range = (0, 2)
    """How many further terms have a boundary and, beside it, a bound on z so far."""

    exponents: tuple[int | float, ...] = (0.5, 1, 1.3, 1.5, 1.7, 2, 3)
    """Powers in curves; 0.5 is written as a root."""

    stripe_exponents: tuple[float, ...] = (1.3, 1.5, 1.7)
    """Powers of one input in periodic terms: bars along the other."""

    slanted: int | float = 0.4
    """How many of the periodic terms are of both inputs, such as `(x + 2 * y) // 9 % 5`."""

    moduli: Range = (3, 8)
    """Periodic terms are modulo one of these."""

    widths: Range = (8, 24)
    """What a sum of both inputs is divided by: roughly the width of a stripe."""

    weights: tuple[int | float, ...] = (1, 2, 3, 4, 2.5, 5.5)
    """What a term adds or takes away."""

    anchors: Range = (20, 92)
    """Every boundary goes through a pair of such numbers, up to rounding to two digits."""


@dataclass(frozen=True)
class ImageGrammar:
    """Programs on images: conditions on how far an image is from training images."""

    forms: dict[str, int] = field(
        default_factory=lambda: {"band": 4, "pair": 3, "joined": 3, "sum": 2}
    )
    """Form -> its weight. A band of one distance; two distances compared; two conditions joined by
    `and` or `or`; three conditions that add to a sum."""

    metrics: tuple[str, ...] = ("l1", "l2", "dot", "cosine")
    """What is measured between images."""

    brightness: int | float = 0.15
    """How many of the conditions in joined forms and sums are on `mean(image)`."""

    quantiles: tuple[float, float] = (0.25, 0.75)
    """A threshold lies between these quantiles of what it bounds, rounded to three digits."""

    band: tuple[float, float] = (0.3, 0.55)
    """A band holds such a share of the images."""


def sample_program(
    domain: Domain,
    rng: Random,
    grammar: PairGrammar | ImageGrammar | None = None,
) -> lang.Program:
    """Draws a program that labels a domain.

    Args:
      domain: All pairs, or images from which thresholds are taken; some thousands will do.
      rng: Where chance comes from: `secrets.SystemRandom()`, or `random.Random(seed)`.
      grammar: The distribution; None takes the domain's default.
    """
    if isinstance(domain, PairDomain):
        grammar = grammar or PairGrammar()
        assert isinstance(grammar, PairGrammar)
        return parse(_Pairs(rng, grammar, domain.p).text(), "pairs")
    grammar = grammar or ImageGrammar()
    assert isinstance(grammar, ImageGrammar)
    return parse(_Images(rng, grammar, domain).text(), "image")


class _Pairs:
    """Draws the text of a program on pairs."""

    def __init__(self, rng: Random, grammar: PairGrammar, p: int) -> None:
        self._rng, self._grammar, self._p = rng, grammar, p

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

    def _curve(self) -> str:
        """One power below a multiple of another, through an anchor."""
        (one, other), sign = self._rng.sample(["x", "y"], 2), self._rng.choice("<>")
        i, j = self._rng.sample(self._grammar.exponents, 2)
        a, b = self._anchor()
        factor = _rounded(a**i / b**j)
        return f"{_power(one, i)} {sign} {factor} * {_power(other, j)}"

    def _line(self) -> str:
        """A straight line through an anchor."""
        a, b = self._anchor()
        sign = self._rng.choice("<>")
        match self._rng.randrange(3):
            case 0:
                return f"y {sign} p - x{_plus(a + b - self._p)}"
            case 1:
                return f"y {sign} x{_plus(b - a)}"
        slope = self._rng.choice([2, 3])
        one, other = self._rng.sample(["x", "y"], 2)
        return f"{one} + {slope} * {other} {sign} {a + slope * b}"

    def _periodic(self) -> str:
        modulus = self._rng.randint(*self._grammar.moduli)
        if self._rng.random() < self._grammar.slanted:
            width = self._rng.randint(*self._grammar.widths)
            slope = self._rng.choice([1, 2, 3])
            one, other = self._rng.sample(["x", "y"], 2)
            wave = f"({one} + {slope} * {other}) // {width}" if slope > 1 else f"(x + y) // {width}"
        else:
            exponent = self._rng.choice(self._grammar.stripe_exponents)
            wave = f"int({self._rng.choice('xy')} ** {exponent})"
        return f"z += {wave} % {modulus} - {self._rng.randint(1, modulus - 1)}"


class _Images:
    """Draws the text of a program on images."""

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
                word = self._rng.choice(["and", "or"])
                return f"return {self._condition()} {word} {self._condition()}"
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
        one, other = (_score_text(metric, (self._template(),)) for _ in range(2))
        return f"{one} {self._rng.choice('<>')} {other}"

    def _threshold(self, metric: str, templates: tuple[int, ...]) -> str:
        bound = self._quantile(metric, templates, self._rng.uniform(*self._grammar.quantiles))
        return f"{_score_text(metric, templates)} {self._rng.choice('<>')} {bound}"

    def _band(self) -> str:
        metric, templates = self._score()
        held = self._rng.uniform(*self._grammar.band)
        low = self._rng.uniform(0.1, 0.9 - held)
        bounds = [self._quantile(metric, templates, q) for q in (low, low + held)]
        band = f"{bounds[0]} <= {_score_text(metric, templates)} < {bounds[1]}"
        return f"not {band}" if self._rng.random() < 0.5 else band

    def _quantile(self, metric: str, templates: tuple[int, ...], at: float) -> int | float:
        scores = self._domain.call(metric, (None, *templates))
        return _rounded(float(np.quantile(scores, at)), digits=3)


def _score_text(metric: str, templates: tuple[int, ...]) -> str:
    return f"{metric}({', '.join(['image', *(f'template({i})' for i in templates)])})"


def _power(name: str, exponent: int | float) -> str:
    if exponent == 0.5:
        return f"sqrt({name})"
    return name if exponent == 1 else f"{name} ** {exponent}"


def _rounded(value: float, digits: int = 2) -> int | float:
    """Rounds to some significant digits; whole numbers where that leaves one."""
    rounded = float(f"{value:.{digits - 1}e}")
    return int(rounded) if rounded == int(rounded) else rounded


def _plus(value: int) -> str:
    return f" + {value}" if value > 0 else f" - {-value}" if value < 0 else ""
