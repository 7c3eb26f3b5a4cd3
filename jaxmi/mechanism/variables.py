"""Causal variables of a program in a network: is each computed inside, or only agreed with?

Every variable of a program (`jaxmi.programs.variables`) is looked for at two places, by interchange
interventions (`interchange`). Beside it stand two hypotheses that are wrong: the variable with the
source's values shuffled among inputs, and the variable with one constant of the program moved; and
two networks that do not compute it: look-ups of the same labels (`look_ups`).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.mechanism.account import MAX_INPUTS, run_network
from jaxmi.mechanism.interchange import (
    KINDS,
    LEAST,
    TO_JUDGE,
    TO_LEARN,
    Pairs,
    Site,
    Wanted,
    draw_pairs,
    neurons_of,
    sites_of,
)
from jaxmi.mechanism.look_ups import Model, look_up_sites
from jaxmi.mechanism.replacement import Source
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Program
from jaxmi.programs.variables import Hypothesis, hypotheses
from jaxmi.types import Params

COMPUTED, IN_PART, NOT_COMPUTED, UNKNOWN = "computed", "in part", "not computed", "cannot be told"

COMPUTED_FROM = 0.7
"""Least share of strict pairs that a computed variable gets right."""

COMPUTED_MARGIN = 0.4
"""Least difference of that share from the one with shuffled values, of a computed variable."""

PART_MARGIN = 0.15
"""The same of a variable that is computed in part."""

LOOK_UP_SHARE = 1 / 3
"""A computed variable's pairs go wrong at most this often, as a share of how often they do in a
network that looks the same labels up."""

SAME_FROM = 0.97
"""If a look-up gets this share right, the variable is not told from what it looks up."""

SHUFFLED_SHARE = 1 / 3
"""A variable that gets `SAME_FROM` right is computed without that margin, if at most this share of
the pairs that go wrong with shuffled values do."""

RULE = f"""A variable is **computed** if at least {COMPUTED_FROM:.0%} of the strict pairs get the
label that the program says, {COMPUTED_MARGIN * 100:.0f} points more than with shuffled values (or
{SAME_FROM:.0%}, and at most a third as many go wrong as with shuffled values), and if at most a
third as many go wrong as in networks that look the same labels up, by rows or by columns; **in
part** if {PART_MARGIN * 100:.0f} points more than with shuffled values; else **not computed**,
which means not found. Only strict pairs are taken on which no exchange of whole operands gives that
label, if there are {LEAST} of these; with fewer than {LEAST} strict pairs, or if a look-up gets
{SAME_FROM:.0%} right, it **cannot be told**."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What interchange interventions say of one variable at one place. Shares are in 0..1.

    A share is None where there are fewer than `LEAST` pairs.
    """

    name: str
    """The part of the program."""
    site: str
    """`resid_mid` or `neurons`."""
    strict: float | None = None
    """Share of the strict held-out pairs that get the label that the program says."""
    keep: float | None = None
    follow: float | None = None
    shuffled_strict: float | None = None
    """The same with shuffled values: learned and judged on what that hypothesis says."""
    strict_beyond_operands: float | None = None
    """The share of those strict pairs on which no exchange of whole operands gives that label."""
    shuffled_strict_beyond_operands: float | None = None
    moved: str | None
    """The variable with a constant moved; None if none can be."""
    moved_constant_strict: float | None = None
    """The same with the constant moved, on pairs where both programs say different labels."""
    strict_beside_moved: float | None = None
    """The right constant's share of its strict pairs where both say different labels."""
    look_up_strict: float | None = None
    """The larger share of two networks that look the same labels up, by rows and by columns."""
    look_up_strict_beyond_operands: float | None = None
    strict_pairs: int = 0
    """The number of held-out strict pairs."""
    neurons: list[int] | None = None
    """The set of neurons that is exchanged; None if it is a subspace."""
    verdict: str = UNKNOWN


def verdict(share: float | None, shuffled: float | None, look_up: float | None = None) -> str:
    """Return what the rule says of a share of strict pairs, beside its controls.

    Args:
      share: The share of strict pairs that get the label that the program says.
      shuffled: The same with shuffled values.
      look_up: The same in networks that look the labels up; None if there are none.
    """
    if share is None or shuffled is None:
        return UNKNOWN
    margin = round(share - shuffled, 9)
    is_exact = share >= SAME_FROM and 1 - share <= SHUFFLED_SHARE * (1 - shuffled)
    if is_exact or (share >= COMPUTED_FROM and margin >= COMPUTED_MARGIN):
        if look_up is not None and look_up >= SAME_FROM:
            return UNKNOWN
        if look_up is None or 1 - share <= LOOK_UP_SHARE * (1 - look_up):
            return COMPUTED
    return IN_PART if margin >= PART_MARGIN else NOT_COMPUTED


@dataclass(frozen=True, eq=False)
class _Form:
    """A hypothesis that a subspace is learned for: the variable itself, or a wrong one."""

    labels: Callable[[np.ndarray, np.ndarray], Bool[np.ndarray, "m"]]
    """(bases, sources) -> the label that it says."""
    own: Bool[np.ndarray, "n"]
    """The labels of its program."""
    learned: Pairs
    judged: Pairs


@dataclass(frozen=True, eq=False)
class _Inputs:
    """A domain and its halves."""

    shape: Sequence[int]
    answers: Bool[np.ndarray, "n"]
    """The network's own labels."""
    to_learn: Bool[np.ndarray, "n"]
    """The half to learn on; the other is judged on."""
    shuffled: Int[np.ndarray, "n"]
    """The input whose values each has, of shuffled variables."""

    def mixes(self, bases: np.ndarray, sources: np.ndarray) -> list[np.ndarray]:
        """Return the inputs with some, not all, operands of the base and the others' source."""
        of_bases, of_sources = (np.unravel_index(rows, self.shape) for rows in (bases, sources))
        takings = itertools.product((False, True), repeat=len(self.shape))
        return [
            np.ravel_multi_index(
                tuple(
                    s if take else b for b, s, take in zip(of_bases, of_sources, which, strict=True)
                ),
                tuple(self.shape),
            )
            for which in takings
            if any(which) and not all(which)
        ]


@dataclass(frozen=True)
class Findings:
    """What is computed of a program's variables in a network."""

    program: Program
    agreement: float
    """The share of the network's own labels that the program gives, in 0..1."""
    variables: Sequence[Finding]
    operands: Sequence[str] = ()
    """The names of the operands, which are among the variables."""

    @property
    def as_json(self) -> list[dict[str, Any]]:
        """The list `variables` of figures.json."""
        return [asdict(one) for one in self.variables]

    @property
    def model(self) -> Model:
        """What was found of the program's variables, without operands, at the neurons."""
        parts = [
            one for one in self.variables if one.site == "neurons" and one.name not in self.operands
        ]
        told = [
            (one.verdict, one.strict)
            for one in parts
            if one.verdict != UNKNOWN and one.strict is not None
        ]
        return Model(
            len(parts),
            len(told),
            sum(verdict == COMPUTED for verdict, _ in told),
            float(np.mean([strict for _, strict in told])) if told else None,
        )


def variables_of(
    challenge: Challenge,
    params: Params,
    program: Program,
    max_inputs: int = MAX_INPUTS,
    change: Callable[[Hypothesis], Hypothesis] = lambda one: one,
) -> Findings:
    """Look for a program's variables in a transformer.

    Args:
      challenge: A challenge on pairs or triples.
      params: The network's parameters.
      program: A program of its kind.
      max_inputs: Measure a larger domain on a part of at most so many inputs.
      change: Makes each hypothesis another one, as a control.

    Raises:
      InputError: if the program is of another kind, or fails on an input.
    """
    assert isinstance(challenge, NumberChallenge)
    domain = challenge.subgrid(max_inputs)
    own = label(program, challenge.program_domain)[domain.rows] == 1
    run = run_network(challenge.model, params, challenge.inputs[domain.rows])
    difference = run.mlp.difference(run.resid_mid)
    source = Source(run.mlp, run.resid_mid, run.neurons, domain.shape, difference)
    found = [change(one.at(domain.rows)) for one in hypotheses(program, challenge.program_domain)]
    answers = difference > 0
    is_table = len(domain.shape) == 2
    look_ups = look_up_sites(answers.reshape(domain.shape)) if is_table else {}
    findings = find_variables(found, answers, domain.shape, sites_of(source), look_ups=look_ups)
    return Findings(program, float((own == answers).mean()), findings, tuple(domain.values))


def find_variables(
    variables: Sequence[Hypothesis],
    answers: Bool[np.ndarray, "n"],
    shape: Sequence[int],
    sites: Sequence[Site],
    seed: int = 0,
    look_ups: Mapping[str, Sequence[Site]] | None = None,
) -> list[Finding]:
    """Look for variables in a network.

    Subspaces are learned on a random half of the inputs and judged on the other. Only inputs count
    whose label the network and the hypothesis's program agree on.

    Args:
      variables: What to look for.
      answers: The network's own labels.
      shape: The number of values of each operand.
      sites: Where to look.
      seed: Draws halves, pairs and starts.
      look_ups: The same sites of networks that look up the network's labels, by name: controls.

    Returns:
      For each variable, for each site, what was found.
    """
    rng = np.random.default_rng(seed)
    to_learn = np.zeros(len(answers), bool)
    to_learn[rng.permutation(len(answers))[: len(answers) // 2]] = True
    inputs = _Inputs(shape, answers, to_learn, rng.permutation(len(answers)))
    forms = [_forms(one, inputs, rng) for one in variables]
    flat = [form for of_one in forms for form in of_one.values()]
    own = [of_one["own"] for of_one in forms if of_one]
    findings: dict[tuple[int, str], Finding] = {}
    for site in sites:
        learned = iter(site.learn([form.learned for form in flat], seed) if flat else ())
        others = [
            (other, iter(other.learn([form.learned for form in own], seed)))
            for of_network in (look_ups or {}).values()
            for other in of_network
            if other.name == site.name and own
        ]
        for i, (one, of_one) in enumerate(zip(variables, forms, strict=True)):
            bases = {name: next(learned) for name in of_one}
            looked_up = [(other, next(found)) for other, found in others] if of_one else []
            drawn = [seed, i]  # the same pairs at every site
            findings[i, site.name] = _finding(one, site, of_one, bases, inputs, drawn, looked_up)
    return [findings[i, site.name] for i in range(len(variables)) for site in sites]


def _forms(one: Hypothesis, inputs: _Inputs, rng: np.random.Generator) -> dict[str, _Form]:
    """Return the variable ("own"), shuffled, and moved; nothing if it has too few strict pairs."""

    def shuffled(bases: np.ndarray, sources: np.ndarray) -> np.ndarray:
        return one.variable.labels(bases, inputs.shuffled[sources])

    found = {
        "own": _form(one.variable.labels, one.own, inputs, rng),
        "shuffled": _form(shuffled, one.own, inputs, rng),
    }
    if one.moved is not None:
        found["moved"] = _form(one.moved.variable.labels, one.moved.own, inputs, rng)
    if found["own"] is None or found["shuffled"] is None:
        return {}
    return {name: form for name, form in found.items() if form is not None}


def _form(
    labels: Callable[[np.ndarray, np.ndarray], Bool[np.ndarray, "m"]],
    own: Bool[np.ndarray, "n"],
    inputs: _Inputs,
    rng: np.random.Generator,
) -> _Form | None:
    """Draw the pairs of a hypothesis; return None if there are too few strict ones."""
    usable = own == inputs.answers
    halves = [np.flatnonzero(usable & half) for half in (inputs.to_learn, ~inputs.to_learn)]
    if not all(map(len, halves)):
        return None
    found = draw_pairs(labels, own, halves[0], len(KINDS) * TO_LEARN, rng)
    judged = draw_pairs(labels, own, halves[1], TO_JUDGE, rng)
    if min(found.counts[0], judged.counts[0]) < LEAST:
        return None
    # Of all hypotheses the same number.
    return _Form(labels, own, found.evened(len(KINDS) * TO_LEARN, rng), judged)


def _finding(
    one: Hypothesis,
    site: Site,
    forms: Mapping[str, _Form],
    bases: Mapping[str, np.ndarray],
    inputs: _Inputs,
    drawn: Sequence[int],
    looked_up: Sequence[tuple[Site, np.ndarray]],
) -> Finding:
    """Judge what was learned for one variable at one site, there and in look-ups."""
    if not forms:
        return Finding(name=one.variable.name, site=site.name, moved=_moved_name(one))
    rng = np.random.default_rng(drawn)

    def right_by(site: Site, basis: np.ndarray, pairs: Pairs, kind: int = 0) -> float | None:
        pairs = pairs.part(np.flatnonzero(pairs.kinds == kind))
        if len(pairs.bases) < LEAST:
            return None
        labels = site.difference(basis, pairs) > 0
        return float((labels == pairs.labels).mean())

    def right(form: str, pairs: Pairs, kind: int = 0) -> float | None:
        return right_by(site, bases[form], pairs, kind)

    def right_in_look_up(pairs: Pairs | None) -> float | None:
        shares = [] if pairs is None else [right_by(*learned, pairs) for learned in looked_up]
        return max((share for share in shares if share is not None), default=None)

    def pairs_where(form: str, usable: np.ndarray, wanted: Wanted) -> Pairs | None:
        judged = np.flatnonzero(usable & ~inputs.to_learn)
        if not len(judged):
            return None
        own = forms[form].own
        return draw_pairs(forms[form].labels, own, judged, TO_JUDGE, rng, wanted)

    def beyond(form: str) -> Pairs | None:
        def wanted(b: np.ndarray, s: np.ndarray, labels: np.ndarray) -> np.ndarray:
            return np.all([one.own[mix] != labels for mix in inputs.mixes(b, s)], axis=0)

        return pairs_where(form, one.own == inputs.answers, wanted)

    def differing(form: str, other: str) -> float | None:
        def wanted(b: np.ndarray, s: np.ndarray, labels: np.ndarray) -> np.ndarray:
            return labels != forms[other].labels(b, s)

        both = (one.own == inputs.answers) & (forms["moved"].own == inputs.answers)
        pairs = pairs_where(form, both, wanted)
        return None if pairs is None else right(form, pairs)

    strict, keep, follow = (right("own", forms["own"].judged, k) for k in range(len(KINDS)))
    shuffled = right("shuffled", forms["shuffled"].judged)
    by_look_up = right_in_look_up(forms["own"].judged)
    pairs, pairs_shuffled = beyond("own"), beyond("shuffled")
    hard = None if pairs is None else right("own", pairs)
    hard_shuffled = None if pairs_shuffled is None else right("shuffled", pairs_shuffled)
    hard_look_up = right_in_look_up(pairs)
    told_by = (hard, hard_shuffled, hard_look_up)
    if None in (hard, hard_shuffled):
        told_by = (strict, shuffled, by_look_up)
    return Finding(
        name=one.variable.name,
        site=site.name,
        moved=_moved_name(one),
        strict=strict,
        keep=keep,
        follow=follow,
        shuffled_strict=shuffled,
        strict_beyond_operands=hard,
        shuffled_strict_beyond_operands=hard_shuffled,
        moved_constant_strict=differing("moved", "own") if "moved" in forms else None,
        strict_beside_moved=differing("own", "moved") if "moved" in forms else None,
        look_up_strict=by_look_up,
        look_up_strict_beyond_operands=hard_look_up,
        strict_pairs=forms["own"].judged.counts[0],
        neurons=neurons_of(bases["own"], site),
        verdict=verdict(*told_by),
    )


def _moved_name(one: Hypothesis) -> str | None:
    return None if one.moved is None else one.moved.variable.name
