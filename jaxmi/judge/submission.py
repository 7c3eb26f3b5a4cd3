"""An explanation as it is submitted: which feature each component of a network computes.

The schema, and the check of every part of it before anything is computed. docs/explanations.md
describes it for those who write one.

The expressions of a submission: features and conditions, over names that it defines.

Where in each challenge's network claims can be made: sites, their axes and sizes.
"""

import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import jax

from jaxmi.challenges.registry import param_shapes, registered
from jaxmi.judge.strict_json import Value, read_json, shown
from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError
from jaxmi.programs.parse import MODULES, parse

MAX_NAMES = 32
"""How many names an object may define."""

MAX_EXPRESSION = 2000
"""Length of an expression, in characters."""


class Expressions:
    """Reads expressions of the language, over the definitions given so far."""

    def __init__(self, kind: lang.Kind, extra: tuple[str, ...]) -> None:
        """Takes what programs label, and the names of what they are given beside."""
        self._kind: lang.Kind = kind
        self._extra = extra
        self._lines: list[str] = []

    def define(self, name: str, value: Value) -> None:
        """Takes up `name = expression`.

        Raises:
          InputError: if it is no expression of the language.
        """
        line = f"{name} = {value.text(MAX_EXPRESSION)}"
        body = self._parse([line, "return 0"], value, len(f"{name} = ")).body
        if len(body) != len(self._lines) + 2:
            value.fail("one expression, and nothing after it")
        self._lines.append(line)

    def read(self, value: Value) -> lang.Program:
        """Returns the program of an expression, with no more definitions than it needs.

        Raises:
          InputError: if it is no expression of the language.
        """
        text = value.text(MAX_EXPRESSION)
        program = self._parse([f"return {text}"], value, len("return "))
        if len(program.body) != len(self._lines) + 1:
            value.fail("one expression, and nothing after it")
        *definitions, answer = program.body
        needed, body = names_in(answer), [answer]
        for definition in reversed(definitions):
            assert isinstance(definition, lang.Assign)
            if definition.name in needed:
                needed |= names_in(definition)
                body.insert(0, definition)
        return replace(program, body=tuple(body))

    def _parse(self, lines: list[str], value: Value, before: int) -> lang.Program:
        try:
            return parse("\n".join([*self._lines, *lines]), self._kind, self._extra)
        except ProgramError as error:
            message = str(error).split(": ", 1)[1]
            value.fail(f"line 1, column {max(error.position.column - before, 1)}: {message}")


def named(
    value: Value | None, kind: lang.Kind, taken: tuple[str, ...]
) -> Iterator[tuple[str, Value]]:
    """Goes through an object whose keys are names of the submission's own: each with its value.

    Args:
      value: The object; None has no keys.
      kind: What programs label: its inputs are no free names.
      taken: Names that are given already.

    Raises:
      InputError: if it is no object, or a key is no name that is free.
    """
    keys = [] if value is None else value.keys()
    reserved = {*lang.INPUTS[kind], *lang.FUNCTIONS, *lang.IMAGE_FUNCTIONS, lang.TEMPLATE, *MODULES}
    for number, key in enumerate(keys):
        assert value is not None
        if number >= MAX_NAMES:
            value.fail(f"{len(keys):,} names, expected at most {MAX_NAMES}")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", key) or keyword.iskeyword(key):
            value.fail(f"{shown(key)} is no name: letters, digits and _, at most 40")
        if key in reserved or key in taken:
            value.fail(f"the name {key!r} is taken")
        yield key, value.member(key)


def names_in(node: lang.Node) -> set[str]:
    """Returns the names that stand in a part of a program."""
    return {part.name for part in lang.walk(node) if isinstance(part, lang.Name)}


Axes = Mapping[str, int]
"""A site's axes in order: name -> size."""

POSITIONS = ("pos", "query", "key", "height", "width")
"""Axes that say where something is; the others are of components."""


@cache
def site_axes(challenge_name: str) -> Mapping[str, Axes]:
    """Returns the sites of a challenge's network, in the order in which they are computed.

    Raises:
      InputError: if there is no such challenge.
    """
    params = param_shapes(challenge_name)
    entry = registered(challenge_name)
    _, activations = jax.eval_shape(
        lambda params: entry.model.apply({"params": params}, entry.example), params
    )
    return {
        site: dict(zip(names, activations[site].shape, strict=True))
        for site, names in entry.sites.items()
    }


MAX_CLAIMS = 32
"""How many; each is carried out several times."""

LARGEST_WEIGHT = 1e6
"""Of a readout: any direction can be written with smaller ones."""


@dataclass(frozen=True)
class Readout:
    """A number that is read off the network linearly; features may name it."""

    site: str
    place: tuple[int, ...]
    """A position on each axis of the site but the last."""
    weights: tuple[float, ...]
    """On the last axis, all of it; or on the first so many principal components there."""
    on_pca: bool
    """Whether the weights are on principal components, centred, over the domain."""


@dataclass(frozen=True)
class Components:
    """What a claim is about: positions on each axis, or directions in the last one."""

    index: tuple[tuple[int, ...], ...]
    """Positions on each axis of the site; for directions, on each but the last, one each."""
    pca: tuple[int, ...] = ()
    """Which principal components."""
    readouts: tuple[str, ...] = ()
    """Which named readouts."""


@dataclass(frozen=True)
class SubmittedClaim:
    """These components carry nothing of the input but this feature."""

    site: str
    components: Components
    feature: str
    """The expression as it was written."""
    program: lang.Program
    """What computes the feature: the definitions that it needs, and the expression."""
    near: float | None = None
    """Donors have nearly the same value: noise, as a share of the range. None: the very same."""
    where: str | None = None
    """The claim is about the inputs for which this holds, and donors are of those; None: all."""
    where_program: lang.Program | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every name that the feature or the condition depends on."""
        programs = (self.program, self.where_program)
        return frozenset(
            name for program in programs if program is not None for name in names_in(program)
        )


@dataclass(frozen=True)
class Explanation:
    """A whole submission."""

    challenge: str
    title: str
    readouts: Mapping[str, Readout]
    claims: tuple[SubmittedClaim, ...]


def read_explanation(source: str | Path, challenge_name: str) -> Explanation:
    """Reads a submission and checks it.

    Args:
      source: JSON, or the file that holds it.
      challenge_name: The challenge that it is to be judged on.

    Raises:
      InputError: at the first thing that is wrong; one line that names the place.
    """
    kind, axes = lang.KINDS.get(challenge_name), site_axes(challenge_name)
    assert kind is not None
    whole = read_json(source)
    parts = whole.members(("challenge", "claims"), ("title", "definitions", "readouts"))
    if parts["challenge"].text(100) != challenge_name:
        parts["challenge"].fail(f"{shown(parts['challenge'].value)}, but it is {challenge_name!r}")
    readouts = {
        name: _readout(value, axes) for name, value in named(parts.get("readouts"), kind, ())
    }
    reader = Expressions(kind, tuple(readouts))
    for name, value in named(parts.get("definitions"), kind, tuple(readouts)):
        reader.define(name, value)
    claims = tuple(
        _claim(value, axes, readouts, reader) for value in parts["claims"].elements(MAX_CLAIMS)
    )
    title = parts["title"].text(200) if "title" in parts else "untitled"
    return Explanation(challenge_name, title, readouts, claims)


def _readout(value: Value, axes: Mapping[str, Axes]) -> Readout:
    site = _site(value, axes)
    *outer, last = axes[site]
    parts = value.members(("site", *outer), ("pca", last))
    if ("pca" in parts) == (last in parts):
        value.fail(f"weights on one of 'pca' and {last!r}")
    on_pca = "pca" in parts
    size = axes[site][last]
    weights = parts["pca" if on_pca else last].elements(size)
    if not on_pca and len(weights) != size:
        parts[last].fail(f"{len(weights):,} weights, expected {size:,}")
    numbers = tuple(weight.number(-LARGEST_WEIGHT, LARGEST_WEIGHT) for weight in weights)
    if not any(numbers):
        value.fail("all weights are 0")
    place = tuple(parts[axis].position(axes[site][axis]) for axis in outer)
    return Readout(site, place, numbers, on_pca)


def _claim(
    value: Value, axes: Mapping[str, Axes], readouts: Mapping[str, Readout], reader: Expressions
) -> SubmittedClaim:
    parts = value.members(("site", "components", "feature"), ("match", "where"))
    site = _site(value, axes)
    where = parts.get("where")
    return SubmittedClaim(
        site,
        _components(parts["components"], site, axes[site], readouts),
        parts["feature"].text(MAX_EXPRESSION),
        reader.read(parts["feature"]),
        _noise(parts.get("match")),
        None if where is None else where.text(MAX_EXPRESSION),
        None if where is None else reader.read(where),
    )


def _site(value: Value, axes: Mapping[str, Axes]) -> str:
    if "site" not in value.keys():  # noqa: SIM118 - it is no mapping
        value.fail("'site' is missing")
    return value.member("site").one_of(list(axes))


def _noise(match: Value | None) -> float | None:
    if match is None or match.value == "same":
        return None
    if not isinstance(match.value, dict):
        match.fail(f'expected "same" or {{"near": noise}}, not {shown(match.value)}')
    return match.members(("near",), ())["near"].number(0, 1)


def _components(value: Value, site: str, axes: Axes, readouts: Mapping[str, Readout]) -> Components:
    everything = tuple(tuple(range(size)) for size in axes.values())
    if value.value == "all":
        return Components(everything)
    parts = value.members((), (*axes, "pca", "readouts"))
    *outer, last = axes
    directions = [key for key in ("pca", "readouts") if key in parts]
    if len(directions) + (last in parts) > 1:
        value.fail(f"one of {last!r}, 'pca' and 'readouts'")
    if not parts:
        value.fail('names no component; all of them are "all"')
    index = tuple(
        _positions(parts[axis], size) if axis in parts else full
        for (axis, size), full in zip(axes.items(), everything, strict=True)
    )
    if not directions:
        return Components(index)
    for axis, positions in zip(outer, index, strict=False):
        if len(positions) != 1:
            value.fail(f"{directions[0]} of one {axis}: give it as a number")
    if directions == ["pca"]:
        return Components(index[:-1], pca=_positions(parts["pca"], axes[last]))
    place = site, tuple(positions[0] for positions in index[:-1])
    here = [name for name, readout in readouts.items() if (readout.site, readout.place) == place]
    names = [name.one_of(here) for name in parts["readouts"].elements(MAX_NAMES)]
    if len(set(names)) < len(names):
        parts["readouts"].fail("a name twice")
    return Components(index[:-1], readouts=tuple(names))


def _positions(value: Value, size: int) -> tuple[int, ...]:
    """A number, a range "2:128", or a list of these."""
    several = value.elements(size) if isinstance(value.value, list) else [value]
    found: list[int] = []
    for one in several:
        if not isinstance(one.value, str):
            found.append(one.position(size))
            continue
        ends = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", one.value)
        if not ends or not int(ends[1]) < int(ends[2]) <= size:
            one.fail(f'expected a range within "0:{size}", not {shown(one.value)}')
        found += range(int(ends[1]), int(ends[2]))
    if len(set(found)) < len(found):
        value.fail("a position twice")
    return tuple(sorted(found))
