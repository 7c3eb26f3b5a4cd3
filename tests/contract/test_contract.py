"""What commands print and write is what they printed and wrote before, and old files still load."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract.cases import CASES, REFUSALS, Case, Refusal
from contract.compare import differences
from contract.observe import call, observe, prepared, refuse
from contract.record import GOLDEN
from safetensors.numpy import load_file


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


LONG = (
    "regenerate-unfinished", "explain-run", "explain-cnn", "score-explanation-cnn",
    "recover-cnn", "recover-transformer", "score-explanation-transformer",
    "regenerate-cnn", "study-anew",
)  # fmt: skip
"""Cases of which shorter ones test nearly all."""


def _marked(case: Case) -> Any:
    slow = pytest.mark.long if case.name in LONG else pytest.mark.slow
    return pytest.param(case, id=case.name, marks=[slow] if case.slow else [])


@pytest.mark.parametrize("case", [_marked(case) for case in CASES])
def test_a_command_gives_what_it_gave(case: Case, tmp_path: Path, mnist_data) -> None:
    found = json.loads(json.dumps(observe(case, tmp_path)))  # tuples are lists there
    told = differences(golden(case.name), found, case.close, case.inputs)
    assert not told, "\n".join(told)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_what_was_refused_is_refused_in_one_line(
    refusal: Refusal, tmp_path: Path, mnist_data
) -> None:
    code, lines = refuse(refusal, tmp_path)
    assert code == golden("refusals")[refusal.name]
    assert len(lines) == 1, lines
    assert lines[0].startswith("jaxmi: ")


def test_every_golden_file_has_a_case() -> None:
    names = {case.name for case in CASES}
    assert len(names) == len(CASES)
    assert {path.stem for path in GOLDEN.glob("*.json")} == names | {"refusals"}
    assert golden("refusals").keys() == {refusal.name for refusal in REFUSALS}


@pytest.fixture
def prepared_folder(tmp_path: Path, mnist_data):
    with prepared(tmp_path):
        yield tmp_path


def run(*args: str) -> dict[str, Any]:
    code, out, err = call(args)
    assert code == 0, err
    return json.loads(out)


def assert_same_bits(one: Path, other: Path) -> None:
    mine, theirs = (load_file(folder / "params.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert tensor.dtype == theirs[name].dtype
        assert tensor.shape == theirs[name].shape
        assert tensor.tobytes() == theirs[name].tobytes(), name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("data/exported/cnn.pt", "cnn"),
        ("data/exported/cnn.safetensors", "cnn"),
        ("data/sealed-image/network.pt", "cnn"),
        ("data/sealed-pairs/network.pt", "transformer"),
        ("data/sealed-pairs/transformer_lens.pt", "transformer"),
    ],
)
def test_a_file_that_was_exported_before_has_the_same_bits(
    prepared_folder: Path, file: str, name: str
) -> None:
    run("import", file, "--out", "back")
    assert_same_bits(Path("back"), Path("checkpoints") / name)


@pytest.mark.parametrize(
    ("to", "file"),
    [
        ("casper", "f.pt"),
        ("transformer-lens", "f.pt"),
        ("transformer-lens", "f.safetensors"),
        ("transformer-lens-4", "f.pt"),
        ("transformer-lens-4", "f.safetensors"),
        ("safetensors", "f.safetensors"),
    ],
)
def test_every_layout_leads_there_and_back(prepared_folder: Path, to: str, file: str) -> None:
    run("export", "checkpoints/transformer", "--to", to, "--out", file)
    run("import", file, "--out", "back")
    assert_same_bits(Path("back"), Path("checkpoints/transformer"))


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(prepared_folder: Path) -> None:
    folder = Path("data/unfinished")
    assert json.loads((folder / "run.json").read_text())["finished"] is False
    assert [path.name for path in (folder / "state").glob("*/*")] == ["160"]
    trained = (folder / "seed-00000/params.safetensors").read_bytes()
    points = (folder / "metrics.jsonl").read_text().splitlines()
    case = next(case for case in CASES if case.name == "regenerate-unfinished")
    _, _, told = call(case.args)
    assert "1 of 2 seeds exist" in told
    assert json.loads((folder / "run.json").read_text())["finished"] is True
    assert not (folder / "state").exists()
    assert (folder / "seed-00000/params.safetensors").read_bytes() == trained
    after = (folder / "metrics.jsonl").read_text().splitlines()
    assert after[: len(points)] == points  # of both seeds: the second was not begun anew
    assert len(points) == 18 < len(after) == 20


def test_a_study_goes_on_without_measuring_anew(prepared_folder: Path) -> None:
    before = {path: path.read_bytes() for path in Path("data/study/measured").rglob("*.npz")}
    assert len(before) == 4
    case = next(case for case in CASES if case.name == "study-goes-on")
    _, _, told = call(case.args)
    assert "0 networks measured, 4 read from" in told
    assert {path: path.read_bytes() for path in before} == before


EXAMPLE = {
    "printed": {"share": 0.5, "n": 3, "name": "cnn", "network_mistakes": 100, "none": None},
    "written": {"a.npz": {"labels": {"packed_bits": "AAAAAAAA", "shape": [48]}}, "list": [1, 2]},
}


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("printed", "share"), 0.5002, None),
        (("printed", "share"), 0.502, "0.5 before, 0.502 now"),
        (("printed", "share"), None, "None now"),
        (("printed", "n"), 4, "3 before, 4 now"),
        (("printed", "n"), True, "True now"),
        (("printed", "name"), "dnn", "'dnn' now"),
        (("printed", "none"), 0, "None before, 0 now"),
        (("printed", "network_mistakes"), 106, None),
        (("printed", "network_mistakes"), 107, "107 now"),
        (("printed", "more"), 1, ".printed.more: added"),
        (("printed", "name"), ..., ".printed.name: missing"),
        (("written", "a.npz"), ..., ".written.a.npz: missing"),
        (("written", "b.npz"), {}, ".written.b.npz: added"),
        (("written", "list"), [1, 2, 3], "2 elements before, 3 now"),
        (("written", "list"), [1, 3], "[1]: 2 before, 3 now"),
        (("written", "a.npz", "labels", "packed_bits"), "AAAAAAAB", "1 answers are others"),
        (("written", "a.npz", "labels", "shape"), [6, 8], "1 elements before, 2 now"),
    ],
)
def test_the_comparison_notices(place: tuple[str, ...], value: Any, told: str | None) -> None:
    changed = copy.deepcopy(EXAMPLE)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    found = differences(EXAMPLE, changed)
    assert len(found) == (told is not None), found
    assert told is None or told in found[0]
    assert differences(EXAMPLE, copy.deepcopy(EXAMPLE)) == []


def test_a_few_other_answers_among_many_are_let_pass() -> None:
    """The share that may be others, on a table as large as challenge 2's."""
    import base64

    def table(n_ones: int) -> dict[str, Any]:
        bits = np.packbits(np.arange(12_769) < n_ones)
        return {"packed_bits": base64.b64encode(bits.tobytes()).decode()}

    assert differences(table(1000), table(1006)) == []
    assert differences(table(1000), table(1007)) != []
