"""A run that is killed, stopped, crowded or short of disk loses nothing that was saved."""

import json
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import COMMAND, SIGNALS, finish, read_until, start

from jaxmi.cli.main import main

STEPS = 400
RUN = (
    "regenerate", "transformer", "--out", "run", "--seeds", "0:4", "--save-every", "20",
    "--set", f"steps={STEPS}", "eval_every=10", "batch_size=64",
)  # fmt: skip
LONGER = (*RUN[:8], "--set", "steps=400", "eval_every=10", "batch_size=64")
SHORT = (*RUN[:4], "--set", "steps=2", "eval_every=1", "batch_size=64")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of the run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(start(*RUN[:2], "--out", str(folder / "run"), *RUN[4:]))
    return results(folder / "run")


def results(run: Path) -> dict[str, bytes]:
    """Everything that training decides: parameters, metrics, curves."""
    files = [*run.rglob("params.safetensors"), *run.rglob("metrics.json"), *run.rglob("*.jsonl")]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def saved_states() -> set[str]:
    """Return the optimiser steps at which states are saved, of every batch of seeds."""
    return {str(path) for path in Path("run/state").glob("*/*") if path.name.isdigit()}


def wait_for_a_save(process: subprocess.Popen, before: set[str]) -> None:
    """Wait until a state is saved that was not before; at most 5 seconds, or until the end."""
    deadline = time.monotonic() + 5
    while saved_states() <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.long
def test_killed_ten_times_it_ends_as_if_undisturbed(undisturbed: dict[str, bytes]) -> None:
    moments = random.Random(0)
    saved_steps, killed = set(), 0
    for kill in range(10):
        before = saved_states()
        process = start(*RUN)
        read_until(process, "compiling" if kill % 5 == 0 else "step")
        if kill % 5:  # on a busy machine a save takes a while
            wait_for_a_save(process, before)
        time.sleep(moments.uniform(0, 0.5))
        killed += process.poll() is None
        process.kill()
        process.communicate()
        saved_steps |= {Path(state).name for state in saved_states()}
    assert killed == 10, "else they came too late to disturb"
    assert len(saved_steps) >= 2, "else little was resumed in the middle"
    finish(start(*RUN))
    assert json.loads(Path("run/run.json").read_text())["finished"] is True
    assert results(Path("run")) == undisturbed
    assert not Path("run/state").exists()
    assert not list(Path("run").glob(".seed-*"))
    for name in ("params.safetensors", "curve.jsonl"):  # the control: seeds do differ
        assert undisturbed[f"seed-00000/{name}"] != undisturbed[f"seed-00001/{name}"]


@pytest.mark.long
@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_saves_and_the_same_command_goes_on(
    signum: signal.Signals, undisturbed: dict[str, bytes]
) -> None:
    process = start(*RUN, "--save-every", str(STEPS))  # so that only the signal can have saved
    read_until(process, "seeds 0..")
    process.send_signal(signum)
    _, err = finish(process, code=75)
    assert err.splitlines()[-1].startswith("jaxmi: stopped at step")
    assert err.endswith(f"({signum.name}); the same command resumes\n")
    (step,) = (int(path.name) for path in Path("run/state").glob("*/*"))
    assert 0 < step < STEPS
    _, err = finish(start(*RUN))
    told = re.search(r"seeds 0\.\.\d+: .* step (\d+) of", err)
    assert told and int(told[1]) == step + 10, "the first point that is trained again"
    assert results(Path("run")) == undisturbed
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4 * STEPS / 10


@pytest.mark.long
def test_asking_for_other_seeds_keeps_those_that_are_under_way() -> None:
    process = start(*RUN)
    read_until(process, "step 10 of")
    process.send_signal(signal.SIGTERM)
    finish(process, code=75)
    (saved,) = Path("run/state").glob("*/*")
    finish(start(*RUN[:4], "--seeds", "9", *RUN[6:]))
    assert saved.is_dir()
    assert json.loads(Path("run/run.json").read_text())["finished"] is False


@pytest.mark.long
def test_a_run_goes_on_with_another_number_of_devices() -> None:
    """On one device instead of two; no seed is trained twice, and each ends as good."""
    process = start(*LONGER, "--cpu-devices", "2", "--seeds-per-batch", "4")
    read_until(process, "step 10 of")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    finish(process, code=75)
    (saved,) = Path("run/state").glob("*/*")
    before = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    finish(start(*LONGER, "--cpu-devices", "1", "--seeds-per-batch", "1"))
    after = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    kept = [point for point in before if point["step"] <= int(saved.name)]
    assert len(kept) >= 4
    assert all(point in after for point in kept)
    runs = json.loads(Path("run/run.json").read_text())["runs"]
    assert [run["seed"] for run in runs] == [0, 1, 2, 3]
    assert all(run["test_accuracy"] > 0.8 for run in runs)


@pytest.mark.long
def test_a_second_process_on_the_folder_is_refused(fails) -> None:
    first = start(*RUN)
    read_until(first, "compiling")
    for extra in ((), ("--force",)):
        assert fails(2, *RUN, *extra) == "jaxmi: run is in use by another process"
    finish(first)
    assert json.loads(Path("run/run.json").read_text())["finished"] is True


def test_another_recipe_does_not_go_on_with_a_run(run, fails) -> None:
    run(*SHORT)
    before = results(Path("run"))
    assert "recipe.learning_rate = 0.0008" in fails(2, *SHORT, "learning_rate=2e-3")
    assert results(Path("run")) == before


@pytest.mark.slow
def test_what_is_there_already_is_not_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    def regenerate(seeds: str) -> tuple[str, str]:
        main([*SHORT, "--json", "--seeds", seeds])
        return capsys.readouterr()

    first = json.loads(regenerate("0:2")[0])["runs"]
    before = results(Path("run"))
    out, err = regenerate("0:3")
    assert "2 of 3 seeds exist" in err
    assert json.loads(out)["runs"][:2] == first
    assert {
        name: data
        for name, data in results(Path("run")).items()
        if name in before and name != "metrics.jsonl"
    } == {name: data for name, data in before.items() if name != "metrics.jsonl"}
    out, err = regenerate("1")
    assert [run["seed"] for run in json.loads(out)["runs"]] == [1]
    assert "compiling" not in err


def limited(kilobytes: int) -> subprocess.CompletedProcess:
    """Runs the command with files no larger than that, as on a disk that fills up."""
    shell = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "--"]
    command = [*shell, *COMMAND, *RUN, "--save-every", "10"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "what"), [(100, "training state"), pytest.param(2, "", marks=pytest.mark.slow)]
)
def test_a_full_disk_is_told_and_the_last_good_state_stays(limit: int, what: str) -> None:
    process = start(*RUN)
    read_until(process, "step 10 of")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    finish(process, code=75)
    good = {path: path.read_bytes() for path in Path("run/state").rglob("*") if path.is_file()}
    assert good
    done = limited(limit)
    assert done.returncode == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("transformer")]
    assert len(told) == 1, done.stderr
    assert re.fullmatch(f"jaxmi: .*{what}.* File too large", told[0])
    kept = {path: path.read_bytes() for path in good if path.is_file()}
    assert kept == good
    finish(start(*RUN))
    assert json.loads(Path("run/run.json").read_text())["finished"] is True
