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
    },
    "math": {**_ROUNDING, "isqrt": "isqrt"},
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
    **dict.fromkeys(("bitwise_and", "all"), "a and b"),
    **dict.fromkeys(("bitwise_or", "any"), "a or b"),
    **dict.fromkeys(("bitwise_xor", "not_equal"), "a != b"),
    **dict.fromkeys(("invert", "bitwise_not"), "not a"),
    **dict.fromkeys(("int_", "int8", "int16", "int32", "int64", "fix", "int"), "int(a)"),
    **dict.fromkeys(("float16", "float32", "float64", "float"), "float(a)"),
    **dict.fromkeys(("pow", "float_power"), "a ** b"),
    **dict.fromkeys(("fmod", "modf"), "a % b, whose sign is that of b"),
    **dict.fromkeys(("isclose", "allclose"), "abs(a - b) < 1e-9"),
    **dict.fromkeys(("hypot", "dist"), "sqrt(a ** 2 + b ** 2)"),
    **dict.fromkeys(("average", "mean"), "(a + b) / 2"),
    **dict.fromkeys(("bool_", "bool8"), "bool(a)"),
    **dict.fromkeys(("around", "round_"), "round(a)"),
    **dict.fromkeys(("select", "choose", "piecewise", "heaviside"), "a if c else b"),
    **dict.fromkeys(("astype", "array", "asarray"), "int(a), or a alone"),
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
