"""`scripts/on_accelerator.py` and its parts, on the CPU with small numbers."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxmi.bench import device
from jaxmi.bench.device import PARTS, QUICK, challenges, fast, step_flops
from jaxmi.bench.measure import multiply_adds
from jaxmi.challenges.challenge import Challenge
from jaxmi.models.transformer import TransformerConfig

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "on_accelerator.py"


def script(*args: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, args)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("accelerator") / "out.json"
    done = script("--quick", "--minutes", "9", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(out.parent.iterdir()) == [out], "nothing temporary is left"
    return json.loads(out.read_text())


@pytest.mark.long
def test_every_part_has_figures(result: dict[str, Any]) -> None:
    names = ["about", "doctor", *PARTS, "tests", "bench"]
    assert set(result) == set(names)
    assert result["about"]["finished"] and result["about"]["quick"]
    assert result["bench"]["left_out"]
    for name in names[1:-1]:
        assert result[name]["seconds"] > 0
        assert "error" not in result[name]
        assert result[name]["figures"]
    assert result["doctor"]["figures"]["versions"]["jax"]
    assert result["tests"]["figures"] == {"tests": 3, "failed": {}}


@pytest.mark.long
def test_the_rows_are_those_that_are_promised(result: dict[str, Any]) -> None:
    figures = {name: one.get("figures", {}) for name, one in result.items()}
    assert {"device", "product, float32", "product, bfloat16 arrays"} <= set(figures["peak"])
    assert figures["peak"]["transformer, float32"]["share_of_product"] > 0
    assert len(figures["seeds_per_hour"]) == 2
    assert all(row["per_hour"] > 0 for row in figures["seeds_per_hour"].values())
    forms = set(figures["forms"])
    assert {"transformer, fast", "transformer, readable"} < forms
    assert any("examples at a time" in name for name in forms)
    assert set(figures["precision"]) == {"transformer, float32", "transformer, bfloat16"}
    assert all(row["estimate"] > 10**6 for row in figures["memory"].values())
    assert figures["recover"]["program by numpy"]["same_program"]
    sweeps = [figures["recover"][f"sweep by {way}"]["best"] for way in ("device", "numpy")]
    assert sweeps[0] == pytest.approx(sweeps[1], rel=1e-4)
    if find_spec("torch") is None:
        assert "not installed" in figures["torch"]["left out"]
    else:
        ways = {"ours, alone", "ours", "torch, eager", "torch, vmap"}
        assert set(figures["torch"]) == {f"transformer, {way}" for way in ways}
        assert len(figures["torch_compiled"]) == 2


def test_when_the_time_is_up_no_part_is_started(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = script("--quick", "--minutes", "0.01", "--out", out)
    assert done.returncode == 0
    found = json.loads(out.read_text())
    del found["about"]
    assert next(iter(found)) == "doctor" and len(found) == len(PARTS) + 3
    assert all(one == {"left_out": "0.01 minutes were up"} for one in found.values())


def on_accelerator() -> Any:
    """The script, as a module."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        import on_accelerator

        return on_accelerator
    finally:
        sys.path.pop(0)


def test_what_fails_leaves_its_error_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = on_accelerator()
    programs = {
        "peak": "print('{\"a\": 1}', flush=True); import time; time.sleep(60)",
        "forms": 'print(\'{"a": {"error": "out of memory"}, "b": 2}\')',
        "memory": "raise SystemExit('no memory')",
        "torch": "print('{\"a\": 3}')",
    }
    real = module.run

    def run(command: list[str], limit: float, folder: Path) -> tuple[str, str | None]:
        return real([command[0], "-c", programs[command[3]]], min(limit, 3.0), folder)

    monkeypatch.setattr(module, "run", run)
    assert module.run_parts(list(programs), tmp_path / "out.json", 1.0, quick=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["peak"]["error"] == "stopped after 3 seconds"
    assert found["peak"]["figures"] == {"a": 1}, "what was measured before"
    assert found["forms"]["figures"]["b"] == 2 and "error" not in found["forms"]
    assert found["memory"]["error"] == "exit code 1: no memory"
    assert "figures" not in found["memory"]
    assert found["torch"]["figures"] == {"a": 3}
    assert [module.has_error(found[name]) for name in programs] == [True, True, True, False]


@pytest.mark.parametrize(
    "args", [("--parts", "nothing"), ("--minutes", "0"), ("--out", str(Path(os.sep) / "no" / "f"))]
)
def test_bad_arguments_are_refused_at_once(args: tuple[str, str]) -> None:
    done = script(*args)
    assert done.returncode == 2
    assert args[0] in done.stderr and "Traceback" not in done.stderr


def test_a_failing_test_is_named(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="2"><testcase classname="t.a" name="good"/>'
        '<testcase classname="t.a" name="bad"><failure message="1 != 2">text</failure></testcase>'
        "</testsuite></testsuites>"
    )
    module = on_accelerator()
    assert module.tests_of(report) == {"tests": 2, "failed": {"t.a.bad": "1 != 2"}}
    assert module.tests_of(tmp_path / "nothing") is None


def test_a_row_that_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise MemoryError("too\nlarge")

    def rows(sizes, quick):
        yield "a", fail
        yield "b", lambda: sizes.rounds

    monkeypatch.setitem(PARTS, "peak", rows)
    monkeypatch.setattr(sys, "argv", ["device", "peak", "--quick"])
    device.main()
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {"a": {"error": "MemoryError: too large"}, "b": QUICK.rounds}


def test_a_steps_operations_are_those_of_its_products(transformer: Challenge) -> None:
    """Within a tenth: element-wise operations are counted, too."""
    by_hand = 3 * 2 * multiply_adds(TransformerConfig()) * 512
    found = step_flops(transformer, fast(transformer))
    assert found == pytest.approx(by_hand, rel=0.1)
    assert step_flops(transformer, fast(transformer, batch_size=256)) < 0.6 * found


@pytest.mark.long
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_stacked_cnns_train_with_dropout(cnn: Challenge) -> None:
    from jaxmi.bench.steps import stacked_torch_steps

    steps = stacked_torch_steps(cnn, fast(cnn, batch_size=8), 1, 2)
    weights: Any = steps()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    steps()
    assert {len(weight) for weight in weights.values()} == {2}
    assert all((weights[name] != before[name]).any() for name in before)
    assert step_flops(cnn, fast(cnn, batch_size=8)) > 10**6


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_stacked_networks_take_the_steps_that_each_takes_alone(transformer: Challenge) -> None:
    from jaxmi.bench.steps import stacked_torch_steps
    from jaxmi.bench.torch_networks import NETWORKS

    recipe = replace(fast(transformer, batch_size=16), weight_decay=0.1)
    stacked: Any = stacked_torch_steps(transformer, recipe, 3, 2)()
    one: Any = stacked_torch_steps(transformer, recipe, 3, 1)()
    params = jax.device_get(transformer.init(jax.random.key(0)))
    start = dict(NETWORKS["transformer"](params).named_parameters())
    for name, weight in one.items():
        after, together = weight[0].detach().numpy(), stacked[name].detach().numpy()
        np.testing.assert_allclose(together[0], after, atol=1e-5)
        assert np.abs(after - start[name].detach().numpy()).max() > 1e-4, "it moved"
        assert np.abs(together[1] - after).max() > 1e-3 or not after.any(), "another seed"


def test_the_quick_form_needs_no_images() -> None:
    assert [challenge.kind for challenge in challenges(True).values()] == ["pairs"]
