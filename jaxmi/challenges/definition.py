"""A challenge as data: a program or labels, a domain, a split, and the sizes of a network.

A `Definition` is what a challenge folder's `challenge.json` holds, and what a checkpoint of such a
challenge carries, so that the checkpoint alone is enough to build its challenge again. The kinds of
challenge (`pairs`, `images`, `triples`) build a `Challenge` from it; docs/challenges.md describes
the file.
"""

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.errors import InputError
from jaxmi.files import check_regular_file, takes_any_path
from jaxmi.programs import language as lang
from jaxmi.programs.domain import P
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show

FORMAT = 1
"""Version of the JSON; raised whenever an older reader would misread it."""

RESERVED = (*lang.KIND_OF, "all")
"""Names that stand for the published challenges."""

FILE = "challenge.json"
"""The file of a challenge folder."""

MAX_BYTES = 2**24
"""Bytes that the file may have: the labels and the split of ten million inputs fit."""

MAX_INPUTS = 10**7
"""Most inputs whose labels or split are unpacked from JSON: a few bytes could stand for many."""

DEFAULT_TITLE = "A program of your own"


@dataclass(frozen=True)
class Definition:
    """Everything that makes a challenge, as JSON types but for the program."""

    kind: lang.Kind
    """Kind of the challenge's inputs."""

    program: lang.Program | None
    """The labelling program; None if `labels` holds a table, or the labels are secret."""

    labels: str | None = None
    """Labels of the whole domain from elsewhere, 0 or 1, as `pack` returns them."""

    domain: Mapping[str, Any] = field(default_factory=dict)
    """The inputs: of pairs and triples {"p": ...}; of images {"data": "mnist"}, or the name of an
    IDX folder with the folder and its files' "sha256"."""

    split: Mapping[str, Any] = field(default_factory=dict)
    """{"train_share": ..., "seed": ...}, or {"train": ...}: the training rows as `pack` returns
    them. Empty: as published."""

    network: Mapping[str, Any] = field(default_factory=dict)
    """The sizes of the network that differ from the published network's."""

    name: str = "own"
    """The name in files and messages."""

    title: str = DEFAULT_TITLE
    """The name in figures and reports."""

    def __post_init__(self) -> None:
        """Check what does not depend on the kind.

        Raises:
          InputError: naming the value.
        """
        if self.kind not in lang.SIGNATURES:
            raise InputError(f"kind {self.kind!r}: expected one of {', '.join(lang.SIGNATURES)}")
        if self.program is not None and self.labels is not None:
            raise InputError("a challenge has a program or a table of labels, not both")
        if self.program is not None and self.program.kind != self.kind:
            raise InputError(
                f"the program is of kind {self.program.kind!r}, expected {self.kind!r}"
            )
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.+ -]{0,99}", self.name):
            raise InputError(f"name {self.name!r}: expected letters, digits, spaces and _ . + -")
        if self.name in RESERVED:
            raise InputError(f"name {self.name!r} stands for a published challenge; choose another")
        if not isinstance(self.title, str) or not self.title.isprintable() or not self.title:
            raise InputError(f"title {self.title!r}: expected one line of text")
        for part in ("domain", "split", "network"):
            if not isinstance(getattr(self, part), Mapping):
                raise InputError(f"{part} {getattr(self, part)!r}: expected names and values")
        _check_split(self.split)

    def to_json(self) -> dict[str, Any]:
        """Return the definition as JSON types, with a checksum of all of it."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "kind": self.kind,
            "name": self.name,
            "title": self.title,
            "domain": dict(self.domain),
            "split": dict(self.split),
            "network": dict(self.network),
        }
        if self.labels is not None:
            content["labels"] = self.labels
        if self.program is not None:
            content["program"] = show(self.program)
            content["program_sha256"] = hashlib.sha256(show(self.program).encode()).hexdigest()
        return {**content, "sha256": _digest(content)}

    @property
    def sha256(self) -> str:
        """The checksum of all of it, as `to_json` has it: 64 hexadecimal digits."""
        return self.to_json()["sha256"]

    @property
    def sealed(self) -> bool:
        """True if the labels are secret: there is neither a program nor a table."""
        return self.program is None and self.labels is None

    @classmethod
    def from_json(cls, value: Any) -> "Definition":
        """Read a definition from JSON types, as `to_json` returns them.

        Raises:
          InputError: if it was altered, is of another format, or a part cannot be used.
        """
        if not isinstance(value, Mapping):
            raise InputError("a challenge is a JSON object")
        if is_first_form(value):
            return _from_first_form(value)
        if value.get("format") != FORMAT:
            raise InputError(f"format {value.get('format')!r}; this jaxmi reads format {FORMAT}")
        content = {name: part for name, part in value.items() if name != "sha256"}
        if value.get("sha256") != _digest(content):
            raise InputError("it was altered: its checksum does not match; make the challenge anew")
        try:
            kind, text = value["kind"], value.get("program")
            return cls(
                kind=kind,
                program=None if text is None else _parsed(text, kind),
                labels=value.get("labels"),
                **{name: value[name] for name in ("domain", "split", "network", "name", "title")},
            )
        except KeyError as error:
            raise InputError(f"it lacks {error}") from error


@takes_any_path
def is_challenge_folder(folder: Path) -> bool:
    """Return whether a folder holds a challenge that a user made, and not a sealed one."""
    try:
        check_regular_file(folder / FILE, MAX_BYTES)
        return "sha256" in json.loads((folder / FILE).read_bytes())
    except (InputError, OSError, ValueError, TypeError, RecursionError):
        return False


@takes_any_path
def read_definition(folder: Path) -> Definition:
    """Read a challenge folder, without its data.

    Raises:
      InputError: if it holds no challenge, or one that was altered.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{folder} is no challenge: it holds no {FILE}")
    check_regular_file(path, MAX_BYTES)
    try:
        return Definition.from_json(json.loads(path.read_text(encoding="utf-8")))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def pack(bits: Bool[np.ndarray, "n"] | Int[np.ndarray, "n"]) -> str:
    """Return truth values as text: their number, then their bits, compressed, in base64."""
    packed = zlib.compress(np.packbits(np.asarray(bits, bool)).tobytes(), 9)
    return f"{len(bits)}:{base64.b64encode(packed).decode('ascii')}"


def unpack(text: Any, n: int, what: str) -> Bool[np.ndarray, "{n}"]:
    """Return the truth values that `pack` packed.

    Args:
      text: As `pack` returns it.
      n: How many are expected.
      what: The values' name in messages.

    Raises:
      InputError: if it is no such text, or of another number of values.
    """
    match = re.fullmatch(r"(\d{1,8}):([A-Za-z0-9+/=]+)", text) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"{what}: not packed as jaxmi packs them")
    if int(match[1]) != n or n > MAX_INPUTS:
        raise InputError(f"{what}: {match[1]} values for {n:,} inputs")
    size = -(-n // 8)
    try:
        inflate = zlib.decompressobj()
        packed = inflate.decompress(base64.b64decode(match[2], validate=True), size + 1)
    except (binascii.Error, zlib.error) as error:
        raise InputError(f"{what}: not packed as jaxmi packs them: {error}") from error
    if len(packed) != size:
        raise InputError(f"{what}: not packed as jaxmi packs them")
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=n).astype(bool)


def check_names(values: Mapping[str, Any], allowed: tuple[str, ...], what: str) -> None:
    """Check that a part of a definition has known names only.

    Raises:
      InputError: naming the first that is not.
    """
    for name in values:
        if name not in allowed:
            raise InputError(f"{what} has no {name!r}; expected {', '.join(allowed)}")


def _check_split(split: Mapping[str, Any]) -> None:
    check_names(split, ("train_share", "seed", "train"), "a split")
    if "train" in split and len(split) > 1:
        raise InputError("a split is given by its rows, or by share and seed, not both")
    share, seed = split.get("train_share", 0.5), split.get("seed", 0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise InputError(f"train_share = {share!r}: expected a number above 0 and below 1")
    if type(seed) is not int or seed < 0:
        raise InputError(f"split seed {seed!r}: expected a whole number, at least 0")


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _parsed(text: Any, kind: Any) -> lang.Program:
    if not isinstance(text, str) or kind not in lang.SIGNATURES:
        raise InputError(f"kind {kind!r}: expected one of {', '.join(lang.SIGNATURES)}")
    return parse(text, kind)


def is_first_form(value: Any) -> bool:
    """Return whether a definition has the form in which the first version wrote it."""
    return isinstance(value, Mapping) and "format" not in value and "train_share" in value


def _from_first_form(value: Mapping[str, Any]) -> Definition:
    """Read the form that the first version of `jaxmi.make_challenge` put into checkpoints."""
    kind, share = value.get("kind"), value["train_share"]
    return Definition(
        kind=kind,  # type: ignore[arg-type] - the class checks it
        program=_parsed(value.get("program"), kind),
        domain={"p": value.get("p", P)} if kind == "pairs" else {},
        split={} if share is None else {"train_share": share},
        title=value.get("title", DEFAULT_TITLE),
    )
