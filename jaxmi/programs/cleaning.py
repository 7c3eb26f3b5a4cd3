"""What comes along when a program is pasted: Markdown, prompts, characters of web pages.

`clean` takes it off and gives the text in ASCII, line by line, and how many columns each line lost,
so that messages name the places of the user's own text. It takes linear time.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxmi.programs import language as lang
from jaxmi.programs.language import ProgramError

_ODD = re.compile(r"[^\x20-\x7e\n\r\t]")
_STRING_OR_COMMENT = re.compile(r"#[^\r\n]*|\"\"\"|'''|[\"']")
_STRING_ENDS = {
    '"""': re.compile(r'(?:\\.|[^\\])*?"""', re.DOTALL),
    "'''": re.compile(r"(?:\\.|[^\\])*?'''", re.DOTALL),
    '"': re.compile(r'(?:\\.|[^\\\r\n])*?(?:"|(?=[\r\n])|\Z)', re.DOTALL),
    "'": re.compile(r"(?:\\.|[^\\\r\n])*?(?:'|(?=[\r\n])|\Z)", re.DOTALL),
}
_NEWLINE = re.compile(r"\r\n|\r|\n")
_SHORTEST_FENCE = 3
"""Backticks or tildes that begin or end a block in Markdown."""

_FIRST_PROMPT = re.compile(r"[ \t]*(?:>>>|In \[[\d ]*\]:) ?")
_PROMPT = re.compile(rf"{_FIRST_PROMPT.pattern}|[ \t]*(?:\.\.\.: ?|\.\.\.(?: |$))")
_OUTPUT = re.compile(r"[ \t]*Out ?\[[\d ]*\]:")

_HTML = re.compile(r"&(?:lt|gt|amp|quot|nbsp|ne|le|ge|minus|times|#\d{1,6});")
"""Characters as a web page's source has them."""

_MINUS = "\u2212\u2010\u2011\u2012\u2013"
"""The minus sign, and hyphens and dashes that word processors put in its place."""

_LINE_ENDS = "\u0085\u2028\u2029"
"""Characters that end a line elsewhere, and not in Python."""

_INVISIBLE = ("Cc", "Cf", "Cn", "Co", "Cs")
"""Unicode's categories of characters that cannot be seen."""

_TYPED = {
    **dict.fromkeys("\u00d7\u00b7\u22c5\u2217\u2219", "*"),
    **dict.fromkeys("\u00f7\u2215\u2044", "/"),
    **dict.fromkeys("\u2264\u2a7d\u2266", "<="),
    **dict.fromkeys("\u2265\u2a7e\u2267", ">="),
    **dict.fromkeys("\u2260", "!="),
    **dict.fromkeys("\u2261", "=="),
    **dict.fromkeys("\u2014\u2015", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
    "\u02c6": "**",
    "\u221a": "sqrt(...)",
    "\u2227": "and",
    "\u2228": "or",
    "\u00ac": "not",
    "\u2208": "in",
    "\u2209": "not in",
    "\u230a": "floor(...)",
    "\u2308": "ceil(...)",
    "\u00bd": "0.5",
    "\u00bc": "0.25",
    "\u00be": "0.75",
    "\u03c0": "3.141592653589793",
    "\u2026": "the rest, or delete it",
    **dict(zip("\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456", "aceopxyi", strict=True)),
    **dict(zip("\u0410\u0412\u0421\u0415\u041d\u041a\u041c", "ABCEHKM", strict=True)),
    **dict(zip("\u041e\u0420\u0422\u0425", "OPTX", strict=True)),
    **dict(zip("\u03b1\u03bf\u03c1\u03bd\u03c7", "aopvx", strict=True)),
}
"""Characters in code -> what to type instead."""


@dataclass(frozen=True)
class Source:
    """A text in ASCII, with the same lines."""

    text: str

    shifts: tuple[int, ...]
    """Line -> columns that were taken off its beginning."""

    fault: ProgramError | None = None
    """The first thing that is accepted in a Python file, and not in bare statements."""

    def shift(self, line: int) -> int:
        """Return how many columns a line lost; lines are counted from 1."""
        return self.shifts[line - 1] if 0 < line <= len(self.shifts) else 0

    def position(self, offset: int) -> lang.Position:
        """Return where a character stands in the user's text."""
        place = text_position(self.text, offset)
        return lang.Position(place.line, place.column + self.shift(place.line))


def text_position(text: str, offset: int) -> lang.Position:
    """Return the line and column of a character."""
    starts = [0, *(newline.end() for newline in _NEWLINE.finditer(text, 0, offset))]
    return lang.Position(len(starts), offset - starts[-1] + 1)


def clean(text: str) -> Source:
    """Return a text in ASCII.

    A byte-order mark, the prose around a fenced block, its fences, and prompts are removed. Unusual
    spaces and minus signs are replaced by the plain ones; in comments and docstrings other
    characters become question marks.

    Raises:
      ProgramError: for the first character that has no plain meaning where it stands, and for more
        than one fenced program.
    """
    fault = None
    if text.startswith("\ufeff"):
        message = f"{_named(text[0])}; delete it, or put the statements into a function"
        fault = ProgramError(lang.Position(1, 1), message)
        text = text[1:]
    ends = [newline.group() for newline in _NEWLINE.finditer(text)] + [""]
    lines = _NEWLINE.split(text)
    shifts = [0] * len(lines)
    _take_off_fences(text, lines, shifts)
    prompt = _take_off_prompts(lines, shifts)
    if prompt is not None:
        message = "a prompt before bare statements; delete the prompts, or write a function"
        fault = fault or ProgramError(prompt, message)
    text = "".join(part for pair in zip(lines, ends, strict=True) for part in pair)
    source = Source(text, tuple(shifts), fault)
    _check_html(source)
    return _in_ascii(source)


def _take_off_fences(text: str, lines: list[str], shifts: list[int]) -> None:
    """Empty the lines around the fenced program, if there is one."""
    blocks = list(_blocks(text, lines))
    if not blocks:
        return
    pythons = [block for block in blocks if re.match(r"[{.]*i?py", block[2].lower())]
    candidates = pythons or blocks
    if len(candidates) > 1:
        message = "a second block between fences; leave one of them, the program"
        raise ProgramError(lang.Position(candidates[1][0] + 1, 1), message)
    ((first, last, _),) = candidates
    if last == len(lines) and not any(line.strip() for line in lines[first + 1 :]):
        first, last = -1, first  # the fence that closes a block whose beginning was not copied
    fence = lines[first] if first >= 0 else ""
    width = len(fence) - len(fence.lstrip(" \t"))
    for i, line in enumerate(lines):
        if first < i < last:
            shifts[i] = min(width, len(line) - len(line.lstrip(" \t")))
            lines[i] = line[shifts[i] :]
        else:
            lines[i] = ""


def _blocks(text: str, lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield each fenced block: the lines of its fences, and its language; as in Markdown.

    The end of the text ends a block, too. A fence inside a docstring is none.
    """
    if "```" not in text and "~~~" not in text:
        return
    quoted = _quoted_lines(text)
    opening: tuple[int, str, str] | None = None
    for i, line in enumerate(lines):
        mark, language = _fence(line)
        if not mark or i in quoted:
            continue
        if opening is None:
            opening = i, mark, language
        elif mark.startswith(opening[1]) and not language:
            yield opening[0], i, opening[2]
            opening = None
    if opening is not None:
        yield opening[0], len(lines), opening[2]


def _fence(line: str) -> tuple[str, str]:
    """Return a fence and the language after it; "" of other lines."""
    line = line.strip()
    for mark in "`~":
        after = line.lstrip(mark)
        if len(line) - len(after) >= _SHORTEST_FENCE and mark not in after:
            return line[: len(line) - len(after)], after.strip()
    return "", ""


def _quoted_lines(text: str) -> set[int]:
    """Return the lines that begin inside a string."""
    newlines = [newline.end() for newline in _NEWLINE.finditer(text)]
    quoted, line = set(), 0
    for start, end in _strings_and_comments(text):
        while line < len(newlines) and newlines[line] <= start:
            line += 1
        while line < len(newlines) and newlines[line] < end:
            line += 1
            quoted.add(line)
    return quoted


def _take_off_prompts(lines: list[str], shifts: list[int]) -> lang.Position | None:
    """Remove prompts if the first statement has one; return where that is."""
    first = next((i for i, s in enumerate(lines) if s.strip() and s.strip()[0] != "#"), None)
    if first is None or not _FIRST_PROMPT.match(lines[first]):
        return None
    before = len(lines[first]) - len(lines[first].lstrip(" \t"))
    position = lang.Position(first + 1, shifts[first] + before + 1)
    for i, line in enumerate(lines):
        if _OUTPUT.match(line):
            lines[i] = ""
        elif prompt := _PROMPT.match(line):
            shifts[i] += prompt.end()
            lines[i] = line[prompt.end() :]
    return position


def _check_html(source: Source) -> None:
    """Refuse `&lt;` and the like in code."""
    if not _HTML.search(source.text):
        return
    code, end = [], 0
    for start, after in _strings_and_comments(source.text):
        code += [source.text[end:start], " " * (after - start)]
        end = after
    if found := _HTML.search("".join([*code, source.text[end:]])):
        character = html.unescape(found.group())
        typed = _TYPED.get(character, "-" if character in _MINUS else character)
        typed = typed if re.fullmatch("[!-~]+", typed) else "the character itself"
        message = f"HTML's {found.group()}; type {typed}"
        raise ProgramError(source.position(found.start()), message)


def _in_ascii(source: Source) -> Source:
    """Replace characters that are not ASCII, or refuse them."""
    text, fault = source.text, source.fault
    if not _ODD.search(text):
        return source

    def refusal(offset: int, message: str) -> ProgramError:
        return ProgramError(source.position(offset), f"{_named(text[offset])}{message}")

    characters = list(text)
    parts = _strings_and_comments(text)
    nothing = len(text), len(text)
    start, end = next(parts, nothing)
    for odd in _ODD.finditer(text):
        offset, character = odd.start(), odd.group()
        while end <= offset:
            start, end = next(parts, nothing)
        if offset < start:
            plain = _in_code(character)
            if plain is None:
                raise refusal(offset, _what_to_type(character))
            characters[offset] = plain
            continue
        if not (_is_readable(character) or character == "\f"):
            raise refusal(offset, ", which cannot be seen; delete it")
        characters[offset] = "?"
        if fault is None and text[start] == "#" and _follows_code(text, start):
            fault = refusal(offset, "; a comment after a bare statement is plain ASCII")
    return Source("".join(characters), source.shifts, fault)


def _strings_and_comments(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each string and each comment begins and ends."""
    position = 0
    while match := _STRING_OR_COMMENT.search(text, position):
        end = match.end()
        if ends := _STRING_ENDS.get(match.group()):
            closing = ends.match(text, end)
            end = closing.end() if closing else len(text)
        yield match.start(), end
        position = end


def _follows_code(text: str, offset: int) -> bool:
    """Return whether something stands before a character in its line."""
    line = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    return bool(text[line:offset].strip())


def _in_code(character: str) -> str | None:
    """Return what Python reads for a character outside strings and comments; None if unclear."""
    if character == "\f":
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return "-" if character in _MINUS else None


def _what_to_type(character: str) -> str:
    """Say what to do about a character outside strings and comments."""
    if character in _LINE_ENDS:
        return "; start a new line in its place"
    if unicodedata.category(character) in _INVISIBLE:
        return ", which cannot be seen; delete it"
    plain = unicodedata.normalize("NFKC", character)
    typed = _TYPED.get(character, plain)
    if unicodedata.decomposition(character).startswith("<super>"):
        typed = f"** {plain}"
    if typed != character and re.fullmatch("[ -~]+", typed):
        return f"; type {typed}"
    return "; programs are plain ASCII outside comments and docstrings"


def _is_readable(character: str) -> bool:
    """Return whether a character can stand in a comment: it is printed, or is a space or joiner."""
    joiners = "\u200c\u200d"
    category = unicodedata.category(character)
    return character.isprintable() or category == "Zs" or character in joiners


def _named(character: str) -> str:
    name = unicodedata.name(character, "")
    return f"character U+{ord(character):04X}{f' ({name.lower()})' if name else ''}"
