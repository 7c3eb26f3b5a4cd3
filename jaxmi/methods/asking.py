"""The questions that are asked of planted networks of one program, with their truth.

Each variable of the program is asked of the network that holds it and of a network with the same
labels that does not: so whatever is told from labels alone is right as often as wrong. Beside these
stand two kinds of variables that no network of the program holds, and whose labels say so: one of
another program, and the program's own with a constant moved.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxmi.mechanism.interchange import Pairs
from jaxmi.methods import causal_models, truth
from jaxmi.methods.network import SITES, NetworkView
from jaxmi.methods.questions import (
    Asked,
    ComputedQuestion,
    ExplanationQuestion,
    NeuronsQuestion,
    Question,
)
from jaxmi.planted.key import NEURONS
from jaxmi.programs.language import Program

SAME_LABELS, MOVED, OTHER = "same labels", "constant moved", "other program"
"""Why a variable is not computed: the network has another mechanism for the same labels; the
variable has a constant moved; it is one of another program."""

LEAST_CONDITIONS = 2
"""Least conditions of the program that can be asked about."""

MOST_VARIABLES = 2
"""Most variables of a causal model that are asked about."""

COMPUTED = "conditions"
"""The mechanism that computes a program's variables; `look_ups.LOOK_UPS` look labels up."""


@dataclass(frozen=True, eq=False)
class Planted:
    """A network, its mechanism and its key. The key is for the marker only."""

    view: NetworkView
    mechanism: str
    """One of `planted.compile.MECHANISMS`, or another that holds the program's variables."""
    key: Mapping[str, Any]

    @property
    def parts(self) -> list[truth.KeyPart]:
        """What the key says is held."""
        return truth.parts_of(self.key, self.view.mlp.w_in.shape[0])


@dataclass(frozen=True, eq=False)
class Marked:
    """A question with its truth, and where it belongs in the result."""

    question: Question
    truth: bool | np.ndarray
    """Whether the variable is computed, or the explanation right; of neurons which carry it."""
    planted: Planted
    about: str
    """What is asked about, in words, for messages."""
    negative: str = ""
    """Why the answer is no, if it is: `SAME_LABELS`, `MOVED` or `OTHER`."""
    pair: int = 0
    """Of explanations: the two with the same number are compared."""
    exchanged: float | None = None
    """The share of strict pairs right when the variable's part is exchanged; of a network with
    another mechanism the best share that any set of its parts gives. None: not measured."""

    @property
    def kind(self) -> str:
        """What is asked: computed, neurons or explanation."""
        return {
            ComputedQuestion: "computed",
            NeuronsQuestion: "neurons",
            ExplanationQuestion: "explanation",
        }[type(self.question)]

    @property
    def site(self) -> str:
        """The site that is asked about; of neurons and explanations the neurons."""
        return self.question.site if isinstance(self.question, ComputedQuestion) else NEURONS

    @property
    def text(self) -> str:
        """The question in words."""
        what = {
            "computed": f"is `{self.about}` computed at {self.site}",
            "neurons": f"which neurons carry `{self.about}`",
            "explanation": f"is it explained by {self.about}",
        }[self.kind]
        return f"{what}, of the network {self.planted.mechanism}"


@dataclass(frozen=True, eq=False)
class CausalModel:
    """A causal model of a program's labels, as the networks hold it or not."""

    holder: Planted
    """The network that holds its variables."""
    variables: Mapping[str, Asked]
    """Name -> variable: those that can be asked about."""
    parts: Mapping[str, truth.KeyPart]
    """Name -> what the key says of it."""
    sites: Sequence[str]
    """Where it is held."""


def program_model(holder: Planted, program: Program, seed: int) -> CausalModel | None:
    """Return the program's own variables that a network holds, as far as they can be asked about.

    Args:
      holder: A network whose key names them.
      program: The program.
      seed: Draws pairs.

    Returns:
      None if fewer than `LEAST_CONDITIONS` can be asked about, or the key names too many parts.
    """
    parts = {one.name: one for one in holder.parts if one.full}
    found = {
        one.variable.name: causal_models.asked(one)
        for one in causal_models.of_program(program, holder.view.p)
        if one.variable.name in parts
    }
    usable = _usable(found, seed)
    if len(usable) < LEAST_CONDITIONS or len(holder.parts) > truth.MAX_PARTS:
        return None
    return CausalModel(holder, usable, parts, SITES)


def look_up_model(holder: Planted, labels: np.ndarray, seed: int) -> CausalModel | None:
    """Return the places of a look-up, as far as they can be asked about; None if none can."""
    parts = {one.name: one for one in holder.parts}
    found = {one.variable.name: one for one in causal_models.of_look_up(labels, holder.mechanism)}
    usable = _usable(found, seed)
    if not usable or len(parts) > truth.MAX_PARTS:
        return None
    # A place is compared with an operand that other places are compared with, too: before the MLP
    # no part of its own holds the comparison.
    return CausalModel(holder, usable, parts, (NEURONS,))


def _usable(found: Mapping[str, Asked], seed: int) -> dict[str, Asked]:
    return {
        name: one
        for name, one in found.items()
        if causal_models.can_be_asked(one, truth.PAIRS, seed)
    }


MOST_OF_EXPLANATION = 2
"""Most variables of an explanation: the first that can be asked about."""


def ask(
    models: Sequence[CausalModel],
    networks: Sequence[Planted],
    moved: Mapping[str, Asked],
    other: Sequence[tuple[str, Asked]],
    seed: int,
) -> list[Marked]:
    """Return all questions about the networks of one program.

    Args:
      models: The program's own first, then look-ups' places.
      networks: Networks of the same labels, with the holders of the models among them.
      moved: Variable -> the same with a constant moved.
      other: Variables of another program, with their names.
      seed: Draws whatever is drawn.
    """
    rng = np.random.default_rng(seed)
    found: list[Marked] = []
    for number, model in enumerate(models):
        names = [list(model.variables)[i] for i in rng.permutation(len(model.variables))]
        for name in names[: MOST_VARIABLES if number == 0 else 1]:
            found += _about(model, name, networks, rng)
        if number == 0:
            found += _wrong(model, names[0], moved, other, rng)
    return [*found, *_explanations(models, rng)]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _about(
    model: CausalModel, name: str, networks: Sequence[Planted], rng: np.random.Generator
) -> Iterator[Marked]:
    """Yield the questions of one variable: of its holder, and of a network of the same labels."""
    one, part, holder = model.variables[name], model.parts[name], model.holder
    pairs = truth.strict_pairs(one, _seed(rng))
    others = [other for other in networks if other is not holder]
    for site in model.sites:
        held = truth.share_right(holder.view, site, [part], pairs) if part.at(site) else 0.0
        if held < truth.HELD_FROM:
            continue
        order = [others[i] for i in rng.permutation(len(others))]
        shares = ((each, _best_share(each, site, pairs)) for each in order)
        lacking = next((both for both in shares if both[1] < truth.MIMICKED_FROM), None)
        if lacking is None:
            continue
        question = ComputedQuestion(one.variable, one.own, site, _seed(rng))
        without, best = lacking
        yield Marked(question, True, holder, name, exchanged=held)
        yield Marked(question, False, without, name, SAME_LABELS, exchanged=best)
    carries = np.zeros(len(holder.view.active), bool)
    carries[part.neurons] = True
    candidates = holder.view.active
    if carries[candidates].any() and not carries[candidates].all():
        question = NeuronsQuestion(one.variable, one.own, candidates, _seed(rng))
        yield Marked(question, carries, holder, name)


def _best_share(planted: Planted, site: str, pairs: Pairs) -> float:
    """Return the best share that parts of a network give; 1 if they are too many to try."""
    parts = planted.parts
    if len(parts) > truth.MAX_PARTS:
        return 1.0
    return truth.best_share(planted.view, site, parts, pairs)


def _wrong(
    model: CausalModel,
    name: str,
    moved: Mapping[str, Asked],
    other: Sequence[tuple[str, Asked]],
    rng: np.random.Generator,
) -> Iterator[Marked]:
    """Yield the questions of variables whose labels are not the network's."""
    named, foreign = other[int(rng.integers(len(other)))]
    wrong = [(OTHER, named, foreign)] + ([(MOVED, name, moved[name])] if name in moved else [])
    for why, about, one in wrong:
        for site in model.sites:
            question = ComputedQuestion(one.variable, one.own, site, _seed(rng))
            yield Marked(question, False, model.holder, about, why)


def _explanations(models: Sequence[CausalModel], rng: np.random.Generator) -> Iterator[Marked]:
    """Yield pairs of explanations: the program's against a look-up's, on both networks."""
    pair = 0
    for look_up in rng.permutation(np.array(models[1:], object))[:1]:
        both = (models[0], look_up)
        seeds = [_seed(rng) for _ in both]
        for holder in both:
            for model, seed in zip(both, seeds, strict=True):
                variables = tuple(model.variables.values())[:MOST_OF_EXPLANATION]
                question = ExplanationQuestion(variables, seed)
                about = f"the {model.holder.mechanism}'s variables"
                right = model is holder
                negative = "" if right else SAME_LABELS
                yield Marked(question, right, holder.holder, about, negative, pair)
            pair += 1
