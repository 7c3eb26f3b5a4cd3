"""Finds the state dict in what a training script saved, and gives its tensors a layout's names.

Scripts save the state dict under a key of their own, beside an optimiser's state, losses and a
configuration; Lightning, `DataParallel`, `torch.compile` and averages of weights put a prefix
before each name. What lies beside the state dict never decides: the dictionaries in the file are
gone through, and the one whose tensors fit a layout is taken. If several fit, the user is asked.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxmi.errors import InputError
from jaxmi.storage.layouts import Layout
from jaxmi.storage.pickle_reader import Faulty, Tensor, Unread, walk
from jaxmi.storage.pytorch_file import WRAPPED_IN, PickledFile

DEPTH = 3
"""Most dictionaries that may lie around the state dict."""

ROOT = "."
"""The name of the file's outermost dictionary, for `--key`."""

_MOST_CANDIDATES, _MOST_MODULES = 1000, 1000
_FIRST = ("model", "state_dict", "model_state_dict")
"""The dictionaries that are read if none fits, so that a message names what is wrong in them."""
_WRAPPING = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module)\.")
"""Parts of a name that `torch.compile` and FSDP put in, anywhere in it."""
_INDEXED = re.compile(r"(?:.*\.)?(\d+)\.(weight|bias)")


@dataclass(frozen=True, eq=False)
class Chosen:
    """The state dict of a file."""

    tensors: dict[str, np.ndarray]
    """With a layout's names, of any types."""
    raw: dict[str, np.ndarray]
    """The same tensors under their names in the file."""
    notes: tuple[str, ...] = ()
    """Descriptions of what was taken and changed; () if nothing was."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A dictionary of the file, or the part of it with a common prefix."""

    path: tuple[str, ...]
    prefix: str
    names: Mapping[str, str]
    """A layout's name -> the name in the dictionary."""
    values: Mapping[str, Any]
    """The dictionary's tensors."""
    likeness: float = 0.0
    note: str = ""

    @property
    def key(self) -> str:
        return ".".join((*self.path, self.prefix)).strip(".") or ROOT

    @property
    def numbers(self) -> tuple[Any, ...]:
        """Names and places of the tensors: equal if two candidates have the same tensors."""
        return tuple(sorted((name, _place(self.values[of])) for name, of in self.names.items()))


class _Dictionary(NamedTuple):
    path: tuple[str, ...]
    entries: Mapping[Any, Any]
    note: str = ""


def choose(file: PickledFile, layouts: Sequence[Layout], key: str | None = None) -> Chosen:
    """Return the state dict in a file.

    Args:
      file: The file.
      layouts: Those that it may have.
      key: The dictionary to take, by its place in the file, such as "ema.state_dict"; None takes
        the only one that fits a layout.

    Raises:
      InputError: if several fit, or there is no state dict; says which, or what there is.
    """
    dictionaries = list(_dictionaries(file.content))
    found: list[_Candidate] = []
    for one in dictionaries:
        found += _candidates(one, layouts, file)
        if len(found) > _MOST_CANDIDATES:
            raise InputError(
                f"holds more than {_MOST_CANDIDATES:,} networks; save the one that you want alone"
            )
    if key is not None:
        chosen = _named(key, found, dictionaries)
    else:
        distinct = {candidate.numbers: candidate for candidate in reversed(found)}
        several = list(reversed(distinct.values()))
        if len(several) > 1:
            keys = [candidate.key for candidate in several]
            shown = ", ".join(keys[:5]) + (f" ... {keys[-1]}" if len(keys) > 5 else "")
            raise InputError(f"holds {len(keys)} networks; name one with --key: {shown}")
        chosen = several[0] if several else _first(dictionaries, file.content)
    return _chosen(chosen, file)


def _dictionaries(content: Any) -> Iterator[_Dictionary]:
    """Yield the dictionaries in a file, outer ones first, each once.

    There are no more of them than a pickle has instructions, which `pickle_reader` limits.
    """
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    for path, value in waiting:
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Unread):
            if _is_module(value):
                kept = f"{value.name} is a pickled module: its tensors are taken, its code is not"
                yield _Dictionary(path, _module_tensors(value), kept)
                continue
            value = value.items
        inner: Sequence[tuple[Any, Any]] = ()
        if isinstance(value, dict):
            yield _Dictionary(path, value)
            inner = list(value.items())
        elif isinstance(value, list | tuple):
            inner = list(enumerate(value))
        if len(path) < DEPTH:
            waiting.extend(
                ((*path, str(name)), one)
                for name, one in inner
                if isinstance(one, dict | list | tuple | Unread)
            )


def _is_module(value: Any) -> bool:
    state = value.state if isinstance(value, Unread) else None
    return isinstance(state, dict) and isinstance(state.get("_modules"), dict)


def _module_tensors(module: Unread) -> dict[str, Any]:
    """Return the parameters and buffers of a pickled module, by the names of `state_dict()`."""
    tensors: dict[str, Any] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", module)]
    while waiting and len(seen) < _MOST_MODULES:
        prefix, one = waiting.pop(0)
        if not _is_module(one) or id(one) in seen:
            continue
        seen.add(id(one))
        for kind in ("_parameters", "_buffers"):
            group = one.state.get(kind)
            for name, value in group.items() if isinstance(group, dict) else ():
                if isinstance(value, Tensor | Faulty):
                    tensors[f"{prefix}{name}"] = value
        if prefix.count(".") < 8:
            waiting.extend((f"{prefix}{name}.", sub) for name, sub in one.state["_modules"].items())
    return tensors


def _candidates(
    one: _Dictionary, layouts: Sequence[Layout], file: PickledFile
) -> Iterator[_Candidate]:
    """Yield the parts of a dictionary that have half of a layout's parameters or more."""
    values = _tensors_in(one.entries)
    if not values:
        return
    names = {_WRAPPING.sub("", name): name for name in values if len(name) < 200}
    if len(names) < len(values):
        names = {name: name for name in values}
    known = frozenset().union(*(layout.names() for layout in layouts))
    hits: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")[-6:]
        for i in range(len(parts)):
            suffix = ".".join(parts[i:])
            if suffix in known:
                hits[name.removesuffix(suffix)] += 1
    any_fits = False
    for prefix, count in hits.most_common(16):
        if count < 3:
            break
        part = {
            name.removeprefix(prefix): of for name, of in names.items() if name.startswith(prefix)
        }
        likeness = max(layout.likeness(_shapes(part, values, file)) for layout in layouts)
        if likeness >= 0.5:
            any_fits = True
            yield _Candidate(one.path, prefix, part, values, likeness, one.note)
    if not any_fits:
        yield from _by_order(one, names, values, layouts, file)


def _by_order(
    one: _Dictionary,
    names: Mapping[str, str],
    values: Mapping[str, Any],
    layouts: Sequence[Layout],
    file: PickledFile,
) -> Iterator[_Candidate]:
    """Yield the tensors of an `nn.Sequential`, whose names are numbers, by order and shape.

    Only where each layer has a weight of another shape, so that no other order would fit.
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        found = _INDEXED.fullmatch(name)
        if found is None:
            return
        layers.setdefault(name.rpartition(".")[0], []).append(found[2])
    for layout in layouts:
        theirs = [row.name for row in layout.parameters]
        ours = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
        parts_fit = all(name.endswith((".weight", ".bias")) for name in theirs)
        if not parts_fit or len(ours) != len(theirs) or not set(ours) <= names.keys():
            continue
        part = {foreign: names[own] for foreign, own in zip(theirs, ours, strict=True)}
        tensors = _shapes(part, values, file)
        weights = [array.shape for name, array in tensors.items() if name.endswith(".weight")]
        if len(set(weights)) == len(weights) and layout.likeness(tensors) == 1:
            kept = f"{one.note}; " if one.note else ""
            note = f"{kept}the layers {', '.join(layers)} are taken in their order, by their shapes"
            yield _Candidate(one.path, "", part, values, 1.0, note)
            return


def _named(
    key: str, found: Sequence[_Candidate], dictionaries: Sequence[_Dictionary]
) -> _Candidate:
    key = key.strip(".") or ROOT
    for candidate in found:
        if candidate.key == key:
            return candidate
    for one in dictionaries:
        values = _tensors_in(one.entries)
        if values and (".".join(one.path) or ROOT) == key:
            return _Candidate(one.path, "", {name: name for name in values}, values)
    keys = [candidate.key for candidate in found] or [
        ".".join(one.path) or ROOT for one in dictionaries if _tensors_in(one.entries)
    ]
    raise InputError(f"holds no network under --key {key}; it has {', '.join(keys[:5]) or 'none'}")


def _first(dictionaries: Sequence[_Dictionary], content: Any) -> _Candidate:
    """Return the dictionary that is read if none fits: the outermost with tensors."""
    filled = [one for one in dictionaries if _tensors_in(one.entries)]
    usual = [one for one in filled if one.path[-1:] and one.path[-1] in _FIRST]
    for one in (*usual, *filled):
        values = _tensors_in(one.entries)
        return _Candidate(one.path, "", {name: name for name in values}, values, note=one.note)
    called = [value.name for value in walk(content) if isinstance(value, Unread) and value.called]
    if called:
        raise InputError(
            f"its pickle calls {called[0]}, which is not done, and holds no state dict of tensors "
            "beside it: save model.state_dict() alone"
        )
    if isinstance(content, dict) and content:
        name, value = next(iter(content.items()))
        raise InputError(
            f"holds no state dict of tensors: {name!r:.40} is a {_kind(value)}, no tensor"
        )
    raise InputError(f"holds a {_kind(content)}, no state dict")


def _chosen(candidate: _Candidate, file: PickledFile) -> Chosen:
    raw = {of: _array(of, candidate.values[of], file) for of in candidate.names.values()}
    notes = []
    if candidate.path not in ((), (WRAPPED_IN,)):  # as the published file has it
        notes.append(f"the state dict is the one under {'.'.join(candidate.path)}")
    if candidate.prefix:
        left = sorted(candidate.values.keys() - set(candidate.names.values()))
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        also = f"; {left[0]}{more} without it are left out" if left else ""
        notes.append(f"the prefix {candidate.prefix} is taken off its names{also}")
    elif any(_WRAPPING.search(of) for of in candidate.names.values()):
        notes.append("_orig_mod. is taken off its names")
    if candidate.note:
        notes.append(candidate.note)
    tensors = {name: raw[of] for name, of in candidate.names.items()}
    return Chosen(tensors, raw, tuple(notes))


def _tensors_in(entries: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in entries.items()
        if isinstance(name, str) and isinstance(value, Tensor | Faulty | np.ndarray)
    }


def _shapes(
    names: Mapping[str, str], values: Mapping[str, Any], file: PickledFile
) -> dict[str, np.ndarray]:
    """Return the tensors that can be read, as views."""
    tensors = {}
    for name, of in names.items():
        try:
            tensors[name] = _array(of, values[of], file)
        except InputError:
            continue
    return tensors


def _array(name: str, value: Any, file: PickledFile) -> np.ndarray:
    if isinstance(value, Faulty):
        raise InputError(f"tensor {name}: {value.reason}")
    if isinstance(value, Tensor):
        return value.array(file.storages, file.byte_order)
    return value


def _place(value: Any) -> tuple[Any, ...]:
    if isinstance(value, Tensor):
        return value.storage.key, value.offset, value.shape, value.strides
    return (str(id(value)), 0, (), ())


def _kind(value: Any) -> str:
    if isinstance(value, Unread):
        return value.name
    return type(value).__name__.lower() if isinstance(value, Tensor) else type(value).__name__
