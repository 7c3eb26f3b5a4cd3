"""Eight devices train what one trains; memory is estimated from above; nothing is gathered."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.training import devices
from jaxmi.training.loop import make_advance, make_data, make_start
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import Run, Trainer, train_seeds

TRAIN = """
import json, sys, zlib
from dataclasses import replace
import chex, jax, numpy as np
from jaxmi.challenges.registry import load_challenge
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import train_seeds
challenge = load_challenge("transformer")
forward = chex.assert_max_traces(challenge.forms["fast"], n=3)  # the step, two curve splits
few = {name: rows[:512] for name, rows in challenge.splits.items()}
challenge = replace(challenge, forms={"fast": forward}, curve_splits=few)
recipe = replace(RECIPES["transformer"]["fast"], steps=20, eval_every=10, batch_size=128)
n_seeds, width = int(sys.argv[1]), int(sys.argv[2])
results = train_seeds(challenge, recipe, range(n_seeds), width=width)
print(json.dumps({
    "devices": jax.device_count(),
    "seeds": [
        [
            r.seed,
            r.curve,
            [x.astype(float).sum() for x in jax.tree.leaves(r.params)],
            [float(np.abs(x).max()) for x in jax.tree.leaves(r.params)],
        ]
        for r in results
    ],
}))
"""


def train(n_devices: int, n_seeds: int, width: int) -> dict:
    """Trains in a process of its own, whose CPU is split into devices."""
    flags = f"--xla_force_host_platform_device_count={n_devices}"
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(n_seeds), str(width)],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def one_device() -> dict:
    """Nineteen seeds, one after another."""
    return train(1, 19, 1)


@pytest.mark.slow
@pytest.mark.parametrize("width", [8, pytest.param(16, marks=pytest.mark.long)])
def test_eight_devices_train_what_one_does(one_device: dict, width: int) -> None:
    """Nineteen seeds fill neither two batches of sixteen nor three of eight."""
    found = train(8, 19, width)
    assert (found["devices"], one_device["devices"]) == (8, 1)
    assert [seed for seed, *_ in found["seeds"]] == list(range(19))
    for (_, curve, sums, _), (_, want_curve, want_sums, largest) in zip(
        found["seeds"], one_device["seeds"], strict=True
    ):
        assert [p["step"] for p in curve] == [10, 20]
        assert [p["loss"] for p in curve] == pytest.approx(
            [p["loss"] for p in want_curve], rel=1e-4
        )
        for a, b, scale in zip(sums, want_sums, largest, strict=True):
            # Adam moves a number whose gradient is mere rounding by a whole step, either way.
            assert a == pytest.approx(b, abs=0.2 * scale)
    losses = [curve[-1]["loss"] for _, curve, *_ in found["seeds"]]
    assert len(set(losses)) == 19, "the control: every seed is another"


def test_a_batch_must_fill_the_devices_evenly(transformer: Challenge) -> None:
    recipe = RECIPES["transformer"]["fast"]
    mesh = devices.seed_mesh()
    assert mesh.axis_names == ("seed",)
    assert devices.batch_width(transformer, recipe, 3) == mesh.size, "a CPU: one per device"
    assert devices.batch_width(transformer, recipe, 5, seeds_per_batch=100) == 5
    with pytest.raises(InputError, match="seeds_per_batch = 0"):
        devices.batch_width(transformer, recipe, 5, seeds_per_batch=0)


def test_what_does_not_fill_eight_devices_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        train(8, 3, 4)
    assert "width 4 is no multiple of the 8 devices" in caught.value.stderr


def test_on_an_accelerator_as_many_seeds_as_fit_are_trained(
    transformer: Challenge, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES["transformer"]["fast"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(devices, "device_memory", lambda: 16 * 2**30)
    one = devices.bytes_per_seed(transformer, recipe)
    expected = int(0.8 * 16 * 2**30) // one
    assert 100 < expected < 1000
    assert devices.batch_width(transformer, recipe, 10_000) == expected * jax.device_count()
    assert devices.batch_width(transformer, recipe, 7) == 7
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    assert devices.batch_width(transformer, recipe, 10_000) == expected * 8
    assert devices.batch_width(transformer, recipe, 7) == 8


@pytest.mark.device
@pytest.mark.parametrize("name", ["transformer", "cnn"])
def test_memory_is_estimated_from_above(request: pytest.FixtureRequest, name: str) -> None:
    """Against what the compiler reserves for one seed; no more than a few times above."""
    challenge: Challenge = request.getfixturevalue(name)
    recipe = RECIPES[name]["fast"]
    data = make_data(challenge)
    state = jax.eval_shape(make_start(challenge, recipe), jax.random.key(0), data)
    compiled = jax.jit(make_advance(challenge, recipe)).lower(state, np.int32(0), data).compile()
    memory = compiled.memory_analysis()
    needed = memory.temp_size_in_bytes + memory.output_size_in_bytes
    estimate = devices.bytes_per_seed(challenge, recipe)
    assert needed < estimate < 10 * needed


SHARDED = """
import jax, re, numpy as np
from dataclasses import replace
from jaxmi.challenges.registry import load_challenge
from jaxmi.training import devices
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import Trainer
COMMUNICATION = "all-reduce|all-gather|all-to-all|collective|reduce-scatter"
mesh = devices.seed_mesh()
tree = {"a": np.arange(32.0).reshape(16, 2), "b": np.arange(16)}
placed = devices.place_by_seed(mesh, tree)
assert len(placed["a"].addressable_shards) == 8
rows = devices.local_rows(placed)
assert sorted(rows) == list(range(16))
for i in range(16):
    np.testing.assert_array_equal(rows[i]["a"], tree["a"][i])
    assert rows[i]["b"] == i
recipe = replace(RECIPES["transformer"]["fast"], steps=2, eval_every=1, batch_size=64)
for width in (8, 16):
    program = Trainer([load_challenge("transformer")], recipe, width).program
    assert "num_partitions=8" in program
    assert not re.search(COMMUNICATION, program)
control = jax.jit(lambda x: x.sum()).lower(placed["b"]).compile().as_text()
assert re.search(COMMUNICATION, control), control
"""


@pytest.mark.long
def test_on_eight_devices_rows_stay_where_they_are_and_nothing_is_communicated() -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-c", SHARDED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_step_takes_over_the_memory_of_the_state_before(transformer: Challenge) -> None:
    recipe = replace(RECIPES["transformer"]["fast"], steps=2, eval_every=1)
    trainer = Trainer([transformer], recipe, jax.device_count())
    batch = next(trainer.plan([Run(transformer, [0])]))
    state = batch.state
    after = trainer.advance(batch, state, 1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))


@pytest.mark.slow
def test_the_last_batch_is_filled_up_and_its_padding_dropped(transformer: Challenge) -> None:
    recipe = RECIPES["transformer"]["fast"]
    short = replace(recipe, steps=2, eval_every=1)
    assert [r.seed for r in train_seeds(transformer, short, [9, 4, 6], width=2)] == [9, 4, 6]
