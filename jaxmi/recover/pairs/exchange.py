"""Adds a term to a model, or exchanges one: all boundaries, weights, guards and places are tried.

Tables have one term for each boundary; a program may use one boundary twice, under other guards.
"""

import numpy as np
from jaxtyping import Float

from jaxmi.recover.evidence import Evidence
from jaxmi.recover.pairs.accumulator import BOUNDS, WEIGHTS
from jaxmi.recover.pairs.boundaries import Family, families
from jaxmi.recover.pairs.model import Model, Placed
from jaxmi.recover.pairs.polish import GUARD_NATS, model_cost, polish, weigh
from jaxmi.recover.pairs.tables import BOUNDARY_NATS, Boundary
from jaxmi.recover.pairs.terms import Guard

MAX_TERMS = 5
"""No term is added to so many."""

TRIED = 40
"""How many combinations of weight and guard are tried at each place, with all boundaries."""

KEPT = 2
"""How many new terms are kept for each place."""

REFITTED = 4
"""How many models are refitted."""

MAX_TURNS = 8
"""Changes of one model, at most."""

LEAST_GAIN = 5.0
"""In nats; so many terms are tried that some save less by chance."""

GUARDS = (None, *(Guard(below, bound) for below in (True, False) for bound in BOUNDS))


def exchange_terms(cost: float, model: Model, evidence: Evidence) -> tuple[float, Model]:
    """Adds a term, or exchanges any for another, as long as that helps.

    Args:
      cost: The model's, in nats.
      model: Refitted.
      evidence: The network's answers.

    Returns:
      The cost and the model that it ends with.
    """
    tried = families(round(len(evidence.labels) ** 0.5))
    for _ in range(MAX_TURNS):
        signed = weigh(evidence, model)
        bases = [model] if len(model.terms) < MAX_TERMS else []
        bases += [model.without(i) for i in range(len(model.terms))]
        options = [
            option
            for base in bases
            for at in places(base)
            for option in with_term(base, at, signed, tried)
        ]
        costs = [model_cost(option, signed) for option in options]
        likeliest = [options[i] for i in np.argsort(costs, kind="stable")[:REFITTED]]
        refitted = [polish(option, evidence) for option in likeliest]
        found = min(refitted, key=lambda one: one[0], default=(cost, model))
        if found[0] > cost - LEAST_GAIN:
            break
        cost, model = found
    return cost, model


def places(model: Model) -> list[int]:
    """Lists where another term makes a difference: guards look at what is before them."""
    guarded = [i for i, term in enumerate(model.terms) if term.guard is not None]
    return [*guarded, len(model.terms)]


def with_term(
    model: Model, at: int, signed: Float[np.ndarray, "n"], tried: tuple[Family, ...]
) -> list[Model]:
    """Adds a term at a place, in the ways that gain most.

    Args:
      model: Without it.
      at: How many terms come before it.
      signed: Each answer's worth, positive if it is 1.
      tried: Families of boundaries.
    """
    ways = _likeliest_ways(model, at, signed)
    if not ways:
        return []
    gains = np.stack([one for _, one in ways])
    nats = np.array([_nats(term) for term, _ in ways])
    found = []
    for family in tried:
        sums = np.cumsum(gains[:, family.order], axis=1)
        for before in (True, False):
            values = np.where(family.ends, sums if before else sums[:, -1:] - sums, -np.inf)
            ends = values.argmax(axis=1)
            value = values[np.arange(len(ways)), ends] - nats
            k = int(value.argmax())
            term = ways[k][0]._replace(boundary=Boundary(family, int(ends[k])), before=before)
            found.append((float(value[k]), term))
    found.sort(key=lambda one: -one[0])
    return [model.inserted(at, term) for _, term in found[:KEPT]]


def _likeliest_ways(
    model: Model, at: int, signed: Float[np.ndarray, "n"]
) -> list[tuple[Placed, Float[np.ndarray, "n"]]]:
    """Terms whose boundary is still open, and what each gains, input by input, where it counts.

    Those that can gain most come first: of all answers that they would put right.
    """
    ways: dict[bytes, tuple[Placed, np.ndarray]] = {}
    anywhere = Boundary(families(round(len(signed) ** 0.5))[0], 0)
    for guard in GUARDS:
        for weight in (*WEIGHTS, *(-w for w in WEIGHTS)):
            term = Placed(anywhere, True, weight, guard)
            gains = model.inserted(at, term).gains(at, signed).astype(np.float32)
            if gains.clip(0).sum() > BOUNDARY_NATS + _nats(term):
                ways.setdefault(gains.tobytes(), (term, gains))
    return sorted(ways.values(), key=lambda way: -(way[1].clip(0).sum() - _nats(way[0])))[:TRIED]


def _nats(term: Placed) -> float:
    return 0.0 if term.guard is None else GUARD_NATS
