"""Several hosts as one run: joining, barriers, stopping together, failing together."""

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

LOST_HOST_CODE = 1
"""Exit code if another host never joins, or fails."""

FAILURES = "jaxmi/failures/"
"""Directory of the key-value store of JAX's coordinator in which a host reports its failure."""

POLL_SECONDS = 1.0
"""Seconds between two looks at other hosts' failures."""


def join(
    coordinator: str | None = None,
    n_hosts: int | None = None,
    host: int | None = None,
    timeout: int = 300,
) -> None:
    """Make this process one of several that train together; call it before any device is used.

    Args:
      coordinator: "address:port" of host 0, which all can reach; None, with the next two, asks the
        cluster's environment (TPU slices, Slurm, Open MPI, Kubernetes: see
        `jax.distributed.initialize`).
      n_hosts: The number of processes.
      host: This process's number, from 0.
      timeout: Seconds to wait for the others. JAX aborts the process at its own time limit with a
        stack trace; this ends the process a minute earlier, with exit code 1 and one line.

    Raises:
      UnavailableError: if no cluster is found, or joining fails at once.
    """

    def abort() -> None:
        address = coordinator or "the cluster's coordinator"
        print(
            f"jaxmi: waited {timeout} s at {address}: not all hosts have joined; start the others, "
            "or raise --join-timeout",
            file=sys.stderr,
            flush=True,
        )
        os._exit(LOST_HOST_CODE)

    timer = _start_timer(timeout, abort)
    try:
        jax.distributed.initialize(coordinator, n_hosts, host, initialization_timeout=timeout + 60)
    except (RuntimeError, ValueError) as error:
        raise UnavailableError(
            f"cannot join the other hosts: {' '.join(str(error).split())}"
        ) from error
    finally:
        timer.cancel()
    threading.Thread(target=_watch_failures, daemon=True).start()


def barrier(name: str) -> None:
    """Wait until every host has reached the barrier of this name; return at once on one host."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def stop_together(stop_requested: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that says whether to stop, the same at the same call on every host.

    Args:
      stop_requested: Whether this process was asked to stop. With several hosts it is not asked:
        JAX's preemption service receives SIGTERM on each, and the other signals as SIGTERM.
    """
    if jax.process_count() == 1:
        return stop_requested
    calls = 0

    def agreed() -> bool:
        nonlocal calls
        calls += 1
        return multihost_utils.reached_preemption_sync_point(calls)

    return agreed


def shutdown(timeout: int = 60) -> None:
    """Wait until every host shuts down, so that none takes the others for dead.

    Args:
      timeout: Seconds to wait; then the process ends with exit code 1.
    """
    if jax.process_count() > 1:
        timer = _start_timer(timeout, lambda: os._exit(LOST_HOST_CODE))
        jax.distributed.shutdown()
        timer.cancel()


def fail(message: str, code: int) -> None:
    """Report to the other hosts why this one fails, and exit; do nothing on a single host.

    Without the report they would wait for this host at the next barrier, and it for them at an
    orderly exit.

    Args:
      message: One line.
      code: The exit code.
    """
    if (store := _store()) is not None:
        store.key_value_set(f"{FAILURES}{distributed.global_state.process_id}", message)
        _exit(code)


def _watch_failures() -> None:
    """End this process soon after another host has failed."""
    own = f"{FAILURES}{distributed.global_state.process_id}"
    while True:
        time.sleep(POLL_SECONDS)
        try:
            failures = dict(_store().key_value_dir_get(FAILURES))
        except Exception:  # the coordinator is gone, so there is nothing left to watch
            return
        if own in failures:
            return
        for key, message in failures.items():
            host = key.removeprefix(FAILURES)
            print(f"jaxmi: host {host} has failed: {message}", file=sys.stderr, flush=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # silence failures that follow from it
            _exit(LOST_HOST_CODE)


def _exit(code: int) -> None:
    """End this process once all hosts have had time to read why; host 0, which keeps it, last."""
    time.sleep((5 if distributed.global_state.process_id == 0 else 3) * POLL_SECONDS)
    os._exit(code)


def _start_timer(seconds: float, action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer


def _store() -> Any:
    """Return JAX's key-value store, None on a single host; JAX has no public name for it."""
    return distributed.global_state.client
