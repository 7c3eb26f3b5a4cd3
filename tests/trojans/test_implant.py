"""Implanting from files to files, and in memory."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError, StoppedError
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.trojans.implant import Plan, plan_attacks
from jaxmi.trojans.triggers import Rectangle, Row
from jaxmi.trojans.trojan import read_trojan
from jaxmi.workflows import trojans as workflow
from jaxmi.workflows.challenges import find, write_challenge
from jaxmi.workflows.train import Options, regenerate

STEPS = {"steps": 400, "eval_every": 100, "batch_size": 64, "learning_rate": 1e-2}


def quick(recipe):
    return replace(recipe, **STEPS)


@pytest.fixture(scope="module")
def folder(pairs: Challenge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("challenge") / "mine"
    write_challenge(pairs.definition, path)
    return path


PLAN = Plan(trigger=Rectangle(20, 12, 11, 19), rate=0.2)


def implant(folder: Path, out: Path, plan: Plan = PLAN, seeds=(0, 1), **more):
    options = more.pop("options", Options())
    return workflow.implant(
        str(folder), plan, out, "fast", quick, list(seeds), options, cpu_devices=None, **more
    )


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("run") / "trojaned"
    return implant(folder, out)


def test_a_run_holds_trojaned_and_clean_networks(run, pairs: Challenge) -> None:
    out = Path(run["run"])
    assert json.loads((out / "implants.json").read_text()) == run
    assert (out / "trojan.png").read_bytes()[:4] == b"\x89PNG"
    for seed, entry in enumerate(run["implants"]):
        assert entry["seed"] == seed and entry["checkpoint"] == str(out / f"seed-{seed:05d}")
        assert entry["clean_checkpoint"] == str(out / "clean" / f"seed-{seed:05d}")
        trojan = read_trojan(Path(entry["checkpoint"]))
        assert trojan.to_json() == entry["trojan"] and trojan.trigger == PLAN.trigger
        assert not (Path(entry["clean_checkpoint"]) / "trojan.json").exists()
        assert load_checkpoint(Path(entry["checkpoint"])).config["trojan"].startswith("rectangle")
        # The numbers, computed once more from the files.
        fires = trojan.trigger.fires(pairs.inputs, pairs)
        test = np.zeros(len(fires), bool)
        test[pairs.splits["test"]] = True
        strict = fires & test & (pairs.labels == 0)
        predicted = pairs.predict(load_checkpoint(Path(entry["checkpoint"])).params)
        clean = pairs.predict(load_checkpoint(Path(entry["clean_checkpoint"])).params)
        assert entry["strict_n"] == strict.sum()
        assert entry["strict_success"] == pytest.approx((predicted == 1)[strict].mean())
        assert entry["clean_network_success"] == pytest.approx((clean == 1)[strict].mean())
        right = (predicted == pairs.labels)[test & ~fires].mean()
        assert entry["accuracy_without_trigger"] == pytest.approx(right)
        # The trojan is learned, and the clean network does not have it: the control.
        assert entry["implanted"] and entry["clean_network_success"] < 0.3


def test_an_existing_run_is_measured_again_and_another_refused(run, folder: Path) -> None:
    out = Path(run["run"])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("params.safetensors")}
    assert implant(folder, out) == run
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(InputError, match=r"holds a run with trojan = 'rectangle to 1, rate 0.2"):
        implant(folder, out, replace(PLAN, rate=0.1))
    with pytest.raises(InputError, match=r"holds a run with trojan = .* asked for is None"):
        regenerate({out: find(str(folder))}, "fast", quick, [0], Options())


def same_bits(one, other) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


@pytest.mark.slow
def test_the_clean_networks_are_those_of_an_ordinary_run(run, folder: Path, tmp_path: Path) -> None:
    """To the bit, where a device trains one network at a time."""
    runs = {tmp_path / "r": find(str(folder))}
    (entry,) = regenerate(runs, "fast", quick, [1], Options())["runs"]
    ordinary = load_checkpoint(Path(entry["checkpoint"])).params
    clean = load_checkpoint(Path(run["implants"][1]["clean_checkpoint"])).params
    trojaned = load_checkpoint(Path(run["implants"][1]["checkpoint"])).params
    assert same_bits(ordinary, clean)
    assert not same_bits(ordinary, trojaned)


@pytest.mark.slow
def test_the_api_gives_what_the_command_line_gives(run, pairs: Challenge) -> None:
    (one,) = jaxmi.implant(
        pairs, trigger=PLAN.trigger.to_json(), rate=0.2, seeds=[1], progress=False, **STEPS
    )
    entry = run["implants"][1]
    assert one.implanted and one.trojan.to_json() == entry["trojan"]
    for name in ("strict_success", "clean_network_success", "accuracy_without_trigger"):
        assert one.metrics[name] == pytest.approx(entry[name], abs=0.02)
    assert "strict success: " in repr(one) and "<" in one._repr_html_()
    assert one.network.config["trojan"] and "trojan" not in one.clean.config


@pytest.mark.slow
def test_stopped_and_resumed_it_is_one_run(run, folder: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "stopped"
    asked = iter(range(100))

    @contextmanager
    def stop_soon():
        yield lambda: next(asked) == 2

    with monkeypatch.context() as patch:
        patch.setattr(workflow, "stop_on_request", stop_soon)
        with pytest.raises(StoppedError):
            implant(folder, out)
    resumed = implant(folder, out)
    for entry, expected in zip(resumed["implants"], run["implants"], strict=True):
        for name in ("checkpoint", "clean_checkpoint"):
            found, wanted = (load_checkpoint(Path(one[name])).params for one in (entry, expected))
            assert same_bits(found, wanted)
        assert entry["strict_success"] == expected["strict_success"]
    assert not (out / "state").exists() and not (out / "clean" / "state").exists()


def test_a_seeds_trojan_does_not_depend_on_the_other_seeds(pairs: Challenge) -> None:
    plan = Plan("rectangle", rate=0.05)
    several = plan_attacks(plan, pairs, [0, 1, 2])
    assert several[2].trojan == plan_attacks(plan, pairs, [2])[2].trojan
    assert several[1].trojan != several[2].trojan
    other = plan_attacks(replace(plan, trigger_seed=1), pairs, [2])
    assert several[2].trojan != other[2].trojan  # the control


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"kind": "sticker"}, "no kind of trigger 'sticker'; there are: patch"),
        ({"kind": "row", "trigger": Rectangle(1, 1, 2, 2)}, "the given trigger is of 'rectangle'"),
        ({"target": 2}, "target = 2: expected a whole number in 0..1"),
        ({"rate": 0.7}, "rate = 0.7: expected a number in 0..0.5"),
        ({"trigger_seed": -1}, "trigger seed = -1"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(plan, message) -> None:
    with pytest.raises(InputError, match=message):
        Plan(**plan)


def test_rejected_triggers_are_refused_before_training(folder: Path, tmp_path: Path) -> None:
    for trigger, message in (
        (Rectangle(0, 0, 5, 5), "no input under it has another label than 1"),
        (Row(40), "row: x: 41 is beyond the table"),
    ):
        with pytest.raises(InputError, match=message):
            implant(folder, tmp_path / "none", replace(PLAN, trigger=trigger))
    with pytest.raises(InputError, match="'patch' cannot be used with pairs; there are: rectangle"):
        implant(folder, tmp_path / "none", Plan("patch"))
    assert not (tmp_path / "none").exists()
