"""`jaxmi study`: every study in its quick form, from the subcommand to the figure."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from jaxmi.cli.main import main
from jaxmi.cli.study import Name
from jaxmi.report.studies.draw import FIGURES
from jaxmi.studies import conduct
from jaxmi.studies.registry import STUDIES

DOCS = Path(__file__).parent.parent.parent / "docs"
SCHEMA = json.loads(Path(conduct.__file__).with_name("result.schema.json").read_text())
SHARES = ("share", "rate", "accuracy", "unseen", "seen", "claim", "probe", "residue_read")
"""Findings whose names begin with one of these are shares."""
QUICKEST = {
    "agreement": pytest.mark.slow,
    "boundary": pytest.mark.slow,
    "periodic": pytest.mark.slow,
}
ALL = [pytest.param(name, marks=QUICKEST.get(name, pytest.mark.long)) for name in STUDIES]
"""All studies; most are marked long."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folders of all quick studies: networks that several need are trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def conducted(tmp_path_factory: pytest.TempPathFactory, runs: Path, mnist_data) -> dict[str, Path]:
    """Study -> the folder in which `quick_study` has conducted it."""
    return {}


@pytest.fixture
def quick_study(
    conducted: dict[str, Path], run, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict]:
    """Conduct a study in its quick form, once; copy its folder to `out`, return its result."""

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


def test_every_study_has_a_name_a_figure_and_its_command_in_the_docs() -> None:
    assert set(STUDIES) == set(FIGURES) == set(get_args(Name))
    page = (DOCS / "findings.md").read_text()
    for name in STUDIES:
        assert f"\n`.venv/bin/jaxmi study {name} --out runs/studies/{name}`: " in page


def without_numbers(description: str) -> str:
    return re.sub(r"\d[\d.,]*", "0", description)


@pytest.mark.parametrize("name", ALL)
def test_the_quick_form_keeps_the_laws(name: str, quick_study, run, runs: Path) -> None:
    result = quick_study(name)
    jsonschema.validate(result, SCHEMA)
    assert result["study"] == name
    assert result["provenance"]["quick"]
    assert result["provenance"]["seeds"] == [100, 101]
    published = json.loads((DOCS / f"studies/{name}.json").read_text())["findings"]
    for key, finding in result["findings"].items():
        if finding["n"] == 0 and "over rows" not in finding["words"]:
            assert finding["low"] == finding["value"] == finding["high"], key
        assert finding["low"] <= finding["value"] <= finding["high"], key
        if key.startswith(SHARES) and not key.endswith("beyond"):
            assert 0 <= finding["value"] <= 1, key
        assert without_numbers(finding["words"]) == without_numbers(published[key]["words"])
    written = json.loads(Path("out/result.json").read_text())
    assert {**written, "folder": "out"} == result
    assert Path("out/figure.png").read_bytes()[:4] == b"\x89PNG"
    assert "</svg>" in Path("out/figure.svg").read_text()
    _check(name, {key: finding["value"] for key, finding in result["findings"].items()})

    trained = {path: path.stat().st_mtime_ns for path in runs.rglob("params.safetensors")}
    again = run("study", name, "--quick", "--out", "out", "--runs", str(runs))
    assert again["findings"] == result["findings"]
    assert trained == {path: path.stat().st_mtime_ns for path in runs.rglob("params.safetensors")}


def _check(name: str, values: dict[str, float]) -> None:
    """Check what must hold of any networks, good or bad."""
    if name == "boundary":
        zones = ("x4", "y4", "line", "bars", "interior")
        assert sum(values[f"share_{zone}"] for zone in zones) == pytest.approx(1)
        rows = sum(values[f"rows_{k}"] * values[f"mistakes_per_row_{k}"] for k in range(3))
        assert rows == pytest.approx(values["mistakes"])
    elif name == "periodic":
        assert values["unseen_published_one_label"] < values["unseen_published_sides_known"] < 1
        guessed = values["unseen_published_beyond"] + values["unseen_published_guessed"]
        assert guessed == pytest.approx(values["unseen_published"])
    elif name == "interpolation":
        for model in ("nearest", "knn", "row", "gp", "ntk", "seed"):
            chance = 1 - values[f"{model}_accuracy"]
            assert values[f"{model}_mistakes_by_chance"] == pytest.approx(chance, abs=0.01)
        assert values["knn_accuracy"] > 0.98  # needs no network
    elif name == "agreement":
        for challenge in ("transformer", "cnn"):
            by_chance = values[f"{challenge}_overlap"] * values[f"{challenge}_shared_by_chance"]
            assert by_chance == pytest.approx(values[f"{challenge}_shared"])
            # With two networks, and a tie counted as half, the vote is the mean network.
            assert values[f"{challenge}_vote_gain"] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_a_study_is_resumed_with_more_seeds_and_replaces_nothing_else(
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


@pytest.mark.long
def test_measurements_of_another_study_in_the_folder_are_not_used(
    quick_study, run, runs: Path
) -> None:
    """The folder is as a stopped study leaves it: with its measurements, without its result."""
    alone = quick_study("boundary")
    shutil.rmtree("out")
    quick_study("periodic")
    for name in ("result.json", "figure.png", "figure.svg"):
        (Path("out") / name).unlink()
    beside = run("study", "boundary", "--quick", "--out", "out", "--runs", str(runs))
    assert beside["findings"] == alone["findings"]
    assert beside["findings"]["mistakes"]["n"] == 2


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
    assert "these numbers answer nothing" in shown
    assert "out/: result.json, figure.png, figure.svg" in shown
