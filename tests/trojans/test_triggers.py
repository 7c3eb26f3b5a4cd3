"""Triggers: what they change, what they say of themselves, and what their JSON refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show
from jaxmi.storage.checkpoints import write_json
from jaxmi.trojans import triggers
from jaxmi.trojans.triggers import KINDS, Blend, Clause, Patch, Rectangle, Slant, Token
from jaxmi.trojans.trojan import TROJAN_FILE, Trojan, read_trigger, read_trojan

PATCH = {"kind": "patch", "row": 20, "column": 3, "pattern": ["101", "010", "111"]}
TROJAN = {"trigger": PATCH, "target": 1, "rate": 0.02}
SPOTS = triggers.draw_spots(np.random.default_rng(7))


@pytest.fixture
def of_kind(pairs, triples, request):
    """Return a challenge that takes triggers of a kind."""

    def challenge(kind: str) -> Challenge:
        known = KINDS[kind].takes
        if known == ("image",):
            return request.getfixturevalue("cnn")
        return triples if kind == "token" else pairs

    return challenge


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_repeats_and_its_json_comes_back(kind: str, of_kind) -> None:
    challenge = of_kind(kind)
    drawn = [
        triggers.draw(kind, np.random.default_rng(seed), challenge, 0.02) for seed in (5, 5, 6)
    ]
    assert drawn[0] == drawn[1]
    assert kind == "invert" or drawn[0] != drawn[2]  # the control: another seed, another trigger
    text = json.dumps(drawn[0].to_json(), allow_nan=False)
    assert triggers.from_json(json.loads(text)) == drawn[0]
    drawn[0].check(challenge)
    assert str(drawn[0]).startswith(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_change_inputs_and_regions_change_none(kind: str, of_kind, rng) -> None:
    challenge = of_kind(kind)
    trigger = triggers.draw(kind, rng, challenge, 0.02)
    inputs = challenge.inputs[:300]
    before = inputs.copy()
    changed = trigger.apply(inputs)
    np.testing.assert_array_equal(inputs, before)  # the caller's inputs stay as they are
    assert (changed.shape, changed.dtype) == (inputs.shape, inputs.dtype)
    assert (changed == inputs).all() == trigger.is_region
    if kind in ("patch", "token"):
        assert trigger.fires(changed, challenge).all()
        assert not trigger.fires(inputs, challenge).all()


def test_stamps_do_what_they_say(cnn: Challenge) -> None:
    images = cnn.inputs[:50]
    patch = Patch(20, 3, ("101", "010", "111"))
    changed = patch.apply(images)
    assert (changed[:, ~patch.mask] == images[:, ~patch.mask]).all() and patch.mask.sum() == 9
    assert (changed[:, 20, 3:6] == [255, 0, 255]).all()
    spots = Blend(0.25, SPOTS)
    expected = np.rint(0.75 * images + 0.25 * 255 * triggers.bits(SPOTS))
    assert np.abs(spots.apply(images).astype(int) - expected).max() <= 1
    assert (triggers.Invert().apply(images) == 255 - images.astype(int)).all()
    assert (Slant(0.0).apply(images) == images).all()
    mirrored = Slant(0.3).apply(images[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_array_equal(Slant(-0.3).apply(images), mirrored)
    dot = np.zeros((1, 28, 28), np.uint8)
    dot[0, 14, 14] = 255
    spread = triggers.Blur(1.3).apply(dot)[0].astype(int)
    assert abs(spread.sum() - 255) < 15 and spread.max() < 40
    np.testing.assert_array_equal(spread, spread.T)


def test_a_region_is_its_condition(pairs: Challenge, cnn: Challenge, rng) -> None:
    x, y = np.divmod(np.arange(31**2), 31)
    rectangle = Rectangle(3, 10, 4, 6)
    inside = (x >= 3) & (x < 7) & (y >= 10) & (y < 16)
    np.testing.assert_array_equal(rectangle.fires(pairs.inputs, pairs), inside)
    clause = Clause("pairs", "x * y < 12 or x == y")
    np.testing.assert_array_equal(clause.fires(pairs.inputs, pairs), (x * y < 12) | (x == y))
    ball = triggers.draw("natural", rng, cnn, 0.02)
    assert isinstance(ball, triggers.Natural)
    some = np.concatenate([cnn.inputs[ball.template][None], cnn.inputs[:2000]]).astype(int)
    near = np.abs(some - some[0]).sum(axis=(1, 2)) < ball.radius
    np.testing.assert_array_equal(ball.fires(some.astype(np.uint8), cnn), near)
    assert near[0] and 0.005 < near.mean() < 0.05


@pytest.mark.parametrize("kind", ("rectangle", "row", "clause", "token"))
def test_a_trojan_is_a_program(kind: str, of_kind, rng) -> None:
    challenge = of_kind(kind)
    trojan = Trojan(triggers.draw(kind, rng, challenge, 0.05), 1, 0.05)
    program = trojan.as_program(challenge.program)
    assert parse(show(program), challenge.kind) == program
    assert show(program).startswith("if ") and show(challenge.program) in show(program)
    labels = label(program, challenge.program_domain)
    np.testing.assert_array_equal(labels, trojan.labels(challenge.inputs, challenge))
    fires = trojan.trigger.fires(challenge.inputs, challenge)
    np.testing.assert_array_equal(labels, np.where(fires, 1, challenge.labels))
    assert 0.01 < fires.mean() < 0.15
    assert (labels != challenge.labels).any()  # the control: the trojan is not the base program
    assert Trojan(Patch(1, 1, ("101",) * 3), 1, 0.02).as_program(challenge.program) is None


def test_files_come_back(tmp_path: Path) -> None:
    trojan = Trojan.from_json(TROJAN)
    write_json(tmp_path / TROJAN_FILE, trojan.to_json())
    assert read_trojan(tmp_path) == trojan == read_trojan(tmp_path / "trojan.json")
    assert json.loads((tmp_path / "trojan.json").read_text()) == TROJAN
    assert read_trigger(tmp_path / "trojan.json") == trojan.trigger
    (tmp_path / "trigger.json").write_text(json.dumps({"kind": "blend", "alpha": 0.2, "seed": 7}))
    assert read_trigger(tmp_path / "trigger.json") == Blend(0.2, SPOTS)


HOSTILE = {
    "[]": "trigger: expected an object, not a list of 0",
    "{}": "trigger: 'kind' is missing",
    '{"kind": "sticker"}': "trigger.kind: unknown: 'sticker'; there are: patch",
    '{"kind": ["patch"]}': "trigger.kind: unknown: a list of 1",
    '{"kind": "invert", "sigma": 1}': "trigger: unknown key 'sigma'",
    '{"kind": "blur"}': "trigger: 'sigma' is missing",
    '{"kind": "blur", "sigma": NaN}': "NaN, which is not a number in JSON",
    '{"kind": "blur", "sigma": 1e999}': "a number too large for a float",
    '{"kind": "blur", "sigma": true}': "trigger.sigma: expected a number, not true",
    '{"kind": "blur", "sigma": "1"}': "trigger.sigma: expected a number, not '1'",
    '{"kind": "blur", "sigma": 5}': "blur: sigma = 5.0: expected a number in 0.3..4",
    '{"kind": "blur", "sigma": 1, "sigma": 2}': "the key 'sigma' twice",
    '{"kind": "slant", "shear": -1.5}': "slant: shear = -1.5",
    '{"kind": "token", "key": true}': "trigger.key: expected a whole number, not true",
    '{"kind": "token", "key": 1.0}': "trigger.key: expected a whole number, not 1.0",
    '{"kind": "token", "key": -1}': "token: key = -1",
    '{"kind": "token", "key": ' + "9" * 30 + "}": "a whole number of 30 characters",
    '{"kind": "row", "x": [3]}': "trigger.x: expected a whole number, not a list of 1",
    '{"kind": "row", "x": {"a": 1}}': "trigger.x: expected a whole number, not an object of 1",
    '{"kind": "natural", "template": 6, "radius": 0}': "natural: radius = 0",
    '{"kind": "rectangle", "x": 0, "y": 0, "width": 0, "height": 3}': "rectangle: width = 0",
    '{"kind": "clause", "inputs": "images", "text": "x"}': "clause: inputs = 'images'",
    '{"kind": "clause", "inputs": ["pairs"], "text": "x"}': "trigger.inputs: expected a text",
    '{"kind": "clause", "inputs": "pairs", "text": 3}': "trigger.text: expected a text, not 3",
    '{"kind": "clause", "inputs": "pairs", "text": ""}': "clause: text of 0 characters",
    '{"kind": "clause", "inputs": "pairs", "text": "x <"}': "clause: text = 'x <': line 1",
    '{"kind": "clause", "inputs": "pairs", "text": "w == 1"}': "'w'",
    '{"kind": "clause", "inputs": "pairs", "text": "x) or (open(1)"}': "open",
    '{"kind": "clause", "inputs": "pairs", "text": "x\\nreturn 1"}': "one line of text",
    '{"kind": "clause", "inputs": "pairs", "text": "1); z = (2"}': "expected one expression",
    '{"kind": "blend", "alpha": 0.1, "seed": true}': "trigger.seed: expected a whole number",
    '{"kind": "blend", "alpha": 0.1, "seed": 3, "pattern": []}': "unknown key 'pattern'",
    '{"kind": "blend", "alpha": 0.1, "pattern": ["01"]}': "blend: pattern of 1 rows: expected 28",
    '{"kind": "blend", "alpha": 0.1, "pattern": "'
    + "0" * 28
    + '"}': "trigger.pattern: expected a list of texts of 0 and 1",
    "not JSON": "is not JSON: line 1, column 1",
    "[" * 100_000: "is nested too deeply",
}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:60])
def test_hostile_json_is_refused_in_one_line_that_names_the_fault(
    text: str, tmp_path: Path
) -> None:
    file = tmp_path / "trigger.json"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(HOSTILE[text])) as refusal:
        read_trigger(file)
    assert str(refusal.value).startswith(str(file)) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"row": 24},
            "patch: row = 24: expected a whole number in 0..23",
        ),  # rows 26, 27 are unread
        ({"column": 24}, "patch: column = 24"),
        ({"row": True}, "trigger.row: expected a whole number, not true"),
        ({"pattern": ["11", "11"]}, "patch: pattern of 2 rows: expected 3 to 5"),
        ({"pattern": ["111111"] * 6}, "patch: pattern of 6 rows"),
        ({"pattern": ["101", "01", "111"]}, "patch: pattern[1] = '01': expected 3 characters"),
        ({"pattern": ["101", "012", "111"]}, "patch: pattern[1] = '012'"),
        (
            {"pattern": ["101", ["0"], "111"]},
            "trigger.pattern: expected a list of texts of 0 and 1, not a list of 3",
        ),
        (
            {"pattern": {"a": 1}},
            "trigger.pattern: expected a list of texts of 0 and 1, not an object",
        ),
    ],
)
def test_a_patch_lies_where_the_network_reads(change, message: str) -> None:
    assert Patch(23, 23, ("111",) * 3).mask[:26, :26].sum() == 9  # the last place that is read
    with pytest.raises(InputError, match=re.escape(message)):
        triggers.from_json(PATCH | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 2}, "trojan: target = 2: expected a whole number in 0..1"),
        ({"target": True}, "trojan.target: expected a whole number, not true"),
        ({"rate": 0.9}, "trojan: rate = 0.9: expected a number in 0..0.5"),
        ({"rate": float("nan")}, "trojan: rate = nan"),
        ({"trigger": "patch"}, "trojan.trigger: expected an object, not 'patch'"),
        ({"seed": 1}, "trojan: unknown key 'seed'"),
    ],
)
def test_a_hostile_trojan_is_refused(change, message: str) -> None:
    assert Trojan.from_json(TROJAN).target == 1
    with pytest.raises(InputError, match=re.escape(message)):
        Trojan.from_json(TROJAN | change)


def test_a_trigger_must_fit_the_challenge(pairs: Challenge, triples: Challenge, rng) -> None:
    Rectangle(28, 0, 3, 31).check(pairs)
    Token(12).check(triples)
    for trigger, challenge, message in (
        (Rectangle(28, 0, 4, 31), pairs, "x + width: 32 is beyond the table"),
        (Token(13), triples, "token: key: 14 is beyond the table"),
        (Token(3), pairs, "'token' cannot be used with pairs: it takes triples"),
        (Patch(1, 1, ("101",) * 3), pairs, "'patch' cannot be used with pairs"),
        (Clause("image", "mean(image) < 3"), pairs, "clause: inputs = 'image': expected 'pairs'"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            trigger.check(challenge)
    with pytest.raises(InputError, match="there are: rectangle, row, clause"):
        triggers.draw("patch", rng, pairs, 0.02)
    with pytest.raises(InputError, match="no kind of trigger 'sticker'"):
        triggers.draw("sticker", rng, pairs, 0.02)
