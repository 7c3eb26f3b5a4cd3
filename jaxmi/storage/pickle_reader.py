"""The values in a pickle, read without running it.

A pickle is a program for a small stack machine. This is that machine with the instructions that
`torch.save` and `pickle.dump` write, protocols 2 to 5. Calls are not made. Those whose result is
known without making them (dictionaries, tensors, NumPy arrays) give that result; every other call
gives an `Unread`, which remembers what would have been called and nothing else. So a configuration
that lies beside a state dict is passed over, whatever it is. Dictionaries keep their entries with
plain keys: hashing nested tuples takes exponential time.
"""

import io
import math
import pickletools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import ml_dtypes
import numpy as np

from jaxmi.errors import InputError

DTYPES = {
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
}
"""Storage class of PyTorch -> the numbers in it."""

MAX_LENGTH = 4 * 2**20
"""Bytes that a pickle may have: a thousand times a state dict's, whose numbers are stored apart."""

MAX_INSTRUCTIONS = 10**6
"""Instructions that a pickle may have: enough for a list of 400,000 losses, and read in seconds."""

_PLAIN = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MOST_ARGUMENTS = 8
_LONGEST_NAME = 1000
_MARK = object()
_DICTS = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
)


@dataclass(eq=False)
class Unread:
    """A function, a class, or what calling one would give; never looked into."""

    name: str
    """The function or class that the pickle names."""
    called: bool = False
    """True if the pickle calls it."""
    items: dict[Any, Any] = field(default_factory=dict)
    """Entries that the pickle puts into it, if it is a dictionary of some class."""
    state: Any = None
    """Attributes that the pickle gives it."""


@dataclass(frozen=True, eq=False)
class Storage:
    """The numbers that tensors are views of, which lie outside of the pickle."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """Steps along each axis, in numbers, as PyTorch counts them."""

    def array(
        self, storages: Mapping[str, bytes], byte_order: Literal["<", ">"] = "<"
    ) -> np.ndarray:
        """Return the numbers, read-only, without a copy.

        Args:
          storages: Key -> bytes.
          byte_order: "<" or ">".

        Raises:
          InputError: if the storage is missing or has another length, or the view leaves it.
        """
        storage = self.storage
        size = storage.count * storage.dtype.itemsize
        data = storages.get(storage.key)
        if data is None or len(data) != size:
            length = None if data is None else len(data)
            raise InputError(f"its storage {storage.key} has {length} bytes instead of {size}")
        _check_view(storage.count, self.offset, self.shape, self.strides)
        if not math.prod(self.shape):
            return np.zeros(self.shape, storage.dtype)
        if byte_order == ">" and storage.dtype == DTYPES["torch.BFloat16Storage"]:
            raise InputError("it holds bfloat16 numbers of a big-endian machine")
        numbers = np.frombuffer(data, storage.dtype.newbyteorder(byte_order))
        strides = [step * storage.dtype.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, strides, writeable=False
        )


@dataclass(frozen=True, eq=False)
class Faulty:
    """A tensor that cannot be read; an error only if it is needed."""

    reason: str


@dataclass(eq=False)
class _NumPyArray:
    """An array under construction: NumPy pickles the shape and the bytes after the object."""

    array: np.ndarray | None = None


@dataclass(eq=False)
class _NumPyType:
    """A NumPy data type under construction: the byte order follows the name."""

    code: str
    order: str = "<"

    @property
    def dtype(self) -> np.dtype:
        """The data type; of numbers and truth values only."""
        if len(self.code) > 4 or self.code[:1] not in tuple("biuf") or not self.code[1:].isdigit():
            raise ValueError(f"no type of numbers: {self.code!r:.20}")
        order = self.order if self.order in "<>" else "="
        return np.dtype(order + self.code)


class _Budget:
    """A limit on what the machine copies beyond what the pickle's instructions themselves hold.

    Else a text or a list that the pickle holds once could be copied by each of a million calls.
    """

    def __init__(self) -> None:
        self._left = MAX_LENGTH

    def spend(self, size: int) -> None:
        """Take bytes or entries off.

        Raises:
          InputError: if nothing is left.
        """
        self._left -= size
        if self._left < 0:
            raise InputError("its pickle copies more than it holds")


def read_pickle(pickled: bytes) -> Any:
    """Return what a pickle holds: plain values, dictionaries, lists, `Tensor`, NumPy arrays.

    What would need a call is an `Unread`; a tensor of a kind that is not known is `Faulty`.

    Raises:
      InputError: if it is too long, or has an instruction that no such pickle needs.
    """
    if len(pickled) > MAX_LENGTH:
        raise InputError(f"its pickle has {len(pickled)} bytes; save model.state_dict() alone")
    return read_stream(io.BytesIO(pickled))


def read_stream(file: io.BytesIO) -> Any:
    """Read one pickle from a file, and leave the file behind it; see `read_pickle`."""
    try:
        return _finished(_run(file))
    except InputError:
        raise
    except (
        *(ValueError, TypeError, IndexError, KeyError, AttributeError),
        *(OverflowError, RecursionError),
    ) as error:
        raise InputError(f"its pickle cannot be read: {error!r:.100}") from error


def walk(value: Any) -> Iterator[Any]:
    """Yield all that `read_pickle` gave, each object once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, Unread):
            waiting.extend((one.state, one.items))
        elif isinstance(one, dict):
            waiting.extend(reversed(one.values()))
        elif isinstance(one, list | tuple):
            waiting.extend(reversed(one))


def _run(file: io.BytesIO) -> Any:  # one loop without calls of our own: it is run a million times
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    copied = _Budget()

    def above_mark() -> list[Any]:
        mark = len(stack) - 1
        while stack[mark] is not _MARK:
            mark -= 1
            if mark < 0:
                raise IndexError("no mark")
        values = stack[mark + 1 :]
        del stack[mark:]
        return values

    def last(n: int) -> list[Any]:
        if len(stack) < n:
            raise IndexError("the stack is empty")
        values = stack[-n:]
        del stack[-n:]
        return values

    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if count > MAX_INSTRUCTIONS:
            raise InputError(
                f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions; "
                "save model.state_dict() alone"
            )
        if name in _PLAIN:
            stack.append(argument)
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]  # pyright: ignore[reportArgumentType]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])  # pyright: ignore[reportArgumentType]
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("EMPTY_LIST", "EMPTY_SET"):
            stack.append([])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("TUPLE", "FROZENSET"):
            stack.append(tuple(above_mark()))
        elif name in _TUPLES:
            size = _TUPLES[name]
            if len(stack) < size:
                raise IndexError("the stack is empty")
            stack[-size:] = [tuple(stack[-size:])]
        elif name in ("SETITEM", "SETITEMS"):
            items = above_mark() if name == "SETITEMS" else last(2)
            _put(stack[-1], items)
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = last(1) if name == "APPEND" else above_mark()
            if type(stack[-1]) is list:
                stack[-1].extend(items)
            elif not isinstance(stack[-1], Unread):
                raise TypeError(f"{type(stack[-1]).__name__} in the place of a list")
        elif name == "GLOBAL":
            stack.append(_named(str(argument).replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            module, attribute = last(2)
            if type(module) is not str or type(attribute) is not str:
                raise TypeError("a name that is no text")
            if len(module) + len(attribute) > _LONGEST_NAME:
                raise ValueError("a name that is too long")
            stack.append(_named(f"{module}.{attribute}"))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = last(2)
            stack.append(_call(function, arguments, copied))
        elif name == "NEWOBJ_EX":
            function, arguments, _ = last(3)
            stack.append(_call(function, arguments, copied))
        elif name == "BUILD":
            (state,) = last(1)
            _build(stack[-1], state)
        elif name == "POP":
            last(1)
        elif name == "POP_MARK":
            above_mark()
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise InputError(f"its pickle has the opcode {name}, which no state dict needs")
    raise IndexError("no end")


def _put(target: Any, items: list[Any]) -> None:
    """Put entries into a dictionary; those whose key is no text or number are left out."""
    if len(items) % 2:
        raise IndexError("a key without a value")
    if isinstance(target, Unread):
        target = target.items
    if type(target) is not dict:
        raise TypeError(f"{type(target).__name__} in the place of dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) in (str, int):
            target[key] = value


def _named(name: str) -> Unread:
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} characters")
    # NumPy 1 and 2 name the same modules differently, and Python 2 built-in types.
    name = name.replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins.")
    return Unread(name)


def _storage(persistent_id: Any) -> Any:
    reference = list(persistent_id[:7]) if type(persistent_id) is tuple else []
    if len(reference) == 4 and reference[0] == "module":
        return reference[1]  # a class, with its source, in a file of PyTorch before 1.6
    if len(reference) not in (5, 6):
        raise TypeError("a reference to something else than a storage")
    kind, cls, key, _, count, *view = reference
    if kind != "storage" or not isinstance(cls, Unread) or type(key) is not str:
        return Faulty("it refers to something else than a storage")
    dtype = DTYPES.get(cls.name)
    if dtype is None or type(count) is not int or count < 0 or any(view):
        return Faulty(f"its numbers are of {cls.name}")
    return Storage(key, dtype, count)


def _call(function: Any, arguments: Any, copied: _Budget) -> Any:
    """Return what a call would give, if that is known without making it."""
    if not isinstance(function, Unread) or function.called or type(arguments) is not tuple:
        raise TypeError(f"a call of {type(function).__name__}")
    name = function.name
    if len(arguments) > _MOST_ARGUMENTS:
        return Unread(name, called=True)
    if name in _DICTS:
        result: dict[Any, Any] = {}
        for pairs in arguments:
            if type(pairs) in (list, tuple):
                copied.spend(len(pairs))
                for pair in pairs:
                    if type(pair) in (list, tuple) and len(pair) == 2:
                        _put(result, list(pair))
        return result
    try:
        if name in _TENSORS:
            return _tensor(*arguments)
        if name in _PARAMETERS:
            return arguments[0]
        if name == "torch._tensor._rebuild_from_type_v2":
            return _call(arguments[0], arguments[2], copied)
        if name == "_codecs.encode" and arguments[1:] in (("latin1",), ("latin-1",)):
            copied.spend(len(arguments[0]))
            return arguments[0].encode("latin-1")
        if name == "numpy.core.multiarray._reconstruct":
            return _NumPyArray()
        if name == "numpy.dtype":
            return _NumPyType(arguments[0])
        if name == "numpy.core.numeric._frombuffer":
            data, kind, shape, order = arguments
            return _NumPyArray(_numpy(shape, kind, order == "F", data))
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        return Faulty(f"it cannot be read: {error!r:.100}")
    return Unread(name, called=True)


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, gradient: Any = None, *rest: Any
) -> Tensor | Faulty:
    """Return a tensor. Hooks, which are functions, are left out; a flag that changes values is not.

    The rest is: whether a gradient is needed, hooks, and flags of a negated or conjugated view.
    """
    del gradient
    if isinstance(storage, Faulty):
        return storage
    if any(rest[1:]):
        return Faulty("it is a negated or conjugated view")
    if type(size) is not tuple or type(stride) is not tuple:
        return Faulty("its size is not plain")
    if max(len(size), len(stride)) > 8:
        return Faulty(f"it is a tensor of {len(size)} dimensions")
    numbers = (offset, *size, *stride)
    if not isinstance(storage, Storage) or any(type(number) is not int for number in numbers):
        return Faulty("its size or place is no whole number")
    return Tensor(storage, offset, size, stride)


def _check_view(count: int, offset: int, lengths: tuple[int, ...], steps: tuple[int, ...]) -> None:
    """Check that a tensor lies within its storage, and has no more elements than it."""
    for number in (offset, *lengths, *steps):
        if number < 0:
            raise InputError(f"its pickle has a tensor with {number} for a size")
    if len(lengths) != len(steps) or len(lengths) > 8:
        raise InputError(f"its pickle has a tensor of {len(lengths)} dimensions")
    # A tensor without elements may still have a shape that no array can have.
    elements = math.prod(lengths) or math.prod(max(n, 1) for n in lengths) // 2**31
    last = offset + sum((n - 1) * step for n, step in zip(lengths, steps, strict=True))
    if elements > count or (math.prod(lengths) and last >= count):
        raise InputError(f"its pickle has a tensor {list(lengths)}, more than its storage holds")


def _build(target: Any, state: Any) -> None:
    """Give an object its state: of NumPy's objects the numbers, of others it is kept unread."""
    if isinstance(target, _NumPyType):
        if type(state) is tuple and len(state) > 1 and type(state[1]) is str:
            target.order = state[1]
    elif isinstance(target, _NumPyArray):
        try:
            _, shape, kind, fortran, data = state
            target.array = _numpy(shape, kind, bool(fortran), data)
        except (ValueError, TypeError, AttributeError, OverflowError):
            target.array = None
    elif isinstance(target, Unread):
        target.state = state


def _numpy(shape: Any, kind: Any, fortran: bool, data: Any) -> np.ndarray:
    if not isinstance(kind, _NumPyType) or type(shape) is not tuple or len(shape) > 8:
        raise TypeError("no array of numbers")
    dtype = kind.dtype
    if any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("a size that is no whole number")
    if not isinstance(data, bytes | bytearray) or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError("bytes of another length than its shape asks for")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _finished(value: Any) -> Any:
    """Return a value with NumPy's arrays in the place of their parts."""
    seen: set[int] = set()
    top = [value]
    waiting: list[Any] = [top]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        entries = list(one.items() if isinstance(one, dict) else enumerate(one))
        for key, entry in entries:
            if isinstance(entry, _NumPyArray):
                array = entry.array
                one[key] = Faulty("it is no array of numbers") if array is None else array
            elif isinstance(entry, dict | list):
                waiting.append(entry)
            elif isinstance(entry, Unread) and entry.items:
                waiting.append(entry.items)
    return top[0]
