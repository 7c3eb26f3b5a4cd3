"""The tables of metrics say what each metric is; units decide how values are written."""

import pytest

from jaxmi.explanation import cnn_metrics, transformer_metrics
from jaxmi.explanation.metrics import MetricTable, Unit
from jaxmi.explanation.scrub import Outcome

TABLES = {"cnn": cnn_metrics, "transformer": transformer_metrics}
BOTH = {**cnn_metrics.TABLE, **transformer_metrics.TABLE}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("armwise_true", 0.98765, "98.8%"), ("neurons_left", 34, "34"), ("zero_one_mean", -1.0,
     "-1.00"), ("recovered_clue_index", 6, "6"), ("recovered_clue_index", 31771.0, "31,771"),
     ("mlp_zero_kept", 0.8134, "81.3%"), ("recovered_clue_margin", 0.00214, "0.0021"),
     ("scrub_0.1_logit_error", 10.69, "10.69"), ("neurons_dead", 88.5, "88.5"),
     ("min_specificity", 0.456, "0.46"), ("recovered_template_correlation", 0.8712, "0.8712"),
     ("live_neurons_towards_1", 0.5, "50.0%"), ("recovered_band_low", 6_316_860.0, "6,316,860"),
     ("control_untrained_recovered_true_clue_rank", 5342, "5,342"),
     ("mlp_logit_diff_TF", -3.456, "-3.46"), ("fixed_scrub_1_2_std", 0.0012, "0.1%"),
     ("armwise_true", None, "-"), ("recovered_band_high", float("inf"), "-")],
)  # fmt: skip
def test_values_are_written_in_their_unit(key: str, value: float | None, expected: str) -> None:
    assert BOTH[key].format({key: value}) == expected
    assert BOTH[key].format({}) == "-"


@pytest.mark.parametrize(
    ("key", "expected"),
    [("similarity_band_agreement", "96.25%"), ("l1_band_agreement", "96.24%"),
     ("armwise_true", "94%"), ("logit_diff_mean", "3.44"), ("recovered_clue_index", "6"),
     ("recovered_template_correlation", "0.8700"), ("neurons_left", "-")],
)  # fmt: skip
def test_published_values_have_their_own_digits(key: str, expected: str) -> None:
    assert cnn_metrics.TABLE[key].format_published() == expected


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_consistent(name: str) -> None:
    table, main = TABLES[name].TABLE, TABLES[name].MAIN
    labels = [metric.label for metric in table.values()]
    assert len(set(labels)) == len(labels)
    for key, metric in table.items():
        assert metric.key == key
        if metric.control is not None:
            assert table[metric.control.metric.key] is metric.control.metric
            assert metric.control.metric.unit is metric.unit
            assert metric.control.label
    assert all(table[metric.key] is metric for metric in main)


def test_only_the_published_cnn_has_published_values() -> None:
    published = cnn_metrics.TABLE.published
    assert len(published) == 32
    assert all(0 <= value <= 1 for key, value in published.items()
               if cnn_metrics.TABLE[key].unit is Unit.SHARE)  # fmt: skip
    assert transformer_metrics.TABLE.published == {}


def test_a_run_is_summed_up_by_medians_and_of_an_index_by_the_most_frequent() -> None:
    table = MetricTable()
    for key in ("a", "only", "margin"):
        table.add(key, key)
    table.add("clue", "the clue", Unit.INDEX)
    seeds = [
        {"a": 1.0, "clue": 6, "only": 3},
        {"a": 5.0, "clue": 31771},
        {"a": None, "clue": 6},
    ]
    assert table.summarise(seeds) == {"a": 3.0, "clue": 6, "only": 3}
    assert table.summarise([{"a": None}]) == {"a": None}


def test_a_key_is_added_once_and_a_scrub_has_three() -> None:
    table = MetricTable()
    scrub = table.add_scrub("scrub_1", "a scrub", 0.9)
    assert list(table) == ["scrub_1", "scrub_1_std", "scrub_1_logit_error"]
    assert table.published == {"scrub_1": 0.9}
    outcome = Outcome(
        kept=0.8, kept_std=0.01, chance=0.5, logit_error=2.5, moved=1.0, kept_of_moved=0.8
    )
    assert scrub.values(outcome) == {
        "scrub_1": 0.8, "scrub_1_std": 0.01, "scrub_1_logit_error": 2.5
    }  # fmt: skip
    with pytest.raises(ValueError, match="two metrics with the key 'scrub_1'"):
        table.add("scrub_1", "again")
