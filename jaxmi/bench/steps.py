"""One training step of each challenge, ours and PyTorch's, as things to time.

Run as `python -m jaxmi.bench.steps`, this is the worker that `measure.py` starts: devices and
threads are settled when a process starts.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import jax
import optax

from jaxmi.bench.measure import square_product, summary, time_in_turn
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.training.devices import usable_cores
from jaxmi.training.recipe import RECIPES, Recipe
from jaxmi.training.seeds import Trainer


def our_steps(
    challenge: Challenge, recipe: Recipe, n_steps: int, width: int
) -> Callable[[], object]:
    """Several steps of `width` seeds by the code that trains, its learning curve cut to one row."""
    recipe = replace(recipe, steps=10**6 // n_steps * n_steps, eval_every=n_steps)
    one_row = {challenge.selection_split: challenge.splits["test"][:1]}
    trainer = Trainer(replace(challenge, curve_splits=one_row), recipe, width)
    state = next(trainer.plan(range(width), None)).state

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(trainer.advance(state, n_steps))

    return run


def torch_steps(
    challenge: Challenge, recipe: Recipe, n_steps: int, threads: int
) -> Callable[[], object]:
    """The same steps by PyTorch, eager, from the same first parameters, on the same device."""
    import torch

    from jaxmi.bench.torch_networks import NETWORKS

    device = _torch_device()
    network = NETWORKS[challenge.name](jax.device_get(challenge.init(jax.random.key(0)))).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=recipe.learning_rate,
        betas=(recipe.b1, recipe.b2),
        weight_decay=recipe.weight_decay,
    )
    rows = challenge.splits["train"][: recipe.batch_size]
    inputs = torch.tensor(challenge.inputs[rows], device=device)
    inputs = inputs.long() if challenge.name == "transformer" else inputs
    labels = torch.tensor(challenge.labels[rows], device=device).long()

    def run() -> None:
        torch.set_num_threads(threads)  # anew: it holds for the process, and turns are taken
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(inputs), labels)
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def largest_gradient_difference(challenge: Challenge, n: int = 512) -> tuple[float, float]:
    """Compares PyTorch's network with ours, from the same weights, without dropout, on the CPU.

    Returns:
      The difference of the losses, relative; and of the gradients of every parameter, relative to
      each one's largest.
    """
    import torch

    from jaxmi.bench.torch_networks import NETWORKS

    params = jax.device_get(challenge.init(jax.random.key(0)))
    inputs, labels = challenge.inputs[:n], challenge.labels[:n]

    def loss(params: Any) -> jax.Array:
        logits = challenge.forward(params, inputs, None)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    with jax.default_matmul_precision("float32"):
        value, gradients = jax.device_get(jax.jit(jax.value_and_grad(loss))(params))
    network = NETWORKS[challenge.name](params).eval()
    tokens_or_images = torch.tensor(inputs)
    if challenge.name == "transformer":
        tokens_or_images = tokens_or_images.long()
    theirs = torch.nn.functional.cross_entropy(
        network(tokens_or_images), torch.tensor(labels).long()
    )
    theirs.backward()
    differences = []
    ours = NETWORKS[challenge.name](gradients)  # our gradients in PyTorch's layout
    for mine, other in zip(ours.parameters(), network.parameters(), strict=True):
        assert other.grad is not None
        difference = (mine.detach() - other.grad).abs().max() / other.grad.abs().max()
        differences.append(float(difference))
    return abs(float(value) / theirs.item() - 1), max(differences)


def describe() -> dict[str, Any]:
    """Returns what is measured on: JAX's devices, and whether PyTorch can use them too."""
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "backend": jax.default_backend(),
        "cores": usable_cores(),
        "torch": _torch_device() is not None,
    }


def _torch_device() -> str | None:
    """What PyTorch calls the device that JAX uses; None if it is not there or cannot."""
    if find_spec("torch") is None:
        return None
    import torch

    backend = jax.default_backend()
    return "cuda" if backend == "gpu" and torch.cuda.is_available() else {"cpu": "cpu"}.get(backend)


def measure_transformer(rounds: int, with_torch: bool) -> dict[str, Any]:
    """Times full-batch steps, ours and PyTorch's, and the machine's matrix product, in turn.

    Returns:
      Seconds of each round, by what was timed: a step of a seed, a product, on one device; and how
      many examples a step takes.
    """
    challenge, recipe = load_challenge("transformer"), RECIPES["transformer"]["published"]
    n_seeds = jax.device_count()
    things = {"ours": our_steps(challenge, recipe, 5, n_seeds), "peak": square_product()}
    result: dict[str, Any] = {"examples": len(challenge.splits["train"])}
    if with_torch:
        result["loss_difference"], result["gradient_difference"] = largest_gradient_difference(
            challenge
        )
        for threads in sorted({1, usable_cores()}):
            things[f"torch, threads: {threads}"] = torch_steps(challenge, recipe, 1, threads)
    seconds = time_in_turn(things, rounds)
    seconds["ours"] = [s / 5 for s in seconds["ours"]]
    return {**result, **seconds}


def measure_cnn(rounds: int, what: str, batch_size: int, threads: int) -> dict[str, float]:
    """Times steps with dropout; returns images per second, on a CPU over all of its devices."""
    challenge = load_challenge("cnn")
    recipe = replace(RECIPES["cnn"]["published"], batch_size=batch_size)
    n_steps, width = max(1, 2048 // batch_size), 1
    if what == "ours":
        width = jax.device_count()
        thing = our_steps(challenge, recipe, n_steps, width)
    else:
        thing = torch_steps(challenge, recipe, n_steps, threads)
    thing()
    print("ready", flush=True)
    sys.stdin.readline()  # several workers begin together
    seconds = time_in_turn({"it": thing}, rounds)["it"]
    per_device = 1 if jax.default_backend() == "cpu" else width  # PyTorch has one
    return summary([width * n_steps * batch_size / s / per_device for s in seconds])


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    if (n_devices := task.pop("devices")) is not None:
        jax.config.update("jax_num_cpu_devices", n_devices)
    jobs = {"describe": describe, "transformer": measure_transformer, "cnn": measure_cnn}
    print(json.dumps(jobs[task.pop("job")](**task)))
