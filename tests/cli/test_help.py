"""`--help` of every subcommand: it fits, reads as paragraphs, and its example is accepted."""

import dataclasses
import itertools
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from tyro.conf import Positional

from jaxmi.cli.help import _docstrings, fitted, subcommands
from jaxmi.cli.main import EXAMPLE, Command, _parse, main

KINDS: dict[str, Any] = {"": None, **dict(subcommands(Command))}
"""Words of a subcommand -> its dataclass; all of them, and `jaxmi` itself."""

WIDTHS = (40, 80, 200)
INSIDE = {width: width - 4 for width in WIDTHS}
"""Columns between the frames."""


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Return a subcommand's help at a width."""

    def shown(name: str, width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as caught:
            main([*name.split(), "--help"])
        assert caught.value.code is None or caught.value.code == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return shown


def groups_of(kind: type) -> Iterator[type]:
    """Yield a subcommand's dataclass and those of its groups of options."""
    yield kind
    for hint in get_type_hints(kind).values():
        if dataclasses.is_dataclass(hint):
            yield from groups_of(hint)  # type: ignore[arg-type] - a dataclass


def is_leaf(name: str) -> bool:
    return bool(name) and "verb" not in KINDS[name].__dataclass_fields__


LEAVES = [name for name in KINDS if is_leaf(name)]


def broken_early(text: str, width: int) -> list[str]:
    """Return the framed lines after which the next line's first word would still have fitted."""
    found = []
    lines = [line[2:-2] for line in text.splitlines() if line.startswith("│")]
    for line, below in itertools.pairwise(lines):
        before, after = re.match(" *", line), re.match(" *", below)
        assert before and after
        option = re.match(r"(-\S+(?: \S+)*?|\[?[A-Z]\S*(?: \[\.\.\.\])?)(?:  +|$)", line)
        column = len(option[0]) if option else len(before[0])
        starts_anew = not after[0] or (option and option[0].strip() == line.strip())
        if starts_anew or len(after[0]) != column or "•" in below or "─" in line + below:
            continue
        word = re.split(r"(?<=,)| ", below.strip())[0]
        if len(line.rstrip()) + 1 + len(word) <= INSIDE[width]:
            found.append(f"{line.strip()} / {below.strip()}")
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KINDS)
def test_every_line_fits_and_is_filled(shown: Callable[..., str], name: str, width: int) -> None:
    text = shown(name, width)
    assert [line for line in text.splitlines() if len(line) > width] == []
    assert broken_early(text, width) == []
    assert text.startswith(f"usage: jaxmi {name}".strip())


def test_a_line_break_from_a_docstring_would_be_seen() -> None:
    text = "│ --out PATH  Where it goes.   │\n│             And more.        │"
    assert broken_early(text, 80) != []
    with_hint = "│ --out PATH                   │\n│             And more.        │"
    assert broken_early(with_hint, 80) == []


@pytest.mark.parametrize("name", KINDS)
def test_defaults_are_said_once_and_in_words(shown: Callable[..., str], name: str) -> None:
    text = re.sub(r"[│\s]+", " ", shown(name, 80))
    for unwanted in ("{None}", "None|", "(default: None)", "(default: False)", "(default: )"):
        assert unwanted not in text
    for option in re.split(r" (?=--?[a-z]+)", text):
        assert not ("Default:" in option and "(default:" in option)


@pytest.mark.parametrize("name", LEAVES)
def test_all_of_every_docstring_is_shown(shown: Callable[..., str], name: str) -> None:
    text = re.sub(r"[│\s]+", " ", shown(name, 80))
    for kind in groups_of(KINDS[name]):
        documented = _docstrings(kind)
        for field in dataclasses.fields(kind):  # type: ignore[arg-type] - one
            if not dataclasses.is_dataclass(get_type_hints(kind)[field.name]):
                assert documented[field.name] in text


@pytest.mark.parametrize("name", LEAVES)
def test_options_are_grouped_and_positional_arguments_are_named(
    shown: Callable[..., str], name: str
) -> None:
    text = shown(name, 80)
    titles = re.findall(r"^╭─ (.*?) ─", text, re.MULTILINE)
    assert titles[-1] == "common options"
    assert len(titles) == len(set(titles))
    common = text[text.index("common options") :]
    assert "--json" in common
    usage = text[: text.index("╭")].partition("\n\n")[0]
    hints = get_type_hints(KINDS[name], include_extras=True)
    for field, hint in hints.items():
        if get_origin(hint) is Annotated and Positional in get_args(hint):
            assert field.upper() in usage
            kind = get_args(hint)[0]
            for choice in get_args(kind) if get_origin(kind) is Literal else ():
                assert choice in text
    assert not re.search(r" (PATH|STR|INT)( |$)", re.sub(r"--\S+ \S+", "", usage))


def test_the_groups_of_the_largest_subcommand(shown: Callable[..., str]) -> None:
    titles = re.findall(r"^╭─ (.*?) ─", shown("regenerate", 80), re.MULTILINE)
    assert titles == [
        "positional arguments",
        "options",
        "recipe options",
        "device options",
        "record options",
        "several hosts options",
        "common options",
    ]
    assert "BUNDLE ANSWER" in shown("challenge reveal", 80)


@pytest.mark.parametrize("name", KINDS)
def test_help_ends_with_an_example_that_is_accepted(shown: Callable[..., str], name: str) -> None:
    _, _, example = shown(name, 40).partition("\nexample:\n")
    words = shlex.split(example.replace("\\\n", ""))
    assert words == shlex.split(KINDS[name].example if name else EXAMPLE)
    assert words[0] == "jaxmi"
    parsed = _parse(words[1:])
    if is_leaf(name):
        assert type(parsed) is KINDS[name]


@pytest.mark.parametrize("words", [("regenerate", "cnn", "--host", "x"), ("challenge", "reveal")])
def test_what_is_not_help_stays_as_it_is(fails: Callable[..., str], words: tuple[str, ...]) -> None:
    assert fails(2, *words).endswith("(see --help)")


def test_a_completion_script_is_printed_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--tyro-print-completion", "bash"])
    script = capsys.readouterr().out
    assert "complete -F _tyro_jaxmi jaxmi" in script
    assert fitted(script, 40, {}) == script
    assert "'--seeds-per-batch'" in script


def test_an_option_that_may_be_left_out_takes_the_word_none_as_it_takes_others() -> None:
    parsed = _parse(["recover", "None", "--out", "None", "--challenge", "None"])
    assert str(vars(parsed)["out"]) == vars(parsed)["challenge"] == "None"


def test_the_usage_keeps_an_option_beside_its_value(shown: Callable[..., str]) -> None:
    usage, _, _ = shown("challenge reveal", 40).partition("\n\n")
    assert len(usage.splitlines()) > 2
    assert all(line.count("[") == line.count("]") for line in usage.splitlines())
    assert textwrap.dedent(usage.splitlines()[1]) != usage.splitlines()[1]
