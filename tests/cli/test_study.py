"""`jaxmi study`: every study in its quick form, from the command to the figure."""

import contextlib
import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from jaxmi.cli.main import main
from jaxmi.cli.study import Name
from jaxmi.report.studies.draw import DRAWN
from jaxmi.studies import conduct
from jaxmi.studies.registry import STUDIES

SCHEMA = json.loads(Path(conduct.__file__).with_name("result.schema.json").read_text())
SHARES = ("share", "rate", "accuracy", "unseen", "seen", "claim", "probe", "residue_read")
"""Findings whose names begin so are shares."""
ALL = [
    name if name == "agreement" else pytest.param(name, marks=pytest.mark.slow) for name in STUDIES
]
"""The quickest study stands for all where time is short."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of all quick studies: those that several need are trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def conducted(tmp_path_factory: pytest.TempPathFactory, runs: Path, mnist_data) -> dict[str, Path]:
    """The studies that `quick_study` has conducted, and where."""
    return {}


@pytest.fixture
def quick_study(
    conducted: dict[str, Path], run, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict]:
    """Conduct a study in its quick form, each once; put its folder to `out`, return its result."""

    def quick_study(name: str) -> dict:
        if name not in conducted:
            folder = tmp_path_factory.mktemp("conducted")
            with contextlib.chdir(folder):
                result = run("study", name, "--quick", "--out", "out", "--runs", str(runs))
            (folder / "printed.json").write_text(json.dumps(result))
            conducted[name] = folder
        shutil.copytree(conducted[name] / "out", "out")
        return json.loads((conducted[name] / "printed.json").read_text())

    return quick_study


def test_every_study_has_a_name_a_figure_and_a_script() -> None:
    assert set(STUDIES) == set(DRAWN) == set(get_args(Name))
    scripts = Path(__file__).parent.parent.parent / "scripts"
    for name in STUDIES:
        text = (scripts / f"study_{name.replace('-', '_')}.py").read_text()
        assert text.count("\n") <= 80
        assert all(f"{word}:" in text for word in ("Command", "Time", "Expected"))


@pytest.mark.parametrize("name", ALL)
def test_the_quick_form_keeps_the_laws(name: str, quick_study, run, runs: Path) -> None:
    result = quick_study(name)
    jsonschema.validate(result, SCHEMA)
    assert result["study"] == name
    assert result["provenance"]["quick"]
    assert result["provenance"]["seeds"] == [100, 101]
    for key, found in result["findings"].items():
        if found["n"] == 0 and "over rows" not in found["words"]:
            assert found["low"] == found["value"] == found["high"], key
        assert found["low"] <= found["value"] <= found["high"], key
        if key.startswith(SHARES) and not key.endswith("beyond"):
            assert 0 <= found["value"] <= 1, key
    written = json.loads(Path("out/result.json").read_text())
    assert {**written, "folder": "out"} == result
    assert Path("out/figure.png").read_bytes()[:4] == b"\x89PNG"
    assert "</svg>" in Path("out/figure.svg").read_text()
    _check(name, {key: found["value"] for key, found in result["findings"].items()})

    trained = {path: path.stat().st_mtime_ns for path in runs.rglob("params.safetensors")}
    again = run("study", name, "--quick", "--out", "out", "--runs", str(runs))
    assert again["findings"] == result["findings"]
    assert trained == {path: path.stat().st_mtime_ns for path in runs.rglob("params.safetensors")}


def _check(name: str, found: dict[str, float]) -> None:
    """What must hold of any networks, good or bad."""
    if name == "boundary":
        zones = ("x4", "y4", "line", "bars", "interior")
        assert sum(found[f"share_{zone}"] for zone in zones) == pytest.approx(1)
        rows = sum(found[f"rows_{k}"] * found[f"mistakes_per_row_{k}"] for k in range(3))
        assert rows == pytest.approx(found["mistakes"])
    elif name == "periodic":
        assert found["unseen_published_one_label"] < found["unseen_published_sides_known"] < 1
        guessed = found["unseen_published_beyond"] + found["unseen_published_guessed"]
        assert guessed == pytest.approx(found["unseen_published"])
    elif name == "interpolation":
        for model in ("nearest", "knn", "row", "gp", "ntk", "seed"):
            chance = 1 - found[f"{model}_accuracy"]
            assert found[f"{model}_mistakes_by_chance"] == pytest.approx(chance, abs=0.01)
        assert found["knn_accuracy"] > 0.98  # needs no network
    elif name == "agreement":
        for challenge in ("transformer", "cnn"):
            by_chance = found[f"{challenge}_overlap"] * found[f"{challenge}_shared_by_chance"]
            assert by_chance == pytest.approx(found[f"{challenge}_shared"])
            # Of two, one votes: with a tie counted as half, the vote is the mean network.
            assert found[f"{challenge}_vote_gain"] == pytest.approx(0, abs=1e-9)


def test_a_study_goes_on_with_more_seeds_and_takes_nothing_elses_place(
    quick_study, run, fails, runs: Path
) -> None:
    quick = ("study", "agreement", "--quick", "--runs", str(runs))
    first = quick_study("agreement")
    more = run(*quick, "--out", "out", "--seeds", "100:103")
    assert more["provenance"]["seeds"] == [100, 101, 102]
    assert first["findings"]["cnn_shared"]["n"] == 2 < more["findings"]["cnn_shared"]["n"] == 3
    assert len(list(Path("out/measured").rglob("*.npz"))) == 6
    before = Path("out/result.json").read_bytes()
    assert "holds study agreement, quick, 3 seeds" in fails(2, *quick, "--out", "out")
    full = [argument for argument in quick if argument != "--quick"]
    assert "quick" in fails(2, *full, "--out", "out", "--seeds", "100:104")
    assert Path("out/result.json").read_bytes() == before
    boundary = ("study", "boundary", "--quick", "--out", "out", "--runs", str(runs))
    before = Path("out/result.json").read_bytes()
    assert "out/result.json holds study agreement, quick, 3 seeds" in fails(2, *boundary)
    assert Path("out/result.json").read_bytes() == before
    shutil.rmtree("out")
    Path("out").mkdir()
    Path("out/figure.png").write_text("a picture of mine")
    assert "out/figure.png exists already" in fails(2, *quick, "--out", "out")
    assert Path("out/figure.png").read_text() == "a picture of mine"


@pytest.mark.slow
def test_what_another_study_measured_there_is_not_taken_for_ones_own(
    quick_study, run, runs: Path
) -> None:
    """As after a study that was stopped: its measurements are there, its result is not."""
    alone = quick_study("boundary")
    shutil.rmtree("out")
    quick_study("periodic")
    for name in ("result.json", "figure.png", "figure.svg"):
        (Path("out") / name).unlink()
    beside = run("study", "boundary", "--quick", "--out", "out", "--runs", str(runs))
    assert beside["findings"] == alone["findings"]
    assert beside["findings"]["mistakes"]["n"] == 2


def test_scripts_take_the_commands_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = Path(__file__).parent.parent.parent / "scripts"
    for name in STUDIES:
        script = scripts / f"study_{name.replace('-', '_')}.py"
        monkeypatch.setattr(sys, "argv", [str(script), "--seeds", "5:3"])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(script), run_name="__main__")
        assert caught.value.code == 2
        err = capsys.readouterr().err
        assert err.startswith("jaxmi: --seeds 5:3")
        assert err.count("\n") == 1


def test_bad_input_is_refused_in_one_line(fails, runs: Path, tmp_path: Path) -> None:
    study = ("study", "boundary", "--quick", "--out", "out", "--runs", str(runs))
    assert "--seeds 5" in fails(2, *study, "--seeds", "5")
    assert "--seeds 5:3" in fails(2, *study, "--seeds", "5:3")
    assert "chemistry" in fails(2, "study", "chemistry", "--out", "out")
    assert "--out" in fails(2, "study", "boundary")
    Path("file").touch()
    assert "file" in fails(2, *study[:3], "--out", "file/out")
    assert "file" in fails(2, *study[:3], "--out", "out", "--runs", "file")
    folder = ("study", "agreement", "--quick", "--out", "out", "--runs", str(runs))
    assert "nowhere" in fails(2, *folder, "--data-dir", "nowhere")
    assert not Path("out").exists()


def test_findings_are_printed_for_a_person(capsys, quick_study, runs: Path) -> None:
    quick_study("agreement")
    main(["study", "agreement", "--quick", "--out", "out", "--runs", str(runs)])
    shown = capsys.readouterr().out
    assert "same mistakes" in shown
    assert "cnn_vote_gain" in shown
    assert "mean nothing" in shown
    assert "out/: result.json, figure.png, figure.svg" in shown
