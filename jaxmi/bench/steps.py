"""Training steps of each challenge, ours and PyTorch's, as functions to time.

`python -m jaxmi.bench.steps TASK` is the worker that `measure.py` starts, since devices and threads
are fixed when a process starts. TASK and the result on stdout are JSON.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import optax

from jaxmi.bench.measure import seeds_per_hour, square_product, summary, time_in_turn
from jaxmi.challenges.challenge import Challenge
from jaxmi.programs.language import PUBLISHED
from jaxmi.training.devices import usable_cores
from jaxmi.training.recipe import Recipe, recipes_for
from jaxmi.training.seeds import Run, Trainer
from jaxmi.workflows.challenges import load_any

MAX_EXAMPLES = 20_000
"""Most examples of a full-batch step: a larger training set is timed on a part."""


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
    challenge: Challenge, recipe: Recipe, n_steps: int, threads: int, compiler: str | None = None
) -> Callable[[], object]:
    """Return a function that takes the same steps in PyTorch on the same device.

    Initial parameters are the same too.

    Args:
      challenge: What to train on.
      recipe: How.
      n_steps: Steps per call.
      threads: Threads for PyTorch on a CPU.
      compiler: The backend of `torch.compile` for the network; None runs it eagerly.
    """
    import torch

    device = torch_device()
    network = _torch_network(challenge, seed=0)
    optimizer = _torch_optimizer(network.parameters(), recipe)
    inputs, labels = _torch_batch(challenge, recipe, network.input_type)
    logits: Any = torch.compile(network, backend=compiler) if compiler else network

    def run() -> None:
        torch.set_num_threads(threads)  # for the process, which times other counts in turn
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(logits(inputs), labels)
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def stacked_torch_steps(
    challenge: Challenge, recipe: Recipe, n_steps: int, width: int, compiler: str | None = None
) -> Callable[[], object]:
    """Return a function that takes steps of many seeds at once in PyTorch, by `torch.func.vmap`.

    All seeds learn from the same batch, which costs what batches of their own do.

    Args:
      challenge: What to train on.
      recipe: How.
      n_steps: Steps per call.
      width: Seeds at once.
      compiler: The backend of `torch.compile` for the gradient; None runs it eagerly.

    Returns:
      The function; it returns the parameters, name -> (width, ...).
    """
    import torch
    from torch.func import functional_call, grad, stack_module_state, vmap

    device = torch_device()
    networks = [_torch_network(challenge, seed) for seed in range(width)]
    params, buffers = stack_module_state(networks)
    inputs, labels = _torch_batch(challenge, recipe, networks[0].input_type)
    optimizer = _torch_optimizer(params.values(), recipe)

    def loss(params: Any, buffers: Any) -> torch.Tensor:
        logits = functional_call(networks[0], (params, buffers), (inputs,))
        return torch.nn.functional.cross_entropy(logits, labels)

    gradient: Any = vmap(grad(loss), randomness="different")  # dropout differs between seeds
    if compiler:
        gradient = torch.compile(gradient, backend=compiler)

    def run() -> dict[str, torch.Tensor]:
        for _ in range(n_steps):
            detached = {name: weight.detach() for name, weight in params.items()}
            for name, found in gradient(detached, buffers).items():
                params[name].grad = found
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return params

    return run


def _torch_network(challenge: Challenge, seed: int) -> Any:
    """Return the network in PyTorch, with a seed's initial parameters, on the device."""
    from jaxmi.bench.torch_networks import NETWORKS

    params = jax.device_get(challenge.init(jax.random.key(seed)))
    return NETWORKS[PUBLISHED[challenge.kind]](params).to(torch_device())


def _torch_optimizer(parameters: Any, recipe: Recipe) -> Any:
    import torch

    return torch.optim.AdamW(
        parameters,
        lr=recipe.learning_rate,
        betas=(recipe.b1, recipe.b2),
        weight_decay=recipe.weight_decay,
    )


def _torch_batch(challenge: Challenge, recipe: Recipe, input_type: Any) -> tuple[Any, Any]:
    """Return inputs and labels to train on, on the device."""
    import torch

    rows, device = challenge.splits["train"][: recipe.batch_size], torch_device()
    inputs = torch.tensor(challenge.inputs[rows], dtype=input_type, device=device)
    return inputs, torch.tensor(challenge.labels[rows], device=device).long()


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
    network = NETWORKS[PUBLISHED[challenge.kind]](params).eval()
    torch_loss = torch.nn.functional.cross_entropy(
        network(torch.tensor(inputs, dtype=network.input_type)), torch.tensor(labels).long()
    )
    torch_loss.backward()
    differences = []
    ours = NETWORKS[PUBLISHED[challenge.kind]](gradients)  # our gradients in PyTorch's layout
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
        "torch": torch_device() is not None,
    }


def torch_device() -> str | None:
    """Return PyTorch's name of the device that JAX uses; None if PyTorch cannot use it."""
    if find_spec("torch") is None:
        return None
    import torch

    backend = jax.default_backend()
    return "cuda" if backend == "gpu" and torch.cuda.is_available() else {"cpu": "cpu"}.get(backend)


def measure_transformer(challenge: Challenge, rounds: int, with_torch: bool) -> dict[str, Any]:
    """Time full-batch steps, ours and PyTorch's, and a matrix product, in turn, on one device.

    Args:
      challenge: What to train on, numbers.
      rounds: Rounds to time.
      with_torch: Whether PyTorch is installed for this device.

    Returns:
      "ours", "peak" and "torch, threads: N": seconds of each round, for one step or product;
      "examples" of a step; and with PyTorch the differences of loss and gradients.
    """
    recipe, n_train = recipes_for(challenge)["published"], len(challenge.splits["train"])
    if n_train > MAX_EXAMPLES:
        recipe = replace(recipe, batch_size=MAX_EXAMPLES)
    n_seeds = jax.device_count()
    functions = {"ours": our_steps(challenge, recipe, 5, n_seeds), "peak": square_product()}
    result: dict[str, Any] = {"examples": min(n_train, MAX_EXAMPLES)}
    if with_torch:
        result["loss_difference"], result["gradient_difference"] = largest_gradient_difference(
            challenge
        )
        for threads in sorted({1, usable_cores()}):
            functions[f"torch, threads: {threads}"] = torch_steps(challenge, recipe, 1, threads)
    seconds = time_in_turn(functions, rounds)
    seconds["ours"] = [s / 5 for s in seconds["ours"]]
    return {**result, **seconds}


def measure_cnn(
    challenge: Challenge, rounds: int, what: str, batch_size: int, threads: int
) -> dict[str, float]:
    """Time steps with dropout.

    Args:
      challenge: What to train on, images.
      rounds: Rounds to time.
      what: "ours" or "torch".
      batch_size: Images per step and seed.
      threads: Threads for PyTorch.

    Returns:
      Images per second: over all devices of a CPU, else per device.
    """
    recipe = replace(recipes_for(challenge)["published"], batch_size=batch_size)
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
    jobs: dict[str, Callable[..., Any]] = {
        "describe": describe,
        "transformer": measure_transformer,
        "cnn": measure_cnn,
        "seeds_per_hour": seeds_per_hour,
    }
    if "challenge" in task:
        folder = task.pop("data_dir")
        task["challenge"] = load_any(task["challenge"], folder and Path(folder))
    print(json.dumps(jobs[task.pop("job")](**task)))
