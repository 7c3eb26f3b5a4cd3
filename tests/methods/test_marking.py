"""A user's method: it is called as the docs say; what is wrong with it is one line."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jaxmi.errors import InputError
from jaxmi.methods.network import SITES, NetworkView
from jaxmi.methods.questions import ComputedQuestion, ExplanationQuestion, NeuronsQuestion
from jaxmi.workflows import methods

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
        ("mine.py:probe", "'probe': the name is taken"),
    ],
)
def test_what_is_no_method_is_refused(method: str, message: str) -> None:
    Path("mine.py").write_text(GOOD + "\nprobe = score\n")
    Path("mine.txt").write_text(GOOD)
    Path("broken.py").write_text("def score(")
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
