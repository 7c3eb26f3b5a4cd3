"""Network on pairs -> program: features, an accumulator, short constants; then all over again."""

from dataclasses import replace
from itertools import product

import numpy as np

from jaxmi.recovery.evidence import Candidate, Evidence
from jaxmi.recovery.pairs.accumulator import (
    MAX_PLANS,
    find_accumulators,
    make_table,
    unguarded_value,
)
from jaxmi.recovery.pairs.model import Model, assemble, exchange_terms, model_cost, polish, weigh
from jaxmi.recovery.pairs.program import write_program
from jaxmi.recovery.pairs.table_search import Found, TableSearch
from jaxmi.recovery.pairs.tables import Features, Periodic

FIRST_WORTH = 1.5
"""What each answer is worth, in nats, before anything is known of mistakes."""

TABLES = 3
"""Of the features found, how many are followed."""

ACCUMULATORS = 2
"""For each, how many accumulators."""


VARIANTS = 2
"""Of the moduli that periodic features may have, how many combinations are followed."""

ENOUGH = {True: (0.02, 0.003), False: (0.03, 0.02)}
"""If a model costs more nats an input, or contradicts a larger share of the surest answers, then
the search goes further. Without logits, no answer is surer than another."""

THOROUGH_TABLES = 2
THOROUGH_PLANS = 60
"""If nothing was enough, the best tables are tried once more, with all choices of guarded terms."""

ALIKE = 10.0
"""Two tables with the same features, up to small changes, differ by fewer nats."""

HOPELESS = 300.0
"""A model that costs so many nats more than the best of its kind is not refitted."""

Scored = tuple[float, Model]
"""A model, and what it costs in nats."""


def find_pair_programs(evidence: Evidence) -> tuple[list[Candidate], int]:
    """Searches programs on pairs that a network may have been trained on.

    Args:
      evidence: Its answers.

    Returns:
      Candidates, the best first, and how many boundaries and periodic features were scored.
    """
    n = len(evidence.labels)
    p = round(n**0.5)
    search = TableSearch(np.where(evidence.labels, FIRST_WORTH, -FIRST_WORTH))
    found: list[Scored] = []
    exchanged: list[Scored] = []
    tables: list[Found] = []
    followed: list[Found] = []
    for look in (_plainly, _shaken, _in_pairs):
        tables = look(search, tables)
        for table in tables[:TABLES]:
            if not any(_alike(table, other) for other in followed):
                followed.append(table)
                found += _models(table.features, search.signed, evidence)
        if _is_enough(found, evidence):
            break
    else:
        exchanged = [exchange_terms(*found[0], evidence)]
        followed.sort(key=lambda one: one.cost)
        for table in followed[:THOROUGH_TABLES]:
            found += _models(table.features, search.signed, evidence, THOROUGH_PLANS)
        found.sort(key=lambda one: one[0])
    best = found[0][1]
    search.signed = weigh(evidence, best)  # once more, now that it is known what to trust
    again = search.refine(best.features)
    found += _models(again.features, search.signed, evidence)
    found += [one for less in _fewer(best) for one in _models(less, search.signed, evidence)]
    found = sorted(found + exchanged, key=lambda one: one[0])
    found.append(exchange_terms(*found[0], evidence))
    found.sort(key=lambda one: one[0])
    candidates: dict[bytes, Candidate] = {}
    for _, model in found[:6]:
        candidate = write_program(model, evidence, p)
        key = candidate.labels.tobytes()
        if key not in candidates or candidate.cost < candidates[key].cost:
            candidates[key] = candidate
    return sorted(candidates.values(), key=lambda one: one.cost), search.scored


def _is_enough(found: list[Scored], evidence: Evidence) -> bool:
    """Sorts the models, and says whether the best leaves little to be explained."""
    found.sort(key=lambda one: one[0])
    cost, model = found[0]
    n = len(evidence.labels)
    good, enough = ENOUGH[evidence.margins_known]
    return cost < good * n and evidence.unexplained(model.labels(n)) < enough


def _plainly(search: TableSearch, _: list[Found]) -> list[Found]:
    return search.run(search.plain_starts())


def _shaken(search: TableSearch, tables: list[Found]) -> list[Found]:
    return [search.shake(table) for table in tables[:TABLES]]


def _in_pairs(search: TableSearch, _: list[Found]) -> list[Found]:
    return [search.shake(table) for table in search.run(search.paired_starts())[:TABLES]]


def _alike(one: Found, other: Found) -> bool:
    """Says if two tables have the same periodic features, as many boundaries, about one cost."""
    (cost, features), (other_cost, others) = one, other
    return (
        set(features.periodic) == set(others.periodic)
        and len(features.boundaries) == len(others.boundaries)
        and abs(cost - other_cost) < ALIKE
    )


def _models(
    features: Features, signed: np.ndarray, evidence: Evidence, plans: int = MAX_PLANS
) -> list[Scored]:
    models = [
        assemble(variant, one)
        for variant in _variants(features, signed)
        for one in find_accumulators(_table(variant, signed), ACCUMULATORS, plans)
    ]
    costs = [model_cost(model, signed) for model in models]
    return [
        polish(model, evidence)
        for model, cost in zip(models, costs, strict=True)
        if cost < min(costs) + HOPELESS
    ]


def _table(features: Features, signed: np.ndarray) -> np.ndarray:
    bits = [boundary.before for boundary in features.boundaries]
    residues = sum((one.values for one in features.periodic), np.zeros(len(signed), int))
    return make_table(bits, residues, signed)


def _variants(features: Features, signed: np.ndarray) -> list[Features]:
    """Features as they are, and with the moduli that go best with a sum.

    A free label for each combination does not tell a modulus from another that divides the pairs
    as finely; a sum of residues does.
    """
    options = []
    for one in features.periodic:
        wave = one.axis.waves[one.index or 0]
        alike = [
            i
            for i, other in enumerate(one.axis.waves)
            if replace(other, modulus=wave.modulus) == wave
        ]
        options.append([Periodic(one.axis, i) for i in alike])
    variants = [replace(features, periodic=periodic) for periodic in product(*options)]
    variants.sort(key=lambda variant: -unguarded_value(_table(variant, signed)))
    return list(
        {variant.periodic: variant for variant in (features, *variants[:VARIANTS])}.values()
    )


def _fewer(model: Model) -> list[Features]:
    features = model.features
    return [features.without(boundary) for boundary in features.boundaries]
