"""What the two pipelines hand to their experiments, on a part of each domain."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation import cnn_metrics, transformer_metrics, transformer_solution
from jaxmi.explanation.clue_search import compare
from jaxmi.explanation.cnn_metrics import RANDOM_GROUPS
from jaxmi.explanation.cnn_solution import CnnExplanation, explain_cnn, prepare
from jaxmi.explanation.transformer_solution import explain_transformer
from jaxmi.programs.bands import best_band
from jaxmi.storage.checkpoints import load_checkpoint

N = 4000


@pytest.fixture(scope="module")
def cnn_found(cnn: Challenge, checkpoints, mnist_data) -> CnnExplanation:
    assert cnn.digits is not None
    part = replace(
        cnn,
        inputs=cnn.inputs[:N],
        labels=cnn.labels[:N],
        digits=cnn.digits[:N],
        solution=replace(cnn.solution, images=N),
    )
    params = load_checkpoint(checkpoints / "cnn").params
    return explain_cnn(part, params, prepare(part, {}))


def test_metrics_of_the_cnn_are_what_their_names_say(cnn_found: CnnExplanation, cnn) -> None:
    f, labels = cnn_found.metrics, cnn_found.neurons.labels
    images, clue = cnn.inputs[:N], cnn.inputs[6]
    for name in ("l1", "similarity"):
        agreement = best_band(compare(images, clue, name), labels).agreement
        assert f[f"{name}_band_agreement"] == agreement
    brightness = images.reshape(N, -1).sum(axis=1, dtype=np.int64)
    assert f["control_brightness_band_agreement"] == best_band(brightness, labels).agreement
    assert f["control_brightness_scrub"] > f["control_permuted_scrub"] + 0.05
    assert f["control_other_ones_scrub_mean"] > f["control_permuted_scrub"] + 0.05
    assert f["recovered_band_low"] < f["recovered_band_high"]
    assert f["label1_share"] == labels.mean()
    assert len(cnn_found.random_armwise) == RANDOM_GROUPS == 30
    assert f["armwise_random_mean"] == pytest.approx(cnn_found.random_armwise.mean())
    clean, both = (cnn_found.differences[name] for name in ("clean", "both"))
    assert f["logit_diff_median"] == pytest.approx(np.median(clean))
    assert f["zero_both_mean"] == pytest.approx(both.mean())
    for label in (0, 1):
        added = (clean - cnn_found.differences["clue"])[labels == label].mean()
        assert f[f"adds_one_label{label}"] == pytest.approx(added, rel=1e-5)
    assert f["control_next_image_index"] != 6
    assert f["live_neurons_towards_1"] < 1


def test_a_cnn_s_explanation_measures_what_its_table_lists(cnn_found: CnnExplanation) -> None:
    """All but the metrics of control networks: there were none."""
    of_controls = {metric.key for metric in cnn_metrics.ON_CONTROL_NETWORK.values()}
    assert set(cnn_found.metrics) == set(cnn_metrics.TABLE) - of_controls
    assert len(of_controls) == 2 * len(cnn_metrics.COMPARED)


def test_what_drives_an_arm_is_more_like_its_end_of_the_similarity(cnn_found) -> None:
    left, right, _ = cnn_found.direction_images
    template = 2 * (cnn_found.clue / 255) - 1
    inner = np.s_[:26, :26]  # beyond, no pixel reaches a neuron
    assert (right * template)[inner].sum() > (left * template)[inner].sum() + 50


def test_each_run_is_scrubbed_by_its_own_filters(
    transformer: Challenge, checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    scrub = transformer_solution.scrub_filters

    def record(stream, filters, claims, read_out, clean, draws):
        calls.append((stream, filters, clean))
        return scrub(stream, filters, claims, read_out, clean, 1)

    monkeypatch.setattr(transformer_solution, "scrub_filters", record)
    params = load_checkpoint(checkpoints / "transformer").params
    found = explain_transformer(transformer, params, 600)
    assert len(found.domain.rows) == 576
    assert len(calls) > 40
    for stream, filters, _ in calls:
        own = filters.basis.project(stream.resid_mid)[:, :2]
        np.testing.assert_allclose(own, filters.points, atol=1e-6)
    full = found.streams["full"]
    in_rows = [call for call in calls if call[0] is full or call[0] is found.streams["fixed"]]
    assert all(clean is full.logits for _, _, clean in in_rows)
    f = found.metrics
    assert set(f) == set(transformer_metrics.TABLE)
    assert f["fixed_baseline"] == (found.streams["fixed"].labels == full.labels).mean()
    goal = found.filters["fixed"].passed.all(axis=1) == full.labels
    assert f["fixed_goal"] == goal.mean()
    assert f["mlp_mean_kept"] != f["mlp_zero_kept"]
    assert f["control_random_dims_scrub_1"] != f["control_random_plane_scrub_1"]
    assert f["full_scrub_1star"] > f["full_scrub_1"]
    assert f["full_scrub_1_2_3a_3b"] != f["full_scrub_1_2"]


def test_networks_that_do_not_respond_are_refused(transformer: Challenge, cnn: Challenge) -> None:
    silent = jax.tree.map(np.zeros_like, jax.jit(transformer.init)(jax.random.key(0)))
    with pytest.raises(InputError, match="nothing to explain"):
        explain_transformer(transformer, silent, 50)
