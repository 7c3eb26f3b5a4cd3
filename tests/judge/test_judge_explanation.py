"""The judge on a planted network: true claims pass, false and empty ones do not."""

import json
from dataclasses import replace

import pytest
from judge.planted import BOTH, DECOY, LABEL, POST, RESID, ROWS, Z, at, sums

from jaxmi.challenges.registry import origin
from jaxmi.errors import InputError
from jaxmi.judge.judge_explanation import judge_explanation
from jaxmi.judge.submission import read_explanation


def test_a_true_claim_is_kept_and_complete(judge) -> None:
    score = judge(sums([4], BOTH))
    assert score.grade == "complete"
    assert score.together.as_is.kept == score.together.resampled.kept_of_moved == 1.0
    assert score.together.as_is.logit_error == 0.0
    assert score.identity.resampled.kept_of_moved == 1.0
    for name, control in score.controls(rest=True).items():
        assert control < 0.75, name
    assert score.controls(rest=False).keys() == {"chance", "constant feature", "similar inputs"}
    labels = (ROWS // 113 % 10 < 7) & (ROWS % 113 % 10 < 7)
    share = labels.mean()
    assert score.chance == pytest.approx(share**2 + (1 - share) ** 2)


@pytest.mark.parametrize("feature", [DECOY, "x // 20", "y % 10 < 7", f"not ({DECOY})"])
def test_a_false_claim_is_not(judge, feature: str) -> None:
    score = judge(sums([4], feature))
    assert score.grade in ("not shown", "in part")
    assert score.together.as_is.kept_of_moved < 0.9
    assert score.grade == "not shown" or feature == "y % 10 < 7"  # which is half of the truth


def test_a_true_feature_elsewhere_holds_as_a_claim_but_is_not_complete(judge) -> None:
    """The first sum decides. The same claim about the second is true, since it has no effect."""
    score = judge(sums([5], LABEL))
    assert score.together.as_is.kept == 1.0
    assert score.grade == "not shown"
    assert score.constant.as_is.kept == 1.0  # nothing there matters at all
    assert score.together.resampled.kept < 0.75


def test_what_is_left_out_shows_when_everything_else_is_resampled(judge) -> None:
    score = judge(sums(["5:7"], "0"))
    assert score.together.as_is.kept == 1.0
    assert score.together.resampled.kept == pytest.approx(score.chance, abs=0.04)
    assert score.grade != "complete"
    complete = judge(sums([4], BOTH), sums(["5:7"], "0"))
    assert complete.grade == "complete"


def test_the_claims_are_carried_out_one_after_the_other(judge) -> None:
    """Each claim is true alone, and both are true in turn."""
    first, second = sums([4], LABEL), sums([4], BOTH, where="x < 50")
    score = judge(first, second)
    assert [claim.kept for claim in score.claims] == [1.0, 1.0]
    assert score.together.as_is.kept == 1.0
    spoilt = judge(first, sums([4], DECOY), first)  # the last cannot mend what the second did
    assert spoilt.claims[2].kept == 1.0
    assert spoilt.together.as_is.kept < 0.75


# Submissions that would score high without saying anything.


def test_a_feature_that_no_two_inputs_share_is_empty(judge) -> None:
    score = judge(sums("0:128", "x * p + y"))
    assert score.together.as_is.kept == 1.0
    assert (score.claims[0].moved, score.claims[0].donors) == (0.0, 0.0)
    assert (score.grade, score.claims[0].empty) == ("empty", "0.0% of inputs have a donor")
    assert "empty: 0.0% of inputs have a donor" in score.verdict


@pytest.mark.parametrize(
    ("feature", "noise"),
    [("x * p + y", 0.0), ("x * p + y", 1e-4), ("(x * p + y) // 40", None), ("x * x + y / p", 0.0)],
)
def test_a_feature_that_few_inputs_share_is_empty(judge, feature: str, noise) -> None:
    """Every input is resampled, from one that is nearly the same."""
    match = "same" if noise is None else {"near": noise}
    score = judge(sums("0:128", feature, match=match))
    assert score.claims[0].moved > 0.5
    assert score.claims[0].bits > score.claims[0].all_bits / 2
    assert score.grade == "empty"
    assert "bits of the input" in score.verdict


@pytest.mark.slow
def test_a_partition_into_similar_inputs_of_equal_granularity_is_a_control(
    transformer, checkpoints
) -> None:
    """Blocks of 12 x 12 pairs keep more labels than chance, as any blocks do."""
    from jaxmi.storage.checkpoints import load_checkpoint

    text = json.dumps(
        {"challenge": "transformer", "claims": [sums("0:128", "x // 12 * p + y // 12")]}
    )
    params = load_checkpoint(checkpoints / "transformer").params
    score = judge_explanation(
        read_explanation(text, "transformer", origin("transformer")), transformer, params
    )
    kept = score.together.as_is.kept
    assert kept > score.constant.as_is.kept + 0.05
    assert kept < score.similar.as_is.kept + 0.05
    assert score.grade == "not shown"


def test_dead_components_carry_nothing_and_that_is_empty(judge) -> None:
    score = judge(sums("20:60", "0"))
    assert score.together.as_is.kept == 1.0
    assert score.claims[0].activity == 0.0
    assert score.grade == "empty"
    assert "the component has 0.00% of the variance" in score.verdict
    with_feature = judge(sums("20:60", LABEL))
    assert with_feature.grade == "not shown"  # the constant feature does as well
    beside = judge(sums([4], BOTH), sums("20:60", "0"))
    assert beside.grade == "complete"
    assert "empty: claims[1]" in beside.verdict


def test_a_claim_about_few_inputs_is_judged_by_these(judge) -> None:
    score = judge(sums([4], "0", where="x < 8"))
    assert score.together.as_is.kept > 0.95
    assert score.together.as_is.kept_of_moved < 0.7
    assert score.grade == "not shown"
    assert score.together.resampled.kept_of_moved < 0.7
    assert judge(sums([4], "0", where="x == 3 and y < 50")).grade == "empty"


def test_an_empty_claim_does_not_protect_its_component(judge) -> None:
    """The first claim is about parts without effect; the second identifies the input."""
    fine = sums([4], f"(x * p + y) / 1e6 + ({LABEL})", match={"near": 0})
    cheat = judge(sums(["5:7"], "0"), fine)
    assert cheat.together.as_is.kept == 1.0
    assert cheat.together.resampled.kept == pytest.approx(cheat.chance, abs=0.04)
    assert cheat.grade != "complete"
    assert cheat.claims[1].empty


READ = {"first": {"site": RESID, "pos": 2, "d_model": [float(i == 4) for i in range(128)]}}


def test_a_component_as_its_own_feature_is_empty_and_readouts_are_named(judge) -> None:
    itself = {"components": {"pos": 2, "readouts": ["first"]}, "site": RESID}
    fine = judge(
        {**itself, "feature": "first * 1e6 + x * p + y", "match": {"near": 0}}, readouts=READ
    )
    assert fine.grade == "empty"
    side = judge({**itself, "feature": "first > 1.5"}, readouts=READ)
    assert side.grade == "complete"
    assert side.readouts == ("first",)
    assert side.verdict.startswith("complete of labels given readouts: 100.0% of labels kept")
    assert "use the network's own first" in side.verdict
    by_inputs = judge({**itself, "feature": LABEL}, readouts=READ)
    assert (by_inputs.grade, by_inputs.readouts) == ("complete", ())
    assert "given readouts" not in by_inputs.verdict


def test_a_readout_hidden_in_a_definition_or_a_condition_is_named_too(judge) -> None:
    hidden = judge(
        sums([4], "side"), readouts=READ, definitions={"s": "first > 1.5", "side": "s + 0"}
    )
    assert hidden.readouts == ("first",)
    condition = judge(sums([4], "0", where="first > 1.5"), readouts=READ)
    assert condition.readouts == ("first",)
    unused = judge(sums([4], BOTH), readouts=READ, definitions={"s": "first > 1.5"})
    assert unused.readouts == ()


def test_readouts_are_read_as_the_claims_before_left_them(judge) -> None:
    """Exchanging inputs that fail after the first claim changes nothing more."""
    shuffled = sums([4], "0")
    failing = sums([4], "0", where="first < 1.5")
    once = judge(shuffled, readouts=READ).together.as_is
    twice = judge(shuffled, failing, readouts=READ).together.as_is
    assert twice.kept == once.kept
    assert twice.logit_error == pytest.approx(once.logit_error)
    by_inputs = judge(shuffled, sums([4], "0", where=f"not ({LABEL})")).together.as_is
    assert by_inputs.kept != once.kept  # the control: what failed at first need not fail by now


def test_readouts_on_principal_components_are_centred(judge) -> None:
    """The first component is nearly the second sum, 0, 1 or 2; centred it is -1, 0 or 1."""
    along = {"second": {"site": RESID, "pos": 2, "pca": [1.0]}}
    bits = [
        judge(sums("0:128", f"second > {threshold}"), readouts=along).claims[0].bits
        for threshold in (-1.5, 0.5, 1.5)
    ]
    assert bits == [0.0, pytest.approx(0.8, abs=0.1), 0.0]


# Several sites.


def test_a_later_site_s_claims_do_not_mend_an_earlier_site_s(judge) -> None:
    """Donors' activations are those that the earlier claims left, not the clean ones."""
    head = {"site": Z, "components": {"pos": 2, "head": 0}, "feature": "0"}
    later = sums("0:128", LABEL)
    assert judge(later).together.as_is.kept == 1.0
    assert judge(head, later).together.as_is.kept < 0.75
    assert judge(later, head).together.as_is.kept < 0.75  # the network's order counts
    true = {**head, "feature": BOTH}
    assert judge(later, true).grade == "complete"


def test_a_site_of_empty_claims_only_stays_as_it_is(judge) -> None:
    dead = {"site": Z, "components": {"pos": 2, "head": [3, 4]}, "feature": "0"}
    score = judge(sums([4], BOTH), dead)
    assert (score.grade, bool(score.claims[1].empty)) == ("complete", True)


def test_a_readout_of_a_later_site_cannot_be_a_feature(judge) -> None:
    claim = {"site": Z, "components": {"pos": 2}, "feature": "first > 1"}
    with pytest.raises(InputError, match=r"^claims\[0\]\.feature: the readout first is of a later"):
        judge(claim, sums([4], BOTH), readouts=READ)


def test_a_path_around_a_site_is_run_with_the_input_s_own(judge) -> None:
    """Neuron 0 decides the label; the residual stream goes around it."""
    claim = {"site": POST, "components": {"pos": 2, "neuron": 0}, "feature": LABEL}
    assert judge(claim).grade == "complete"
    other = {**claim, "components": {"pos": 1, "neuron": 0}}
    assert judge(other).together.as_is.kept == 1.0
    assert judge(other).grade != "complete"


# Principal components, errors, and what comes out.


@pytest.mark.slow
def test_directions_are_the_network_s_principal_components(judge) -> None:
    """Three sums vary at the last position; from the fourth on, components have no variance."""
    assert judge(at({"pca": "3:128"}, "0")).grade == "empty"
    assert judge(at({"pca": "0:3"}, LABEL)).grade == "complete"
    score = judge(at({"pca": "0:128"}, LABEL))
    assert score.random == ()  # all directions are all directions, however turned
    assert score.covered == {RESID: pytest.approx(1.0, abs=1e-5)}


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (sums([4], "1 / x"), r"^claims\[0\]\.feature: ZeroDivisionError, .* at x = 0, y = \d+$"),
        (sums([4], "1e308 * 10"), r"^claims\[0\]\.feature: no finite number at x = 0, y = \d+$"),
        (sums([4], "0", where="sqrt(-x) > 0"), r"^claims\[0\]\.where: ValueError, .* at x = 1"),
        (at({"pca": 0}, "0", site="hook_pos_embed"), r"claims\[0\]\.components: .* all alike"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_named(judge, claim: dict, message: str) -> None:
    if claim["site"] != RESID:
        claim = {**claim, "components": {"pos": 2, "pca": 0}}
    with pytest.raises(InputError, match=message):
        judge(claim)


def test_dependent_readouts_are_refused_by_name(judge) -> None:
    twice = {"first": READ["first"], "again": READ["first"]}
    claim = at({"readouts": ["first", "again"]}, "0")
    with pytest.raises(InputError, match="the readouts first, again are not linearly independent"):
        judge(claim, readouts=twice)
    assert judge(at({"readouts": ["first"]}, "again > 1.5"), readouts=twice).grade == "complete"


def test_the_metrics_are_json_and_the_table_has_a_row_each(judge) -> None:
    score = judge(sums([4], BOTH), sums(["5:7"], "0"))
    metrics = score.metrics()
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["kept"] == metrics["kept_rest"] == 1.0
    assert metrics["grade"] == "complete"
    assert len(metrics["claims"]) == 2
    assert metrics["random_mean"] <= metrics["random_best"]
    rows = score.rows()
    assert {len(row) for row in rows} == {4}
    assert [row[0] for row in rows[1:4]] == ["claims[0] alone", "claims[1] alone", "all claims"]
    assert rows[3][1] == "100.0%"


def test_the_same_seed_gives_the_same_score(judge) -> None:
    claim = sums([4], "y % 10 < 7")
    assert judge(claim).metrics() == judge(claim).metrics()


def test_the_verdict_follows_from_the_printed_rule(judge) -> None:
    score = judge(sums([4], BOTH))

    def graded(kept, constant, rest=0.0):
        def twice(alone, resampled):
            return type(score.together)(
                *(
                    outcome._replace(kept_of_moved=value, kept=value)
                    for outcome, value in zip(score.together, (alone, resampled), strict=True)
                )
            )

        return replace(
            score,
            chance=0.5,
            together=twice(kept, rest),
            constant=twice(constant, constant),
            similar=twice(0.5, 0.5),
            random=(),
        ).grade

    assert graded(0.90, 0.84) == "holds"
    assert graded(0.90, 0.84, rest=0.90) == "complete"
    assert graded(0.90, 0.86, rest=0.90) == "not shown"
    assert graded(0.899, 0.84, rest=0.90) == "in part"
    assert graded(0.54, 0.1) == "not shown"
