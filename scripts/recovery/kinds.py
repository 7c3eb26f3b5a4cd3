"""The kinds of networks on the recovery scoreboard, and the programs that they are trained on.

Command:   none; imported by the other scripts
Time:      seconds per network, mostly to draw a fair program
Expected:  KINDS; a network's seed determines everything random
"""

from dataclasses import dataclass, replace
from random import Random

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.data.pairs import split_indices
from jaxmi.programs import language as lang
from jaxmi.programs.fairness import draw_fair
from jaxmi.programs.sample import ImageGrammar, NumberGrammar
from jaxmi.workflows.challenges import define, fairness_domain

OFF_GRID = NumberGrammar(
    exponents=(0.4, 0.6, 0.8, 1.1, 1.2, 1.4, 1.6, 1.8, 1.9, 2.2, 2.5),
    stripe_exponents=(1.2, 1.4, 1.6, 1.8),
)


@dataclass(frozen=True)
class Kind:
    """A kind of networks, which differ in their seeds only."""

    challenge: str
    """A published challenge, or "triples": 23 values each, the split and network by default."""

    even: int
    """Number of networks with even seeds."""

    odd: int
    """Number of networks with odd seeds."""

    tuned: bool = False
    """True if the search was tuned on the even seeds, so that only the odd ones judge it."""

    grammar: NumberGrammar | ImageGrammar | None = None
    """The grammar that programs are drawn from; None for the published program."""

    is_null: bool = False
    """True if no program gives the labels."""

    recipe: str = "fast"
    share: float | None = None
    """Share of the pairs in the training split; None for the published split."""

    @property
    def seeds(self) -> list[int]:
        """All seeds, the even ones first."""
        return [*range(0, 2 * self.even, 2), *range(1, 2 * self.odd, 2)]

    def base(self) -> Challenge:
        """Return the published challenge, with this kind's splits."""
        if self.challenge == "triples":
            return load_challenge(define(None, kind="triples", name="triples"))
        base = load_challenge(self.challenge)
        if self.share is None:
            return base
        train, test = split_indices(113, self.share)
        splits = {"train": train, "test": test}
        return replace(base, splits=splits, curve_splits=splits)


KINDS = {
    "challenge-2": Kind("transformer", 16, 16, tuned=True),
    "challenge-2-published": Kind("transformer", 2, 2, recipe="published"),
    **{f"share-{s}": Kind("transformer", 2, 2, share=s / 100) for s in range(10, 100, 10)},
    "pairs": Kind("transformer", 20, 100, True, NumberGrammar()),
    "off-grid": Kind("transformer", 6, 12, True, OFF_GRID),
    "two-guards": Kind("transformer", 10, 12, True, NumberGrammar(guarded=(2, 2))),
    "triples": Kind("triples", 0, 20, grammar=NumberGrammar().scaled_to(23)),
    "challenge-1": Kind("cnn", 8, 8),
    "challenge-1-published": Kind("cnn", 1, 1, recipe="published"),
    "image": Kind("cnn", 10, 20, True, ImageGrammar()),
    "null-pairs": Kind("transformer", 12, 12, True, is_null=True),
    "null-image": Kind("cnn", 8, 8, True, is_null=True),
}


def draw(base: Challenge, grammar: NumberGrammar | ImageGrammar, rng: Random) -> lang.Program:
    """Draw a fair program, as `jaxmi challenge new` does."""
    domain, digits = fairness_domain(base)
    return draw_fair(domain, rng, grammar, digits)[0]
