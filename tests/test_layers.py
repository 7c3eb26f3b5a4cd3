"""The structure of the package: imports point one way, importing does nothing."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxmi"
LAYERS = (
    ("backend", "drawing", "errors", "files", "notebook", "settings", "signals", "types"),
    ("programs",),
    ("data",),
    ("models",),
    ("planted",),
    ("challenges",),
    ("explanation",),
    ("mechanism",),
    ("judge",),
    ("recovery",),
    ("training",),
    ("storage",),
    ("trojans",),
    ("studies",),
    ("methods",),
    ("report",),
    ("sealed",),
    ("workflows",),
    ("api",),
    ("bench",),
    ("cli", "__main__"),
)
"""From the ground up: a layer imports from itself and from those before it."""
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_layers(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("jaxmi.")}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_layer_and_those_below(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        assert imported_layers(path) == {"api"}  # for type checkers; tests/test_api.py: lazily
        return
    above = {name for name in imported_layers(path) if RANK[name] > RANK[layer_of(path)]}
    assert not above


def test_the_check_sees_a_wrong_import(tmp_path: Path) -> None:
    """The control: a training module that reached up to the command line would be noticed."""
    (tmp_path / "wrong.py").write_text("def f():\n    from jaxmi.cli.subcommand import log\n")
    assert imported_layers(tmp_path / "wrong.py") == {"cli"}
    assert RANK["cli"] > RANK["training"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported_modules(path: Path, names: set[str]) -> set[str]:
    """Return the package's modules that a module imports, also within functions."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= {name if name in names else node.module for name in full}
    return (imported & names) - {"jaxmi", module_name(path)}


def is_acyclic(graph: dict[str, set[str]]) -> bool:
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError:
        return False
    return True


def test_no_modules_import_each_other() -> None:
    names = {module_name(path) for path in MODULES}
    graph = {module_name(path): imported_modules(path, names) for path in MODULES}
    del graph["jaxmi"]  # the public door names what is above it, for type checkers
    assert is_acyclic(graph)
    assert not is_acyclic({**graph, "jaxmi.errors": {"jaxmi.api"}})  # the control


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_is_in_its_first_line(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", "?"))


def test_every_folder_stands_in_the_readmes_tree() -> None:
    readme = (ROOT / "README.md").read_text()
    folders = [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"]
    assert len(folders) >= 15
    assert not [name for name in folders if f"\n  {name}/ " not in readme]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_help_text_does_not_import_jax() -> None:
    code = "import sys, jaxmi.cli.main; print({'jax', 'numpy', 'matplotlib'} & set(sys.modules))"
    assert run_python(code) == "set()"


def test_importing_starts_no_device() -> None:
    modules = [
        "jaxmi." + str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")
        for path in MODULES
        if path.name != "__init__.py"
    ]
    code = (
        f"import importlib\nfor m in {modules}: importlib.import_module(m)\n"
        "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    )
    assert run_python(code) == "False"
