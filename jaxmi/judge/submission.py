"""An explanation as it is submitted: which feature each component of a network computes.

The schema, and the check of every part of it before anything is computed. docs/explanations.md
describes it for those who write one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxmi.judge.expressions import MAX_EXPRESSION, MAX_NAMES, Expressions, named, names_in
from jaxmi.judge.network_sites import Axes, site_axes
from jaxmi.judge.strict_json import Value, read_json, shown
from jaxmi.programs import language as lang

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
