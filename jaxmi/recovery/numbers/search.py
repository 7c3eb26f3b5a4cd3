"""Search on pairs or triples: from predictions to features, to an accumulator, to a short program.

Stages find features on tables, each from other starts, until a model explains enough. The best
model then updates the log-odds, with which features, accumulators and terms are searched once more.
The cheapest models are written as programs.
"""

from dataclasses import replace
from itertools import product

import numpy as np
from jaxtyping import Float

from jaxmi.programs.domain import NumberDomain
from jaxmi.recovery.evidence import Candidate, Evidence, Findings
from jaxmi.recovery.numbers.accumulator import (
    MAX_PLANS,
    find_accumulators,
    make_table,
    unguarded_value,
)
from jaxmi.recovery.numbers.model import (
    ScoredModel,
    assemble,
    exchange_terms,
    model_cost,
    model_log_odds,
    refit,
)
from jaxmi.recovery.numbers.program import write_program
from jaxmi.recovery.numbers.table_search import ScoredFeatures, TableSearch
from jaxmi.recovery.numbers.tables import Features, Periodic

INITIAL_LOG_ODDS = 1.5
"""Log-odds of each prediction being right, in nats, before a model is known."""

TABLES = 3
"""Number of tables per stage whose models are searched."""

ACCUMULATORS = 2
"""Number of accumulators per table."""

VARIANTS = 2
"""Number of further combinations of moduli per table."""

ENOUGH = {True: (0.02, 0.003), False: (0.03, 0.02)}
"""True if logits are known -> nats per input and share of contradicted confident predictions; above
either of them the next stage follows."""

THOROUGH_TABLES = 2
THOROUGH_PLANS = 60
"""If no stage suffices, this many of the cheapest tables are searched with all plans of guards."""

SAME_COST = 10.0
"""Tables with the same features, up to small changes, differ by fewer nats."""

MAX_COST_GAP = 300.0
"""A model is not refitted if it costs so many nats more than the best for the same table."""

PROGRAMS = 6
"""Number of models written as programs."""


def find_number_programs(domain: NumberDomain, evidence: Evidence) -> Findings:
    """Search for the programs on numbers that explain a network's predictions best.

    Args:
      domain: The pairs or triples.
      evidence: The network's predictions on them.
    """
    log_odds = np.where(evidence.labels, INITIAL_LOG_ODDS, -INITIAL_LOG_ODDS)
    search = TableSearch(domain, log_odds)
    models = _search_again(search, evidence, *_run_stages(search, evidence))
    candidates: dict[bytes, Candidate] = {}
    for scored in models[:PROGRAMS]:
        candidate = write_program(scored.model, evidence)
        key = candidate.labels.tobytes()
        if key not in candidates or candidate.cost < candidates[key].cost:
            candidates[key] = candidate
    cheapest_first = sorted(candidates.values(), key=lambda candidate: candidate.cost)
    return Findings(tuple(cheapest_first), search.scored)


def _run_stages(
    search: TableSearch, evidence: Evidence
) -> tuple[list[ScoredModel], list[ScoredModel]]:
    """Run stages until a model explains enough, or do the thorough search after the last.

    Returns:
      The models, the cheapest first; and those whose terms were exchanged, empty if a stage
      sufficed.
    """
    models: list[ScoredModel] = []
    tables: list[ScoredFeatures] = []
    searched: list[ScoredFeatures] = []
    for stage in (_refine_rows, _exchange_features, _refine_pairs):
        tables = stage(search, tables)
        for table in tables[:TABLES]:
            if not any(_are_alike(table, other) for other in searched):
                searched.append(table)
                models = _by_cost(models + _find_models(search, table.features, evidence))
        if _is_enough(models[0], evidence):
            return models, []
    exchanged = exchange_terms(models[0], evidence)
    searched.sort(key=lambda table: table.cost)
    for table in searched[:THOROUGH_TABLES]:
        models += _find_models(search, table.features, evidence, THOROUGH_PLANS)
    return _by_cost(models), [exchanged]


def _refine_rows(search: TableSearch, _: list[ScoredFeatures]) -> list[ScoredFeatures]:
    return search.run(search.starts_from_rows())


def _exchange_features(search: TableSearch, tables: list[ScoredFeatures]) -> list[ScoredFeatures]:
    return [search.exchange_two_for_one(table) for table in tables[:TABLES]]


def _refine_pairs(search: TableSearch, _: list[ScoredFeatures]) -> list[ScoredFeatures]:
    return _exchange_features(search, search.run(search.starts_from_pairs()))


def _search_again(
    search: TableSearch,
    evidence: Evidence,
    models: list[ScoredModel],
    exchanged: list[ScoredModel],
) -> list[ScoredModel]:
    """Search near the best model, with log-odds by its mistakes; return all models by cost."""
    best = models[0].model
    search.log_odds = model_log_odds(evidence, best)
    features = [search.refine(best.features).features]
    features += [best.features.without(boundary) for boundary in best.features.boundaries]
    for option in features:
        models = models + _find_models(search, option, evidence)
    models = _by_cost(models + exchanged)
    return _by_cost([*models, exchange_terms(models[0], evidence)])


def _by_cost(models: list[ScoredModel]) -> list[ScoredModel]:
    return sorted(models, key=lambda scored: scored.cost)


def _is_enough(best: ScoredModel, evidence: Evidence) -> bool:
    """Return True if a model leaves little unexplained."""
    cost, contradiction_rate = ENOUGH[evidence.margins_known]
    labels = best.model.labels()
    return (
        best.cost < cost * len(labels) and evidence.contradiction_rate(labels) < contradiction_rate
    )


def _are_alike(table: ScoredFeatures, other: ScoredFeatures) -> bool:
    """Return True if tables share periodic features, number of boundaries and about the cost."""
    (cost, features), (other_cost, others) = table, other
    return (
        set(features.periodic) == set(others.periodic)
        and len(features.boundaries) == len(others.boundaries)
        and abs(cost - other_cost) < SAME_COST
    )


def _find_models(
    search: TableSearch, features: Features, evidence: Evidence, max_plans: int = MAX_PLANS
) -> list[ScoredModel]:
    """Return refitted models with given features, up to their moduli."""
    log_odds = search.log_odds
    models = [
        assemble(variant, accumulator, search.domain)
        for variant in _modulus_variants(features, log_odds)
        for accumulator in find_accumulators(_table(variant, log_odds), ACCUMULATORS, max_plans)
    ]
    costs = [model_cost(model, log_odds) for model in models]
    return [
        refit(model, evidence)
        for model, cost in zip(models, costs, strict=True)
        if cost < min(costs) + MAX_COST_GAP
    ]


def _modulus_variants(features: Features, log_odds: Float[np.ndarray, "n"]) -> list[Features]:
    """Return the features as they are, and with the moduli that suit a sum of residues best.

    With a free label for each combination, moduli that divide the inputs equally finely cannot be
    distinguished; with a sum of residues they can.
    """
    options = []
    for feature in features.periodic:
        wave = feature.axis.waves[feature.index or 0]
        indices = [
            i
            for i, other in enumerate(feature.axis.waves)
            if replace(other, modulus=wave.modulus) == wave
        ]
        options.append([Periodic(feature.axis, i) for i in indices])
    variants = [replace(features, periodic=periodic) for periodic in product(*options)]
    variants.sort(key=lambda variant: -unguarded_value(_table(variant, log_odds)))
    distinct = {variant.periodic: variant for variant in (features, *variants[:VARIANTS])}
    return list(distinct.values())


def _table(features: Features, log_odds: Float[np.ndarray, "n"]) -> Float[np.ndarray, "sides sums"]:
    sides = [boundary.before for boundary in features.boundaries]
    zeros = np.zeros(len(log_odds), int)
    return make_table(sides, sum((wave.values for wave in features.periodic), zeros), log_odds)
