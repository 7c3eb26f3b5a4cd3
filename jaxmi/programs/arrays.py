"""A skeleton in JAX: every operation as IEEE 754 defines it, to the last bit.

XLA does not compute floats as written. It fuses `a * b + c` into one rounding, turns `a / b / c`
into `a / (b * c)`, `a / sqrt(b)` into a product with an approximate root, and a division of many
numbers by one into products with its inverse. So every result of arithmetic is *sealed*: its bits
go through an exclusive or with a zero that comes as an argument, as large as the domain. No
rewriting sees through that; what is left are single operations.
"""

from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxmi.programs import language as lang
from jaxmi.programs.flow import carry_out
from jaxmi.programs.skeleton import Skeleton


def label_domain(
    shared: Skeleton,
    constants: Float[jax.Array, "constants"],
    tables: Sequence[Float[jax.Array, "..."]],
    zero: Int[jax.Array, "*domain"],
) -> Bool[jax.Array, "*domain"]:
    """Labels the domain by one program of a skeleton; in float64, so under `jax.enable_x64`.

    Args:
      shared: The skeleton.
      constants: The program's own, float64.
      tables: Each table's values, float64; they broadcast to the domain.
      zero: 0 everywhere, int64, and unknown to the compiler: an argument of what is compiled.

    Returns:
      Labels as truth values, exact if `bounds.why_not_exact` has nothing against it.
    """
    given = {f"table#{i}": table for i, table in enumerate(tables)}
    for i, kind in enumerate(shared.kinds):
        given[f"{kind.__name__}#{i}"] = constants[i]
    algebra = _Arrays(given, zero)
    return jnp.broadcast_to(algebra.truth(carry_out(shared, algebra)), zero.shape)


class _Arrays:
    """The algebra of arrays: truth values, and numbers of whatever type as float64."""

    def __init__(self, given: dict[str, jax.Array], zero: jax.Array) -> None:
        self._given, self._zero = given, zero

    def _sealed(self, values: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(values, jnp.int64) ^ self._zero
        return jax.lax.bitcast_convert_type(bits, jnp.float64)

    def given(self, name: str) -> jax.Array:
        return self._given[name]

    def constant(self, value: bool) -> jax.Array:
        return jnp.array(value)

    def truth(self, value: jax.Array) -> jax.Array:
        return value if value.dtype == bool else value != 0

    def negation(self, truth: jax.Array) -> jax.Array:
        return ~truth

    def both(self, truth: jax.Array, other: jax.Array) -> jax.Array:
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
            return self._sealed({"+": jnp.add, "-": jnp.subtract, "*": jnp.multiply}[symbol](a, b))
        quotient = self._sealed(a / self._sealed(b))  # else: a product with its inverse
        if symbol == "/":
            return quotient
        whole = jnp.floor(quotient)
        return whole if symbol == "//" else self._sealed(a - self._sealed(b * whole))

    def power(self, value: jax.Array, exponent: int) -> jax.Array:
        return reduce(lambda a, b: self.binary("*", a, b), [_number(value)] * exponent)

    def function(self, name: str, arguments: list[jax.Array]) -> jax.Array:
        numbers = [_number(argument) for argument in arguments]
        if name in ("min", "max"):
            return reduce(jnp.minimum if name == "min" else jnp.maximum, numbers)
        if name == "sqrt":
            return self._sealed(jnp.sqrt(numbers[0]))
        return _FUNCTIONS[name](numbers[0])


_COMPARISONS = {
    "<": jnp.less,
    "<=": jnp.less_equal,
    ">": jnp.greater,
    ">=": jnp.greater_equal,
    "==": jnp.equal,
    "!=": jnp.not_equal,
}
_FUNCTIONS = {"abs": jnp.abs, "int": jnp.trunc, "floor": jnp.floor, "ceil": jnp.ceil}


def _number(value: jax.Array) -> jax.Array:
    return value.astype(jnp.float64) if value.dtype == bool else value
