"""The periodic study tells networks that run the program from networks that look rows up."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from studies.synthetic import measured

from jaxmi.programs.domain import P
from jaxmi.studies import parts, periodic
from jaxmi.studies.periodic import (
    RESIDUES,
    RULES,
    held_out_rows,
    labels_of,
    parts_of,
    probe_rows,
    residues_of,
)
from jaxmi.studies.study import Conclusion, Trained, Training

N = 6


@pytest.fixture(scope="module")
def trainings() -> list[Training]:
    return periodic.trainings(quick=False)


def rule_of(training: Training) -> str:
    return next((rule for rule in RULES if f"-{rule}" in training.name), "published")


PROBES = ("seen", "unseen", "random")


def probe_result(number: int, name: str) -> float:
    """Return a different number for each training and probe."""
    return 0.01 * number + 0.001 * PROBES.index(name)


def conclude(trainings: list[Training], predict: Callable[[Training], np.ndarray]) -> Conclusion:
    """Conclude on synthetic networks with these predictions."""
    arrays = {
        training.name.removeprefix(trainings[0].name).lstrip("-"): {
            "answers": predict(training),
            **{f"probe_{name}": np.full(N, probe_result(number, name)) for name in PROBES},
        }
        for number, training in enumerate(trainings)
    }
    return periodic.conclude(trainings, measured(trainings, arrays))


def test_whole_rows_are_held_out_and_nothing_else(trainings: list[Training]) -> None:
    published = set(trainings[0].challenge.splits["train"].tolist())
    sets = held_out_rows()
    assert len(np.unique(sets)) == sets.size == 2 * 2 * RESIDUES
    for rows in sets:
        counts = np.bincount(parts.published().residues[rows], minlength=RESIDUES)
        assert (counts == 2).all()
    for training in trainings[2:]:
        splits = training.challenge.splits
        rows = sets[int(training.name[-1])]
        wanted = {pair for pair in published if pair // P not in set(rows.tolist())}
        assert set(splits["train"].tolist()) == wanted
        assert len(splits["train"]) + len(splits["test"]) == P * P
        assert (training.challenge.labels == labels_of(rule_of(training)).reshape(-1)).all()


def test_the_rules_keep_what_they_say() -> None:
    own = labels_of("published")
    rows = {tuple(row) for row in own.tolist()}
    assert {tuple(row) for row in labels_of("shuffled").tolist()} == rows
    assert (labels_of("shuffled") != own).any()
    permuted = parts_of("residues")
    assert (permuted.small_x == parts.published().small_x).all()
    assert sorted(permuted.residues.tolist()) == sorted(parts.published().residues.tolist())
    assert (permuted.residues != parts.published().residues).sum() > 80
    assert len(set(residues_of("constant").tolist())) == 1


def test_networks_that_run_the_program_are_recognised(trainings: list[Training]) -> None:
    findings = conclude(trainings, lambda t: np.stack([labels_of(rule_of(t))] * N)).findings
    for rule in RULES:
        assert findings[f"seen_{rule}"].value == findings[f"unseen_{rule}"].value == 1
    for rule in ("published", "residues"):
        ceiling = findings[f"residue_read_{rule}_ceiling"].value
        assert findings[f"residue_read_{rule}"].value == pytest.approx(ceiling)
        assert 0.5 < ceiling < 1  # several residues may give the same row
        assert findings[f"unseen_{rule}_beyond"].low > 0.3
    assert findings["accuracy_bars"].value == findings["accuracy_bars_dealt"].value == 1


def test_networks_that_look_rows_up_are_at_chance_in_unseen_rows(trainings) -> None:
    """In an unseen row they predict as if it had a residue drawn at random."""
    rng = np.random.default_rng(0)

    def look_up(training: Training) -> np.ndarray:
        rule = rule_of(training)
        own = parts_of(rule)
        seen = np.isin(np.arange(P), training.challenge.splits["train"] // P)
        predictions = []
        for _ in range(N):
            residues = rng.integers(RESIDUES, size=P)
            guessed = parts.Parts(own.small_x, own.small_y, own.below_line, residues).labels
            predictions.append(np.where(seen[:, None], labels_of(rule), guessed))
        return np.stack(predictions)

    findings = conclude(trainings, look_up).findings
    for rule in ("published", "residues"):
        assert findings[f"seen_{rule}"].value == 1
        assert findings[f"unseen_{rule}"].high < 0.7
        over_rows = findings[f"residue_read_{rule}_over_rows"]
        by_chance = findings[f"residue_read_{rule}_by_chance"].value
        assert over_rows.low - 0.05 < by_chance < over_rows.high + 0.05
        assert by_chance == pytest.approx(1 / RESIDUES, abs=0.02)
        beyond = findings[f"unseen_{rule}_beyond"]
        assert beyond.low < 0 < beyond.high


def test_references_without_residues_are_computed_from_the_labels(trainings) -> None:
    findings = conclude(trainings, lambda t: np.zeros((N, P, P), np.int32)).findings
    rows = held_out_rows().reshape(-1)
    for rule in RULES:
        labels = labels_of(rule)
        ones = labels[rows].mean()
        assert findings[f"unseen_{rule}"].value == pytest.approx(1 - ones)
        assert findings[f"unseen_{rule}_one_label"].value == pytest.approx(max(ones, 1 - ones))
        seen = [x for x in range(P) if x not in rows]
        nearest = [min(seen, key=lambda other, x=x: (abs(other - x), other)) for x in rows]
        copied = (labels[nearest] == labels[rows]).mean()
        assert findings[f"unseen_{rule}_nearest_row"].value == pytest.approx(copied)
    assert findings["unseen_constant_nearest_row"].value > 0.95
    assert findings["unseen_published_nearest_row"].value < 0.7
    known = findings["unseen_published_sides_known"].value
    assert findings["unseen_published_guessed"].value < known < 1


def test_a_favourite_residue_is_no_reading(trainings: list[Training]) -> None:
    """Networks that predict every unseen row as if its residue were 5 read none."""

    def favour(training: Training) -> np.ndarray:
        own = parts_of(rule_of(training))
        fives = parts.Parts(own.small_x, own.small_y, own.below_line, np.full(P, 5))
        return np.stack([fives.labels] * N)

    findings = conclude(trainings, favour).findings
    for rule in ("published", "residues"):
        read, chance = findings[f"residue_read_{rule}"], findings[f"residue_read_{rule}_by_chance"]
        assert read.value == pytest.approx(chance.value, abs=0.04)


def test_probes_are_of_the_trainings_that_their_names_say(trainings: list[Training]) -> None:
    findings = conclude(trainings, lambda t: np.zeros((N, P, P), np.int32)).findings
    numbers = {t.name.removeprefix(trainings[0].name): i for i, t in enumerate(trainings)}
    wanted = {
        "probe_seen": [("", "seen")],
        "probe_random": [("", "random")],
        "probe_seen_dealt": [("-residues", "seen")],
        "probe_unseen": [(f"-published-rows-out-{k}", "unseen") for k in range(2)],
        "probe_unseen_dealt": [(f"-residues-rows-out-{k}", "unseen") for k in range(2)],
    }
    for name, sources in wanted.items():
        planted = np.mean([probe_result(numbers[training], key) for training, key in sources])
        assert findings[name].value == pytest.approx(planted), name


@pytest.mark.slow
def test_networks_are_probed_for_their_own_residues(trainings: list[Training]) -> None:
    """An embedding that holds a rule's residues is read in that rule's training."""
    params = jax.jit(trainings[0].challenge.init)(jax.random.key(0))
    for training in trainings[:4]:
        for rule in ("published", "residues"):
            planted = planted_embeddings(residues_of(rule), np.random.default_rng(0))
            table = np.zeros(params["W_E"].shape, np.float32)
            table[:P, : planted.shape[1]] = planted
            measured = periodic.measure(training, Trained(0, {**params, "W_E": table}, []))
            assert (measured["probe_seen"] > 0.9) == (rule == rule_of(training)), training.name


def planted_embeddings(residues: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw embeddings with a direction per residue, and noise."""
    return 3 * rng.normal(size=(RESIDUES, 40))[residues] + rng.normal(size=(P, 40))


@pytest.mark.slow
def test_probes_read_what_was_planted_and_nothing_from_noise() -> None:
    rng = np.random.default_rng(0)
    residues = residues_of("published")
    seen = ~np.isin(np.arange(P), held_out_rows()[0])
    planted = probe_rows(planted_embeddings(residues, rng), residues, seen, 0)
    assert planted["probe_seen"] > 0.95
    assert planted["probe_unseen"] > 0.9
    assert planted["probe_random"] == pytest.approx(1 / RESIDUES, abs=0.05)
    noise = [probe_rows(rng.normal(size=(P, 40)), residues, seen, s) for s in range(10)]
    for name in ("probe_seen", "probe_unseen", "probe_random"):
        assert np.mean([shares[name] for shares in noise]) == pytest.approx(1 / RESIDUES, abs=0.06)


@pytest.mark.slow
def test_embeddings_of_rows_that_were_not_trained_say_nothing() -> None:
    """Probes read a table that holds residues of seen rows only in seen rows only."""
    rng = np.random.default_rng(0)
    residues = residues_of("published")
    seen = ~np.isin(np.arange(P), held_out_rows()[0])
    table = np.where(seen[:, None], planted_embeddings(residues, rng), 3 * rng.normal(size=(P, 40)))
    shares = probe_rows(table, residues, seen, 0)
    assert shares["probe_seen"] > 0.95
    assert shares["probe_unseen"] < 0.4
    assert "probe_unseen" not in probe_rows(table, residues, np.ones(P, bool), 0)
