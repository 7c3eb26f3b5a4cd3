"""A mechanistic account of a transformer on numbers, from its weights, with its controls.

`account` runs every replacement on one network: what attention and the residual stream can be
replaced by, how few neurons give the network's labels and its mistakes, how small a network of
tables and neurons does, and which classes of values its weights tell apart. No program enters; true
labels only say which answers are mistakes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.subgrid import Subgrid
from jaxmi.explanation.network import Network
from jaxmi.explanation.transformer_evidence import LAST, resid_mid_of
from jaxmi.mechanism import metrics as table
from jaxmi.mechanism import replacement as smaller_networks
from jaxmi.mechanism import simplify
from jaxmi.mechanism.classes import COORDINATES, Classes, find_classes
from jaxmi.mechanism.neurons import Pursuit, in_doubt
from jaxmi.mechanism.reading import OPERANDS, Partition
from jaxmi.mechanism.replacement import Form, Replacement, Source, inputs_of
from jaxmi.mechanism.tables import LastMlp, Tables, last_mlp, tables_of
from jaxmi.mechanism.thresholds import RowThresholds, row_thresholds
from jaxmi.mechanism.tuning import STEPS, tune
from jaxmi.mechanism.weights_program import WeightsProgram, read_weights
from jaxmi.models.transformer import Transformer
from jaxmi.types import Metrics, Params

MAX_INPUTS = 40_000
"""A larger domain is measured on a part of so many inputs."""

RANDOM_DRAWS = 3
"""Draws of random neurons; the mean is reported."""


@dataclass(frozen=True)
class Answers:
    """A network's answers, which replacements are compared with."""

    labels: Bool[np.ndarray, "n"]
    """The network's own labels."""
    mistakes: Bool[np.ndarray, "n"] | None
    """Where these are wrong; None if the true labels are not known."""

    def kept(
        self,
        metrics: table.Kept,
        difference: Float[np.ndarray, "n"],
        judged: Int[np.ndarray, "m"] | None = None,
    ) -> Metrics:
        """Return what a replacement keeps of the labels, and of the mistakes if there are any.

        Args:
          metrics: The two metrics.
          difference: The replacement's logit difference; its labels are 1 where it is positive.
          judged: The inputs to judge on; None: all.
        """
        judged = np.arange(len(self.labels)) if judged is None else judged
        kept = ((difference > 0) == self.labels)[judged]
        values = {metrics.agreement.key: float(kept.mean())}
        if self.mistakes is not None and self.mistakes[judged].any():
            values[metrics.mistakes.key] = float(kept[self.mistakes[judged]].mean())
        return values


@dataclass(frozen=True)
class Smaller:
    """Smaller networks that were cut out of a network, and what each keeps."""

    best: Replacement
    """The smallest that keeps enough of the labels, else the one that keeps most."""
    best_of_half: Replacement | None
    """The same, chosen and fitted on one half of the inputs."""
    forms: Sequence[Form]
    numbers: Sequence[int]
    kept: Sequence[Metrics]
    """The shares that each keeps, under the keys of `metrics.REPLACEMENT`."""
    thresholds: RowThresholds
    """Two thresholds a row."""
    untrained: Replacement | None
    """One of the best's form, cut out of an untrained network, fitted to this one's logits."""


@dataclass(frozen=True)
class Account:
    """What a network computes, as far as its weights say."""

    domain: Subgrid
    """The inputs on which everything is measured."""
    answers: Answers
    metrics: Metrics
    """Key -> value, for the metrics of `metrics.TABLE`."""
    effects: Mapping[str, Float[np.ndarray, "p k"]]
    """Operand -> what each of its values adds to the residual stream, in leading coordinates."""
    classes: Mapping[str, Classes]
    """Operand -> the classes of its values."""
    seconds: Mapping[str, Classes]
    """Operand -> further classes, once the first are taken out."""
    n_neurons: int
    """The number of neurons that the network has in its last block."""
    few: Float[np.ndarray, "n"]
    """The logit difference that `MAIN_COUNT` neurons give, or all if there are fewer."""
    untrained: Params
    """The network as initialised, which is the control."""
    smaller: Smaller | None = None
    """None for a network of several blocks, without varying neurons, or measured on a part."""
    program: WeightsProgram | None = None
    """A program read off the weights; None without a smaller network, or for triples."""

    @property
    def names(self) -> dict[str, str | None]:
        """Keys of `ROW_CLASS` and `ROW_CLASS_SECOND` -> the classes that were found, or None."""
        names = {table.ROW_CLASS[name]: first.found for name, first in self.classes.items()}
        for name, second in self.seconds.items():
            both = self.classes[name].found and second.found
            names[table.ROW_CLASS_SECOND[name]] = second.found if both else None
        return names


@dataclass(frozen=True)
class _Half:
    """A random half of the inputs, to choose and fit on, and the other to judge on."""

    fitted: Int[np.ndarray, "m"]
    held: Int[np.ndarray, "k"]


@dataclass(frozen=True)
class _Few:
    """The result of choosing few neurons."""

    difference: Float[np.ndarray, "n"]
    """The logit difference that `MAIN_COUNT` neurons give."""
    metrics: Metrics
    chosen: Mapping[str, Int[np.ndarray, "k"]]
    """Choice of neurons -> the largest number that was chosen; all if there are fewer."""


@dataclass(frozen=True)
class Run:
    """One network's activations over the domain."""

    mlp: LastMlp
    resid_mid: Float[np.ndarray, "n d_model"]
    neurons: Float[np.ndarray, "n neuron"]
    tables: Tables | None
    """None for a network of several blocks."""


def account(
    challenge: Challenge,
    params: Params,
    other: Params | None = None,
    max_inputs: int = MAX_INPUTS,
) -> Account:
    """Give an account of a network.

    Args:
      challenge: A challenge on pairs or triples. If it is sealed, no mistakes are known.
      params: The network's parameters.
      other: Parameters of a network that was trained alike from another seed, as a control; None
        leaves that control out.
      max_inputs: Measure a larger domain on a part of at most so many inputs.
    """
    domain = challenge.subgrid(max_inputs)
    inputs = challenge.inputs[domain.rows]
    run = run_network(challenge.model, params, inputs)
    difference = run.mlp.difference(run.resid_mid)
    labels = difference > 0
    truth = None if challenge.sealed else challenge.labels[domain.rows] == 1
    answers = Answers(labels, None if truth is None else labels != truth)
    others = {} if other is None else {"other_seed": run_network(challenge.model, other, inputs)}
    untrained = jax.jit(challenge.init)(jax.random.key(0))
    blank = others["untrained"] = run_network(challenge.model, untrained, inputs)
    half = _half(len(labels))
    few = _few_neurons(answers, domain, run.neurons, difference, others, half)
    smaller, of_smaller = _smaller(answers, domain, run, difference, others, few, half)
    effects = _effects(run, domain)
    classes = _classes(effects, domain)
    seconds = {
        name: find_classes(effects[name], name, domain.values[name], taken_out=first.values)
        for name, first in classes.items()
    }
    metrics = _replacements(answers, domain, run, inputs[:, :-1]) | few.metrics
    metrics |= of_smaller | _of_classes(classes)
    program, of_program = _program(answers, domain, smaller, classes, seconds)
    metrics |= of_program
    for name, found in _classes(_effects(blank, domain), domain).items():
        metrics[table.UNTRAINED_R2[name].key] = found.score
    count = run.neurons.shape[1]
    return Account(
        domain,
        answers,
        metrics,
        effects,
        classes,
        seconds,
        count,
        few.difference,
        untrained,
        smaller,
        program,
    )


def tuned(given: Account, steps: int = STEPS) -> Metrics:
    """Tune the smaller networks of an account to its labels by gradient, and judge them: a trap.

    Returns:
      What they keep; empty if the account has no smaller network.
    """
    smaller, operands, labels = given.smaller, inputs_of(given.domain.shape), given.answers.labels
    if smaller is None:
        return {}
    tuned_to_all = tune(smaller.best, operands, labels, steps)
    values = given.answers.kept(table.TUNED, tuned_to_all.difference(operands))
    if smaller.best_of_half is not None:
        half = _half(len(labels))
        rows = half.fitted
        tuned_to_half = tune(smaller.best_of_half, operands[rows], labels[rows], steps)
        judged = tuned_to_half.difference(operands)
        values |= given.answers.kept(table.TUNED_HELDOUT, judged, half.held)
    return values


def _half(count: int) -> _Half:
    order = np.random.default_rng(0).permutation(count)
    return _Half(order[: count // 2], order[count // 2 :])


def run_network(model: nn.Module, params: Params, inputs: Int[np.ndarray, "n tokens"]) -> Run:
    """Return the activations from which a transformer's account is given, in float64."""
    assert isinstance(model, Transformer)
    config = model.config
    tables = None
    if config.n_layers == 1:
        tables = tables_of(params, config)
        operands = inputs[:, :-1]
        resid_mid = tables.resid_mid(tables.patterns(operands), operands)
    else:
        site = resid_mid_of(config.n_layers)
        read = Network(model, params, chunk=400).read(inputs, [site])
        resid_mid = read[site][:, LAST].astype(np.float64)
    mlp = last_mlp(params, config)
    return Run(mlp, resid_mid, mlp.neurons(resid_mid).astype(np.float32), tables)


def _replacements(
    answers: Answers, domain: Subgrid, run: Run, operands: Int[np.ndarray, "n operand"]
) -> Metrics:
    """Replace attention, then the residual stream, by simpler forms."""
    shape, n_operands = domain.shape, len(domain.shape)
    values: Metrics = {}
    if run.tables is not None:
        tables = run.tables
        patterns = tables.patterns(operands)
        grid = patterns.reshape(*shape, *patterns.shape[1:])
        forms = {
            table.MEAN: simplify.mean(grid, n_operands),
            table.ADDITIVE: simplify.additive(grid, n_operands),
            table.RANK1: simplify.rank_one(grid, n_operands),
            **{
                table.ONLY[name]: simplify.of_one(grid, n_operands, i)
                for i, name in enumerate(domain.values)
            },
        }
        for metrics, form in forms.items():
            stream = tables.resid_mid(form.reshape(patterns.shape), operands)
            values |= answers.kept(metrics, run.mlp.difference(stream))
    flat = run.resid_mid
    sums = simplify.additive(flat.reshape(*shape, -1), n_operands).reshape(flat.shape)
    values |= answers.kept(table.RESID_ADDITIVE, run.mlp.difference(sums))
    for k, metrics in table.RESID_INTERACTIONS.items():
        stream = sums + simplify.components(flat - sums, k)
        values |= answers.kept(metrics, run.mlp.difference(stream))
    for k, metrics in table.RESID_COMPONENTS.items():
        if k < flat.shape[1]:
            stream = simplify.components(flat, k)
            values |= answers.kept(metrics, run.mlp.difference(stream))
    return values


def _few_neurons(
    answers: Answers,
    domain: Subgrid,
    neurons: Float[np.ndarray, "n neuron"],
    difference: Float[np.ndarray, "n"],
    others: Mapping[str, Run],
    half: _Half,
) -> _Few:
    """Choose few neurons on all inputs, and on one half to be judged on the other."""
    fitted, held = half.fitted, half.held
    values: Metrics = {}
    chosen: dict[str, np.ndarray] = {}

    def choose(choice: str, activations: np.ndarray, rows: np.ndarray | None) -> Pursuit:
        pursuit = Pursuit(activations, difference, rows)
        fits = pursuit.best(table.COUNTS)
        most = fits.get(max(table.COUNTS))
        chosen[choice] = np.arange(activations.shape[1]) if most is None else most.neurons
        for k, fit in fits.items():
            judged = None if rows is None else held
            values.update(answers.kept(table.FEW[choice][k], fit.difference(activations), judged))
        return pursuit

    pursuit = choose("own", neurons, None)
    choose("heldout", neurons, fitted)
    for name, run in others.items():
        choose(name, run.neurons, None)
        choose(f"{name}_heldout", run.neurons, fitted)
    values |= _random_neurons(answers, pursuit, neurons)
    few = pursuit.best((min(table.MAIN_COUNT, neurons.shape[1]),))
    if "other_seed" in others:
        other = others["other_seed"]
        values |= answers.kept(table.OTHER_SEED, other.mlp.difference(other.resid_mid))
    nearest = _nearest_fitted(answers.labels, fitted, domain.shape)
    values |= answers.kept(table.NEAREST, nearest - 0.5, held)
    fits = [fit.difference(neurons) for fit in few.values()]
    given = fits[0] if fits else np.full(len(difference), difference.mean())
    return _Few(given, values, chosen)


def _smaller(
    answers: Answers,
    domain: Subgrid,
    run: Run,
    difference: Float[np.ndarray, "n"],
    others: Mapping[str, Run],
    few: _Few,
    half: _Half,
) -> tuple[Smaller | None, Metrics]:
    """Cut smaller networks out of the network, and of one half's choice judge the other half."""
    thresholds = row_thresholds(answers.labels.reshape(-1, domain.shape[-1]))
    values: Metrics = {table.ROW_THRESHOLDS_NUMBERS.key: thresholds.numbers}
    values |= answers.kept(table.ROW_THRESHOLDS, thresholds.labels.reshape(-1) - 0.5)
    if run.tables is None or not domain.whole:
        return None, values
    operands = inputs_of(domain.shape)

    def source(one: Run) -> Source:
        return Source(one.mlp, one.resid_mid, one.neurons, domain.shape, difference)

    def agreement(found: Sequence[Replacement], rows: np.ndarray) -> list[float]:
        parts = operands[rows], answers.labels[rows]
        return [float(((one.difference(parts[0]) > 0) == parts[1]).mean()) for one in found]

    found = smaller_networks.cut(source(run), few.chosen["own"])
    kept = [answers.kept(table.REPLACEMENT, one.difference(operands)) for one in found]
    place = smaller_networks.smallest(found, [one[table.REPLACEMENT.agreement.key] for one in kept])
    if place is None:
        return None, values
    best = found[place]
    values |= {table.REPLACEMENT_NUMBERS.key: best.numbers, **kept[place]}
    halves = smaller_networks.cut(source(run), few.chosen["heldout"], half.fitted)
    place_of_half = smaller_networks.smallest(halves, agreement(halves, half.fitted))
    of_half = None if place_of_half is None else halves[place_of_half]
    if of_half is not None:
        judged = of_half.difference(operands)
        values |= answers.kept(table.REPLACEMENT_HELDOUT, judged, half.held)
    sizes = [[size] for size in best.form]
    for name, metrics in table.REPLACEMENT_OTHERS.items():
        if name in others:
            chosen = few.chosen[f"{name}_heldout"]
            for one in smaller_networks.cut(source(others[name]), chosen, half.fitted, *sizes):
                values |= answers.kept(metrics, one.difference(operands), half.held)
    numbers = [one.numbers for one in found]
    forms = [one.form for one in found]
    blank = smaller_networks.cut(source(others["untrained"]), few.chosen["untrained"], None, *sizes)
    untrained = next(iter(blank), None)
    return Smaller(best, of_half, forms, numbers, kept, thresholds, untrained), values


def _program(
    answers: Answers,
    domain: Subgrid,
    smaller: Smaller | None,
    first: Mapping[str, Classes],
    second: Mapping[str, Classes],
) -> tuple[WeightsProgram | None, Metrics]:
    """Read a program off the weights of a network on pairs."""
    if smaller is None or tuple(domain.values) != OPERANDS:
        return None, {}
    named = {
        name: [
            Partition(classes.found, classes.values)
            for classes in (first[name], second[name])
            if first[name].found and classes.found
        ]
        for name in OPERANDS
    }
    values = domain.values[OPERANDS[0]]
    truth = None if answers.mistakes is None else answers.labels != answers.mistakes
    own = answers.labels.reshape(domain.shape)
    return read_weights(smaller.best, smaller.untrained, values, named, own, answers.kept, truth)


def _random_neurons(
    answers: Answers, own: Pursuit, neurons: Float[np.ndarray, "n neuron"]
) -> Metrics:
    """Refit random neurons, of those that are active on some inputs and not on others."""
    rng = np.random.default_rng(0)
    candidates = np.flatnonzero(in_doubt(neurons))
    draws: list[Metrics] = []
    for _ in range(RANDOM_DRAWS):
        chosen = rng.permutation(candidates)
        draw: Metrics = {}
        for k, metrics in table.FEW["random"].items():
            if k <= len(candidates):
                draw |= answers.kept(metrics, own.refit(chosen[:k]).difference(neurons))
        draws.append(draw)
    return {key: float(np.mean([draw[key] for draw in draws])) for key in draws[0]}


def _nearest_fitted(
    labels: Bool[np.ndarray, "n"], fitted: Int[np.ndarray, "m"], shape: Sequence[int]
) -> Float[np.ndarray, "n"]:
    """Return for each input the label of the nearest fitted input in its row: no network at all.

    In a row all operands but the last are the same; a row without a fitted input has label 0.
    """
    known = np.zeros(len(labels), bool)
    known[fitted] = True
    rows, known_rows = (values.reshape(-1, shape[-1]) for values in (labels, known))
    distance = np.abs(np.subtract.outer(np.arange(shape[-1]), np.arange(shape[-1])))
    nearest = np.zeros(rows.shape)
    for row, is_known, out in zip(rows, known_rows, nearest, strict=True):
        if is_known.any():
            out[:] = row[is_known][distance[:, is_known].argmin(axis=1)]
    return nearest.reshape(-1)


def _effects(run: Run, domain: Subgrid) -> dict[str, Float[np.ndarray, "p k"]]:
    """Return what each operand's values add to the residual stream, in leading coordinates."""
    n_operands = len(domain.shape)
    grid = run.resid_mid.reshape(*domain.shape, -1)
    middle = grid.mean(axis=tuple(range(n_operands)))
    effects = {
        name: grid.mean(axis=tuple(j for j in range(n_operands) if j != i)) - middle
        for i, name in enumerate(domain.values)
    }
    gram = np.stack([effect.T @ effect / len(effect) for effect in effects.values()]).sum(axis=0)
    leading = np.linalg.eigh(gram)[1][:, ::-1][:, :COORDINATES]
    return {name: effect @ leading for name, effect in effects.items()}


def _classes(effects: Mapping[str, np.ndarray], domain: Subgrid) -> dict[str, Classes]:
    return {
        name: find_classes(effect, name, domain.values[name]) for name, effect in effects.items()
    }


def _of_classes(classes: Mapping[str, Classes]) -> Metrics:
    values: Metrics = {}
    for name, found in classes.items():
        values[table.R2[name].key] = found.score
        values[table.NEXT_R2[name].key] = found.next_score
        values[table.PERMUTED_R2[name].key] = found.permuted_score
    return values
