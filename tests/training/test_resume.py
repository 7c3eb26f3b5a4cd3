"""The state on disk: complete, unaffected by donation, read by any number of devices."""

import asyncio
import gc
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError, StoppedError, UnavailableError
from jaxmi.training import resume
from jaxmi.training.recipe import RECIPES
from jaxmi.training.resume import StateStore, rebuild
from jaxmi.training.seeds import train_seeds

SHORT = replace(RECIPES["transformer"]["fast"], steps=40, eval_every=5)


class Count:
    """Counts the points that were really trained for."""

    def __init__(self) -> None:
        self.points: list[tuple[int, int]] = []

    def resumed(self, curves) -> None:
        assert all(curve[-1]["step"] > 0 for curve in curves.values())

    def advanced(self, points) -> None:
        self.points += [(seed, point["step"]) for seed, point in points.items()]


def stop_after(points: int):
    """Says so at the given point."""
    calls = iter(range(1, 1000))
    return lambda: next(calls) == points


@pytest.mark.device
def test_what_is_saved_is_read_back_though_it_was_donated_meanwhile(tmp_path: Path) -> None:
    state = {"w": jnp.arange(3_000_000.0).reshape(2, -1), "n": jnp.array([1, 2], jnp.int32)}
    expected = jax.tree.map(np.array, state)
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    store = StateStore(tmp_path / "state")
    for step in (1, 2, 3):
        store.save([7, 8], step, 1.5, state)
        state = overwrite(state)
        if step < 3:
            state = jax.tree.map(jnp.asarray, expected)
    store.wait()
    (saved,) = StateStore(tmp_path / "state").load()
    assert (saved.seeds, saved.step, saved.seconds) == ((7, 8), 3, 1.5)
    chex.assert_trees_all_equal(rebuild(saved, expected), expected)
    assert float(state["n"][0]) == -1, "the control: it was overwritten"


@pytest.mark.device
@pytest.mark.slow
def test_training_stopped_and_resumed_is_bitwise_training(
    transformer: Challenge, tmp_path: Path
) -> None:
    expected = list(train_seeds(transformer, SHORT, [0, 1, 2], width=2))
    found, count = [], Count()
    for points in (3, 7, 2):
        store = StateStore(tmp_path / "state")
        left = [seed for seed in (0, 1, 2) if seed not in {result.seed for result in found}]
        with pytest.raises(StoppedError):
            for result in train_seeds(
                transformer,
                SHORT,
                left,
                width=2,
                watchers=[count],
                store=store,
                stop=stop_after(points),
            ):
                found.append(result)
    left = [seed for seed in (0, 1, 2) if seed not in {result.seed for result in found}]
    store = StateStore(tmp_path / "state")
    found += train_seeds(transformer, SHORT, left, width=2, watchers=[count], store=store)
    every_point = [(seed, step) for seed in (0, 1, 2) for step in range(5, 41, 5)]
    assert sorted(count.points) == every_point, "nothing was trained twice"
    assert [result.seed for result in found] == [0, 1, 2]
    for have, want in zip(found, expected, strict=True):
        chex.assert_trees_all_equal(have.params, want.params)
        chex.assert_trees_all_equal(have.best_params, want.best_params)
        assert (have.curve, have.best_step) == (want.curve, want.best_step)


@pytest.mark.slow
def test_a_request_at_a_batchs_last_point_is_not_forgotten(
    transformer: Challenge, tmp_path: Path
) -> None:
    results = train_seeds(
        transformer, SHORT, [0, 1], width=1, store=StateStore(tmp_path / "s"), stop=stop_after(8)
    )
    assert next(results).seed == 0
    with pytest.raises(StoppedError, match="stopped after seeds 0"):
        next(results)


@pytest.mark.long
def test_a_batch_may_be_split_when_it_is_resumed(transformer: Challenge, tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state")
    with pytest.raises(StoppedError):
        next(
            train_seeds(transformer, SHORT, [0, 1, 2, 3], width=4, store=store, stop=stop_after(4))
        )
    expected = list(train_seeds(transformer, SHORT, [0, 1, 2, 3], width=4))
    found = list(
        train_seeds(transformer, SHORT, [0, 2, 3], width=2, store=StateStore(tmp_path / "state"))
    )
    assert [result.seed for result in found] == [0, 2, 3]
    for have in found:
        want = expected[have.seed]
        assert have.curve[:4] == want.curve[:4], "what was done is not done again"
        assert have.curve[-1]["loss"] == pytest.approx(want.curve[-1]["loss"], abs=1e-3)


@pytest.mark.slow
def test_of_overlapping_saves_the_furthest_is_resumed(
    transformer: Challenge, tmp_path: Path
) -> None:
    """A batch of two, killed; then one of its seeds alone, killed further on."""
    for seeds, width, points in (([0, 1], 2, 2), ([0], 1, 3)):
        store = StateStore(tmp_path / "state")
        with pytest.raises(StoppedError):
            next(
                train_seeds(
                    transformer, SHORT, seeds, width=width, store=store, stop=stop_after(points)
                )
            )
    assert [(b.seeds, b.step) for b in StateStore(tmp_path / "state").load()] == [
        ((0,), 25),
        ((0, 1), 10),
    ]
    count = Count()
    store = StateStore(tmp_path / "state")
    list(train_seeds(transformer, SHORT, [0, 1], width=1, watchers=[count], store=store))
    assert min(step for seed, step in count.points if seed == 0) == 30
    assert min(step for seed, step in count.points if seed == 1) == 15


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state")
    store.save([0], 5, 0.0, {"w": jnp.ones((1, 3))})
    store.wait()
    (saved,) = StateStore(tmp_path / "state").load()
    for template, named in (
        ({"w": np.ones((1, 4), np.float32)}, "w"),
        ({"w": np.ones((1, 3), np.int32)}, "int32"),
        ({"v": np.ones((1, 3), np.float32)}, "v"),
    ):
        with pytest.raises(InputError, match=named):
            rebuild(saved, template)


def corrupted(tmp_path: Path, transformer: Challenge, change) -> str:
    """Stops a run, rewrites its saved state, and returns why it is not resumed."""
    store = StateStore(tmp_path / "state")
    with pytest.raises(StoppedError):
        next(train_seeds(transformer, SHORT, [0, 1], width=2, store=store, stop=stop_after(2)))
    (saved,) = StateStore(tmp_path / "state").load()
    store.remove(saved.seeds)
    arrays = {name: jnp.asarray(array) for name, array in saved.arrays.items()}
    change(arrays)
    changed = StateStore(tmp_path / "state")
    changed.save(saved.seeds, saved.step, saved.seconds, arrays)
    changed.wait()
    store = StateStore(tmp_path / "state")
    try:
        next(train_seeds(transformer, SHORT, [0, 1], width=2, store=store, stop=lambda: True))
    except (InputError, StoppedError) as error:
        return str(error)
    raise AssertionError("it neither resumed nor refused")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: None, "stopped at step 15 of seeds 0..1"),  # the control: resumed
        (lambda a: a.pop("train.params.W_E"), "tensor train.params.W_E is missing"),
        (lambda a: a.update(extra=a["key"]), "unexpected tensor extra"),
        (
            lambda a: a.update({"train.params.W_U": a["train.params.W_U"].mT}),
            "tensor train.params.W_U is float32[2, 114, 128], expected float32[2, 128, 114]",
        ),
        (
            lambda a: a.update(order=a["order"].astype(jnp.float32)),
            "tensor order is float32[2, 6384], expected int32[2, 6384]",
        ),
        (
            lambda a: a.update({"curve.loss": a["curve.loss"][:, :4]}),
            "tensor curve.loss is float32[2, 4], expected float32[2, 8]",
        ),
        (
            lambda a: a.update(best_step=a["best_step"][:1]),
            "tensor best_step is int32[1], expected int32[2]",
        ),
    ],
)
def test_a_state_that_was_changed_is_refused_in_one_line(
    tmp_path: Path, transformer: Challenge, change, message: str
) -> None:
    line = corrupted(tmp_path, transformer, change)
    assert message in line
    assert "\n" not in line
    assert ("--force starts over" in line) == line.startswith("the saved training state")


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state")
    store.save([0], 5, 0.0, {"w": jnp.ones((1, 3))})
    store.wait()
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file() and path.name not in ("commit_success.txt",):
            path.write_bytes(b"rotten")
    with pytest.raises(UnavailableError, match="cannot read the training state"):
        list(StateStore(tmp_path / "state").load())


def test_what_does_not_fit_the_disk_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(tmp_path / "state")
    store.save([0], 5, 0.0, {"w": jnp.ones((1, 1000))})
    store.wait()
    usage = shutil.disk_usage(tmp_path)._replace(free=3999)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UnavailableError, match="the disk has 3,999 left"):
        store.save([0], 10, 0.0, {"w": jnp.zeros((1, 1000))})
    (saved,) = StateStore(tmp_path / "state").load()
    assert saved.step == 5
    np.testing.assert_array_equal(saved.arrays["w"], np.ones((1, 1000)))


FULL = (
    'OUT_OF_RANGE: Error writing "w/0" in OCDBT database at local file "/run/5.orbax-checkpoint-tmp'
    '/default/": Failed writing: "/run/5.orbax-checkpoint-tmp/d/b3": Failed to write 10 bytes to '
    "file 6: File too large"
)
SETTINGS = """ [tensorstore_spec='{"path": "w"}']"""


@pytest.mark.parametrize("about", ["", " [os_error_code='27']" + SETTINGS, SETTINGS])
def test_a_save_that_fails_tells_why_and_not_where(
    about: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args, **kwargs) -> None:
        raise ValueError(FULL + about)

    monkeypatch.setattr(ocp.CheckpointManager, "save", fail)
    with pytest.raises(UnavailableError) as raised:
        StateStore(tmp_path / "state").save([0], 5, 0.0, {"w": jnp.ones((1, 3))})
    told = f"{tmp_path}/state: Failed to write 10 bytes to file 6: File too large"
    assert str(raised.value) == f"cannot save the training state in {told}"


FILES = ("/other/code.py", "/orbax/code.py")


def raised_in(file: str, error: str = "OSError(27, 'File too large')") -> BaseException:
    """Return an error that a line of a file raised; its text does not name the file."""
    line = compile(f"raise {error}", file, "exec")
    with pytest.raises((OSError, RuntimeError)) as raised:
        exec(line)
    return raised.value


def closed_loop() -> BaseException:
    """Return asyncio's error of a closed event loop, as a thread of TensorStore meets it."""
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError) as raised:
        loop.call_soon_threadsafe(print)
    trace = raised.value.__traceback__
    assert trace is not None
    return raised.value.with_traceback(trace.tb_next)  # without this function


def test_of_the_other_writes_nothing_is_told_and_of_others_everything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_value))
    closed, other, own = closed_loop(), *map(raised_in, FILES)
    errors = [closed, other, ValueError(FULL), own]
    with resume._late_reports_silenced():
        for error in errors:
            sys.unraisablehook(SimpleNamespace(exc_value=error, object=None))
            logging.getLogger("asyncio").error("a task failed", exc_info=error)
        logging.getLogger("asyncio").error("slow")
    assert told == errors[1:]
    logged = [record.exc_info and record.exc_info[1] for record in caplog.records]
    assert logged == [closed, other, None]


def culprits_of(file: str) -> list[Any]:
    """Return what an unraisable error may name, defined in a file."""
    defined: dict[str, Any] = {}
    text = "async def waits(): pass\nasync def counts(): yield\nclass A:\n def __del__(self): pass"
    exec(compile(text, file, "exec"), defined)
    coroutine, generator, made = defined["waits"](), defined["counts"](), defined["A"]()
    coroutine.close()
    return [coroutine, generator, defined["A"].__del__, made.__del__]


def test_a_closed_event_loop_of_the_users_code_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    theirs, ours = map(culprits_of, FILES)
    named = [SimpleNamespace(exc_value=closed_loop(), object=each) for each in (*theirs, *ours)]
    raised = [
        SimpleNamespace(
            exc_value=raised_in(file, "RuntimeError('Event loop is closed')"), object=None
        )
        for file in FILES
    ]
    with resume._late_reports_silenced():
        for unraisable in (*named, *raised):
            sys.unraisablehook(unraisable)
    assert told == [*named[: len(theirs)], raised[0]]


def test_a_failed_read_is_no_failed_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args, **kwargs) -> None:
        raise ValueError(FULL)

    def read_a_store() -> None:
        with StateStore(tmp_path / "state") as store:
            store.save([0], 5, 0.0, {"w": jnp.ones((1, 3))})
            store.wait()
            list(store.load())

    gc.collect()  # stores of other tests
    read_a_store()
    before = [*logging.getLogger("asyncio").filters]
    monkeypatch.setattr(ocp.CheckpointManager, "restore", fail)
    with pytest.raises(UnavailableError, match="cannot read"):
        read_a_store()
    assert logging.getLogger("asyncio").filters == before


def test_late_reports_of_a_failed_save_stay_silenced_until_a_store_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use_a_store() -> list:
        with StateStore(tmp_path / "state") as store:
            store.save([0], 5, 0.0, {"w": jnp.ones((1, 3))})
        return [*logging.getLogger("asyncio").filters]

    def fail(*args, **kwargs) -> None:
        raise ValueError(FULL)

    gc.collect()  # stores of other tests
    level, filters = logging.getLogger("absl").level, use_a_store()
    with monkeypatch.context() as patched:
        patched.setattr(ocp.CheckpointManager, "save", fail)
        with pytest.raises(UnavailableError):
            use_a_store()
        with pytest.raises(UnavailableError):
            use_a_store()
    assert logging.getLogger("absl").level == level
    assert len(logging.getLogger("asyncio").filters) == len(filters) + 1
    assert use_a_store() == filters
