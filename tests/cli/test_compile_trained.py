"""`jaxmi compile --train`: what is printed and written, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

TEXT = "z = 0\nif y < x + 2:\n    z += 2\nz += int(x ** 1.5) % 4 - 2\nreturn z >= 0\n"
GUARDED = "z = x - 5\nif y < 4 and z > 1:\n    z -= 3\nreturn z >= 0\n"
DECOYS = "{}: decoys need free places, which a trained network has not"
SMALL = ("--p", "13", "--network", "d_model=32", "n_heads=2", "d_head=16", "d_mlp=48")


@pytest.fixture(autouse=True)
def programs() -> None:
    Path("mine.py").write_text(TEXT)
    Path("guarded.py").write_text(GUARDED)


def args(source: str, *more: str) -> tuple[str, ...]:
    return ("compile", source, "--mechanism", "conditions", "--out", "net", *SMALL, *more)


@pytest.mark.slow
def test_a_trained_network_is_a_checkpoint_with_a_key(run: Callable) -> None:
    result = run(*args("mine.py", "--train", "--seed", "3", "--disguise", "1"))
    assert result["interchange"]["random"] >= 0.99 and result["agreement"] > 0.99
    assert result["trained"]["seed"] == 3
    forms = {one["name"]: one["form"] for one in result["variables"]}
    assert forms["y < x + 2"] == forms["int(x ** 1.5) % 4"] == "trained"
    assert run("evaluate", "net")["domain_accuracy"] == pytest.approx(result["agreement"])
    key = json.loads(Path("net/mechanism.json").read_text())
    assert all(one["fit"] > 0.5 for one in key["variables"] if one["held"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            args("mine.py", "--seed", "3"),
            "seed 3 is the seed of a training, and nothing",
        ),
        (
            args("mine.py", "--train", "--disguise", "1", "--cancelling", "2"),
            DECOYS.format("cancelling 2"),
        ),
        (args("mine.py", "--train", "--idle-heads", "1"), DECOYS.format("idle_heads 1")),
        (args("mine.py", "--train", "--least-agreement", "0.9"), "least agreement is for images"),
        (args("guarded.py", "--train"), "depends on the sum so far"),
        (args("mine.py", "--train", "--seed", "4294967296"), "seed 4294967296"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_written(
    fails: Callable, arguments: tuple[str, ...], message: str
) -> None:
    assert message in fails(2, *arguments)
    assert not Path("net").exists()
