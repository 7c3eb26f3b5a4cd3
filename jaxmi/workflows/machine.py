"""Devices to train on, stdout, and signals that ask to stop."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax

from jaxmi.errors import InputError, StoppedError
from jaxmi.signals import REQUESTS, handled
from jaxmi.training.devices import usable_cores


def prepare_devices(cpu_devices: int | None, n_seeds: int) -> None:
    """Split the CPU into devices, before any is used; other backends are not touched.

    One core trains a network nearly as fast as two, so a seed per core is faster.

    Args:
      cpu_devices: How many; None takes one per core, but no more than seeds.
      n_seeds: Seeds to train.

    Raises:
      InputError: if a number is given and devices are already in use.
    """
    asked_elsewhere = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if cpu_devices is None and (asked_elsewhere or "JAX_NUM_CPU_DEVICES" in os.environ):
        return
    try:
        jax.config.update("jax_num_cpu_devices", cpu_devices or min(usable_cores(), n_seeds))
    except RuntimeError as error:  # devices are in use already: a library call, not a command
        if cpu_devices is not None:
            raise InputError(f"--cpu-devices {cpu_devices} comes too late: {error}") from error


def keep_stdout() -> None:
    """Keep stdout for what jaxmi prints: libraries below Python write to stderr instead.

    The collectives between CPU hosts announce their connections on stdout.
    """
    own = os.dup(1)
    os.dup2(2, 1)
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    sys.stdout.flush()
    sys.stdout = os.fdopen(own, "w", encoding=encoding, errors=errors)


@contextmanager
def stop_on_request() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether one of `signals.REQUESTS` has arrived.

    A second signal of the same kind ends the process. With several hosts JAX handles SIGTERM, so
    that all of them stop at the same step; the other signals are passed on to it.

    Raises:
      StoppedError: if the block raises it; the message then names the signal.
    """
    arrived: list[signal.Signals] = []
    alone = jax.process_count() == 1

    def note(signum: signal.Signals) -> None:
        arrived.append(signum)
        if not alone:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        with handled(note, [each for each in REQUESTS if alone or each != signal.SIGTERM]):
            yield lambda: alone and bool(arrived)
    except StoppedError as error:
        reason = ", ".join(each.name for each in arrived)
        if not alone:
            reason = reason or "a signal to one of the hosts"
        raise StoppedError(f"{error} ({reason})" if reason else str(error)) from error
