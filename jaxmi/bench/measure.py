"""Every metric of `jaxmi bench`, each with its measurement; `measure_all` is the list.

The metrics of a published challenge are under its name, those of a user's challenge under its kind,
which no other key is called: "pairs", "triples" or "image".

What is compared is timed in turn, round by round, so that other load on the machine affects all
alike. Comparisons with PyTorch run in workers (`bench.steps`), and the command line in its own
process, since devices and threads are fixed when a process starts.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import NAMES, load_challenge, origin, registered
from jaxmi.data.mnist import load_mnist, locate
from jaxmi.models.transformer import Transformer, TransformerConfig
from jaxmi.programs.compiled import label_batch, label_constants
from jaxmi.programs.compiled.skeleton import fill, make_skeleton, split_constants
from jaxmi.programs.domain import Domain
from jaxmi.programs.evaluate import label
from jaxmi.programs.fairness import draw_fair
from jaxmi.programs.language import PUBLISHED, Kind
from jaxmi.programs.parse import parse
from jaxmi.training.convergence import GAIN, has_converged
from jaxmi.training.devices import batch_width, usable_cores
from jaxmi.training.recipe import Recipe, recipes_for
from jaxmi.training.seeds import Point, Run, train_runs, train_seeds
from jaxmi.workflows.challenges import find_labelled, identity

_JAXMI = (sys.executable, "-m", "jaxmi.cli.main")
"""The command line, run in its own process."""

PEAK_SIZE = 2048
"""Side of the square matrices whose product measures the machine's peak throughput."""

BATCH_SIZES = (64, 128, 256, 512)
"""Batch sizes, in images, of which each side takes its fastest."""

FRESH_SEEDS = range(100, 105)
"""Seeds that were not used to choose the recipes."""

TIMED_SEEDS = {"transformer": 5, "cnn": 3}
"""Network, by the published challenge that has it -> how many of `FRESH_SEEDS` are trained; a CNN
takes longer."""

SHORT_STEPS, SHORT_EVERY = 200, 50
"""Steps, and steps between points of the curve, of trainings of which only the cost is measured."""

COST_PROGRAMS, COST_NETWORKS = 8, 16
"""Programs whose networks' cost is compared with that of as many seeds of one."""

CANDIDATES = 1000
"""Programs per batch: a published one, with its constants changed by up to a quarter."""


@dataclass(frozen=True)
class Subject:
    """A challenge whose training is measured."""

    found: str | Definition
    """A published challenge's name, or what another is made of."""

    name: str
    """The challenge as the command line takes it: a name or a folder."""

    data_dir: Path | None
    """The folder with the images that the user named, if any."""

    @property
    def key(self) -> str:
        """The name of its metrics in the result."""
        return self.found if isinstance(self.found, str) else self.found.kind

    @property
    def kind(self) -> Kind:
        """The kind of challenge."""
        return origin(self.found).kind

    @cached_property
    def challenge(self) -> Challenge:
        """The challenge with its data; a published one may use a device."""
        return load_challenge(self.found, self.data_dir)

    @property
    def task(self) -> dict[str, Any]:
        """The arguments that a worker gets."""
        return {"challenge": self.name, "data_dir": self.data_dir and str(self.data_dir)}

    @property
    def arguments(self) -> list[str]:
        """The arguments that `jaxmi regenerate` gets, with whatever cache: where the images are."""
        if self.kind != "image":
            return [self.name]
        folder = self.data_dir
        if folder is None and (isinstance(self.found, str) or "folder" not in self.found.domain):
            found = locate()
            folder = found.path if found else None
        return [self.name, *(["--data-dir", str(folder)] if folder else [])]


def find_subjects(challenge: str | None, data_dir: Path | None) -> list[Subject]:
    """Return the challenges to measure; what can be wrong with them is found here.

    Args:
      challenge: As `measure_all` takes it.
      data_dir: As `measure_all` takes it.

    Raises:
      InputError: if there is no such challenge, its labels are secret, or its data cannot be used.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    if challenge is None:
        subjects = [Subject(name, name, data_dir) for name in NAMES]
    else:
        subjects = [Subject(find_labelled(challenge, "bench"), challenge, data_dir)]
    for subject in subjects:
        if isinstance(subject.found, Definition):
            _ = subject.challenge  # NumPy alone: no device is used before the workers use it
        elif subject.kind == "image":
            load_mnist(data_dir)
    return subjects


def measure_all(
    report: Callable[[str], None],
    quick: bool,
    challenge: str | None = None,
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """Measure everything, in about ten minutes on two cores.

    Measurements in other processes come first, since an accelerator serves one process at a time.

    Args:
      report: Called with the name of each measurement as it starts.
      quick: Take fewer rounds and seeds: a test that it works, not metrics to quote.
      challenge: A published challenge's name, or the folder of a user's, to measure that one; None:
        both published ones.
      data_dir: A folder with the images, for images; None looks where the definition says, for
        MNIST in the cache, then downloads.

    Returns:
      Metrics by name, nested, as `jaxmi bench --json` prints them. If a challenge is named, also
      "challenge", as `identity` returns it.

    Raises:
      InputError, UnavailableError: as `find_subjects`.
    """
    subjects = find_subjects(challenge, data_dir)
    rounds, few_rounds = (2, 1) if quick else (9, 3)
    (about,) = _work([{"job": "describe", "devices": None}])
    with_torch, backend = about["torch"], about["backend"]
    if not with_torch:
        report("PyTorch is not installed for this device, so there is nothing to compare with")
    result: dict[str, Any] = dict(about)
    if challenge is not None:
        result["challenge"] = identity(subjects[0].found)
    for one in subjects:
        if one.kind == "image":
            report(f"{one.name}: images per second")
            sizes = (128, 512) if quick else BATCH_SIZES
            result[one.key] = cnn_images(one, rounds, backend, with_torch, sizes)
        else:
            report(f"{one.name}: steps")
            result[one.key] = transformer_step(one, rounds, with_torch)
    if challenge is not None and backend == "cpu" and not quick:
        report("seeds per hour")
        task = {"job": "seeds_per_hour", "devices": usable_cores()}
        (rate,) = _work([{**task, **subjects[0].task}])
        result["seeds_per_hour"] = {subjects[0].key: rate}
    report("start-up, memory")
    cold = ["regenerate", *subjects[0].arguments, "--seeds", "0:1", "--out", "OUT"]
    short = ["--set", "steps=50", "eval_every=50"] if quick else []
    result |= {
        **start_seconds([*cold, *short], few_rounds),
        "help_seconds": command_seconds(["--help"], 5),
        "peak_rss_gb": {one.key: peak_memory(one.arguments) for one in subjects},
    }
    for one in subjects if not quick else ():
        n_seeds = TIMED_SEEDS[PUBLISHED[one.kind]]
        if one.challenge.published is None:
            report(f"{one.name}: seconds to convergence")
            seconds = seconds_to_converged(one.challenge, n_seeds)
            result[one.key]["seconds_to_converged"] = seconds
        else:
            report(f"{one.name}: seconds to the published accuracy")
            result[one.key]["seconds_to_published"] = seconds_to_published(one.challenge, n_seeds)
    published = [one for one in subjects if isinstance(one.found, str)]
    if published:
        report("programs: labels")
        result["programs"] = {
            one.key: programs_per_second(one.key, one.challenge.program_domain, rounds)
            for one in published
        }
    report("seeds: cost, compilations")
    result["seeds"] = seeds_cost(subjects[0].challenge, few_rounds)
    if published and published[0].kind != "image":
        report("programs: cost")
        result["programs"] |= programs_cost(published[0].challenge, few_rounds)
    if backend != "cpu":
        report("seeds per hour")
        result["seeds_per_hour"] = {one.key: seeds_per_hour(one.challenge) for one in subjects}
    return result


def multiply_adds(sizes: TransformerConfig) -> int:
    """Return a transformer's multiply-adds per example, forward, in its fast form.

    With one block: W_O, the MLP, and the unembedding at the last position; the rest is shared by
    all examples. With several, `models.transformer_fast` says what each example needs besides at
    the positions between the first and the last. A gradient costs twice as much again.
    """
    head_width = sizes.d_model * sizes.n_heads * sizes.d_head
    block = head_width + 2 * sizes.d_model * sizes.d_mlp
    later, between = sizes.n_layers - 1, sizes.n_ctx - 2
    last = sizes.n_layers * block + later * 3 * head_width + sizes.d_model * sizes.d_vocab
    if not later:
        return last
    return last + between * (later * block + (3 * later - 1) * head_width)


def transformer_step(subject: Subject, rounds: int, with_torch: bool) -> dict[str, Any]:
    """Measure full-batch steps against the original form in PyTorch and the machine's peak.

    Ratios are taken round by round.

    Args:
      subject: The challenge, on numbers.
      rounds: Rounds to time.
      with_torch: Whether PyTorch is installed for this device.

    Returns:
      Seconds per step, GFLOP/s of a matrix product, ratios, and PyTorch's differences from ours.
    """
    task = {"job": "transformer", "rounds": rounds, "with_torch": with_torch, "devices": 1}
    (timings,) = _work([{**task, **subject.task}])
    ours = np.asarray(timings["ours"])
    model = origin(subject.found).model
    assert isinstance(model, Transformer)
    flops = 3 * 2 * multiply_adds(model.config) * timings["examples"]
    peak = 2 * PEAK_SIZE**3 / np.asarray(timings["peak"])
    result = {
        "step_seconds": summary(ours),
        "matmul_peak_gflops": summary(peak / 1e9),
        "share_of_matmul_peak": summary(flops / ours / peak),
    }
    torch = {name: seconds for name, seconds in timings.items() if name.startswith("torch")}
    if torch:
        best = min(torch.values(), key=statistics.median)
        result |= {
            "torch_step_seconds": {name: summary(seconds) for name, seconds in torch.items()},
            "step_ratio_vs_torch": summary(np.asarray(best) / ours),
            "torch_loss_difference": timings["loss_difference"],
            "torch_gradient_difference": timings["gradient_difference"],
        }
    return result


def cnn_images(
    subject: Subject, rounds: int, backend: str, with_torch: bool, batch_sizes: Sequence[int]
) -> dict[str, Any]:
    """Measure images per second with dropout, for each side at its best batch size and threading.

    On a CPU the threadings are one process with all cores, and a seed per core (ours: devices of
    one process; PyTorch: processes of one thread, added up).

    Args:
      subject: The challenge, on images.
      rounds: Rounds to time.
      backend: JAX's backend.
      with_torch: Whether PyTorch is installed for this device.
      batch_sizes: Batch sizes to try, in images; those above the number of training images are
        left out, or if all are, that number is tried.
    """
    task: dict[str, Any] = {"job": "cnn", "rounds": rounds, **subject.task}
    if isinstance(subject.found, Definition):
        n_train = len(subject.challenge.splits["train"])
        batch_sizes = [size for size in batch_sizes if size <= n_train] or [n_train]
    all_cores = usable_cores()
    ours, torch = {}, {}
    for batch_size in batch_sizes:
        for n in sorted({1, all_cores}) if backend == "cpu" else (1,):
            setting = f"batch {batch_size}, seeds {n}"
            task |= {"batch_size": batch_size}
            (ours[setting],) = _work([{**task, "what": "ours", "threads": 0, "devices": n}])
            if with_torch:
                worker = {**task, "what": "torch", "threads": all_cores // n, "devices": None}
                rates = _work([worker] * n)
                torch[setting] = {key: sum(rate[key] for rate in rates) for key in rates[0]}
    our_best = _best(ours)
    result: dict[str, Any] = {"images_per_second": our_best, "all": ours}
    if torch:
        torch_best = _best(torch)
        result |= {"torch_images_per_second": torch_best, "torch_all": torch}
        result["image_ratio_vs_torch"] = {
            "median": our_best["median"] / torch_best["median"],
            "low": our_best["low"] / torch_best["high"],
            "high": our_best["high"] / torch_best["low"],
        }
    return result


def seconds_to_published(challenge: Challenge, n_seeds: int) -> dict[str, Any]:
    """Measure the training time until the test accuracy first reaches the published one.

    Training is by the `fast` recipe, a seed per device; compilation does not count.

    Args:
      challenge: What to train on.
      n_seeds: How many of `FRESH_SEEDS`.

    Returns:
      Seconds of each seed, None if it never reaches the accuracy, and their median.
    """
    goal = round(registered(challenge.name).published.test_accuracy, 4)
    return _seconds_until(challenge, n_seeds, lambda curve: goal)


def seconds_to_converged(challenge: Challenge, n_seeds: int) -> dict[str, Any]:
    """Measure the training time until the test accuracy first is as good as at the end.

    As good means: at most one percentage point below. Training is as in `seconds_to_published`.

    Args:
      challenge: What to train on.
      n_seeds: How many of `FRESH_SEEDS`.

    Returns:
      Seconds of each seed, None if it has not converged at the end, and their median.
    """

    def goal(curve: Sequence[Point]) -> float:
        converged = has_converged(curve, challenge.kind)
        return curve[-1]["test_accuracy"] - GAIN if converged else float("inf")

    return _seconds_until(challenge, n_seeds, goal)


def _seconds_until(
    challenge: Challenge, n_seeds: int, goal: Callable[[Sequence[Point]], float]
) -> dict[str, Any]:
    """Measure the training time until the test accuracy first reaches what a goal says."""
    seeds, recipe = list(FRESH_SEEDS)[:n_seeds], recipes_for(challenge)["fast"]
    seconds, width = [], jax.device_count()
    for i, result in enumerate(train_seeds(challenge, recipe, seeds, width=width)):
        batch_seconds = result.train_seconds * min(width, n_seeds - i // width * width)
        wanted = goal(result.curve)
        reached = [point["step"] for point in result.curve if point["test_accuracy"] >= wanted]
        share = reached[0] / recipe.steps if reached else None
        seconds.append(None if share is None else share * batch_seconds)
    median = statistics.median(float("inf") if value is None else value for value in seconds)
    return {"each": seconds, "median": median if median < float("inf") else None}


def seeds_cost(challenge: Challenge, rounds: int) -> dict[str, Any]:
    """Measure the seconds per seed of sixteen seeds and of two, in turn, and count compilations."""
    recipe = _short_recipe(challenge)
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


def _short_recipe(challenge: Challenge) -> Recipe:
    recipe = recipes_for(challenge)["fast"]
    return replace(recipe, steps=SHORT_STEPS, eval_every=SHORT_EVERY)


def programs_cost(challenge: Challenge, rounds: int) -> dict[str, Any]:
    """Measure the seconds per network of many programs, and of as many seeds of one, in turn.

    Args:
      challenge: The challenge whose inputs the programs label.
      rounds: Rounds to time.

    Returns:
      Seconds per network of each, and "cost_ratio", taken round by round.
    """
    recipe = _short_recipe(challenge)
    drawn = random.Random(0)
    programs = [draw_fair(challenge.program_domain, drawn)[0] for _ in range(COST_PROGRAMS)]
    challenges = [challenge.relabelled(program, "bench") for program in programs]
    n_seeds = COST_NETWORKS // COST_PROGRAMS
    runs = {
        "programs": [Run(one, range(n_seeds)) for one in challenges],
        "seeds": [Run(challenges[0], range(COST_NETWORKS))],
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, kind_of_runs in runs.items():
            results = [result for _, result in train_runs(kind_of_runs, recipe)]
            seconds[name].append(statistics.mean(result.train_seconds for result in results))
    ratio = np.asarray(seconds["programs"]) / np.asarray(seconds["seeds"])
    return {
        "seconds_per_network": {name: summary(values) for name, values in seconds.items()},
        "cost_ratio": summary(ratio),
    }


def seeds_per_hour(challenge: Challenge) -> float:
    """Return how many seeds all devices train in an hour by the `fast` recipe.

    An accelerator trains as many at once as fit, a CPU one a core.
    """
    recipe = recipes_for(challenge)["fast"]
    width = batch_width(challenge, recipe, 1024)
    results = list(train_seeds(challenge, recipe, range(width), width=width))
    return 3600 / statistics.mean(result.train_seconds for result in results)


def command_seconds(args: list[str], repeats: int) -> dict[str, float]:
    """Measure the wall time of a command in its own process, in seconds.

    Args:
      args: The command's arguments.
      repeats: How often to run it.
    """
    return summary([_command(args, os.environ)[0] for _ in range(repeats)])


def start_seconds(args: list[str], repeats: int) -> dict[str, dict[str, float]]:
    """Measure the wall time of a training with an empty compilation cache, and of its second run.

    Args:
      args: The arguments of `jaxmi regenerate`; `OUT` stands for a new folder. MNIST must not be
        looked for in the cache.
      repeats: How often to run it, each time with a new cache.

    Returns:
      "cold_start_seconds", training included; and "warm_start_seconds", without the training: what
      is left is imports, compiled programs read, saving and figures.
    """
    kept = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
    seconds: dict[str, list[float]] = {"cold_start_seconds": [], "warm_start_seconds": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**kept, "JAXMI_CACHE_DIR": str(Path(folder) / "cache")}
            for name, values in seconds.items():
                out = str(Path(folder) / name)
                command = [out if arg == "OUT" else arg for arg in args]
                wall, printed = _command([*command, "--json"], environment)
                training = sum(run["train_seconds"] for run in json.loads(printed)["runs"])
                values.append(wall - training if name == "warm_start_seconds" else wall)
    return {name: summary(values) for name, values in seconds.items()}


def _command(args: list[str], environment: Mapping[str, str]) -> tuple[float, str]:
    """Run the command line; return the wall time in seconds, and what it printed."""
    start = time.perf_counter()
    environment = {**environment, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([*_JAXMI, *args], capture_output=True, check=True, env=environment)
    return time.perf_counter() - start, done.stdout.decode()


def peak_memory(arguments: Sequence[str]) -> float:
    """Return the largest resident set, in GB, of a short run of sixteen seeds (on Linux).

    Args:
      arguments: The challenge, as `jaxmi regenerate` is told of it.
    """
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
        command = [sys.executable, "-c", code, "regenerate", *arguments, *out, *steps]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1]) * 1024 / 1e9


def programs_per_second(name: str, domain: Domain, rounds: int) -> dict[str, Any]:
    """Measure how many programs are evaluated per second over the whole domain, by each way.

    Args:
      name: The challenge's.
      domain: Its domain.
      rounds: How often each way is timed, in turn.

    Returns:
      Programs per second: "exact_per_second" by NumPy one by one; "compiled_per_second" from
      programs, which are grouped first; "constants_per_second" compiled, from constants alone.
    """
    text = files("jaxmi.programs").joinpath(f"published/{name}.txt").read_text(encoding="utf-8")
    program = parse(text, domain.kind)
    shared, published = make_skeleton(program), np.array(split_constants(program)[1], np.float64)
    factors = np.random.default_rng(0).uniform(0.8, 1.25, (CANDIDATES, len(published)))
    is_integer = [kind is int for kind in shared.kinds]
    values = published * factors
    values = np.where(is_integer, np.round(values), values)
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


def time_in_turn(
    functions: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Call each function once per round, and time the calls.

    Args:
      functions: Name -> function without arguments that returns when its work is done.
      rounds: Rounds to time.
      warm_up: Earlier rounds that are not timed.

    Returns:
      Name -> seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(-warm_up, rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Return the median, and the quartiles as "low" and "high"."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def square_product(
    size: int = PEAK_SIZE, precision: str | None = "float32", dtype: DTypeLike = jnp.float32
) -> Callable[[], object]:
    """Return a function that multiplies a square matrix of random numbers by itself.

    Args:
      size: The matrix's side.
      precision: As `jax.default_matmul_precision` takes it; None: JAX's own for the type.
      dtype: The type of the numbers.
    """
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    product = jax.jit(lambda a: a @ a)

    def run() -> object:
        with jax.default_matmul_precision(precision):
            return jax.block_until_ready(product(a))

    return run


def _work(tasks: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run workers side by side; if there are several, they start to measure when all are ready."""
    command = [sys.executable, "-m", "jaxmi.bench.steps"]
    workers = [
        subprocess.Popen(
            [*command, json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
        for task in tasks
    ]
    try:
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
    finally:
        for worker in workers:
            worker.kill()  # if this process was interrupted; else it has ended


def _best(images: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    return max(images.values(), key=lambda rate: rate["median"])
