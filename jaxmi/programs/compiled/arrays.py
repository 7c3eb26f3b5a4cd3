"""A skeleton's labels in JAX, with every operation rounded as IEEE 754 prescribes.

XLA does not compute floats as written. It fuses `a * b + c` into one rounding, turns `a / b / c`
into `a / (b * c)`, `a / sqrt(b)` into a product with an approximate root, and a division of many
numbers by one into products with its inverse. So every result of arithmetic passes a *barrier*: an
exclusive or of its bits with a zero that is an argument of the compiled function, as large as the
domain. XLA cannot know that it is zero, and so cannot merge operations across the barrier.
"""

from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxmi.programs import language as lang
from jaxmi.programs.compiled.flow import interpret
from jaxmi.programs.compiled.skeleton import Skeleton


def label_domain(
    skeleton: Skeleton,
    constants: Float[jax.Array, "constants"],
    tables: Sequence[Float[jax.Array, "..."]],
    zero: Int[jax.Array, "*domain"],
) -> Bool[jax.Array, "*domain"]:
    """Label the domain by one program of a skeleton; call it under `jax.enable_x64`.

    Args:
      skeleton: The program's skeleton.
      constants: The program's constants, (constants,) float64.
      tables: Each table's values, float64, in shapes that broadcast to the domain's.
      zero: Zeros of the domain's shape, int64; an argument of the compiled function, so that the
        compiler does not know them.

    Returns:
      Labels as truth values, in the domain's shape; exact if `bounds.why_not_exact` returns None.
    """
    leaves = {f"table#{i}": table for i, table in enumerate(tables)}
    for i, kind in enumerate(skeleton.kinds):
        leaves[f"{kind.__name__}#{i}"] = constants[i]
    algebra = _Arrays(leaves, zero)
    return jnp.broadcast_to(algebra.truth(interpret(skeleton, algebra)), zero.shape)


class _Arrays:
    """The algebra of arrays: truth values as bool, all numbers as float64."""

    def __init__(self, leaves: dict[str, jax.Array], zero: jax.Array) -> None:
        self._leaves, self._zero = leaves, zero

    def _barrier(self, values: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(values, jnp.int64) ^ self._zero
        return jax.lax.bitcast_convert_type(bits, jnp.float64)

    def leaf(self, name: str) -> jax.Array:
        return self._leaves[name]

    def constant(self, value: bool) -> jax.Array:
        return jnp.array(value)

    def truth(self, value: jax.Array) -> jax.Array:
        return value if value.dtype == bool else value != 0

    def negation(self, truth: jax.Array) -> jax.Array:
        return ~truth

    def conjunction(self, truth: jax.Array, other: jax.Array) -> jax.Array:
        return truth & other

    def choose(self, truth: jax.Array, then: jax.Array, otherwise: jax.Array) -> jax.Array:
        if then.dtype != otherwise.dtype:
            then, otherwise = _number(then), _number(otherwise)
        return jnp.where(truth, then, otherwise)

    def compare(self, symbol: lang.Comparison, a: jax.Array, b: jax.Array) -> jax.Array:
        return _COMPARISONS[symbol](_number(a), _number(b))

    def negative(self, value: jax.Array) -> jax.Array:
        return -_number(value)

    def binary(self, symbol: lang.BinaryOperator, a: jax.Array, b: jax.Array) -> jax.Array:
        a, b = _number(a), _number(b)
        if symbol in ("+", "-", "*"):
            return self._barrier({"+": jnp.add, "-": jnp.subtract, "*": jnp.multiply}[symbol](a, b))
        quotient = self._barrier(a / self._barrier(b))  # without it: a product with the inverse
        if symbol == "/":
            return quotient
        floor = jnp.floor(quotient)
        return floor if symbol == "//" else self._barrier(a - self._barrier(b * floor))

    def power(self, value: jax.Array, exponent: int) -> jax.Array:
        return reduce(lambda a, b: self.binary("*", a, b), [_number(value)] * exponent)

    def function(self, name: str, arguments: list[jax.Array]) -> jax.Array:
        numbers = [_number(argument) for argument in arguments]
        if name in ("min", "max"):
            return reduce(jnp.minimum if name == "min" else jnp.maximum, numbers)
        if name == "fmod":
            a, b = numbers
            quotient = self._barrier(a / self._barrier(b))
            return self._barrier(a - self._barrier(b * jnp.trunc(quotient)))
        if len(arguments) > 1 and name != "where":
            raise AssertionError(f"{name} of several numbers has no bounds")
        if name == "sqrt":
            return self._barrier(jnp.sqrt(numbers[0]))
        if name == "isqrt":
            return jnp.floor(self._barrier(jnp.sqrt(numbers[0])))
        if name == "where":
            return self.choose(self.truth(arguments[0]), *arguments[1:])
        return _FUNCTIONS[name](numbers[0])

    def item(self, elements: list[jax.Array], index: jax.Array) -> jax.Array:
        place, n = _number(index), len(elements)
        place = jnp.where(place < 0, place + n, place)
        result, *others = elements
        for i, value in enumerate(others, 1):
            result = self.choose(place == i, value, result)
        return result


_COMPARISONS = {
    "<": jnp.less,
    "<=": jnp.less_equal,
    ">": jnp.greater,
    ">=": jnp.greater_equal,
    "==": jnp.equal,
    "!=": jnp.not_equal,
}
_FUNCTIONS = {
    "abs": jnp.abs,
    "int": jnp.trunc,
    "floor": jnp.floor,
    "ceil": jnp.ceil,
    "round": jnp.rint,
    "float": lambda values: values,
}


def _number(value: jax.Array) -> jax.Array:
    return value.astype(jnp.float64) if value.dtype == bool else value
