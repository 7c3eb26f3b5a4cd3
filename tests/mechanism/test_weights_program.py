"""Programs read off weights: smooth tables, merged classes, pieces, placing neurons."""

from itertools import combinations_with_replacement

import numpy as np
import pytest

from jaxmi.mechanism import metrics as table
from jaxmi.mechanism import pieces as of_pieces
from jaxmi.mechanism.pieces import SHAPES, Piece, Shape, fit_pieces, labels_of
from jaxmi.mechanism.placement import mean_change, place_thresholds
from jaxmi.mechanism.reading import Partition, polynomial_text, read_program, smooth_network
from jaxmi.mechanism.replacement import Replacement, inputs_of
from jaxmi.mechanism.smooth import fit_table, merge_classes
from jaxmi.mechanism.weights_program import read_weights
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import MAX_SIZE, parse

P = 41
X = np.arange(P)
SHARES = X / (P - 1)
CLASSES = X**2 % 5  # 0, 1 and 4 occur


def curve_and_offsets(classes: np.ndarray, offsets: dict[int, float], seed: int = 0) -> np.ndarray:
    """Return a table of three columns: curves of the value, an offset a class, little noise."""
    rng = np.random.default_rng(seed)
    shift = np.array([offsets[value] for value in classes.tolist()])
    curves = np.stack([SHARES, SHARES**2, np.abs(SHARES - 0.5)], axis=1)
    return curves + shift[:, None] * np.array([1.0, 0.5, 0.0]) + 0.01 * rng.normal(size=(P, 3))


class TestSmoothTables:
    def test_classes_predict_what_is_left_out_and_permuted_ones_do_not(self) -> None:
        given = curve_and_offsets(CLASSES, {0: 0.0, 1: 1.0, 4: -1.0})
        rng = np.random.default_rng(1)
        own = fit_table(given, SHARES, [CLASSES]).error
        none = fit_table(given, SHARES).error
        permuted = min(fit_table(given, SHARES, [rng.permutation(CLASSES)]).error for _ in range(5))
        assert own < 0.05 * none
        assert own < 0.05 * permuted

    def test_a_value_is_predicted_as_if_it_were_in_another_class(self) -> None:
        given = curve_and_offsets(CLASSES, {0: 0.0, 1: 1.0, 4: -1.0})
        fitted = fit_table(given, SHARES, [CLASSES])
        as_if = {c: fitted(SHARES, [np.full(P, c)]) for c in (0, 1, 4)}
        np.testing.assert_allclose((as_if[1] - as_if[0])[:, 0], 1.0, atol=0.15)
        np.testing.assert_allclose((as_if[4] - as_if[0])[:, 0], -1.0, atol=0.15)
        assert np.abs((as_if[1] - as_if[0])[:, 2]).max() < 0.15

    def test_left_out_errors_are_those_of_fits_without_the_value(self) -> None:
        given = curve_and_offsets(CLASSES, {0: 0.0, 1: 1.0, 4: -1.0})
        fitted = fit_table(given, SHARES, [CLASSES])
        kernel, centred = fitted.kernel, given - given.mean(axis=0)
        total = 0.0
        for i in range(P):
            rest = np.delete(X, i)
            parts = SHARES[rest], [CLASSES[rest]]
            inner = kernel(*parts, *parts) + kernel.noise * np.eye(P - 1)
            outer = kernel(SHARES[[i]], [CLASSES[[i]]], *parts)
            total += float(
                ((outer @ np.linalg.solve(inner, centred[rest]) - centred[i]) ** 2).sum()
            )
        assert total == pytest.approx(fitted.error, rel=1e-6)

    @pytest.mark.parametrize(
        ("offsets", "groups"),
        [
            ({0: 0.0, 1: 1.0, 2: 1.0, 3: 0.0}, [[0, 3], [1, 2]]),
            ({0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}, [[0], [1], [2], [3]]),
            ({0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}, [[0, 1, 2, 3]]),
        ],
    )
    def test_classes_that_do_the_same_are_merged(
        self, offsets: dict[int, float], groups: list[list[int]]
    ) -> None:
        classes = np.random.default_rng(2).permutation(X % 4)
        given = curve_and_offsets(classes, offsets)
        (fitted,) = merge_classes([given], [fit_table(given, SHARES, [classes])])
        merged = fitted.partitions[0]
        members = [np.unique(classes[merged == group]).tolist() for group in np.unique(merged)]
        assert sorted(members) == groups

    def test_of_two_partitions_each_is_merged_apart(self) -> None:
        rng = np.random.default_rng(3)
        first, second = rng.permutation(X % 3), rng.permutation(X % 2)
        given = curve_and_offsets(first, {0: 0.0, 1: 0.0, 2: 1.0})
        given[:, 1] += 2 * second
        (fitted,) = merge_classes([given], [fit_table(given, SHARES, [first, second])])
        merged = fitted.partitions
        assert [len(np.unique(groups)) for groups in merged] == [2, 2]

    def test_classes_that_one_of_two_tables_tells_apart_stay_apart(self) -> None:
        classes = np.random.default_rng(2).permutation(X % 4)
        sums = curve_and_offsets(classes, {0: 0.0, 1: 1.0, 2: 1.0, 3: 0.0})
        factors = curve_and_offsets(classes, {0: 0.0, 1: 0.0, 2: 2.0, 3: 2.0}, seed=5)
        tables = [sums, factors]
        both = merge_classes(tables, [fit_table(table, SHARES, [classes]) for table in tables])
        assert [len(np.unique(fitted.partitions[0])) for fitted in both] == [4, 4]
        (alone,) = merge_classes([sums], [fit_table(sums, SHARES, [classes])])
        assert len(np.unique(alone.partitions[0])) == 2  # the control

    def test_what_two_partitions_do_together_is_fitted_too(self) -> None:
        rng = np.random.default_rng(4)
        first, second = rng.permutation(X % 2), rng.permutation(X % 2)
        given = curve_and_offsets((first + second) % 2, {0: 0.0, 1: 1.0})  # neither alone says it
        both = fit_table(given, SHARES, [first, second]).error
        assert both < 0.2 * fit_table(given, SHARES, [first]).error


def planted_map(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    x, y = rows[:, None], columns[None, :]
    early = y >= 3 + 0.02 * x**2
    late = (y >= 5) & (y < 60 - 0.7 * x)
    return np.where(x <= 20, early, late)


class TestPieces:
    def test_a_map_of_curves_is_described_by_its_curves(self) -> None:
        rows, columns = np.arange(50), np.arange(50)
        labels = planted_map(rows, columns)
        pieces = fit_pieces(labels, rows, columns, price=2.0)
        assert (labels_of(pieces, rows, columns) == labels).mean() > 0.995
        assert len(pieces) <= 3
        assert pieces[0].end in (19, 20, 21)
        shuffled = np.random.default_rng(0).permutation(labels)
        control = fit_pieces(shuffled, rows, columns, price=2.0)
        assert sum(piece.numbers for piece in control) > 3 * sum(p.numbers for p in pieces)

    @pytest.mark.parametrize("seed", range(5))
    def test_rows_with_few_changes_are_described_without_a_mistake_if_numbers_are_cheap(
        self, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.permutation(60)[:20])
        columns = np.sort(rng.permutation(60)[:30])
        edges = np.sort(rng.integers(0, 31, size=(20, 3)), axis=1)
        passed = (np.arange(30)[None, :, None] >= edges[:, None, :]).sum(axis=-1)
        labels = (passed + rng.integers(0, 2, (20, 1))) % 2 == 1
        pieces = fit_pieces(labels, rows, columns, price=1e-6)
        np.testing.assert_array_equal(labels_of(pieces, rows, columns), labels)

    def test_a_higher_price_gives_fewer_numbers_and_more_wrong_labels(self) -> None:
        rng = np.random.default_rng(0)
        labels = planted_map(np.arange(40), np.arange(40)) ^ (rng.random((40, 40)) < 0.03)
        sizes, wrong = [], []
        for price in (0.1, 1.0, 10.0, 100.0):
            pieces = fit_pieces(labels, np.arange(40), np.arange(40), price)
            sizes.append(sum(piece.numbers for piece in pieces))
            wrong.append(int((labels_of(pieces, np.arange(40), np.arange(40)) != labels).sum()))
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 2 * sizes[-1]
        assert wrong[0] < wrong[-1]

    @pytest.mark.parametrize("shape", [s for s in SHAPES if s.degree == 0])
    def test_changes_of_a_row_are_the_best_that_there_are(self, shape: Shape) -> None:
        rng = np.random.default_rng(shape.thresholds)
        columns = np.array([2, 3, 5, 9, 10, 14, 15])
        labels = rng.random((30, 7)) < 0.5
        ones = np.concatenate([np.zeros((30, 1), int), labels.cumsum(axis=1)], axis=1)
        changes = of_pieces._changes(ones, columns, shape)
        edges = [1.5, 2.5, 4, 7, 9.5, 12, 14.5, 15.5]
        for row, given in zip(labels, changes, strict=True):
            wrong = [
                int((((columns[:, None] >= list(each)).sum(axis=1) + shape.first) % 2 != row).sum())
                for each in combinations_with_replacement(edges, shape.thresholds)
            ]
            own = (((columns[:, None] >= given).sum(axis=1) + shape.first) % 2 != row).sum()
            assert own == min(wrong)

    def test_one_row_and_one_column(self) -> None:
        for labels in (np.ones((1, 1), bool), np.zeros((1, 7), bool), np.ones((6, 1), bool)):
            rows, columns = np.arange(labels.shape[0]), np.arange(labels.shape[1])
            pieces = fit_pieces(labels, rows, columns, price=0.5)
            np.testing.assert_array_equal(labels_of(pieces, rows, columns), labels)

    def test_many_rows_are_thinned(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(of_pieces, "MOST_BOUNDARIES", 10)
        rows, columns = np.arange(50), np.arange(50)
        labels = planted_map(rows, columns)
        pieces = fit_pieces(labels, rows, columns, price=2.0)
        assert (labels_of(pieces, rows, columns) == labels).mean() > 0.98


def planted_network(x_classes: np.ndarray, y_classes: np.ndarray) -> Replacement:
    """Return a network whose label is 1 from a curve of x on that depends on the classes.

    Its stream has four directions: y, a curve of x with an offset for its class, the same of y's
    class, and one of noise. Neurons 0 and 1 give the logit difference, others hardly matter.
    """
    rng = np.random.default_rng(0)
    sums = np.zeros((2, P, 4))
    sums[0, :, 1] = -(0.2 + 0.3 * SHARES**2 + 0.3 * (x_classes == 1))
    sums[1, :, 0] = SHARES
    sums[1, :, 2] = -0.3 * (y_classes == 1)
    sums[:, :, 3] = 0.1 * rng.normal(size=(2, P))
    w_in = np.zeros((4, 6))
    w_in[:3, 0], w_in[:3, 1] = 1.0, -1.0
    w_in[:, 2:] = rng.normal(size=(4, 4))
    weights = np.array([1.0, -1.0, *0.02 * rng.normal(size=4)])
    nothing = np.zeros((2, P, 0)), np.zeros((0, 4))
    return Replacement(sums, *nothing, w_in, np.zeros(6), weights, np.zeros(()))


ONE = np.zeros(P, int)
THREE = X**2 % 3  # 0 and 1


def read(network: Replacement, x: list[Partition], y: list[Partition]):
    return read_program(smooth_network(network, X, {"x": x, "y": y}))


class TestReading:
    @pytest.mark.parametrize(
        ("x_classes", "y_classes", "x", "y"),
        [
            (THREE, ONE, [Partition("x ** 2 % 3", THREE)], []),
            (ONE, THREE, [], [Partition("y ** 2 % 3", THREE)]),
            (THREE, X % 2, [Partition("x ** 2 % 3", THREE)], [Partition("y % 2", X % 2)]),
            (ONE, ONE, [], []),
        ],
    )
    def test_a_planted_network_is_read(
        self, x_classes: np.ndarray, y_classes: np.ndarray, x: list[Partition], y: list[Partition]
    ) -> None:
        network = planted_network(x_classes, y_classes)
        labels = network.difference(inputs_of((P, P))) > 0
        assert 0.2 < labels.mean() < 0.8
        reading = read(network, x, y)
        assert reading is not None
        assert (reading.labels == labels).mean() > 0.97
        assert all(part.text in reading.text for part in (*x, *y))
        if x or y:
            without = read(network, [], [])
            assert without is not None
            assert (without.labels == labels).mean() < 0.95

    def test_its_text_is_a_program_with_its_labels(self) -> None:
        reading = read(planted_network(THREE, ONE), [Partition("x ** 2 % 3", THREE)], [])
        assert reading is not None
        program = parse(reading.text, "pairs")
        assert program.size == reading.size
        np.testing.assert_array_equal(label(program, PairDomain(P)) == 1, reading.labels)
        described = np.zeros((P, P), bool)
        for cell, pieces in reading.pieces:
            described[np.ix_(cell.rows, cell.columns)] = labels_of(
                pieces, X[cell.rows], X[cell.columns]
            )
        assert (described.reshape(-1) == reading.labels).mean() > 0.999

    def test_classes_that_do_the_same_are_one_in_the_program(self) -> None:
        six = Partition("x % 6", X % 6)
        reading = read(planted_network(X % 2, ONE), [six], [])
        assert reading is not None
        (part,) = reading.smoothed.groups["x"]
        members = sorted(part.members(group) for group in np.unique(part.groups).tolist())
        assert members == [[0, 2, 4], [1, 3, 5]]
        assert "in (" in reading.text

    def test_parts_that_say_the_same_are_written_once(self) -> None:
        network = planted_network(ONE, ONE)
        always = Replacement(**{**vars(network), "bias": np.asarray(50.0)})
        four = Partition("x % 4", X % 4)
        noisy = {**vars(always), "sums": always.sums + np.eye(4)[X % 4] * 0.3}
        reading = read(Replacement(**noisy), [four], [])
        assert reading is not None
        assert len(reading.pieces) == 4
        assert reading.text == "a = x % 4\nreturn 1\n"
        assert reading.numbers == 2

    def test_a_program_that_is_too_long_is_made_shorter(self) -> None:
        network = planted_network(THREE, ONE)
        noise = np.random.default_rng(0).normal(size=network.sums.shape)
        noisy = Replacement(**{**vars(network), "sums": network.sums + 0.3 * noise})
        part = Partition("x % 9", X % 9)
        smoothed = smooth_network(noisy, X, {"x": [part], "y": []})
        reading = read_program(smoothed, price=1e-12)
        assert reading is not None
        assert reading.size <= MAX_SIZE

    def test_polynomials_are_written_as_python_reads_them(self) -> None:
        for coefficients in ((1.5, -2.0, 0.25), (0.0, -3.0), (0.0,), (-1e-07, 0.0, 0.0, 2.5)):
            text = polynomial_text(coefficients)
            assert eval(text, {"x": 3}) == pytest.approx(
                sum(value * 3**power for power, value in enumerate(coefficients))
            )

    def test_intervals_of_label_1(self) -> None:
        assert Piece(5, 0, ()).intervals == []
        assert Piece(5, 1, ()).intervals == [(None, None)]
        assert Piece(5, 1, ((1.0,), (2.0,))).intervals == [(None, (1.0,)), ((2.0,), None)]
        assert Piece(5, 0, ((1.0,), (2.0,), (3.0,))).intervals == [
            ((1.0,), (2.0,)), ((3.0,), None)
        ]  # fmt: skip


class TestPlacement:
    def test_the_neurons_that_give_the_difference_place_every_threshold(self) -> None:
        network = planted_network(THREE, ONE)
        reading = read(network, [Partition("x ** 2 % 3", THREE)], [])
        assert reading is not None
        placements = place_thresholds(reading, network)
        assert placements
        for placement in placements:
            assert set(placement.neurons[:2].tolist()) == {0, 1}
            assert placement.shares[:2].sum() > 0.8
            assert placement.changed > placement.changed_others + 0.2

    def test_neurons_that_all_do_alike_place_no_threshold_more_than_others(self) -> None:
        given = vars(planted_network(THREE, ONE))
        copies = 12
        network = Replacement(
            **{
                **given,
                "w_in": np.repeat(given["w_in"][:, :2], copies, axis=1),
                "b_in": np.zeros(2 * copies),
                "weights": np.repeat([1.0, -1.0], copies),
            }
        )
        reading = read(network, [Partition("x ** 2 % 3", THREE)], [])
        assert reading is not None
        for placement in place_thresholds(reading, network):
            assert placement.shares.max() < 0.2
            assert abs(placement.changed - placement.changed_others) < 0.15

    def test_labels_far_away_change_less(self) -> None:
        network = planted_network(THREE, ONE)
        reading = read(network, [Partition("x ** 2 % 3", THREE)], [])
        assert reading is not None
        change = mean_change(place_thresholds(reading, network))
        assert change is not None
        assert change.near > change.others
        assert mean_change([]) is None


def judged(kept: table.Kept, difference: np.ndarray) -> dict[str, float]:
    labels = planted_network(THREE, ONE).difference(inputs_of((P, P))) > 0
    return {kept.agreement.key: float(((difference > 0) == labels).mean())}


CONTROLS = (table.PROGRAM_PERMUTED, table.PROGRAM_WITHOUT, table.PROGRAM_UNTRAINED)


class TestReadWeights:
    def test_controls_stand_beside_the_program(self) -> None:
        network = planted_network(THREE, ONE)
        noise = np.random.default_rng(0).normal(size=network.sums.shape)
        blank = Replacement(**{**vars(network), "sums": noise})
        partitions = {"x": [Partition("x ** 2 % 3", THREE)], "y": []}
        truth = network.difference(inputs_of((P, P))) > 0
        own = truth.reshape(P, P)
        program, metrics = read_weights(network, blank, X, partitions, own, judged, truth)
        assert program is not None
        agreement = metrics[table.PROGRAM.agreement.key]
        assert agreement == metrics[table.PROGRAM_ACCURACY.key] > 0.97
        assert metrics[table.PROGRAM_OF_LABELS.agreement.key] > 0.97
        for control in CONTROLS:
            assert metrics[control.agreement.key] < agreement - 0.05
        constant = metrics[table.PROGRAM_CONSTANT.agreement.key]
        assert constant == pytest.approx(max(truth.mean(), 1 - truth.mean()))

    def test_without_classes_nothing_is_permuted_and_without_truth_nothing_is_true(self) -> None:
        network = planted_network(ONE, ONE)
        own = network.difference(inputs_of((P, P))).reshape(P, P) > 0
        _, metrics = read_weights(network, None, X, {"x": [], "y": []}, own, judged)
        assert table.PROGRAM.agreement.key in metrics
        for control in CONTROLS:
            assert control.agreement.key not in metrics
        assert table.PROGRAM_ACCURACY.key not in metrics
