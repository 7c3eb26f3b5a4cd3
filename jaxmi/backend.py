"""Why JAX has no device to compute on, in one line that says what to do."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from jaxmi.errors import UnavailableError

FAILURE = re.compile(
    r"Unable to initialize backend|Unknown backend|[Bb]ackend .?[\w.-]+.? (failed|provides no)"
    r"|Could not initialize backend"
)
"""JAX's messages about a platform that cannot be used."""

PLUGIN = re.compile(r"(jax-(cuda|rocm|metal)[\w.]*(-plugin)?|libtpu)")
"""Names of packages that bring JAX a platform."""

EXTRAS = {
    "cuda": "for a GPU: pip install 'jaxmi[cuda]'",
    "gpu": "for a GPU: pip install 'jaxmi[cuda]'",
    "tpu": "for a TPU: pip install 'jaxmi[tpu]'",
}
"""Platform -> what to install."""

FLAGS = "XLA_FLAGS"


def explain_failure(error: BaseException) -> str | None:
    """Say why JAX could not start a device; None if the error is another.

    Args:
      error: What a call of JAX has raised.
    """
    from jax._src import xla_bridge

    if isinstance(error, UnavailableError):
        return None
    said, asked = " ".join(str(error).split()), _asked()
    none_started = asked is not None and not xla_bridge.backends_are_initialized()
    silent = none_started and isinstance(error, AssertionError) and not said
    if not silent and not FAILURE.search(said):
        return None
    named = re.search(r"backend:? '?([\w.-]+)", said)
    platform = named[1] if named else (asked or "").rpartition("=")[2].partition(",")[0]
    reason = re.sub(r"^Unable to initialize backend '[^']*': ", "", said)
    reason = re.sub(r" \((set JAX_PLATFORMS|you may need).*", "", reason).rstrip(".")
    if platform == "rocm" and asked and "rocm" not in asked:  # JAX's alias "gpu" tries both
        platform = "gpu"
    if silent:
        reason = f"no device for {platform!r} is visible on this machine"
    elif "known backends" in reason or "Platforms present" in reason:
        reason = f"JAX has no platform {platform!r} on this machine"
    here = ", ".join(["cpu", *(f"{name} {version}" for name, version in installed_plugins())])
    hints = [EXTRAS[platform]] if platform in EXTRAS else []
    hints.append("for the CPU: JAX_PLATFORMS=cpu")
    return f"{asked or 'JAX finds no device'}: {reason}; here is {here}; {', '.join(hints)}"


def installed_plugins() -> list[tuple[str, str]]:
    """Return the packages that bring JAX a platform beside the CPU: name and version."""
    found = {(one.name, one.version) for one in metadata.distributions() if one.name}
    return sorted(pair for pair in found if PLUGIN.fullmatch(pair[0]))


def unused_gpu() -> str | None:
    """Say what to install if this machine has an NVIDIA GPU and JAX computes on the CPU."""
    import jax
    from jax._src import hardware_utils

    if _asked() or jax.default_backend() != "cpu" or not hardware_utils.has_visible_nvidia_gpu():
        return None
    plugins = [f"{name} {version}" for name, version in installed_plugins()]
    jaxlib = metadata.version("jaxlib")
    there = f" ({', '.join(plugins)} with jaxlib {jaxlib})" if plugins else ""
    return f"this machine's GPU, which JAX does not use{there}: pip install 'jaxmi[cuda]'"


@contextmanager
def plugin_errors() -> Iterator[list[str]]:
    """Yield a list that collects why a plugin cannot be used, which JAX only logs."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.addFilter(lambda record: "may be present" not in record.msg)  # `unused_gpu` says it
    handler.emit = lambda record: lines.append(one_line(record))
    logger = logging.getLogger("jax._src.xla_bridge")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def one_line(record: logging.LogRecord) -> str:
    """Return a log message, and the exception it reports, without the traceback."""
    error = record.exc_info[1] if record.exc_info else None
    said = record.getMessage() if error is None else f"{record.getMessage()}: {error}"
    return " ".join(said.split())


def refused_flags(timeout: int = 120) -> str | None:
    """Say which of the compiler's flags XLA refuses, if any: it would abort this process.

    Flags are tried in a process of their own.

    Args:
      timeout: Seconds to wait; no answer counts as none refused.
    """
    if not os.environ.get(FLAGS):
        return None
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, errors="replace", timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if FLAGS in line] or ["XLA aborts"]
    return f"{re.sub(r'^F.*?] ', '', lines[0]).strip()}; unset {FLAGS}, or remove the flag"


def _asked() -> str | None:
    """Return which platforms are asked for, and where, as NAME=VALUE."""
    import jax

    for name in ("jax_platforms", "jax_platform_name"):
        if value := jax.config.values.get(name):
            given = name.upper() if os.environ.get(name.upper()) else f"jax.config's {name}"
            return f"{given}={value}"
    return None
