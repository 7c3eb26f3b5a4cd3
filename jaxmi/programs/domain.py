"""Domains: the inputs that programs label, all pairs or triples below p or many images.

A domain has a kind, a shape, and the values of a program's inputs; one of images also computes the
language's functions of images. Those are exact: sums of whole numbers, rounded at most once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Num, UInt8

from jaxmi.errors import InputError
from jaxmi.programs import language as lang

P = 113
"""Challenge 2's p: its inputs are 0 <= x, y < 113."""

MAX_CACHED = 64
"""How many arrays of image functions a domain keeps for later calls."""


@dataclass(frozen=True)
class NumberDomain:
    """All combinations of the operands, each a whole number from 0 to p - 1."""

    p: int = P
    """The number of values that each operand takes, >= 1."""

    kind: ClassVar[lang.Kind]

    def __post_init__(self) -> None:
        """Check p.

        Raises:
          InputError: if p < 1.
        """
        if self.p < 1:
            raise InputError(f"p = {self.p}: expected at least 1")

    @property
    def operands(self) -> tuple[str, ...]:
        """The operands' names, one per axis of a table."""
        return lang.SIGNATURES[self.kind].operands

    @property
    def shape(self) -> tuple[int, ...]:
        """(p, p) for pairs, row = x; one axis per operand."""
        return (self.p,) * len(self.operands)

    @property
    def table_shapes(self) -> Mapping[tuple[int, ...], slice]:
        """Shape of a table of labels -> the inputs that such a table covers."""
        n = len(self.operands)
        return {(self.p,) * n: slice(None), (self.p**n,): slice(None)}

    def part(self, rows: slice) -> "NumberDomain":
        """Return the inputs that a table covers: all of them, with numbers."""
        assert rows == slice(None), f"a table of {self.kind} covers the domain, not {rows}"
        return self

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Return each input's values, in an array that broadcasts to the domain's shape.

        So expressions of x alone are computed p times, not p * p times.
        """
        n, numbers = len(self.operands), np.arange(self.p)
        values = {
            name: numbers.reshape((1,) * axis + (-1,) + (1,) * (n - axis - 1))
            for axis, name in enumerate(self.operands)
        }
        return {**values, "p": np.full((1,) * n, self.p)}

    def columns(self) -> Mapping[str, np.ndarray]:
        """Return each operand's value in every input, in domain order."""
        values = np.indices(self.shape).reshape(len(self.operands), -1)
        return dict(zip(self.operands, values, strict=True))

    def narrow(self, values: np.ndarray, names: Collection[str]) -> np.ndarray:
        """Return values of the whole domain in the smallest array that broadcasts to it.

        Args:
          values: In the domain's shape.
          names: The inputs that the values depend on.

        Returns:
          One axis per operand; an axis has one entry if the values do not depend on its operand.
        """
        return values[tuple(slice(None if name in names else 1) for name in self.operands)]

    def call(self, function: str, arguments: tuple[int | None, ...]) -> np.ndarray:
        """Raise AssertionError: no program on numbers has images."""
        raise AssertionError(f"{function} of {arguments} in a program on {self.kind}")

    def describe(self, index: int) -> str:
        """Return a name for the input at an index in domain order, for messages."""
        values = np.unravel_index(index, self.shape)
        return ", ".join(f"{n} = {v}" for n, v in zip(self.operands, values, strict=True))


@dataclass(frozen=True)
class PairDomain(NumberDomain):
    """All pairs (x, y) with 0 <= x, y < p."""

    kind: ClassVar[lang.Kind] = "pairs"


@dataclass(frozen=True)
class TripleDomain(NumberDomain):
    """All triples (x, y, w) with 0 <= x, y, w < p."""

    kind: ClassVar[lang.Kind] = "triples"

    p: int = 23
    """The number of values that each operand takes, >= 1. 23 gives 12,167 triples, about as many
    inputs as challenge 2 has."""


@dataclass(frozen=True, eq=False)
class SetDomain:
    """A domain of numbers, once for each value that a further name is set to."""

    domain: NumberDomain
    name: str
    """The name that is set; none of the inputs'."""
    values: Num[np.ndarray, "k"]

    @property
    def kind(self) -> lang.Kind:
        """The domain's kind."""
        return self.domain.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """(k, ...): the domain's shape, once for each value."""
        return (len(self.values), *self.domain.shape)

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Return each input's values and the name's, in arrays that broadcast to the shape."""
        inputs = {name: values[None] for name, values in self.domain.inputs().items()}
        return {**inputs, self.name: self.values.reshape(-1, *(1,) * len(self.domain.shape))}

    def call(self, function: str, arguments: tuple[int | None, ...]) -> np.ndarray:
        """Raise AssertionError: no program on numbers has images."""
        return self.domain.call(function, arguments)

    def describe(self, index: int) -> str:
        """Return a name for the input at an index in domain order, for messages."""
        setting, row = divmod(index, int(np.prod(self.domain.shape)))
        return f"{self.domain.describe(row)}, {self.name} = {self.values[setting]}"


@dataclass(frozen=True, eq=False)
class ImageDomain:
    """Images to label, and the training images that programs compare them with."""

    images: UInt8[np.ndarray, "n height width"]
    """The images that are labelled."""

    templates: UInt8[np.ndarray, "m height width"]
    """The images that `template(index)` names: MNIST's training images."""

    _cache: dict[tuple[str, tuple[int | None, ...]], np.ndarray] = field(
        default_factory=dict, repr=False
    )

    kind: ClassVar[lang.Kind] = "image"

    def __post_init__(self) -> None:
        """Check the pixels.

        Raises:
          InputError: if they are not uint8: sums of scaled pixels would not be whole numbers.
        """
        for name in ("images", "templates"):
            dtype = getattr(self, name).dtype
            if dtype != np.uint8:
                raise InputError(f"{name} must be uint8 pixels (0..255), not {dtype}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,)."""
        return (len(self.images),)

    @property
    def table_shapes(self) -> Mapping[tuple[int, ...], slice]:
        """Shape of a table of labels -> the images that such a table covers."""
        n_train, n_test = len(self.templates), len(self.images) - len(self.templates)
        return image_tables(n_train, n_test) if n_test > 0 else {self.shape: slice(None)}

    def part(self, rows: slice) -> "ImageDomain":
        """Return the images that a table covers, with the same templates."""
        return ImageDomain(self.images[rows], self.templates)

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Return no values: the image is not a number."""
        return {}

    def narrow(self, values: np.ndarray, names: Collection[str]) -> np.ndarray:
        """Return values (n,) as they are."""
        return values

    def call(self, function: str, arguments: tuple[int | None, ...]) -> np.ndarray:
        """Return a function of images, from the cache if it was computed before.

        Args:
          function: One of `language.IMAGE_FUNCTIONS`.
          arguments: The images: a training image's index, or None for the image that is labelled.

        Returns:
          (n,), or (1,) if the labelled image is not among the arguments; float64 for l2, cosine and
          mean, int64 for the others.

        Raises:
          InputError: if an index is not that of a training image.
        """
        key = (function, arguments)
        if key not in self._cache:
            for index in arguments:
                if index is not None and index >= len(self.templates):
                    raise InputError(
                        f"template({index}): there are {len(self.templates)} images, counted from 0"
                    )
            stacks = [self.images if i is None else self.templates[i][None] for i in arguments]
            if len(self._cache) >= MAX_CACHED:
                self._cache.pop(next(iter(self._cache)))  # the oldest
            self._cache[key] = image_function(function, stacks)
        return self._cache[key]

    def describe(self, index: int) -> str:
        """Return a name for the input at an index in domain order, for messages."""
        return f"image {index}"


Domain = NumberDomain | ImageDomain
"""The inputs that a program labels."""

NUMBER_DOMAINS: Mapping[lang.Kind, type[NumberDomain]] = {
    domain.kind: domain for domain in (PairDomain, TripleDomain)
}
"""Kind of programs on numbers -> its domain."""


def image_tables(n_train: int, n_test: int) -> dict[tuple[int, ...], slice]:
    """Return which images a table of labels covers, by its shape.

    Args:
      n_train: How many training images there are; they come first.
      n_test: How many test images there are.

    Returns:
      Shape -> images: a table of all images, of the training images, or of the test images.
    """
    return {
        (n_train + n_test,): slice(None),
        (n_train,): slice(0, n_train),
        (n_test,): slice(n_train, None),
    }


Images = UInt8[np.ndarray, "_ height width"]

CHUNK = 4096
"""Images to compute at once: few enough for a CPU's caches, and to copy no large array."""


def image_function(function: str, stacks: Sequence[Images]) -> Num[np.ndarray, "n"]:
    """Compute a function image by image.

    `l1` is the sum of absolute differences of pixels (0..255), `linf` the largest, `l2` the square
    root of the sum of their squares; `dot` is the sum of products, `cosine` that of the images
    scaled to length 1 (not a number if one of them is black), `mean` the average pixel.

    Args:
      function: One of `language.IMAGE_FUNCTIONS`.
      stacks: The images of each argument; a stack of one image is repeated as needed.

    Returns:
      (n,): int64 for l1, linf and dot, float64 for the others; what Python's arithmetic gives.
    """
    n = max(len(stack) for stack in stacks)
    parts = []
    for first in range(0, n, CHUNK):
        rows = [s if len(s) == 1 else s[first : first + CHUNK] for s in stacks]
        parts.append(_FUNCTIONS[function](*(images.reshape(len(images), -1) for images in rows)))
    return np.concatenate(parts)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a.astype(np.int32) - b


def _l1(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (np.maximum(a, b) - np.minimum(a, b)).sum(axis=1, dtype=np.int64)  # stays in uint8


def _linf(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (np.maximum(a, b) - np.minimum(a, b)).max(axis=1).astype(np.int64)


def _l2(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt((_difference(a, b) ** 2).sum(axis=1, dtype=np.int64).astype(np.float64))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Products are below 2**16 and sums below 2**53, so that floats hold them exactly.
    return np.einsum("np,np->n", *np.broadcast_arrays(a.astype(np.float64), b)).astype(np.int64)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = _dot(a, a) * _dot(b, b)  # below 2**53 for images of up to 1,400 pixels
    with np.errstate(invalid="ignore"):
        return _dot(a, b) / np.sqrt(lengths.astype(np.float64))


def _mean(a: np.ndarray) -> np.ndarray:
    return a.sum(axis=1, dtype=np.int64) / a.shape[1]


_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "l1": _l1,
    "l2": _l2,
    "linf": _linf,
    "dot": _dot,
    "cosine": _cosine,
    "mean": _mean,
}
