"""Texts as they are pasted: what is taken off, what is refused, and where messages point."""

from random import Random

import pytest

from jaxmi.programs.cleaning import clean
from jaxmi.programs.language import Position, ProgramError
from jaxmi.programs.parse import MAX_CHARACTERS, kind_of, parse

FUNCTION = '''\
import numpy as np
def label(x, y):
    """Says the label."""
    z = 3
    return x - y > z * np.sqrt(y)
'''

PLAIN = parse(FUNCTION, "pairs")


def indented(text: str, space: str) -> str:
    return "".join(f"{space}{line}" for line in text.splitlines(keepends=True))


def prompted(text: str, first: str, others: str) -> str:
    lines = text.splitlines()
    prompts = [first if line[:1].strip() else others for line in lines]
    return "\n".join(map("".join, zip(prompts, lines, strict=True))) + f"\n{others.rstrip()}\n"


PROSE = "Here's what I've tried \u2013 it's \u201cgood\u201d \U0001f600:"

FENCED = f"```python\n{FUNCTION}```"

DOCSTRING = FUNCTION.replace(
    "Says the label.", "If x &lt; y, says the label:\n\n```\nx \u2265 y\n```\n\n    ~~~\n    "
)

PASTED = {
    "a fence": f"```python\n{FUNCTION}```\n",
    "tildes": f"~~~\n{FUNCTION}~~~",
    "a long fence": f"`````{{.python}}\n{FUNCTION}`````\n",
    "prose around it": f"{PROSE}\n\n```py\n{FUNCTION}```\n\nIt's it.",
    "prose with code in it": f"Use ```x > y```.\n# Title\n```\n{FUNCTION}```\n- done: x >",
    "a fence in a list": f"1. First:\n\n{indented(FENCED, '   ')}\n2. Then",
    "no end": f"```python\n{FUNCTION}",
    "no beginning": f"{FUNCTION}\n```\n",
    "spaces after fences": f"\n \n```python   \n{FUNCTION}```  \n\n",
    "one of two is Python": f"```sh\njaxmi --help\n```\n```python\n{FUNCTION}```\n```\n1\n```\n",
    "carriage returns": f"Words\n```\n{FUNCTION}```\n".replace("\n", "\r\n"),
    "a byte-order mark": f"\ufeff```\n{FUNCTION}```\n",
    "a fence in a docstring": DOCSTRING,
    "a fence around one in a docstring": f"```\n{DOCSTRING.replace('~~~', '')}```\n",
    "prompts": prompted(FUNCTION, ">>> ", "... "),
    "prompts in a list": indented(prompted(FUNCTION, ">>> ", "... "), "      "),
    "prompts in a fence": f"So:\n```pycon\n{prompted(FUNCTION, '>>> ', '... ')}```\n",
    "IPython's prompts": prompted(FUNCTION, "In [3]: ", "   ...: "),
    "IPython's output": f"{prompted(FUNCTION, 'In [12]: ', '    ...: ')}\nOut[12]: <function>\n",
    "a notebook's prompt": prompted(FUNCTION, "In [ ]: ", "   ...: "),
    "a comment before the prompts": f"# So:\n\n{prompted(FUNCTION, '>>> ', '... ')}",
    "a block that ends": prompted(FUNCTION, ">>> ", "... ").replace("... \n", "...\n"),
    "no-break spaces": FUNCTION.replace(" ", "\u00a0").replace("\u00a0np", " np"),
    "spaces of all widths": FUNCTION.replace(" - ", "\u2003-\u202f").replace(
        "    ", "\u3000\u2009  "
    ),
    "a minus sign": FUNCTION.replace(" - ", " \u2212 "),
    "an en dash": FUNCTION.replace(" - ", " \u2013 "),
    "hyphens": FUNCTION.replace(" - ", " \u2010 "),
    "form feeds": f"\f\n{FUNCTION}\f\n",
    "letters in comments": FUNCTION.replace(
        "z = 3", "z = 3  # gr\u00f6\u00dfer als \u2265 3 \U0001f600 \u2019s"
    ),
}


@pytest.mark.parametrize("text", PASTED.values(), ids=PASTED)
def test_what_comes_along_is_taken_off(text: str) -> None:
    assert parse(text, "pairs") == PLAIN
    assert kind_of(text) == "pairs"


def test_the_comparison_sees_a_wrong_character() -> None:
    """The control."""
    assert parse(FUNCTION.replace(" - ", " + "), "pairs") != PLAIN


REFUSED = {
    "prose around": (
        "Words:\n\n```python\ndef f(x, y):\n    return q > y\n```\n",
        5,
        12,
        "unknown name 'q'",
    ),
    "prose, Python's": (
        "Words:\n```\ndef f(x, y):\n    return (x >\n```\n",
        4,
        12,
        "not Python: '('",
    ),
    "in a list": (
        "- So:\n  ```\n  def f(x, y):\n      return q > y\n  ```\n",
        4,
        14,
        "unknown name 'q'",
    ),
    "in a list, Python's": (
        "  ```\n  def f(x, y):\n      return (x >\n  ```\n",
        3,
        14,
        "not Python",
    ),
    "in a list, a character": (
        "  ~~~\n  def f(x, y):\n      return x \u00d7 y\n  ~~~",
        3,
        16,
        "character",
    ),
    "after prompts": (">>> def f(x, y):\n...     return x \u2264 y\n", 2, 18, "character U+2264"),
    "after indented prompts": (
        "  >>> def f(x, y):\n  ...     return q\n",
        2,
        18,
        "unknown name 'q'",
    ),
    "after IPython's": ("In [3]: def f(x, y):\n   ...:     return q\n", 2, 20, "unknown name 'q'"),
    "two programs": (
        "```\nx > y\n```\nor\n```\nx > 3\n```\n",
        5,
        1,
        "a second block between fences",
    ),
    "two in Python": ("```py\nx > y\n```\n```py\nx > 3\n```\n```\n1\n```", 4, 1, "a second block"),
    "statements after a prompt": (">>> z = x\n>>> return z > y", 1, 1, "a prompt before bare"),
    "an empty block": ("```\n```\n", 1, 1, "the program is empty"),
    "a call after it": (
        ">>> def f(x, y):\n...     return x\n...\n>>> f(1, 2)\n1",
        4,
        5,
        "one function",
    ),
    "multiplication": ("x \u00d7 y > 3", 1, 3, "character U+00D7 (multiplication sign); type *"),
    "a dot": ("x \u22c5 y > 3", 1, 3, "character U+22C5 (dot operator); type *"),
    "at least": ("x \u2265 y", 1, 3, "character U+2265 (greater-than or equal to); type >="),
    "slanted": ("x \u2a7d y", 1, 3, "character U+2A7D (less-than or slanted equal to); type <="),
    "unequal": ("x \u2260 y", 1, 3, "character U+2260 (not equal to); type !="),
    "an em dash": ("x \u2014 y > 3", 1, 3, "character U+2014 (em dash); type -"),
    "a fullwidth digit": ("x > \uff13", 1, 5, "character U+FF13 (fullwidth digit three); type 3"),
    "a fullwidth bracket": (
        "\uff08x > 3)",
        1,
        1,
        "character U+FF08 (fullwidth left parenthesis); type (",
    ),
    "a power": ("x\u00b2 > y", 1, 2, "character U+00B2 (superscript two); type ** 2"),
    "a higher power": ("x\u2074 > y", 1, 2, "character U+2074 (superscript four); type ** 4"),
    "a smart quote": (
        "def f(x, y):\n    \u2018Words.\u2019",
        2,
        5,
        "character U+2018 (left single quotation mark); type '",
    ),
    "a Cyrillic letter": (
        "\u0445 > y",
        1,
        1,
        "character U+0445 (cyrillic small letter ha); type x",
    ),
    "an element": ("x \u2208 (1, 2)", 1, 3, "character U+2208 (element of); type in"),
    "a half": ("x > \u00bd", 1, 5, "character U+00BD (vulgar fraction one half); type 0.5"),
    "nothing to be seen": (
        "x \u200b> y",
        1,
        3,
        "character U+200B (zero width space), which cannot be seen; delete it",
    ),
    "a joiner": (
        "x\u200d > y",
        1,
        2,
        "character U+200D (zero width joiner), which cannot be seen; delete it",
    ),
    "a soft hyphen": (
        "x \u00ad- y",
        1,
        3,
        "character U+00AD (soft hyphen), which cannot be seen; delete it",
    ),
    "a mark inside": (
        "x > y\n\ufeff",
        2,
        1,
        "character U+FEFF (zero width no-break space), which cannot",
    ),
    "HTML": ("# &gt;\n>>> x &lt; y", 2, 7, "HTML's &lt;; type <"),
    "HTML's space": ("x&nbsp;> y", 1, 2, "HTML's &nbsp;; type the character itself"),
    "HTML's sign": ("x &le; y", 1, 3, "HTML's &le;; type <="),
    "a zero": ("x > y\0", 1, 6, "character U+0000, which cannot be seen; delete it"),
    "another line's end": (
        "z = x\u2028z > y",
        1,
        6,
        "character U+2028 (line separator); start a new line",
    ),
}


@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED.values(), ids=REFUSED)
def test_messages_name_the_place_in_the_users_own_text(
    text: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(ProgramError) as caught:
        parse(text, "pairs")
    assert str(caught.value).startswith(f"line {line}, column {column}: {words}")
    assert caught.value.position == Position(line, column)


PARTS = ["```", "~~~", "````", "python", "\n", "\r\n", "\r", " ", "\t", ">>> ", "... ", "In [1]: "]
PARTS += ["   ...: ", '"""', "'''", "'", '"', "#", "\\", "x > y", "def f(x, y):", "    return x"]
PARTS += ["\u00a0", "\u2212", "\u00e9", "\u200b", "\f", "Out[1]: 3", "\ufeff"]


def test_any_text_keeps_its_lines_and_is_read_or_refused_in_a_line() -> None:
    read = 0
    for seed in range(1500):
        rng = Random(seed)
        text = "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 25)))
        try:
            source = clean(text)
        except ProgramError as error:
            assert "\n" not in str(error)
            continue
        assert source.text.isascii()
        plain = text.removeprefix("\ufeff")
        ends = [character for character in plain if character in "\r\n"]
        assert [character for character in source.text if character in "\r\n"] == ends
        read += 1
        try:
            parse(text, "pairs")
        except ProgramError as error:
            assert "\n" not in str(error)
            assert error.position.line <= len(source.shifts)
    assert read > 500


@pytest.mark.parametrize("part", [*PARTS, "```\n", "~~~\n", "\u00a0\u2212", "'''#", "''#\u00e9\n"])
def test_the_longest_texts_of_one_part_are_read_or_refused(part: str) -> None:
    """None is a program, and none is too large for a reader that takes linear time."""
    text = (part * MAX_CHARACTERS)[:MAX_CHARACTERS]
    with pytest.raises(ProgramError):
        parse(text, "pairs")
