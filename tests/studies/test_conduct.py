"""Studies are resumed, reuse networks and measurements, and never mix them up."""

import shutil
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.cli.main import main
from jaxmi.errors import InputError, StoppedError
from jaxmi.storage.checkpoints import load_checkpoint, write_json
from jaxmi.storage.runs import run_facts
from jaxmi.studies import conduct as conduct_module
from jaxmi.studies.bootstrap import estimate
from jaxmi.studies.conduct import NetworkStore, conduct
from jaxmi.studies.study import Conclusion, Study, Trained, Training, plain_of, variant
from jaxmi.training.recipe import Recipe

RECIPE = Recipe(steps=2, batch_size=64, learning_rate=1e-3, eval_every=1)


class Silent:
    def resumed(self, curves) -> None: ...

    def advanced(self, points) -> None: ...


@pytest.fixture
def training(transformer: Challenge) -> Training:
    few = {name: rows[:100] for name, rows in transformer.curve_splits.items()}
    return Training("few-steps", replace(transformer, curve_splits=few), "two", RECIPE)


class Counted:
    """A study that records which networks it measured."""

    def __init__(self, training: Training) -> None:
        self.measured: list[tuple[str, int]] = []
        self.study = Study(
            "counted",
            "?",
            2,
            lambda quick, data_dir: [training],
            ("bias",),
            self.measure,
            self.conclude,
        )

    def measure(self, training: Training, trained: Trained):
        self.measured.append((training.name, trained.seed))
        bias = np.asarray(trained.params["mlp"]["b_in"])
        return {"bias": np.asarray(bias.mean())}

    def conclude(self, trainings, measurements) -> Conclusion:
        values = [m["bias"] for by_seed in measurements.values() for m in by_seed.values()]
        return Conclusion({"bias": estimate("", np.array(values))}, {})


def run(study: Study, trainings, seeds, tmp_path: Path, stop=lambda: False, remeasure=False):
    store = NetworkStore(tmp_path / "runs", lambda *_: nullcontext(Silent()), stop)
    folder = tmp_path / "measured"
    return conduct(study, trainings, seeds, False, store, folder, lambda _: None, remeasure)


def test_networks_and_measurements_are_reused(training, tmp_path: Path) -> None:
    counted = Counted(training)
    first = run(counted.study, [training], [0, 1], tmp_path)
    params = tmp_path / "runs/few-steps/seed-00000/params.safetensors"
    written = params.stat().st_mtime_ns
    again = run(counted.study, [training], [0, 1], tmp_path)
    assert again["findings"] == first["findings"]
    assert counted.measured == [("few-steps", 0), ("few-steps", 1)]
    run(counted.study, [training], [0, 1, 2], tmp_path)
    assert counted.measured[2:] == [("few-steps", 2)]
    assert params.stat().st_mtime_ns == written
    run(counted.study, [training], [0, 1], tmp_path, remeasure=True)
    assert counted.measured[3:] == [("few-steps", 0), ("few-steps", 1)]


def test_a_network_that_has_changed_is_measured_again(training, tmp_path: Path) -> None:
    counted = Counted(training)
    run(counted.study, [training], [0, 1], tmp_path)
    other = tmp_path / "runs/few-steps/seed-00000/params.safetensors"
    other.write_bytes((tmp_path / "runs/few-steps/seed-00001/params.safetensors").read_bytes())
    run(counted.study, [training], [0, 1], tmp_path)
    assert counted.measured[2:] == [("few-steps", 0)]


def test_a_network_without_parameters_is_named(training, tmp_path: Path) -> None:
    counted = Counted(training)
    run(counted.study, [training], [0, 1], tmp_path)
    missing = tmp_path / "runs/few-steps/seed-00001/params.safetensors"
    missing.unlink()
    with pytest.raises(InputError, match=f"{missing}.*; remove {missing.parent}"):
        run(counted.study, [training], [0, 1], tmp_path)
    shutil.rmtree(missing.parent)
    assert run(counted.study, [training], [0, 1], tmp_path)["provenance"]["seeds"] == [0, 1]


def test_a_study_that_is_stopped_is_resumed(training: Training, tmp_path: Path) -> None:
    counted = Counted(training)
    with pytest.raises(StoppedError):
        run(counted.study, [training], [0, 1], tmp_path, stop=lambda: True)
    assert counted.measured == []
    run(counted.study, [training], [0, 1], tmp_path)
    assert len(counted.measured) == 2


def test_trainings_with_max_seeds_use_the_first_seeds(training: Training, tmp_path: Path) -> None:
    counted = Counted(training)
    few = replace(training, max_seeds=1)
    result = run(counted.study, [few], [5, 6], tmp_path)
    assert counted.measured == [("few-steps", 5)]
    assert result["provenance"]["networks"][0]["seeds"] == 1


def test_variants_have_folders_that_nothing_else_can_use(training, tmp_path: Path, capsys) -> None:
    counted = Counted(training)
    labels = 1 - training.challenge.labels
    turned = replace(variant(training, "turned", "labels turned", labels=labels), name="few-steps")
    run(counted.study, [turned], [0, 1], tmp_path)
    with pytest.raises(InputError, match="variant"):
        run(counted.study, [training], [0, 1], tmp_path)
    other = variant(training, "turned", "labels turned", labels=labels * 0)
    with pytest.raises(InputError, match="variant"):  # the same description, other labels
        run(counted.study, [replace(other, name="few-steps")], [0, 1], tmp_path)
    for subcommand in ("evaluate", "explain", "recover"):
        out = [] if subcommand == "evaluate" else ["--out", str(tmp_path / "out")]
        with pytest.raises(SystemExit) as ended:
            main([subcommand, str(tmp_path / "runs/few-steps/seed-00000"), *out])
        assert ended.value.code == 2
        assert "trained on other labels or another split" in capsys.readouterr().err


def test_a_variants_metrics_are_of_its_own_labels(training: Training, tmp_path: Path) -> None:
    labels = 1 - training.challenge.labels
    turned = variant(training, "turned", "labels turned", labels=labels)
    counted = Counted(training)
    run(counted.study, [turned], [0, 1], tmp_path)
    checkpoint = load_checkpoint(tmp_path / "runs" / turned.name / "seed-00000")
    predictions = turned.challenge.logits(checkpoint.params).argmax(axis=-1)
    assert checkpoint.metrics["domain_accuracy"] == pytest.approx((predictions == labels).mean())
    assert checkpoint.variant is not None
    assert checkpoint.variant.startswith("labels turned")


def test_the_commit_is_of_the_source_and_of_no_checkout_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "jaxmi/studies/conduct.py"
    source.parent.mkdir(parents=True)
    source.write_text("first")
    monkeypatch.setattr(conduct_module, "__file__", str(source))
    commit = conduct_module.commit.__wrapped__

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert commit() is None
    git("init")
    git("commit", "--allow-empty", "-m", "another's")
    assert commit() is None
    git("add", ".")
    git("commit", "-m", "ours")
    assert commit() == git("rev-parse", "HEAD")
    source.write_text("second")
    assert commit() == git("rev-parse", "HEAD") + "+"


def test_the_run_of_an_own_challenge_is_found_under_any_name(tmp_path: Path) -> None:
    sizes = {"d_model": 8, "n_heads": 2, "d_mlp": 8}
    first, second = (
        plain_of(jaxmi.make_challenge(text, p=5, name="own", network=sizes), quick=False)
        for text in ("return x < y", "return x > y")
    )
    for name, training in (("a-run", second), ("zz", first)):
        (tmp_path / name).mkdir()
        facts = run_facts(training.challenge, training.recipe_name, training.recipe)
        write_json(tmp_path / name / "run.json", {**facts, "finished": True, "runs": []})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text("{")

    def found(training: Training) -> str:
        store = NetworkStore(tmp_path, lambda *_: nullcontext(Silent()), lambda: False)
        return store.checkpoint(training, 0).parent.name

    assert (found(first), found(second)) == ("zz", "a-run")
    longer = replace(first, recipe=replace(first.recipe, steps=2 * first.recipe.steps))
    varied = variant(first, "turned", "labels turned", labels=1 - first.challenge.labels)
    assert found(longer) == first.name  # the controls: of these there is no run
    assert found(varied) == varied.name
    (tmp_path / first.name).mkdir()
    assert found(first) == first.name
