"""Devices to train on, stdout, and SIGTERM."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import jax

from jaxmi.errors import InputError
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
    sys.stdout = os.fdopen(own, "w")


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM has arrived; a second one ends the process.

    With several hosts JAX handles the signal, so that all of them stop at the same step.
    """
    received = False

    def note_signal(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    if jax.process_count() > 1:
        yield lambda: False
        return
    try:
        before = signal.signal(signal.SIGTERM, note_signal)
    except ValueError:  # not in the main thread: a library call
        yield lambda: False
        return
    try:
        yield lambda: received
    finally:
        signal.signal(signal.SIGTERM, before)
