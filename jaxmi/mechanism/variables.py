"""Causal variables of a program in a network: is each computed inside, or only agreed with?

Every variable of a program (`jaxmi.programs.variables`) is looked for at two places, by interchange
interventions (`interchange`). Beside it stand two hypotheses that are wrong: the variable with the
source's values shuffled among inputs, and the variable with one constant of the program moved.
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
    sites_of,
)
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

RULE = f"""A variable is **computed** if at least {COMPUTED_FROM:.0%} of the strict pairs get the
label that the program says, and {COMPUTED_MARGIN * 100:.0f} points more than with shuffled values;
**in part** if {PART_MARGIN * 100:.0f} points more than with shuffled values; else **not
computed**, which means not found. Only strict pairs are taken on which no exchange of whole
operands gives that label, if there are {LEAST} of these; with fewer than {LEAST} strict pairs it
**cannot be told**."""


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
    strict_pairs: int = 0
    """The number of held-out strict pairs."""
    verdict: str = UNKNOWN


def verdict(share: float | None, shuffled: float | None) -> str:
    """Return what the rule says of a share of strict pairs, and of that with shuffled values."""
    if share is None or shuffled is None:
        return UNKNOWN
    margin = round(share - shuffled, 9)
    if share >= COMPUTED_FROM and margin >= COMPUTED_MARGIN:
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

    @property
    def as_json(self) -> list[dict[str, Any]]:
        """The list `variables` of figures.json."""
        return [asdict(one) for one in self.variables]


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
    findings = find_variables(found, difference > 0, domain.shape, sites_of(source))
    return Findings(program, float((own == (difference > 0)).mean()), findings)


def find_variables(
    variables: Sequence[Hypothesis],
    answers: Bool[np.ndarray, "n"],
    shape: Sequence[int],
    sites: Sequence[Site],
    seed: int = 0,
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

    Returns:
      For each variable, for each site, what was found.
    """
    rng = np.random.default_rng(seed)
    to_learn = np.zeros(len(answers), bool)
    to_learn[rng.permutation(len(answers))[: len(answers) // 2]] = True
    inputs = _Inputs(shape, answers, to_learn, rng.permutation(len(answers)))
    forms = [_forms(one, inputs, rng) for one in variables]
    flat = [form for of_one in forms for form in of_one.values()]
    findings: dict[tuple[int, str], Finding] = {}
    for site in sites:
        learned = iter(site.learn([form.learned for form in flat], seed) if flat else ())
        for i, (one, of_one) in enumerate(zip(variables, forms, strict=True)):
            bases = {name: next(learned) for name in of_one}
            rng = np.random.default_rng([seed, i])  # the same pairs at every site
            findings[i, site.name] = _finding(one, site, of_one, bases, inputs, rng)
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
    # As many of each kind that there is; of all hypotheses the same number.
    there = [kind for kind, count in enumerate(found.counts) if count]
    each = -(-len(KINDS) * TO_LEARN // len(there))
    rows = [rng.choice(np.flatnonzero(found.kinds == kind), each) for kind in there]
    rows = rng.permutation(np.concatenate(rows))[: len(KINDS) * TO_LEARN]
    return _Form(labels, own, found.part(rows), judged)


def _finding(
    one: Hypothesis,
    site: Site,
    forms: Mapping[str, _Form],
    bases: Mapping[str, np.ndarray],
    inputs: _Inputs,
    rng: np.random.Generator,
) -> Finding:
    """Judge what was learned for one variable at one site."""
    if not forms:
        return Finding(name=one.variable.name, site=site.name, moved=_moved_name(one))

    def right(form: str, pairs: Pairs, kind: int = 0) -> float | None:
        pairs = pairs.part(np.flatnonzero(pairs.kinds == kind))
        if len(pairs.bases) < LEAST:
            return None
        labels = site.difference(bases[form], pairs) > 0
        return float((labels == pairs.labels).mean())

    def right_where(form: str, usable: np.ndarray, wanted: Wanted) -> float | None:
        judged = np.flatnonzero(usable & ~inputs.to_learn)
        if not len(judged):
            return None
        own = forms[form].own
        pairs = draw_pairs(forms[form].labels, own, judged, TO_JUDGE, rng, wanted)
        return right(form, pairs)

    def beyond(form: str) -> float | None:
        def wanted(b: np.ndarray, s: np.ndarray, labels: np.ndarray) -> np.ndarray:
            return np.all([one.own[mix] != labels for mix in inputs.mixes(b, s)], axis=0)

        return right_where(form, one.own == inputs.answers, wanted)

    def differing(form: str, other: str) -> float | None:
        def wanted(b: np.ndarray, s: np.ndarray, labels: np.ndarray) -> np.ndarray:
            return labels != forms[other].labels(b, s)

        both = (one.own == inputs.answers) & (forms["moved"].own == inputs.answers)
        return right_where(form, both, wanted)

    strict, keep, follow = (right("own", forms["own"].judged, k) for k in range(len(KINDS)))
    shuffled = right("shuffled", forms["shuffled"].judged)
    hard, hard_shuffled = beyond("own"), beyond("shuffled")
    told_by = (strict, shuffled) if None in (hard, hard_shuffled) else (hard, hard_shuffled)
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
        strict_pairs=forms["own"].judged.counts[0],
        verdict=verdict(*told_by),
    )


def _moved_name(one: Hypothesis) -> str | None:
    return None if one.moved is None else one.moved.variable.name
