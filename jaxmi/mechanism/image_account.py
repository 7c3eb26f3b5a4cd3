"""A mechanistic account of a network on images, from its weights and activations, with controls.

`image_account` asks how few neurons give the network's labels, which scores of the image its
neurons read, what rule on these scores gives the labels, which neurons follow which score, and
whether exchanging a score changes the label as the rule says. No program enters; true labels only
say which answers are mistakes, and in the end which condition of a known program each score is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.explanation.clue_search import PixelMoments, orient, pixel_moments
from jaxmi.explanation.cnn_detectors import similarities
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import Claim, DonorRule, anyone, near, scrub
from jaxmi.mechanism import image_metrics as table
from jaxmi.mechanism.account import Answers
from jaxmi.mechanism.boundary import (
    FEATURES,
    Features,
    Groups,
    Layer,
    LinearInputs,
    Rule,
    Scores,
    at_quantiles,
    features_of,
    find_rule,
    find_scores,
    fit_inputs,
    group_neurons,
)
from jaxmi.mechanism.metrics import Kept
from jaxmi.mechanism.neurons import Pursuit, in_doubt
from jaxmi.programs import language as lang
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import evaluate
from jaxmi.programs.show import show_expression
from jaxmi.types import Metrics, Params

MAX_IMAGES = 20_000
"""More images are measured on a random part of so many; half of these choose and fit."""

RANDOM_DRAWS = 3
"""Draws of random neurons, directions or images; the mean is reported."""

SCRUB_DRAWS = 3
SCRUB_NOISE = 0.001
"""Standard deviation of the noise on a donor's score, as a share of the score's range."""

SITE = "fc1.pre"
"""What each hidden neuron's ReLU takes."""

_ADDED = "added to the logit difference by each group"


@dataclass(frozen=True)
class ImageAccount:
    """What a network on images computes, as far as its weights and activations say."""

    rows: Int[np.ndarray, "n"]
    """The images on which everything is measured."""
    held: Int[np.ndarray, "k"]
    """The places in `rows` of those that nothing was chosen or fitted on."""
    answers: Answers
    metrics: Metrics
    """Key -> value, for the metrics of `image_metrics.TABLE`."""
    layer: Layer
    few: Float[np.ndarray, "n"]
    """The logit difference that `MAIN_COUNT` neurons give, or all if there are fewer."""
    reading: "Reading | None"
    """The scores; None if the network has no boundary."""
    conditions: Mapping[int, str]
    """Score, from 0 -> the condition of the known program that it fits best."""


@dataclass(frozen=True)
class Reading:
    """The scores that a network reads, and what it does with them."""

    scores: Scores
    values: Float[np.ndarray, "n s"]
    """Each image's scores."""
    rule: Rule
    groups: Groups
    templates: Float[np.ndarray, "s h w"]
    """How each pixel varies with each score."""
    images: Sequence[int]
    """For each score, the image whose similarities to all images correlate best with it."""
    closest: UInt8[np.ndarray, "s h w"]
    """Its pixels."""


@dataclass(frozen=True)
class _Run:
    """One network on the images."""

    layer: Layer
    linear: LinearInputs
    scores: Scores | None


@dataclass(frozen=True)
class _Setting:
    """What the experiments have in common."""

    images: UInt8[np.ndarray, "all h w"]
    moments: PixelMoments
    rows: Int[np.ndarray, "n"]
    fitted: Int[np.ndarray, "m"]
    held: Int[np.ndarray, "k"]
    features: Features
    answers: Answers


def image_account(
    challenge: Challenge,
    params: Params,
    untrained: Params,
    other: Params | None = None,
    moments: PixelMoments | None = None,
    max_images: int = MAX_IMAGES,
) -> ImageAccount:
    """Give an account of a network.

    Args:
      challenge: A challenge on images. If it is sealed, no mistakes are known.
      params: The network's parameters.
      untrained: Parameters as initialised, as a control.
      other: Parameters of a network that was trained alike from another seed, as a control; None
        leaves that control out.
      moments: `pixel_moments` of the training images, if they are computed already.
      max_images: Measure more training images on a part of so many.
    """
    solution = challenge.solution
    assert isinstance(solution, ClueSolution)
    images = challenge.inputs[: solution.images]
    moments = pixel_moments(images) if moments is None else moments
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(images))[:max_images]
    fitted, held = np.arange(len(rows) // 2), np.arange(len(rows) // 2, len(rows))
    features = features_of(moments, rows, max(1, min(FEATURES, len(fitted) // 10)))

    def run(params: Params, balance: bool = False) -> _Run:
        layer = _layer(challenge, params, images[rows])
        layer = layer.balanced() if balance else layer
        linear = fit_inputs(features.values[fitted], layer.inputs[fitted])
        return _Run(layer, linear, find_scores(features.values, layer, linear, fitted))

    own = run(params)
    others = {} if other is None else {"other_seed": run(other)}
    others["untrained"] = run(untrained, balance=True)
    difference = own.layer.difference()
    labels = difference > 0
    truth = None if challenge.sealed else challenge.labels[rows] == 1
    answers = Answers(labels, None if truth is None else labels != truth)
    setting = _Setting(images, moments, rows, fitted, held, features, answers)
    few, metrics = _few_neurons(setting, own.layer, others)
    metrics[table.DEAD.key] = int((own.layer.inputs.max(axis=0) <= 0).sum())
    metrics |= answers.kept(table.NEAREST, _nearest(setting), held)
    reading, conditions = None, {}
    if own.scores is not None:
        reading, of_reading = _read(setting, own, own.scores)
        metrics |= of_reading | _only(setting, own, reading, others)
        metrics |= _scrubs(setting, own.layer, reading) | _interchange(setting, own, reading)
        conditions, of_program = _beside_program(challenge, setting, reading)
        metrics |= of_program
    return ImageAccount(rows, held, answers, metrics, own.layer, few, reading, conditions)


def _layer(challenge: Challenge, params: Params, images: UInt8[np.ndarray, "n h w"]) -> Layer:
    inputs = Network(challenge.model, params).read(images, [SITE])[SITE]
    kernel, bias = (np.asarray(params["fc2"][part]) for part in ("kernel", "bias"))
    return Layer(inputs, kernel[:, 1] - kernel[:, 0], float(bias[1] - bias[0]))


def _few_neurons(
    setting: _Setting, own: Layer, others: Mapping[str, _Run]
) -> tuple[Float[np.ndarray, "n"], Metrics]:
    """Choose few neurons on all images, and on one half to be judged on the other."""
    answers, difference = setting.answers, own.difference()
    values: Metrics = {}

    def choose(choice: str, activations: np.ndarray, rows: np.ndarray | None) -> Pursuit:
        pursuit = Pursuit(activations, difference, rows)
        judged = None if rows is None else setting.held
        for k, fit in pursuit.best(table.COUNTS).items():
            kept = answers.kept(table.FEW[choice][k], fit.difference(activations), judged)
            values.update(kept)
        return pursuit

    neurons = own.activations
    pursuit = choose("own", neurons, None)
    choose("heldout", neurons, setting.fitted)
    for name, run in others.items():
        choose(name, run.layer.activations, None)
        choose(f"{name}_heldout", run.layer.activations, setting.fitted)
    if "other_seed" in others:
        values |= answers.kept(table.OTHER_SEED, others["other_seed"].layer.difference())
    candidates = np.flatnonzero(in_doubt(neurons))
    draws: list[Metrics] = []
    for seed in range(RANDOM_DRAWS):
        chosen = np.random.default_rng(seed).permutation(candidates)
        draw: Metrics = {}
        for k, metrics in table.FEW["random"].items():
            if k <= len(candidates):
                draw |= answers.kept(metrics, pursuit.refit(chosen[:k]).difference(neurons))
        draws.append(draw)
    values |= _mean(draws)
    fits = pursuit.best((min(table.MAIN_COUNT, neurons.shape[1]),))
    given = [fit.difference(neurons) for fit in fits.values()]
    return (given[0] if given else np.full(len(difference), difference.mean())), values


def _nearest(setting: _Setting) -> Float[np.ndarray, "n"]:
    """Return for each held-out image the label of the nearest fitted one, as 0.5 or -0.5."""
    points = setting.features.values * setting.features.deviations.astype(np.float32)
    fitted, labels = points[setting.fitted], setting.answers.labels
    lengths = (fitted**2).sum(axis=1)
    given = np.where(labels, 0.5, -0.5)
    for rows in np.array_split(setting.held, -(-len(setting.held) // 2000)):
        distance = lengths[None] - 2 * points[rows] @ fitted.T
        given[rows] = np.where(labels[setting.fitted[distance.argmin(axis=1)]], 0.5, -0.5)
    return given


def _read(setting: _Setting, own: _Run, scores: Scores) -> tuple[Reading, Metrics]:
    """Describe the scores: like which image each is, its rule, the neurons that follow it."""
    features, fitted = setting.features, setting.fitted
    weights = features.to_pixels.astype(np.float64) @ scores.directions.T
    oriented = [orient(setting.moments, column) for column in weights.T]
    scores = scores.flipped([sign for sign, _ in oriented])
    values = scores.values(features.values)
    rule = find_rule(scores.edges, values[fitted], setting.answers.labels[fitted])
    groups = group_neurons(scores, own.linear, own.layer)
    patterns = np.linalg.pinv(features.to_pixels.astype(np.float64)).T @ scores.directions.T
    nearest = [int(ranking.order[0]) for _, ranking in oriented]
    shape = setting.images.shape[1:]
    reading = Reading(
        scores, values, rule, groups,
        patterns.T.reshape(-1, *shape), nearest, setting.images[nearest],
    )  # fmt: skip
    metrics: Metrics = {
        table.SCORES.key: len(scores.directions),
        table.EDGES.key: len(scores.edges),
        **{table.NORMALS[k].key: share for k, share in enumerate(scores.carried, start=1)},
    }
    read = np.linalg.norm(own.linear.coefficients, axis=0) * np.abs(own.layer.weights) * groups.live
    metrics[table.READ_ONE.key] = _average(groups.one, read)
    metrics[table.READ_ALL.key] = _average(groups.all, read)
    metrics[table.READ_RANDOM.key] = float(
        np.mean(
            [
                _average(
                    group_neurons(
                        replace(scores, directions=_random(setting, reading, seed)),
                        own.linear,
                        own.layer,
                    ).all,
                    read,
                )
                for seed in range(RANDOM_DRAWS)
            ]
        )
    )
    for i, (_, ranking) in enumerate(oriented):
        metrics[table.NEURONS[i + 1].key] = int(groups.of_score(i).sum())
        metrics[table.IMAGE[i + 1].key] = reading.images[i]
        correlation = float(ranking.correlation[reading.images[i]])
        metrics[table.IMAGE_CORRELATION[i + 1].key] = correlation
    return reading, metrics


def _average(values: np.ndarray, weights: np.ndarray) -> float:
    return float(values @ weights / max(float(weights.sum()), 1e-12))


def _random(setting: _Setting, reading: Reading, seed: int) -> Float[np.ndarray, "s k"]:
    """Return as many random orthogonal directions as there are scores."""
    shape = reading.scores.directions.shape[::-1]
    return np.linalg.qr(np.random.default_rng([7, seed]).normal(size=shape))[0].T


def _only(setting: _Setting, own: _Run, reading: Reading, others: Mapping[str, _Run]) -> Metrics:
    """Let the neurons read the scores only, or other directions; and follow the rule instead."""
    features, answers, held = setting.features.values, setting.answers, setting.held
    count = len(reading.scores.directions)

    def kept(metrics: Kept, along: np.ndarray | None) -> Metrics:
        return answers.kept(metrics, own.layer.difference(own.linear.of(features, along)), held)

    def rule(metrics: Kept, rule: Rule, values: np.ndarray) -> Metrics:
        return answers.kept(metrics, rule.labels(values) - 0.5, held)

    values = kept(table.LINEAR, None) | kept(table.SCORES_ONLY, reading.scores.directions)
    values |= rule(table.RULE, reading.rule, reading.values)
    draws, rules = [], []
    for seed in range(RANDOM_DRAWS):
        random = _random(setting, reading, seed)
        draws.append(kept(table.SCORES_OTHERS["random"], random))
        scores = features @ random.T.astype(np.float32)
        edges = at_quantiles(reading.scores.edges, reading.values, scores)
        fitted = setting.fitted
        found = find_rule(edges, scores[fitted], answers.labels[fitted])
        rules.append(rule(table.RULE_RANDOM, found, scores))
    values |= _mean(draws) | _mean(rules)
    leading = np.eye(count, features.shape[1])
    values |= kept(table.SCORES_OTHERS["components"], leading)
    for name, run in others.items():
        scores = find_scores(features, run.layer, run.linear, setting.fitted, count)
        if scores is not None:
            values |= kept(table.SCORES_OTHERS[name], scores.directions)
            if name == "untrained":
                carried = enumerate(scores.carried, start=1)
                values |= {table.NORMALS_UNTRAINED[k].key: share for k, share in carried}
    return values


def _scrubs(setting: _Setting, layer: Layer, reading: Reading) -> Metrics:
    """Let each score's neurons take their activations from an image of nearly the same score."""
    count = len(reading.scores.directions)
    groups = [reading.groups.of_score(i) for i in range(count)]
    difference, activations = layer.difference(), layer.activations

    def kept(groups: Sequence[np.ndarray], rules: Sequence[DonorRule], draws: int) -> float:
        added = np.stack([activations[:, g] @ layer.weights[g] for g in groups], axis=1)
        rest = difference - added.sum(axis=1)
        clean = np.stack([np.zeros_like(difference), difference], axis=1)
        claims = [Claim(_ADDED, rule, i) for i, rule in enumerate(rules)]

        def logits(scrubbed: Mapping[str, np.ndarray]) -> np.ndarray:
            total = (rest + scrubbed[_ADDED].sum(axis=1)).astype(difference.dtype)
            return np.stack([np.zeros_like(total), total], axis=1)

        return scrub({_ADDED: added}, claims, logits, clean, draws).kept

    def by(values: Float[np.ndarray, "n s"]) -> list[DonorRule]:
        return [near(column, SCRUB_NOISE) for column in values.T]

    rng = np.random.default_rng(0)
    others = [rng.choice(len(setting.images), count) for _ in range(RANDOM_DRAWS)]
    looked_at = setting.images[setting.rows]
    controls = {
        "other_images": [
            kept(groups, by(similarities(looked_at, setting.images[chosen]).T), 1)
            for chosen in others
        ],
        "permuted": [kept(groups, by(rng.permutation(reading.values)), SCRUB_DRAWS)],
        "anyone": [kept(groups, [anyone(len(difference))] * count, SCRUB_DRAWS)],
    }
    if count > 1:  # with one score all neurons are its neurons, and one donor serves them
        controls["random_groups"] = [
            kept(_random_groups(reading.groups, groups, seed), by(reading.values), 1)
            for seed in range(RANDOM_DRAWS)
        ]
        swapped = np.roll(reading.values, 1, axis=1)
        controls["swapped"] = [kept(groups, by(swapped), SCRUB_DRAWS)]
    values = {
        table.SCRUB_CONTROLS[name].key: float(np.mean(draws)) for name, draws in controls.items()
    }
    return values | {table.SCRUB.key: kept(groups, by(reading.values), SCRUB_DRAWS)}


def _random_groups(
    groups: Groups, like: Sequence[Bool[np.ndarray, "neuron"]], seed: int
) -> list[Bool[np.ndarray, "neuron"]]:
    """Return random groups of live neurons of the same sizes, that do not overlap."""
    order = np.random.default_rng([3, seed]).permutation(np.flatnonzero(groups.live))
    ends = np.cumsum([int(group.sum()) for group in like])
    masks = np.zeros((len(like), len(groups.live)), bool)
    for mask, end, group in zip(masks, ends, like, strict=True):
        mask[order[end - int(group.sum()) : end]] = True
    return list(masks)


def _interchange(setting: _Setting, own: _Run, reading: Reading) -> Metrics:
    """Exchange one score, or one edge's neurons, between images, and compare with the rule.

    The score of the base image in all that the neurons read is replaced by the source image's: an
    interchange intervention (Geiger et al. 2021) along one direction.
    """
    layer, rule, held = own.layer, reading.rule, setting.held
    values, features = reading.values[held], setting.features.values[held]
    inputs, activations = layer.inputs[held], layer.activations[held]
    source = np.random.default_rng(1).permutation(len(held))
    before, difference = rule.labels(values), layer.difference(inputs)

    def exchanged(directions: np.ndarray, i: int, predicted: Bool[np.ndarray, "k"]) -> float | None:
        change = np.linalg.pinv(directions)[:, i]  # moves score i and no other
        along = (features @ directions[i])[source] - features @ directions[i]
        moved = inputs + np.outer(along, change @ own.linear.coefficients)
        return _balanced(layer.difference(moved) > 0, predicted, before)

    metrics: dict[str, float | None] = {}
    for i in range(len(reading.scores.directions)):
        given = values.copy()
        given[:, i] = values[source, i]
        predicted = rule.labels(given)
        directions = reading.scores.directions
        metrics[table.SCORE_INTERCHANGE[i + 1].key] = exchanged(directions, i, predicted)
        random = [
            exchanged(_random(setting, reading, seed), i, predicted) for seed in range(RANDOM_DRAWS)
        ]
        metrics[table.SCORE_INTERCHANGE_RANDOM[i + 1].key] = _mean_or_none(random)

    def without(group: Bool[np.ndarray, "neuron"], predicted: np.ndarray) -> float | None:
        added = activations[:, group] @ layer.weights[group]
        return _balanced(difference + added[source] - added > 0, predicted, before)

    sides = rule.sides(values)
    # With one edge all neurons are its neurons, and there is no other group to compare with.
    for i, edge in enumerate(rule.edges[: table.MAX_EDGES] if len(rule.edges) > 1 else ()):
        group = reading.groups.of_edge(edge, rule.edges)
        given = sides.copy()
        given[:, i] = sides[source, i]
        predicted = rule.labels_of(given)
        metrics[table.EDGE_NEURONS[i + 1].key] = int(group.sum())
        metrics[table.EDGE_INTERCHANGE[i + 1].key] = without(group, predicted)
        random = [
            without(_random_groups(reading.groups, [group], seed)[0], predicted)
            for seed in range(RANDOM_DRAWS)
        ]
        metrics[table.EDGE_INTERCHANGE_RANDOM[i + 1].key] = _mean_or_none(random)
    return {key: value for key, value in metrics.items() if value is not None}


def _balanced(
    given: Bool[np.ndarray, "k"], predicted: Bool[np.ndarray, "k"], before: Bool[np.ndarray, "k"]
) -> float | None:
    """Return how often the label is as predicted, where it should change and where not, averaged.

    None if it should change, or stay, nowhere. What changes no label scores about one half.
    """
    changes = predicted != before
    if changes.all() or not changes.any():
        return None
    right = given == predicted
    return float((right[changes].mean() + right[~changes].mean()) / 2)


def _beside_program(
    challenge: Challenge, setting: _Setting, reading: Reading
) -> tuple[dict[int, str], Metrics]:
    """Find the condition of a known program that each score fits best."""
    if challenge.sealed or challenge.program is None:
        return {}, {}
    domain = challenge.program_domain
    assert isinstance(domain, ImageDomain)
    part = ImageDomain(setting.images[setting.rows], domain.templates)
    found: list[tuple[str, np.ndarray]] = []
    for name, program in conditions_of(challenge.program).items():
        given = np.asarray(evaluate(program, part), np.float64)
        if given.std() > 0:
            found.append((name, given))
    names: dict[int, str] = {}
    metrics: Metrics = {}
    for i, column in enumerate(reading.values.T if found else ()):
        shares = [float(np.corrcoef(column, given)[0, 1] ** 2) for _, given in found]
        order = np.argsort(-np.array(shares), kind="stable")
        names[i] = found[int(order[0])][0]
        metrics[table.PROGRAM[i + 1].key] = shares[int(order[0])]
        if len(order) > 1:
            metrics[table.PROGRAM_NEXT[i + 1].key] = shares[int(order[1])]
    return names, metrics


def conditions_of(program: lang.Program) -> dict[str, lang.Program]:
    """Return what a program compares: the expression -> a program that returns its value.

    Of a comparison of two expressions it is their difference, of a comparison with a number the
    other side. Variables are taken from the assignments outside of `if`.
    """
    assignments = tuple(one for one in program.body if isinstance(one, lang.Assign))
    found: dict[str, lang.Program] = {}
    for node in lang.walk(program):
        if not isinstance(node, lang.Compare):
            continue
        parts = [node.first, *(part for _, part in node.rest)]
        for left, right in pairwise(parts):
            varying = [part for part in (left, right) if not isinstance(part, lang.Number)]
            if not varying:
                continue
            value = varying[0] if len(varying) == 1 else lang.Binary("-", left, right)
            body = (*assignments, lang.Return(value))
            found[show_expression(value)] = lang.Program(program.kind, body)
    return found


def _mean(draws: Sequence[Metrics]) -> Metrics:
    return {key: float(np.mean([draw[key] for draw in draws])) for key in draws[0]}


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
