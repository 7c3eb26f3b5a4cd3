"""Controls: random scores, the labels without the network, the network without the question.

Whatever is marked must be marked above these. Where a variable is asked of two networks with the
same labels, a method that sees labels only scores both alike: its AUROC is exactly 0.5.
Where right answers are about one mechanism and wrong ones about another, a method that tells
mechanisms apart is right without looking at the question: `network` says how often.
"""

import numpy as np

from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import ExplanationQuestion, NeuronsQuestion, Question, Score


def random(network: NetworkView, question: Question) -> Score:
    """Return a random number, or one for each neuron."""
    # The parameters take part: the same question of another network has another number.
    digest = int(abs(float(np.float64(network.params["W_E"]).sum())) * 1e6) % 2**32
    rng = np.random.default_rng([question.seed, digest])
    if isinstance(question, NeuronsQuestion):
        return rng.random(len(question.candidates))
    return float(rng.random())


def labels(network: NetworkView, question: Question) -> Score:
    """Return the share of the network's labels that the variable's model gives: no look inside."""
    if isinstance(question, NeuronsQuestion):
        return np.zeros(len(question.candidates))
    asked = question.variables if isinstance(question, ExplanationQuestion) else (question,)
    return float(np.mean([(one.own == network.labels).mean() for one in asked]))


def network(network: NetworkView, question: Question) -> Score:
    """Return the share of the network's neurons that are idle: no look at the question."""
    if isinstance(question, NeuronsQuestion):
        return np.zeros(len(question.candidates))
    return float(1 - network.active.mean())
