"""Hostile texts, each with what it tries; run as a program, feeds them to the parser, measured.

Most are no programs of the language. A few are legal, and would keep Python itself busy for years.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANY = 1_000_000

MEGABYTES = 200
"""Of address space, that is, more than what is used of it, for the process that reads texts."""


def texts() -> dict[str, str]:
    """Returns all texts that are no programs, by name."""
    categories = (_other_python, _reaching_out, _nested, _characters, _large, _layout)
    return {f"{c.__name__[1:]} {i}": text for c in categories for i, text in enumerate(c())}


def bombs() -> dict[str, str]:
    """Returns all texts that are programs; they can be refused only when they are evaluated."""
    return {f"bomb {i}": text for i, text in enumerate(_bombs())}


def _other_python() -> Iterator[str]:
    """Statements and expressions that are Python and not of the language."""
    for statement in (
        "import os",
        "import os.path as np",
        "import numpy as np",
        "from os import *",
        "from . import x",
        "from __future__ import annotations",
        "for x in range(9): pass",
        "for x in [1]: x",
        "while True: pass",
        "while x: x -= 1",
        "del x",
        "global x",
        "nonlocal x",
        "assert x",
        "assert x, 'words'",
        "raise x",
        "raise ValueError from x",
        "try:\n  x\nexcept:\n  pass",
        "try:\n  x = 1\nfinally:\n  x = 2",
        "try:\n  x\nexcept* ValueError:\n  pass",
        "with x: pass",
        "with open('/etc/passwd') as f: pass",
        "async def f(): pass",
        "async for x in y: pass",
        "async with x: pass",
        "class A: pass",
        "class A(metaclass=B): x = 1",
        "def f(x): return x",
        "def f(x): return f(x)",
        "@property\ndef f(x): return 1",
        "match x:\n  case 1: x = 2",
        "match x:\n  case {'a': [y, *_]}: x = 2",
        "x: int = 1",
        "x: __import__('os') = 1",
        "x = y = 1",
        "x, y = y, x",
        "(x, *y) = p",
        "[x] = y",
        "x[0] = 1",
        "x.y = 1",
        "x.y += 1",
        "x @= y",
        "x |= 1",
        "x >>= 1",
        "x **= 'a'",
        "x",
        "...",
        "yield x",
        "await x",
        "break",
        "continue",
        "type X = int",
        "print x",
        "exec 'x = 1'",
        "lambda: 1",
    ):
        yield f"{statement}\nreturn 1"
    for expression in (
        "lambda: 1",
        "(lambda x: x)(1)",
        "(lambda f: f(f))(lambda f: f(f))",
        "[x for x in y]",
        "{x for x in y}",
        "{x: x for x in y}",
        "(x for x in y)",
        "sum(x for x in y)",
        "[[[a for a in b] for b in c] for c in d]",
        "[x async for x in y]",
        "[x, y]",
        "(x, y)",
        "x, y",
        "{x}",
        "{x: y}",
        "{**x}",
        "[*x]",
        "*x",
        "(x := 1)",
        "(x := x ** x)",
        "f'{x}'",
        "f'{x!r:>{y}}'",
        "f'{f\"{x}\"}'",
        "'a' 'b'",
        "'a' * 999999999",
        "'%s' % x",
        "'{0.__class__}'.format(x)",
        "b'a'",
        "r'\\d'",
        "'''words'''",
        "'\\N{DIGIT ONE}'",
        "1j",
        "1 + 2j",
        "None",
        "...",
        "NotImplemented",
        "Ellipsis",
        "x[0]",
        "x[:]",
        "x[y, ...]",
        "x if y",
        "x ? y : p",
        "x && y",
        "!x",
        "x <> y",
        "x === y",
        "x is y",
        "x is not y",
        "x in y",
        "x not in y",
        "1 < x in (1, 2)",
        "x & y",
        "x | y",
        "x ^ y",
        "~x",
        "x << y",
        "x @ y",
        "x++",
        "await x",
        "(yield)",
        "(yield from x)",
        "`x`",
        "$x",
        "0777",
        "1__0",
        "1e",
        "0x",
        "0b2",
        "1.2.3",
        "1_",
    ):
        yield f"return {expression}"


def _reaching_out() -> Iterator[str]:
    """Names, attributes and calls by which other sandboxes were left."""
    for expression in (
        "__import__('os').system('true')",
        "__builtins__",
        "__builtins__['eval']",
        "__name__",
        "__file__",
        "__debug__",
        "__class__",
        "().__class__.__base__.__subclasses__()",
        "x.__class__",
        "x.__class__.__mro__[1]",
        "x.__init__.__globals__",
        "(1).__class__",
        "1 .real",
        "1.0.hex()",
        "x.bit_length()",
        "x.real",
        "abs.__self__",
        "np",
        "np.pi",
        "np.load('x')",
        "np.lib.npyio.os.system('true')",
        "np.sqrt.__class__",
        "np.fromfile('/etc/passwd')",
        "np.sqrt.at(x, y)",
        "np.linalg.sqrt(x)",
        "math.inf",
        "math.factorial(x)",
        "math.comb(x, y)",
        "math.pow(x, y)",
        "os.system('true')",
        "sys.exit()",
        "exit()",
        "quit()",
        "help()",
        "breakpoint()",
        "input()",
        "print(x)",
        "open('/etc/passwd')",
        "eval('1')",
        "exec('1')",
        "compile('1', '', 'eval')",
        "globals()",
        "locals()",
        "vars()",
        "dir()",
        "type(x)",
        "object()",
        "super()",
        "getattr(x, 'real')",
        "setattr(x, 'real', 1)",
        "isinstance(x, int)",
        "id(x)",
        "hash(x)",
        "memoryview(b'')",
        "bytearray(999999999)",
        "bytes(999999999)",
        "range(999999999)",
        "list(range(999999999))",
        "sum(range(999999999))",
        "pow(9, 99999999)",
        "pow(x, -1, y)",
        "divmod(x, y)",
        "round(x)",
        "float(x)",
        "bool(x)",
        "complex(x)",
        "str(x)",
        "chr(x)",
        "sorted(x)",
        "map(abs, x)",
        "int",
        "int('9' * 9999)",
        "int('9', base=10)",
        "int(x, 36)",
        "abs(*x)",
        "abs(**x)",
        "max(x, key=abs)",
        "max(x, y, default=1)",
        "min(x)",
        "sqrt()",
        "sqrt(x)(y)",
        "sqrt",
        "x(y)",
        "1(x)",
        "(x if y else abs)(x)",
        "abs(x).real",
        "template(6)",
        "image",
        "l1(x, y)",
        "mean(image)",
    ):
        yield f"return {expression}"
    for name in ("np", "math", "int", "abs", "sqrt", "min", "l1", "template"):
        yield f"{name} = 1\nreturn {name}"


def _nested() -> Iterator[str]:
    """A thousand levels, and as many as fit, of everything that can be nested."""
    for before, after in (
        ("(", ")"),
        ("[", "]"),
        ("{", "}"),
        ("{1:", "}"),
        ("-", ""),
        ("+", ""),
        ("~", ""),
        ("not ", ""),
        ("abs(", ")"),
        ("min(x,", ")"),
        ("1 if x else ", ""),
        ("(1 if ", " else 2)"),
        ("lambda:", ""),
        ("x+(", ")"),
        ("x**", ""),
        ("x and (", ")"),
        ("x<(", ")"),
        ("f'{", "}'"),
        ("await ", ""),
        ("(x:=", ")"),
        ("[x for x in ", "]"),
        ("*", ""),
        ("x[", "]"),
    ):
        for levels in (1000, 18_000 // len(before + after)):
            yield f"return {before * levels}x{after * levels}"
    for after in ("+x", ".a", "[0]", "()", " if x else x", "<x", "==x", " and x", " or x", ",x"):
        yield f"return x{after * (19_000 // len(after))}"
        yield f"return x{after * 1001}"
    yield "".join(f"{' ' * level}if x:\n" for level in range(99)) + f"{' ' * 99}return 1"
    yield "".join(f"{' ' * level}if x:\n" for level in range(190)) + f"{' ' * 190}return 1"
    yield "".join(f"{' ' * level}def f(x):\n" for level in range(90)) + f"{' ' * 90}return 1"
    yield f"if x: x = 1\n{'elif x: x = 1' * 1000}\nreturn 1"
    yield "if x: x = 1\n" + "elif x: x = 1\n" * 1000 + "return 1"
    yield "if x: x = 1\n" * 1000 + "return 1"
    yield "x = 1;" * 3000 + "return 1"
    yield f"{'x = ' * 4000}1\nreturn 1"
    yield f"return {'(' * 9000}"
    yield f"return {')' * 9000}"
    yield f"return {'([{' * 3000}"


def _characters() -> Iterator[str]:
    """Characters that are not what they look like, or not to be seen."""
    for character in {
        "Cyrillic small x": "\u0445",
        "Cyrillic small y": "\u0443",
        "Greek small rho": "\u03c1",
        "fullwidth x": "\uff58",
        "mathematical x": "\U0001d431",
        "superscript two": "\u00b2",
        "Arabic digit": "\u0663",
        "fullwidth digit": "\uff11",
        "minus sign": "\u2212",
        "multiplication sign": "\u00d7",
        "smart quote": "\u201c",
        "no-break space": "\u00a0",
        "em space": "\u2003",
        "ideographic space": "\u3000",
        "zero-width space": "\u200b",
        "zero-width joiner": "\u200d",
        "word joiner": "\u2060",
        "soft hyphen": "\u00ad",
        "byte-order mark": "\ufeff",
        "right-to-left override": "\u202e",
        "right-to-left isolate": "\u2067",
        "pop directional formatting": "\u202c",
        "line separator": "\u2028",
        "paragraph separator": "\u2029",
        "next line": "\u0085",
        "variation selector": "\ufe0f",
        "tag": "\U000e0041",
        "combining accent": "\u0301",
        "private use": "\ue000",
        "noncharacter": "\uffff",
        "high surrogate": "\ud800",
        "low surrogate": "\udfff",
        "null": "\0",
        "backspace": "\b",
        "bell": "\a",
        "escape": "\x1b",
        "form feed": "\f",
        "vertical tab": "\v",
        "file separator": "\x1c",
        "end of file": "\x1a",
        "delete": "\x7f",
    }.values():
        yield f"return x + {character}"
        yield f"return 1  # {character}"
    yield "\ufeffreturn 1"
    yield "return 1\ufeff"
    yield "x\u0301 = 1\nreturn x\u0301"
    yield "if x:\n\freturn 1"
    yield "\u202ereturn 1"


def _large() -> Iterator[str]:
    """Megabytes, of text or in one line, and numbers as long."""
    yield "x" * MANY
    yield "\n" * MANY + "return 1"
    yield " " * MANY + "return 1"
    yield "\t" * MANY
    yield "\0" * MANY
    yield "\ud800" * MANY
    yield "\U0001f600" * MANY
    yield "#" * MANY
    yield "# words\n" * MANY
    yield "return 1\n" * MANY
    yield "x = 1\n" * MANY + "return x"
    yield "import os\n" * MANY
    yield "(" * MANY
    yield "return " + "-" * MANY + "x"
    yield "return " + "9" * MANY
    yield "return x" + "+x" * MANY
    yield "return '" + "a" * MANY + "'"
    yield "'" * MANY
    yield '"""' + "words " * MANY
    yield "\\\n" * MANY + "return 1"
    yield ";" * MANY
    yield "x = 1\nreturn x" + " " * MANY
    yield "return " + "9" * 4000
    yield "return " + "9" * 19_000
    yield "return 0x" + "f" * 19_000
    yield "return 0b" + "1" * 19_000
    yield "return 1." + "9" * 400 + "e400"
    yield "return 1e" + "9" * 19_000
    yield "return " + "1_" * 4000 + "1"
    yield "return " + "x" * 19_000
    yield "return 'a'" + "'a'" * 6000
    yield "'" * 19_999
    yield "return " + "x." * 9000 + "x"
    yield "\\\n" * 9000
    yield "x;" * 9000


def _layout() -> Iterator[str]:
    """Nothing, half a program, and layout that Python itself refuses."""
    yield ""
    yield " "
    yield "\n\n\n"
    yield "# nothing"
    yield "'''words'''"
    yield "pass"
    yield "x = 1"
    yield "return"
    yield "retrun 1"
    yield "return 1 1"
    yield "return (1"
    yield "return 1)"
    yield "return 'a"
    yield "return '''a"
    yield "return 1 +"
    yield "return 1 \\ 2"
    yield "return 1\\"
    yield "\\"
    yield "  return 1"
    yield "return 1\n  return 2"
    yield "if x:\nreturn 1"
    yield "if x\n  return 1"
    yield "if x:\n\treturn 1\n        return 2"
    yield "if x:\n    if y:\n\treturn 1\n    return 2"
    yield "else:\n  return 1"
    yield "elif x:\n  return 1"
    yield "if x: if y: return 1"
    yield "# coding: utf-7\nreturn +AHg-"
    yield "# -*- coding: rot13 -*-\nerghea 1"
    yield "#!/usr/bin/python\nimport os"
    yield "%run x"
    yield ">>> return 1"
    yield "<?php return 1;"
    yield "def f(x): return 1\nf(1)"
    yield "def f(x=[]): return 1"
    yield "def f(*args): return 1"
    yield "def f(x, **y): return 1"
    yield "def f(x: 'int'): return 1"
    yield "def f(x) -> None: return 1"
    yield "def f(q): return q"
    yield "def f(x):\n  pass"
    yield "def f(x): return 1\ndef f(y): return 2"
    yield "return 1\rimport os"


def _bombs() -> Iterator[str]:
    """Programs whose numbers would not fit into any memory."""
    yield "return 9 ** 9 ** 9"
    yield "return 9 ** 9 ** 9 ** 9 ** 9"
    yield "return -9 ** 9 ** 9 > 0"
    yield "return 2 ** 9223372036854775807"
    yield "return 9.0 ** 9 ** 9"
    yield "return int(9e307) ** int(9e307)"
    yield "return (x + 2) ** (y + 2) ** (p + 2)"
    yield "return 2 ** 1023 * 2"
    yield "z = 9\n" + "z *= z\n" * 300 + "return z"
    yield "z = x + 2\n" + "z **= z\n" * 200 + "return z"
    yield "z = 2\n" + "z **= 1023\n" * 300 + "return z"
    yield "z = 9223372036854775807\n" + "z = z * z + z\n" * 100 + "return z"
    yield "z = 2 ** 1000\n" + "z += z\n" * 300 + "return z"
    yield "z = 1.5\n" + "z **= 99\n" * 300 + "return int(z)"


def main() -> None:
    """Prints as JSON what is said of each text and the seconds it took, modules and memory."""
    from jaxmi.programs.language import ProgramError
    from jaxmi.programs.parse import parse

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES << 20, before[1]))
    report: dict[str, Any] = {"limited": _is_limited(), "said": {}, "seconds": {}}
    everything = {**texts(), "harmless": "return x < y"}
    for name, text in everything.items():
        with _timed(report, name, ProgramError):
            parse(text, "pairs")
    report["modules"] = [name for name in ("jax", "numpy") if name in sys.modules]

    resource.setrlimit(resource.RLIMIT_AS, before)  # NumPy reserves more than it uses
    from jaxmi.programs.domain import PairDomain
    from jaxmi.programs.evaluate import EvaluationError, label

    for name, text in {**bombs(), "harmless bomb": "return 9 ** 9 > x"}.items():
        with _timed(report, name, EvaluationError):
            label(parse(text, "pairs"), PairDomain())
    report["megabytes"] = _peak_kilobytes() / 1024
    json.dump(report, sys.stdout)


def _peak_kilobytes() -> int:
    """Returns the most memory that was used at a time."""
    if (status := Path("/proc/self/status")).exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0])
    # Where there is no better: on Linux, this would have that of the process that started us.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _is_limited() -> bool:
    try:
        return not bytearray(MEGABYTES << 20)
    except MemoryError:
        return True


@contextmanager
def _timed(report: dict[str, Any], name: str, refusal: type[Exception]) -> Iterator[None]:
    start = time.process_time()
    try:
        yield
        report["said"][name] = ""
    except refusal as error:
        report["said"][name] = str(error)
    report["seconds"][name] = time.process_time() - start


if __name__ == "__main__":
    main()
