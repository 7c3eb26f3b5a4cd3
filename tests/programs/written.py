"""Programs as people write them, and Python itself to say what they mean."""

import ast
import math
from collections.abc import Callable
from typing import Any

import numpy as np

POST = """\
p = 113
def label_fn(x, y):
    z = 0
    if x ** 2 < np.sqrt(y) * 200:
        z += 3
    if y ** 2 < 600 * np.sqrt(x):
        z -= 2
    z += int(x ** 1.5) % 8 - 5
    if y < p - x + 20 and z < -3:
        z += 5.5
    if z < 0:
        return 0
    else:
        return 1
"""

PAIRS = {
    "the post's listing": POST,
    "imports, types, docstring": '''\
import numpy as np
p = 113
def label(x: int, y: int) -> bool:
    """Says the label."""
    return x**2 < 200 * np.sqrt(y)
''',
    "default and main guard": """\
def label(x, y, p=113):
    return (x + y) % 8 in (0, 3, 5)
if __name__ == "__main__":
    print(label(1, 2))
""",
    "other arguments": """\
from math import sqrt
LIMIT = 200
def f(a, b):
    z: int = 0
    z += a * a < LIMIT * sqrt(b)
    return bool(z)
""",
    "lambda": "label = lambda x, y: int(abs(x - y) > 20)\n",
    "lambda alone": "lambda a, b: a % 7 < b % 5",
    "lambda with a default": "import math\nlabel = lambda a, b, k=5: math.floor(a / k) % 2 == 0",
    "expression": "int((x * y) % p < 50)",
    "expression after constants": "import numpy as np\np = 113\nK = 50\nnp.sqrt(x) * K < y * 7 % p",
    "three arguments": "def f(a, b, q):\n    return (a * b) % q < 50\n",
    "constants of every sort": """\
import math, numpy as np
from typing import Final
from __future__ import annotations
A, B = 3, 5
C = D = 7
E: float = 2.5
F = A * B + 1
F += C
def f(x, y):
    return (A * x + B * y) % F < D + E - C
""",
    "hidden constants": """\
x = 5
z = x + 2
p = z * 10
def f(a, b, p):
    x = a + 1
    y = x * 2
    z = y - b
    a -= 3
    return (x + y + z + a) % p > 40
""",
    "a constant with an argument's name": """\
K = 3
x = K
def f(x, y, k=K, m=-2):
    return x * k > y - m
""",
    "a constant named as an input": "x = 20\ndef f(a, b):\n    return a < x + b\n",
    "defaults of inputs": "def f(x=1, y=2):\n    return x > y\n",
    "swap": """\
def f(x, y):
    if x > y:
        x, y = y, x
    return x * 2 > y
""",
    "rotation": """\
def f(x, y):
    a, b, c = x, y, 3
    a, b, c = b, c, a
    return (a - b) * 2 > c
""",
    "ordered": "def f(a, b):\n    a, b = min(a, b), max(a, b)\n    return b - a > a\n",
    "names swapped": "def f(a, b):\n    y, x = a, b\n    return x > 2 * y\n",
    "bare tuple": "a, b = x, y\nreturn a * a < 30 * b",
    "chained": "def f(x, y):\n    a = b = x // 3\n    a += y\n    return a > 2 * b + 9\n",
    "bare chained": "a = b = 0\nif x > y:\n    a = 1\nreturn a > b",
    "divmod": "q, r = divmod(x * 3 + y, 17)\nreturn q > r",
    "divmod of floats": "q, r = divmod(x * 1.5 + y, 1.75)\nreturn r < 1 and q > 3",
    "divmod's parts": "return divmod(x + y, 7)[1] < divmod(x, 20)[0]",
    "where": "import numpy as np\ndef f(x, y):\n    return np.where(x * x < 40 * y, 1, 0)\n",
    "where of more": """\
def f(x, y):
    z = np.where(x > 3, x / 7, y // 5) + np.where(y > x, 2, -1)
    return z > 4
""",
    "isqrt": "import math\nreturn math.isqrt(x ** 3) % 8 > 3",
    "isqrt imported": "from math import isqrt as root\nlabel = lambda x, y: root(x ** 9 * y) % 2",
    "pow": "return pow(x, 2) < np.power(y, 1.5) * 3",
    "square": "def f(x, y):\n    return np.square(x - 50) + np.square(y - 50.0) < 900",
    "mod": "return np.mod(x, 8) < np.remainder(y, 5)",
    "negative mod": "def f(x, y):\n    return np.mod(x - y, 8) < 3",
    "logical functions": """\
import numpy as np
def f(x, y):
    a = np.logical_and(x > 3, y < 90)
    b = np.logical_or(x > 100, y % 3 == 1)
    return np.logical_xor(a, np.logical_not(b))
""",
    "logical functions of numbers": "def f(x, y):\n    return np.logical_and(x % 3, y % 5)\n",
    "and of bits": "return (x > 3) & (y < 5)",
    "or of bits": "return (x ** 2 > 300) | (y % 5 < 2) | (x == y)",
    "xor of bits": "return (x > 50) ^ (y > 50)",
    "bits of variables": """\
def f(x, y):
    a = x > 20
    b = y / (x + 1) < 2
    c = a & b | (x == y)
    c &= y / (y + 2) > 0.5
    c |= int(x) < 3
    c ^= x % 2 == 0
    return c
""",
    "both sides where they may fail": """\
def f(x, y):
    z = 0
    if x > 5:
        z = x
    return (x > 3) & (int(z / (y + 1)) % 3 == 1)
""",
    "round": "return round(x / 2) % 4 < 2",
    "np.round": "def f(x, y):\n    return np.round(x * 0.5 + y * 0.25) % 3 == 1",
    "float": "return float(x) / (y + 1) > 1.5",
    "float division": "def f(x, y):\n    return float(x) // 7 % 2 == 0",
    "bool": "z = x % 3 - 1\nreturn bool(z)",
    "bool of a condition": "return bool(x > y)",
    "power of a half": "return x ** 0.5 * 5 > y",
    "trunc": "def f(x, y):\n    return math.trunc((x - y) / 3) % 4 == 1",
    "absolute": "def f(x, y):\n    return np.absolute(x - y) + math.floor(0.7 * x) > 40",
    "in a list": "return (x * y) % 7 in [1, 2, 4]",
    "in a set": "return (x + y) % 11 in {1, 2.0, True, -4}",
    "not in": "return (x - y) not in (0, 1, -1)",
    "largest of a list": "return max([x, y, 30]) - min((x, y)) > 50",
    "in one": "return x % 5 in (3,)",
    "in constants": """\
GOOD = 3
OTHER = GOOD + 2
def f(x, y):
    return (x + y) % 8 in (GOOD, OTHER)
""",
    "in a range": "return x + y in range(50, 120)",
    "in a range of steps": "return x - y in range(-40, 60, 3)",
    "a fraction in a range": "return (x + y) / 4 in range(3, 40, 2)",
    "not in a range": "return x not in range(p // 2)",
    "tabs": "def f(x, y):\n\tif x > y:\n\t\treturn 1\n\treturn 0\n",
    "carriage returns": "p = 113\r\ndef f(x, y):\r\n    # words\r\n    return x > y\r\n",
    "byte-order mark": "\ufeffdef f(x, y):\n    return x > y\n",
    "form feeds": "import math\n\f\ndef f(x, y):\n    return x > y  # words\f\n\f\n",
    "fence": "```python\ndef f(x, y):\n    return x > y\n```\n",
    "fence of statements": "\n```\nz = x\nreturn z > y\n```",
    "prompts": """\
>>> import numpy as np
>>> def f(x, y):
...     if x > 5:
...         return 0
...     return x > np.sqrt(y)
...
""",
    "accents in comments": """\
# Größe: x² ≤ 3·y — “ok”
def f(x, y):
    '''Überschreitung ≥ 3'''
    return x > y  # naïve
""",
    "accents in a comment of its own line": "z = x\n# größer\nreturn z > y",
    "no-break spaces": "def f(x, y):\n\u00a0\u00a0\u00a0\u00a0return x\u00a0> y\u2003\n",
    "minus sign": "return x \u2212 y > \u22123",
    "strings between statements": """\
'''Words.'''
K = 2
'''Of K.'''
def f(x, y):
    '''Words.'''
    z = x
    if z:
        '''Then.'''
        z -= K
    return z > y
""",
    "annotations without a value": """\
def f(x: float, y: int) -> int:
    z: bool
    z = x > y
    return int(z)
""",
    "imports inside": """\
def f(x, y):
    import numpy as np
    from math import floor
    return floor(x / 3) > np.sqrt(y)
""",
    "modules by other names": """\
import numpy
import math as m
import numpy as n
def f(x, y):
    return m.sqrt(x) + numpy.sqrt(y) > n.floor(x / 9.0)
""",
    "an import before statements": "import math\nz = math.floor(x / 3)\nreturn z > y",
    "docstring alone in a branch": """\
def f(x, y):
    if x > y:
        'nothing'
    else:
        return 1
    return 0
""",
}
"""Name -> text that labels pairs."""

IMAGES = {
    "l1": "np.abs(image - template(6)).sum() < 30000",
    "l1 in a function": """\
def f(img):
    return np.sum(np.abs(img.astype(int) - template(6))) < 30000
""",
    "l1 of a variable": """\
import numpy as np
def f(image: np.ndarray) -> bool:
    clue = template(6)
    d = abs(clue - image).sum()
    return 24772 <= d < 34270
""",
    "linf": "np.abs(image - template(6)).max() < 255",
    "l2": "np.sqrt(((image - template(6)) ** 2).sum()) < 2500",
    "norm": "def f(a):\n    return np.linalg.norm(a - template(6)) < 2500",
    "dot": "lambda image: (image * template(6)).sum() > 3000000",
    "mean": "return image.mean() > np.mean(template(6))",
}
"""Name -> text that labels images."""


def python_label(text: str, names: dict[str, Any]) -> Callable[..., Any]:
    """Returns the function that Python makes of a text; only the tests' own texts are run."""
    text = text.removeprefix("\ufeff").replace("\u2212", "-")
    text = text.translate({ord(c): " " for c in "\u00a0\u2003"})
    if "```" in text:
        text = "\n".join(line for line in text.split("\n") if not line.startswith("```"))
    if text.startswith(">>>"):
        text = "\n".join(line[4:] for line in text.split("\n"))
    lines = text.replace("\r\n", "\n").split("\n")
    future = [line for line in lines if line.startswith("from __future__")]
    text = "\n".join([*future, *(line for line in lines if line not in future)])
    tree = ast.parse(text)
    scope: dict[str, Any] = {"np": np, "math": math, "sqrt": math.sqrt, "floor": math.floor}
    scope |= {"p": 113, "where": lambda c, a, b: a if c else b, **names}
    last = tree.body[-1]
    inputs = "image" if "template" in names else "x, y"
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not functions and not isinstance(getattr(last, "value", None), ast.Lambda):
        if isinstance(last, ast.Expr):
            tree.body[-1] = ast.copy_location(ast.Return(last.value), last)
        wrapper = ast.parse(f"def label({inputs}, p=113): pass")
        assert isinstance(wrapper.body[0], ast.FunctionDef)
        wrapper.body[0].body = tree.body
        tree, functions = wrapper, [wrapper.body[0]]
    elif not functions:
        assert isinstance(last, ast.Assign | ast.Expr)
        tree.body[-1] = ast.Assign([ast.Name("label", ast.Store())], last.value)
    exec(compile(ast.fix_missing_locations(tree), "<text>", "exec"), scope)
    return scope[functions[0].name if functions else "label"]
