"""Output in any environment: right, or a quiet end; never a traceback, never another file."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import COMMAND

from jaxmi.cli import streams
from jaxmi.cli.console import print_table
from jaxmi.cli.main import main
from jaxmi.files import path_of, readable, readable_texts, write_text

NETWORK = Path(__file__).parents[2] / "checkpoints" / "transformer"
UMLAUT = "\N{LATIN SMALL LETTER U WITH DIAERESIS}"
POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale in which Python decodes ASCII only."""

needs_posix = pytest.mark.skipif(os.name != "posix", reason="descriptors and bytes of POSIX")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `jaxmi` is the command line; no traceback is allowed."""
    function = f'jaxmi() {{ {" ".join(COMMAND)} "$@"; }}\n'
    plain = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "FORCE_COLOR")}
    done = subprocess.run(
        ["bash", "-c", function + line], capture_output=True, env={**plain, **environment}
    )
    for text in (done.stdout, done.stderr):
        assert b"Traceback" not in text and b"Exception ignored" not in text, text.decode()
    return done


@pytest.fixture(scope="module")
def usual_help() -> str:
    """Return the help in a usual environment."""
    return shell("jaxmi --help", PYTHONIOENCODING="utf-8").stdout.decode()


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp932", "ascii:strict", "utf-16", "ascii:surrogatepass", "idna"]
)
def test_help_is_shown_in_any_encoding(encoding: str, usual_help: str) -> None:
    done = shell("jaxmi --help", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    codec = encoding.partition(":")[0]
    text = done.stdout.decode("utf-8" if codec == "idna" else codec)
    words = ("regenerate", "usage: jaxmi", "example:")
    assert all(word in text and word in usual_help for word in words)


def test_what_was_asked_for_after_the_colon_is_kept() -> None:
    done = shell("jaxmi --help", PYTHONIOENCODING="ascii:xmlcharrefreplace")
    assert b"&#8226;" in done.stdout  # the bullet


SETTINGS = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHON_TYRO_BACKEND": "none",
    "PYTHON_TYRO_UTF8_BOXES": "0",
    "FORCE_COLOR": "1",
    "TERM": "dumb",
    "LINES": "-1",
}


def test_settings_of_python_and_of_libraries_change_no_help(usual_help: str) -> None:
    done = shell("jaxmi --help", PYTHONIOENCODING="utf-8", COLUMNS="0", **SETTINGS)
    assert done.returncode == 0
    assert done.stdout.decode() == usual_help


@needs_posix
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("jaxmi --help <&- >&-", 0),
        ("jaxmi --help >/dev/full", 1),
        ("jaxmi --version >/dev/full", 1),
        ("jaxmi --help 2>&-", 0),
        ("set -o pipefail; jaxmi --help | true", 1),
        ("set -o pipefail; jaxmi --help | head -1", 0),
        ("jaxmi evaluate 2>&-", 2),
        ("jaxmi evaluate 2>/dev/full", 2),
    ],
)
def test_a_stream_that_is_closed_or_full_ends_quietly(line: str, code: int) -> None:
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    done = shell(line)
    assert done.returncode == code or ("head" in line and done.returncode in (0, 1))
    said = done.stderr.decode().splitlines()
    assert said == (
        ["jaxmi: cannot write to stdout: No space left on device"]
        if ">/dev/full" in line and "2>" not in line
        else []
    )


@needs_posix
def test_no_file_gets_the_number_of_a_closed_stream() -> None:
    code = (
        "import os, sys; from jaxmi.cli.streams import any_environment\n"
        "with any_environment():\n"
        "  opened = os.open(os.devnull, os.O_RDONLY); print('lost'); sys.stdout.flush()\n"
        "sys.exit(opened)"
    )
    command = f'{sys.executable} -c "{code}" <&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", command]).returncode > 2


@needs_posix
def test_a_path_in_any_locale_is_written_as_utf8(tmp_path: Path) -> None:
    out = f"{UMLAUT}/labels.npz"
    done = shell(f"jaxmi labels transformer --out {out}", **POSIX)
    assert f"out: {out}" in done.stdout.decode()
    assert (tmp_path / out).is_file()
    refused = shell(f"jaxmi --{UMLAUT}", **POSIX)
    assert refused.returncode == 2
    assert UMLAUT in refused.stderr.decode()


@needs_posix
def test_a_path_that_is_not_utf8_is_shown_with_its_bytes(
    tmp_path: Path,
    run: Callable[..., dict],
    fails: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = os.fsdecode(b"b\xe4d[bold]:smile:")
    os.symlink(NETWORK, tmp_path / name)
    assert run("evaluate", name)["checkpoint"] == r"b\xe4d[bold]:smile:"
    monkeypatch.setenv("COLUMNS", "40")
    main(["evaluate", name])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 40
    assert all(number in text for number in ("100.00%", "97.73%", "98.86%", "97.57%"))
    assert r"b\xe4d[bold]:smile:" in "".join(line[:6].strip() for line in text.splitlines())
    assert fails(2, "evaluate", "m\udce4").startswith(r"jaxmi: m\xe4")


@pytest.mark.parametrize(
    ("given", "width"),
    [
        ("0", 80),
        ("-5", 80),
        ("abc", 80),
        ("", 80),
        ("²", 80),
        ("1", 40),
        ("40", 40),
        ("120", 120),
        ("100000", 1000),
        ("9" * 5000, 80),
    ],
)
def test_a_width_is_sensible(given: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setenv("COLUMNS", given)
    monkeypatch.setenv("LINES", "0")
    with streams.any_environment():
        assert shutil.get_terminal_size().columns == width
        assert "LINES" not in os.environ
        from rich.console import Console

        assert Console().width == width
    assert os.environ["COLUMNS"] == given and os.environ["LINES"] == "0"


def test_a_table_that_is_too_wide_loses_no_character(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console
    from rich.table import Table

    monkeypatch.setenv("COLUMNS", "40")
    table = Table("network", *(f"column{i}" for i in range(5)))
    table.add_row("a" * 30, *(["12.345%"] * 5))
    Console().print(table)
    assert "…" in capsys.readouterr().out
    print_table(table)
    out = capsys.readouterr().out
    assert out.count("a") == 30 and "…" not in out
    assert all(out.count(digit) >= 5 for digit in "12345%")


def test_colours_are_left_out_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxmi.cli.help import Captured

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Captured().isatty()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Captured().isatty()


def test_no_bar_is_drawn_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from jaxmi.workflows import progress

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert Console(stderr=True).is_terminal
    assert not progress._takes_bars(Console(stderr=True))


def test_a_warning_raises_nothing_if_python_was_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with pytest.raises(UserWarning):
        warnings.warn("a warning", stacklevel=1)
    with streams.any_environment(), warnings.catch_warnings(record=True):
        warnings.warn("a warning", stacklevel=1)
    with pytest.raises(UserWarning):
        warnings.warn("a warning", stacklevel=1)


def test_a_text_is_readable_whatever_bytes_made_it(tmp_path: Path) -> None:
    posix = f"{UMLAUT}\n\N{GRINNING FACE}".encode().decode("ascii", "surrogateescape")
    assert readable(posix) == f"{UMLAUT}\n\N{GRINNING FACE}"
    assert readable("b\udce4d\ud800") == r"b\xe4d\ud800"
    assert readable(UMLAUT) == UMLAUT
    assert readable_texts({"b\udce4": [("\udce4", 1, None)]}) == {r"b\xe4": [[r"\xe4", 1, None]]}
    assert path_of("a") == Path("a")
    with pytest.raises(UnicodeEncodeError):
        (tmp_path / "strict").write_text("b\udce4d", encoding="utf-8")
    write_text(tmp_path / "text", f"b\udce4d\n{UMLAUT}\n")
    assert (tmp_path / "text").read_bytes() == f"b\\xe4d\n{UMLAUT}\n".encode()


def test_streams_are_as_before_afterwards(run: Callable[..., dict]) -> None:
    before = sys.stderr, sys.stdout, sys.stdout.errors
    run("labels", "transformer", "--out", "labels.npz")
    assert (sys.stderr, sys.stdout, sys.stdout.errors) == before
