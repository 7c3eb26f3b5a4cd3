"""Signals that ask a process to stop: which they are, and who handles them for how long."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

REQUESTS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)
"""The signals that ask to stop, as far as the system has them: `kill` and schedulers send SIGTERM,
Slurm's `--signal=USR1@120` SIGUSR1, a closed terminal SIGHUP. Ctrl-C is Python's KeyboardInterrupt.
"""


class TerminatedError(BaseException):
    """A signal asks the process to end; like KeyboardInterrupt no `except Exception` catches it."""

    def __init__(self, signum: signal.Signals) -> None:
        """Take the signal."""
        super().__init__(signum.name)
        self.signum = signum


@contextmanager
def handled(
    act: Callable[[signal.Signals], None], signals: Sequence[signal.Signals] = REQUESTS
) -> Iterator[None]:
    """Call a function when a signal arrives; a second one of the same kind ends the process.

    Signals that the process ignores stay ignored: `nohup` has it ignore SIGHUP. So do those that
    something other than Python handles. Afterwards the earlier handlers are back. In another thread
    than the main one no signal can be handled.

    Args:
      act: Called in the main thread, between two steps of Python: not while JAX compiles.
      signals: Which signals.
    """

    def receive(signum: int, frame: object) -> None:
        signal.signal(signum, signal.SIG_DFL)
        _leave_closed_terminal()
        act(signal.Signals(signum))

    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for each in signals:
                current = signal.getsignal(each)
                if current is not None and current != signal.SIG_IGN:
                    before[each] = current
                    signal.signal(each, receive)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def raised() -> Iterator[None]:
    """Raise `TerminatedError` when a signal asks to stop, so that temporary files are removed."""

    def end(signum: signal.Signals) -> None:
        raise TerminatedError(signum)

    with handled(end):
        yield


def _leave_closed_terminal() -> None:
    """Send stdout and stderr nowhere if their terminal was closed: to write there would fail."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError as error:
            if error.errno != errno.EIO:
                continue
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
