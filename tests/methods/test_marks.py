"""Marks: what a method that knows, one that guesses, and one that sees labels only must get."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from jaxmi.methods import marks, registry
from jaxmi.methods.answering import answer
from jaxmi.methods.asking import MOVED, OTHER, Marked
from jaxmi.methods.marks import ALL, Answer
from jaxmi.methods.network import SITES
from jaxmi.methods.result import COLUMNS, find, marks_of, seconds_of, table
from jaxmi.methods.side_by_side.probe import fit_probe
from jaxmi.planted.key import NEURONS

ALL_WRONG = ("computed, all wrong answers", "computed")
"""The column in which labels and the network alone tell something, and neither enough."""


def result_of(questions: list[Marked], **methods) -> dict:
    answers = [
        one
        for name, method in methods.items()
        for one in answer(name, method, questions, "compiled", "program 0")
    ]
    found = marks_of(answers, answers, {})
    seconds = seconds_of(answers)
    return {"marks": found, "methods": {name: {"seconds": seconds[name]} for name in methods}}


def value(result: dict, name: str, column: tuple) -> float:
    _, kind, site, negatives = column
    marked = find(result, name, kind, site, negatives)
    assert marked is not None
    return marked["right" if kind == "explanation" else "auroc"]["value"]


def test_a_method_that_knows_the_key_gets_everything_right(questions: list[Marked]) -> None:
    known = {(id(one.planted.view), id(one.question)): one.truth for one in questions}

    def oracle(network, question):
        return np.asarray(known[id(network), id(question)], np.float64) * 7 - 3

    def contrary(network, question):
        return -oracle(network, question)

    def scalar(method):
        def asked(network, question):
            score = method(network, question)
            return score if score.ndim else float(score)

        return asked

    result = result_of(questions, oracle=scalar(oracle), contrary=scalar(contrary))
    for column in COLUMNS:
        assert value(result, "oracle", column) == 1
        assert value(result, "contrary", column) == 0
    for one in result["marks"]:
        if one["method"] == "oracle":
            assert one["auroc"] == {"value": 1, "low": None, "high": None}  # one program
            assert one["missed"]["value"] == one["false_yes"]["value"] == 0
    assert [row[0] for row in table(result)] == ["method", "oracle", "contrary"]


def test_labels_alone_tell_nothing_where_labels_are_the_same(questions: list[Marked]) -> None:
    def odd(network, question):
        """Anything that does not look at the network."""
        first = getattr(question, "variables", (question,))[0]
        score = float(np.sin(first.values.sum() * 12.9898)) + network.labels.mean()
        return (
            np.full(len(question.candidates), score) if hasattr(question, "candidates") else score
        )

    result = result_of(questions, labels=registry.METHODS["labels"], odd=odd)
    same = [column for column in COLUMNS if column[:2] != ALL_WRONG]
    assert len(same) == 4
    for column in same:
        assert value(result, "labels", column) == 0.5
        assert value(result, "odd", column) == 0.5 or column[1] == "explanation"
    other = find(result, "labels", "computed", "blocks.0.hook_resid_mid", "other program")
    assert other is not None and other["auroc"]["value"] == 1  # the control: these labels tell


def test_the_network_alone_tells_nothing_of_its_own_other_variables(
    questions: list[Marked],
) -> None:
    result = result_of(questions, network=registry.METHODS["network"])
    assert value(result, "network", COLUMNS[0]) in (0, 1)  # the control: it tells mechanisms apart
    for negatives in (MOVED, OTHER):
        marked = find(result, "network", "computed", SITES[0], negatives)
        assert marked is not None and marked["auroc"]["value"] == 0.5
    assert value(result, "network", ("", "computed", ALL, ALL)) < 0.95
    assert value(result, "network", ("", "neurons", ALL, ALL)) == 0.5
    assert value(result, "network", ("", "explanation", ALL, ALL)) == 0.5
    assert "no look at the question" in registry.words_of("network", registry.METHODS["network"])


def test_shares_are_of_programs_that_have_such_questions() -> None:
    rights = {str(i): [(True, 1.0)] for i in range(30)}
    chosen = answers_of({"a": [(True, 1.0), (False, 0.0)]})
    marked = marks.mark(answers_of({**rights, "w": [(False, 1.0)]}), chosen)
    assert marked is not None
    assert marked["false_yes"] == {"value": 1.0, "low": None, "high": None}
    both = {**rights, "v": [(False, 1.0)], "w": [(False, 1.0)]}
    marked = marks.mark(answers_of(both), chosen)
    assert marked is not None
    assert marked["false_yes"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_random_scores_get_about_a_half() -> None:
    rng = np.random.default_rng(0)
    truth, programs = rng.random(4000) < 0.4, rng.integers(40, size=4000)
    of = marks.Split(truth, rng.random(4000), programs, 40)
    found = marks.estimate_auroc("AUROC", of)
    assert abs(found.value - 0.5) < 0.03 and found.low < 0.5 < found.high


def test_the_auroc_is_that_of_the_rank_test() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(200) < 0.5
    scores = np.round(rng.normal(truth, 1.0), 1)  # with ties
    ranks = mannwhitneyu(scores[truth], scores[~truth])
    expected = ranks.statistic / (truth.sum() * (~truth).sum())
    assert marks.auroc(truth, scores) == pytest.approx(expected)
    of = marks.Split(truth, scores, rng.integers(9, size=200), 9)
    assert marks.estimate_auroc("AUROC", of).value == pytest.approx(expected)


def drawn(rng: np.random.Generator, n_programs: int, each: int) -> marks.Split:
    """Draw scores that share a part within a program, so that questions are not independent."""
    programs = np.repeat(np.arange(n_programs), each)
    truth = np.tile(np.arange(each) % 2 == 0, n_programs)
    strength = rng.normal(1.0, 1.0, n_programs)[programs]
    return marks.Split(truth, rng.normal(truth * strength, 1.0), programs, n_programs)


def test_the_intervals_contain_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    true = marks.estimate_auroc("AUROC", drawn(rng, 400, 12)).value
    found = [marks.estimate_auroc("AUROC", drawn(rng, 20, 8)) for _ in range(12)]
    inside = np.mean([one.low <= true <= one.high for one in found])
    assert inside >= 0.75


def test_more_questions_about_the_same_programs_are_not_more_programs() -> None:
    rng = np.random.default_rng(3)
    once = drawn(rng, 20, 8)
    again = marks.Split(*(np.tile(part, 20) for part in once[:3]), 20)
    widths = [
        one.high - one.low for one in map(lambda s: marks.estimate_auroc("", s), (once, again))
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    # The control: as many of programs of their own say more.
    apart = np.concatenate([once.programs + 20 * i for i in range(20)])
    of_their_own = marks.estimate_auroc("", marks.Split(again.truth, again.scores, apart, 400))
    assert of_their_own.high - of_their_own.low < 0.5 * widths[0]


def test_the_threshold_is_the_one_with_the_fewest_errors() -> None:
    truth = np.array([False, False, True, False, True, True])
    of = marks.Split(truth, np.array([0.1, 0.2, 0.25, 0.4, 0.5, 0.6]), np.zeros(6, int), 1)
    assert 0.2 < marks.best_threshold(of) < 0.25 or 0.4 < marks.best_threshold(of) < 0.5
    false, missed = marks.estimate_errors(of, 0.3)
    assert (false.value, missed.value) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def answers_of(scores: dict[str, list[tuple[bool, float]]]) -> list[Answer]:
    return [
        Answer("m", "computed", "s", "g", program, "" if truth else "n", 0, (truth,), (score,), 0.0)
        for program, both in scores.items()
        for truth, score in both
    ]


def test_thresholds_are_chosen_on_the_other_programs() -> None:
    chosen = answers_of({"a": [(True, 0.9), (False, 0.7)], "b": [(True, 1.0), (False, 0.0)]})
    here = answers_of({"c": [(True, 0.5), (False, 0.3)], "d": [(True, 0.85), (False, 0.1)]})
    marked = marks.mark(here, chosen)
    assert marked is not None and marked["auroc"]["value"] == 1
    assert marked["threshold"] == pytest.approx(0.8)
    assert marked["missed"]["value"] == 0.5 and marked["false_yes"]["value"] == 0
    own = marks.mark(here, chosen, own_threshold=0.2)
    assert own is not None and own["threshold"] == 0.2
    assert own["missed"]["value"] == 0 and own["false_yes"]["value"] == 0.5
    assert marks.mark(answers_of({"a": [(True, 1.0)]}), chosen) is None


def test_answers_are_read_as_they_were_written() -> None:
    (one, *_) = answers_of({"a": [(True, 0.9)]})
    assert Answer.from_json(one.to_json()) == one


@pytest.mark.parametrize("name", [name for name in registry.METHODS if "das" not in name])
def test_each_method_answers_with_scores(questions: list[Marked], name: str) -> None:
    few = [next(one for one in questions if one.kind == kind) for kind in ("computed", "neurons")]
    few += [one for one in questions if one.kind == "explanation"][:1]
    found = answer(name, registry.METHODS[name], few, "compiled", "program 0")
    assert found and registry.words_of(name, registry.METHODS[name])
    again = answer(name, registry.METHODS[name], few, "compiled", "program 0")
    assert [one.scores for one in found] == [one.scores for one in again]


def test_a_probe_finds_what_is_linear(questions: list[Marked]) -> None:
    one = next(one for one in questions if one.kind == "neurons")
    here = one.planted.view.activations[NEURONS]
    fitted = fit_probe(one.planted.view, NEURONS, one.question)
    values = one.question.values
    assert ((fitted(here) - values) ** 2).mean() < 0.01 * values.var()
