"""The work of each subcommand, from files to files, callable from Python.

`jaxmi.workflows.study.write_study(...)` and the like need no further import: a module is loaded
when it is first used. Paths may be given as texts.
"""

import importlib
import pkgutil
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """Import one of this folder's modules when it is first used."""
    if name not in __dir__():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
