"""One training step of each challenge, ours and PyTorch's, as things to time.

Run as `python -m jaxmi.bench.steps`, this is the worker that `measure.py` starts: devices and
threads are settled when a process starts.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax

from jaxmi.bench.rounds import square_product, summary, time_in_turn
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.training import devices
from jaxmi.training.loop import Data, RunState, make_advance, make_data, make_start
from jaxmi.training.recipe import RECIPES, Recipe


def our_steps(
    challenge: Challenge, recipe: Recipe, n_steps: int, width: int
) -> Callable[[], object]:
    """Several steps of `width` seeds by the code that trains, its learning curve cut to one row."""
    recipe = replace(recipe, steps=10**6 // n_steps * n_steps, eval_every=n_steps)
    one_row = {challenge.selection_split: challenge.splits["test"][:1]}
    challenge = replace(challenge, curve_splits=one_row)
    mesh = devices.seed_mesh()
    data = devices.place_everywhere(mesh, make_data(challenge))
    start_one = make_start(challenge, recipe)

    def start(seed: jax.Array, data: Data) -> RunState:
        return start_one(jax.random.key(seed), data)

    seeds = devices.place_by_seed(mesh, np.arange(width, dtype=np.uint32))
    advance = devices.map_over_seeds(make_advance(challenge, recipe), mesh, width, donate=True)
    first_step = devices.place_everywhere(mesh, np.int32(1))
    held = {"state": devices.map_over_seeds(start, mesh, width)(seeds, data)}

    def run() -> None:
        with jax.default_matmul_precision(recipe.matmul_precision):
            held["state"] = jax.block_until_ready(advance(held["state"], first_step, data))

    return run


def torch_steps(
    challenge: Challenge, recipe: Recipe, n_steps: int, threads: int, device: str = "cpu"
) -> Callable[[], object]:
    """The same steps by PyTorch, eager, from the same first parameters."""
    import torch

    from jaxmi.bench.torch_networks import NETWORKS

    torch.set_num_threads(threads)
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
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(inputs), labels)
            loss.backward()
            optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return run


def largest_gradient_difference(challenge: Challenge, n: int = 512) -> tuple[float, float]:
    """Compares PyTorch's network with ours, from the same weights, without dropout.

    Returns:
      The difference of the losses, relative; and of the gradients of the token embedding or the
      first kernel, relative to the largest.
    """
    import torch

    from jaxmi.bench.torch_networks import NETWORKS

    params = jax.device_get(challenge.init(jax.random.key(0)))
    inputs, labels = challenge.inputs[:n], challenge.labels[:n]

    def loss(params: Any) -> jax.Array:
        logits = challenge.forward(params, inputs, None)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    network = NETWORKS[challenge.name](params).eval()
    tokens_or_images = torch.tensor(inputs)
    if challenge.name == "transformer":
        tokens_or_images = tokens_or_images.long()
    theirs = torch.nn.functional.cross_entropy(
        network(tokens_or_images), torch.tensor(labels).long()
    )
    theirs.backward()
    if challenge.name == "transformer":
        ours, first = gradients["W_E"], network.W_E.grad.numpy()
    else:
        ours = np.transpose(gradients["conv1"]["kernel"], (3, 2, 0, 1))
        first = network.conv1.weight.grad.numpy()
    return (
        abs(float(value) / theirs.item() - 1),
        float(np.abs(ours - first).max() / np.abs(first).max()),
    )


def measure_transformer(rounds: int, cores: int, with_torch: bool) -> dict[str, Any]:
    """Times full-batch steps, ours and PyTorch's, and the machine's matrix product, in turn."""
    challenge, recipe = load_challenge("transformer"), RECIPES["transformer"]["published"]
    things = {"ours": our_steps(challenge, recipe, 5, jax.device_count()), "peak": square_product()}
    result: dict[str, Any] = {}
    if with_torch:
        result["loss_difference"], result["gradient_difference"] = largest_gradient_difference(
            challenge
        )
        for threads in sorted({1, cores}):
            things[f"torch, threads: {threads}"] = torch_steps(challenge, recipe, 1, threads)
    seconds = time_in_turn(things, rounds)
    seconds["ours"] = [s / 5 / jax.device_count() for s in seconds["ours"]]
    return {**result, **{name: summary(values) for name, values in seconds.items()}}


def measure_cnn(rounds: int, what: str, batch_size: int, threads: int) -> dict[str, float]:
    """Times steps with dropout; returns images per second over all seeds of this process."""
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
    return summary([width * n_steps * batch_size / s for s in seconds])


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    if (n_devices := task.pop("devices")) is not None:
        jax.config.update("jax_num_cpu_devices", n_devices)
    measure = {"transformer": measure_transformer, "cnn": measure_cnn}[task.pop("challenge")]
    print(json.dumps(measure(**task)))
