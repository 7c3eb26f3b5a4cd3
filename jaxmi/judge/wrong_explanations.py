"""True and wrong explanations of a planted network, all of which give its labels.

The judge is examined with them (`scripts/judge_on_plants.py`): a wrong one claims another mechanism
that has the same labels, claims a mechanism where it tests labels only, or changes a true one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation.network import Network
from jaxmi.judge.key_explanation import CHUNK, DIGITS, KeyClaim, claims_of
from jaxmi.mechanism.account import run_network
from jaxmi.mechanism.interchange import KINDS, TO_LEARN, draw_pairs, sites_of
from jaxmi.mechanism.replacement import Source
from jaxmi.planted.key import AFTER_MLP, BEFORE_MLP, NEURONS, POSITION
from jaxmi.programs import language as lang
from jaxmi.programs.domain import NumberDomain
from jaxmi.programs.expressions import expressions_of
from jaxmi.programs.show import show_expression
from jaxmi.programs.variables import Hypothesis, hypotheses
from jaxmi.types import Params

MATTERS = 0.05
"""A variable matters if some other value of it changes this share of the labels."""

PARTS = 4
"""Parts into which a site is split, all with one feature."""

FINER = "features finer than what is held"
"""The kind whose claims are true by the letter: who carries nothing but a condition carries nothing
but the condition and another."""

HEADS, RESID_PRE = "blocks.0.attn.hook_z", "blocks.0.hook_resid_pre"


@dataclass(frozen=True, eq=False)
class Submitted:
    """An explanation, and which of its claims are wrong."""

    explanation: Mapping[str, Any]
    wrong: tuple[int, ...] = ()
    """The claims that are wrong, or that say less than a mechanism; of a true explanation none."""


def variables_that_matter(program: lang.Program, challenge: Challenge) -> list[Hypothesis]:
    """Return a program's conditions and residues that change labels often enough."""
    domain = challenge.program_domain
    assert isinstance(domain, NumberDomain)  # planted programs are on pairs
    return [
        one
        for one in hypotheses(program, domain)
        if one.variable.role in ("condition", "residue")
        and (one.variable.counterfactual != one.own).any(axis=0).mean() >= MATTERS
    ]


def true_explanations(
    key: Mapping[str, Any], challenge: Challenge, params: Params
) -> dict[str, Submitted]:
    """Return what a key says: of the residual stream, of the neurons, and of both.

    A claim that is alone at its site says the label only, and is left out.

    Args:
      key: The key, as `mechanism.json` has it.
      challenge: The network's challenge.
      params: The network's parameters.

    Raises:
      InputError: as `claims_of`.
    """
    known = claims_of(key, challenge, params)
    parts: dict[str, list[KeyClaim]] = {}
    for name, site in (("directions", BEFORE_MLP), ("neurons", NEURONS)):
        at = [claim for claim in known.claims if claim.site == site]
        if len(at) > 1:
            parts[name] = at
    if len(parts) > 1:
        parts["directions and neurons"] = [claim for at in parts.values() for claim in at]
    found = {}
    for name, claims in parts.items():
        writer = _Writer(challenge, f"True: {name}", known.definitions)
        for claim in claims:
            writer.add(claim)
        found[name] = writer.submitted([])
    if key["mechanism"] == "conditions" and len(first := parts.get("directions", [])) > 2:
        writer = _Writer(challenge, "True: two variables as one", known.definitions)
        both = np.concatenate([_directions(claim) for claim in first[:2]])
        writer.along(BEFORE_MLP, both, _in_one([claim.feature for claim in first[:2]]))
        for claim in first[2:]:
            writer.add(claim)
        found["directions, two variables as one"] = writer.submitted([])
    return found


def wrong_explanations(
    key: Mapping[str, Any],
    challenge: Challenge,
    params: Params,
    variables: Sequence[Hypothesis],
    seed: int,
) -> dict[str, Submitted]:
    """Return wrong explanations of each kind that the network allows.

    Args:
      key: The network's key.
      challenge: Its challenge, with the program.
      params: Its parameters.
      variables: The program's variables to claim, two or more.
      seed: Draws what is drawn.

    Raises:
      InputError: as `claims_of`.
    """
    makers = _Wrong(key, challenge, params, variables, np.random.default_rng(seed))
    kinds = makers.of_conditions if key["mechanism"] == "conditions" else makers.of_look_ups
    return dict(kinds())


def learned_subspaces(
    challenge: Challenge,
    params: Params,
    variables: Sequence[Hypothesis],
    rng: np.random.Generator,
) -> list[Float[np.ndarray, "k d"]]:
    """Learn a subspace before the MLP for each variable, from interchange interventions.

    Args:
      challenge: A challenge on numbers.
      params: The network's parameters.
      variables: The variables.
      rng: Draws pairs and starts.

    Returns:
      For each variable orthonormal directions, (k, d_model).
    """
    run = run_network(challenge.model, params, challenge.inputs)
    difference = run.mlp.difference(run.resid_mid)
    grid = challenge.program_domain.shape
    site = sites_of(Source(run.mlp, run.resid_mid, run.neurons, grid, difference))[0]
    tasks = []
    for one in variables:
        every = np.arange(len(difference))
        pairs = draw_pairs(one.variable.labels, one.own, every, TO_LEARN, rng)
        tasks.append(pairs.evened(len(KINDS) * TO_LEARN, rng))
    return [basis.T for basis in site.learn(tasks, int(rng.integers(2**31)))]


@dataclass(eq=False)
class _Writer:
    """Writes an explanation claim by claim."""

    challenge: Challenge
    title: str
    definitions: Mapping[str, str] = field(default_factory=dict)
    readouts: dict[str, Any] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)

    def along(self, site: str, directions: Float[np.ndarray, "k d"], feature: str) -> None:
        """Claim a feature of directions at the last position."""
        names = []
        for direction in directions:
            names.append(f"r{len(self.readouts)}")
            weights = [float(f"{weight:.{DIGITS}g}") for weight in direction]
            self.readouts[names[-1]] = {"site": site, "pos": POSITION, "d_model": weights}
        self.at(site, {"pos": POSITION, "readouts": names}, feature)

    def at(self, site: str, components: Mapping[str, Any], feature: str) -> None:
        """Claim a feature of other components."""
        self.claims.append({"site": site, "components": dict(components), "feature": feature})

    def add(self, claim: KeyClaim, feature: str | None = None) -> None:
        """Claim what a key says, or another feature in its place."""
        feature = claim.feature if feature is None else feature
        if claim.directions is not None:
            self.along(claim.site, claim.directions, feature)
        else:
            neurons = {"pos": claim.position, "neuron": list(claim.neurons)}
            self.at(claim.site, neurons, feature)

    def submitted(self, wrong: Sequence[int] | None = None) -> Submitted:
        """Return what was written; wrong are some claims, or all."""
        explanation = {
            "challenge": self.challenge.name,
            "title": self.title,
            **({"definitions": dict(self.definitions)} if self.definitions else {}),
            **({"readouts": self.readouts} if self.readouts else {}),
            "claims": self.claims,
        }
        return Submitted(explanation, tuple(range(len(self.claims)) if wrong is None else wrong))


Kinds = Iterator[tuple[str, Submitted]]


class _Wrong:
    """Makes wrong explanations of one network."""

    def __init__(
        self,
        key: Mapping[str, Any],
        challenge: Challenge,
        params: Params,
        variables: Sequence[Hypothesis],
        rng: np.random.Generator,
    ) -> None:
        self._challenge, self._params, self._rng = challenge, params, rng
        self._variables = variables
        self._known = claims_of(key, challenge, params)
        self._features = [one.variable.name for one in variables]
        self._joint = _in_one(self._features)
        values = [one.variable.values.astype(np.float64) for one in variables]
        self._values: Float[np.ndarray, "m n"] = np.stack(values)
        read = Network(challenge.model, params, CHUNK).read(challenge.inputs, [BEFORE_MLP])
        stream = read[BEFORE_MLP][:, POSITION].astype(np.float64)
        self._stream = stream - stream.mean(axis=0)
        _, sizes, directions = np.linalg.svd(self._stream, full_matrices=False)
        self._varying = directions[sizes > 1e-4 * sizes[0]]
        self._heads = {name: list(heads) for name, heads in key["heads"].items()}

    def _writer(self, title: str, definitions: Mapping[str, str] | None = None) -> _Writer:
        return _Writer(self._challenge, title, dict(definitions or {}))

    def _at(self, site: str) -> list[KeyClaim]:
        return [claim for claim in self._known.claims if claim.site == site]

    # The program's conditions, of a network that looks its labels up.

    def of_look_ups(self) -> Kinds:
        """Yield the kinds for a network that holds none of the program's variables."""
        probes, learned = self._probes(), self._learned()
        if _is_independent(probes):
            yield "conditions at probes", self._claimed("Probes", probes)
            rest = self._claimed("Probes, rest", probes, True)
            yield "conditions at probes, the rest jointly", rest
        if _is_independent(learned):
            yield "conditions in learned subspaces", self._claimed("Learned", learned)
        places = np.concatenate([_directions(claim) for claim in self._at(BEFORE_MLP)])
        split = np.array_split(places, len(self._features))
        if all(map(len, split)):
            yield "conditions at the places", self._claimed("At places", split)
        yield from self._of_labels()
        inputs = self._writer("Inputs and everything")
        for position, operand in enumerate("xy"):
            inputs.at(RESID_PRE, {"pos": position}, operand)
        inputs.at(BEFORE_MLP, {"pos": POSITION}, self._joint)
        yield "inputs, and the whole site jointly", inputs.submitted([2])

    def _claimed(
        self, title: str, spans: Sequence[Float[np.ndarray, "k d"]], rest: bool = False
    ) -> Submitted:
        """Claim one variable of each span; with `rest`, of what is left all variables jointly."""
        writer = self._writer(title)
        for span, feature in zip(spans, self._features, strict=True):
            writer.along(BEFORE_MLP, span, feature)
        if rest:
            left = _beyond(self._varying, np.concatenate(spans))
            if len(left):
                writer.along(BEFORE_MLP, left, self._joint)
        return writer.submitted()

    def _probes(self) -> list[Float[np.ndarray, "1 d"]]:
        """Return for each variable the direction that predicts it best, by least squares."""
        coordinates = self._stream @ self._varying.T
        centred = self._values - self._values.mean(axis=1, keepdims=True)
        weights = np.linalg.lstsq(coordinates, centred.T, rcond=None)[0]
        return _independent([row[None] for row in weights.T @ self._varying])

    def _learned(self) -> list[Float[np.ndarray, "k d"]]:
        """Return a part of each learned subspace, so small that all of them are independent."""
        found = learned_subspaces(self._challenge, self._params, self._variables, self._rng)
        most = max(1, len(self._varying) // len(found))
        return _independent([subspace[:most] for subspace in found])

    def _of_labels(self) -> Kinds:
        """Yield explanations that only say the label."""
        whole = self._writer("Everything jointly")
        whole.at(BEFORE_MLP, {"pos": POSITION}, self._joint)
        yield "the whole site, all variables jointly", whole.submitted()
        definitions, label = self._label()
        last = self._writer("The label, last", definitions)
        last.at(AFTER_MLP, {"pos": POSITION}, label)
        yield "the label at the last site", last.submitted()
        middle = self._writer("The label, before the neurons", definitions)
        middle.at(BEFORE_MLP, {"pos": POSITION}, label)
        yield "the label before the neurons", middle.submitted()
        parts = self._writer("One feature of many parts")
        turned = np.linalg.qr(self._rng.normal(size=(len(self._varying),) * 2))[0] @ self._varying
        for part in np.array_split(turned, min(PARTS, len(turned))):
            parts.along(BEFORE_MLP, part, self._joint)
        yield "many parts of the site, one feature", parts.submitted()

    def _label(self) -> tuple[dict[str, str], str]:
        """Return the program's label as an expression, and the definitions that it needs."""
        program = self._challenge.program
        assert program is not None
        found = expressions_of(program)
        returned = program.body[-1]
        assert isinstance(returned, lang.Return)
        text = show_expression(returned.value)
        expression = next(one for name, one in found.parts if name == text)
        needed = found.needed(expression)
        definitions = {name: show_expression(one) for name, one in needed.items()}
        return definitions, show_expression(expression)

    # Of a network that computes the program's conditions.

    def of_conditions(self) -> Kinds:
        """Yield the kinds for a network that holds each of the program's variables."""
        for site, name in ((BEFORE_MLP, "directions"), (NEURONS, "neurons")):
            claims = self._at(site)
            features = [claim.feature for claim in claims]
            permuted = self._writer(f"Permuted {name}", self._known.definitions)
            for claim, other in zip(claims, [*features[1:], features[0]], strict=True):
                permuted.add(claim, other)
            yield f"each other's {name}", permuted.submitted()
            if (moved := self._moved(claims)) is not None:
                yield f"a constant moved, {name}", moved
        claims = self._at(BEFORE_MLP)
        features = [claim.feature for claim in claims]
        finer = self._writer("Finer features", self._known.definitions)
        for claim, other in zip(claims, [*features[1:], features[0]], strict=True):
            finer.add(claim, _in_one([claim.feature, other]))
        yield FINER, finer.submitted()
        places = self._writer("Operands")
        for claim in claims:
            number = self._stream @ _directions(claim)[0]
            places.add(claim, self._nearer_operand(number))
        yield "one operand at each direction", places.submitted()
        feature = claims[0].feature
        extras = (
            ("x's own position", BEFORE_MLP, {"pos": 0}),
            ("a head", HEADS, {"pos": POSITION, "head": (self._heads["x"] or [0])[0]}),
            ("half of the neurons", NEURONS, {"pos": POSITION, "neuron": self._half()}),
        )
        for words, site, components in extras:
            extra = self._writer(f"True, and {words}", self._known.definitions)
            for claim in claims:
                extra.add(claim)
            extra.at(site, components, feature)
            yield f"true, and wrong of {words}", extra.submitted([len(claims)])

    def _half(self) -> list[int]:
        """Return half of the neurons that hold something."""
        used = sorted({i for claim in self._at(NEURONS) for i in claim.neurons})
        return sorted(int(i) for i in self._rng.permutation(used)[: max(1, len(used) // 2)])

    def _nearer_operand(self, number: Float[np.ndarray, "n"]) -> str:
        """Return the operand that more of a number's variance depends on."""
        grid = number.reshape(tuple(self._challenge.program_domain.shape))
        return "x" if grid.mean(axis=1).var() >= grid.mean(axis=0).var() else "y"

    def _moved(self, claims: Sequence[KeyClaim]) -> Submitted | None:
        """Return the truth with the constant moved of a condition; None if none can be."""
        movable = {
            one.variable.name: one.moved.variable.name
            for one in self._variables
            if one.moved is not None and one.variable.role == "condition"
        }
        chosen = [i for i, claim in enumerate(claims) if claim.feature in movable]
        if not chosen:
            return None
        wrong = int(self._rng.choice(chosen))
        writer = self._writer("A constant moved", self._known.definitions)
        for i, claim in enumerate(claims):
            writer.add(claim, movable[claim.feature] if i == wrong else None)
        return writer.submitted([wrong])


def _directions(claim: KeyClaim) -> Float[np.ndarray, "k d"]:
    assert claim.directions is not None  # the key's claims before the neurons are of directions
    return claim.directions


def _in_one(features: Sequence[str]) -> str:
    """Return one number for the values of several features, each of magnitude below 500."""
    return " + ".join(f"{1000**i} * ({feature})" for i, feature in enumerate(features))


def _independent(spans: Sequence[Float[np.ndarray, "k d"]]) -> list[Float[np.ndarray, "k d"]]:
    """Return each span without what lies in those before it; one direction is always left."""
    found: list[np.ndarray] = []
    for span in spans:
        rows = span / np.linalg.norm(span, axis=1, keepdims=True)
        left = _beyond(rows, np.concatenate(found)) if found else rows
        found.append(left if len(left) else rows[:1])
    return found


def _is_independent(spans: Sequence[Float[np.ndarray, "k d"]]) -> bool:
    rows = np.concatenate(spans)
    return int(np.linalg.matrix_rank(rows, tol=1e-3)) == len(rows)


def _beyond(
    rows: Float[np.ndarray, "k d"], known: Float[np.ndarray, "l d"]
) -> Float[np.ndarray, "m d"]:
    """Return orthonormal directions of the span of rows at right angles to known directions."""
    basis = np.linalg.svd(known, full_matrices=False)[2]
    _, sizes, directions = np.linalg.svd(rows - rows @ basis.T @ basis, full_matrices=False)
    return directions[sizes > 1e-3]
