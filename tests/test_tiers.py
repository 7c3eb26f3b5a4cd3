"""`make test` leaves slow tests out, and still reaches every folder and the real command line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTED_IN = {"workflows": "cli"}
"""The folders whose tests lie in another's: the rest of tests/ mirrors jaxmi/."""


MARKS = ("pytest.mark.slow", "pytest.mark.long")
"""The marks of tests that `make test` leaves out."""


def is_slow(node: ast.expr) -> bool:
    """Return whether an expression holds one of the marks."""
    return any(ast.unparse(part) in MARKS for part in ast.walk(node))


def quick_tests(source: str) -> Iterator[ast.FunctionDef]:
    """Yield the test functions of a file that `-m "not slow"` selects, whole or in part.

    A parameter's own mark leaves the other parameters: it is no decorator called `slow`.
    """
    module = ast.parse(source)
    for node in module.body:
        names = [ast.unparse(name) for name in getattr(node, "targets", ())]
        if isinstance(node, ast.Assign) and "pytestmark" in names and is_slow(node.value):
            return
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = [ast.unparse(decorator) for decorator in node.decorator_list]
            if not set(MARKS) & set(marks):
                yield node


def names_called(function: ast.FunctionDef) -> set[str]:
    """Return the names that a function calls."""
    return {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}


def folders() -> list[str]:
    """Return the folders of the package that hold modules."""
    packages = (path for path in (ROOT / "jaxmi").iterdir() if any(path.glob("*.py")))
    return sorted(path.name for path in packages)


def test_there_are_folders_to_look_for() -> None:
    assert {"programs", "models", "training", "cli"} <= set(folders())


@pytest.mark.parametrize("name", folders())
def test_every_folder_has_a_quick_test(name: str) -> None:
    files = (ROOT / "tests" / TESTED_IN.get(name, name)).rglob("test_*.py")
    assert any(list(quick_tests(file.read_text())) for file in files)


def test_a_quick_test_starts_the_real_command_line() -> None:
    files = (ROOT / "tests" / "cli").glob("test_*.py")
    quick = [test for file in files for test in quick_tests(file.read_text())]
    assert any("start" in names_called(test) for test in quick)


def test_slow_tests_are_seen() -> None:
    """The control: a mark on a function or a file leaves nothing, one on a parameter the rest."""
    for mark in ("slow", "long"):
        assert list(quick_tests(f"@pytest.mark.{mark}\ndef test_a(): start()")) == []
    assert list(quick_tests("pytestmark = [pytest.mark.slow]\ndef test_a(): pass")) == []
    parameter = '@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.slow)])\n'
    assert [test.name for test in quick_tests(parameter + "def test_b(n): pass")] == ["test_b"]
    (test,) = quick_tests("def test_c(): finish(start('x'))")
    assert names_called(test) == {"finish", "start"}
