"""A user's method: it is called as the docs say; what is wrong with it is one line."""

import functools
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.methods.asking import SAME_LABELS
from jaxmi.methods.network import SITES, NetworkView
from jaxmi.methods.questions import ComputedQuestion, ExplanationQuestion, NeuronsQuestion
from jaxmi.programs.language import Program
from jaxmi.programs.parse import parse
from jaxmi.storage.checkpoints import load_checkpoint, save_checkpoint
from jaxmi.workflows import methods
from jaxmi.workflows.plants import compile_network

pytestmark = pytest.mark.usefixtures("few_programs")

HEAD = "import numpy as np\n\ndef score(network, question):\n"
GOOD = (
    HEAD
    + "    return np.ones(len(question.candidates)) if hasattr(question, 'candidates') else 1\n"
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_method_gets_what_the_docs_say() -> None:
    seen = Counter()

    def mine(network, question):
        assert isinstance(network, NetworkView)
        n = network.p**2
        assert network.inputs.shape == (n, 3) and network.labels.shape == (n,)
        assert {site: network.activations[site].shape for site in SITES} == {
            SITES[0]: (n, 64),
            SITES[1]: (n, 128),
        }
        rows = np.arange(5)
        for site in SITES:
            same = network.resume(site, rows, network.activations[site][rows])
            np.testing.assert_allclose(same, network.difference[rows], atol=1e-6)
        seen[type(question)] += 1
        for asked in getattr(question, "variables", (question,)):
            own = asked.labels(np.arange(n), np.arange(n))
            np.testing.assert_array_equal(own, asked.own)
            assert asked.values.shape == (n,)
        if isinstance(question, NeuronsQuestion):
            assert question.candidates.shape == (128,)
            return question.candidates * 1.0
        if isinstance(question, ComputedQuestion):
            assert question.site in SITES
            return 0.5
        return None

    marks = methods.mark_methods({"mine": mine}, only=["labels"], plants=3)
    assert set(seen) == {ComputedQuestion, NeuronsQuestion, ExplanationQuestion}
    assert {one["question"] for one in marks.result["marks"] if one["method"] == "mine"} == {
        "computed",
        "neurons",
    }
    assert repr(marks).count("0.500") >= 4 and "mine" in repr(marks)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    return float('nan')\n", "nan is no score: expected finite numbers"),
        ("    return 'yes'\n", "'yes' is no score: expected a number, or None"),
        ("    return np.zeros(3)\n", "a score of shape (3,): expected a number, or None"),
        ("    return 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("    raise SystemExit(3)\n", "SystemExit: 3"),
        ("    network.activations['blocks.0.hook_resid_mid'][:] = 0\n", "ValueError"),
    ],
)
def test_a_method_that_fails_is_named_with_its_question(body: str, message: str) -> None:
    Path("mine.py").write_text(HEAD + body)
    with pytest.raises(InputError) as caught:
        methods.write_marks(Path("out"), ["mine.py:score"], ["labels"], 3)
    line = str(caught.value)
    assert line.startswith("method score: is `") and "computed at blocks.0." in line
    assert message in line and "\n" not in line
    assert not list(Path().glob("out/*.json"))


def test_scores_of_neurons_are_as_many() -> None:
    Path("mine.py").write_text(HEAD + "    return 1.0\n")
    with pytest.raises(InputError, match=r"which neurons .*shape \(\): expected 128 numbers"):
        methods.write_marks(Path("out"), ["mine.py:score"], [], 3)


def test_the_example_in_the_docs_is_a_method() -> None:
    page = (Path(__file__).parents[2] / "docs/methods.md").read_text()
    codes = re.findall(r"```python\n(.*?)```", page, re.S)
    (code,) = (code for code in codes if "def score" in code)
    Path("mine.py").write_text(code)
    result = methods.write_marks(Path("out"), ["mine.py:score"], ["labels"], 3)
    found = {one["question"] for one in result["marks"] if one["method"] == "score"}
    assert found == {"computed", "neurons", "explanation"}
    assert all(0 <= one["auroc"]["value"] <= 1 for one in result["marks"])
    assert result["methods"]["score"]["words"].startswith("How much of the variance")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("mine.py", "expected FILE.py:FUNCTION"),
        ("nowhere.py:score", "there is no file nowhere.py"),
        ("mine.txt:score", "there is no file mine.txt that ends in .py"),
        ("mine.py:other", "mine.py has no function other"),
        ("broken.py:score", "broken.py cannot be run: SyntaxError"),
        ("exits.py:score", "exits.py cannot be run: SystemExit: 7"),
        ("mine.py:probe", "'probe': the name is taken"),
    ],
)
def test_what_is_no_method_is_refused(method: str, message: str) -> None:
    Path("mine.py").write_text(GOOD + "\nprobe = score\n")
    Path("mine.txt").write_text(GOOD)
    Path("broken.py").write_text("def score(")
    Path("exits.py").write_text("raise SystemExit(7)\n")
    with pytest.raises(InputError, match=message):
        methods.write_marks(Path("out"), [method], [], 3)
    assert not Path("out").exists()


def test_numbers_out_of_range_are_refused() -> None:
    for arguments, message in (
        ({"plants": 0}, "plants 0: expected at least 1"),
        ({"seed": 0}, "seed 0: expected 1 to"),
        ({"only": ["prob"]}, "method 'prob': expected one of random"),
        ({"only": []}, "no methods"),
        ({"trained": Path()}, "has no trained plants"),
    ):
        with pytest.raises(InputError, match=message):
            methods.mark_methods({}, **arguments)


def test_answers_are_kept_and_given_once() -> None:
    note = "    with open('log', 'a') as log:\n        print('asked', file=log)\n"
    Path("mine.py").write_text(HEAD + note + GOOD.removeprefix(HEAD))
    out = Path("out")
    first = methods.write_marks(out, ["mine.py:score"], ["labels"], 3)
    asked = len(Path("log").read_text().splitlines())
    assert asked > 20
    written = (out / "methods.json").read_bytes()
    assert json.loads(written) == {name: first[name] for name in first if name != "folder"}
    again = methods.write_marks(out, ["mine.py:score"], ["labels", "random"], 3)
    assert len(Path("log").read_text().splitlines()) == asked
    assert [one for one in again["marks"] if one["method"] != "random"] == first["marks"]
    Path("mine.py").write_text(Path("mine.py").read_text() + "\n# another\n")
    methods.write_marks(out, ["mine.py:score"], ["labels"], 3)
    assert len(Path("log").read_text().splitlines()) == 2 * asked
    methods.write_marks(out, ["mine.py:score"], ["labels"], 3, force=True)
    assert len(Path("log").read_text().splitlines()) == 3 * asked


def test_an_interrupted_run_leaves_whole_answers_and_no_result() -> None:
    stop = "    seen.append(0)\n    if len(seen) > 40:\n        raise KeyboardInterrupt\n"
    Path("mine.py").write_text(f"seen = []\n{HEAD}{stop}{GOOD.removeprefix(HEAD)}")
    with pytest.raises(KeyboardInterrupt):
        methods.write_marks(Path("out"), ["mine.py:score"], ["labels"], 30)
    assert not Path("out/methods.json").exists()
    files = list(Path("out").rglob("*.json"))
    assert {file.parent.name for file in files} == {"labels", "score"}
    assert all(json.loads(file.read_text()) for file in files)
    assert not [path for path in Path("out").rglob(".jaxmi-*")]


def test_a_file_may_hold_dataclasses_and_methods_of_any_form() -> None:
    Path("mine.py").write_text(
        "from __future__ import annotations\n"
        "import functools\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "@dataclass\n"
        "class Constant:\n"
        "    number: float\n"
        "    kind: ClassVar[str] = 'constant'\n"
        "    def __call__(self, network, question):\n"
        "        with open('log', 'a') as log:\n"
        "            print('asked', file=log)\n"
        "        return self.number if hasattr(question, 'site') else None\n"
        "score = Constant(1.0)\n"
        "part = functools.partial(Constant(2.0))\n"
    )
    named = ["mine.py:score", "mine.py:part"]
    first = methods.write_marks(Path("out"), named, [], 3)
    assert set(first["methods"]) == {"score", "part"}
    asked = len(Path("log").read_text().splitlines())
    again = methods.write_marks(Path("out"), named, [], 3)
    assert again["marks"] == first["marks"]
    assert len(Path("log").read_text().splitlines()) == asked


def test_answers_without_a_known_source_are_not_kept() -> None:
    def mine(network, question):
        return 1.0 if hasattr(question, "site") else None

    given = {"partial": functools.partial(mine), "mine": mine}
    code = compile("def cell(network, question):\n    return None\n", "<cell 1>", "exec")
    exec(code, cells := {"__name__": "cells"})
    lines: list[str] = []
    methods.mark_methods(
        {**given, "cell": cells["cell"]}, [], 3, folder=Path("kept"), log=lines.append
    )
    assert {path.name for path in Path("kept").iterdir()} == {"mine"}
    assert "cell gave no answer to any question, and is left out" in lines


@pytest.mark.parametrize("text", ["5", "null", '"marks"', "[]"])
def test_another_file_is_not_replaced(text: str) -> None:
    Path("out").mkdir()
    Path("out/methods.json").write_text(text)
    with pytest.raises(InputError, match=r"methods\.json"):
        methods.write_marks(Path("out"), [], ["labels"], 3)
    assert Path("out/methods.json").read_text() == text


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled checkpoint that says of itself that it was trained: training takes a minute."""
    one = next(one for one in methods.questions_of(0) if one.planted.mechanism == "conditions")
    program = one.planted.view.challenge.program
    assert program is not None
    return save_stand_in(tmp_path_factory.mktemp("plants") / "one", program)


def save_stand_in(folder: Path, program: Program) -> Path:
    plant = compile_network(program, "conditions", methods.P, methods.SIZES, 7)
    config = {**plant.config, "compiled": {**plant.config["compiled"], "trained": {"seed": 0}}}
    save_checkpoint(folder, plant.params, config, plant.metrics, False, plant.key)
    return folder


def test_trained_plants_are_asked_about_by_what_they_hold(stand_in: Path) -> None:
    (case,) = methods._trained_cases(stand_in.parent)
    assert case.group == "trained" and case.name == "trained one"
    assert {one.negative for one in case.questions} >= {"", SAME_LABELS}
    shutil.copytree(stand_in, "plants/one")
    checkpoint = load_checkpoint(Path("plants/one"))
    params = jax.tree.map(lambda w: w + np.float32(1e-6) * np.sign(w), checkpoint.params)
    save_checkpoint(
        Path("plants/one"), params, checkpoint.config, checkpoint.metrics, True, checkpoint.key
    )
    (other,) = methods._trained_cases(Path("plants"))
    files = [methods._file(Path("kept"), "probe", "", each) for each in (case, other)]
    assert other.name == case.name and files[0] != files[1]


def test_what_is_no_trained_plant_is_refused_at_once(stand_in: Path) -> None:
    checkpoint = load_checkpoint(stand_in)
    key, config, params = checkpoint.key, checkpoint.config, checkpoint.params
    assert key is not None
    compiled = {name: v for name, v in config["compiled"].items() if name != "trained"}
    flipped = {**params, "W_U": params["W_U"][:, [1, 0, *range(2, params["W_U"].shape[1])]]}
    for changed, message in (
        ((params, {**config, "compiled": compiled}, key), "is no trained plant"),
        ((params, config, {**key, "mechanism": "rows"}), "is trained for rows: expected one for"),
        ((flipped, config, key), "labels otherwise than its program"),
    ):
        save_checkpoint(Path("plants/one"), *changed[:2], checkpoint.metrics, True, changed[2])
        with pytest.raises(InputError, match=f"^plants/one.*{message}"):
            methods.mark_methods({}, ["labels"], 3, trained=Path("plants"))


def test_a_program_without_questions_is_refused_before_anything_is_asked(stand_in: Path) -> None:
    shutil.copytree(stand_in, "plants/one")
    save_stand_in(Path("plants/two"), parse("return x < y", "pairs"))
    with pytest.raises(InputError, match=r"^plants/two: its program has too few"):
        methods._trained_cases(Path("plants"))
