"""Does the judge tell true explanations of planted networks from wrong ones with the same labels?

Command:   .venv/bin/python scripts/judge_on_plants.py
Time:      about half an hour on one core; a program that was measured is not measured again
Writes:    docs/judge-on-plants.json; delete it to start over. In docs/explanations.md the lines
           from each `<!-- judge: NAME -->` to the next empty line; `--seeds 0:0` does only that
Expected:  of 40 random programs, each planted as conditions and as a look-up, how often the judge
           calls a wrong explanation complete, and how often it denies a true one
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.stats import binomtest

from jaxmi.challenges.registry import Origin
from jaxmi.errors import InputError
from jaxmi.judge.judge_explanation import judge_explanation
from jaxmi.judge.submission import read_explanation
from jaxmi.judge.wrong_explanations import (
    FINER,
    Submitted,
    true_explanations,
    variables_that_matter,
    wrong_explanations,
)
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.sample import NumberGrammar, sample_program
from jaxmi.programs.show import show
from jaxmi.workflows.plants import Plant, compile_network

SEEDS = range(200, 240)
LOOKED_AT = 140
"""Programs of seeds below this were looked at while thresholds and rules were chosen."""
P, NETWORK = 23, {"d_model": 48, "n_heads": 8, "d_head": 8, "d_mlp": 128}
DOCS = Path(__file__).resolve().parent.parent / "docs"
OUT, PAGE = DOCS / "judge-on-plants.json", DOCS / "explanations.md"
BLOCK = re.compile(r"(<!-- judge: ([a-z]+) -->\n)((?:[^\n]+\n)*)")
LEAST_SHARE = 0.2
"""Least share of either label: where one label is nearly all, a constant feature keeps it."""
BOOTSTRAPS = 10_000


def main() -> None:
    """Examine the judge on what is missing, then print the tables, and fill the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seeds", default=f"{SEEDS.start}:{SEEDS.stop}", help="programs, such as 0:10"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the file of results")
    options = parser.parse_args()
    first, end = map(int, options.seeds.split(":"))
    done: list[dict[str, Any]] = (
        json.loads(options.out.read_text()) if options.out.is_file() else []
    )
    known = {each["seed"] for each in done}
    for seed in range(first, end):
        if seed in known:
            continue
        done.append(_examine(seed))
        lines = ",\n".join(json.dumps(each) for each in sorted(done, key=lambda one: one["seed"]))
        options.out.write_text(f"[\n{lines}\n]\n")
        print(f"seed {seed}: {len(done[-1]['cases'])} explanations", flush=True)
    done.sort(key=lambda each: each["seed"])
    if not done:
        return
    for block in BLOCKS.values():
        print(block(done), end="\n\n")
    if options.out == OUT:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), done), encoding="utf-8")


def _examine(seed: int) -> dict[str, Any]:
    """Draw a program, plant it twice, and judge every explanation of the two networks."""
    text, plants = _planted(seed)
    cases = []
    for mechanism, plant in plants.items():
        challenge, params = plant.challenge, plant.params
        variables = variables_that_matter(_program(plant), challenge)
        true = true_explanations(plant.key, challenge, params)
        wrong = wrong_explanations(plant.key, challenge, params, variables, seed)
        for is_true, several in ((True, true), (False, wrong)):
            for kind, submitted in several.items():
                about = {"plant": mechanism, "kind": kind, "true": is_true}
                cases.append(about | _judged(plant, submitted))
    return {"seed": seed, "program": text, "cases": cases}


def _planted(seed: int) -> tuple[str, dict[str, Plant]]:
    """Return a random program without guards, of which two variables matter, planted twice."""
    rng, domain = Random(seed), PairDomain(P)
    grammar = replace(NumberGrammar().scaled_to(P), guarded=(0, 0))
    while True:
        program = sample_program(domain, rng, grammar)
        if not LEAST_SHARE <= label(program, domain).mean() <= 1 - LEAST_SHARE:
            continue
        try:
            plants = {
                mechanism: compile_network(program, mechanism, P, NETWORK, seed)
                for mechanism in ("conditions", ("rows", "columns")[seed % 2])
            }
        except InputError:  # too large for the network, or one label only
            continue
        if len(variables_that_matter(program, plants["conditions"].challenge)) > 1:
            return show(program), plants


def _program(plant: Plant) -> Any:
    assert plant.challenge.program is not None
    return plant.challenge.program


def _judged(plant: Plant, submitted: Submitted) -> dict[str, Any]:
    """Judge an explanation; wrong claims count as caught if the score names them as empty."""
    challenge = plant.challenge
    explanation = read_explanation(
        json.dumps(submitted.explanation),
        challenge.name,
        Origin(challenge.kind, challenge.model),
    )
    score = judge_explanation(explanation, challenge, plant.params)
    named = {*score.mechanism.idle, *(i for i, one in enumerate(score.claims) if one.empty)}
    caught = bool(submitted.wrong) and named.issuperset(submitted.wrong)
    variables = score.mechanism.variables
    return {
        "grade": score.grade,
        "mechanism": score.mechanism.verdict,
        "complete": score.shows_mechanism and not caught,
        "strict": _least([one.strict for one in variables]),
        "keep": _least([one.keep for one in variables]),
        "effect": _least([one.effect for one in variables]),
    }


def _least(shares: Sequence[float | None]) -> float | None:
    """Return the least of the shares that there are, to three digits."""
    known = [share for share in shares if share is not None]
    return round(min(known), 3) if known else None


def filled(page: str, done: Sequence[Mapping[str, Any]]) -> str:
    """Return the page with every generated block as the results have it."""

    def fill(block: re.Match[str]) -> str:
        head, name, _ = block.groups()
        return f"{head}{BLOCKS[name](done)}\n"

    return BLOCK.sub(fill, page)


def _table(done: Sequence[Mapping[str, Any]]) -> str:
    """Return a row for each kind of explanation, of true ones first."""
    rows: dict[tuple[bool, str, str], list[dict[str, Any]]] = {}
    for each in done:
        for case in each["cases"]:
            plant = "look-up" if case["plant"] in ("rows", "columns") else case["plant"]
            rows.setdefault((case["true"], plant, case["kind"]), []).append(case)
    lines = [
        "| explanation | plant | n | complete of labels | complete, mechanism shown |",
        "|---|---|---|---|---|",
    ]
    for (is_true, plant, kind), cases in sorted(rows.items(), key=lambda row: not row[0][0]):
        of_labels = sum(case["grade"] == "complete" for case in cases)
        shown = sum(case["complete"] for case in cases)
        name = f"{'**true**: ' if is_true else ''}{kind}"
        lines.append(
            f"| {name} | {plant} | {len(cases)} | {_share(of_labels, len(cases))} "
            f"| {_share(shown, len(cases))} |"
        )
    return "\n".join(lines)


def _totals(done: Sequence[Mapping[str, Any]]) -> str:
    """Return both rates, by labels and with the mechanism's verdict, in one paragraph."""

    def rate(is_true: bool, shown: str, value: Any) -> str:
        shares = [
            [(case[shown] == value) != is_true for case in each["cases"] if _counts(case, is_true)]
            for each in done
        ]
        return _bootstrapped([one for one in shares if one])

    seeds = [each["seed"] for each in done]
    seen = sum(seed < LOOKED_AT for seed in seeds)
    looked = f" {seen} of them were looked at while rules were chosen." if seen else ""
    return (
        f"{len(done)} programs, of seeds {min(seeds)} to {max(seeds)}.{looked} "
        "**Wrong explanations called complete**: by labels alone "
        f"{rate(False, 'grade', 'complete')}; with the mechanism's verdict "
        f"{rate(False, 'complete', True)}. **True explanations denied**: by labels alone "
        f"{rate(True, 'grade', 'complete')}; with the mechanism's verdict "
        f"{rate(True, 'complete', True)}."
    )


BLOCKS: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], str]] = {
    "table": _table,
    "totals": _totals,
}
"""Word in a comment -> the function that writes the block from the results."""


def _counts(case: Mapping[str, Any], is_true: bool) -> bool:
    """Return whether a case counts: features that are too fine are true by the letter."""
    return case["true"] == is_true and case["kind"] != FINER


def _share(count: int, n: int) -> str:
    """Return a share with Wilson's 95 % interval, over programs."""
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return f"{100 * count / n:.0f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _bootstrapped(programs: list[list[bool]]) -> str:
    """Return the share over all cases, with its 95 % interval over programs drawn again."""
    sums = np.array([[sum(one), len(one)] for one in programs])
    drawn = np.random.default_rng(0).integers(0, len(sums), (BOOTSTRAPS, len(sums)))
    again = sums[drawn].sum(axis=1)
    low, high = np.percentile(100 * again[:, 0] / again[:, 1], [2.5, 97.5])
    count, n = sums.sum(axis=0)
    if count in (0, n):  # drawn again it is always the same: Wilson's interval over programs
        of = len(sums)
        interval = binomtest(of if count else 0, of).proportion_ci(method="wilson")
        low, high = 100 * interval.low, 100 * interval.high
    return f"{count} of {n}, {100 * count / n:.1f} % [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
