"""Two processes on loopback are one run; a host that never comes is told."""

import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import pytest
from command import COMMAND, SIGNALS, finish, read_until, start

from jaxmi.challenges.challenge import Challenge
from jaxmi.workflows.challenges import define, write_challenge

RUN = (
    "regenerate", "transformer", "--out", "run", "--json",
    "--set", "steps=60", "eval_every=10", "batch_size=128",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start_both(*args: str, command: Sequence[str] = RUN, program: Sequence[str] = COMMAND):
    """Starts two hosts of one device each, which use gloo between them."""
    coordinator = f"localhost:{free_port()}"
    environment = {"JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo", "JAX_NUM_CPU_DEVICES": "1"}
    join = ("--coordinator", coordinator, "--hosts", "2", "--join-timeout", "60", "--host")
    return [
        start(*command, *args, *join, str(host), program=program, **environment) for host in (0, 1)
    ]


@pytest.mark.long
def test_two_hosts_train_their_own_seeds_and_write_one_summary() -> None:
    outs = [finish(process) for process in start_both("--seeds", "0:5")]
    record = json.loads(Path("run/run.json").read_text())
    assert record["finished"] is True
    assert [run["seed"] for run in record["runs"]] == [0, 1, 2, 3, 4]
    for out, _ in outs:
        assert json.loads(out)["runs"] == record["runs"]
    assert all(Path(run["checkpoint"], "params.safetensors").is_file() for run in record["runs"])
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [(line["seed"], line["step"]) for line in lines] == [
        (seed, step) for seed in range(5) for step in range(10, 61, 10)
    ]
    assert not list(Path("run").glob("metrics-host-*"))

    alone = ("--seeds", "0:5", "--cpu-devices", "1", "--out", "alone")
    expected = json.loads(finish(start(*RUN, *alone))[0])["runs"]
    for have, want in zip(record["runs"], expected, strict=True):
        assert have["loss"] == pytest.approx(want["loss"], rel=1e-3)
    assert len({run["loss"] for run in expected}) == 5, "the control: every seed is another"


@pytest.mark.slow
@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_to_one_host_stops_both_and_they_go_on_together(signum: signal.Signals) -> None:
    longer = ("--seeds", "0:4", "--set", "steps=240", "eval_every=10", "batch_size=128")
    first, second = start_both(*longer)
    read_until(first, "step 10 of")
    time.sleep(0.2)
    second.send_signal(signum)
    for process in (first, second):
        _, err = finish(process, code=75)
        assert "jaxmi: stopped at step" in err
    (saved,) = Path("run/state").glob("*/*")
    assert 10 <= int(saved.name) < 240
    for process in start_both(*longer):
        finish(process)
    record = json.loads(Path("run/run.json").read_text())
    assert [run["seed"] for run in record["runs"]] == [0, 1, 2, 3]
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4 * 24


@pytest.mark.long
def test_two_hosts_train_two_challenges_together_stop_and_go_on() -> None:
    """With one seed each, a batch mixes the challenges, and each host holds the other's state."""
    for name, text in (("less", "return x < y"), ("sum", "return x + y > 90")):
        write_challenge(define(text, name=name), Path(name))
    longer = ("regenerate", "less", "sum", "--set", "steps=240", "eval_every=10", "batch_size=128")
    first, second = start_both("--out", "run", command=longer)
    read_until(first, "step 10 of")
    time.sleep(0.2)
    second.send_signal(signal.SIGTERM)
    for process in (first, second):
        finish(process, code=75)
    steps = {Path(path).name for path in Path("run").glob("*/state/*/*")}
    assert len(steps) == 1 and len(list(Path("run").glob("*/state/*/*"))) == 2
    for process in start_both("--out", "run", command=longer):
        _, err = finish(process)
        assert "step 10 of" not in err
    finish(start(*longer, "--out", "alone", "--cpu-devices", "2"))
    losses = []
    for name in ("less", "sum"):
        have, want = (
            json.loads((Path(run) / name / "run.json").read_text())["runs"][0]
            for run in ("run", "alone")
        )
        assert have["loss"] == pytest.approx(want["loss"], rel=1e-3)
        losses.append(want["loss"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)  # the control: they differ


@pytest.mark.long
def test_a_host_that_fails_ends_the_others() -> None:
    """Only host 1 cannot write its seeds: a file is where its first one's folder belongs."""
    first, second = start_both("--seeds", "0:2")
    read_until(first, "compiling")
    Path("run/seed-00001").write_text("in the way")
    _, err = finish(second, code=1)
    (reason,) = (line for line in err.splitlines() if line.startswith("jaxmi:"))
    assert "seed-00001" in reason
    began = time.monotonic()
    _, err = finish(first, code=1)
    assert time.monotonic() - began < 10, "it waits for no heartbeat"
    reported = reason.removeprefix("jaxmi: ")
    assert f"jaxmi: host 1 has failed: {reported}" in err.splitlines()


BREAKING = """
import sys
import jax.numpy as jnp
from jaxmi.challenges import numbers
sound, (broken, other) = numbers._fast, map(float, sys.argv[1:3])
def fast(params, tokens, key):
    first = params["W_E"][0, 0]
    closer = abs(first - broken) < abs(first - other)
    return jnp.where(closer, jnp.nan, sound(params, tokens, key))
numbers._fast = fast
from jaxmi.cli.main import main
main(sys.argv[3:])
"""
"""The command, with the logits of one seed's network, known by its first weight, not numbers."""


@pytest.mark.long
@pytest.mark.parametrize("broken", [0, 1])
def test_a_seed_that_diverges_takes_no_other_with_it(transformer: Challenge, broken: int) -> None:
    """On two hosts with a seed each: the other's is kept, and both hosts end with the same code."""
    keys = [jax.random.fold_in(jax.random.key(seed), 0) for seed in (broken, 1 - broken)]
    first = [str(float(transformer.init(key)["W_E"][0, 0])) for key in keys]
    program = [sys.executable, "-c", BREAKING, *first]
    slow = ("--set", "steps=60", "eval_every=10", "batch_size=128", "learning_rate=1e-5")
    for host, process in enumerate(start_both("--seeds", "0:2", *slow, program=program)):
        _, err = finish(process, code=2)
        assert (f"jaxmi: seed {broken} diverged" in err) == (host == broken)
    record = json.loads(Path("run/run.json").read_text())
    assert record["finished"] is False
    assert [run["seed"] for run in record["runs"]] == [1 - broken]
    assert Path(f"run/seed-0000{1 - broken}/params.safetensors").is_file()
    assert Path("run/labels.png").is_file()
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert {line["seed"] for line in lines} == {1 - broken}


def test_a_host_that_never_comes_is_a_clear_time_out() -> None:
    join = ("--coordinator", f"localhost:{free_port()}", "--hosts", "2", "--join-timeout", "5")
    for host in ("0", "1"):
        _, err = finish(start(*RUN, *join, "--host", host), code=1)
        (line,) = (line for line in err.splitlines() if line.startswith("jaxmi:"))
        assert "waited 5 s at localhost" in line
        assert "not all hosts have joined" in line
        assert not Path("run").exists()


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--hosts", "2"], "--coordinator"),
        (["--coordinator", "localhost:1", "--hosts", "2", "--host", "2"], "--host 2"),
        (["--coordinator", "localhost:1", "--hosts", "2", "--host", "0", "--cluster"], "--cluster"),
        (["--coordinator", "localhost", "--hosts", "2", "--host", "0"], "--coordinator localhost"),
        (["--join-timeout", "0"], "--join-timeout 0"),
        (["--cpu-devices", "0"], "--cpu-devices 0"),
        (["--save-every", "0"], "--save-every 0"),
    ],
)
def test_flags_that_do_not_fit_are_named(fails, args: list[str], named: str) -> None:
    assert named in fails(2, *RUN, *args)
