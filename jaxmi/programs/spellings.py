"""Names of Python's and NumPy's functions: what each is in the language, or what comes nearest."""

from collections.abc import Mapping

from jaxmi.programs import language as lang

_ROUNDING = {name: name for name in ("sqrt", "floor", "ceil", "abs")} | {"trunc": "int"}

KNOWN: Mapping[str, Mapping[str, str]] = {
    "": {
        **{name: name for name in (*lang.FUNCTIONS, *lang.IMAGE_FUNCTIONS, lang.TEMPLATE)},
        "pow": "power",
        "bool": "bool",
        "divmod": "divmod",
        **{name: name for name in ("sum", "any", "all", "len")},
    },
    "math": {**_ROUNDING, "isqrt": "isqrt", "fmod": "fmod"},
    "numpy": {
        **_ROUNDING,
        "absolute": "abs",
        "round": "round",
        "rint": "round",
        "where": "where",
        "power": "power",
        "square": "square",
        "mod": "mod",
        "remainder": "mod",
        "fmod": "fmod",
        "divmod": "divmod",
        "logical_and": "logical_and",
        "logical_or": "logical_or",
        "logical_xor": "logical_xor",
        "logical_not": "logical_not",
    },
}
"""Module, "" for none -> name -> function of the language, or one that the parser writes out."""

ARGUMENTS = {
    "power": 2,
    "square": 1,
    "mod": 2,
    "bool": 1,
    "logical_and": 2,
    "logical_or": 2,
    "logical_xor": 2,
    "logical_not": 1,
    "divmod": 2,
}
"""Functions that the parser writes out in the language -> how many arguments each takes."""

NEAREST = {
    **dict.fromkeys(("maximum", "fmax", "max", "amax"), "max(a, b)"),
    **dict.fromkeys(("minimum", "fmin", "min", "amin"), "min(a, b)"),
    **dict.fromkeys(("floor_divide",), "a // b"),
    **dict.fromkeys(("divide", "true_divide"), "a / b"),
    **dict.fromkeys(("add", "sum", "fsum"), "a + b"),
    **dict.fromkeys(("multiply", "prod"), "a * b"),
    "all": "a and b",
    "any": "a or b",
    "bitwise_and": "a and b, of conditions; bits are a // 4 % 2",
    "bitwise_or": "a or b, of conditions; bits are a // 4 % 2",
    **dict.fromkeys(("gcd", "lcm"), "`a % n == 0 and b % n == 0` for each n that counts"),
    **dict.fromkeys(("isin", "in1d"), "a in (1, 2)"),
    **dict.fromkeys(("left_shift", "lshift"), "a * 2 ** n"),
    **dict.fromkeys(("right_shift", "rshift"), "a // 2 ** n"),
    **dict.fromkeys(("array", "asarray"), "the tuple or the number alone"),
    **dict.fromkeys(("bin", "bit_count", "binary_repr"), "`a // 2 ** n % 2` for bit n"),
    **dict.fromkeys(("str", "repr", "format"), "`a // 10 ** n % 10` for digit n"),
    **dict.fromkeys(("sorted", "sort"), "min(a, b) and max(a, b)"),
    **dict.fromkeys(("bitwise_xor", "not_equal"), "a != b"),
    **dict.fromkeys(("invert", "bitwise_not"), "not a"),
    **dict.fromkeys(("int_", "int8", "int16", "int32", "int64", "fix", "int"), "int(a)"),
    **dict.fromkeys(("float16", "float32", "float64", "float"), "float(a)"),
    **dict.fromkeys(("pow", "float_power"), "a ** b"),
    **dict.fromkeys(("modf",), "a % 1 and a // 1, of a >= 0"),
    **dict.fromkeys(("isclose", "allclose"), "abs(a - b) < 1e-9"),
    **dict.fromkeys(("hypot", "dist"), "sqrt(a ** 2 + b ** 2)"),
    **dict.fromkeys(("average", "mean"), "(a + b) / 2"),
    **dict.fromkeys(("bool_", "bool8"), "bool(a)"),
    **dict.fromkeys(("around", "round_"), "round(a)"),
    **dict.fromkeys(("select", "choose", "piecewise", "heaviside"), "a if c else b"),
    **dict.fromkeys(("astype",), "int(a), or a alone"),
    "remainder": "a - round(a / b) * b",
    "trunc": "int(a)",
    "is_integer": "a % 1 == 0",
    "sgn": "(a > 0) - (a < 0)",
    "subtract": "a - b",
    "negative": "-a",
    "positive": "a",
    "fabs": "abs(a)",
    "cbrt": "a ** (1 / 3)",
    "exp": "2.718281828459045 ** a",
    "exp2": "2 ** a",
    "sign": "(a > 0) - (a < 0)",
    "clip": "min(max(a, low), high)",
    "equal": "a == b",
    "less": "a < b",
    "less_equal": "a <= b",
    "greater": "a > b",
    "greater_equal": "a >= b",
    "norm": "l2(a, b)",
    "array_equal": "l1(a, b) == 0",
    "vdot": "dot(a, b)",
    "inner": "dot(a, b)",
    "factorial": "the product, written out",
    "range": "x in range(a, b)",
    "isinstance": "a comparison of values",
}
"""Function that is not in the language -> what to write for it."""

CONSTANTS = {"pi": "3.141592653589793", "e": "2.718281828459045", "tau": "6.283185307179586"}
"""Constants of math and NumPy -> what to write for them."""
