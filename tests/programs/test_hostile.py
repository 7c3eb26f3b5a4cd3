"""Hostile texts are refused in a line each, at once, without much memory, and nothing is run."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from programs import hostile

HARMLESS = {"harmless", "harmless bomb"}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What one process says that goes through all of them, with limited memory."""
    command = [sys.executable, hostile.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_there_are_more_than_three_hundred_and_no_two_are_the_same(report: dict[str, Any]) -> None:
    everything = {**hostile.texts(), **hostile.bombs()}
    assert len(set(everything.values())) == len(everything) > 300
    assert set(report["said"]) == set(everything) | HARMLESS


def test_each_is_refused_in_one_line_that_says_where(report: dict[str, Any]) -> None:
    for name in hostile.texts():
        said = report["said"][name]
        assert re.fullmatch(r"line \d+, column \d+: [ -~]{5,250}", said), (name, said)


def test_programs_whose_numbers_grow_without_end_are_refused_when_evaluated(
    report: dict[str, Any],
) -> None:
    for name in hostile.bombs():
        said = report["said"][name]
        assert re.fullmatch(r"line \d+, column \d+: OverflowError, .+ at x = \d+, y = \d+", said), (
            name,
            said,
        )


def test_harmless_programs_pass_the_same_process(report: dict[str, Any]) -> None:
    """The control."""
    assert {name for name, said in report["said"].items() if not said} == HARMLESS


def test_each_takes_less_than_a_second_of_a_processor(report: dict[str, Any]) -> None:
    """Not of a clock, which other programs would be measured by, too."""
    slowest = max(report["seconds"], key=report["seconds"].get)
    print(f"slowest: {slowest}, {report['seconds'][slowest]:.2f} s")
    assert report["seconds"][slowest] < 1


def test_all_of_them_take_less_than_200_megabytes(report: dict[str, Any]) -> None:
    assert report["limited"]  # the control: a block as large as the limit is not to be had
    print(f"largest: {report['megabytes']:.0f} MB")
    assert report["megabytes"] < 200


def test_the_parser_needs_neither_jax_nor_numpy(report: dict[str, Any]) -> None:
    assert report["modules"] == []
