"""The check of a .pt file's pickle, without running it: only a state dict passes.

A pickle is a program for a small stack machine. This is that machine with the two dozen
instructions that `torch.save` writes for dictionaries of tensors and plain values; it records calls
instead of making them. A pickle that passes is safe for `torch.load`: every call is known,
dictionaries have plain keys (hashing nested tuples takes exponential time), and every tensor lies
within its storage.
"""

import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from jaxmi.errors import InputError

ITEM_SIZES = {
    "Double": 8,
    "Float": 4,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
}
"""Storage class of PyTorch, without the suffix "Storage" -> bytes of a number in it."""

MAX_LENGTH = 4 * 2**20
"""Bytes that a pickle may have: a thousand times a state dict's, whose numbers are stored apart."""

_TENSOR = "torch._utils _rebuild_tensor_v2"
_CALLS = {
    _TENSOR,
    "collections OrderedDict",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_parameter",
}
_PLAIN = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


@dataclass(frozen=True, eq=False)
class _Named:
    """A function or class that the pickle names."""

    name: str


@dataclass(frozen=True, eq=False)
class _Storage:
    """The storage that a tensor is a view of: `count` numbers."""

    count: int


@dataclass(frozen=True, eq=False)
class _Called:
    """The result that a call would have."""

    name: str


def check_pickle(pickled: bytes, storages: Mapping[str, int]) -> None:
    """Check that a pickle is a state dict.

    Args:
      pickled: The pickle.
      storages: The archive's storages: key -> length in bytes.

    Raises:
      InputError: naming the first instruction, call or value that no state dict has.
    """
    if len(pickled) > MAX_LENGTH:
        raise InputError(f"its pickle has {len(pickled)} bytes; save model.state_dict() alone")
    try:
        _Machine(storages).run(pickled)
    except InputError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise InputError(f"its pickle cannot be read: {error!r:.100}") from error


class _Machine:
    """The stack machine, with what it has pushed and memorised so far."""

    def __init__(self, storages: Mapping[str, int]) -> None:
        self._storages = storages
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, pickled: bytes) -> None:
        stack = self._stack
        for opcode, value, _ in pickletools.genops(pickled):
            name, argument = opcode.name, cast(Any, value)
            if name in _PLAIN:
                stack.append(argument)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in ("BINPUT", "LONG_BINPUT"):
                self._memo[argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(self._memo[argument])
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "MARK":
                stack.append(_MARK)
            elif name == "TUPLE":
                stack.append(tuple(self._above_mark()))
            elif name in _TUPLES:
                stack.append(tuple(self._pop(_TUPLES[name])))
            elif name in ("SETITEM", "SETITEMS"):
                items = self._above_mark() if name == "SETITEMS" else self._pop(2)
                _put(stack[-1], items)
            elif name in ("APPEND", "APPENDS"):
                items = self._above_mark() if name == "APPENDS" else self._pop(1)
                _expect(stack[-1], list).extend(items)
            elif name == "GLOBAL":
                stack.append(_named(argument))
            elif name == "BINPERSID":
                stack.append(self._storage(stack.pop()))
            elif name == "REDUCE":
                function, arguments = self._pop(2)
                stack.append(_call(function, arguments))
            elif name == "BUILD":
                _build(*self._pop(2, keep=1))
            elif name not in ("PROTO", "STOP"):
                raise InputError(f"its pickle has the opcode {name}, which no state dict needs")

    def _pop(self, n: int, keep: int = 0) -> list[Any]:
        """Return the last n values of the stack, and take all but the first `keep` of them off."""
        if len(self._stack) < n:
            raise IndexError("the stack is empty")
        values = self._stack[-n:]
        del self._stack[len(self._stack) - n + keep :]
        return values

    def _above_mark(self) -> list[Any]:
        mark = len(self._stack) - 1
        while self._stack[mark] is not _MARK:
            mark -= 1
            if mark < 0:
                raise IndexError("no mark")
        values = self._stack[mark + 1 :]
        del self._stack[mark:]
        return values

    def _storage(self, persistent_id: Any) -> _Storage:
        kind, cls, key, _, count = _expect(persistent_id, tuple)
        key, count = _expect(key, str), _expect(count, int)
        size = ITEM_SIZES[_expect(cls, _Named).name.removeprefix("torch ").removesuffix("Storage")]
        if kind != "storage" or self._storages.get(key) != count * size:
            length = self._storages.get(key)
            raise InputError(f"its storage {key} has {length} bytes instead of {count * size}")
        return _Storage(count)


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")
    return value


def _put(target: Any, items: list[Any]) -> None:
    keys, values = items[::2], items[1::2]
    if any(type(key) not in (str, int) for key in keys):
        raise InputError("its pickle has a dictionary with a key that is no text or number")
    _expect(target, dict).update(zip(keys, values, strict=True))


def _named(argument: str) -> _Named:
    storage = argument.removeprefix("torch ").removesuffix("Storage")
    is_storage = argument == f"torch {storage}Storage" and storage in ITEM_SIZES
    if argument not in _CALLS and not is_storage:
        called = argument.replace(" ", ".")
        raise InputError(
            f"its pickle calls {called}, which no state dict of such a network needs; "
            "save model.state_dict() alone"
        )
    return _Named(argument)


def _call(function: Any, arguments: Any) -> Any:
    """Check a call's arguments, and return the result that it would have."""
    name, arguments = _expect(function, _Named).name, _expect(arguments, tuple)
    if name == "collections OrderedDict":
        result: dict[Any, Any] = {}
        for pairs in arguments:
            for pair in _expect(pairs, list):
                _put(result, list(pair))
        return result
    if name == _TENSOR:
        storage, offset, size, stride, _, hooks, *metadata = arguments
        if _expect(hooks, dict) or any(metadata):
            raise InputError("its pickle has a tensor with hooks, or a negated or conjugated view")
        _check_view(_expect(storage, _Storage).count, offset, size, stride)
    elif name == "torch._utils _rebuild_parameter":
        tensor, _, hooks = arguments
        if _expect(hooks, dict) or _expect(tensor, _Called).name != _TENSOR:
            raise InputError("its pickle has a parameter that is no tensor, or has hooks")
        return tensor
    elif name == "torch Size":
        (size,) = arguments
        for n in _expect(size, tuple):
            _expect(n, int)
    elif name == "torch device":
        for part, kind in zip(arguments, (str, int), strict=False):
            _expect(part, kind)
    else:
        raise InputError(f"its pickle calls {name.replace(' ', '.')}")
    return _Called(name)


def _check_view(count: int, offset: Any, size: Any, stride: Any) -> None:
    """Check that a tensor lies within its storage, and has no more elements than it."""
    lengths, steps = _expect(size, tuple), _expect(stride, tuple)
    for number in (offset, *lengths, *steps):
        if _expect(number, int) < 0:
            raise InputError(f"its pickle has a tensor with {number} for a size")
    if len(lengths) != len(steps) or len(lengths) > 8:
        raise InputError(f"its pickle has a tensor of {len(lengths)} dimensions")
    # A tensor without elements may still have a shape that no array can have.
    elements = math.prod(lengths) or math.prod(max(n, 1) for n in lengths) // 2**31
    last = offset + sum((n - 1) * step for n, step in zip(lengths, steps, strict=True))
    if elements > count or (math.prod(lengths) and last >= count):
        raise InputError(f"its pickle has a tensor {list(lengths)}, more than its storage holds")


def _build(target: Any, state: Any) -> None:
    """Allow only what `Module.state_dict` adds to its dictionary: versions of modules."""
    if type(target) is not dict or set(_expect(state, dict)) != {"_metadata"}:
        raise InputError("its pickle changes an object's attributes, which no state dict needs")
