"""Signals that ask to stop are noted or raised, and leave no handler behind."""

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxmi.errors import StoppedError
from jaxmi.signals import REQUESTS, TerminatedError, handled, raised
from jaxmi.workflows.machine import stop_on_request

REQUESTED = pytest.mark.parametrize("signum", REQUESTS, ids=lambda signum: signum.name)


@pytest.fixture(autouse=True)
def handlers_are_back() -> Iterator[None]:
    """Check after each test that the handlers are those from before it."""
    before = [signal.getsignal(each) for each in REQUESTS]
    yield
    assert [signal.getsignal(each) for each in REQUESTS] == before


def test_the_signals_of_schedulers_and_terminals_are_among_them() -> None:
    assert {each.name for each in REQUESTS} == {"SIGTERM", "SIGUSR1", "SIGHUP"}
    assert signal.SIGINT not in REQUESTS, "Ctrl-C is Python's"


@REQUESTED
def test_a_request_is_noted_and_the_message_names_it(signum: signal.Signals) -> None:
    with pytest.raises(StoppedError) as caught, stop_on_request() as stopping:
        assert not stopping()
        os.kill(os.getpid(), signum)
        assert stopping()
        raise StoppedError("stopped at step 20")
    assert str(caught.value) == f"stopped at step 20 ({signum.name})"


def test_one_of_each_kind_is_only_noted() -> None:
    """Slurm sends SIGUSR1, and SIGTERM a while later: the first must not be made to kill."""
    with stop_on_request() as stopping:
        for signum in REQUESTS:
            os.kill(os.getpid(), signum)
        assert stopping()


def test_without_a_request_the_message_stays() -> None:
    with pytest.raises(StoppedError, match=r"^stopped$"), stop_on_request():
        raise StoppedError("stopped")


@REQUESTED
def test_a_signal_that_is_ignored_stays_ignored(
    signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        with raised(), stop_on_request() as stopping:
            os.kill(os.getpid(), signum)
            assert not stopping()
        assert signal.getsignal(signum) == signal.SIG_IGN
    finally:
        signal.signal(signum, before)


def test_a_users_handler_is_back_afterwards_even_within_another() -> None:
    got = []
    before = signal.signal(signal.SIGUSR1, lambda *args: got.append("own"))
    try:
        with pytest.raises(TerminatedError, match="SIGUSR1"), raised():
            with stop_on_request():
                os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)
        assert got == []
        os.kill(os.getpid(), signal.SIGUSR1)
        assert got == ["own"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_in_another_thread_nothing_is_handled() -> None:
    seen = []

    def train() -> None:
        with stop_on_request() as stopping, handled(print):
            seen.append([signal.getsignal(each) for each in REQUESTS])
            seen.append(stopping())

    before = [signal.getsignal(each) for each in REQUESTS]
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [before, False]


@REQUESTED
def test_a_second_one_of_the_same_kind_ends_the_process(signum: signal.Signals) -> None:
    code = (
        "import os\nfrom jaxmi.signals import handled\n"
        f"with handled(print):\n    os.kill(os.getpid(), {int(signum)})\n"
        f"    print('alive', flush=True)\n    os.kill(os.getpid(), {int(signum)})\n    print('no')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signum
    assert done.stdout.splitlines()[-1] == "alive"


WAITING = """
import sys, time
from pathlib import Path
from jaxmi.cli.doctor import Doctor
from jaxmi.cli.main import main
from jaxmi.storage.atomic import atomic_files

def run(self):
    with atomic_files(Path("out")) as temporary:
        (temporary / "half").write_text("half")
        print("waiting", flush=True)
        time.sleep(60)

Doctor.run = run
Doctor.resumes = sys.argv.pop() == "resumes"
sys.argv[1:] = ["doctor"]
main()
"""
"""A subcommand that has begun to write."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[signal.Signals, str], tuple]:
    """Signal, and whether the command resumes -> exit code, stderr, what is left in the folder."""
    cases = {}
    for signum, resumes in [*((each, "no") for each in REQUESTS), (signal.SIGTERM, "resumes")]:
        folder = tmp_path_factory.mktemp("ended")
        command = [sys.executable, "-c", WAITING, resumes]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
        cases[signum, resumes] = (process, folder)
    found = {}
    for (signum, resumes), (process, folder) in cases.items():
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
        found[signum, resumes] = process.returncode, err, list(folder.iterdir())
    return found


@REQUESTED
def test_any_subcommand_ends_in_one_line_and_leaves_nothing(signum, ended) -> None:
    code, err, left = ended[signum, "no"]
    assert (code, err, left) == (128 + signum, f"jaxmi: ended by {signum.name}\n", [])


def test_one_that_resumes_says_so(ended) -> None:
    code, err, left = ended[signal.SIGTERM, "resumes"]
    line = "jaxmi: ended by SIGTERM; the same command resumes\n"
    assert (code, err, left) == (75, line, [])


def test_after_its_terminal_was_closed_a_process_may_still_write() -> None:
    """The system sends SIGHUP, and refuses what is written there from then on."""
    code = """
import os, sys, time
from jaxmi.signals import handled
got = []
with handled(got.append):
    os.write(int(sys.argv[1]), b"r")
    while not got:
        time.sleep(0.01)
    print("lost", flush=True)
    print("lost too", file=sys.stderr, flush=True)
    os.write(int(sys.argv[1]), got[0].name.encode())
"""
    ours, theirs = pty.openpty()
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", "import os, fcntl, termios, sys\n"
         "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + code, str(write)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, pass_fds=[write],
    )  # fmt: skip
    os.close(theirs)
    os.close(write)
    assert os.read(read, 1) == b"r"
    os.close(ours)
    assert os.read(read, 10) == b"SIGHUP"
    assert process.wait(timeout=10) == 0
    os.close(read)
