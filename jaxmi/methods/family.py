"""The programs that are planted: random ones without guards, of at least two conditions."""

from collections.abc import Iterator
from random import Random

from jaxmi.methods import causal_models
from jaxmi.methods.questions import Asked
from jaxmi.methods.truth import PAIRS
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import EvaluationError, label
from jaxmi.programs.language import Program
from jaxmi.programs.sample import NumberGrammar, sample_program

GRAMMAR = NumberGrammar(boundaries=(2, 4), periodic=(0, 1), guarded=(0, 0))
"""`jaxmi challenge new`'s distribution, with two to four boundaries, at most one periodic term, and
no guard: a guard would be looked up, and keep its value where the sum is changed."""

FAIR = (0.3, 0.7)
"""A program is drawn anew until the share of its labels that are 1 lies within these."""

MOST_DRAWS = 10_000
"""Programs are drawn at most so often."""


def draw_programs(p: int, seed: int) -> Iterator[Program]:
    """Yield random programs with fair labels, and two conditions that can be asked about.

    Args:
      p: The number of values of each operand.
      seed: Draws them.
    """
    domain, rng = PairDomain(p), Random(seed)
    grammar = GRAMMAR.scaled_to(p)
    for _ in range(MOST_DRAWS):
        program = sample_program(domain, rng, grammar)
        try:
            share = float(label(program, domain).mean())
        except EvaluationError:
            continue
        if FAIR[0] <= share <= FAIR[1]:
            yield program


def variables_of(program: Program, p: int, seed: int) -> list[tuple[str, Asked]]:
    """Return a program's variables that can be asked about, with their names."""
    found = [causal_models.asked(one) for one in causal_models.of_program(program, p)]
    return [
        (one.variable.name, one) for one in found if causal_models.can_be_asked(one, PAIRS, seed)
    ]
