"""The account of a network: what it measures, on networks of any size, and what it leaves out."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from mechanism.test_tables import small

from jaxmi.challenges.challenge import Challenge
from jaxmi.mechanism import metrics as table
from jaxmi.mechanism.account import Account, _nearest_fitted, account
from jaxmi.report import mechanism_page
from jaxmi.storage.checkpoints import load_checkpoint
from jaxmi.types import Params


@pytest.fixture(scope="module")
def published(transformer: Challenge, checkpoints) -> Account:
    params = load_checkpoint(checkpoints / "transformer").params
    other = jax.jit(transformer.init)(jax.random.key(5))
    return account(transformer, params, other, max_inputs=4000)


def test_a_trained_network_s_account_is_told_from_its_controls(published: Account) -> None:
    f = published.metrics
    assert len(published.answers.labels) == 63**2
    assert f["attention_additive_agreement"] > f["attention_mean_agreement"] + 0.1
    assert f["resid_interaction1_mistakes"] > f["resid_additive_mistakes"] + 0.1
    assert f["neurons_32_heldout_agreement"] > 0.97
    assert f["neurons_32_heldout_mistakes"] > f["nearest_fitted_mistakes"] + 0.1
    for control in ("untrained_heldout", "other_seed_heldout"):  # that other seed is untrained
        assert f["neurons_32_heldout_agreement"] > f[f"neurons_32_{control}_agreement"] + 0.2
    assert f["neurons_64_agreement"] >= f["neurons_8_agreement"] > f["neurons_8_random_agreement"]
    few = (published.few > 0) == published.answers.labels
    assert f["neurons_32_agreement"] == few.mean()
    assert published.names == {
        "row_class_x": "int(x ** 1.5) % 8",
        "row_class_x_second": None,
        "row_class_y": None,
        "row_class_y_second": None,
    }
    assert f["row_class_x_r2"] > f["row_class_x_next_r2"] > f["row_class_x_permuted_r2"]
    assert f.keys() <= table.TABLE.keys()


def test_the_report_says_it_in_words(published: Account, transformer: Challenge) -> None:
    text = " ".join(mechanism_page.summary(published, transformer).split())
    assert "a vector for each value of x and y" in text and "matters" in text
    assert "classes int(x ** 1.5) % 8" in text and "Of y they show no residue class" in text
    verdicts = {one.title: one.verdict for one in mechanism_page.sections(published, transformer)}
    assert verdicts["32 neurons give the labels"] == "holds"
    assert verdicts["Classes of values, read off the weights"] == "holds"


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("pairs", {"d_model": 8, "n_heads": 2, "d_mlp": 40}),
        ("pairs", {"d_model": 8, "n_heads": 2, "d_mlp": 40, "n_layers": 2}),
        ("triples", {"d_model": 8, "n_heads": 2, "d_mlp": 12}),
        ("pairs", {"d_model": 1, "n_heads": 1, "d_mlp": 4}),
    ],
    ids=str,
)
def test_a_network_of_any_size_has_an_account(kind: str, sizes: dict[str, int]) -> None:
    challenge, params, _ = small(kind, **sizes)
    found = account(challenge, params)
    f = found.metrics
    logits = challenge.logits(params)
    np.testing.assert_array_equal(found.answers.labels, logits[:, 1] > logits[:, 0])
    assert ("attention_mean_agreement" in f) == ("n_layers" not in sizes)
    assert ("neurons_32_agreement" in f) == (sizes["d_mlp"] >= 32)
    assert set(found.names) == {
        f"row_class_{name}{which}" for name in challenge.axes for which in ("", "_second")
    }
    assert not any("other_seed" in key for key in f)
    shown = [
        mechanism_page.summary(found, challenge),
        *(section.text for section in mechanism_page.sections(found, challenge)),
    ]
    assert all(shown)


def relabelled(challenge: Challenge, labels: np.ndarray) -> Challenge:
    return replace(challenge, labels=labels.astype(np.int32), program=None)


def test_mistakes_need_labels_that_are_known_and_sometimes_wrong() -> None:
    challenge, params, _ = small(d_model=8, n_heads=2, d_mlp=40)
    logits = challenge.logits(params)
    answers = logits[:, 1] > logits[:, 0]
    one_wrong = answers.copy()
    one_wrong[3] ^= True
    wrong = account(relabelled(challenge, one_wrong), params)
    assert wrong.answers.mistakes is not None and wrong.answers.mistakes.sum() == 1
    assert any(key.endswith("_mistakes") for key in wrong.metrics)  # the control
    perfect = relabelled(challenge, answers)
    found = account(perfect, params)
    assert not any(key.endswith("_mistakes") for key in found.metrics)
    assert "makes no mistake" in mechanism_page.summary(found, perfect)
    sealed = account(challenge.without_labels(), params)
    assert sealed.answers.mistakes is None
    accuracy = found.metrics.pop(table.PROGRAM_ACCURACY.key)  # of the true labels
    assert 0 < accuracy <= 1
    assert sealed.metrics == found.metrics


def test_one_label_throughout_is_no_error() -> None:
    challenge, params, _ = small(d_model=8, n_heads=2, d_mlp=40)
    constant: Params = jax.tree.map(np.zeros_like, params)
    found = account(challenge, constant)
    assert not found.answers.labels.any()
    verdicts = [section.verdict for section in mechanism_page.sections(found, challenge)]
    assert "holds" not in verdicts


def test_the_nearest_fitted_input_is_in_the_same_row() -> None:
    labels = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]], bool)
    fitted = np.array([0, 3, 5])
    nearest = _nearest_fitted(labels.reshape(-1), fitted, (3, 4)).reshape(3, 4)
    np.testing.assert_array_equal(nearest, [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
