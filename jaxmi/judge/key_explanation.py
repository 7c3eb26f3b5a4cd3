"""The key of a planted network as an explanation: what holds which variable, written as claims.

A key says which directions and neurons hold which variable. `claims_of` reads each variable's
values off the network there, and names the variable in the language of explanations, so that the
name gives these values; `explanation_of` writes the same down as a submission. It is the
explanation that a participant who understands the network fully could give.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.network import Network
from jaxmi.judge.submission import MAX_CLAIMS, MAX_NAMES
from jaxmi.programs import language as lang
from jaxmi.programs.domain import NumberDomain
from jaxmi.programs.evaluate import EvaluationError, evaluate
from jaxmi.programs.expressions import Expressions, expressions_of
from jaxmi.programs.show import show_expression
from jaxmi.types import Params

CHUNK = 256
"""Inputs whose activations are computed at once."""

NEAR = 0.2
"""A value that is read off the network may differ by this from the one that its name gives: float32
and a disguise's noise. Values of programs are 0.5 apart or more."""

_NAME = r"(?:\w+ [-+]= )?{}(?: at line \d+)?"
"""Pattern of the names that keys give a part of a program, with a place for its text."""

DIGITS = 7
"""Significant digits of a readout's weights."""


@dataclass(frozen=True, eq=False)
class KeyClaim:
    """What a key says of one component of the network."""

    variable: str
    """The variable, as the key names it."""
    site: str
    position: int
    """The position of the token."""
    directions: Float[np.ndarray, "k d_model"] | None
    """Directions of the residual stream; None if the claim is about neurons."""
    neurons: tuple[int, ...]
    """Neurons; none if the claim is about directions."""
    feature: str
    """An expression that gives the variable, in the language of explanations."""
    values: Float[np.ndarray, "n"]
    """What the expression gives on each input, in the order of the challenge's inputs."""
    held: Float[np.ndarray, "n k"] | None = None
    """The whole numbers that the directions hold, of which the variable is a function: y - t(x) of
    a boundary, say. None if they are not whole, or the claim is about neurons."""
    form: str = "number"
    """How the variable is held, as the key says: boundary, number, place and so on."""
    full: bool = True
    """Whether setting the variable there has every effect that the program says."""


@dataclass(frozen=True, eq=False)
class KeyClaims:
    """All that a key says, as claims, and the definitions that their features need."""

    mechanism: str
    claims: Sequence[KeyClaim]
    definitions: Mapping[str, str]


def claims_of(key: Mapping[str, Any], challenge: Challenge, params: Params) -> KeyClaims:
    """Return what a key says of its network as claims; what is held twice in one place, once.

    Args:
      key: The key, as `mechanism.json` has it.
      challenge: The network's challenge, on pairs. Its program, if it has one, names the variables.
      params: The network's parameters.

    Raises:
      InputError: if the key does not fit the network: a direction or neurons hold something else;
        or if it is the key of a trained plant, or of a network on images.
    """
    with unreadable_refused():
        return _claims_of(key, challenge, params)


@contextmanager
def unreadable_refused() -> Iterator[None]:
    """Turn what fails while a key is used into an error about the key: anyone may write one.

    Raises:
      InputError: if something fails; says what.
    """
    try:
        yield
    except InputError:
        raise
    except _MALFORMED as error:
        raise InputError(f"the key cannot be read: {error!r:.100}") from error


_MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What a malformed key makes fail."""


def _claims_of(key: Mapping[str, Any], challenge: Challenge, params: Params) -> KeyClaims:
    if not isinstance(challenge.program_domain, NumberDomain):
        raise InputError("keys of networks on images cannot be written as claims")
    if any(one["form"] == "trained" for one in key["variables"]):
        raise InputError(
            "the key of a trained plant cannot be written as claims: its variables are held only "
            "nearly"
        )
    position, neurons_at = int(key["position"]), str(key["neurons_at"])
    held = [one for one in key["variables"] if one["held"]]
    places = {str(one.get("neurons_at", neurons_at)) for one in held if one["neurons"]}
    sites = sorted({*places, *(str(one["site"]) for one in held)})
    read = Network(challenge.model, params, CHUNK).read(challenge.inputs, sites)
    activations = {site: read[site][:, position].astype(np.float64) for site in sites}
    names = _Names(challenge)
    claims: dict[tuple[Any, ...], KeyClaim] = {}
    for one in held:
        of_neurons = str(one.get("neurons_at", neurons_at))
        for claim in _claims(one, position, of_neurons, activations, names):
            directions = None if claim.directions is None else claim.directions.tobytes()
            claims.setdefault((claim.site, directions, claim.neurons), claim)
    found = list(claims.values())
    return KeyClaims(str(key["mechanism"]), found, names.definitions())


def explanation_of(
    key: Mapping[str, Any],
    challenge: Challenge,
    params: Params,
    title: str = "The key",
    parts: Sequence[str] = ("directions", "neurons"),
) -> dict[str, Any]:
    """Return a key as a submitted explanation, in JSON types.

    Args:
      key: The key, as `mechanism.json` has it.
      challenge: The network's challenge.
      params: The network's parameters.
      title: The explanation's title.
      parts: Claim these only: "directions", "neurons", or both.

    Raises:
      InputError: as `claims_of`, or if the key has more to say than an explanation may.
    """
    found = claims_of(key, challenge, params)
    chosen = [
        claim
        for claim in found.claims
        if ("neurons" if claim.directions is None else "directions") in parts
    ]
    readouts: dict[str, Any] = {}
    names: dict[tuple[str, bytes], str] = {}  # a direction that two claims share is one readout
    claims = []
    for claim in chosen:
        components: dict[str, Any] = {"pos": claim.position}
        if claim.directions is None:
            components["neuron"] = list(claim.neurons)
        else:
            components["readouts"] = []
            for direction in claim.directions:
                name = names.setdefault((claim.site, direction.tobytes()), f"r{len(readouts)}")
                weights = [float(f"{weight:.{DIGITS}g}") for weight in direction]
                readouts[name] = {"site": claim.site, "pos": claim.position, "d_model": weights}
                components["readouts"].append(name)
        claims.append({"site": claim.site, "components": components, "feature": claim.feature})
    _check_number(len(claims), len(readouts))
    return {
        "challenge": challenge.name,
        "title": title,
        "mechanism": found.mechanism,
        **({"definitions": dict(found.definitions)} if found.definitions else {}),
        **({"readouts": readouts} if readouts else {}),
        "claims": claims,
    }


def check_fits(key: Mapping[str, Any]) -> None:
    """Check that an explanation may name all that a key lists.

    Raises:
      InputError: if the key has more to say than an explanation may.
    """
    held = [one for one in key["variables"] if one["held"]]
    directions = {(one["site"], json.dumps(one["directions"])): one["directions"] for one in held}
    neurons = {(one.get("neurons_at"), *sorted(one["neurons"])) for one in held if one["neurons"]}
    claims = sum(map(bool, directions.values())) + len(neurons)
    _check_number(claims, sum(map(len, directions.values())))


def _check_number(claims: int, directions: int) -> None:
    if claims > MAX_CLAIMS or directions > MAX_NAMES:
        raise InputError(
            f"the key has {claims} claims and {directions} directions: more than the {MAX_CLAIMS} "
            f"and {MAX_NAMES} that an explanation may have"
        )


def _claims(
    one: Mapping[str, Any],
    position: int,
    neurons_at: str,
    activations: Mapping[str, Float[np.ndarray, "n d"]],
    names: "_Names",
) -> Iterator[KeyClaim]:
    """Yield the claims about one variable: of its directions, and of its neurons."""
    variable, site = str(one["name"]), str(one["site"])
    size = activations[site].shape[1]
    directions = np.zeros((len(one["directions"]), size))
    for row, entries in zip(directions, one["directions"], strict=True):
        row[[int(i) for i in entries]] = list(entries.values())
    neurons = {int(i): float(factor) for i, factor in one["neurons"].items()}
    numbers = activations[site] @ directions.T
    values = None
    if neurons:
        factors = np.array(list(neurons.values()))
        values = activations[neurons_at][:, list(neurons)] @ factors + float(one["offset"])
    if one["form"] == "place":
        if values is None or not len(directions):
            raise InputError(f"the key names no direction, or no neurons, of `{variable}`")
        (feature, held), below = names.place(variable, numbers[:, 0], values)
    else:
        read = values
        if read is None and one["form"] == "boundary":
            read = (numbers[:, 0] > -NEAR).astype(np.float64)  # it holds where it is at least 0
        elif read is None:
            read = float(one.get("factor", 1)) * numbers[:, 0] + float(one["shift"])
        feature, held = below = names.of(variable, read)
    form, full = str(one["form"]), bool(one["full"])
    if len(directions):
        rounded = np.rint(numbers)
        whole = rounded if np.abs(rounded - numbers).max() < NEAR else None
        yield KeyClaim(variable, site, position, directions, (), feature, held, whole, form, full)
    if neurons:
        those = tuple(sorted(neurons))
        yield KeyClaim(variable, neurons_at, position, None, those, *below, form=form, full=full)


Named = tuple[str, Float[np.ndarray, "n"]]
"""An expression's text, and its values."""


class _Names:
    """The language's names for what a network holds."""

    def __init__(self, challenge: Challenge) -> None:
        self._domain = challenge.program_domain
        self._shape = tuple(challenge.grid or ())
        program = challenge.program
        self._program = Expressions([], {}) if program is None else expressions_of(program)
        operands = [lang.Name(name) for name in ("x", "y")]
        self._parts = [*((one.name, one) for one in operands), *self._program.parts]
        self._used: list[lang.Expression] = []

    def of(self, variable: str, held: Float[np.ndarray, "n"]) -> Named:
        """Return the expression that gives what is held; one of the variable's name if there is.

        Raises:
          InputError: if none does.
        """
        of_name = [
            part for part in self._parts if re.fullmatch(_NAME.format(re.escape(part[0])), variable)
        ]
        others = [part for part in self._parts if part not in of_name]
        for _, expression in (*of_name, *others):
            values = self._values(expression)
            if values is not None and np.abs(values - held).max() < NEAR:
                self._used.append(expression)
                return show_expression(expression), values
        raise InputError(f"the key does not fit the network: it holds no `{variable}` there")

    def place(
        self, variable: str, number: Float[np.ndarray, "n"], held: Float[np.ndarray, "n"]
    ) -> tuple[Named, Named]:
        """Return what gives a place, and what gives whether the other operand lies below it.

        Raises:
          InputError: if the direction and the neurons hold something else.
        """
        places = np.rint(number)
        grid = places.reshape(self._shape)
        x, y = (one.reshape(-1) for one in np.indices(self._shape))
        for by, along, rows, others, table in (
            ("x", "y", x, y, grid[:, 0]),
            ("y", "x", y, x, grid[0]),
        ):
            below = (others < table[rows]).astype(np.float64)
            near = np.abs(table[rows] - number).max() < NEAR and np.abs(below - held).max() < NEAR
            if near:
                text = f"({', '.join(str(int(place)) for place in table)})[{by}]"
                return (text, places), (f"{along} < {text}", below)
        raise InputError(f"the key does not fit the network: it holds no `{variable}` there")

    def definitions(self) -> dict[str, str]:
        """Return the definitions that the expressions so far need, in order, as texts."""
        needed = self._program.needed(*self._used)
        return {name: show_expression(expression) for name, expression in needed.items()}

    def _values(self, expression: lang.Expression) -> Float[np.ndarray, "n"] | None:
        """Return what an expression gives; None if it fails on an input."""
        needed = self._program.needed(expression)
        body = (*(lang.Assign(*one) for one in needed.items()), lang.Return(expression))
        try:
            values = evaluate(lang.Program("pairs", body), self._domain)
            return values.astype(np.float64)
        except (EvaluationError, OverflowError):
            return None
