"""The settings of JAX that decide about results, fixed while jaxmi computes.

JAX reads its settings from `JAX_...` variables and from `jax.config`. Some of them change the type
of numbers, the random numbers of a seed, or the order of sums; others make JAX refuse what jaxmi
does. A network must depend on its challenge, recipe and seed alone, so each entry to jaxmi (the
command line, the public functions, and what computes below them) sets all of these for its own
thread, and leaves the user's settings as they were.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import GeneratorType
from typing import Any, TypeVar

from jaxmi.backend import explain_failure
from jaxmi.errors import UnavailableError

Function = TypeVar("Function", bound=Callable[..., Any])

VALUES = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_default_matmul_precision": None,
    "jax_softmax_custom_jvp": False,
    "jax_use_direct_linearize": True,
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_enable_pgle": False,
}
"""Setting of JAX -> the value under which jaxmi computes: types, random numbers, order of sums. A
recipe's precision of matrix products is set within."""

PERMISSIONS = {
    "jax_disable_jit": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_check_tracer_leaks": False,
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_enable_custom_prng": False,
    "jax_legacy_prng_key": "allow",
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
}
"""Setting of JAX -> the value under which JAX refuses nothing that jaxmi does."""

PROCESS_VALUES = {"jax_disable_most_optimizations": False}
"""The same, of settings that JAX has for the whole process only."""

_lock = threading.Lock()
_process_settings = {"entered": 0, "before": {}}


@contextmanager
def fixed_settings() -> Iterator[None]:
    """Fix JAX's settings for this thread; it may be entered again within.

    Raises:
      UnavailableError: if JAX cannot be imported, as when a `JAX_...` variable has no valid value,
        or cannot start a device.
    """
    config = import_jax().config
    with ExitStack() as stack:
        stack.enter_context(_fixed_process_settings(config))
        for name, value in (VALUES | PERMISSIONS).items():
            # JAX has no public context for some of these; its versions differ in which there are.
            setting = config._value_holders.get(name)
            if setting is not None:
                stack.enter_context(setting(value))
        try:
            yield
        except (AssertionError, RuntimeError) as error:
            if (explained := explain_failure(error)) is None:
                raise
            raise UnavailableError(explained) from error


def with_fixed_settings(function: Function) -> Function:
    """Decorate a function, or a generator, so that its body runs in `fixed_settings`.

    A generator leaves them whenever it yields: what its caller does meanwhile is the caller's.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with fixed_settings():
            result = function(*args, **kwargs)
        return _generate(result) if isinstance(result, GeneratorType) else result

    return wrapper  # type: ignore[return-value] - a generator or a function, as `function` is


def _generate(values: GeneratorType) -> Iterator[Any]:
    try:
        while True:
            with fixed_settings():
                try:
                    value = next(values)
                except StopIteration:
                    return
            yield value
    finally:
        values.close()


def import_jax() -> Any:
    """Import JAX.

    Raises:
      UnavailableError: if that fails; names what JAX complains about.
    """
    try:
        import jax
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UnavailableError(
            f"JAX cannot be started: {reason}; look at the JAX_... variables of the environment "
            "and at the versions of jax and jaxlib"
        ) from error
    return jax


@contextmanager
def _fixed_process_settings(config: Any) -> Iterator[None]:
    """Fix the settings of the process from the first thread that enters to the last that leaves."""
    with _lock:
        _process_settings["entered"] += 1
        if _process_settings["entered"] == 1:
            values = config.values
            _process_settings["before"] = {
                name: values[name]
                for name, value in PROCESS_VALUES.items()
                if values.get(name, value) != value
            }
            for name in _process_settings["before"]:
                config.update(name, PROCESS_VALUES[name])
    try:
        yield
    finally:
        with _lock:
            _process_settings["entered"] -= 1
            if _process_settings["entered"] == 0:
                for name, value in _process_settings["before"].items():
                    config.update(name, value)
