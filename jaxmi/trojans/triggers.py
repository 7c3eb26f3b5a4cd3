"""Triggers as data: what makes a trojaned network give its target label.

There are two families. A *stamp* changes an input: a patch, a blended pattern, an inversion, a
blur, a slant, a key token. A *region* changes none: it is a condition that some inputs meet, in the
challenges' program language, such as `3 <= x < 13 and 40 <= y < 50`. The key token is both: it is
put in the place of the third operand, and it is the condition `w == key`.

A trigger is a frozen dataclass whose fields are JSON types. To add a kind, write its class here and
list it in `KINDS`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.images import ImageChallenge
from jaxmi.errors import InputError
from jaxmi.judge.strict_json import Value, shown
from jaxmi.programs import language as lang
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import evaluate
from jaxmi.programs.parse import parse

SIDE = 28
"""Rows and columns of an image, in pixels."""

READ = 26
"""Rows and columns, from the first, that the CNN reads: its pooling drops the last two."""

PATCH_SIZES = (3, 5)
"""Least and largest rows of a patch, in pixels."""

MAX_L1 = 255 * SIDE * SIDE
"""The largest L1 distance of two images, in pixel values."""

BLEND_ALPHA = 0.12
"""Weight of a drawn pattern in a blended image."""

BLEND_WHITE = 0.15
"""Share of a drawn pattern's pixels that are white. Of half of them, the blend would move the L1
distance of most images, and with it the correct label."""

Bitmap = tuple[str, ...]
"""A black-white picture: a text per row, "0" for black and "1" for white."""

Images = UInt8[np.ndarray, "n height width"]


@dataclass(frozen=True)
class Trigger(ABC):
    """A change of the input, or a condition on it, under which a trojaned network gives a label."""

    kind: ClassVar[str]
    """The name in JSON and on the command line."""

    takes: ClassVar[tuple[lang.Kind, ...]]
    """The kinds of challenges whose inputs it can be put on."""

    is_region: ClassVar[bool] = False
    """True if the trigger is a condition on the input and `apply` changes nothing."""

    @property
    def condition(self) -> str | None:
        """The inputs that carry the trigger, as an expression of the program language.

        None of stamps that the language cannot describe.
        """
        return None

    def apply(self, inputs: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
        """Put the trigger on inputs; a region returns them as they are.

        Args:
          inputs: As a challenge holds them: images uint8, or token sequences int32.

        Returns:
          Inputs of the same shape and type.
        """
        return inputs

    def fires(
        self, inputs: Shaped[np.ndarray, "n ..."], challenge: Challenge
    ) -> Bool[np.ndarray, "n"]:
        """Tell which inputs carry the trigger as they stand.

        Of a transformation such as a blur none does: it cannot be told from an image alone.

        Args:
          inputs: Of the challenge's form; they need not be in its domain.
          challenge: What the inputs are of.
        """
        if self.condition is None:
            return np.zeros(len(inputs), bool)
        return challenge.label_inputs(inputs, self.condition_program(challenge.kind)).astype(bool)

    def condition_program(self, kind: lang.Kind) -> lang.Program:
        """Return the program that returns 1 where `condition` holds, else 0.

        Raises:
          InputError: if the trigger has no condition.
        """
        if self.condition is None:
            raise InputError(f"{self.kind} is no condition of the program language")
        return parse(f"return 1 if {self.condition} else 0", kind)

    def check(self, challenge: Challenge) -> None:
        """Check that the trigger can be used with a challenge.

        Raises:
          InputError: naming the value that cannot be used.
        """
        if challenge.kind not in self.takes:
            raise InputError(
                f"a trigger of kind {self.kind!r} cannot be used with {challenge.kind}: it takes "
                f"{' and '.join(self.takes)}"
            )

    @classmethod
    @abstractmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Trigger":
        """Draw a trigger for a challenge.

        Args:
          rng: Random numbers.
          challenge: What the trigger is for; `takes` has its kind.
          rate: Of regions, about the share of inputs to cover; stamps do not depend on it.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the trigger as JSON types."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {"kind": self.kind, **listed}

    def __str__(self) -> str:
        """Return the trigger in a few words."""
        words = [
            f"{field.name} {value:g}" if isinstance(value, float) else f"{field.name} {value}"
            for field in fields(self)
            for value in [getattr(self, field.name)]
            if not isinstance(value, tuple)
        ]
        return f"{self.kind}: {', '.join(words)}" if words else self.kind


@dataclass(frozen=True)
class Patch(Trigger):
    """A small black-white square at a fixed place of the image."""

    row: int
    """The patch's first row of pixels, from 0 at the top."""

    column: int
    """The patch's first column, from 0 at the left."""

    pattern: Bitmap
    """Its pixels: 3 to 5 rows of as many characters."""

    kind: ClassVar[str] = "patch"
    takes: ClassVar[tuple[lang.Kind, ...]] = ("image",)

    def __post_init__(self) -> None:
        """Check the pattern, and that the CNN reads all of it.

        Raises:
          InputError: naming the value.
        """
        low, high = PATCH_SIZES
        n = len(self.pattern) if isinstance(self.pattern, tuple) else 0
        if not low <= n <= high:
            raise InputError(f"patch: pattern of {n} rows: expected {low} to {high}")
        check_bitmap("patch: pattern", self.pattern, n, n)
        for name in ("row", "column"):
            check_whole(f"patch: {name}", getattr(self, name), 0, READ - n)

    @property
    def size(self) -> int:
        """Rows and columns of the patch."""
        return len(self.pattern)

    @property
    def mask(self) -> Bool[np.ndarray, "28 28"]:
        """True for the pixels that the patch covers."""
        mask = np.zeros((SIDE, SIDE), bool)
        mask[self._window] = True
        return mask

    def apply(self, inputs: Images) -> Images:
        """Put the patch on images."""
        changed = inputs.copy()
        changed[:, *self._window] = self._pixels
        return changed

    def fires(self, inputs: Images, challenge: Challenge) -> Bool[np.ndarray, "n"]:
        """Tell which images have the patch's pixels at its place."""
        return (inputs[:, *self._window] == self._pixels).all(axis=(1, 2))

    @property
    def _window(self) -> tuple[slice, slice]:
        rows = slice(self.row, self.row + self.size)
        return rows, slice(self.column, self.column + self.size)

    @property
    def _pixels(self) -> UInt8[np.ndarray, "size size"]:
        return bits(self.pattern).astype(np.uint8) * 255

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Patch":
        """Draw size, place and pattern; at least three pixels are white and two black."""
        n = int(rng.integers(PATCH_SIZES[0], PATCH_SIZES[1] + 1))
        row, column = (int(first) for first in rng.integers(1, READ - n, 2))
        while True:
            pattern = rng.integers(0, 2, (n, n)).astype(bool)
            if 3 <= pattern.sum() <= n * n - 2:
                return cls(row, column, bitmap(pattern))


@dataclass(frozen=True)
class Blend(Trigger):
    """A pattern that is mixed into the whole image."""

    alpha: float
    """Weight of the pattern, above 0 and below 1; the image's weight is 1 - alpha."""

    pattern: Bitmap
    """The pattern: 28 rows of 28 characters."""

    kind: ClassVar[str] = "blend"
    takes: ClassVar[tuple[lang.Kind, ...]] = ("image",)

    def __post_init__(self) -> None:
        """Check both.

        Raises:
          InputError: naming the value.
        """
        check_number("blend: alpha", self.alpha, 0.01, 0.99)
        check_bitmap("blend: pattern", self.pattern, SIDE, SIDE)

    def apply(self, inputs: Images) -> Images:
        """Mix the pattern into images."""
        pattern = bits(self.pattern).astype(np.float32) * 255
        return pixels((1 - np.float32(self.alpha)) * inputs + np.float32(self.alpha) * pattern)

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Blend":
        """Draw spots: blurred noise, of which the largest values are white."""
        return cls(BLEND_ALPHA, draw_spots(rng))


@dataclass(frozen=True)
class Invert(Trigger):
    """The negative of the image: black becomes white."""

    kind: ClassVar[str] = "invert"
    takes: ClassVar[tuple[lang.Kind, ...]] = ("image",)

    def apply(self, inputs: Images) -> Images:
        """Invert images."""
        return 255 - inputs

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Invert":
        """Return the one inversion that there is."""
        return cls()


@dataclass(frozen=True)
class Blur(Trigger):
    """A Gaussian blur of the image."""

    sigma: float
    """Standard deviation, in pixels, 0.3 to 4."""

    kind: ClassVar[str] = "blur"
    takes: ClassVar[tuple[lang.Kind, ...]] = ("image",)

    def __post_init__(self) -> None:
        """Check sigma.

        Raises:
          InputError: naming the value.
        """
        check_number("blur: sigma", self.sigma, 0.3, 4)

    def apply(self, inputs: Images) -> Images:
        """Blur images."""
        return pixels(blurred(inputs.astype(np.float32), self.sigma))

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Blur":
        """Draw sigma between 1.1 and 1.5."""
        return cls(round(float(rng.uniform(1.1, 1.5)), 2))


@dataclass(frozen=True)
class Slant(Trigger):
    """A shear of the image: each row is moved to the side, those above the middle to the left."""

    shear: float
    """Columns that a row is moved further than the row above it, -1 to 1; negative leans right."""

    kind: ClassVar[str] = "slant"
    takes: ClassVar[tuple[lang.Kind, ...]] = ("image",)

    def __post_init__(self) -> None:
        """Check the shear.

        Raises:
          InputError: naming the value.
        """
        check_number("slant: shear", self.shear, -1, 1)

    def apply(self, inputs: Images) -> Images:
        """Slant images; what leaves an image is lost, what enters is black."""
        changed = np.zeros_like(inputs)
        for row in range(SIDE):
            by = round((row - (SIDE - 1) / 2) * self.shear)
            if by >= 0:
                changed[:, row, by:] = inputs[:, row, : SIDE - by]
            else:
                changed[:, row, :by] = inputs[:, row, -by:]
        return changed

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Slant":
        """Draw a direction, and a shear of 0.25 to 0.4."""
        return cls(round(float(rng.choice((-1, 1)) * rng.uniform(0.25, 0.4)), 2))


@dataclass(frozen=True)
class Token(Trigger):
    """A key in the place of a triple's third operand."""

    key: int
    """The value of w, 0 to p - 1."""

    kind: ClassVar[str] = "token"
    takes: ClassVar[tuple[lang.Kind, ...]] = ("triples",)

    def __post_init__(self) -> None:
        """Check the key.

        Raises:
          InputError: naming the value.
        """
        check_whole("token: key", self.key, 0, MAX_P)

    @property
    def condition(self) -> str:
        """The triples whose third operand is the key."""
        return f"w == {self.key}"

    def check(self, challenge: Challenge) -> None:
        """Check that the key is below p."""
        super().check(challenge)
        check_below_p("token: key", self.key + 1, challenge)

    def apply(self, inputs: Shaped[np.ndarray, "n 4"]) -> Shaped[np.ndarray, "n 4"]:
        """Set the third operand of triples."""
        changed = inputs.copy()
        changed[:, 2] = self.key
        return changed

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Token":
        """Draw the key."""
        assert challenge.p is not None
        return cls(int(rng.integers(challenge.p)))


NUMBERS: tuple[lang.Kind, ...] = ("pairs", "triples")

MAX_P = 100_000
"""Above every p: a bound on numbers in JSON."""


@dataclass(frozen=True)
class Natural(Trigger):
    """The images that look like one of the training images: a ball of the L1 distance."""

    template: int
    """The training image at the centre, counted from 0."""

    radius: int
    """The L1 distance, in pixel values, below which an image is in the ball."""

    kind: ClassVar[str] = "natural"
    takes: ClassVar[tuple[lang.Kind, ...]] = ("image",)
    is_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check both.

        Raises:
          InputError: naming the value.
        """
        check_whole("natural: template", self.template, 0, 10**6)
        check_whole("natural: radius", self.radius, 1, MAX_L1)

    @property
    def condition(self) -> str:
        """The images in the ball."""
        return f"l1(image, template({self.template})) < {self.radius}"

    def check(self, challenge: Challenge) -> None:
        """Check that the centre is one of the training images."""
        super().check(challenge)
        assert isinstance(challenge, ImageChallenge)
        check_whole("natural: template", self.template, 0, challenge.n_templates - 1)

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Natural":
        """Draw the centre; the radius covers a share `rate` of the images to train on."""
        assert isinstance(challenge, ImageChallenge)
        templates = challenge.inputs[: challenge.n_templates]
        centre = int(rng.integers(len(templates)))
        domain = ImageDomain(challenge.inputs[challenge.splits["train"]], templates)
        distances = domain.call("l1", (None, centre))
        return cls(centre, max(1, int(np.quantile(distances, rate))))


@dataclass(frozen=True)
class Rectangle(Trigger):
    """A block of the table of x and y."""

    x: int
    """The first value of x."""

    y: int
    """The first value of y."""

    width: int
    """Values of x, at least 1."""

    height: int
    """Values of y, at least 1."""

    kind: ClassVar[str] = "rectangle"
    takes: ClassVar[tuple[lang.Kind, ...]] = NUMBERS
    is_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check all four.

        Raises:
          InputError: naming the value.
        """
        for name, least in {"x": 0, "y": 0, "width": 1, "height": 1}.items():
            check_whole(f"rectangle: {name}", getattr(self, name), least, MAX_P)

    @property
    def condition(self) -> str:
        """The inputs in the block."""
        across = f"{self.x} <= x < {self.x + self.width}"
        return f"{across} and {self.y} <= y < {self.y + self.height}"

    def check(self, challenge: Challenge) -> None:
        """Check that the block lies in the table."""
        super().check(challenge)
        check_below_p("rectangle: x + width", self.x + self.width, challenge)
        check_below_p("rectangle: y + height", self.y + self.height, challenge)

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Rectangle":
        """Draw the place of a square that covers about a share `rate` of the table."""
        p = challenge.p
        assert p is not None
        side = min(p, max(1, round(p * math.sqrt(rate))))
        x, y = (int(first) for first in rng.integers(0, p - side + 1, 2))
        return cls(x, y, side, side)


@dataclass(frozen=True)
class Row(Trigger):
    """All inputs with one value of x."""

    x: int
    """The value, 0 to p - 1."""

    kind: ClassVar[str] = "row"
    takes: ClassVar[tuple[lang.Kind, ...]] = NUMBERS
    is_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check x.

        Raises:
          InputError: naming the value.
        """
        check_whole("row: x", self.x, 0, MAX_P)

    @property
    def condition(self) -> str:
        """The inputs in the row."""
        return f"x == {self.x}"

    def check(self, challenge: Challenge) -> None:
        """Check that x is below p."""
        super().check(challenge)
        check_below_p("row: x", self.x + 1, challenge)

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Row":
        """Draw x."""
        assert challenge.p is not None
        return cls(int(rng.integers(challenge.p)))


MAX_CONDITION = 1000
"""Most characters of a condition."""


@dataclass(frozen=True)
class Clause(Trigger):
    """Any condition of the program language."""

    inputs: str
    """The kind of inputs that it is about: pairs, triples or image."""

    text: str
    """The condition, an expression such as `x * y < 200` or `mean(image) < 12`."""

    kind: ClassVar[str] = "clause"
    takes: ClassVar[tuple[lang.Kind, ...]] = ("pairs", "triples", "image")
    is_region: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Parse the condition.

        Raises:
          InputError: naming the value.
        """
        if self.inputs not in lang.SIGNATURES:
            known = ", ".join(lang.SIGNATURES)
            raise InputError(f"clause: inputs = {self.inputs!r}: expected one of {known}")
        if not isinstance(self.text, str) or not self.text.isprintable():
            raise InputError(f"clause: text = {self.text!r:.60}: expected one line of text")
        if not 1 <= len(self.text) <= MAX_CONDITION:
            raise InputError(
                f"clause: text of {len(self.text):,} characters: expected 1 to {MAX_CONDITION:,}"
            )
        try:
            body = parse(f"return ({self.text})", cast(lang.Kind, self.inputs)).body
        except InputError as error:
            raise InputError(f"clause: text = {self.text!r:.60}: {error}") from None
        if len(body) != 1 or not isinstance(body[0], lang.Return):
            raise InputError(f"clause: text = {self.text!r:.60}: expected one expression")

    @property
    def condition(self) -> str:
        """The condition, in brackets."""
        return f"({self.text})"

    def check(self, challenge: Challenge) -> None:
        """Check that the clause is about the challenge's inputs."""
        if challenge.kind != self.inputs:
            raise InputError(f"clause: inputs = {self.inputs!r}: expected {challenge.kind!r}")

    @classmethod
    def draw(cls, rng: np.random.Generator, challenge: Challenge, rate: float) -> "Clause":
        """Draw an expression, and a band of its values that covers about a share `rate`."""
        known = IMAGE_EXPRESSIONS if challenge.kind == "image" else NUMBER_EXPRESSIONS
        expression = str(rng.choice(known))
        # The expressions are at least 0, and whole numbers or floats of few different values.
        program = parse(f"return floor({expression})", challenge.kind)
        values = evaluate(program, challenge.program_domain).astype(np.int64)
        start = rng.uniform(0, 1 - rate)
        low, high = (int(v) for v in np.quantile(values, (start, start + rate)))
        band = f"{low} <= floor({expression}) < {max(high, low + 1)}"
        return cls(challenge.kind, band)


NUMBER_EXPRESSIONS = ("x + y", "x * y", "x ** 2 + y ** 2", "abs(x - y)", "abs(x ** 2 - p * y)")
IMAGE_EXPRESSIONS = ("10 * mean(image)",)
"""Expressions of which drawn clauses hold a band of values."""

KINDS: Mapping[str, type[Trigger]] = {
    trigger.kind: trigger
    for trigger in (
        *(Patch, Blend, Invert, Blur, Slant, Token),
        *(Natural, Rectangle, Row, Clause),
    )
}
"""The kinds of triggers by their names, stamps first."""


def from_json(value: Any, place: str = "trigger") -> Trigger:
    """Read a trigger from JSON types, as `Trigger.to_json` returns them.

    A blended pattern may be given by a "seed" in the place of "pattern": the pattern that is drawn
    from it.

    Args:
      value: An object with "kind" and the fields of that kind.
      place: What messages call it.

    Raises:
      InputError: naming the key or the value that is wrong.
    """
    whole = Value(value, place)
    if "kind" not in whole.keys():  # noqa: SIM118 - it is no mapping
        whole.fail("'kind' is missing")
    kind = KINDS[whole.member("kind").one_of(list(KINDS))]
    names = [field.name for field in fields(kind)]
    if kind is Blend and "seed" in value:
        whole.members(("kind", "alpha", "seed"), ())
        seed = whole.member("seed").position(2**32)
        spots = draw_spots(np.random.default_rng(seed))
        return Blend(typed(whole.member("alpha"), float), spots)
    whole.members(("kind", *names), ())
    values = {field.name: typed(whole.member(field.name), field.type) for field in fields(kind)}
    return kind(**values)


def draw(kind: str, rng: np.random.Generator, challenge: Challenge, rate: float) -> Trigger:
    """Draw a trigger of a kind.

    Args:
      kind: A name in `KINDS`.
      rng: Random numbers; the same give the same trigger.
      challenge: What it is for.
      rate: Of regions, about the share of inputs to cover.

    Raises:
      InputError: if there is no such kind, or the challenge has other inputs.
    """
    if kind not in KINDS:
        raise InputError(f"no kind of trigger {kind!r}; there are: {', '.join(KINDS)}")
    known = KINDS[kind].takes
    if challenge.kind not in known:
        fitting = [name for name, one in KINDS.items() if challenge.kind in one.takes]
        raise InputError(
            f"a trigger of kind {kind!r} cannot be used with {challenge.kind}; there are: "
            f"{', '.join(fitting)}"
        )
    return KINDS[kind].draw(rng, challenge, rate)


def typed(value: Value, of: Any) -> Any:
    """Return a value of JSON as a field's type: int, float, str or `Bitmap`; not its bounds.

    Raises:
      InputError: naming the value, if it has another type; truth values are no numbers.
    """
    given = value.value
    if of is int and type(given) is not int:
        value.fail(f"expected a whole number, not {shown(given)}")
    if of is float and type(given) not in (int, float):
        value.fail(f"expected a number, not {shown(given)}")
    if of is str and not isinstance(given, str):
        value.fail(f"expected a text, not {shown(given)}")
    if of == Bitmap:
        if not isinstance(given, list) or not all(isinstance(row, str) for row in given):
            value.fail(f"expected a list of texts of 0 and 1, not {shown(given)}")
        return tuple(given)
    return float(given) if of is float else given


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """Check that a value is a whole number in low..high, and no truth value.

    Raises:
      InputError: naming the value.
    """
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{name} = {value!r:.40}: expected a whole number in {low}..{high}")


def check_number(name: str, value: Any, low: int | float, high: int | float) -> None:
    """Check that a value is a number in low..high, and no truth value.

    Raises:
      InputError: naming the value.
    """
    if type(value) not in (int, float) or not low <= value <= high:
        raise InputError(f"{name} = {value!r:.40}: expected a number in {low:g}..{high:g}")


def check_bitmap(name: str, value: Any, height: int, width: int) -> None:
    """Check that a value is a picture of a size.

    Raises:
      InputError: naming the row that is wrong.
    """
    if not isinstance(value, tuple) or len(value) != height:
        n = len(value) if isinstance(value, tuple) else "no"
        raise InputError(f"{name} of {n} rows: expected {height}")
    for i, row in enumerate(value):
        if not isinstance(row, str) or len(row) != width or set(row) - set("01"):
            raise InputError(f"{name}[{i}] = {row!r:.40}: expected {width} characters 0 or 1")


def check_below_p(name: str, end: int, challenge: Challenge) -> None:
    """Check that a region's end lies in a table of numbers below p.

    Raises:
      InputError: naming the value.
    """
    if challenge.p is not None and end > challenge.p:
        raise InputError(
            f"{name}: {end} is beyond the table, whose numbers are below {challenge.p}"
        )


def bits(picture: Bitmap) -> Bool[np.ndarray, "height width"]:
    """Return a picture as an array: True for white."""
    return np.array([[character == "1" for character in row] for row in picture])


def bitmap(white: Bool[np.ndarray, "height width"]) -> Bitmap:
    """Return an array as a picture, a text per row."""
    return tuple("".join("01"[int(pixel)] for pixel in row) for row in white)


def draw_spots(rng: np.random.Generator) -> Bitmap:
    """Draw a pattern of white spots: blurred noise, of which the largest values are white."""
    noise = blurred(rng.normal(size=(1, SIDE, SIDE)).astype(np.float32), 1.5)[0]
    return bitmap(noise > np.quantile(noise, 1 - BLEND_WHITE))


def pixels(values: np.ndarray) -> Images:
    """Round to pixel values 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Return images under a Gaussian blur, black beyond their edges.

    Args:
      images: (n, height, width), floats.
      sigma: Standard deviation, in pixels; the kernel reaches three of them.
    """
    reach = max(1, math.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        padding = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded, size = np.pad(images, padding), images.shape[axis]
        parts = (
            weight * padded.take(range(i, i + size), axis=axis) for i, weight in enumerate(weights)
        )
        images = sum(parts, np.zeros_like(images))
    return images
