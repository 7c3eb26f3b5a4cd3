"""Are random programs exact as weights, by each mechanism? And are they recovered from them?

Command:   .venv/bin/python scripts/planted_programs.py [--programs 1000] [--recover 0]
Time:      half a second a network on one core; recovering takes about a minute a program
Writes:    docs/planted-programs.json, or --out FILE. Prints the tables of docs/planted.md from it
Expected:  every program that is not refused has all labels, among all tokens; a refusal says why
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import jaxmi
from jaxmi.errors import InputError
from jaxmi.planted.compile import MECHANISMS
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Program
from jaxmi.programs.sample import sample_program
from jaxmi.programs.show import show

OUT = Path(__file__).resolve().parent.parent / "docs" / "planted-programs.json"
QUANTILES = (0, 0.05, 0.5, 0.95, 1)
MEDIAN = QUANTILES.index(0.5)
VARIANTS: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    *((name, name, 1, {}) for name in MECHANISMS),
    *((f"conditions, {blocks} blocks", "conditions", blocks, {}) for blocks in (2, 3)),
    *(
        (f"{name}, disguised", name, 1, {"disguise": 0, "cancelling": 20, "idle_heads": 1})
        for name in MECHANISMS
    ),
)
"""Name, mechanism, number of blocks, disguise."""


def main() -> None:
    """Compile, count, recover, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--programs", type=int, default=1000, help="seeds 0..N-1")
    parser.add_argument("--variants", type=int, default=3, help="the first so many of the variants")
    parser.add_argument("--recover", type=int, default=0, help="how many to recover, from seed 0")
    parser.add_argument(
        "--p",
        type=int,
        default=113,
        help="values of x and y; what is measured for another p stays in the JSON",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON to write")
    given = parser.parse_args()
    done = json.loads(given.out.read_text()) if given.out.is_file() else {}

    def save(name: str, found: dict[str, Any]) -> None:
        done[f"{name}, p = {given.p}"] = found
        given.out.write_text(json.dumps(done, indent=1) + "\n")

    if given.programs:
        compile_all(given.programs, given.p, VARIANTS[: given.variants], partial(save, "compiled"))
    if given.recover:
        recover_all(given.recover, given.p, partial(save, "recovered"))
    _print_tables(done)


Save = Callable[[dict[str, Any]], None]
"""Writes what is measured so far."""


def compile_all(n: int, p: int, variants: Sequence[tuple], save: Save) -> None:
    """Compile programs by every variant; save counts and quantiles every few programs."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name, *_ in variants}
    refused: dict[str, Counter[str]] = {name: Counter() for name in rows}
    wrong: dict[str, list[int]] = {name: [] for name in rows}
    for seed in range(n):
        program = sample_program(PairDomain(p), Random(seed))
        for name, mechanism, blocks, disguise in variants:
            start, cpu = time.perf_counter(), time.process_time()
            try:
                sizes = {"n_layers": blocks}
                network = jaxmi.compile(program, mechanism, p=p, network=sizes, **disguise)
            except InputError as error:
                refused[name][_reason(str(error))] += 1
                continue
            about = network.config["compiled"]
            rows[name].append(
                {
                    "seconds": time.perf_counter() - start,
                    "cpu_seconds": time.process_time() - cpu,
                    "margin": about["margin"],
                    **about["used"],
                    "held": _share(network.key, "held"),
                    "full": _share(network.key, "full"),
                }
            )
            if not _is_exact(network, program):
                wrong[name].append(seed)
        if seed % 25 == 24 or seed == n - 1:
            save(_summary(seed + 1, rows, refused, wrong))


def _summary(
    n: int,
    rows: Mapping[str, list[dict[str, Any]]],
    refused: Mapping[str, Counter[str]],
    wrong: Mapping[str, list[int]],
) -> dict[str, Any]:
    return {
        "programs": n,
        "quantiles": list(QUANTILES),
        **{
            name: {
                "exact": len(those) - len(wrong[name]),
                "refused": dict(refused[name]),
                "wrong_seeds": wrong[name],
                **{
                    key: _quantiles([row[key] for row in those])
                    for key in (those[0] if those else ())
                },
            }
            for name, those in rows.items()
        },
    }


def _quantiles(values: Sequence[float]) -> list[float]:
    return [round(float(q), 4) for q in np.quantile(values, QUANTILES)]


def _is_exact(network: Any, program: Program) -> bool:
    """Compare the largest of all logits with the program run input by input, as Python does."""
    challenge = network.challenge
    predicted = np.asarray(challenge.logits(network.params)).argmax(axis=-1)
    return bool((predicted == label(program, PairDomain(challenge.p))).all()) and all(
        predicted[i] == as_python(program, *(int(one) for one in challenge.inputs[i]))
        for i in np.random.default_rng(0).integers(0, len(predicted), 50)
    )


def as_python(program: Program, x: int, y: int, p: int) -> int:
    """Return one label, by Python itself: programs are Python but for their `return`."""
    names: dict[str, Any] = {}
    text = "def f(x, y, p):\n" + "".join(f"    {line}\n" for line in show(program).splitlines())
    exec("from math import sqrt\n" + text, names)  # a sampled program, not a stranger's
    return int(names["f"](x, y, p))


def _share(key: Any, name: str) -> float:
    """Return the share of the program's variables that are held, or held with every effect."""
    own = [
        one for one in key["variables"] if one["role"] in ("condition", "residue", "partial sum")
    ]
    return sum(bool(one["held"] and one.get(name)) for one in own) / max(len(own), 1)


def _reason(message: str) -> str:
    """Return a refusal without the program's own text and numbers."""
    return re.sub(r"-?\d[\d,.]*", "N", re.sub(r"`[^`]*`", "`...`", message))


def recover_all(n: int, p: int, save: Save) -> None:
    """Recover programs from compiled networks by each mechanism in turn."""
    rows = []
    for seed in range(n):
        program = sample_program(PairDomain(p), Random(seed))
        mechanism = list(MECHANISMS)[seed % len(MECHANISMS)]
        start = time.perf_counter()
        try:
            network = jaxmi.compile(program, mechanism, p=p)
            found = jaxmi.recover(network).best.program
        except InputError:  # too large, or the same label for every input
            continue
        own = label(program, PairDomain(p))
        share = float((label(found, PairDomain(p)) == own).mean())
        rows.append((share, time.perf_counter() - start))
        shares, seconds = zip(*rows, strict=True)
        save(
            {
                "networks": len(rows),
                "all_labels": sum(share == 1 for share in shares),
                "quantiles": list(QUANTILES),
                "agreement": _quantiles(shares),
                "seconds": _quantiles(seconds),
            }
        )


def _print_tables(done: Mapping[str, Any]) -> None:
    print(
        "| programs | mechanism | exact | refused | most dimensions | most heads "
        "| most neurons (median) | smallest margin |\n|---|---|---|---|---|---|---|---|"
    )
    compiled = [(case, found) for case, found in done.items() if case.startswith("compiled")]
    for case, found in compiled:
        seeds = f"seeds 0 to {found['programs'] - 1}, {case.partition(', ')[2]}"
        for name, row in found.items():
            if not isinstance(row, Mapping):
                continue
            refused = sum(row["refused"].values())
            sizes = "| | | |"
            if "margin" in row:  # something was compiled
                dims, heads, neurons = (row[key] for key in ("d_model", "n_heads", "d_mlp"))
                sizes = f"| {dims[-1]:.0f} | {heads[-1]:.0f} | {neurons[-1]:.0f} "
                sizes += f"({neurons[MEDIAN]:.0f}) | {row['margin'][0]:.3g}"
            exact = f"{row['exact']:,} of {found['programs'] - refused:,}"
            print(f"| {seeds} | {name} | {exact} | {refused} {sizes} |")
    recovered = [(case, found) for case, found in done.items() if case.startswith("recovered")]
    if not recovered:
        return
    print(
        "\n| networks | all labels recovered | least agreement (median) | seconds (median) |\n"
        "|---|---|---|---|"
    )
    for case, found in recovered:
        shares, seconds = found["agreement"], found["seconds"]
        print(
            f"| {found['networks']}, {case.partition(', ')[2]} | {found['all_labels']} "
            f"| {shares[0]:.2%} ({shares[MEDIAN]:.2%}) | {seconds[MEDIAN]:.0f} |"
        )


if __name__ == "__main__":
    main()
