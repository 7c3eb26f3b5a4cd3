"""Several hosts as one run: joining, waiting for each other, stopping together."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
from jax._src import distributed
from jax.experimental import multihost_utils

from jaxmi.errors import UnavailableError

WITHOUT_OTHERS = 1
"""Exit code if another host never comes, or fails."""

FAILURES = "jaxmi/failures/"
"""Where, in the key-value store that JAX's coordinator keeps, a host says that it fails."""

LOOK_EVERY = 1.0
"""Seconds between two looks for such words."""


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
        os._exit(WITHOUT_OTHERS)

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
    threading.Thread(target=_watch, daemon=True).start()


def fail(message: str, code: int) -> None:
    """Lets the other hosts know why this one fails, and exits; does nothing on a single host.

    Otherwise they would wait for it wherever all of them meet, and it for them at an orderly exit.
    """
    if (store := _store()) is not None:
        store.key_value_set(f"{FAILURES}{distributed.global_state.process_id}", message)
        _exit(code)


def _watch() -> None:
    """Ends this process soon after another host has failed."""
    own = f"{FAILURES}{distributed.global_state.process_id}"
    while True:
        time.sleep(LOOK_EVERY)
        try:
            failures = dict(_store().key_value_dir_get(FAILURES))
        except Exception:  # the store is gone, and with it what there was to watch
            return
        if own in failures:
            return
        for key, message in failures.items():
            host = key.removeprefix(FAILURES)
            print(f"jaxmi: host {host} has failed: {message}", file=sys.stderr, flush=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what else fails now, fails for this
            _exit(WITHOUT_OTHERS)


def _exit(code: int) -> None:
    """Ends this process when all hosts must have read why; host 0, which keeps the store, last."""
    time.sleep((5 if distributed.global_state.process_id == 0 else 3) * LOOK_EVERY)
    os._exit(code)


def _store() -> Any:
    """The key-value store, None on a single host; JAX has no public name for it."""
    return distributed.global_state.client


def leave(timeout: int = 60) -> None:
    """Waits until every host is about to leave, so that none takes the others for dead."""
    if jax.process_count() > 1:
        patience = threading.Timer(timeout, os._exit, (WITHOUT_OTHERS,))
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
