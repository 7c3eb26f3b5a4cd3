"""Training steps of each challenge, ours and PyTorch's, as functions to time.

`python -m jaxmi.bench.steps TASK` is the worker that `measure.py` starts, since devices and threads
are fixed when a process starts. TASK and the result on stdout are JSON.
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
from jaxmi.training.seeds import Run, Trainer


def our_steps(
    challenge: Challenge, recipe: Recipe, n_steps: int, width: int
) -> Callable[[], object]:
    """Return a function that takes steps of `width` seeds by the code that trains.

    The learning curve is cut to one row, so that only steps are timed.

    Args:
      challenge: What to train on.
      recipe: How.
      n_steps: Steps per call.
      width: Seeds at once, over all devices.
    """
    recipe = replace(recipe, steps=10**6 // n_steps * n_steps, eval_every=n_steps)
    one_row = {challenge.selection_split: challenge.splits["test"][:1]}
    challenge = replace(challenge, curve_splits=one_row)
    trainer = Trainer([challenge], recipe, width)
    batch = next(trainer.plan([Run(challenge, range(width))]))
    state = batch.state

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(trainer.advance(batch, state, n_steps))

    return run


def torch_steps(
    challenge: Challenge, recipe: Recipe, n_steps: int, threads: int
) -> Callable[[], object]:
    """Return a function that takes the same steps in PyTorch, eager, on the same device.

    Initial parameters are the same too.

    Args:
      challenge: What to train on.
      recipe: How.
      n_steps: Steps per call.
      threads: Threads for PyTorch on a CPU.
    """
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
    inputs = torch.tensor(challenge.inputs[rows], dtype=network.input_type, device=device)
    labels = torch.tensor(challenge.labels[rows], device=device).long()

    def run() -> None:
        torch.set_num_threads(threads)  # for the process, which times other counts in turn
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(inputs), labels)
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def largest_gradient_difference(challenge: Challenge, n: int = 512) -> tuple[float, float]:
    """Compare PyTorch's network with ours: same parameters, without dropout, on the CPU.

    Args:
      challenge: Whose network.
      n: Inputs, the first of the domain.

    Returns:
      The relative difference of the losses; and the largest difference of gradients, each relative
      to the largest value of its parameter's gradient.
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
    torch_loss = torch.nn.functional.cross_entropy(
        network(torch.tensor(inputs, dtype=network.input_type)), torch.tensor(labels).long()
    )
    torch_loss.backward()
    differences = []
    ours = NETWORKS[challenge.name](gradients)  # our gradients in PyTorch's layout
    for our_gradient, weight in zip(ours.parameters(), network.parameters(), strict=True):
        assert weight.grad is not None
        difference = (our_gradient.detach() - weight.grad).abs().max() / weight.grad.abs().max()
        differences.append(float(difference))
    return abs(float(value) / torch_loss.item() - 1), max(differences)


def describe() -> dict[str, Any]:
    """Return the machine: JAX's devices, cores, and whether PyTorch can use the devices too."""
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "backend": jax.default_backend(),
        "cores": usable_cores(),
        "torch": _torch_device() is not None,
    }


def _torch_device() -> str | None:
    """Return PyTorch's name of the device that JAX uses; None if PyTorch cannot use it."""
    if find_spec("torch") is None:
        return None
    import torch

    backend = jax.default_backend()
    return "cuda" if backend == "gpu" and torch.cuda.is_available() else {"cpu": "cpu"}.get(backend)


def measure_transformer(rounds: int, with_torch: bool) -> dict[str, Any]:
    """Time full-batch steps, ours and PyTorch's, and a matrix product, in turn, on one device.

    Returns:
      "ours", "peak" and "torch, threads: N": seconds of each round, for one step or product;
      "examples" of a step; and with PyTorch the differences of loss and gradients.
    """
    challenge, recipe = load_challenge("transformer"), RECIPES["transformer"]["published"]
    n_seeds = jax.device_count()
    functions = {"ours": our_steps(challenge, recipe, 5, n_seeds), "peak": square_product()}
    result: dict[str, Any] = {"examples": len(challenge.splits["train"])}
    if with_torch:
        result["loss_difference"], result["gradient_difference"] = largest_gradient_difference(
            challenge
        )
        for threads in sorted({1, usable_cores()}):
            functions[f"torch, threads: {threads}"] = torch_steps(challenge, recipe, 1, threads)
    seconds = time_in_turn(functions, rounds)
    seconds["ours"] = [s / 5 for s in seconds["ours"]]
    return {**result, **seconds}


def measure_cnn(rounds: int, what: str, batch_size: int, threads: int) -> dict[str, float]:
    """Time steps with dropout.

    Args:
      rounds: Rounds to time.
      what: "ours" or "torch".
      batch_size: Images per step and seed.
      threads: Threads for PyTorch.

    Returns:
      Images per second: over all devices of a CPU, else per device.
    """
    challenge = load_challenge("cnn")
    recipe = replace(RECIPES["cnn"]["published"], batch_size=batch_size)
    n_steps, width = max(1, 2048 // batch_size), 1
    if what == "ours":
        width = jax.device_count()
        steps = our_steps(challenge, recipe, n_steps, width)
    else:
        steps = torch_steps(challenge, recipe, n_steps, threads)
    steps()
    print("ready", flush=True)
    sys.stdin.readline()  # several workers start together
    seconds = time_in_turn({"steps": steps}, rounds)["steps"]
    per_device = 1 if jax.default_backend() == "cpu" else width  # PyTorch has one
    return summary([width * n_steps * batch_size / s / per_device for s in seconds])


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    if (n_devices := task.pop("devices")) is not None:
        jax.config.update("jax_num_cpu_devices", n_devices)
    jobs = {"describe": describe, "transformer": measure_transformer, "cnn": measure_cnn}
    print(json.dumps(jobs[task.pop("job")](**task)))
