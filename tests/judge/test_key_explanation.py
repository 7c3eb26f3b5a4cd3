"""Keys of planted networks as explanations: true, and in the language of submissions."""

import json
import re

import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.registry import Origin
from jaxmi.errors import InputError
from jaxmi.judge.judge_explanation import judge_explanation
from jaxmi.judge.key_explanation import claims_of, explanation_of
from jaxmi.judge.submission import read_explanation

P = 13
SIZES = {"d_model": 32, "n_heads": 4, "d_mlp": 64}
PROGRAM = """\
z = 0
if y < x + 3:
    z += 2
elif x > 5:
    z -= 1
z += int(x ** 1.5) % 4 - 2
z += (x + 2 * y) // 5 % 3
if y ** 2 > 9 * x and z < 2:
    z += 2.5
return z >= 1
"""


def planted(mechanism: str, program: str = PROGRAM, disguise: int | None = 3) -> "jaxmi.Network":
    return jaxmi.compile(program, mechanism, p=P, network=SIZES, disguise=disguise)


@pytest.mark.parametrize("mechanism", ["conditions", "rows", "columns"])
def test_a_key_is_a_true_and_complete_explanation(mechanism: str) -> None:
    network = planted(mechanism)
    challenge, params = network.challenge, network.params
    written = explanation_of(network.key, challenge, params)
    known = Origin(challenge.kind, challenge.model)
    explanation = read_explanation(json.dumps(written), challenge.name, known)
    assert explanation.mechanism == mechanism
    score = judge_explanation(explanation, challenge, params)
    assert (score.grade, score.together.resampled.kept) == ("complete", 1.0)


def test_variables_have_the_programs_names() -> None:
    network = planted("conditions")
    found = claims_of(network.key, network.challenge, network.params)
    features = {claim.feature for claim in found.claims}
    assert {"y < x + 3", "int(x ** 1.5) % 4", "(x + 2 * y) // 5 % 3"} <= features
    assert "not y < x + 3 and x > 5" in features  # what `elif` adds to its condition
    guard = next(feature for feature in features if feature.startswith("y ** 2 > 9 * x and "))
    assert set(re.findall(r"z_\d", guard)) <= set(found.definitions)


def test_places_are_tables() -> None:
    network = planted("rows", "return y > x", disguise=None)
    claims = claims_of(network.key, network.challenge, network.params).claims
    table = f"({', '.join(str(x + 1) for x in range(P))})[x]"
    assert [claim.feature for claim in claims] == ["y", table, f"y < {table}"]


def test_a_key_of_another_network_does_not_fit() -> None:
    network, other = planted("conditions"), planted("conditions", disguise=4)
    with pytest.raises(InputError, match="the key does not fit the network: it holds no"):
        claims_of(network.key, other.challenge, other.params)


def test_parts_can_be_chosen() -> None:
    network = planted("conditions")
    of = [
        explanation_of(network.key, network.challenge, network.params, parts=parts)
        for parts in (("directions",), ("neurons",))
    ]
    sites = [{claim["site"] for claim in one["claims"]} for one in of]
    assert sites == [
        {"blocks.0.hook_resid_mid", "blocks.0.hook_resid_post"},
        {"blocks.0.mlp.hook_post"},
    ]
    assert "readouts" not in of[1]
    assert np.isfinite(next(iter(of[0]["readouts"].values()))["d_model"]).all()


def test_a_key_with_more_than_an_explanation_may_have_is_refused() -> None:
    stripes = "return y // 1 % 2 == 1"
    network = jaxmi.compile(stripes, "rows", p=37, network=SIZES | {"d_model": 64, "d_mlp": 128})
    with pytest.raises(InputError, match="more than the 64 and 32"):
        explanation_of(network.key, network.challenge, network.params)
