"""Calls from a notebook show progress, leave nothing behind, and survive an interrupt."""

import contextlib
import gc
import hashlib
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax.numpy as jnp
import pytest

import jaxmi
from jaxmi import notebook
from jaxmi.cli.main import main
from jaxmi.cli.regenerate import Regenerate
from jaxmi.errors import StoppedError
from jaxmi.storage.runs import RunFolder
from jaxmi.training import resume
from jaxmi.training.resume import StateStore
from jaxmi.workflows.challenges import define, write_challenge
from jaxmi.workflows.progress import stages

SMALL = {"steps": 40, "eval_every": 2, "batch_size": 32}
RUN = (
    "regenerate", "small", "--out", "run", "--seeds", "0:2", "--save-every", "4",
    "--set", *(f"{name}={value}" for name, value in SMALL.items()),
)  # fmt: skip
LOGGERS = ("", "jaxmi", "jax", "absl", "asyncio", "matplotlib")


def left_behind() -> dict[str, Any]:
    """Return what a call might leave in its process."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    return {
        "threads": set(threading.enumerate()),
        "handlers": {each: signal.getsignal(each) for each in signal.valid_signals()},
        "logging": [(one.level, [*one.handlers], [*one.filters], one.propagate) for one in loggers],
        "warnings": [*warnings.filters],
        "show": warnings.showwarning,
        "hooks": (sys.unraisablehook, sys.excepthook, threading.excepthook),
        "streams": (sys.stdout, sys.stderr),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
    }


@pytest.fixture(scope="module", autouse=True)
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Import what is imported at the first use only; work in a folder with a small challenge."""
    folder = tmp_path_factory.mktemp("notebook")
    write_challenge(define("return x < y", name="small", p=23), folder / "small")
    jnp.ones(1).block_until_ready()
    before = Path.cwd()
    os.chdir(folder)
    with pytest.raises(SystemExit):
        main(["score", "none", "--challenge", "none"])
    yield
    os.chdir(before)


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Check that a block leaves its process as it found it."""
    gc.collect()
    with resume._silence.of_a_store():
        pass  # another test's failed save may still silence late reports
    before = left_behind()
    yield
    gc.collect()
    assert left_behind() == before


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make this process look like a kernel, and return the lines that its cell shows."""
    shown: list[str] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            assert raw and data["text/html"].startswith("<div>")
            shown.append(data["text/plain"])

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        handle = Handle()
        handle.update(data, raw)
        return handle

    shell = SimpleNamespace(kernel=object())
    python, of_display = ModuleType("IPython"), ModuleType("IPython.display")
    monkeypatch.setattr(python, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setattr(of_display, "display", display, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", of_display)
    return shown


@pytest.mark.slow
def test_training_shows_its_progress_in_the_cell(
    cell: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with nothing_left():
        jaxmi.train("small", seeds=[0], **SMALL)
    assert cell[0] == "small: compiling"
    assert cell[-1].startswith("small seed 0: test ") and cell[-1].endswith("step 40 of 40")
    assert capfd.readouterr() == ("", "")


def test_without_progress_or_a_notebook_nothing_is_shown(
    cell: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    jaxmi.train("small", seeds=[0], **SMALL, progress=False)
    monkeypatch.delitem(sys.modules, "IPython")
    assert not notebook.in_notebook()
    with nothing_left():
        jaxmi.train("small", seeds=[0], **SMALL)
    assert cell == []
    assert capfd.readouterr() == ("", "")


def test_outside_a_notebook_progress_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jaxmi")
    jaxmi.train("small", seeds=[0], **SMALL)
    assert "small: compiling" in caplog.messages
    assert "step 40 of 40" in caplog.messages[-1]


def test_stages_are_shown_and_how_they_ended(cell: list[str]) -> None:
    with stages("explain seed 0", progress=True) as show:
        show("figures")
    with pytest.raises(KeyboardInterrupt), stages("recover seed 0", progress=True) as show:
        show("search")
        raise KeyboardInterrupt
    with stages("quiet", progress=False) as show:
        show("search")
    assert cell == [
        "explain seed 0: figures",
        "explain seed 0: done in 0 s",
        "recover seed 0: search",
        "recover seed 0: search, ended by KeyboardInterrupt",
    ]


class Interruption:
    """Raise KeyboardInterrupt at the nth call of a method."""

    def __init__(
        self, owner: type, name: str, number: int, monkeypatch: pytest.MonkeyPatch, after: bool
    ) -> None:
        original, self.calls = getattr(owner, name), 0

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == number and not after:
                raise KeyboardInterrupt
            result = original(*args, **kwargs)
            if self.calls == number:
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(owner, name, interrupted)


def bits(run: Path) -> dict[str, str]:
    """Return digests of everything that training decides."""
    files = [*run.rglob("params.safetensors"), *run.rglob("*.jsonl")]
    return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def calm() -> dict[str, str]:
    """Train the run that nobody interrupts."""
    main([*RUN, "--out", "calm"])
    return bits(Path("calm"))


@pytest.mark.slow
@pytest.mark.usefixtures("cell")
@pytest.mark.parametrize(
    ("owner", "name", "number", "after"),
    [
        (RunFolder, "advanced", 7, True),
        (StateStore, "save", 2, True),
        (StateStore, "save", 1, False),
        (StateStore, "remove", 1, False),
        (StateStore, "close", 1, False),
        (RunFolder, "add", 1, False),
        (RunFolder, "add", 2, True),
        (RunFolder, "finish", 1, False),
        (RunFolder, "_take", 1, True),
        (RunFolder, "_write_record", 1, True),
    ],
)
def test_an_interrupted_run_is_resumed_in_the_same_kernel(
    calm: dict[str, str],
    owner: type,
    name: str,
    number: int,
    after: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = [*RUN, "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patched:
        interruption = Interruption(owner, name, number, patched, after)
        # The error is kept as a kernel keeps it: with its frames.
        with nothing_left(), pytest.raises(SystemExit) as caught:
            main(run)
        assert caught.value.code == 1
        assert interruption.calls >= number
    if name == "advanced":
        (saved,) = (tmp_path / "run/state").glob("*/*")
        assert 0 < int(saved.name) <= 14
    with nothing_left():
        main(run)
    assert bits(tmp_path / "run") == calm
    assert len(calm) == 7
    del caught


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 1, "interrupted"),
        (StoppedError("stopped at step 2"), 75, "stopped at step 2; the same command resumes"),
    ],
)
def test_main_with_arguments_never_ends_its_process(
    error: BaseException,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(self: Regenerate) -> None:
        raise error

    def end(code: int) -> None:
        raise AssertionError("a kernel would have ended")

    monkeypatch.setattr(Regenerate, "run", fail)
    monkeypatch.setattr(os, "_exit", end)
    with nothing_left(), pytest.raises(SystemExit) as caught:
        main(list(RUN))
    assert caught.value.code == code
    assert capsys.readouterr().err == f"jaxmi: {told}\n"
    monkeypatch.setattr(sys, "argv", ["jaxmi", *RUN])
    with pytest.raises(AssertionError, match="would have ended"):  # the control: as a command
        main()


def test_a_failed_save_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise jaxmi.errors.UnavailableError("no space")

    monkeypatch.setattr(StateStore, "_check_space", refuse)
    with nothing_left(), pytest.raises(SystemExit):
        main([*RUN, "--out", str(tmp_path / "run")])


def test_two_stores_silence_and_the_last_one_ends_it(tmp_path: Path) -> None:
    with nothing_left():
        before = left_behind()
        one, other = StateStore(tmp_path / "one"), StateStore(tmp_path / "other")
        for store in (one, other):
            store.save([0], 1, 0.0, {"w": jnp.ones((1, 3))})
        one.close()
        assert left_behind() != before, "the control"
        other.close()
        assert other.saved()[0][0] == 1, "a closed store may be used again"
        other.close()


@pytest.mark.slow
@pytest.mark.parametrize("call", [jaxmi.explain, jaxmi.recover])
def test_explain_and_recover_leave_nothing(call: Callable, checkpoints: Path) -> None:
    network = jaxmi.load(checkpoints / "transformer")
    with nothing_left():
        call(network)


def has_state(folder: Path) -> bool:
    return any(path.name.isdigit() for path in folder.glob("*/*"))


@pytest.mark.slow
def test_a_real_kernel_survives_its_interruption(tmp_path: Path) -> None:
    """Interrupts a cell as Jupyter does, once a state is saved; the next cell resumes."""
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client").KernelManager(kernel_name="python3")
    write_challenge(define("return x < y", name="small", p=23), tmp_path / "small")
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()

    def execute(code: str, until: Callable[[], bool] | None = None) -> tuple[str, str]:
        """Run a cell; return its output, and the name of its error."""
        sent, out, error = client.execute(code), "", ""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if until is not None and until():
                until = manager.interrupt_kernel()
            try:
                message = client.get_iopub_msg(timeout=0.1)
            except Exception:  # none has arrived
                assert manager.is_alive()
                continue
            if message["parent_header"].get("msg_id") == sent:
                content = message["content"]
                out += content.get("text", "") + content.get("data", {}).get("text/plain", "")
                error = content.get("ename", error)
                if content.get("execution_state") == "idle":
                    return out, error
        raise AssertionError(out)

    try:
        client.wait_for_ready(timeout=120)
        longer = [each if "steps=" not in each else "steps=400" for each in RUN]
        cell = f"from jaxmi.cli.main import main\nmain({longer})"
        saved = partial(has_state, tmp_path / "run/state")
        out, error = execute(cell, until=saved)
        assert error == "SystemExit" and "small: compiling" in out and "interrupted" in out
        assert execute("import threading; print(threading.active_count(), 'threads')")[1] == ""
        assert execute(cell)[1] == ""
        out, error = execute(cell.replace("'run'", "'calm'"))
        assert error == ""
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert bits(tmp_path / "run") == bits(tmp_path / "calm")
