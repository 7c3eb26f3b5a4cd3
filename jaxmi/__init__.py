"""Mechanistic-interpretability challenges in JAX: a program, a network, its explanation.

The public functions and classes are listed in `__all__` and documented in `jaxmi.api`. They are
loaded when they are first used: `import jaxmi` imports neither JAX nor NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxmi.api import (
        Duel,
        Explanation,
        Implant,
        Network,
        Networks,
        Recovery,
        Score,
        compile,
        duel,
        explain,
        export,
        implant,
        load,
        load_challenge,
        make_challenge,
        mark_methods,
        recover,
        score,
        train,
    )

__all__ = [
    "Duel",
    "Explanation",
    "Implant",
    "Network",
    "Networks",
    "Recovery",
    "Score",
    "__version__",
    "compile",
    "duel",
    "explain",
    "export",
    "implant",
    "load",
    "load_challenge",
    "make_challenge",
    "mark_methods",
    "recover",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name, or the workflows behind the subcommands, when it is first used."""
    if name == "workflows":
        return importlib.import_module("jaxmi.workflows")
    if name not in __all__:
        raise AttributeError(f"module 'jaxmi' has no attribute {name!r}")
    value = getattr(importlib.import_module("jaxmi.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "workflows"])
