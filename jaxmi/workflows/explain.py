"""Explain networks, and write each explanation as a folder: report, figures, and metrics as JSON.

A kind of challenge is explained by its entry in `EXPLAINERS`; to explain another kind, add one.
"""

import hashlib
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmi import __version__
from jaxmi.challenges.challenge import Challenge, sizes
from jaxmi.errors import InputError
from jaxmi.explanation import cnn_metrics, transformer_metrics
from jaxmi.explanation.clue_search import MNIST
from jaxmi.explanation.cnn_solution import (
    CnnExplanation,
    Prepared,
    collection_of,
    explain_cnn,
    prepare,
)
from jaxmi.explanation.metrics import Metric, MetricTable
from jaxmi.explanation.transformer_solution import TransformerExplanation, explain_transformer
from jaxmi.files import takes_any_path, write_text
from jaxmi.mechanism import heads_metrics, image_metrics, second_metrics
from jaxmi.mechanism import metrics as mechanism
from jaxmi.mechanism.account import account
from jaxmi.mechanism.heads import heads
from jaxmi.mechanism.image_account import image_account
from jaxmi.mechanism.second_solution import SecondSolution, second_solution
from jaxmi.models.cnn import Cnn
from jaxmi.programs.language import Kind
from jaxmi.programs.show import show
from jaxmi.report import heads_page, image_page, mechanism_page, second_page, variables_page
from jaxmi.report.cnn_page import cnn_page
from jaxmi.report.page import Page, Section, render, render_seeds
from jaxmi.report.transformer_page import transformer_page
from jaxmi.settings import with_fixed_settings
from jaxmi.storage.atomic import atomic_files, check_files
from jaxmi.storage.checkpoints import Checkpoint, load_checkpoint, read_json, write_json
from jaxmi.types import Metrics, Params
from jaxmi.workflows.label_tables import is_table
from jaxmi.workflows.networks import check_kind, find_networks, load_published, network_folder
from jaxmi.workflows.progress import track
from jaxmi.workflows.variables import Question, which_model

REPORT, NUMBERS = "report.html", "figures.json"
REPLACEMENT = "replacement.npz"
"""A smaller network, of a network that one was cut out of; docs/mechanism.md has a loader."""
PROGRAM = "weights-program.txt"
"""The program read off the weights; absent if there is none."""
FILES = (REPORT, NUMBERS, REPLACEMENT, PROGRAM)
"""The files of a report, which replace none without being told to; pictures lie beside them."""


Explanation = CnnExplanation | TransformerExplanation


@dataclass(frozen=True)
class Mechanism:
    """What a network computes, whatever its program: the part of a report that opens it."""

    metrics: Metrics
    summary: str
    sections: Sequence[Section]
    not_shown: str
    names: Mapping[str, str | None] = field(default_factory=dict)
    """Further keys of "figures" -> a text."""
    replacement: Mapping[str, Any] | None = None
    """The arrays of a smaller network."""
    program: str | None = None
    """The text of a program that was read off the weights."""


@dataclass(frozen=True)
class Explainer:
    """The functions and the metrics by which a kind of challenge is explained."""

    explain: Callable[[Challenge, Params, Any], Explanation]
    """Runs the experiments on a network; the last argument is what `prepare` returned."""

    page: Callable[[Any, Challenge, str, str], Page]
    """Assembles the report: (explanation, challenge, name, command) -> page."""

    table: MetricTable
    """The metrics, of a network of the published sizes."""

    main: Sequence[Metric]
    """The metrics that are printed, and that the table of seeds has."""

    mechanism: Callable[[Challenge, Params, Params | None, Any], Mechanism]
    """Says what the network computes, whatever its program: (challenge, parameters, those of
    another seed as a control or None, what `prepare` returned)."""

    second: Callable[[Challenge, Params], SecondSolution | None] | None = None
    """Recomputes the challenge's second published solution; None where its claims say nothing."""

    prepare: Callable[[Challenge], Any] = lambda challenge: None
    """Computes what the explanations of all of a challenge's networks have in common."""


@with_fixed_settings
def control_networks(challenge: Challenge) -> dict[str, Params]:
    """Return networks of the same architecture that were not trained on the challenge.

    The network that was trained on odd or even has the published sizes and sees MNIST.
    """
    untrained = {"untrained": jax.jit(challenge.init)(jax.random.key(0))}
    if challenge.model_config != sizes(Cnn()) or collection_of(challenge) != MNIST:
        return untrained
    parity = resources.files("jaxmi").joinpath("controls", "cnn-parity")
    with resources.as_file(parity) as folder:
        trained = load_checkpoint(folder).params
    return {**untrained, "parity": trained}


def _prepare_cnn(challenge: Challenge) -> Prepared:
    return prepare(challenge, control_networks(challenge))


def _of_transformer(
    challenge: Challenge, params: Params, other: Params | None, _: Any
) -> Mechanism:
    given = account(challenge, params, other)
    of_heads = heads(challenge, params, given.untrained)
    metrics, summary = given.metrics, mechanism_page.summary(given, challenge)
    sections = mechanism_page.sections(given, challenge)
    if of_heads is not None:
        metrics = metrics | of_heads.metrics
        summary = f"{summary} {heads_page.summary(of_heads)}"
        sections = (*sections, *heads_page.sections(of_heads))
    return Mechanism(
        metrics,
        summary,
        sections,
        mechanism_page.NOT_IN_WEIGHTS,
        given.names,
        None if given.smaller is None else given.smaller.best.arrays,
        None if given.program is None else given.program.reading.text,
    )


def _of_cnn(
    challenge: Challenge, params: Params, other: Params | None, prepared: Prepared
) -> Mechanism:
    untrained = prepared.controls["untrained"].params
    given = image_account(challenge, params, untrained, other, prepared.moments)
    return Mechanism(
        given.metrics,
        image_page.image_summary(given, challenge),
        image_page.image_sections(given),
        image_page.NOT_IN_SCORES,
    )


_TRANSFORMER = Explainer(
    lambda challenge, params, _: explain_transformer(challenge, params),
    transformer_page,
    MetricTable.union(
        mechanism.TABLE, heads_metrics.TABLE, transformer_metrics.TABLE, second_metrics.TABLE
    ),
    (*transformer_metrics.MAIN, *mechanism.MAIN, *heads_metrics.MAIN, *second_metrics.MAIN),
    _of_transformer,
    second_solution,
)

EXPLAINERS: Mapping[Kind, Explainer] = {
    "image": Explainer(
        explain_cnn,
        cnn_page,
        MetricTable.union(image_metrics.TABLE, cnn_metrics.TABLE),
        (*cnn_metrics.MAIN, *image_metrics.MAIN),
        _of_cnn,
        prepare=_prepare_cnn,
    ),
    "pairs": _TRANSFORMER,
    "triples": _TRANSFORMER,
}
"""Kind of challenge -> its explainer."""


def explainer_of_metrics(figures: Mapping[str, Any]) -> Explainer:
    """Return the explainer that measured some metrics, given them by key.

    Not every network has every metric: it is the explainer that knows most of them.
    """
    return max(EXPLAINERS.values(), key=lambda one: sum(m.key in figures for m in one.main))


@dataclass(frozen=True)
class Report:
    """The report on one network."""

    page: Page
    """Its text, tables and figures."""

    numbers: Mapping[str, Any]
    """The content of figures.json: "figures" (the metrics), "published", "verdicts", "program"."""

    replacement: Mapping[str, Any] | None = None
    """The arrays of replacement.npz; None if there is no smaller network."""

    weights_program: str | None = None
    """The text of weights-program.txt; None if no program was read off the weights."""

    def html(self) -> str:
        """Return the page as one HTML document."""
        return render(self.page)


@with_fixed_settings
def explain_network(
    challenge: Challenge,
    params: Params,
    name: str,
    command: str,
    other: Params | None = None,
    report: Callable[[str], None] = lambda stage: None,
    prepared: Any = None,
    question: Question | None = None,
) -> Report:
    """Explain one network.

    Args:
      challenge: The network's challenge.
      params: The network's parameters.
      name: What the report calls the network.
      command: The command that the report says it was made by.
      other: Parameters of a network that was trained alike from another seed, as a control.
      report: Receives what is done next.
      prepared: What the explainer's `prepare` returned for the challenge, which serves all of its
        networks; None computes it.
      question: Asks which variables of a program the network computes; None does not ask.

    Raises:
      InputError: if the network does not respond to its input; if variables are asked for and it is
        on images, no program can be recovered from it, or the given one does not fit.
    """
    check_kind(challenge.kind, EXPLAINERS, "explain", name)
    if question is not None:
        question.check(challenge.kind)
    explainer = EXPLAINERS[challenge.kind]
    report("evidence by interventions")
    prepared = explainer.prepare(challenge) if prepared is None else prepared
    explanation = explainer.explain(challenge, params, prepared)
    report("figures")
    page = explainer.page(explanation, challenge, name, command)
    figures: dict[str, Any] = dict(explanation.metrics)
    report("mechanism from the weights")
    given = explainer.mechanism(challenge, params, other, prepared)
    figures |= {**given.metrics, **given.names}
    page = replace(
        page,
        summary=given.summary,
        sections=(*given.sections, *page.sections),
        not_shown=f"{given.not_shown}\n\n{page.not_shown}",
        metrics={**page.metrics, **given.metrics},
    )
    computed: dict[str, Any] = {}
    answer = None
    if question is not None:
        report("variables of the program")
        answer = question.answer(challenge, params, name)
        figures["variables"] = answer.as_json
        computed["variables_of"] = {
            "program": show(answer.program),
            "origin": question.origin,
            "agreement": answer.agreement,
        }
        page = replace(
            page,
            summary=f"{page.summary} {variables_page.summary(answer)}".strip(),
            sections=(*page.sections, variables_page.section(answer, question.origin)),
        )
    report("look-ups")
    model = which_model(challenge, params, answer)
    computed["computes"] = model.as_json
    if model.models:
        page = replace(
            page,
            summary=f"{page.summary} {model.words}".strip(),
            sections=(*page.sections, variables_page.model_section(model)),
        )
    second = None if explainer.second is None else explainer.second(challenge, params)
    if second is not None:
        figures |= second.metrics
        page = replace(
            page,
            sections=(*page.sections, *second_page.sections(second)),
            metrics={**page.metrics, **second.metrics},
        )
    numbers = {
        "challenge": challenge.name,
        "figures": {key: _finite(value) for key, value in figures.items()},
        "published": {} if challenge.published is None else explainer.table.published,
        "verdicts": {s.title: s.verdict for s in page.sections if s.verdict},
        "program": explanation.program,
        **computed,
    }
    return Report(page, numbers, given.replacement, given.program)


@with_fixed_settings
def prepare_to_explain(challenge: Challenge) -> Any:
    """Compute what the explanations of all of a challenge's networks have in common.

    Returns:
      The argument `prepared` of `explain_network`.
    """
    return EXPLAINERS[challenge.kind].prepare(challenge)


@takes_any_path
def check_explainable(path: Path, out: Path, force: bool) -> None:
    """Check that a network can be explained, and the report written, before the search.

    Raises:
      InputError: if it is a table, or a report exists.
    """
    if is_table(path):
        raise InputError(f"--explain: {path} is a table of labels; name a checkpoint")
    check_kind(load_published(network_folder(path)).origin.kind, EXPLAINERS, "explain", path)
    check_files(out, FILES, force)


@takes_any_path
def write_explanations(
    path: Path,
    out: Path,
    force: bool,
    data_dir: Path | None,
    question: Question | None = None,
) -> dict[str, Any]:
    """Explain a network, or every seed of a run, and write the reports.

    Each seed of a run is written as soon as it is explained. A seed that this version has explained
    before, from the same parameters, is not explained again.

    Args:
      path: A checkpoint, a run folder, or a sealed challenge's folder.
      out: The folder to write.
      force: Replace existing files.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.
      question: Asks which variables of a program each network computes; None does not ask.

    Returns:
      The object that `jaxmi explain --json` prints.

    Raises:
      InputError: if the path holds no network, a file exists, or a network does not respond to its
        input.
      UnavailableError: if MNIST is needed and cannot be loaded.
    """
    folders = find_networks(network_folder(path))
    networks = {name: load_published(folder) for name, folder in folders.items()}
    for network in networks.values():
        check_kind(network.origin.kind, EXPLAINERS, "explain", path)
        if question is not None:
            question.check(network.origin.kind)
    asked = {} if question is None else {"asked": question.mark}
    prints = {name: _fingerprint(folder) | asked for name, folder in folders.items()}
    done = {
        name: numbers
        for name in networks
        if name and not force and (numbers := _done(out / name, prints[name]))
    }
    missing = [name for name in networks if name not in done]
    files = [str(Path(name, file)) for name in missing for file in FILES]
    # A resumed run's table of seeds is replaced; any other report must not be.
    check_files(out, files if done else [REPORT, *files], force)
    challenge = next(iter(networks.values())).load_challenge(data_dir)
    refused: dict[str, InputError] = {}
    prepared = prepare_to_explain(challenge) if missing else None
    for name in track(missing, len(missing)):
        given = folders[name] if name else path
        command = f"jaxmi explain {_quote(given)} --out {_quote(out / name)}"
        label = name or path.resolve().name
        try:
            report = explain_network(
                challenge,
                networks[name].params,
                label,
                command,
                _next_seed(networks, name),
                prepared=prepared,
                question=question,
            )
        except InputError as error:
            refused[name] = error
            continue
        done[name] = {**report.numbers, "checkpoint": str(folders[name]), **prints[name]}
        _write(out / name, report, done[name])
    if not done:
        raise next(iter(refused.values()))
    if "" in done:
        return {"report": str(out / REPORT), **done[""]}
    return _sum_up(
        challenge, path, out, {name: done[name] for name in networks if name in done}, refused
    )


def _next_seed(networks: Mapping[str, Checkpoint], name: str) -> Params | None:
    """Return the parameters of the run's next seed, of the last one's the first; None if alone."""
    names = list(networks)
    other = names[(names.index(name) + 1) % len(names)]
    return None if other == name else networks[other].params


@takes_any_path
def save_report(report: Report, folder: Path, force: bool) -> None:
    """Write a report that was made in memory.

    Args:
      report: A result of `explain_network`.
      folder: The folder for report.html, figures.json and the figures.
      force: Replace existing files.

    Raises:
      InputError: if a file exists, or the folder cannot be written.
    """
    check_files(folder, FILES, force)
    _write(folder, report, report.numbers)


def _write(folder: Path, report: Report, numbers: Mapping[str, Any]) -> None:
    """Write the report on one network."""
    with atomic_files(folder) as temporary:
        write_text(temporary / REPORT, report.html())
        for section in report.page.sections:
            for name, picture in section.figures.items():
                (temporary / f"{name}.png").write_bytes(picture)
        if report.replacement is not None:
            np.savez(temporary / REPLACEMENT, **report.replacement)
        if report.weights_program is not None:
            write_text(temporary / PROGRAM, report.weights_program)
        write_json(temporary / NUMBERS, numbers)


def _sum_up(
    challenge: Challenge,
    path: Path,
    out: Path,
    seeds: Mapping[str, Any],
    refused: Mapping[str, InputError],
) -> dict[str, Any]:
    """Write a run's table of seeds; return the result, unless a seed could not be explained."""
    explainer = EXPLAINERS[challenge.kind]
    metrics = {name: numbers["figures"] for name, numbers in seeds.items()}
    table = render_seeds(
        challenge.title,
        explainer.table,
        explainer.main,
        metrics,
        beside_published=challenge.published is not None,
    )
    with atomic_files(out) as temporary:
        write_text(temporary / REPORT, table)
    if refused:
        reasons = "; ".join(f"{name}: {error}" for name, error in refused.items())
        raise InputError(f"not explained: {reasons}; the other {len(seeds)} seeds are in {out}")
    return {
        "report": str(out / REPORT),
        "challenge": challenge.name,
        "checkpoint": str(path),
        "figures": explainer.table.summarise(list(metrics.values())),
        "seeds": seeds,
    }


def _quote(path: Path) -> str:
    return shlex.quote(str(path))


def _finite(value: Any) -> Any:
    """Return None for infinity, which JSON lacks: the edge of a band that is open to one side."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fingerprint(folder: Path) -> dict[str, str]:
    parameters = (folder / "params.safetensors").read_bytes()
    return {"sha256": hashlib.sha256(parameters).hexdigest(), "jaxmi_version": __version__}


def _done(folder: Path, fingerprint: Mapping[str, str]) -> dict[str, Any] | None:
    """Return an existing explanation if it is of these parameters, by this version."""
    if not (folder / NUMBERS).is_file() or not (folder / REPORT).is_file():
        return None
    try:
        numbers = read_json(folder / NUMBERS)
    except InputError:
        return None
    same = all(numbers.get(key) == value for key, value in fingerprint.items())
    return numbers if same else None
