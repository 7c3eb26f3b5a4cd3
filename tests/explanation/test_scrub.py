"""Causal scrubbing: laws of donors and draws; a planted circuit passes and a decoy fails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmi.errors import InputError
from jaxmi.explanation.scrub import (
    Claim,
    anyone,
    chance_level,
    near,
    replace,
    same,
    scrub,
    within,
)

RNG = np.random.default_rng


def draw(rule, n, seed=0):
    return rule(RNG(seed), {"site": np.zeros((n, 1))})


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 5))
def test_donors_share_the_feature_and_are_never_the_input_itself(feature, seed) -> None:
    feature = np.array(feature)
    donors = draw(same(feature), len(feature), seed)
    np.testing.assert_array_equal(feature[donors], feature)
    alone = np.bincount(feature)[feature] == 1
    np.testing.assert_array_equal(donors == np.arange(len(feature)), alone)


def test_every_other_input_of_the_group_is_drawn_equally_often() -> None:
    feature = np.array([0, 1, 0, 0, 1, 0])
    counts = np.zeros((6, 6))
    for seed in range(3000):
        counts[np.arange(6), draw(same(feature), 6, seed)] += 1
    allowed = (feature[:, None] == feature[None]) & ~np.eye(6, dtype=bool)
    expected = 3000 * allowed / allowed.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(counts > 0, allowed)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.1, 3.0])
def test_near_takes_the_nearest_other_input(noise: float) -> None:
    """Donors are compared with a search through all inputs, with the same noise."""
    rng = RNG(7)
    feature = np.round(rng.normal(0, 10, 300), 1)  # with ties
    donors = near(feature, noise)(RNG(1), {})
    wanted = feature + RNG(1).normal(0.0, noise * np.ptp(feature), 300)
    distance = np.abs(feature[None] - wanted[:, None])
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_allclose(distance[np.arange(300), donors], distance.min(axis=1))
    assert not (donors == np.arange(300)).any()


def test_near_draws_among_equals() -> None:
    """With many inputs of one value, each is a donor to about one other."""
    feature = np.repeat([0.0, 1.0], 500)
    donors = near(feature, 1e-6)(RNG(0), {})
    np.testing.assert_array_equal(feature[donors], feature)
    assert np.bincount(donors).max() < 10
    assert not (donors == np.arange(1000)).any()


def test_within_moves_only_the_chosen_inputs() -> None:
    where = RNG(0).random(200) < 0.3
    donors = draw(within(where), 200)
    np.testing.assert_array_equal(donors[~where], np.flatnonzero(~where))
    assert where[donors[where]].all()
    assert (donors[where] != np.flatnonzero(where)).all()


# A planted circuit: the label is the sign of component 0, which holds the input's first bit;
# component 1 holds a second bit, which nothing reads; component 2 is noise.
N = 1000
FIRST, SECOND = RNG(1).integers(0, 2, (2, N))
SITE = {"hidden": np.stack([2.0 * FIRST - 1, 2.0 * SECOND - 1, RNG(2).normal(size=N)], axis=1)}


def read_out(activations):
    score = activations["hidden"][:, 0]
    return np.stack([-score, score], axis=1)


CLEAN = read_out(SITE)


def test_the_planted_circuit_passes_and_a_decoy_fails() -> None:
    circuit = [Claim("hidden", same(FIRST), [0]), Claim("hidden", anyone(N), [1, 2])]
    outcome = scrub(SITE, circuit, read_out, CLEAN, draws=5)
    assert outcome.kept == 1.0
    assert outcome.logit_error == 0.0
    assert outcome.moved == 1.0
    decoy = [Claim("hidden", same(SECOND), [0]), Claim("hidden", anyone(N), [1, 2])]
    outcome = scrub(SITE, decoy, read_out, CLEAN, draws=5)
    assert abs(outcome.kept - 0.5) < 0.05
    assert outcome.logit_error == pytest.approx(4 * (1 - outcome.kept))
    assert outcome.kept_std > 0


def test_the_identity_feature_changes_nothing() -> None:
    outcome = scrub(SITE, [Claim("hidden", same(np.arange(N)))], read_out, CLEAN, draws=2)
    assert (outcome.kept, outcome.logit_error, outcome.moved) == (1.0, 0.0, 0.0)
    twice = {"hidden": np.repeat(SITE["hidden"], 2, axis=0)}  # every input has its double as donor
    identity = Claim("hidden", same(np.repeat(np.arange(N), 2)))
    outcome = scrub(twice, [identity], read_out, read_out(twice), draws=2)
    assert (outcome.kept, outcome.logit_error, outcome.moved) == (1.0, 0.0, 1.0)


def test_a_constant_feature_is_unconditional_resampling() -> None:
    """It keeps as many labels as chance, and the distribution of activations stays."""
    outcome = scrub(SITE, [Claim("hidden", same(np.ones(N, int)))], read_out, CLEAN, draws=30)
    assert outcome.chance == chance_level(FIRST) == pytest.approx(0.5, abs=0.01)
    assert outcome.kept == pytest.approx(outcome.chance, abs=0.01)
    permuted = [
        (CLEAN[RNG(s).permutation(N)].argmax(axis=1) == CLEAN.argmax(axis=1)).mean()
        for s in range(30)
    ]
    assert outcome.kept == pytest.approx(np.mean(permuted), abs=0.01)
    assert outcome.kept_std == pytest.approx(np.std(permuted), abs=0.01)


def test_one_claim_takes_its_components_from_one_donor_and_two_claims_from_two() -> None:
    values = {"site": np.stack([np.arange(500.0), np.arange(500.0)], axis=1)}
    together, _ = replace(values, [Claim("site", anyone(500))], RNG(0))
    np.testing.assert_array_equal(together["site"][:, 0], together["site"][:, 1])
    claims = [Claim("site", anyone(500), [0]), Claim("site", anyone(500), [1])]
    apart, _ = replace(values, claims, RNG(0))
    assert (apart["site"][:, 0] != apart["site"][:, 1]).mean() > 0.9


def test_a_later_claim_sees_what_the_earlier_left() -> None:
    seen = []

    def watch(rng, scrubbed):
        seen.append(scrubbed["site"].copy())
        return np.arange(4)

    values = {"site": np.arange(4.0)[:, None]}
    reverse = Claim("site", lambda rng, scrubbed: np.arange(4)[::-1])
    replace(values, [reverse, Claim("site", watch)], RNG(0))
    np.testing.assert_array_equal(seen[0][:, 0], [3, 2, 1, 0])
    np.testing.assert_array_equal(values["site"][:, 0], np.arange(4))  # the original is left alone


def test_heads_and_positions_can_be_claimed_too() -> None:
    values = {"z": np.arange(100.0)[:, None, None, None] + np.zeros((1, 3, 8, 16))}
    everything = slice(None)
    for components, chosen in (
        ((everything, 3), np.s_[:, :, 3]),
        ((2, [1, 5]), np.s_[:, 2, [1, 5]]),
        ((1,), np.s_[:, 1]),
        ([0, 7], np.s_[..., [0, 7]]),
        (None, np.s_[:]),
    ):
        scrubbed, moved = replace(values, [Claim("z", anyone(100), components)], RNG(0))
        differs = scrubbed["z"] != values["z"]
        assert differs[chosen].all()
        assert differs.sum() == differs[chosen].size
        assert moved.all()


def test_components_are_named_by_axis_as_in_edits() -> None:
    values = {"blocks.0.attn.hook_z": RNG(3).normal(size=(100, 3, 8, 16))}
    site = next(iter(values))
    by_name, _ = replace(values, [Claim(site, anyone(100), {"head": 3, "pos": -1})], RNG(0))
    by_place, _ = replace(values, [Claim(site, anyone(100), (2, 3))], RNG(0))
    np.testing.assert_array_equal(by_name[site], by_place[site])
    assert (by_name[site] != values[site]).sum() == 100 * 16


def test_the_rest_is_resampled_where_no_claim_spares_it() -> None:
    """The planted circuit needs component 0 alone; with a claim about another one it is lost."""
    right = [Claim("hidden", same(FIRST), [0])]
    outcome = scrub(SITE, right, read_out, CLEAN, draws=3, rest=["hidden"])
    assert outcome.kept == outcome.kept_of_moved == 1.0
    decoy = [Claim("hidden", same(SECOND), [1])]
    assert (
        scrub(SITE, decoy, read_out, CLEAN, draws=3).kept == 1.0
    )  # it changes nothing that is read
    lost = scrub(SITE, decoy, read_out, CLEAN, draws=3, rest=["hidden"])
    assert lost.kept == pytest.approx(lost.chance, abs=0.05)
    partly = [Claim("hidden", same(FIRST), [0], inputs=lambda _: FIRST == 1)]
    scrubbed, _ = replace(SITE, partly, RNG(0), rest=["hidden"])
    own = np.sign(scrubbed["hidden"][:, 0]) == 2 * FIRST - 1
    assert own[FIRST == 1].all()
    assert 0.3 < own[FIRST == 0].mean() < 0.7  # the claim is not about these: the rest


def test_a_later_site_is_computed_from_what_the_claims_left_at_the_earlier() -> None:
    """Claims are carried out in the order of the sites, whatever their own order."""
    sites = {"hidden": SITE["hidden"], "score": lambda scrubbed: scrubbed["hidden"][:, :1] * 3}
    claims = [Claim("score", within(FIRST == 1)), Claim("hidden", anyone(N), [0])]
    scrubbed, _ = replace(sites, claims, RNG(0))
    first = RNG(0)
    hidden, _ = replace({"hidden": SITE["hidden"]}, claims[1:], first)
    np.testing.assert_array_equal(scrubbed["hidden"], hidden["hidden"])
    donors = within(FIRST == 1)(first, {})
    np.testing.assert_array_equal(scrubbed["score"][:, 0], 3 * hidden["hidden"][donors, 0])


def test_labels_are_also_counted_over_the_resampled_inputs() -> None:
    """Half of the inputs are exchanged with any others: among these chance is kept."""
    half = np.arange(N) < N // 2
    claim = Claim("hidden", within(half), [0])
    outcome = scrub(SITE, [claim], read_out, CLEAN, draws=20)
    assert outcome.moved == 0.5
    assert outcome.kept == pytest.approx((1 + outcome.kept_of_moved) / 2)
    assert outcome.kept_of_moved == pytest.approx(outcome.chance, abs=0.03)
    assert scrub(SITE, [], read_out, CLEAN, draws=1).kept_of_moved == 1.0


def test_the_deviation_is_that_of_the_draws() -> None:
    claims = [Claim("hidden", anyone(N), [0])]
    outcome = scrub(SITE, claims, read_out, CLEAN, draws=3, seed=1)
    kept = []
    for draw in range(3):
        scrubbed, _ = replace(SITE, claims, RNG([1, draw]))
        kept.append((read_out(scrubbed).argmax(axis=1) == CLEAN.argmax(axis=1)).mean())
    assert outcome.kept == pytest.approx(np.mean(kept))
    assert outcome.kept_std == pytest.approx(np.std(kept, ddof=1))


def test_the_same_seed_gives_the_same_outcome() -> None:
    claims = [Claim("hidden", anyone(N), [0])]
    first, again, other = (
        scrub(SITE, claims, read_out, CLEAN, draws=3, seed=seed) for seed in (4, 4, 5)
    )
    assert first == again != other


def test_hypotheses_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="no site 'hiden'; the sites are: hidden"):
        replace(SITE, [Claim("hiden", anyone(N))], RNG(0))
    with pytest.raises(InputError, match=r"hidden, axis0=.* matches nothing"):
        replace(SITE, [Claim("hidden", anyone(N), np.zeros(3, bool))], RNG(0))
    with pytest.raises(InputError, match="one draw, not 0"):
        scrub(SITE, [], read_out, CLEAN, draws=0)
    with pytest.raises(InputError, match="no donor among 1"):
        near(np.array([1.0]), 0.1)
    with pytest.raises(InputError, match=r"-0\.1"):
        near(np.array([1.0, 2.0]), -0.1)
    with pytest.raises(InputError, match="not finite"):
        near(np.array([1.0, np.nan]), 0.1)
    for components, message in (
        ([3], r"hidden, axis0=\[3\] matches nothing: axis0 has the positions 0\.\.2"),
        ((0, 0), "hidden has 1 axes; 2 indices were given"),
        (7, "axis0=7 matches nothing"),
        (np.zeros((2, 2), int), "flat list"),
    ):
        with pytest.raises(InputError, match=message):
            replace(SITE, [Claim("hidden", anyone(N), components)], RNG(0))
    head = Claim("blocks.0.attn.hook_z", anyone(N), {"heads": 3})
    with pytest.raises(InputError, match="no axis 'heads'; its axes are: pos, head, d_head"):
        replace({head.site: np.zeros((N, 3, 8, 16))}, [head], RNG(0))
    with pytest.raises(InputError, match="no site 'hiden'; the sites are: hidden"):
        replace(SITE, [], RNG(0), rest=["hiden"])
    with pytest.raises(InputError, match="5 donors for 1000 inputs"):
        replace(SITE, [Claim("hidden", anyone(5), [0])], RNG(0))
