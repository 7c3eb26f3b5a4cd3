"""A key checked by interventions: what it says holds a variable, exchanged, must have its effect.

A key may be read and still be wrong: a direction can agree with a variable and do nothing. So each
component that the key names is taken from another input's run. The label must then be the one that
the program has, with the variable's value of the other input; or, in a look-up, the one that the
table has with the other input's place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int8

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.components import dual_directions
from jaxmi.explanation.network import Network
from jaxmi.judge.key_explanation import (
    KeyClaim,
    KeyClaims,
    claims_of,
    unreadable_refused,
)
from jaxmi.planted.accumulation import Accumulation, accumulation
from jaxmi.programs.domain import NumberDomain
from jaxmi.programs.variables import hypotheses
from jaxmi.settings import with_fixed_settings
from jaxmi.types import Params

EXCHANGES = 256
"""Exchanges of each component; half of them change the label if so many do."""

ENOUGH = 0.99
"""Least share of the exchanges after which the label is as predicted. In float32 all of them are;
a disguise's noise may cost a few."""

CANDIDATES = 16
"""Pairs that are drawn for each exchange that is made."""

Rows = Int[np.ndarray, "m"]
"""Numbers of inputs."""

UNKNOWN = -1

Prediction = Callable[[Rows, Rows], Int8[np.ndarray, "m"]]
"""Bases and sources -> the bases' labels once they have the sources' component, or `UNKNOWN`."""


@dataclass(frozen=True)
class Checked:
    """Outcome of exchanging one component of the key."""

    variable: str
    site: str
    exchanged: int
    """Number of pairs of inputs."""
    changing: int
    """Number of pairs on which the predicted label differs from the base's own."""
    as_predicted: int
    """Number of pairs on which the network's label is the predicted one."""


@with_fixed_settings
def check_key(
    key: Mapping[str, Any], challenge: Challenge, params: Params, seed: int = 0
) -> list[Checked]:
    """Check by interventions that a key is of a network.

    Args:
      key: The key, as `mechanism.json` has it.
      challenge: The network's challenge, with the program that was compiled.
      params: The network's parameters.
      seed: Seed of the pairs of inputs.

    Returns:
      The checks, one for each component that the key names.

    Raises:
      InputError: if the key does not fit the network, or a component that it names cannot be
        checked; names the variable.
    """
    with unreadable_refused():
        return _checks(key, challenge, params, seed)


def _checks(
    key: Mapping[str, Any], challenge: Challenge, params: Params, seed: int
) -> list[Checked]:
    found = claims_of(key, challenge, params)
    if not found.claims:
        raise InputError("the key does not fit the network: it names nothing that it holds")
    predictions = _predictions(found, challenge)
    network = Network(challenge.model, params, EXCHANGES)
    own = challenge.labels.astype(np.int8)
    checks = []
    for number, (claim, predict) in enumerate(zip(found.claims, predictions, strict=True)):
        rng = np.random.default_rng([seed, number])
        bases, sources = _pairs(predict, own, rng)
        if not len(bases):
            raise InputError(
                f"the key cannot be checked: no label follows from exchanging what it says holds "
                f"`{claim.variable}` at {claim.site}"
            )
        expected = predict(bases, sources)
        right = _exchange(network, challenge, claim, bases, sources) == expected
        checks.append(
            Checked(
                claim.variable,
                claim.site,
                len(bases),
                int((expected != own[bases]).sum()),
                int(right.sum()),
            )
        )
        if right.mean() < ENOUGH:
            raise InputError(
                f"the key does not fit the network: exchanging what it says holds "
                f"`{claim.variable}` at {claim.site} gives the label that follows on only "
                f"{int(right.sum())} of {len(right)} pairs"
            )
    return checks


def _pairs(
    predict: Prediction, own: Int8[np.ndarray, "n"], rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Draw pairs, half of which change the label, as far as there are such."""
    bases, sources = rng.integers(0, len(own), (2, CANDIDATES * EXCHANGES))
    predicted = predict(bases, sources)
    changes = (predicted != own[bases]) & (predicted != UNKNOWN)
    changing, others = np.flatnonzero(changes), np.flatnonzero(predicted == own[bases])
    changing = changing[: EXCHANGES // 2]
    chosen = np.concatenate([changing, others[: EXCHANGES - len(changing)]])
    return bases[chosen], sources[chosen]


def _exchange(
    network: Network, challenge: Challenge, claim: KeyClaim, bases: Rows, sources: Rows
) -> Int8[np.ndarray, "m"]:
    """Return each base's label with the claim's component of its source."""
    inputs = challenge.inputs
    values = network.read(inputs[bases], (claim.site,))[claim.site].copy()
    others = network.read(inputs[sources], (claim.site,))[claim.site]
    here, there = values[:, claim.position], others[:, claim.position]
    if claim.directions is None:
        here[:, list(claim.neurons)] = there[:, list(claim.neurons)]
    else:
        duals = dual_directions(claim.directions, f"the directions of {claim.variable}")
        change = (there.astype(np.float64) - here) @ claim.directions.T @ duals.T
        here += change.astype(here.dtype)
    return network.patched(inputs[bases], {claim.site: values}).argmax(axis=-1).astype(np.int8)


def _predictions(found: KeyClaims, challenge: Challenge) -> list[Prediction]:
    """Return for each claim what an exchange should do."""
    domain = challenge.program_domain
    assert isinstance(domain, NumberDomain)  # others have no claims
    if any(claim.form == "place" for claim in found.claims) or challenge.program is None:
        return _of_look_up(found.claims, domain)
    read = accumulation(challenge.program, domain)
    labels = {
        one.variable.name: one.variable.labels for one in hypotheses(challenge.program, domain)
    }
    predictions = []
    for claim in found.claims:
        by_sum = _of_summand(read, claim)
        by_program = labels.get(claim.variable) if claim.full else None
        if by_program is None and by_sum is None:
            raise InputError(f"the key does not fit the program, which adds no `{claim.variable}`")
        if by_program is None or by_sum is None:  # a part of a guard is in no sum by itself
            predictions.append(by_sum or by_program)
        else:
            predictions.append(_both(by_program, by_sum))
    return predictions


def _both(by_program: Callable[[Rows, Rows], np.ndarray], by_sum: Prediction) -> Prediction:
    """Return the program's prediction where the sum gives one."""
    return lambda bases, sources: np.where(
        by_sum(bases, sources) == UNKNOWN, UNKNOWN, by_program(bases, sources)
    ).astype(np.int8)


def _of_summand(read: Accumulation, claim: KeyClaim) -> Prediction | None:
    """Predict from the sum alone: a part gets the source's value, and all others keep theirs.

    None if the variable is no part of the sum, and not the sum.

    No label is predicted of a sum that lies between those that inputs have on both sides of the
    threshold: a network that gives every label may have its threshold anywhere there.
    """
    sums = np.full(claim.values.size, float(read.const))
    for one in read.summands:
        sums += one.weight * one.values.reshape(-1)
    below = sums[sums < read.threshold].max(initial=-np.inf)
    above = sums[sums > read.threshold].min(initial=np.inf)

    def predicted(sums: Float[np.ndarray, "m"]) -> Int8[np.ndarray, "m"]:
        between = (sums > below) & (sums < above)
        return np.where(between, UNKNOWN, (sums > read.threshold) == read.above).astype(np.int8)

    if np.array_equal(claim.values, sums):
        return lambda bases, sources: predicted(sums[sources])
    for one in read.summands:
        own = one.values.reshape(-1)
        low, high = own.argmin(), own.argmax()
        rise = claim.values[high] - claim.values[low]
        if rise and np.allclose(
            (own - own[low]) * rise, (claim.values - claim.values[low]) * (own[high] - own[low])
        ):
            return lambda bases, sources, own=own, weight=one.weight: predicted(
                sums[bases] + weight * (own[sources] - own[bases])
            )
    return None


def _of_look_up(claims: Sequence[KeyClaim], domain: NumberDomain) -> list[Prediction]:
    """Predict from places: those at most the operand count 1 and -1 in turn, and 1 in sum is 1."""
    x, y = (one.reshape(-1) for one in np.indices(domain.shape))
    operand = next((claim for claim in claims if claim.form != "place"), None)
    if operand is None:
        raise InputError("the key does not fit the network: it names no operand of the look-up")
    along = x if np.array_equal(operand.values, x) else y
    tables = {one.variable: one.values for one in claims if one.directions is not None}
    tables.pop(operand.variable, None)
    if not tables:
        raise InputError("the key does not fit the network: it names no place of the look-up")
    signs = {name: 1 - 2 * (k % 2) for k, name in enumerate(tables)}

    def passed(name: str, place_of: Rows, along_of: Rows) -> Int[np.ndarray, "m"]:
        return signs[name] * (tables[name][place_of] <= along[along_of])

    def of_operand(bases: Rows, sources: Rows) -> Int8[np.ndarray, "m"]:
        return (np.add.reduce([passed(name, bases, sources) for name in tables]) > 0).astype(
            np.int8
        )

    def of_place(claim: KeyClaim) -> Prediction:
        def predict(bases: Rows, sources: Rows) -> Int8[np.ndarray, "m"]:
            kept = [passed(name, bases, bases) for name in tables if name != claim.variable]
            # The direction brings the source's place, and the neurons what came of comparing it.
            place_along = bases if claim.directions is not None else sources
            moved = passed(claim.variable, sources, place_along)
            return (np.add.reduce([*kept, moved]) > 0).astype(np.int8)

        return predict

    return [of_operand if claim.form != "place" else of_place(claim) for claim in claims]
