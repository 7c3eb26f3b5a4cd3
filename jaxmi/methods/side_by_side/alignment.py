"""Distributed alignment search: a subspace is learned whose exchange acts as the variable's.

After Geiger et al., "Finding alignments between interpretable causal variables and distributed
neural representations" (2024), as `jaxmi explain --variables` does it (docs/variables.md).

- Is it computed? The share of strict pairs, held out, that get the label that the variable's
  exchange gives, times the share of inputs on which the variable's model has the network's label.
- Which explanation? The mean over its variables at the neurons.
"""

from jaxmi.mechanism.interchange import sites_of
from jaxmi.mechanism.variables import find_variables
from jaxmi.methods.network import SITES, NetworkView
from jaxmi.methods.questions import (
    ComputedQuestion,
    ExplanationQuestion,
    Question,
    Score,
)
from jaxmi.methods.side_by_side.common import mean_over_variables
from jaxmi.programs.variables import Hypothesis


def alignment(network: NetworkView, question: Question) -> Score:
    """Return the share of strict pairs right in the learned subspace, or neurons' weights."""
    if isinstance(question, ExplanationQuestion):
        return mean_over_variables(_share, network, question)
    if isinstance(question, ComputedQuestion):
        return _share(network, question)
    return None


def _share(network: NetworkView, question: ComputedQuestion) -> float:
    site = sites_of(network.source)[SITES.index(question.site)]
    (found,) = find_variables(
        [Hypothesis(question.variable, question.own)],
        network.labels,
        network.challenge.grid,
        [site],
        question.seed,
    )
    return (found.strict or 0.0) * float((question.own == network.labels).mean())
