"""The judge's causal scrubbing: parts are taken from inputs with the same value of the variable.

After Chan et al., "Causal scrubbing" (2022), as `jaxmi score explanation.json` does it, with its
controls (docs/explanations.md). The claims are about linear probes' directions: each carries
nothing of the input but its variable.

- Is it computed? Labels kept by the claim about one probe's direction at the site, less those kept
  by the claim that nothing matters there, or by chance.
- Which neurons? The mean change of the logit difference when the neuron alone is taken from any
  input, less that when it is taken from one with the same value.
- Which explanation? Labels kept by the claims about all its variables at the neurons, with
  everything else resampled, less those kept under the best control.

The threshold is the judge's own margin: as many points more than under any control.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxmi.judge.bound_claim import BoundClaim
from jaxmi.judge.judge_explanation import bind_claims, judge_claims, run_claims, with_features
from jaxmi.judge.submission import Explanation, Readout, SubmittedClaim, SubmittedComponent
from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import (
    Asked,
    ComputedQuestion,
    ExplanationQuestion,
    NeuronsQuestion,
    Question,
    Score,
)
from jaxmi.methods.side_by_side.common import halves
from jaxmi.methods.side_by_side.probe import fit_probe
from jaxmi.planted.key import NEURONS, POSITION
from jaxmi.programs.parse import parse

DRAWS = 2
"""Draws of donors of one claim: as many as the judge makes."""

NOTHING = parse("return 0", "pairs")
"""Stands for a feature, whose values are given instead."""


def scrubbing(network: NetworkView, question: Question) -> Score:
    """Return the labels kept less those of the best control, or each neuron's effect."""
    if isinstance(question, NeuronsQuestion):
        return _neurons(network, question)
    if isinstance(question, ComputedQuestion):
        bound = _bound(network, [question], question.site, question.seed)[1]
        nothing = with_features(bound, [np.zeros(len(question.own))])
        claim, control = (
            run_claims(bound[0].subject, claims, draws=DRAWS, seed=question.seed)
            for claims in (bound, nothing)
        )
        return claim.kept_of_moved - max(control.kept, claim.chance)
    assert isinstance(question, ExplanationQuestion)
    score = judge_claims(
        *_bound(network, question.variables, NEURONS, question.seed), question.seed
    )
    return score.together.resampled.kept_of_moved - max(score.controls(rest=True).values())


def _bound(
    network: NetworkView, variables: Sequence[Asked], site: str, seed: int
) -> tuple[Explanation, list[BoundClaim]]:
    """Return one claim for each variable: its probe's direction carries nothing else."""
    here = network.activations[site]
    learn, _ = halves(len(here), seed)
    readouts, claims = {}, []
    for i, one in enumerate(variables):
        weights = fit_probe(network, site, one, learn).direction
        name = f"probe{i}"
        readouts[name] = Readout(site, (POSITION,), tuple(map(float, weights)), on_pca=False)
        component = SubmittedComponent(((POSITION,),), readouts=(name,))
        claims.append(SubmittedClaim(site, component, "the variable", NOTHING))
    explanation = Explanation(network.challenge.name, "probes", readouts, tuple(claims))
    bound = bind_claims(explanation, network.challenge, network.params)
    return explanation, with_features(bound, [one.values for one in variables])


def _neurons(network: NetworkView, question: NeuronsQuestion) -> Float[np.ndarray, "neuron"]:
    rng = np.random.default_rng(question.seed)
    n = len(question.own)
    anyone, alike = rng.permutation(n), np.arange(n)
    for value in range(len(question.variable.counterfactual)):
        rows = np.flatnonzero(question.values == value)
        alike[rows] = rng.permutation(rows)
    own = network.contributions
    from_anyone, from_alike = (np.abs(own[rows] - own).mean(axis=0) for rows in (anyone, alike))
    return from_anyone - from_alike
