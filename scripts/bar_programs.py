"""Do the weights tell apart the residue classes of random programs? And the program read off them?

Command:   .venv/bin/python scripts/bar_programs.py
Time:      ten minutes on 2 cores; a network that was measured is not measured again
Writes:    docs/bar-programs.json; delete it to start over. Prints the table of docs/mechanism.md
Expected:  of 20 fair programs with one or two residues of x or y, and a network each, in how many
           every residue comes first of 110, beside permuted classes
"""

import json
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from jaxmi.challenges.registry import load_challenge
from jaxmi.challenges.sealed import posed
from jaxmi.mechanism import metrics as table
from jaxmi.mechanism.account import Account, account
from jaxmi.mechanism.classes import class_text
from jaxmi.mechanism.reading import OPERANDS
from jaxmi.programs.fairness import draw_fair
from jaxmi.programs.sample import NumberGrammar
from jaxmi.programs.show import show
from jaxmi.training.recipe import recipes_for
from jaxmi.training.seeds import Run, train_runs
from jaxmi.workflows.challenges import fairness_domain
from jaxmi.workflows.machine import prepare_devices

SEEDS = range(100, 120)
"""Programs of seeds below 20 were looked at while the reading was made."""
GRAMMAR = NumberGrammar(slanted=0)
"""The grammar of `jaxmi challenge new`, without residues of both operands."""
OUT = Path(__file__).resolve().parent.parent / "docs" / "bar-programs.json"


def main() -> None:
    """Train and measure what is missing, then print the table."""
    done: list[dict[str, Any]] = json.loads(OUT.read_text()) if OUT.is_file() else []
    missing = [seed for seed in SEEDS if seed not in {each["seed"] for each in done}]
    if missing:
        prepare_devices(None, len(missing))
        base = load_challenge("transformer")
        domain, _ = fairness_domain(base)
        programs = [draw_fair(domain, Random(seed), GRAMMAR)[0] for seed in missing]
        challenges = [posed(base, program) for program in programs]
        runs = [Run(challenge, [seed]) for seed, challenge in zip(missing, challenges, strict=True)]
        for index, trained in train_runs(runs, recipes_for(base)["fast"]):
            text = show(programs[index])
            measured = account(challenges[index], trained.params)
            assert measured.answers.mistakes is not None
            right = 1 - float(measured.answers.mistakes.mean())
            done.append({"seed": missing[index], "program": text, "accuracy": right})
            done[-1] |= _ranks(measured, text)
            done[-1] |= {
                key: value for key, value in measured.metrics.items() if "weights_program" in key
            }
            OUT.write_text(json.dumps(sorted(done, key=lambda each: each["seed"]), indent=1) + "\n")
            print(json.dumps(done[-1]), flush=True)
    _print_table(done)


def _ranks(measured: Account, text: str) -> dict[str, Any]:
    """Say which residues the program has, and which came first in the weights."""
    bars = Counter(re.findall(r"int\((\w) \*\* ([\d.]+)\) % (\d+)", text))
    wanted: dict[str, list[str]] = {name: [] for name in OPERANDS}
    for operand, exponent, modulus in bars:
        wanted[operand].append(class_text(operand, float(exponent), int(modulus)))
    top: dict[str, list[str]] = {}
    found: dict[str, list[str]] = {}
    for name, texts in wanted.items():
        first, second = measured.classes[name], measured.seconds[name]
        top[name] = [first.best, second.best][: len(texts)]
        both = [first.found, second.found] if first.found else []
        found[name] = [text for text in both if text]
    return {
        "residues": wanted,
        "first": top,
        "on_top": all(set(top[name]) == set(texts) for name, texts in wanted.items()),
        "found": found,
        "all_found": all(set(found[name]) == set(texts) for name, texts in wanted.items()),
        "r2": {name: measured.classes[name].score for name in OPERANDS},
        "permuted_r2": {name: measured.classes[name].permuted_score for name in OPERANDS},
    }


def _print_table(done: list[dict[str, Any]]) -> None:
    print("| program's residues | first in the weights | program read off the weights | permuted |")
    print("|---|---|---|---|")
    for each in done:
        shares = (
            f"{each[kept.agreement.key]:.1%}" if kept.agreement.key in each else "-"
            for kept in (table.PROGRAM, table.PROGRAM_PERMUTED)
        )
        residues, first = (
            ", ".join(text for texts in each[key].values() for text in texts)
            for key in ("residues", "first")
        )
        print("|", " | ".join([residues, first, *shares]), "|")
    for key, words in (("on_top", "first in the weights"), ("all_found", "found, and no other")):
        print(f"all residues {words}: {sum(each[key] for each in done)} of {len(done)}")
    means = [each[table.PROGRAM.agreement.key] for each in done]
    print(f"program read off the weights: {np.mean(means):.1%} of labels, least {min(means):.1%}")


if __name__ == "__main__":
    main()
