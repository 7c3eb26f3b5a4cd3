"""Explanations as folders: a report, its figures as PNG, and every number as JSON."""

import hashlib
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from jaxmi import __version__
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.explanation.cnn_solution import explain_cnn
from jaxmi.explanation.transformer_solution import explain_transformer
from jaxmi.report.cnn_page import cnn_page
from jaxmi.report.page import MAIN, Page, render, render_seeds, shown, summarise
from jaxmi.report.transformer_page import transformer_page
from jaxmi.storage.atomic import atomic_files, check_files
from jaxmi.storage.checkpoints import load_checkpoint, read_json, write_json
from jaxmi.types import Params
from jaxmi.workflows.networks import find_networks, load_labelled
from jaxmi.workflows.progress import track

REPORT, NUMBERS = "report.html", "figures.json"


@dataclass(frozen=True)
class Report:
    """One network's explanation."""

    page: Page
    """What the report says, with its pictures."""

    numbers: Mapping[str, Any]
    """What figures.json holds: "figures" (the metrics), "published", "verdicts", "program"."""

    def html(self) -> str:
        """Return the page as one HTML document."""
        return render(self.page)


def write_explanations(path: Path, out: Path, force: bool, data_dir: Path | None) -> dict[str, Any]:
    """Explains a network, or every seed of a run, and writes the reports.

    A run's seeds are written one by one, each whole; a seed that was explained before from the same
    parameters by the same version is not explained again.

    Args:
      path: A checkpoint, or a run folder.
      out: The folder to write.
      force: Replace files that are there.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      What `jaxmi explain --json` prints.

    Raises:
      InputError: if the path holds no network, a file is in the way, or a network does not respond
        to its input.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    folders = find_networks(path)
    networks = {name: load_labelled(folder) for name, folder in folders.items()}
    prints = {name: _fingerprint(folder) for name, folder in folders.items()}
    done = {
        name: numbers
        for name in networks
        if name and not force and (numbers := _done(out / name, prints[name]))
    }
    missing = [name for name in networks if name not in done]
    files = [str(Path(name, file)) for name in missing for file in (REPORT, NUMBERS)]
    # The table of a run that goes on is made anew; any other report is in the way.
    check_files(out, files if done else [REPORT, *files], force)
    challenge_name = next(iter(networks.values())).challenge
    challenge = load_challenge(challenge_name, data_dir)
    refused: dict[str, InputError] = {}
    for name in track(missing, len(missing)):
        command = f"jaxmi explain {_quote(folders[name])} --out {_quote(out / name)}"
        label = name or path.resolve().name
        try:
            report = explain_network(challenge, networks[name].params, label, command)
        except InputError as error:
            refused[name] = error
            continue
        done[name] = {**report.numbers, "checkpoint": str(folders[name]), **prints[name]}
        _write(out / name, report.page, done[name])
    if not done:
        raise next(iter(refused.values()))
    if "" in done:
        return {"report": str(out / REPORT), **done[""]}
    return _sum_up(
        challenge, path, out, {name: done[name] for name in networks if name in done}, refused
    )


def save_report(report: Report, folder: Path, force: bool) -> None:
    """Write an explanation that was made in memory.

    Args:
      report: From `explain_network`.
      folder: Where report.html, figures.json and the pictures go.
      force: Replace files that exist.

    Raises:
      InputError: if a file exists, or the folder cannot be written.
    """
    check_files(folder, [REPORT, NUMBERS], force)
    _write(folder, report.page, report.numbers)


def _write(folder: Path, page: Page, numbers: Mapping[str, Any]) -> None:
    """Writes one network's explanation."""
    with atomic_files(folder) as temporary:
        (temporary / REPORT).write_text(render(page), encoding="utf-8")
        for section in page.sections:
            for name, picture in section.figures.items():
                (temporary / f"{name}.png").write_bytes(picture)
        write_json(temporary / NUMBERS, numbers)


def _sum_up(
    challenge: Challenge,
    path: Path,
    out: Path,
    seeds: Mapping[str, Any],
    refused: Mapping[str, InputError],
) -> dict[str, Any]:
    """Writes a run's table; returns the result, unless a seed could not be explained."""
    figures = {name: numbers["figures"] for name, numbers in seeds.items()}
    with atomic_files(out) as temporary:
        (temporary / REPORT).write_text(render_seeds(challenge, figures), encoding="utf-8")
    if refused:
        reasons = "; ".join(f"{name}: {error}" for name, error in refused.items())
        raise InputError(f"the other {len(seeds)} seeds are explained in {out}, not {reasons}")
    return {
        "report": str(out / REPORT),
        "challenge": challenge.name,
        "checkpoint": str(path),
        "figures": summarise(list(figures.values())),
        "seeds": seeds,
    }


def print_explanations(result: Mapping[str, Any]) -> None:
    """Prints the verdicts, the main figures, and where the report is."""
    console = Console()
    seeds = result.get("seeds", {"": result})
    table = Table(title=result["challenge"], title_justify="left")
    table.add_column("figure")
    for name in seeds if len(seeds) <= 5 else ("typical",):
        table.add_column(name or "this network", justify="right")
    columns = list(seeds.values()) if len(seeds) <= 5 else [result]
    published = columns[0]["published"] if len(seeds) == 1 else {}
    if published:
        table.add_column("published", justify="right")
    for key, words in MAIN[result["challenge"]].items():
        cells = [shown(column["figures"].get(key), key) for column in columns]
        if published:
            cells.append(shown(published.get(key), key, ".4g"))
        table.add_row(words, *cells)
    console.print(table)
    if len(seeds) == 1:
        for title, verdict in columns[0]["verdicts"].items():
            console.print(f"{verdict:>9}  {title}", highlight=False)
        if columns[0]["program"]:
            console.print(
                f"\n{columns[0]['program']}\n", highlight=False, markup=False, soft_wrap=True
            )
    console.print(f"{result['report']}", highlight=False, soft_wrap=True)


def control_networks(challenge: Challenge) -> dict[str, Params]:
    """Returns networks of challenge 1's architecture that know nothing of the clue."""
    parity = resources.files("jaxmi").joinpath("controls", "cnn-parity")
    with resources.as_file(parity) as folder:
        trained = load_checkpoint(folder).params
    return {"untrained": jax.jit(challenge.init)(jax.random.key(0)), "parity": trained}


def explain_network(challenge: Challenge, params: Params, name: str, command: str) -> Report:
    """Explain one network.

    Args:
      challenge: The challenge whose inputs and labels it has.
      params: The network.
      name: What the report calls it.
      command: What the report says it was made by.

    Raises:
      InputError: if the network does not respond to its input.
    """
    program = None
    if challenge.name == "cnn":
        cnn = explain_cnn(challenge, params, control_networks(challenge))
        page = cnn_page(cnn, challenge, name, command)
        program = f"# {cnn.recovery.words}\n{cnn.recovery.pseudocode}"
    else:
        transformer = explain_transformer(challenge, params)
        page = transformer_page(transformer, challenge, name, command)
    numbers = {
        "challenge": challenge.name,
        "figures": {key: _number(value) for key, value in page.values.items()},
        "published": dict(page.published),
        "verdicts": {s.title: s.verdict for s in page.sections if s.verdict},
        "program": program,
    }
    return Report(page, numbers)


def _quote(path: Path) -> str:
    return shlex.quote(str(path))


def _number(value: int | float) -> int | float | None:
    """JSON has no infinity: a band that is open to one side, say."""
    return value if math.isfinite(value) else None


def _fingerprint(folder: Path) -> dict[str, str]:
    parameters = (folder / "params.safetensors").read_bytes()
    return {"sha256": hashlib.sha256(parameters).hexdigest(), "jaxmi_version": __version__}


def _done(folder: Path, fingerprint: Mapping[str, str]) -> dict[str, Any] | None:
    """An explanation that is there already, if it is of these parameters."""
    if not (folder / NUMBERS).is_file() or not (folder / REPORT).is_file():
        return None
    try:
        numbers = read_json(folder / NUMBERS)
    except InputError:
        return None
    same = all(numbers.get(key) == value for key, value in fingerprint.items())
    return numbers if same else None
