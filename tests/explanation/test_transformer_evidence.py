"""Challenge 2's evidence: exact where it is arithmetic, and on a planted network true and decoy."""

import jax
import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.directions import pca
from jaxmi.explanation.edits import at, mean
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import difference, replace
from jaxmi.explanation.transformer_evidence import (
    PATTERN,
    RESID_MID,
    Filters,
    ReadOut,
    Stream,
    _smooth_loss,
    find_filters,
    fit_and_boundary,
    probe_accuracy,
    random_components,
    random_plane,
    run_both_ways,
    varying,
    wrong_sides,
)
from jaxmi.explanation.transformer_solution import SITE, hypotheses, scrub_filters


def rotate(points, angle):
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


@pytest.mark.parametrize("seed", range(12))
def test_a_planted_wedge_is_found_wherever_it_opens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle, opening = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2)
    offsets = rng.uniform(-0.6, 0.4, 2)
    points = rng.normal(size=(4000, 2)) @ np.diag([3.0, 1.0])
    unit = (points - points.mean(axis=0)) / points.std()
    normals = np.array([[np.cos(a), np.sin(a)] for a in (angle - opening, angle + opening)])
    labels = (unit @ normals.T > offsets).all(axis=1).astype(int)
    found = fit_and_boundary(points, labels)
    assert found.agreement > 0.985
    assert found.agreement == (found.filters(points).all(axis=1) == labels).mean()
    assert np.linalg.det(found.normals) > 0
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=1), 1)


def test_what_is_no_wedge_is_not_found() -> None:
    """The control: an exclusive or, and labels without a pattern."""
    rng = np.random.default_rng(4)
    points = rng.normal(size=(4000, 2))
    exclusive = ((points[:, 0] > 0) ^ (points[:, 1] > 0)).astype(int)
    assert fit_and_boundary(points, exclusive).agreement < 0.8
    random = rng.integers(0, 2, 4000)
    assert fit_and_boundary(points, random).agreement < 0.56
    with pytest.raises(InputError, match="all alike"):
        fit_and_boundary(np.ones((10, 2)), np.ones(10, int))


def test_the_smooth_loss_s_gradient_is_its_derivative() -> None:
    rng = np.random.default_rng(5)
    points, signs = rng.normal(size=(50, 2)), rng.choice([-1.0, 1.0], 50)
    wedge = np.array([0.3, 1.9, -0.2, 0.4])
    _, gradient = _smooth_loss(wedge, points, signs)
    for i in range(4):
        step = np.eye(4)[i] * 1e-6
        up, down = (_smooth_loss(wedge + s * step, points, signs)[0] for s in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-4)


FEW = np.random.default_rng(0).permutation(12769)[:300]


@pytest.fixture(scope="module")
def network(transformer: Challenge) -> Network:
    return Network(transformer.model, jax.jit(transformer.init)(jax.random.key(1)), chunk=50)


def test_the_two_runs_are_the_model_s_own(network, transformer) -> None:
    inputs = transformer.inputs[FEW]
    full, fixed, read_out, attention = run_both_ways(network, inputs)
    np.testing.assert_allclose(full.logits, network.logits(inputs)[:, :2], atol=1e-4)
    patterns = network.read(inputs, [PATTERN])[PATTERN]
    fix = at(PATTERN, mean(patterns), query=-1)
    np.testing.assert_allclose(fixed.logits, network.logits(inputs, fix)[:, :2], atol=1e-4)
    np.testing.assert_allclose(attention.mean.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(attention.mean, patterns[:, :, -1].mean(axis=0), atol=1e-6)
    for head in (0, 5):
        fix = at(PATTERN, mean(patterns), query=-1, head=head)
        labels = network.logits(inputs, fix)[:, :2].argmax(axis=-1)
        kept = (labels == full.labels).mean()
        assert attention.kept_if_fixed[head] == pytest.approx(kept, abs=1 / 150)
    resid_mid = network.read(inputs, [RESID_MID])[RESID_MID][:, -1]
    np.testing.assert_allclose(read_out(resid_mid), full.logits, atol=1e-4)


def test_the_two_parts_of_the_logit_difference_add_up(network, transformer) -> None:
    full, _, read_out, _ = run_both_ways(network, transformer.inputs[FEW])
    direct, through = read_out.parts(full.resid_mid)
    np.testing.assert_allclose(direct + through, difference(full.logits), atol=1e-4)
    w_u = network.params["W_U"]
    np.testing.assert_allclose(direct, full.resid_mid @ (w_u[:, 1] - w_u[:, 0]), atol=1e-4)


def test_a_balanced_network_answers_each_class_half_of_the_time(network, transformer) -> None:
    full, _, read_out, _ = run_both_ways(network, transformer.inputs[FEW], balance=True)
    assert full.labels.mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(read_out(full.resid_mid), full.logits, atol=1e-6)


# A planted stream: two directions of sixteen decide by AND, the rest is louder noise.
N = 3000


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(2)
    plane = rng.uniform(-6, 6, (N, 2))
    rotation = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    stream = np.concatenate([plane, rng.normal(size=(N, 14))], axis=1) @ rotation

    def read_out(resid_mid):
        alpha, beta = (resid_mid @ rotation.T[:, :2]).T
        score = np.minimum(alpha + 1.0, 0.4 * alpha + beta)
        return np.stack([-score, score], axis=1).astype(np.float32)

    return Stream(stream.astype(np.float32), read_out(stream)), read_out


def kept(planted, filters: Filters, row: str, draws: int = 2) -> float:
    stream, read_out = planted
    claims = hypotheses(filters)[row]
    return scrub_filters(stream, filters, claims, read_out, stream.logits, draws).kept


def test_coordinates_and_residual_are_inverse_to_each_other(planted) -> None:
    stream, _ = planted
    filters = find_filters(stream)
    coordinates = filters.coordinates(stream.resid_mid)
    np.testing.assert_allclose(filters.residual(coordinates), stream.resid_mid, atol=1e-4)
    np.testing.assert_array_equal(coordinates[:, :2] > filters.boundary.thresholds, filters.passed)


def test_every_row_holds_for_the_planted_filters(planted) -> None:
    stream, _ = planted
    filters = find_filters(stream)
    assert filters.boundary.agreement > 0.99
    rows = hypotheses(filters)
    assert list(rows) == [
        "1", "1*", "2", "3a", "3b", "1+2", "1+3a", "1+3b", "1+2+3a", "1+2+3b", "1+2+3a+3b",
    ]  # fmt: skip
    for row in rows:
        assert kept(planted, filters, row) > 0.985, row


@pytest.mark.parametrize("d_model", [2, 3, 4, 16])
def test_scrubs_in_few_coordinates_are_scrubs_of_the_whole_stream(d_model: int) -> None:
    network = {"d_model": d_model, "n_heads": 1, "d_mlp": 24}
    challenge = jaxmi.make_challenge("return x * x % 5 < y % 3", p=13, network=network)
    params = jax.jit(challenge.init)(jax.random.key(3))
    run = Network(challenge.model, params)
    stream, _, read_out, _ = run_both_ways(run, challenge.inputs, balance=True)
    filters = find_filters(stream)
    rows = hypotheses(filters)
    assert len(rows) == {2: 3, 3: 10}.get(d_model, 11)
    outcomes = set()
    for claims in rows.values():
        parts = stream, filters, claims
        few = scrub_filters(*parts, read_out, stream.logits, 3)
        whole = scrub_filters(*parts, lambda resid: read_out(resid), stream.logits, 3)
        assert few.logit_error == pytest.approx(whole.logit_error, rel=5e-3)
        assert few.kept == pytest.approx(whole.kept, abs=0.01)
        assert (few.moved, few.chance) == (whole.moved, whole.chance)
        outcomes.add(f"{few.logit_error:.4g}")
    assert len(outcomes) >= len(rows) - 2, "rows differ"


def test_every_row_moves_what_it_says_and_nothing_else(planted) -> None:
    stream, _ = planted
    filters = find_filters(stream)
    before = filters.coordinates(stream.resid_mid)
    threshold = filters.boundary.thresholds
    alpha, beta = filters.passed.T

    def after(row):
        return replace({SITE: before}, hypotheses(filters)[row], np.random.default_rng(0))[0][SITE]

    def moved(row):
        return after(row) != before

    def sides(row):
        return (after(row)[:, :2] > threshold).T

    assert not moved("1")[:, :2].any()
    assert moved("1")[:, 2:].all()
    assert not moved("1*")[:, :3].any()
    assert moved("1*")[:, 3:].all()
    assert moved("2")[:, :2].all()
    assert not moved("2")[:, 2:].any()
    np.testing.assert_array_equal(sides("2"), filters.passed.T)
    np.testing.assert_array_equal(moved("3a")[:, 0], ~beta)
    assert not moved("3a")[:, 1:].any()
    assert (sides("3a")[0] != alpha).mean() > 0.1
    np.testing.assert_array_equal(moved("3b")[:, 1], ~alpha)
    assert not moved("3b")[:, [0, *range(2, 16)]].any()
    for row, side, other in (("1+2+3a", alpha, 0), ("1+2+3b", beta, 1)):
        assert moved(row).mean() > 0.99  # drawn twice, one may come back
        assert (sides(row)[other] != side).mean() > 0.05
        np.testing.assert_array_equal(sides(row).all(axis=0), alpha & beta)
    last = sides("1+2+3a+3b")
    assert (last[0] != alpha).mean() > 0.05
    assert (last[1] != beta).mean() > 0.05
    np.testing.assert_array_equal(last.all(axis=0), alpha & beta)
    for row in ("1+3a", "1+3b"):
        assert moved(row)[:, 2:].all()
        np.testing.assert_array_equal(sides(row).all(axis=0), alpha & beta)


def test_other_planes_and_wrong_thresholds_fail(planted) -> None:
    """The controls: every row can fail."""
    stream, _ = planted
    filters = find_filters(stream)
    for seed, choose in ((0, random_plane), (1, random_components)):
        other = find_filters(stream, choose(filters.basis, np.random.default_rng(seed)))
        assert other.boundary.agreement < 0.9
        assert kept(planted, other, "1") < 0.8
    moved = filters.boundary._replace(thresholds=filters.boundary.thresholds + 3)
    wrong = filters._replace(boundary=moved)
    assert kept(planted, wrong, "1") > 0.985  # row 1 does not look at thresholds
    for row in ("2", "3a", "3b", "1+2+3a+3b"):
        assert kept(planted, wrong, row) < kept(planted, filters, row) - 0.02, row


def test_turned_sides_are_passed_as_often_and_fail_the_rows_about_sides(planted) -> None:
    stream, _ = planted
    filters = find_filters(stream)
    for seed in range(3):
        turned = wrong_sides(filters, np.random.default_rng(seed))
        np.testing.assert_allclose(
            turned.passed.mean(axis=0), filters.passed.mean(axis=0), atol=0.002
        )
        angles = np.arccos((turned.boundary.normals * filters.boundary.normals).sum(axis=1))
        assert (angles >= np.pi / 3 - 1e-6).all()
        assert kept(planted, turned, "1") > 0.985  # the plane is the same
        assert kept(planted, turned, "2") < kept(planted, filters, "2") - 0.05


def test_a_leading_plane_lies_within_the_leading_components(planted) -> None:
    basis = pca(planted[0].resid_mid)
    plane = random_plane(basis, np.random.default_rng(0), leading=5).components[:2]
    np.testing.assert_allclose(np.linalg.norm(plane @ basis.components[:5].T, axis=1), 1)
    anywhere = random_plane(basis, np.random.default_rng(0)).components[:2]
    assert np.linalg.norm(anywhere @ basis.components[:5].T, axis=1).max() < 0.95


def test_random_bases_are_orthonormal_and_keep_everything(planted) -> None:
    stream, _ = planted
    basis = pca(stream.resid_mid)
    for choose in (random_plane, random_components):
        other = choose(basis, np.random.default_rng(3))
        np.testing.assert_allclose(other.components @ other.components.T, np.eye(16), atol=1e-9)
    two = random_components(basis, np.random.default_rng(3)).components[:2]
    assert np.abs(two @ basis.components[:2].T).max() < 1e-9


def test_random_components_are_among_those_that_vary() -> None:
    rng = np.random.default_rng(0)
    basis = pca(np.pad(rng.normal(size=(200, 5)), ((0, 0), (3, 8))))
    assert varying(basis) == 5
    for seed in range(10):
        two = random_components(basis, np.random.default_rng(seed)).components[:2]
        assert np.abs(two[:, 3:8]).max(axis=1).min() > 0.1


def test_a_probe_reads_held_out_labels_and_no_random_ones(planted) -> None:
    stream, _ = planted
    assert probe_accuracy(stream.resid_mid, stream.labels) > 0.8
    held_out = [
        probe_accuracy(stream.resid_mid[:60], np.random.default_rng(i).integers(0, 2, 60), i)
        for i in range(20)
    ]
    assert np.mean(held_out) == pytest.approx(0.5, abs=0.06)  # on its own half it would be 0.8


def test_the_read_out_of_a_bias_moves_logit_1_only(network, transformer) -> None:
    resid_mid = network.read(transformer.inputs[:5], [RESID_MID])[RESID_MID][:, -1]
    plain, moved = ReadOut(network)(resid_mid), ReadOut(network, 2.5)(resid_mid)
    np.testing.assert_allclose(plain - moved, np.tile([0.0, 2.5], (5, 1)), atol=1e-5)
