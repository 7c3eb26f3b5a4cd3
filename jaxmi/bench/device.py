"""Measurements of a device, part by part: `scripts/on_accelerator.py` runs the parts.

`python -m jaxmi.bench.device PART` prints a line of JSON after each row that it has measured, with
all rows so far: what was measured stays known if the process is stopped. A row that fails holds
"error", and the others are measured all the same.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmi.bench.measure import square_product, summary, time_in_turn
from jaxmi.bench.steps import (
    describe,
    our_steps,
    stacked_torch_steps,
    torch_device,
    torch_steps,
)
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.recovery.numbers import accelerator
from jaxmi.recovery.numbers.boundaries import families
from jaxmi.recovery.numbers.tables import best_boundaries
from jaxmi.training.devices import batch_width, bytes_per_seed, usable_cores
from jaxmi.training.loop import default_microbatch
from jaxmi.training.recipe import Recipe, recipes_for
from jaxmi.training.seeds import train_seeds
from jaxmi.workflows.challenges import define
from jaxmi.workflows.networks import load_network
from jaxmi.workflows.recover import from_network, search

Rows = Iterator[tuple[str, Callable[[], Any]]]
"""A row's name, and what measures it."""


@dataclass(frozen=True)
class Sizes:
    """The amount of work that each part measures."""

    rounds: int = 5
    """Rounds to time."""
    steps: int = 20
    """Optimiser steps of each round."""
    product: int = 8192
    """Side of the square matrices whose product is the device's peak."""
    widths: tuple[int, ...] = (1, 8, 64, 512)
    """Seeds at once, per device; as many as are estimated to fit, if that is fewer."""
    width: int = 64
    """Seeds at once where the width is not what varies."""
    precisions: tuple[str, ...] = ("float32", "tensorfloat32", "bfloat16")
    """Precisions of matrix products of float32 arrays, as recipes name them."""
    training: dict[str, int] = field(default_factory=dict)
    """Changes to a recipe that is trained to its end."""
    torch_training: dict[str, int] = field(default_factory=dict)
    """Changes to the recipe whose steps are compared with PyTorch's."""
    compiler: str = "inductor"
    """The backend of `torch.compile`."""


FULL = Sizes()
QUICK = Sizes(
    rounds=2,
    steps=2,
    product=256,
    widths=(1, 2),
    width=2,
    precisions=("float32", "bfloat16"),
    training={"steps": 4, "eval_every": 2},
    torch_training={"batch_size": 32},
    compiler="eager",
)
"""Shows that every part runs; the numbers mean nothing."""


@cache
def challenges(quick: bool) -> dict[str, Challenge]:
    """Return both published challenges, or a small one in the place of both."""
    if quick:
        program = "z = x * y + 3 * x\nreturn z % 5 < 2"
        small = define(program, p=7, network={"d_model": 16, "n_heads": 2, "d_mlp": 32})
        return {"transformer": load_challenge(small)}
    return {name: load_challenge(name) for name in ("transformer", "cnn")}


def fast(challenge: Challenge, **changes: Any) -> Recipe:
    """Return the challenge's `fast` recipe, with changes."""
    return replace(recipes_for(challenge)["fast"], **changes)


def usable_widths(challenge: Challenge, sizes: Sizes) -> list[int]:
    """Return the widths to try, over all devices: none larger than what should fit into memory."""
    most = max(sizes.widths) * jax.device_count()
    if jax.default_backend() != "cpu":
        most = batch_width(challenge, fast(challenge), most)
    return sorted({min(width * jax.device_count(), most) for width in sizes.widths})


def seconds_per_step(challenge: Challenge, recipe: Recipe, width: int, sizes: Sizes) -> float:
    """Return the median of the seconds that a step of `width` seeds takes, without evaluation."""
    steps = our_steps(challenge, recipe, sizes.steps, width)
    seconds = time_in_turn({"steps": steps}, sizes.rounds)["steps"]
    return float(np.median(seconds)) / sizes.steps


def peak(sizes: Sizes, quick: bool) -> Rows:
    """Measure matrix products by precision, and the share of that which training reaches.

    A row has TFLOP/s. Shares are of the product in the same precision; a step's floating-point
    operations are what XLA counts in its gradient.
    """
    yield "device", lambda: describe() | (jax.local_devices()[0].memory_stats() or {})
    measured: dict[str, float] = {}

    def product(precision: str | None, dtype: Any) -> dict[str, float]:
        run = square_product(sizes.product, precision, dtype)
        seconds = np.asarray(time_in_turn({"product": run}, sizes.rounds, warm_up=2)["product"])
        rate = summary(2 * sizes.product**3 / seconds / 1e12)
        measured[precision or "bfloat16"] = max(rate["median"], measured.get("bfloat16", 0.0))
        return rate

    for precision in sizes.precisions:
        yield f"product, {precision}", partial(product, precision, jnp.float32)
    yield "product, bfloat16 arrays", partial(product, None, jnp.bfloat16)

    def share(challenge: Challenge, precision: str) -> dict[str, float | None]:
        recipe, width = fast(challenge, matmul_precision=precision), max(few(challenge, sizes))
        seconds = seconds_per_step(challenge, recipe, width, sizes)
        rate = width * step_flops(challenge, recipe) / seconds / 1e12 / jax.device_count()
        share = rate / measured[precision] if precision in measured else None
        return {"seeds": width, "tflops": rate, "share_of_product": share}

    for name, challenge in challenges(quick).items():
        for precision in sizes.precisions:
            yield f"{name}, {precision}", partial(share, challenge, precision)


def few(challenge: Challenge, sizes: Sizes) -> list[int]:
    """Return the widths up to `Sizes.width`."""
    widths = usable_widths(challenge, sizes)
    return [width for width in widths if width <= sizes.width * jax.device_count()] or widths[:1]


def step_flops(challenge: Challenge, recipe: Recipe) -> float:
    """Return the floating-point operations of a step of one seed, as XLA counts them."""
    n = recipe.batch_size or len(challenge.splits["train"])
    inputs, labels = challenge.inputs[:n], challenge.labels[:n]
    key = jax.random.key(0) if recipe.dropout else None

    def loss(params: Any) -> jax.Array:
        logits = challenge.forms[recipe.form](params, inputs, key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    lowered = jax.jit(jax.grad(loss)).lower(challenge.init(jax.random.key(0)))
    return float((lowered.cost_analysis() or {})["flops"])


def seeds_per_hour(sizes: Sizes, quick: bool) -> Rows:
    """Measure how many seeds an hour takes, by the number that is trained at once.

    Evaluations for the learning curve, and compilation, are not counted.
    """

    def rate(challenge: Challenge, width: int) -> dict[str, float]:
        recipe = fast(challenge)
        seconds = seconds_per_step(challenge, recipe, width, sizes)
        return {"seconds_per_step": seconds, "per_hour": 3600 * width / (seconds * recipe.steps)}

    for name, challenge in challenges(quick).items():
        for width in usable_widths(challenge, sizes):
            yield f"{name}, {width} at once", partial(rate, challenge, width)


def forms(sizes: Sizes, quick: bool) -> Rows:
    """Measure the seconds per step of a seed: both forms, and a batch's gradient taken in parts."""

    def seconds(challenge: Challenge, **changes: Any) -> dict[str, float]:
        width, recipe = max(few(challenge, sizes)), fast(challenge, **changes)
        one = seconds_per_step(challenge, recipe, width, sizes) / width
        return {"seeds": width, "seconds_per_seed": one}

    for name, challenge in challenges(quick).items():
        for form in challenge.forms:
            yield f"{name}, {form}", partial(seconds, challenge, form=form)
        n = fast(challenge).batch_size or len(challenge.splits["train"])
        usual = default_microbatch(n, challenge.chunk)
        for parts in (1, 2, 4) if not quick else (2,):
            if n % parts == 0 and n // parts != usual:
                microbatch = n // parts
                row = f"{name}, fast, {microbatch} of {n} examples at a time"
                yield row, partial(seconds, challenge, microbatch=microbatch)


def precision(sizes: Sizes, quick: bool) -> Rows:
    """Train to the end in each precision: seconds per seed, and the test accuracies."""

    def train(challenge: Challenge, precision: str) -> dict[str, Any]:
        recipe = fast(challenge, matmul_precision=precision, **sizes.training)
        width = max(few(challenge, sizes))
        results = list(train_seeds(challenge, recipe, range(width), width=width))
        return {
            "seeds": width,
            "seconds_per_seed": float(np.mean([one.train_seconds for one in results])),
            "test_accuracy": summary([one.curve[-1]["test_accuracy"] for one in results]),
        }

    for name, challenge in challenges(quick).items():
        for one in sizes.precisions:
            yield f"{name}, {one}", partial(train, challenge, one)


def memory(sizes: Sizes, quick: bool) -> Rows:
    """Compare the estimate of the memory that seeds need with what the device used, in bytes.

    The most that a process ever used only grows, so rows come by their estimates, the smallest
    first; it is None where the backend does not report it, as on CPUs.
    """
    by_estimate = sorted(
        (bytes_per_seed(challenge, fast(challenge)) * width // jax.device_count(), name, width)
        for name, challenge in challenges(quick).items()
        for width in usable_widths(challenge, sizes)
    )

    def use(estimate: int, name: str, width: int) -> dict[str, Any]:
        challenge = challenges(quick)[name]
        our_steps(challenge, fast(challenge), sizes.steps, width)()
        used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        share = None if used is None else used / estimate
        return {"estimate": estimate, "used": used, "share_of_estimate": share}

    for row in by_estimate:
        yield f"{row[1]}, {row[2]} at once", partial(use, *row)


def recover(sizes: Sizes, quick: bool) -> Rows:
    """Recover a program with the device's sweeps and with NumPy's, and time a sweep of each.

    The network is the repository's: the current folder is a checkout.
    """
    if quick:
        challenge = challenges(True)["transformer"]
        params = challenge.init(jax.random.key(0))
        labels = {"labels": challenge.labels == 1, "margins": None}
        predictions = replace(from_network(challenge, params), **labels)
    else:
        predictions = from_network(*load_network(Path("checkpoints/transformer")))
    found: dict[str, str] = {}

    def program(by: str) -> dict[str, Any]:
        with sweeps_by(by):
            start = time.perf_counter()
            recovery = search(predictions, "the network")
            seconds = time.perf_counter() - start
        found[by] = recovery.program
        agreement = float((recovery.candidates[0].labels == predictions.labels).mean())
        return {
            "seconds": seconds,
            "agreement": agreement,
            "confidence": recovery.confidence,
            "same_program": len(set(found.values())) == 1,
        }

    def sweep(by: str) -> dict[str, Any]:
        tried, n = families(predictions.domain), len(predictions.labels)
        drawn = np.random.default_rng(0)
        groups, log_odds = drawn.integers(8, size=n), drawn.normal(size=n)
        with sweeps_by(by):
            run = partial(best_boundaries, groups, log_odds, tried)
            seconds = time_in_turn({"sweep": run}, sizes.rounds)["sweep"]
            best = run()[0]
        return {"seconds": summary(seconds), "families": len(tried), "best": best.gain}

    for by in ("device", "numpy"):
        yield f"sweep by {by}", partial(sweep, by)
    for by in ("device", "numpy"):
        yield f"program by {by}", partial(program, by)


@contextmanager
def sweeps_by(name: str) -> Iterator[None]:
    """Make the search use the code for accelerators ("device"), or that for CPUs ("numpy")."""
    before = accelerator.is_present
    accelerator.is_present = lambda: name == "device"
    try:
        yield
    finally:
        accelerator.is_present = before


def beside_torch(sizes: Sizes, quick: bool) -> Rows:
    """Measure seconds per step of a seed, ours and PyTorch's, on the same device, in float32.

    PyTorch computes the original form: one seed, eager; and many, stacked by `torch.func.vmap`.
    Ours: one seed, and as many as PyTorch stacks.
    """
    if torch_device() is None:
        yield NO_TORCH
        return
    for name, challenge, recipe, width in torch_subjects(sizes, quick):
        alone, threads = jax.device_count(), usable_cores()
        for seeds, label in ((alone, "ours, alone"), (width, "ours")):
            ours = partial(our_steps, challenge, recipe, sizes.steps, seeds)
            yield f"{name}, {label}", partial(time_steps, ours, seeds, sizes)
        eager = partial(torch_steps, challenge, recipe, sizes.steps, threads)
        yield f"{name}, torch, eager", partial(time_steps, eager, 1, sizes)
        stacked = partial(stacked_torch_steps, challenge, recipe, sizes.steps, width)
        yield f"{name}, torch, vmap", partial(time_steps, stacked, width, sizes)


def beside_torch_compiled(sizes: Sizes, quick: bool) -> Rows:
    """Measure the same of PyTorch with `torch.compile`, in a process of its own.

    Beside JAX's CPU backend, code that it compiles for the CPU has ended the process (PyTorch
    2.13); compiled for a GPU it was not tried.
    """
    if torch_device() is None:
        yield NO_TORCH
        return
    for name, challenge, recipe, width in torch_subjects(sizes, quick):
        alone = (challenge, recipe, sizes.steps, usable_cores(), sizes.compiler)
        yield (
            f"{name}, torch, compiled",
            partial(time_steps, partial(torch_steps, *alone), 1, sizes),
        )
        many = (challenge, recipe, sizes.steps, width, sizes.compiler)
        yield (
            f"{name}, torch, vmap, compiled",
            partial(time_steps, partial(stacked_torch_steps, *many), width, sizes),
        )


NO_TORCH = ("left out", lambda: "PyTorch is not installed for this device")


def torch_subjects(sizes: Sizes, quick: bool) -> Iterator[tuple[str, Challenge, Recipe, int]]:
    """Yield each published challenge by name, the recipe, and how many seeds to stack."""
    import torch

    torch.backends.cudnn.allow_tf32 = False  # its default for convolutions, unlike for products
    for name in challenges(quick):
        challenge = load_challenge(name)
        width = sizes.width if quick else max(few(challenge, sizes))
        yield name, challenge, fast(challenge, **sizes.torch_training), width


def time_steps(
    make: Callable[[], Callable[[], object]], width: int, sizes: Sizes
) -> dict[str, Any]:
    """Time steps: the first call, which compiles, and the seconds per step of a seed after it."""
    start = time.perf_counter()
    steps = make()
    steps()
    first = time.perf_counter() - start
    seconds = time_in_turn({"steps": steps}, sizes.rounds)["steps"]
    each = summary(np.asarray(seconds) / (sizes.steps * width))
    return {"seeds": width, "seconds_per_seed": each, "first_call_seconds": first}


PARTS: dict[str, Callable[[Sizes, bool], Rows]] = {
    "peak": peak,
    "seeds_per_hour": seeds_per_hour,
    "forms": forms,
    "precision": precision,
    "memory": memory,
    "recover": recover,
    "torch": beside_torch,
    "torch_compiled": beside_torch_compiled,
}
"""Name -> its rows."""


def main() -> None:
    """Measure a part."""
    parser = argparse.ArgumentParser(description="Measure one part of what a device does.")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for name, measure in PARTS[options.part](QUICK if options.quick else FULL, options.quick):
        try:
            figures[name] = measure()
        except Exception as error:  # such as out of memory: the other rows are measured
            line = " ".join(str(error).split())[:500]
            figures[name] = {"error": f"{type(error).__name__}: {line}"}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
