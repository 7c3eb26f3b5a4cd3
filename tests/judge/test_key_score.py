"""Explanations against the key of a planted network: understanding scores 1, guessing does not."""

import copy
import dataclasses
import json
from functools import cache
from typing import Any

import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.registry import Origin, load_challenge
from jaxmi.errors import InputError
from jaxmi.judge import key_check
from jaxmi.judge.key_check import check_key
from jaxmi.judge.key_explanation import explanation_of
from jaxmi.judge.key_score import KeyScore, adjusted_rand, score_against_key
from jaxmi.judge.submission import read_explanation

P, WIDTH = 13, 32
SIZES = {"d_model": WIDTH, "n_heads": 4, "d_mlp": 64}
MID, POST = "blocks.0.hook_resid_mid", "blocks.0.mlp.hook_post"
PROGRAM = """\
z = 0
if y < x + 3:
    z += 2
if y ** 2 > 9 * x:
    z -= 1
z += int(x ** 1.5) % 4 - 2
return z >= 1
"""


@cache
def planted(mechanism: str = "conditions") -> "jaxmi.Network":
    return jaxmi.compile(PROGRAM, mechanism, p=P, network=SIZES, disguise=3)


@cache
def _true(mechanism: str) -> dict[str, Any]:
    network = planted(mechanism)
    return explanation_of(network.key, network.challenge, network.params)


def true(mechanism: str = "conditions") -> dict[str, Any]:
    return copy.deepcopy(_true(mechanism))


def score(submission: dict[str, Any], mechanism: str = "conditions") -> KeyScore:
    network = planted(mechanism)
    challenge = network.challenge
    known = Origin(challenge.kind, challenge.model)
    explanation = read_explanation(json.dumps(submission), challenge.name, known)
    return score_against_key(explanation, network.key, challenge, network.params)


def directions(submission: dict[str, Any]) -> np.ndarray:
    """Return a submission's readouts before the MLP, (k, d_model)."""
    rows = [one["d_model"] for one in submission["readouts"].values() if one["site"] == MID]
    return np.array(rows)


def others(submission: dict[str, Any]) -> np.ndarray:
    """Return directions at right angles to all of a submission's readouts before the MLP."""
    return np.linalg.svd(directions(submission))[2][len(directions(submission)) :]


def about(names: list[str], feature: str) -> dict[str, Any]:
    return {"site": MID, "components": {"pos": 2, "readouts": names}, "feature": feature}


def readout(direction: np.ndarray) -> dict[str, Any]:
    return {"site": MID, "pos": 2, "d_model": direction.tolist()}


@pytest.mark.parametrize("mechanism", ["conditions", "rows", "columns"])
def test_who_understands_the_network_scores_1(mechanism: str) -> None:
    found = score(true(mechanism), mechanism)
    assert found.total == pytest.approx(1.0, abs=1e-6)
    assert all(row.found for row in found.rows) and found.answer == found.mechanism == mechanism
    assert max(found.controls.values()) < 0.5
    assert found.controls["random components"] < 0.25


def test_the_mechanism_is_one_part_among_the_others() -> None:
    submission = true()
    parts = len(score(submission).rows)
    submission["mechanism"] = "rows"
    assert score(submission).total == pytest.approx(2 * parts / (2 * parts + 2))
    del submission["mechanism"]
    silent = score(submission)
    assert silent.total == pytest.approx(2 * parts / (2 * parts + 1))
    assert silent.answer is None and "is not named" in silent.verdict


def test_half_of_the_claims_are_half_of_the_recall_and_all_of_the_precision() -> None:
    submission = true()
    parts = len(submission["claims"])
    del submission["claims"][parts // 2 :]
    found = score(submission)
    assert found.precision == pytest.approx(1)
    assert found.recall == pytest.approx((parts // 2 + 1) / (parts + 1))
    assert sum(row.found for row in found.rows) == parts // 2


def test_no_order_of_the_claims_and_no_repetition_changes_the_total() -> None:
    submission = true()
    del submission["claims"][-2:]
    once = score(submission).total
    submission["claims"] = [*submission["claims"][::-1], *submission["claims"] * 2]
    assert score(submission).total == pytest.approx(once) and once < 1


def test_a_direction_counts_by_its_squared_cosine() -> None:
    submission = true()
    name = submission["claims"][0]["components"]["readouts"][0]
    direction = np.array(submission["readouts"][name]["d_model"])
    turned = np.sqrt(0.8) * direction + np.sqrt(0.2) * others(submission)[0]
    submission["readouts"][name]["d_model"] = (7 * turned).tolist()  # the length is of no matter
    row = score(submission).rows[0]
    assert (row.covered, row.pure, row.match) == pytest.approx((0.8, 0.8, 0.8), abs=1e-5)


def test_neurons_count_by_those_in_common() -> None:
    submission = true()
    number = next(i for i, one in enumerate(submission["claims"]) if one["site"] == POST)
    neurons = submission["claims"][number]["components"]["neuron"]
    assert len(neurons) == 2
    listed = {n for one in submission["claims"] for n in one["components"].get("neuron", ())}
    idle = [n for n in range(SIZES["d_mlp"]) if n not in listed]
    for claimed, covered, pure in (
        (neurons[:1], 0.5, 1),
        ([*neurons, *idle[:2]], 1, 0.5),
        (idle[:2], 0, 0),
    ):
        submission["claims"][number]["components"]["neuron"] = claimed
        row = score(submission).rows[number]
        assert (row.covered, row.pure) == (covered, pure)
        assert row.match == pytest.approx(min(covered, pure))


def test_another_feature_counts_by_its_adjusted_rand_index() -> None:
    submission = true()
    claim = next(one for one in submission["claims"] if one["feature"] == "y < x + 3")
    number = submission["claims"].index(claim)
    x, y = np.indices((P, P)).reshape(2, -1)
    for feature, expected in (
        ("not y < x + 3", 1.0),  # the same partition
        ("y - min(y, x + 2)", None),  # finer on one side
        ("y < x + 4", adjusted_rand(1 * (y < x + 3), 1 * (y < x + 4))),
        ("x * p + y", 0.0),
        ("x % 2", 0.0),
    ):
        claim["feature"] = feature
        row = score(submission).rows[number]
        if expected is None:
            assert 0.1 < row.match < 0.9
        else:
            assert row.match == pytest.approx(expected, abs=0.05), feature


def test_what_a_boundarys_direction_holds_is_named_as_well_by_its_number() -> None:
    submission = true()
    claim = next(one for one in submission["claims"] if one["feature"] == "y < x + 3")
    claim["feature"] = "y - min(x + 3, p)"
    assert score(submission).total == pytest.approx(1.0, abs=1e-6)


def test_the_same_of_a_neurons_input_and_of_what_heads_add_is_the_same_claim() -> None:
    submission = true()
    for one in [*submission["claims"], *submission["readouts"].values()]:
        same = {MID: "blocks.0.hook_attn_out", POST: "blocks.0.mlp.hook_pre"}
        one["site"] = same.get(one["site"], one["site"])
    assert score(submission).total == pytest.approx(1.0, abs=1e-6)


def test_that_the_rest_carries_nothing_counts_neither_way_unless_it_is_false() -> None:
    submission = true()
    base = score(submission).total
    for k, direction in enumerate(others(submission)[:4]):
        submission["readouts"][f"rest{k}"] = readout(direction)
    rest = [f"rest{k}" for k in range(4)]
    submission["claims"].append(about(rest, "0"))
    assert score(submission).total == pytest.approx(base, abs=1e-4)
    submission["claims"].append(about(rest, "x"))  # nothing that the key lists
    assert score(submission).total == pytest.approx(base, abs=1e-4)
    name = submission["claims"][0]["components"]["readouts"][0]
    submission["claims"].append(about([name], "0"))
    false = score(submission)
    assert false.wrong == pytest.approx(1, abs=1e-3) and false.total < base


def test_claims_that_name_nothing_do_not_count() -> None:
    submission = true()
    base = score(submission).total
    name = submission["claims"][0]["components"]["readouts"][0]
    submission["claims"] += [
        about([name], f"{name} > 1"),
        about([name], "x % 3") | {"where": "x > 3"},
        {"site": MID, "components": {"pos": 0}, "feature": "y"},
        {"site": "blocks.0.attn.hook_z", "components": {"pos": 2, "head": 0}, "feature": "y"},
    ]
    found = score(submission)
    assert found.total == pytest.approx(base)
    assert [bool(one.remark) for one in found.claims[-4:]] == [True] * 4


def test_claiming_everything_of_everything_scores_low() -> None:
    submission = true()
    features = list(dict.fromkeys(one["feature"] for one in submission["claims"]))
    components = [(one["site"], one["components"]) for one in submission["claims"]]
    submission["claims"] = [
        {"site": site, "components": component, "feature": feature}
        for site, component in components
        for feature in features
    ]
    everything = score(submission)
    assert everything.recall == pytest.approx(1, abs=1e-6)
    assert everything.precision < 0.35 and everything.total < 0.5
    whole = {"site": MID, "components": {"pos": 2}}
    submission["claims"] = [whole | {"feature": feature} for feature in features]
    assert score(submission).total < 0.25


def test_a_finer_feature_everywhere_scores_low() -> None:
    submission = true()
    for claim in submission["claims"]:
        claim["feature"] = "x * p + y"
    found = score(submission)
    assert sum(row.match for row in found.rows) < 0.05 * len(found.rows)
    assert found.total < 0.25  # the mechanism alone


@pytest.mark.parametrize("mechanism", ["conditions", "rows"])
def test_random_components_score_what_the_control_says(mechanism: str) -> None:
    submission = true(mechanism)
    rng = np.random.default_rng(5)
    turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    order = rng.permutation(SIZES["d_mlp"])
    for one in submission["readouts"].values():
        one["d_model"] = (np.array(one["d_model"]) @ turn).tolist()
    for claim in submission["claims"]:
        if "neuron" in claim["components"]:
            claim["components"]["neuron"] = order[claim["components"]["neuron"]].tolist()
    del submission["mechanism"]
    assert score(submission, mechanism).total < 0.15


def test_of_a_look_up_the_operand_alone_is_less_than_its_place() -> None:
    submission = true("rows")
    number = next(i for i, one in enumerate(submission["claims"]) if one["feature"].endswith("[x]"))
    submission["claims"][number]["feature"] = "x"
    row = score(submission, "rows").rows[number]
    assert row.variable.startswith("y < place") and 0.05 < row.match < 0.9


def test_the_adjusted_rand_index_is_the_published_one() -> None:
    def index(one: list[int], other: list[int]) -> float:
        return adjusted_rand(np.array(one), np.array(other))

    assert index([0, 0, 1, 1], [1, 1, 0, 0]) == 1
    assert index([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(4 / 7)  # scikit-learn's example
    assert index([0, 0, 0, 0], [0, 1, 2, 3]) == 0
    assert index([0, 0, 1, 1], [0, 1, 0, 1]) == 0  # below 0


@pytest.mark.parametrize("mechanism", ["conditions", "rows", "columns"])
def test_a_key_stands_up_to_interventions(mechanism: str) -> None:
    network = planted(mechanism)
    checks = check_key(network.key, network.challenge, network.params)
    assert all(one.as_predicted == one.exchanged for one in checks)
    assert sum(one.changing > 20 for one in checks) > len(checks) / 2


def test_a_key_that_names_another_direction_does_not() -> None:
    network = planted()
    key = copy.deepcopy(network.key)
    held = [one for one in key["variables"] if one["held"] and one["site"] == MID]
    held[0]["directions"], held[1]["directions"] = held[1]["directions"], held[0]["directions"]
    with pytest.raises(InputError, match="exchanging what it says holds `y < x \\+ 3`"):
        check_key(key, network.challenge, network.params)


@pytest.mark.parametrize("spoiled", ["variables", "position", "neurons_at"])
def test_what_is_no_key_is_refused_in_a_line(spoiled: str) -> None:
    network = planted()
    key = copy.deepcopy(network.key)
    key[spoiled] = None
    for one in key["variables"] or ():  # as in keys before each variable named its neurons' site
        one.pop("neurons_at", None)
    with pytest.raises(InputError, match="the key cannot be read") as caught:
        check_key(key, network.challenge, network.params)
    assert "\n" not in str(caught.value)


def _without_operand_of_its_own(key: dict[str, Any]) -> None:
    """The operand claimed by its neurons only; the places as before."""
    operand = next(one for one in key["variables"] if one["form"] != "place" and one["held"])
    place = next(one for one in key["variables"] if one["form"] == "place")
    operand |= {"directions": [], "neurons": {}}
    operand["form"] = place["form"] = "number"


def _place_without(what: str) -> Any:
    def spoil(key: dict[str, Any]) -> None:
        place = next(one for one in key["variables"] if one["form"] == "place")
        place[what] = type(place[what])()

    return spoil


def _one_form(form: str, of: str) -> Any:
    def spoil(key: dict[str, Any]) -> None:
        for one in key["variables"]:
            if one["held"] and one["form"] == of:
                one["form"] = form

    return spoil


def _nothing_held(key: dict[str, Any]) -> None:
    for one in key["variables"]:
        one["held"] = False


COMMITTED = {
    "no operand": ("rows", _without_operand_of_its_own),
    "places without neurons": ("rows", _place_without("neurons")),
    "places without directions": ("rows", _place_without("directions")),
    "no place": ("rows", _one_form("number", "place")),
    "conditions as places": ("conditions", _one_form("place", "boundary")),
    "nothing": ("rows", _nothing_held),
    "nothing of conditions": ("conditions", _nothing_held),
    "text": ("rows", lambda key: key.update(variables="none")),
    "a position too large": ("rows", lambda key: key.update(position=10**30)),
}
"""Keys to which a maker could commit."""


@pytest.mark.parametrize("how", COMMITTED)
def test_whatever_was_committed_to_is_refused_in_a_line(how: str) -> None:
    mechanism, spoil = COMMITTED[how]
    network = planted(mechanism)
    key = copy.deepcopy(network.key)
    spoil(key)
    with pytest.raises(InputError, match="the key ") as caught:
        check_key(key, network.challenge, network.params)
    assert "\n" not in str(caught.value)


def test_an_operand_without_directions_is_no_traceback() -> None:
    network = planted("rows")
    found = key_check.claims_of(network.key, network.challenge, network.params)
    claims = [one for one in found.claims if one.form == "place" or one.directions is None]
    operand = next(one for one in found.claims if one.form != "place")
    of_neurons = dataclasses.replace(operand, directions=None, neurons=(0,))
    domain = network.challenge.program_domain
    predictions = key_check._of_look_up([*claims, of_neurons], domain)
    inputs = np.arange(P * P)
    np.testing.assert_array_equal(predictions[0](inputs, inputs), network.challenge.labels)


def test_a_component_of_which_no_label_follows_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = planted()

    def nothing_follows(found: Any, challenge: Any) -> list[Any]:
        return [lambda bases, sources: np.full(len(bases), key_check.UNKNOWN, np.int8)] * len(
            found.claims
        )

    monkeypatch.setattr(key_check, "_predictions", nothing_follows)
    with pytest.raises(InputError, match=f"no label follows from .* `y < x \\+ 3` at {MID}"):
        check_key(network.key, network.challenge, network.params)


def test_keys_of_other_kinds_say_why_they_are_no_claims() -> None:
    network = planted()
    key = copy.deepcopy(network.key)
    for one in key["variables"]:
        one["form"] = "trained"
    with pytest.raises(InputError, match="the key of a trained plant cannot be written as claims"):
        check_key(key, network.challenge, network.params)


def test_a_key_of_images_says_that_it_is_no_claims(mnist_data: Any) -> None:
    key = {"position": None, "neurons_at": "fc1", "mechanism": "conditions", "variables": []}
    with pytest.raises(InputError, match="keys of networks on images cannot be written as claims"):
        explanation_of(key, load_challenge("cnn"), {})


DEEP = """\
z = 0
if y < x + 3:
    z += 2
if y ** 2 > 9 * x:
    z -= 1
z += int(x ** 1.5) % 4 - 2
if x > 4 and z < 1:
    z += 2.5
return z >= 1
"""


@pytest.mark.parametrize("mechanism", ["conditions", "rows"])
def test_keys_of_several_blocks_are_explanations_and_stand_up(mechanism: str) -> None:
    sizes = SIZES | {"n_layers": 2, "d_model": 48}
    network = jaxmi.compile(DEEP, mechanism, p=P, network=sizes, disguise=3)
    challenge, key = network.challenge, network.key
    written = explanation_of(key, challenge, network.params)
    known = Origin(challenge.kind, challenge.model)
    explanation = read_explanation(json.dumps(written), challenge.name, known)
    scored = score_against_key(explanation, key, challenge, network.params)
    assert scored.total == pytest.approx(1)
    checks = check_key(key, challenge, network.params)
    assert all(one.as_predicted == one.exchanged for one in checks)
    if mechanism == "conditions":  # the second block holds variables, too
        assert {one.site[:8] for one in checks} == {"blocks.0", "blocks.1"}
