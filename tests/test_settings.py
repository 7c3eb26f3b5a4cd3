"""Nothing that JAX is told by variables or by `jax.config` changes what jaxmi computes."""

import contextlib
import itertools
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import COMMAND, finish, start
from safetensors.numpy import load_file

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import StoppedError
from jaxmi.settings import PERMISSIONS, VALUES, fixed_settings, with_fixed_settings
from jaxmi.training.recipe import RECIPES
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import train_seeds

slow = pytest.mark.slow

OTHERS: dict[str, Any] = {
    "jax_enable_x64": True,
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 3,
    "jax_disable_jit": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_softmax_custom_jvp": True,
    "jax_disable_most_optimizations": True,
    "jax_no_tracing": True,
    "jax_no_execution": True,
    "jax_transfer_guard_host_to_device": "disallow",
    "jax_error_checking_behavior_oob": "raise",
    "jax_default_matmul_precision": "bfloat16",
    "jax_debug_nans": True,
    "jax_debug_key_reuse": True,
    "jax_legacy_prng_key": "error",
    "jax_check_tracer_leaks": True,
    "jax_use_direct_linearize": False,
    "jax_optimization_level": "O0",
}
"""Setting -> a value other than JAX's own."""

DECIDE = ("jax_enable_x64", "jax_default_prng_impl", "jax_threefry_partitionable")
"""Settings that change the parameters where nobody fixes them."""

QUICK = (*DECIDE, "jax_disable_jit")
"""The settings that the quick tests try."""


def cases(*quick: str) -> list[Any]:
    return [pytest.param(name, marks=[] if name in quick else [slow]) for name in OTHERS]


@pytest.fixture(scope="module")
def small() -> Challenge:
    """Return a challenge whose network is trained in a moment."""
    sizes = {"d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 16}
    return jaxmi.make_challenge("return x < y", p=11, network=sizes)


@contextlib.contextmanager
def changed(name: str) -> Iterator[None]:
    before = jax.config.values[name]
    jax.config.update(name, OTHERS[name])
    try:
        yield
    finally:
        jax.config.update(name, before)


def bits(tree: Any) -> list[tuple[str, tuple[int, ...], bytes]]:
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return [(str(array.dtype), array.shape, array.tobytes()) for array in arrays]


def by_the_public_functions(challenge: Challenge) -> Any:
    challenge = replace(challenge)  # without what an earlier call has compiled
    changes = {"steps": 4, "eval_every": 2, "batch_size": 32, "progress": False}
    (network,) = jaxmi.train(challenge, seeds=[3], **changes)
    outputs = [network.logits(), network.labels(), network.run([5, 7])]
    score = jaxmi.score("return x < y", challenge, network=network)
    return bits(network.params), network.curve, bits(outputs), score.metrics()


def by_the_library(challenge: Challenge, **options: Any) -> Any:
    recipe = replace(RECIPES["transformer"]["fast"], steps=4, eval_every=2, batch_size=32)
    (result,) = train_seeds(replace(challenge), recipe, [3], **options)
    return bits((result.params, result.best_params)), result.curve


@pytest.fixture(scope="module")
def usual(small: Challenge) -> dict[Callable, Any]:
    return {way: way(small) for way in (by_the_public_functions, by_the_library)}


@pytest.mark.parametrize("name", cases(*QUICK))
def test_no_setting_of_jax_changes_a_result(
    name: str, small: Challenge, usual: dict[Callable, Any]
) -> None:
    with changed(name):
        before = jax.config.values
        for way, expected in usual.items():
            assert way(small) == expected
        assert jax.config.values == before, "the user's settings stay"


@pytest.mark.parametrize("name", DECIDE)
def test_the_control_where_nobody_fixes_a_setting_the_network_is_another(
    name: str, small: Challenge
) -> None:
    init = small.model.init

    def initial() -> Any:
        return bits(jax.jit(init)(jax.random.key(3), small.inputs[0]))

    usual = initial()
    with changed(name):
        assert initial() != usual
        with fixed_settings():
            assert initial() == usual


def test_a_run_that_was_stopped_under_other_settings_is_resumed(
    small: Challenge, usual: dict[Callable, Any], tmp_path: Path
) -> None:
    with changed("jax_enable_x64"), changed("jax_default_prng_impl"), pytest.raises(StoppedError):
        by_the_library(small, store=StateStore(tmp_path), stop=lambda: True)
    assert StateStore(tmp_path).saved()[0][0] == 2
    resumed = by_the_library(small, store=StateStore(tmp_path))
    assert resumed == usual[by_the_library]


def test_shapes_are_not_kept_from_a_time_of_other_settings() -> None:
    from jaxmi.challenges.registry import param_shapes, registered

    model = registered("transformer").model
    param_shapes.cache_clear()
    with changed("jax_enable_x64"):
        shapes = param_shapes(model, "pairs")
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}


def test_settings_are_fixed_by_thread_and_can_be_entered_again() -> None:
    seen, inside, leave = [], threading.Event(), threading.Event()

    def other_thread() -> None:
        with fixed_settings(), fixed_settings():
            seen.append(jnp.arange(3.0).dtype)
            inside.set()
            leave.wait(60)

    with changed("jax_enable_x64"), changed("jax_disable_most_optimizations"):
        thread = threading.Thread(target=other_thread)
        thread.start()
        assert inside.wait(60)
        assert jnp.arange(3.0).dtype == np.float64, "this thread's setting is the user's"
        with fixed_settings():
            leave.set()
            thread.join()
            assert jax.config.values["jax_disable_most_optimizations"] is False
            assert jnp.arange(3.0).dtype == np.float32
        assert jax.config.values["jax_disable_most_optimizations"] is True
        assert jnp.arange(3.0).dtype == np.float64
    assert seen == [np.float32]


def test_a_generator_leaves_the_settings_between_its_values() -> None:
    closed = []

    @with_fixed_settings
    def numbers() -> Iterator[Any]:
        try:
            for _ in itertools.repeat(None):
                yield jnp.arange(3.0).dtype
        finally:
            closed.append(True)

    with changed("jax_enable_x64"):
        values = numbers()
        for _ in range(2):
            assert next(values) == np.float32
            assert jnp.arange(3.0).dtype == np.float64
        values.close()
        assert closed
    with pytest.raises(KeyError), changed("jax_enable_x64"), fixed_settings():
        raise KeyError
    assert jax.config.values["jax_enable_x64"] is False


def test_every_setting_is_one_that_jax_has() -> None:
    assert (VALUES | PERMISSIONS).keys() <= jax.config.values.keys()
    assert OTHERS.keys() <= jax.config.values.keys()


VARIABLES = [
    {"JAX_ENABLE_X64": "1"},
    {"JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg", "JAX_THREEFRY_PARTITIONABLE": "0"},
    {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"},
    {"JAX_DISABLE_JIT": "1", "JAX_DEBUG_NANS": "1", "JAX_ENABLE_CUSTOM_PRNG": "1"},
    {"JAX_RANDOM_SEED_OFFSET": "7", "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16"},
    {"JAX_TRANSFER_GUARD": "disallow", "JAX_LOG_COMPILES": "0", "JAX_DEBUG_INFS": "1"},
    {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_SOFTMAX_CUSTOM_JVP": "1"},
]


@slow
@pytest.mark.parametrize("variables", VARIABLES, ids=lambda one: "-".join(one))
def test_no_variable_changes_a_run(
    variables: dict[str, str], undisturbed: Path, tmp_path: Path
) -> None:
    run = str(tmp_path / "run")
    _, err = finish(start(*regenerate(run), **variables))
    assert "Warning" not in err
    assert contents(Path(run)) == contents(undisturbed)
    record = json.loads((Path(run) / "run.json").read_text())
    usual = json.loads((undisturbed / "run.json").read_text())
    assert record["environments"] == usual["environments"]
    assert usual["environments"][0]["settings"]["jax_default_prng_impl"] == "threefry2x32"
    evaluated = [
        json.loads(finish(start("evaluate", f"{folder}/seed-00000", "--json", **extra))[0])
        for folder, extra in ((run, variables), (run, {}))
    ]
    assert evaluated[0] == evaluated[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(start(*regenerate(str(folder))))
    return folder


def regenerate(out: str) -> list[str]:
    sizes = ["--set", "steps=4", "eval_every=2", "batch_size=64"]
    return ["regenerate", "transformer", "--seeds", "0", "--out", out, *sizes]


def contents(run: Path) -> dict[str, Any]:
    curve = {"curve": (run / "seed-00000/curve.jsonl").read_bytes()}
    parameters = load_file(run / "seed-00000/params.safetensors")
    return curve | {name: bits(array) for name, array in parameters.items()}


@pytest.mark.parametrize(
    "variable", [{"JAX_ENABLE_X64": "perhaps"}, {"JAX_DEFAULT_PRNG_IMPL": "dice"}]
)
def test_a_variable_without_a_valid_value_is_one_line(variable: dict[str, str]) -> None:
    command = [*COMMAND, "evaluate", "nowhere"]
    environment = {**os.environ, **variable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    (value,) = variable.values()
    assert done.returncode == 1
    assert line.startswith("jaxmi: JAX cannot be started:") and value in line


@slow
def test_what_else_decides_is_recorded(tmp_path: Path) -> None:
    """A run that is resumed on other devices, or under the compiler's flags, says so."""
    run = str(tmp_path / "run")
    flags = "--xla_force_host_platform_device_count=2"
    finish(start(*regenerate(run)))
    more = regenerate(run)
    more[more.index("0")] = "0:2"
    finish(start(*more, XLA_FLAGS=flags))
    finish(start(*more))  # nothing is left to train
    first, second = json.loads((tmp_path / "run/run.json").read_text())["environments"]
    assert (first["devices"], second["devices"]) == (1, 2)
    assert (first["flags"], second["flags"]) == ({}, {"XLA_FLAGS": flags})
    assert first["backend"] == jax.default_backend()
