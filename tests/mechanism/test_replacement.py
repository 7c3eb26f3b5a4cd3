"""Smaller networks: planted ones are found; traps are seen to be traps; the file is the network."""

import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from mechanism.test_tables import small

from jaxmi.mechanism.account import Account, account, tuned
from jaxmi.mechanism.replacement import Replacement, Source, cut, front, inputs_of, smallest
from jaxmi.mechanism.tables import LastMlp
from jaxmi.mechanism.thresholds import row_thresholds
from jaxmi.mechanism.tuning import tune

P, WIDTH, NEURONS = 19, 10, 24
EVERY = np.arange(NEURONS)


def planted(n_operands: int = 2, seed: int = 0) -> Source:
    """Return a network whose stream is a sum of functions of one operand, and one product."""
    rng = np.random.default_rng(seed)
    shape = (P,) * n_operands
    operands = inputs_of(shape)
    walks = np.cumsum(rng.normal(size=(n_operands, P, 2)), axis=1) / 4
    two = sum(walks[i, operands[:, i]] for i in range(n_operands))
    factors = rng.normal(size=(n_operands, P))
    factors -= factors.mean(axis=1, keepdims=True)  # so that no sum takes a part of it
    product = np.prod([factors[i, operands[:, i]] for i in range(n_operands)], axis=0)
    directions = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    stream = two @ directions[:2] + 2 * product[:, None] * directions[2] + 0.3
    noise = rng.normal(size=(len(stream), WIDTH - 3)) @ directions[3:]  # that no neuron reads
    read = directions[:3].T @ rng.normal(size=(3, NEURONS))
    stream = stream + 3 * noise
    middle = -np.median(stream @ read, axis=0)  # each is active on half of the inputs
    mlp = LastMlp(read, middle, rng.normal(size=NEURONS), np.zeros(WIDTH), bias=0.0)
    difference = mlp.difference(stream)
    mlp = replace(mlp, bias=-float(np.median(difference)))
    return Source(mlp, stream, mlp.neurons(stream), shape, mlp.difference(stream))


def agreement(found: Replacement, source: Source) -> float:
    """Return the share of labels kept."""
    given = found.difference(inputs_of(source.shape)) > 0
    return float((given == (source.difference > 0)).mean())


@pytest.mark.parametrize("n_operands", [2, 3])
def test_a_planted_form_is_found_and_simpler_ones_do_not_do(n_operands: int) -> None:
    source = planted(n_operands)
    right, no_product, flat = (
        cut(source, EVERY, None, [d], [terms], [NEURONS])[0]
        for d, terms in ((3, 1), (3, 0), (1, 1))
    )
    assert right.form == (3, 1, NEURONS)
    assert agreement(right, source) > 0.99
    assert agreement(no_product, source) < 0.9 and agreement(flat, source) < 0.98


def test_every_number_is_counted() -> None:
    (found,) = cut(planted(), EVERY, None, [3], [2], [8])
    assert found.numbers == 2 * P * (3 + 2) + 2 * 3 + 8 * (3 + 2) + 1
    assert found.numbers == sum(np.size(array) for array in found.arrays.values())
    for name, array in found.arrays.items():  # each is needed
        changed = replace(found, **{name: np.asarray(array + 1 + np.abs(array))})
        operands = inputs_of((P, P))
        assert np.abs(changed.difference(operands) - found.difference(operands)).max() > 1e-6


def test_what_is_not_among_the_rows_is_not_fitted() -> None:
    source = planted()
    rows = np.arange(P * P // 2)
    changed = source.difference.copy()
    changed[P * P // 2 :] = 50
    one, same = (
        cut(replace(source, difference=d), EVERY, rows, [3], [1], [8])[0]
        for d in (source.difference, changed)
    )
    np.testing.assert_allclose(one.weights, same.weights)
    everything = cut(replace(source, difference=changed), EVERY, None, [3], [1], [8])[0]
    assert not np.allclose(one.weights, everything.weights)  # the control


def test_the_smallest_that_keeps_enough_is_taken() -> None:
    found = [cut(planted(), EVERY, None, [d], [1], [8])[0] for d in (1, 2, 3)]
    assert smallest(found, [0.9, 0.998, 0.999], enough=0.99) == 1
    assert smallest(found, [0.9, 0.95, 0.93], enough=0.99) == 1
    assert smallest(found, [0.9, 0.9, 0.8], enough=0.99) == 0
    assert smallest([], []) is None
    assert front([30, 10, 20, 20], [0.9, 0.5, 0.4, 0.6]) == [1, 3, 0]


def test_tuning_gives_any_labels_and_is_no_evidence() -> None:
    source, operands = planted(), inputs_of((P, P))
    (given,) = cut(source, EVERY, None, [3], [1], [16])
    labels = np.random.default_rng(0).random(P * P) < 0.5
    rng = np.random.default_rng(1).permutation(P * P)
    fitted, held = rng[:180], rng[180:]
    trained = tune(given, operands[fitted], labels[fitted])
    right = (trained.difference(operands) > 0) == labels
    assert right[fitted].mean() > 0.85  # of random labels,
    assert right[held].mean() < 0.65  # which nothing predicts
    assert trained.form == given.form and trained.numbers == given.numbers
    untouched = tune(given, operands, labels, steps=1)
    kept = (untouched.difference(operands) > 0) == (given.difference(operands) > 0)
    assert kept.mean() > 0.95  # the control: it starts at the given network


def test_two_thresholds_a_row_are_the_best_and_the_fewest() -> None:
    rows = {
        "0000000": ("0000000", 0),
        "1111111": ("1111111", 0),
        "0011111": ("0011111", 1),
        "0011100": ("0011100", 2),
        "1100111": ("1100111", 2),
        "0011011": ("0011111", 1),
        "1101111": ("1101111", 2),
    }
    labels = np.array([[c == "1" for c in row] for row in rows])
    found = row_thresholds(labels)
    shown = ["".join("01"[int(v)] for v in row) for row in found.labels]
    assert shown == [kept for kept, _ in rows.values()]
    assert found.n_thresholds == sum(count for _, count in rows.values())
    assert found.numbers == found.n_thresholds + len(rows)
    noise = np.random.default_rng(0).random((40, 50)) < 0.5
    assert (row_thresholds(noise).labels == noise).mean() < 0.75  # the control


@pytest.fixture(scope="module")
def given() -> Account:
    challenge, params, _ = small("pairs", d_model=8, n_heads=2, d_mlp=40)
    return account(challenge, params)


def test_the_account_holds_what_it_reports(given: Account) -> None:
    assert given.smaller is not None
    f, operands = given.metrics, inputs_of((7, 7))
    kept = (given.smaller.best.difference(operands) > 0) == given.answers.labels
    assert f["replacement_agreement"] == kept.mean()
    assert f["replacement_numbers"] == given.smaller.best.numbers
    assert f["row_thresholds_numbers"] == given.smaller.thresholds.numbers
    assert {"replacement_heldout_agreement", "replacement_untrained_heldout_agreement"} <= set(f)
    assert not any("tuned" in key for key in f)
    trap = tuned(given, steps=100)
    assert {"replacement_tuned_agreement", "replacement_tuned_heldout_agreement"} <= set(trap)
    assert trap["replacement_tuned_agreement"] >= f["replacement_agreement"] - 0.1


@pytest.mark.long
def test_what_is_left_out() -> None:
    deep, params, _ = small("pairs", d_model=8, n_heads=2, d_mlp=12, n_layers=2)
    several = account(deep, params)
    assert several.smaller is None and "replacement_numbers" not in several.metrics
    assert tuned(several) == {} and "row_thresholds_agreement" in several.metrics
    challenge, params, _ = small("pairs", d_model=8, n_heads=2, d_mlp=12)
    assert account(challenge, params, max_inputs=25).smaller is None
    triples, params, _ = small("triples", d_model=8, n_heads=2, d_mlp=12)
    assert account(triples, params).smaller is not None
    constant = account(challenge, jax.tree.map(np.zeros_like, challenge.init(jax.random.key(0))))
    assert constant.smaller is None


def test_the_loader_in_the_docs_gives_the_same_labels(
    given: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert given.smaller is not None
    page = (Path(__file__).parent.parent.parent / "docs/mechanism.md").read_text()
    (code,) = re.findall(r"```python\n(import numpy.*?)```", page, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "explained").mkdir()
    np.savez(tmp_path / "explained/replacement.npz", **given.smaller.best.arrays)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    operands = inputs_of((7, 7))
    loaded = names["labels"](*operands.T)
    np.testing.assert_array_equal(loaded, given.smaller.best.difference(operands) > 0)
    assert loaded.any() and not loaded.all()
    assert names["labels"](3, 4) == loaded.reshape(7, 7)[3, 4]
    assert (names["labels"](*operands.T[::-1]) != loaded).any()  # the control: y before x
