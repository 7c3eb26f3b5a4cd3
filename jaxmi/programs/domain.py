"""What programs are evaluated on: all pairs of numbers below p, or many images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.image_functions import image_function

P = 113
"""Challenge 2's own modulus: its inputs are 0 <= x, y < 113."""


KEPT = 64
"""How many scores of images are kept, to be asked for again."""


@dataclass(frozen=True, eq=False)
class PairDomain:
    """All pairs (x, y) with 0 <= x, y < p."""

    p: int = P
    """How many values x and y take, >= 1."""

    kind: ClassVar[lang.Kind] = "pairs"

    def __post_init__(self) -> None:
        """Checks p.

        Raises:
          InputError: if there is no pair.
        """
        if self.p < 1:
            raise InputError(f"p = {self.p}: expected at least 1")

    @property
    def shape(self) -> tuple[int, ...]:
        """(p, p), row = x."""
        return self.p, self.p

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Returns each input's values, in an array that broadcasts to the domain's shape.

        What depends on x alone is thus computed p times, not p * p times.
        """
        numbers = np.arange(self.p)
        return {"x": numbers[:, None], "y": numbers[None, :], "p": np.array([[self.p]])}

    def call(self, function: str, arguments: tuple[int | None, ...]) -> np.ndarray:
        """Raises AssertionError: a program on pairs has no images."""
        raise AssertionError(f"{function} of {arguments} in a program on pairs")

    def describe(self, position: int) -> str:
        """Names an input by its place in domain order."""
        return "x = {}, y = {}".format(*divmod(position, self.p))


@dataclass(frozen=True, eq=False)
class ImageDomain:
    """Many images, and those that programs may compare them with."""

    images: UInt8[np.ndarray, "n height width"]
    """The images that are labelled."""

    templates: UInt8[np.ndarray, "m height width"]
    """What `template(index)` refers to: MNIST's training images."""

    _computed: dict[tuple[str, tuple[int | None, ...]], np.ndarray] = field(
        default_factory=dict, repr=False
    )

    kind: ClassVar[lang.Kind] = "image"

    def __post_init__(self) -> None:
        """Checks the pixels.

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

    def inputs(self) -> Mapping[str, np.ndarray]:
        """Returns nothing: the image is not a number."""
        return {}

    def call(self, function: str, arguments: tuple[int | None, ...]) -> np.ndarray:
        """Computes a function of images, once.

        Args:
          function: One of `language.IMAGE_FUNCTIONS`.
          arguments: Which images: a training image's index, or None for the image that is labelled.

        Returns:
          (n,), or (1,) if the labelled image is not among the arguments. Whole numbers but for l2,
          cosine and mean.

        Raises:
          InputError: if there is no such training image.
        """
        key = (function, arguments)
        if key not in self._computed:
            for index in arguments:
                if index is not None and index >= len(self.templates):
                    raise InputError(f"template({index}): there are {len(self.templates)} images")
            stacks = [self.images if i is None else self.templates[i][None] for i in arguments]
            if len(self._computed) >= KEPT:
                self._computed.pop(next(iter(self._computed)))  # the oldest
            self._computed[key] = image_function(function, stacks)
        return self._computed[key]

    def describe(self, position: int) -> str:
        """Names an input by its place in domain order."""
        return f"image {position}"


Domain = PairDomain | ImageDomain
