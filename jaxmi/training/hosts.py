"""Several hosts as one run: joining, waiting for each other, stopping together."""

import os
import sys
import threading
from collections.abc import Callable

import jax
from jax.experimental import multihost_utils

from jaxmi.errors import UnavailableError

WITHOUT_ANSWER = 1
"""Exit code if a host never comes."""


def join(
    coordinator: str | None = None,
    n_hosts: int | None = None,
    host: int | None = None,
    timeout: int = 300,
) -> None:
    """Makes this process one of several that train together; call it before any device is used.

    Args:
      coordinator: "address:port" of host 0, which all can reach; None, with the next two, asks the
        cluster's environment (TPU slices, Slurm, Open MPI, Kubernetes: see
        `jax.distributed.initialize`).
      n_hosts: How many processes there are.
      host: This one's number, from 0.
      timeout: Seconds to wait for the others. JAX aborts the process when they are over, with a
        stack trace; so this ends it a moment earlier, with exit code 1 and a line that says why.

    Raises:
      UnavailableError: if no cluster is found, or joining fails at once.
    """

    def give_up() -> None:
        where = coordinator or "the cluster's coordinator"
        print(
            f"jaxmi: waited {timeout} s at {where}: not all hosts have come",
            file=sys.stderr,
            flush=True,
        )
        os._exit(WITHOUT_ANSWER)

    patience = threading.Timer(timeout, give_up)
    patience.daemon = True
    patience.start()
    try:
        jax.distributed.initialize(coordinator, n_hosts, host, initialization_timeout=timeout + 60)
    except (RuntimeError, ValueError) as error:
        raise UnavailableError(
            f"cannot join the other hosts: {' '.join(str(error).split())}"
        ) from error
    finally:
        patience.cancel()


def leave(timeout: int = 60) -> None:
    """Waits until every host is about to leave, so that none takes the others for dead."""
    if jax.process_count() > 1:
        patience = threading.Timer(timeout, os._exit, (WITHOUT_ANSWER,))
        patience.daemon = True
        patience.start()
        jax.distributed.shutdown()
        patience.cancel()


def meet(name: str) -> None:
    """Waits until every host is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def stop_together(asked: Callable[[], bool]) -> Callable[[], bool]:
    """Returns a function that says, at the same call on every host, whether to stop.

    Args:
      asked: Whether this process was asked to stop; of several hosts, JAX's own preemption service
        hears SIGTERM on each, and it alone counts.
    """
    if jax.process_count() == 1:
        return asked
    calls = 0

    def agreed() -> bool:
        nonlocal calls
        calls += 1
        return multihost_utils.reached_preemption_sync_point(calls)

    return agreed
