"""Submissions are read strictly: every fault is refused in one line that names its place."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmi.challenges.registry import origin
from jaxmi.errors import InputError
from jaxmi.judge.submission import (
    MAX_CLAIMS,
    Readout,
    SubmittedComponent,
    read_explanation,
    site_axes,
)
from jaxmi.programs import language as lang
from jaxmi.programs.parse import parse

RESID = "blocks.0.hook_resid_mid"
CLAIM = {"site": RESID, "components": {"pos": 2, "d_model": [3, "10:12"]}, "feature": "x + y"}
READOUT = {"site": RESID, "pos": 2, "pca": [0.6, -0.8]}


def submission(claim=None, /, **parts) -> str:
    claims = [{**CLAIM, **(claim or {})}]
    return json.dumps({"challenge": "transformer", "claims": claims, **parts})


def read(text: str | Path, challenge: str = "transformer"):
    return read_explanation(text, challenge, origin(challenge))


def test_what_is_read_is_what_was_written() -> None:
    explanation = read(
        submission(
            {"feature": "near_y > limit and alpha > 0", "where": "x < 50", "match": {"near": 0.01}},
            title="A title",
            definitions={"limit": "x * x", "near_y": "y - 1", "unused": "1 / 0"},
            readouts={"alpha": READOUT},
        )
    )
    assert (explanation.challenge, explanation.title) == ("transformer", "A title")
    assert explanation.readouts == {"alpha": Readout(RESID, (2,), (0.6, -0.8), on_pca=True)}
    (claim,) = explanation.claims
    assert (claim.site, claim.near) == (RESID, 0.01)
    assert claim.component == SubmittedComponent(((2,), (3, 10, 11)))
    text = "limit = x * x\nnear_y = y - 1\nreturn near_y > limit and alpha > 0"
    assert claim.program == parse(text, "pairs", ["alpha"])  # without what it does not need
    assert claim.where_program == parse("return x < 50", "pairs")
    assert claim.names >= {"alpha", "x", "y"}


def test_definitions_build_on_those_before_them() -> None:
    definitions = {"clue": "template(6)", "near": "l1(image, clue)", "far": "near > 9"}
    claim = {"site": "fc1.post", "components": "all", "feature": "not far"}
    text = json.dumps({"challenge": "cnn", "definitions": definitions, "claims": [claim]})
    (claim,) = read(text, "cnn").claims
    assert len(claim.program.body) == 4
    assert claim.program.templates == (6,)
    assert claim.component.index == (tuple(range(200)),)


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        ("all", SubmittedComponent((tuple(range(3)), tuple(range(128))))),
        ({"pos": 0}, SubmittedComponent(((0,), tuple(range(128))))),
        ({"d_model": "0:2"}, SubmittedComponent(((0, 1, 2), (0, 1)))),
        ({"pos": [0, 2], "d_model": [5, 4]}, SubmittedComponent(((0, 2), (4, 5)))),
        ({"pos": 1, "pca": ["2:5", 9]}, SubmittedComponent(((1,),), pca=(2, 3, 4, 9))),
        ({"pos": 2, "readouts": ["alpha"]}, SubmittedComponent(((2,),), readouts=("alpha",))),
    ],
)
def test_components_are_positions_on_axes_or_directions(components, expected) -> None:
    text = submission({"components": components}, readouts={"alpha": READOUT})
    assert read(text).claims[0].component == expected


def test_every_site_of_both_networks_can_be_named() -> None:
    for challenge, sites in (("transformer", 15), ("cnn", 8)):
        axes = site_axes(origin(challenge))
        assert len(axes) == sites
        for site in axes:
            claim = {"site": site, "components": "all", "feature": "0"}
            text = json.dumps({"challenge": challenge, "claims": [claim]})
            index = read(text, challenge).claims[0].component.index
            assert [len(positions) for positions in index] == list(axes[site].values())


REFUSED = {
    # The whole.
    '{"challenge": "transformer"': r"not JSON: line 1, column 28: Expecting ',' delimiter",
    "": "not JSON: line 1, column 1",
    "[]": "the submission: expected an object, not a list of 0",
    "null": "the submission: expected an object, not null",
    "{}": "the submission: 'challenge' is missing",
    '{"challenge": "transformer", "claims": [], "x": 1}': "unknown key \"'x'\"|unknown key 'x'",
    '{"challenge": "transformer", "claims": []}': r"claims: a list of 0, expected 1 to 64",
    '{"challenge": "transformer", "claims": {}}': r"claims: expected a list, not an object of 0",
    '{"challenge": "transformer", "claims": [5]}': r"claims\[0\]: expected an object, not 5",
    '{"challenge": 5, "claims": []}': "challenge: expected a text, not 5",
    '{"challenge": "cnn", "claims": []}': "challenge: 'cnn', but this is judged on 'transf",
    '{"claims": 1, "claims": 2}': "the key 'claims' twice",
    '{"claims": NaN}': "has NaN",
    '{"claims": -Infinity}': "has -Infinity",
    '{"claims": 1e999}': "too large for a float: 1e999",
    '{"claims": 1' + "0" * 5000 + "}": "a whole number of 5,001 characters",
    "[" * 200_000: "nested too deeply",
    '{"a":' * 100_000: "nested too deeply",
    " " * 1_000_001: "more than 1,000,000 characters",
    submission(title=""): "title: a text of 0 characters",
    submission(title="a\nb"): "title: expected one line",
    submission(title="\ud800"): "title: expected one line",
    submission(title="a" * 201): "title: a text of 201 characters",
    submission(title=True): "title: expected a text, not true",
    submission(claims=[CLAIM] * (MAX_CLAIMS + 1)): "claims: a list of 65, expected 1 to 64",
    # Claims.
    submission({"extra": 1}): r"claims\[0\]: unknown key 'extra'; the keys are: site, comp",
    json.dumps({"challenge": "transformer", "claims": [{"site": RESID}]}): (
        r"claims\[0\]: 'components' is missing"
    ),
    submission(claims=[{"feature": "0"}]): r"claims\[0\]: 'site' is missing",
    submission({"site": "fc1.post"}): r"claims\[0\]\.site: unknown: 'fc1.post'; there are: hook",
    submission({"site": ["a"]}): r"claims\[0\]\.site: unknown: a list of 1",
    submission({"match": "similar"}): r"claims\[0\]\.match: expected \"same\" or",
    submission({"match": {"near": -1}}): r"match\.near: expected a number in 0\.\.1, not -1",
    submission({"match": {"near": True}}): r"match\.near: expected a number in 0\.\.1, not true",
    submission({"match": {"near": "0"}}): r"match\.near: expected a number in 0\.\.1, not '0'",
    submission({"match": {}}): r"claims\[0\]\.match: 'near' is missing",
    # SubmittedComponent.
    submission({"components": 3}): r"claims\[0\]\.components: expected an object, not 3",
    submission({"components": {}}): "components: names no component",
    submission({"components": {"neuron": 3}}): "unknown key 'neuron'; the keys are: pos, d_model",
    submission({"components": {"pos": 3}}): r"components\.pos: expected a whole number in 0\.\.2",
    submission({"components": {"pos": -1}}): r"components\.pos: expected a whole number in 0\.\.2",
    submission({"components": {"pos": 1.0}}): r"components\.pos: .* not 1\.0",
    submission({"components": {"pos": True}}): r"components\.pos: .* not true",
    submission({"components": {"pos": []}}): r"components\.pos: a list of 0, expected 1 to 3",
    submission({"components": {"pos": [0, 0]}}): r"components\.pos: a position twice",
    submission({"components": {"d_model": [1, "0:4"]}}): r"d_model: a position twice",
    submission({"components": {"d_model": "4:4"}}): r'd_model: expected a range within "0:128"',
    submission({"components": {"d_model": ["4:129"]}}): r"d_model\[0\]: expected a range",
    submission({"components": {"d_model": "4:"}}): r"d_model: expected a range",
    submission({"components": {"d_model": "٣:4"}}): r"d_model: expected a range",
    submission({"components": {"d_model": "0:" + "9" * 300}}): r"d_model: expected a range",
    submission({"components": {"pca": 0}}): "components: pca of one pos: give it as a number",
    submission({"components": {"pos": 2, "pca": 0, "d_model": 0}}): "one of 'd_model', 'pca' and",
    submission({"components": {"pos": 2, "pca": 128}}): r"pca: expected a whole number in 0\.\.127",
    submission({"components": {"pos": 2, "readouts": ["a"]}}): r"readouts\[0\]: unknown: 'a'",
    submission({"components": {"pos": 1, "readouts": ["a"]}}, readouts={"a": READOUT}): (
        r"readouts\[0\]: unknown: 'a'"  # it is read elsewhere
    ),
    submission({"components": {"pos": 2, "readouts": ["a", "a"]}}, readouts={"a": READOUT}): (
        "readouts: a name twice"
    ),
    # Expressions.
    submission({"feature": 0}): r"claims\[0\]\.feature: expected a text, not 0",
    submission({"feature": "x +"}): r"claims\[0\]\.feature: line 1, column 4: not Python",
    submission({"feature": "x + z"}): r"feature: line 1, column 5: unknown name 'z'",
    submission({"feature": "alpha"}): r"feature: line 1, column 1: unknown name 'alpha'",
    submission({"feature": "x; return 1"}): "feature: expected one expression, and no",
    submission({"feature": "x\nreturn 1"}): "feature: expected one line",
    submission({"feature": "().__class__"}): r"feature: line 1, column 1: an attribute is not",
    submission({"feature": "__import__('os')"}): r"feature: line 1, column 1: not one of",
    submission({"feature": "x" * 2001}): "feature: a text of 2,001 characters",
    submission({"feature": "(" * 900 + "x" + ")" * 900}): r"feature: line 1, column \d+: ",
    submission({"feature": "mean(image)"}): r"feature: line 1, column 1: not one of",
    submission({"where": "x <"}): r"claims\[0\]\.where: line 1, column \d: not Python",
    submission(definitions={"a": "b"}): r"definitions\.a: line 1, column 1: unknown name 'b'",
    submission(definitions={"a": "b", "b": "1"}): r"definitions\.a: .*unknown name 'b'",
    submission(definitions={"a": "1; b = 2"}): r"definitions\.a: expected one expression",
    submission(definitions={"a": "(1"}): r"definitions\.a: line 1, column 1: not Python",
    submission(definitions=[]): "definitions: expected an object, not a list of 0",
    submission(definitions={"x": "1"}): "definitions: the name 'x' is taken",
    submission(definitions={"sqrt": "1"}): "definitions: the name 'sqrt' is taken",
    submission(definitions={"np": "1"}): "definitions: the name 'np' is taken",
    submission(definitions={"if": "1"}): "definitions: 'if' is no name",
    submission(definitions={"a b": "1"}): "definitions: 'a b' is no name",
    submission(definitions={"\uff41": "1"}): r"definitions: '\\uff41' is no name",
    submission(definitions={f"a{i}": "1" for i in range(33)}): "definitions: 33 names",
    submission(definitions={"alpha": "1"}, readouts={"alpha": READOUT}): "'alpha' is taken",
    # Readouts.
    submission(readouts={"a": 1}): r"readouts\.a: expected an object|readouts\.a: 'site'",
    submission(
        readouts={"a": {"site": RESID, "pos": 2}}
    ): "a: give weights under one of 'pca' and 'd_mo",
    submission(readouts={"a": {**READOUT, "d_model": [1]}}): "a: give weights under one of",
    submission(readouts={"a": {"site": RESID, "pca": [1]}}): "a: 'pos' is missing",
    submission(readouts={"a": {**READOUT, "pos": [2]}}): r"a\.pos: expected a whole number",
    submission(readouts={"a": {**READOUT, "pca": [1] * 129}}): r"a\.pca: a list of 129",
    submission(readouts={"a": {**READOUT, "pca": [0, 0.0]}}): r"readouts\.a: all weights are 0",
    submission(readouts={"a": {**READOUT, "pca": ["1"]}}): r"a\.pca\[0\]: expected a number",
    submission(readouts={"a": {**READOUT, "pca": [1e7]}}): r"a\.pca\[0\]: expected a number",
    submission(readouts={"a": {"site": RESID, "pos": 0, "d_model": [1, 2]}}): "2 weights, exp",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text)[:60])
def test_what_is_wrong_is_refused_in_one_line_that_names_the_place(text: str) -> None:
    with pytest.raises(InputError, match=REFUSED[text]) as refused:
        read(text)
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 400


def test_the_submission_that_is_spoilt_above_is_itself_accepted() -> None:
    """The control: without a fault the submission is accepted."""
    assert read(submission(title="t", definitions={"a": "1"}, readouts={"a1": READOUT}))


def test_an_unknown_challenge_is_refused() -> None:
    with pytest.raises(InputError, match="unknown challenge 'dogs'"):
        read(submission(), "dogs")


def test_a_file_is_read_and_its_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "explanation.json"
    path.write_text(submission())
    assert read(path).claims == read(submission()).claims
    path.write_bytes(b'{"challenge": "\xff"}')
    with pytest.raises(InputError, match="not UTF-8 at byte 15"):
        read(path)
    path.write_bytes(b" " * 1_000_001)
    with pytest.raises(InputError, match="more than 1,000,000 bytes"):
        read(path)
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "missing.json")
    with pytest.raises(InputError, match="not a regular file"):
        read(tmp_path)


def test_spoilt_texts_are_refused_or_read_and_nothing_else_happens() -> None:
    """Characters replaced at random raise InputError and nothing else."""
    rng = np.random.default_rng(0)
    text = submission(definitions={"a": "x * 2"}, readouts={"b": READOUT})
    read_as_it_was = 0
    for _ in range(400):
        characters = list(text)
        for place in rng.integers(0, len(text), rng.integers(1, 4)):
            characters[place] = chr(rng.choice([*range(32, 127), 0, 955, 0x202E]))
        try:
            read("".join(characters))
            read_as_it_was += 1
        except InputError as error:
            assert str(error).isprintable()
    assert 0 < read_as_it_was < 400


def test_a_feature_is_a_program_of_the_challenge_s_kind() -> None:
    assert read(submission()).claims[0].program.kind == "pairs"
    assert isinstance(read(submission()).claims[0].program, lang.Program)
