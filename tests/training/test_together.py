"""Programs trained together are the programs trained one by one, in one compilation."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from hlo import instructions

from jaxmi.challenges.challenge import Challenge
from jaxmi.data.pairs import split_indices
from jaxmi.errors import DivergedError, InputError, StoppedError
from jaxmi.programs.parse import parse
from jaxmi.training.loop import can_train_together
from jaxmi.training.recipe import RECIPES
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Run, SeedResult, train_runs, train_seeds

SHORT = replace(
    RECIPES["transformer"]["fast"], steps=40, eval_every=10, batch_size=64, learning_rate=3e-3
)
TEXTS = (
    "return x < y",
    "z = x**2 - 7*y\nreturn z % 5 < 2",
    "return x + y > 90",
)


@pytest.fixture(scope="module")
def several(transformer: Challenge) -> list[Challenge]:
    """Three challenges of one shape; the split of the second is its mirror image."""
    few = {"test": transformer.splits["test"][:256]}
    challenges = []
    for i, text in enumerate(TEXTS):
        made = transformer.relabelled(parse(text, "pairs"), f"program {i}")
        challenges.append(replace(made, name=f"program-{i}", curve_splits=few))
    train, test = split_indices(113, len(transformer.splits["train"]) / 113**2)
    swapped = {"train": np.sort(test[: len(train)]), "test": train}
    challenges[1] = replace(
        challenges[1], splits=swapped, curve_splits={"test": np.asarray(train[:256])}
    )
    return challenges


def together(challenges: Sequence[Challenge], seeds, recipe=SHORT, **more):
    """Return the results by (challenge's index, seed)."""
    runs = [Run(challenge, seeds) for challenge in challenges]
    return {(i, r.seed): r for i, r in train_runs(runs, recipe, **more)}


@pytest.fixture(scope="module")
def one_by_one(several: list[Challenge]) -> dict[tuple[int, int], SeedResult]:
    return {
        (i, result.seed): result
        for i, challenge in enumerate(several)
        for result in train_seeds(challenge, SHORT, [0, 7], width=jax.device_count())
    }


def assert_same_bits(found: SeedResult, expected: SeedResult) -> None:
    chex.assert_trees_all_equal(found.params, expected.params)
    chex.assert_trees_all_equal(found.best_params, expected.best_params)
    assert (found.curve, found.best_step) == (expected.curve, expected.best_step)


@pytest.mark.slow
def test_trained_together_they_are_what_they_are_alone(several, one_by_one) -> None:
    """To the bit: a device trains one network at a time, by the same operations."""
    found = together(several, [0, 7], width=jax.device_count())
    assert list(found) == [(i, seed) for i in range(3) for seed in (0, 7)]
    for key, expected in one_by_one.items():
        assert_same_bits(found[key], expected)
    # The control: programs differ, and so do seeds.
    losses = [result.curve[-1]["loss"] for result in found.values()]
    assert len(set(losses)) == 6


@pytest.mark.long
def test_side_by_side_on_one_device_they_are_the_same_but_for_rounding(several, one_by_one) -> None:
    """Within 2e-3 of each array's largest value, as seeds of one program: sums in another order."""
    found = together(several, [0, 7], width=4 * jax.device_count())
    for key, expected in one_by_one.items():
        for a, b in zip(
            jax.tree.leaves(found[key].params), jax.tree.leaves(expected.params), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-3 * np.abs(b).max())
        assert found[key].curve[-1]["loss"] == pytest.approx(expected.curve[-1]["loss"], abs=1e-3)


def test_labels_belong_to_the_network(several, one_by_one) -> None:
    """Exchanging two challenges exchanges their networks, and each fits its own labels best."""
    found = together(several[::-1], [0], width=jax.device_count())
    for i in range(3):
        assert_same_bits(found[i, 0], one_by_one[2 - i, 0])
    recipe = replace(SHORT, steps=200, eval_every=100)
    trained = together([several[0], several[2]], [0], recipe)
    accuracy = [
        [
            (challenge.predict(trained[i, 0].params) == challenge.labels).mean()
            for challenge in (several[0], several[2])
        ]
        for i in range(2)
    ]
    for i in range(2):
        assert accuracy[i][i] > accuracy[i][1 - i] + 0.1, accuracy


@pytest.mark.long
def test_all_programs_are_one_compilation(several) -> None:
    chex.clear_trace_counter()
    forward = chex.assert_max_traces(several[0].forms["fast"], n=2)  # the step, the curve's split
    watched = [replace(challenge, forms={"fast": forward}) for challenge in several]
    assert len(together(watched, [0, 1, 2], width=2 * jax.device_count())) == 9
    with pytest.raises(AssertionError):  # the control: another call compiles anew
        together(watched, [0])


def runs_with_stores(several, seeds, folder: Path) -> list[Run]:
    return [
        Run(challenge, seeds, store=StateStore(folder / challenge.name)) for challenge in several
    ]


def stop_after(points: int):
    calls = iter(range(1, 1000))
    return lambda: next(calls) == points


@pytest.mark.slow
@pytest.mark.parametrize("width", [2, 4])
def test_stopped_and_resumed_it_is_training_without_interruption(
    several, tmp_path: Path, width: int
) -> None:
    """Batches mix programs: with seeds [0, 7] and a width of 4, two of one and two of another."""
    expected = together(several, [0, 7], width=width)
    found: dict[tuple[int, int], SeedResult] = {}
    for points in (2, 6, 1, 1, 1000):
        left = [[seed for seed in (0, 7) if (i, seed) not in found] for i in range(3)]
        runs = [
            Run(challenge, seeds, store=StateStore(tmp_path / challenge.name))
            for challenge, seeds in zip(several, left, strict=True)
            if seeds
        ]
        index = [i for i in range(3) if left[i]]
        if not runs:
            break
        try:
            for i, result in train_runs(runs, SHORT, width=width, stop=stop_after(points)):
                found[index[i], result.seed] = result
        except StoppedError as stopped:
            assert points < 1000
            assert "program-" in str(stopped) or len(runs) == 1
    assert found.keys() == expected.keys()
    for key, result in expected.items():
        assert_same_bits(found[key], result)


@pytest.mark.long
def test_a_run_of_a_mixed_batch_is_resumed_alone(several, one_by_one, tmp_path: Path) -> None:
    runs = runs_with_stores(several, [0, 7], tmp_path)
    with pytest.raises(StoppedError):
        list(train_runs(runs, SHORT, width=6, stop=stop_after(2)))
    for i, challenge in enumerate(several):
        store = StateStore(tmp_path / challenge.name)
        (saved,) = store.load()
        assert (saved.seeds, saved.step) == ((0, 7), 20)
        results = train_seeds(challenge, SHORT, [0, 7], width=2, store=store)
        for result in results:
            expected = one_by_one[i, result.seed]
            assert result.curve[-1]["loss"] == pytest.approx(expected.curve[-1]["loss"], abs=1e-3)
        assert not list(store.load())


@pytest.mark.slow
def test_a_network_that_diverges_takes_no_other_with_it(several) -> None:
    """The middle program's network sees its own labels, and breaks on them."""
    told: dict[int, list[int]] = {0: [], 1: [], 2: []}

    class Watch:
        def __init__(self, run: int) -> None:
            self.run = run

        def resumed(self, curves) -> None: ...

        def advanced(self, points) -> None:
            told[self.run].extend(points)

    broken = replace(several[1], labels=np.full_like(several[1].labels, 5000))
    challenges = [several[0], broken, several[2]]
    runs = [Run(challenge, [3], [Watch(i)]) for i, challenge in enumerate(challenges)]
    for width in (1, 4):
        found = []
        with pytest.raises(DivergedError, match="program-1: seed 3 diverged"):
            for i, result in train_runs(runs, SHORT, width=width):
                found.append((i, result.seed))
        assert found == [(0, 3), (2, 3)]
    assert told == {0: [3] * 8, 1: [], 2: [3] * 8}


def test_watchers_of_all_runs_hear_of_every_network_by_its_number(several) -> None:
    heard = set()

    class Watch:
        def resumed(self, curves) -> None: ...

        def advanced(self, points) -> None:
            heard.update(points)

    together(several, [5, 9], width=2, watchers=[Watch()])
    assert heard == set(range(6))


def test_other_shapes_are_refused(several, cnn: Challenge) -> None:
    assert can_train_together(several[0], several[1])
    fewer = replace(
        several[1], splits={**several[1].splits, "train": several[1].splits["train"][:-1]}
    )
    shifted = replace(several[1], inputs=several[1].inputs[::-1])
    copied = replace(several[1], inputs=several[1].inputs.copy())
    assert can_train_together(several[0], copied)
    for other in (fewer, shifted, cnn):
        assert not can_train_together(several[0], other)
        with pytest.raises(InputError, match="cannot be trained together"):
            together([several[0], other], [0])


EIGHT = """
import sys, json, dataclasses
import numpy as np, jax
from jaxmi.challenges.registry import load_challenge
from jaxmi.programs.parse import parse
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import Run, train_runs
recipe = dataclasses.replace(
    RECIPES["transformer"]["fast"], steps=20, eval_every=10, batch_size=64
)
base = load_challenge("transformer")
few = {"test": base.splits["test"][:256]}
texts = ["return x < y", "return x + y > 90", "return (x * y) % 7 < 3"]
runs = [
    Run(dataclasses.replace(base.relabelled(parse(t, "pairs"), t), curve_splits=few), range(3))
    for t in texts
]
found = [[i, r.seed, r.curve[-1]["loss"], r.curve[-1]["test_accuracy"]]
         for i, r in train_runs(runs, recipe, width=int(sys.argv[1]))]
print(json.dumps([jax.device_count(), found]))
"""


@pytest.mark.long
def test_eight_devices_train_what_one_does() -> None:
    import json

    found = {}
    for n_devices, width in ((1, 1), (8, 8), (8, 16)):
        flags = f"--xla_force_host_platform_device_count={n_devices}"
        done = subprocess.run(
            [sys.executable, "-c", EIGHT, str(width)],
            env={**os.environ, "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=True,
        )
        n, found[n_devices, width] = json.loads(done.stdout)
        assert n == n_devices
    alone = found[1, 1]
    assert len(alone) == 9 and len({row[2] for row in alone}) == 9, "the control: all differ"
    for other in (found[8, 8], found[8, 16]):
        assert [row[:2] for row in other] == [row[:2] for row in alone]
        np.testing.assert_allclose([row[2] for row in other], [row[2] for row in alone], rtol=1e-4)


def test_the_arrays_of_the_challenges_are_arguments_not_constants(several) -> None:
    """The compiled program of other programs is the same text."""
    from jaxmi.training.seeds import Trainer

    one = instructions(Trainer(several[:2], SHORT, jax.device_count()).program)
    other = instructions(Trainer(several[1:], SHORT, jax.device_count()).program)
    assert len(one) > 100
    assert one == other
