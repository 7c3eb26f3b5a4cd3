"""Submitted explanations: the schema of the JSON file, and the check of every part of it.

A submission says which feature of the input each component of a network carries. Everything is
checked here, before anything is computed; docs/explanations.md describes the format for its users.
"""

import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import jax

from jaxmi.challenges.registry import KINDS, Origin
from jaxmi.judge.strict_json import Value, read_json, shown
from jaxmi.planted.compile import MECHANISMS
from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError
from jaxmi.programs.parse import RESERVED, parse

MAX_CLAIMS = 64
"""Most claims in a submission; each is carried out several times."""

MAX_NAMES = 32
"""Most names that an object may define."""

MAX_EXPRESSION = 2000
"""Longest expression, in characters."""

MAX_WEIGHT = 1e6
"""Largest weight of a readout, in magnitude: any direction can be written with smaller ones."""


@dataclass(frozen=True)
class Readout:
    """A number that is read off the network linearly; expressions may use its name."""

    site: str
    place: tuple[int, ...]
    """A position on each axis of the site but the last."""
    weights: tuple[float, ...]
    """Weights on all of the last axis, or on the first principal components there."""
    on_pca: bool
    """Whether the weights are on principal components, centred, over the inputs."""


@dataclass(frozen=True)
class SubmittedComponent:
    """What a claim is about: positions on a site's axes, or directions in its last axis."""

    index: tuple[tuple[int, ...], ...]
    """Positions on each axis of the site; for directions, one position on each but the last."""
    pca: tuple[int, ...] = ()
    """Numbers of principal components, if the claim is about these."""
    readouts: tuple[str, ...] = ()
    """Names of readouts, if the claim is about these."""


@dataclass(frozen=True)
class SubmittedClaim:
    """The claim that a component carries nothing of the input but a feature."""

    site: str
    component: SubmittedComponent
    feature: str
    """The expression as it was written."""
    program: lang.Program
    """Computes the feature: the definitions that it needs, and the expression."""
    near: float | None = None
    """Donors have nearly the same value: standard deviation of the noise, as a share of the
    feature's range. None: exactly the same value."""
    where: str | None = None
    """The claim is about the inputs for which this expression holds, and its donors are among
    these. None: all inputs."""
    where_program: lang.Program | None = None
    """Computes the condition."""

    @property
    def names(self) -> frozenset[str]:
        """Every name that the feature or the condition depends on."""
        programs = (self.program, self.where_program)
        return frozenset(
            name for program in programs if program is not None for name in lang.names_in(program)
        )


@dataclass(frozen=True)
class Explanation:
    """A checked submission."""

    challenge: str
    title: str
    readouts: Mapping[str, Readout]
    claims: tuple[SubmittedClaim, ...]
    mechanism: str | None = None
    """The mechanism that the network is said to have, one of `planted.compile.MECHANISMS`; None if
    nothing is said of it. Only a score against a planted network's key asks for it."""


Axes = Mapping[str, int]
"""A site's axes in order: name -> size."""


@cache
def site_axes(origin: Origin) -> Mapping[str, Axes]:
    """Return the sites of a challenge's network, in the order in which they are computed."""
    kind = KINDS[origin.kind]
    _, activations = jax.eval_shape(
        lambda params: origin.model.apply({"params": params}, kind.example), origin.param_shapes
    )
    return {
        site: dict(zip(names, activations[site].shape, strict=True))
        for site, names in kind.sites.items()
        if site in activations
    }


def read_explanation(source: str | Path, challenge_name: str, origin: Origin) -> Explanation:
    """Read a submission and check it.

    Args:
      source: JSON text, or the file that holds it.
      challenge_name: The challenge that the explanation is judged on.
      origin: The kind of that challenge, and its network.

    Raises:
      InputError: at the first fault, in one line that names its place in the file.
    """
    axes, kind = site_axes(origin), origin.kind
    submission = read_json(source)
    parts = submission.members(
        ("challenge", "claims"), ("title", "mechanism", "definitions", "readouts")
    )
    if parts["challenge"].text(100) != challenge_name:
        given = shown(parts["challenge"].value)
        parts["challenge"].fail(f"{given}, but this is judged on {challenge_name!r}")
    readouts = {
        name: _readout(value, axes) for name, value in new_names(parts.get("readouts"), kind, ())
    }
    expressions = Expressions(kind, tuple(readouts))
    for name, value in new_names(parts.get("definitions"), kind, tuple(readouts)):
        expressions.define(name, value)
    claims = tuple(
        _claim(value, axes, readouts, expressions) for value in parts["claims"].elements(MAX_CLAIMS)
    )
    title = parts["title"].text(200) if "title" in parts else "untitled"
    mechanism = parts["mechanism"].one_of(list(MECHANISMS)) if "mechanism" in parts else None
    return Explanation(challenge_name, title, readouts, claims, mechanism)


def _readout(value: Value, axes: Mapping[str, Axes]) -> Readout:
    site = _site(value, axes)
    *outer, last = axes[site]
    parts = value.members(("site", *outer), ("pca", last))
    if ("pca" in parts) == (last in parts):
        value.fail(f"give weights under one of 'pca' and {last!r}")
    on_pca = "pca" in parts
    size = axes[site][last]
    weights = parts["pca" if on_pca else last].elements(size)
    if not on_pca and len(weights) != size:
        parts[last].fail(f"{len(weights):,} weights, expected {size:,}")
    numbers = tuple(weight.number(-MAX_WEIGHT, MAX_WEIGHT) for weight in weights)
    if not any(numbers):
        value.fail("all weights are 0")
    place = tuple(parts[axis].position(axes[site][axis]) for axis in outer)
    return Readout(site, place, numbers, on_pca)


def _claim(
    value: Value,
    axes: Mapping[str, Axes],
    readouts: Mapping[str, Readout],
    expressions: "Expressions",
) -> SubmittedClaim:
    parts = value.members(("site", "components", "feature"), ("match", "where"))
    site = _site(value, axes)
    where = parts.get("where")
    return SubmittedClaim(
        site,
        _component(parts["components"], site, axes[site], readouts),
        parts["feature"].text(MAX_EXPRESSION),
        expressions.read(parts["feature"]),
        _noise(parts.get("match")),
        None if where is None else where.text(MAX_EXPRESSION),
        None if where is None else expressions.read(where),
    )


def _site(value: Value, axes: Mapping[str, Axes]) -> str:
    if "site" not in value.keys():  # noqa: SIM118 - a Value is no mapping
        value.fail("'site' is missing")
    return value.member("site").one_of(list(axes))


def _noise(match: Value | None) -> float | None:
    if match is None or match.value == "same":
        return None
    if not isinstance(match.value, dict):
        match.fail(f'expected "same" or {{"near": noise}}, not {shown(match.value)}')
    return match.members(("near",), ())["near"].number(0, 1)


def _component(
    value: Value, site: str, axes: Axes, readouts: Mapping[str, Readout]
) -> SubmittedComponent:
    everything = tuple(tuple(range(size)) for size in axes.values())
    if value.value == "all":
        return SubmittedComponent(everything)
    parts = value.members((), (*axes, "pca", "readouts"))
    *outer, last = axes
    directions = [key for key in ("pca", "readouts") if key in parts]
    if len(directions) + (last in parts) > 1:
        value.fail(f"give one of {last!r}, 'pca' and 'readouts'")
    if not parts:
        value.fail('names no component; write "all" for all of them')
    index = tuple(
        _positions(parts[axis], size) if axis in parts else full
        for (axis, size), full in zip(axes.items(), everything, strict=True)
    )
    if not directions:
        return SubmittedComponent(index)
    for axis, positions in zip(outer, index, strict=False):
        if len(positions) != 1:
            value.fail(f"{directions[0]} of one {axis}: give it as a number")
    if directions == ["pca"]:
        return SubmittedComponent(index[:-1], pca=_positions(parts["pca"], axes[last]))
    place = site, tuple(positions[0] for positions in index[:-1])
    here = [name for name, readout in readouts.items() if (readout.site, readout.place) == place]
    names = [name.one_of(here) for name in parts["readouts"].elements(MAX_NAMES)]
    if len(set(names)) < len(names):
        parts["readouts"].fail("a name twice")
    return SubmittedComponent(index[:-1], readouts=tuple(names))


def _positions(value: Value, size: int) -> tuple[int, ...]:
    """Read a number, a range "2:128", or a list of these."""
    entries = value.elements(size) if isinstance(value.value, list) else [value]
    positions: list[int] = []
    for entry in entries:
        if not isinstance(entry.value, str):
            positions.append(entry.position(size))
            continue
        ends = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", entry.value)
        if not ends or not int(ends[1]) < int(ends[2]) <= size:
            entry.fail(f'expected a range within "0:{size}", not {shown(entry.value)}')
        positions += range(int(ends[1]), int(ends[2]))
    if len(set(positions)) < len(positions):
        value.fail("a position twice")
    return tuple(sorted(positions))


class Expressions:
    """Reads expressions of the language; they may use the definitions given so far."""

    def __init__(self, kind: lang.Kind, readouts: tuple[str, ...]) -> None:
        """Start without definitions.

        Args:
          kind: The kind of the programs, which fixes the names of the inputs.
          readouts: Further names that expressions may use.
        """
        self._kind: lang.Kind = kind
        self._readouts = readouts
        self._lines: list[str] = []

    def define(self, name: str, value: Value) -> None:
        """Add the definition `name = expression`.

        Raises:
          InputError: if the value is no expression of the language.
        """
        line = f"{name} = {value.text(MAX_EXPRESSION)}"
        body = self._parse([line, "return 0"], value, len(f"{name} = ")).body
        if len(body) != len(self._lines) + 2:
            value.fail("expected one expression, and nothing after it")
        self._lines.append(line)

    def read(self, value: Value) -> lang.Program:
        """Return the program of an expression, with only the definitions that it needs.

        Raises:
          InputError: if the value is no expression of the language.
        """
        text = value.text(MAX_EXPRESSION)
        program = self._parse([f"return {text}"], value, len("return "))
        if len(program.body) != len(self._lines) + 1:
            value.fail("expected one expression, and nothing after it")
        *definitions, result = program.body
        needed, body = lang.names_in(result), [result]
        for definition in reversed(definitions):
            assert isinstance(definition, lang.Assign)
            if definition.name in needed:
                needed |= lang.names_in(definition)
                body.insert(0, definition)
        return replace(program, body=tuple(body))

    def _parse(self, lines: list[str], value: Value, before: int) -> lang.Program:
        """Parse lines after the definitions; columns in messages count from after `before`."""
        try:
            return parse("\n".join([*self._lines, *lines]), self._kind, self._readouts)
        except ProgramError as error:
            message = str(error).split(": ", 1)[1]
            value.fail(f"line 1, column {max(error.position.column - before, 1)}: {message}")


def new_names(
    value: Value | None, kind: lang.Kind, taken: tuple[str, ...]
) -> Iterator[tuple[str, Value]]:
    """Yield the names that an object defines, each with its value.

    Args:
      value: The object; None defines no names.
      kind: The kind of the programs: names of its inputs are reserved.
      taken: Names that are defined already.

    Raises:
      InputError: if the value is no object, or a key is not a free name.
    """
    keys = [] if value is None else value.keys()
    reserved = {*lang.INPUTS[kind], *RESERVED}
    for number, key in enumerate(keys):
        assert value is not None
        if number >= MAX_NAMES:
            value.fail(f"{len(keys):,} names, expected at most {MAX_NAMES}")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", key) or keyword.iskeyword(key):
            value.fail(f"{shown(key)} is no name: use letters, digits and _, at most 40")
        if key in reserved or key in taken:
            value.fail(f"the name {key!r} is taken")
        yield key, value.member(key)
