"""Every figure of `jaxmi bench`, each with how it is measured.

Timing: rounds of several things in turn, so that a noisy moment hits all alike.

The real command in a process of its own: how long it takes, how much memory.

How many candidate programs are evaluated in a second: one by one, and compiled.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import NAMES, load_challenge
from jaxmi.programs.compiled import label_batch, label_constants
from jaxmi.programs.compiled.skeleton import fill, make_skeleton, split_constants
from jaxmi.programs.domain import Domain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.training.devices import batch_width, usable_cores
from jaxmi.training.recipe import RECIPES
from jaxmi.training.seeds import train_seeds

PEAK_SIZE = 2048
"""Side of the square matrices whose product stands for the machine's peak."""


def time_in_turn(
    things: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Runs each thing once per round.

    Args:
      things: Name -> function without arguments that returns when its work is done.
      rounds: How often.
      warm_up: Rounds before that are not counted.

    Returns:
      Name -> seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for number in range(-warm_up, rounds):
        for name, thing in things.items():
            began = time.perf_counter()
            thing()
            if number >= 0:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def summary(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Returns the median, and the quartiles as the spread."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def square_product() -> Callable[[], object]:
    """A float32 product of two square matrices, `PEAK_SIZE` a side, on the first device."""
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE))
    product = jax.jit(lambda a: a @ a)

    def run() -> object:
        with jax.default_matmul_precision("float32"):
            return jax.block_until_ready(product(a))

    return run


_JAXMI = (sys.executable, "-m", "jaxmi.cli.main")


def command_seconds(args: list[str], repeats: int) -> dict[str, float]:
    """Wall time of the command in a process of its own; `OUT` stands for a new folder."""
    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [str(Path(folder) / "run") if arg == "OUT" else arg for arg in args]
            began = time.perf_counter()
            subprocess.run([*_JAXMI, *command], capture_output=True, check=True)
            seconds.append(time.perf_counter() - began)
    return summary(seconds)


def peak_memory(name: str) -> float:
    """Returns the largest resident set, in GB, of a run of sixteen seeds, cut short (on Linux)."""
    with tempfile.TemporaryDirectory() as folder:
        steps = ["--save-every", "10", "--set", "steps=20", "eval_every=10"]
        out = ["--seeds", "0:16", "--out", str(Path(folder) / "run")]
        code = (
            "import sys; from jaxmi.cli.main import main\n"
            "try: main(sys.argv[1:])\n"
            "finally:\n"
            "  line = next(x for x in open('/proc/self/status') if x.startswith('VmHWM'))\n"
            "  print(line.split()[1], file=sys.stderr)"
        )
        command = [sys.executable, "-c", code, "regenerate", name, *out, *steps]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1]) * 1024 / 1e9


CANDIDATES = 1000
"""Programs per batch: a published one, with its constants changed by up to a quarter."""


def programs_per_second(name: str, domain: Domain, rounds: int) -> dict[str, Any]:
    """Evaluates a challenge's program with many constants, over the whole domain.

    Args:
      name: The challenge's.
      domain: Its domain.
      rounds: How often each way is timed, in turn.

    Returns:
      Programs per second: `exact` by NumPy one by one; `compiled` from programs, which are grouped
      first; and `constants` compiled from their constants alone.
    """
    text = files("jaxmi.programs").joinpath(f"published/{name}.txt").read_text()
    program = parse(text, domain.kind)
    shared, own = make_skeleton(program), np.array(split_constants(program)[1], np.float64)
    factors = np.random.default_rng(0).uniform(0.8, 1.25, (CANDIDATES, len(own)))
    whole = [kind is int for kind in shared.kinds]
    values = np.where(whole, np.round(own * factors), own * factors)
    programs = [fill(shared, row) for row in values.tolist()]
    few = programs[: CANDIDATES // 20]
    seconds = time_in_turn(
        {
            "exact": lambda: [label(program, domain) for program in few],
            "compiled": lambda: label_batch(programs, domain),
            "constants": lambda: label_constants(shared, values, domain),
        },
        rounds,
    )
    counts = {"exact": len(few), "compiled": len(programs), "constants": len(values)}
    return {f"{way}_per_second": summary(counts[way] / np.asarray(seconds[way])) for way in counts}


Say = Callable[[str], None]

MULTIPLY_ADDS = 128 * 128 + 2 * 128 * 1024 + 128 * 114
"""Of the transformer, per example, forward: W_O, the MLP, the unembedding at the last position. The
rest is the same for all examples. A gradient costs twice as much again."""

BATCH_SIZES = (64, 128, 256, 512)
"""Of which each side takes the one that it is fastest with."""

FRESH_SEEDS = range(100, 105)
"""Seeds that played no part in choosing the recipes."""


def transformer_step(rounds: int, with_torch: bool) -> dict[str, Any]:
    """Full-batch steps against the original form in PyTorch and against the machine's peak.

    Ratios are taken round by round.
    """
    task = {"job": "transformer", "rounds": rounds, "with_torch": with_torch, "devices": 1}
    (found,) = _work([task])
    ours = np.asarray(found["ours"])
    flops = 3 * 2 * MULTIPLY_ADDS * found["examples"]
    peak = 2 * PEAK_SIZE**3 / np.asarray(found["peak"])
    result = {
        "step_seconds": summary(ours),
        "matmul_peak_gflops": summary(peak / 1e9),
        "share_of_matmul_peak": summary(flops / ours / peak),
    }
    theirs = {name: s for name, s in found.items() if name.startswith("torch")}
    if theirs:
        best = min(theirs.values(), key=statistics.median)
        result |= {
            "torch_step_seconds": {name: summary(seconds) for name, seconds in theirs.items()},
            "step_ratio_vs_torch": summary(np.asarray(best) / ours),
            "torch_loss_difference": found["loss_difference"],
            "torch_gradient_difference": found["gradient_difference"],
        }
    return result


def cnn_images(
    rounds: int, backend: str, with_torch: bool, batch_sizes: Sequence[int]
) -> dict[str, Any]:
    """Images per second with dropout: the best of batch sizes and threadings, each for itself.

    Threadings, on a CPU: one process with all cores, or a seed per core (ours: devices of one
    process; PyTorch: processes of one thread, added up).
    """
    task, all_cores = {"job": "cnn", "rounds": rounds}, usable_cores()
    ours, theirs = {}, {}
    for batch_size in batch_sizes:
        for n in sorted({1, all_cores}) if backend == "cpu" else (1,):
            mine = {**task, "what": "ours", "batch_size": batch_size, "threads": 0, "devices": n}
            ours[f"batch {batch_size}, seeds {n}"] = _work([mine])[0]
            if with_torch:
                threads = all_cores // n
                other = {**task, "what": "torch", "batch_size": batch_size, "threads": threads}
                found = _work([{**other, "devices": None}] * n)
                theirs[f"batch {batch_size}, seeds {n}"] = {
                    key: sum(one[key] for one in found) for key in found[0]
                }
    mine = _best(ours)
    result: dict[str, Any] = {"images_per_second": mine, "all": ours}
    if theirs:
        other = _best(theirs)
        result |= {"torch_images_per_second": other, "torch_all": theirs}
        result["image_ratio_vs_torch"] = {
            "median": mine["median"] / other["median"],
            "low": mine["low"] / other["high"],
            "high": mine["high"] / other["low"],
        }
    return result


def seconds_to_published(challenge: Challenge, n_seeds: int) -> dict[str, Any]:
    """Training time until the test accuracy first reaches the published: a seed per device.

    With the `fast` recipe, compilation apart; null for a seed that never does.
    """
    seeds, recipe = list(FRESH_SEEDS)[:n_seeds], RECIPES[challenge.name]["fast"]
    goal = round(challenge.published.test_accuracy, 4)
    seconds, width = [], jax.device_count()
    for i, result in enumerate(train_seeds(challenge, recipe, seeds, width=width)):
        wall = result.train_seconds * min(width, n_seeds - i // width * width)  # of its batch
        reached = [point["step"] for point in result.curve if point["test_accuracy"] >= goal]
        share = reached[0] / recipe.steps if reached else None
        seconds.append(None if share is None else share * wall)
    known = [value if value is not None else float("inf") for value in seconds]
    median = statistics.median(known)
    return {"each": seconds, "median": median if median < float("inf") else None}


def seeds_cost(challenge: Challenge, rounds: int) -> dict[str, Any]:
    """Seconds per seed of sixteen seeds and of two, in turn; how often the step was compiled."""
    recipe = replace(RECIPES[challenge.name]["fast"], steps=200)
    per_seed: dict[int, list[float]] = {2: [], 16: []}
    traces, count = [], 0

    def forward(*args: Any) -> jax.Array:
        nonlocal count
        count += 1
        return challenge.forward(*args)

    counted = replace(challenge, forms={"fast": forward})
    for _ in range(rounds):
        for n, seconds in per_seed.items():
            count = 0
            results = list(train_seeds(counted, recipe, range(n)))
            seconds.append(sum(result.train_seconds for result in results) / n)
            traces.append(count)
    per_compilation = 1 + len(challenge.curve_splits)
    return {
        "seconds_per_seed": {str(n): summary(seconds) for n, seconds in per_seed.items()},
        "cost_ratio_16_vs_2": summary(np.asarray(per_seed[16]) / np.asarray(per_seed[2])),
        "compilations": max(traces) / per_compilation,
    }


def measure_all(say: Say, quick: bool) -> dict[str, Any]:
    """Measures everything.

    What has processes of its own comes first, since an accelerator serves one process at a time.

    Args:
      say: Told what is being measured.
      quick: Fewer rounds and seeds: to see that it works, not for figures to quote.
    """
    rounds = 2 if quick else 9
    (about,) = _work([{"job": "describe", "devices": None}])
    with_torch = about["torch"]
    if not with_torch:
        say("PyTorch is not installed for this device, so there is nothing to compare with")
    say("transformer: steps")
    transformer = transformer_step(rounds, with_torch)
    say("cnn: images per second")
    sizes = (128, 512) if quick else BATCH_SIZES
    cnn = cnn_images(rounds, about["backend"], with_torch, sizes)
    say("start-up, memory")
    cold = ["regenerate", "transformer", "--seeds", "0:1", "--out", "OUT"]
    short = ["--set", "steps=50"] if quick else []
    result = {
        **about,
        "transformer": transformer,
        "cnn": cnn,
        "cold_start_seconds": command_seconds([*cold, *short], 1 if quick else 3),
        "help_seconds": command_seconds(["--help"], 5),
        "peak_rss_gb": {name: peak_memory(name) for name in NAMES},
    }
    challenges = {name: load_challenge(name) for name in NAMES}
    for name, n_seeds in (("transformer", 5), ("cnn", 3)):
        if not quick:
            say(f"{name}: seconds to the published accuracy")
            result[name]["seconds_to_published"] = seconds_to_published(challenges[name], n_seeds)
    say("programs: labels")
    result["programs"] = {
        name: programs_per_second(name, challenges[name].program_domain, rounds) for name in NAMES
    }
    say("seeds: cost, compilations")
    result["seeds"] = seeds_cost(challenges["transformer"], 1 if quick else 3)
    if about["backend"] != "cpu":
        say("seeds per hour")
        result["seeds_per_hour"] = {name: seeds_per_hour(challenges[name]) for name in NAMES}
    return result


def seeds_per_hour(challenge: Challenge) -> float:
    """Returns how many seeds an accelerator trains by the `fast` recipe, as many as fit at once."""
    recipe = RECIPES[challenge.name]["fast"]
    width = batch_width(challenge, recipe, 1024)
    results = list(train_seeds(challenge, recipe, range(width), width=width))
    return 3600 / statistics.mean(result.train_seconds for result in results)


def _work(tasks: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Runs workers side by side; those that say they are ready begin when all are."""
    command = [sys.executable, "-m", "jaxmi.bench.steps"]
    workers = [
        subprocess.Popen(
            [*command, json.dumps(task)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for task in tasks
    ]
    if len(tasks) > 1:
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
    results = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        out, _ = worker.communicate()
        if worker.returncode:
            raise RuntimeError(f"the worker for {worker.args} failed")
        results.append(json.loads(out.splitlines()[-1]))
    return results


def _best(images: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    return max(images.values(), key=lambda one: one["median"])
