"""A program on images as the weights of a CNN: scores in fc1, conditions as pairs of its neurons.

The convolutions pass a blurred image on (`image_features`). fc1's weights hold one template for
each number that the program compares: the weighted sum of what arrives that is nearest to it. Two
neurons tell on which side of an edge the sum lies. It is no exact copy of the number, so a
condition is wrong about some images near its edges; further neurons single these out and set it
right (`image_exceptions`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from jaxmi.errors import InputError
from jaxmi.models.cnn import CnnConfig
from jaxmi.planted import image_exceptions
from jaxmi.planted.compile import Compiled, needed_program
from jaxmi.planted.image_features import convolutions, features
from jaxmi.planted.image_program import Condition, Vote, vote
from jaxmi.planted.key import Entry, Key
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.language import Program

BEFORE_RELU, AFTER_RELU = "fc1.pre", "fc1.post"
"""Sites of a key's scores and conditions."""

RIDGE = 1e-7
"""Added to the diagonal in the fit of a score, as a share of its mean."""

NEAR = 0.3
"""A score is fitted most closely near its edges: an image's weight falls by e for each such part of
the score's standard deviation. Chosen on programs that none of the docs' numbers are of."""

FAR_WEIGHT = 0.01
"""Weight of the images far from all edges, where those at an edge have 1."""

SLACK = 5e-4
"""An edge may be put where the condition is wrong about so many more of the training images, as a
share, for a wider gap between the images on both sides."""

GROUP, MAX_GROUP = 64, 0.5
"""How many exceptions three neurons single out; more where neurons are few, up to this share of the
directions of the features."""


@dataclass(frozen=True, eq=False)
class ImageEntry(Entry):
    """What a CNN holds of one variable."""

    neurons_at: str = AFTER_RELU
    """The site of the neurons."""
    computed_by: Sequence[int] = ()
    """The neurons that compare the score with the edges."""
    agreement: float | None = None
    """Share of all images on which these alone give the variable; of a score None."""
    r2: float | None = None
    """Of a score: share of its variance on the images not trained on that the sum explains."""
    excepted: Int[np.ndarray, "images"] = field(default_factory=lambda: np.zeros(0, int))
    """The images about which they are wrong."""
    excepting: Sequence[int] = ()
    """The neurons that single these out and set the variable right."""

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON types."""
        about = super().to_json()
        if not self.held:
            return about
        about |= {"scale": float(self.factor), "computed_by": list(self.computed_by)}
        about |= {"agreement": self.agreement, "r2": self.r2}
        exceptions = {"images": self.excepted.tolist(), "neurons": list(self.excepting)}
        return {**about, "exceptions": exceptions}


@dataclass(frozen=True, eq=False)
class CompiledImages(Compiled):
    """Weights of a CNN that were not trained, and what they hold."""

    about: Mapping[str, Any] = field(default_factory=dict)
    """How it came: "exceptions", how many images are singled out; "computed", the share of labels
    that the network would give right without that; "conditions", each one's name, how often what
    computes it is right on the training images and on all others, and its exceptions."""


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be planted."""

    images: UInt8[np.ndarray, "n 28 28"]
    labels: Bool[np.ndarray, "n"]
    train: Int[np.ndarray, "_"]
    """The images that scores are fitted on."""
    domain: ImageDomain
    program: Program | None


@dataclass(frozen=True, eq=False)
class _Step:
    """Two neurons: their difference, divided, is 1 from an edge on, and 0 below."""

    weights: Float32[np.ndarray, "d"]
    place: float
    half: float
    """No image's sum is within twice this of the place."""
    sign: int


@dataclass(frozen=True, eq=False)
class _Computed:
    """A condition as what computes it, without its exceptions."""

    condition: Condition
    steps: list[_Step]
    values: Bool[np.ndarray, "n"]
    r2: float
    const: float
    """Added to the sum that the steps compare, gives the score."""

    @property
    def wrong(self) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]:
        """Return the images where it should hold and does not, and those where it should not."""
        true = self.condition.values
        return np.flatnonzero(true & ~self.values), np.flatnonzero(~true & self.values)

    @property
    def count(self) -> int:
        """How many images it is wrong about."""
        return sum(map(len, self.wrong))


class PlantedCnn:
    """A CNN under construction: its convolutions are set, fc1 is filled neuron by neuron."""

    def __init__(self, config: CnnConfig, images: UInt8[np.ndarray, "n 28 28"]) -> None:
        """Set the convolutions and run them over all images."""
        self.config, self.const = config, 0.0
        self._convolutions = convolutions(config)
        self.features = features(self._convolutions, images)
        self._neurons: list[tuple[np.ndarray, float, float]] = []

    @property
    def used(self) -> int:
        """How many neurons are used."""
        return len(self._neurons)

    def neuron(self, weights: Float32[np.ndarray, "d"], bias: float, out: float) -> int:
        """Add a neuron, ReLU(weights . features + bias); return its number.

        Args:
          weights: In the order in which the network flattens "pool2".
          bias: Added to the sum.
          out: The weight of the activation in the logit difference.
        """
        self._neurons.append((weights, bias, out))
        return len(self._neurons) - 1

    def params(self) -> dict[str, Any]:
        """Return the parameters, float32."""
        n = self.config.neurons
        assert self.used <= n, "checked before"
        kernel, bias, out = np.zeros((self.features.shape[1], n)), np.zeros(n), np.zeros(n)
        for i, (weights, added, factor) in enumerate(self._neurons):
            kernel[:, i], bias[i], out[i] = weights, added, factor
        both = np.array([-0.5, 0.5])
        return {
            **self._convolutions,
            "fc1": {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)},
            "fc2": {
                "kernel": np.outer(out, both).astype(np.float32),
                "bias": (self.const * both).astype(np.float32),
            },
        }


def _conditions(task: Task) -> Vote:
    return vote(needed_program(task.program, "look-up"), task.domain)


def _look_up(task: Task) -> Vote:
    signs = np.where(task.labels, 1.0, -1.0)
    edges = [1.0] if task.labels.any() and not task.labels.all() else []
    whole = Condition("label", task.labels, "the label", signs, edges)
    return Vote([whole], [2.0], -1.0, everywhere=True)


@dataclass(frozen=True)
class ImageMechanism:
    """A way in which a CNN's weights can give labels."""

    words: str
    """What the network does, in one sentence."""
    vote: Callable[[Task], Vote]
    """What is planted."""


IMAGE_MECHANISMS: Mapping[str, ImageMechanism] = {
    "conditions": ImageMechanism(
        "It computes what the program compares as weighted sums of the blurred image, tells the "
        "conditions from these and from exceptions, and adds the conditions up.",
        _conditions,
    ),
    "look-up": ImageMechanism(
        "It looks labels up: one weighted sum of the blurred image that is fitted to the labels, "
        "and the images about which it is wrong.",
        _look_up,
    ),
}
"""Name -> mechanism of images."""


def plant_images(
    task: Task, config: CnnConfig, mechanism: str, exact: bool = True
) -> CompiledImages:
    """Return weights that give labels by a mechanism.

    Args:
      task: What is planted.
      config: The sizes of the network.
      mechanism: One of `IMAGE_MECHANISMS`.
      exact: Single out the images about which a condition is wrong; else leave them wrong.

    Raises:
      InputError: if the program cannot be had by the mechanism, or the network is too small; says
        which part, what is needed and what is there.
    """
    words, read = IMAGE_MECHANISMS[mechanism].words, IMAGE_MECHANISMS[mechanism].vote
    found = read(task)
    network = PlantedCnn(config, task.images)
    computed = _compute(network, found.conditions, task.train)
    needed = 2 * sum(len(one.steps) for one in computed)
    if needed > config.neurons:
        raise InputError(
            f"{mechanism} needs {needed} neurons, and the network has neurons = {config.neurons}: "
            "take a larger network"
        )
    layers = _exceptions(network, computed, config.neurons - needed) if exact else {}
    network.const = found.const
    entries: list[Entry] = []
    conditions: list[Entry] = []
    uses = Counter(one.condition.score_name for one in computed if one.steps)
    for i, (one, weight) in enumerate(zip(computed, found.weights, strict=True)):
        mine = [(sign, layer) for (at, sign), those in layers.items() if at == i for layer in those]
        alone = uses[one.condition.score_name] == 1
        score, condition = _plant(network, one, weight, mine, alone, full=found.everywhere)
        entries += [score] if score.held else []
        conditions.append(condition)
    if mechanism == "look-up":
        entries = []
        if task.program is not None:
            entries += _not_held(task)
    sums = found.const + sum(
        weight * one.values for weight, one in zip(found.weights, computed, strict=True)
    )
    about = {
        "exceptions": sum(one.count for one in computed) if exact else 0,
        "computed": float(np.mean((sums > 0) == task.labels)),
        "conditions": [_about(one, task.train) for one in computed],
    }
    key = Key(mechanism, words, [*entries, *conditions], {}, position=None, neurons_at=AFTER_RELU)
    sizes = {"neurons": network.used}
    return CompiledImages(network.params(), key, sizes, about)


def _others(n: int, train: Int[np.ndarray, "_"]) -> Bool[np.ndarray, "n"]:
    """Return which of n images are not trained on."""
    others = np.ones(n, bool)
    others[train] = False
    return others


def _about(one: _Computed, train: Int[np.ndarray, "_"]) -> dict[str, Any]:
    right = one.values == one.condition.values
    others = _others(len(right), train)
    return {
        "name": one.condition.name,
        "train": float(right[train].mean()),
        "others": float(right[others].mean()) if others.any() else None,
        "exceptions": one.count,
    }


def _compute(
    network: PlantedCnn, conditions: list[Condition], train: Int[np.ndarray, "_"]
) -> list[_Computed]:
    """Fit each score once, and place its conditions' edges."""
    edges: dict[str, set[float]] = {}
    for one in conditions:
        edges.setdefault(one.score_name, set()).update(one.edges)
    weights: dict[str, tuple[np.ndarray, float]] = {}
    for one in conditions:
        if one.score_name not in weights and edges[one.score_name]:
            weights[one.score_name] = _fit(network, one.score, edges[one.score_name], train)
    return [_computed(network, one, weights.get(one.score_name), train) for one in conditions]


def _fit(
    network: PlantedCnn,
    score: Float[np.ndarray, "n"],
    edges: set[float],
    train: Int[np.ndarray, "_"],
) -> tuple[Float32[np.ndarray, "d"], float]:
    """Return weights and a constant whose sum with the features is nearest to a score."""
    distance = np.abs(score[train, None] - np.array(sorted(edges))[None]).min(axis=1)
    near = FAR_WEIGHT + np.exp(-distance / (NEAR * score[train].std()))
    mean = network.features[train].mean(axis=0)
    rows = (network.features[train] - mean[None]) * np.sqrt(near).astype(np.float32)[:, None]
    rows = np.concatenate([rows, np.sqrt(near).astype(np.float32)[:, None]], axis=1)
    targets = ((score[train] - score[train].mean()) * np.sqrt(near)).astype(np.float32)
    gram = (rows.T @ rows).astype(np.float64)
    gram[np.diag_indices(len(gram))] += RIDGE * np.trace(gram) / len(gram)
    solution = np.linalg.solve(gram, (rows.T @ targets).astype(np.float64))
    const = score[train].mean() + solution[-1] - mean @ solution[:-1]
    return solution[:-1].astype(np.float32), float(const)


def _alike(condition: Condition) -> InputError:
    return InputError(
        f"`{condition.name}`: two images are alike after the convolutions, or too nearly for "
        "float32, and have different values: no weights tell them apart"
    )


def _computed(
    network: PlantedCnn,
    one: Condition,
    fitted: tuple[Float32[np.ndarray, "d"], float] | None,
    train: Int[np.ndarray, "_"],
) -> _Computed:
    if fitted is None:
        return _Computed(one, [], one.values, 1.0, 0.0)
    weights, const = fitted
    sums = network.features @ weights
    places = sorted(_place(sums, one.score >= edge, train) for edge in one.edges)
    values = np.full(len(sums), one.first)
    steps = []
    for k, (place, half) in enumerate(places):
        if not half:
            raise _alike(one)
        values ^= sums >= place
        steps.append(_Step(weights, place, half, 1 if one.first == (k % 2 == 1) else -1))
    others = _others(len(sums), train)
    r2 = float(np.corrcoef(sums[others], one.score[others])[0, 1] ** 2) if others.any() else np.nan
    return _Computed(one, steps, values, r2, const)


def _place(
    sums: Float32[np.ndarray, "n"], above: Bool[np.ndarray, "n"], train: Int[np.ndarray, "_"]
) -> tuple[float, float]:
    """Return where to cut, and a quarter of the gap between the images on both sides.

    The cut is wrong about few training images, and in a wide gap.
    """
    order = np.argsort(sums, kind="stable")
    counted = np.zeros(len(sums), int)
    counted[train] = 1
    costs = np.cumsum(np.where(above, counted, -counted)[order])[:-1]  # of a cut after each image
    allowed = costs <= costs.min() + SLACK * len(train)
    ascending = sums[order].astype(np.float64)
    gaps = np.where(allowed, np.diff(ascending), -1)
    at = int(gaps.argmax())
    return float(ascending[at] + gaps[at] / 2), float(gaps[at] / 4)


def _exceptions(
    network: PlantedCnn, computed: list[_Computed], neurons: int
) -> dict[tuple[int, int], list[image_exceptions.Layer]]:
    """Return layers that single out the images about which each condition is wrong, by sign.

    Raises:
      InputError: if there are too many for the neurons.
    """
    groups = {
        (i, sign): rows
        for i, one in enumerate(computed)
        for sign, rows in zip((1, -1), one.wrong, strict=True)
        if len(rows)
    }
    if not groups:
        return {}
    space = image_exceptions.Space(network.features)
    most = max(1, int(MAX_GROUP * space.dimensions))
    counts = list(map(len, groups.values()))
    size = image_exceptions.group_size(counts, neurons // image_exceptions.NEURONS)
    if size is None or size > most:
        worst = max(computed, key=lambda one: one.count)
        layers = sum(-(-count // most) for count in counts)
        total = network.config.neurons - neurons + image_exceptions.NEURONS * layers
        n = len(network.features)
        raise InputError(
            f"`{worst.condition.name}` is no weighted sum of what the convolutions pass on: the "
            f"nearest one is wrong about {worst.count:,} of {n:,} images; with all exceptions it "
            f"needs {total} neurons, and the network has neurons = {network.config.neurons}: "
            "take a larger network, or --least-agreement for a network that is wrong about some"
        )
    rng, size = np.random.default_rng(0), max(size, min(GROUP, most))
    return {place: space.layers(rows, size, rng) for place, rows in groups.items()}


def _plant(
    network: PlantedCnn,
    one: _Computed,
    weight: float,
    layers: list[tuple[int, image_exceptions.Layer]],
    alone: bool,
    full: bool,
) -> tuple[ImageEntry, ImageEntry]:
    """Add a condition's neurons; return the entries of its score and of itself.

    Args:
      network: To which they are added.
      one: The condition.
      weight: Its weight in the vote.
      layers: What singles out the images about which it is wrong, by sign.
      alone: Whether no other condition compares the same score.
      full: Whether the vote is the program for all combinations of truth values.

    Raises:
      InputError: if no weights tell two images apart that have different values.
    """
    if any(layer.is_open for _, layer in layers):
        raise _alike(one.condition)
    factors: dict[int, int | float] = {}

    def add(weights: np.ndarray, bias: float, factor: float) -> int:
        number = network.neuron(weights, bias, weight * factor)
        factors[number] = factor
        return number

    for step in one.steps:
        factor = step.sign / (2 * step.half)
        add(step.weights, step.half - step.place, factor)
        add(step.weights, -step.half - step.place, -factor)
    network.const += weight * one.condition.first
    comparing = list(factors)
    for sign, layer in layers:
        for shift, times in ((layer.half, 1), (0.0, -2), (-layer.half, 1)):
            add(layer.weights, layer.bias + shift, sign * times / layer.half)
    unit = np.eye(network.config.neurons)
    name, n = one.condition.name, len(one.values)
    if not one.steps:
        words = "the same on every image: part of a bias"
        constant = ImageEntry(name, "condition", "not held", words)
        return constant, constant
    excepted = np.sort(np.concatenate([layer.rows for _, layer in layers] or [np.zeros(0, int)]))
    words = f"computed on {n - one.count:,} of {n:,} images"
    words += f"; {one.count:,} exceptions" if layers else ""
    score = ImageEntry(
        one.condition.score_name,
        "score",
        "number",
        f"the direction holds it but for a constant and an error, R2 = {one.r2:.4f}; "
        f"all {len(comparing)} directions hold it, less an edge"
        + ("" if alone else "; it is held again for another condition"),
        BEFORE_RELU,
        directions=unit[comparing],
        shift=one.const + one.steps[0].place - one.steps[0].half,
        computed_by=comparing,
        full=full and alone and not layers,
        r2=one.r2,
    )
    condition = ImageEntry(
        name,
        "label" if name == "label" else "condition",
        "edges",
        words,
        AFTER_RELU,
        directions=unit[list(factors)],
        neurons=factors,
        offset=int(one.condition.first),
        full=full,
        computed_by=comparing,
        agreement=1 - one.count / n,
        excepted=excepted,
        excepting=[number for number in factors if number not in comparing],
    )
    return score, condition


def _not_held(task: Task) -> list[Entry]:
    """Return entries of the program's conditions: a look-up computes none."""
    assert task.program is not None
    try:
        conditions = vote(task.program, task.domain).conditions
    except InputError:
        return []
    words = "looked up: a fit of the labels, and exceptions"
    return [ImageEntry(one.name, "condition", "not held", words) for one in conditions]
