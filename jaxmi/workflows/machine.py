"""What a training run asks of the machine: devices to train on, and word of its end."""

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
    """Splits the CPU into devices, before any is used; other backends are not touched.

    One core trains a network's seed nearly as fast as two, so that a seed per core is faster.

    Args:
      cpu_devices: How many; None takes one per core, but no more than seeds.
      n_seeds: Seeds to train.

    Raises:
      InputError: if a number is asked for and devices are in use already.
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
    """Keeps stdout for what jaxmi prints: libraries below Python get stderr in its place.

    The collectives between CPU hosts announce their connections on stdout.
    """
    own = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(own, "w")


@contextmanager
def told_to_stop() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether SIGTERM has come; a second one ends the process at once.

    Of several hosts, JAX hears the signal itself and lets all of them stop at the same step.
    """
    told = False

    def take_note(signum: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    if jax.process_count() > 1:
        yield lambda: False
        return
    try:
        before = signal.signal(signal.SIGTERM, take_note)
    except ValueError:  # not in the main thread: a library call
        yield lambda: False
        return
    try:
        yield lambda: told
    finally:
        signal.signal(signal.SIGTERM, before)
