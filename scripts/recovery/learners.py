"""General learners, given what `jaxmi recover` is given: a network's answers on all inputs.

Command:   none of its own
Time:      seconds; a minute for symbolic regression, and for trees on images
Expected:  labels, and how long what gives them is: nodes of a tree or a formula
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from gplearn.genetic import SymbolicClassifier
from scipy.ndimage import median_filter
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import NearestNeighbors
from sklearn.tree import DecisionTreeClassifier

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge
from jaxmi.workflows.recover import Answers

Guess = tuple[np.ndarray, int | None]
NEIGHBOURS = (1, 2, 3, 5, 7, 9, 15, 25)
LEAVES = (16, 32, 64, 128, 256, 512, 1024)
FUNCTIONS = ("add", "sub", "mul", "div", "sqrt", "log", "abs", "max", "min", "sin", "cos")


def median(answers: Answers) -> Guess:
    """A median filter, 1 x 7: each x by itself."""
    table = answers.labels.reshape(113, 113).astype(np.int8)
    return median_filter(table, size=(1, 7), mode="nearest").reshape(-1) == 1, None


def nearest_neighbours(answers: Answers) -> Guess:
    """The majority of the nearest others, as many as leave-one-out says."""
    around = answers.labels[_nearest(answers.challenge.name)]
    votes = [around[:, :k].mean(axis=1) + 1e-6 * around[:, 0] > 0.5 for k in NEIGHBOURS]
    return max(votes, key=lambda vote: (vote == answers.labels).mean()), None


def tree(answers: Answers) -> Guess:
    """A decision tree, of as many leaves as cross-validation says."""
    folds = KFold(5, shuffle=True, random_state=0)
    grown = DecisionTreeClassifier(random_state=0)
    search = GridSearchCV(grown, {"max_leaf_nodes": LEAVES}, cv=folds)
    return _guess(search.fit(_features(answers.challenge), answers.labels).best_estimator_, answers)


def small_tree(answers: Answers) -> Guess:
    """A decision tree of 32 leaves."""
    grown = DecisionTreeClassifier(max_leaf_nodes=32, random_state=0)
    return _guess(grown.fit(_features(answers.challenge), answers.labels), answers)


def formula(answers: Answers) -> Guess:
    """A formula's sign, by symbolic regression; sines are among its functions."""
    found = SymbolicClassifier(
        population_size=2000,
        generations=30,
        const_range=(0.0, 113.0),
        init_depth=(2, 6),
        function_set=FUNCTIONS,
        parsimony_coefficient=1e-4,
        random_state=0,
    ).fit(_features(answers.challenge), answers.labels)
    return found.predict(_features(answers.challenge)) == 1, found._program.length_


LEARNERS: dict[str, dict[str, Callable[[Answers], Guess]]] = {
    "transformer": {
        "median filter": median,
        "nearest neighbours": nearest_neighbours,
        "decision tree": tree,
        "decision tree, 32 leaves": small_tree,
        "symbolic regression": formula,
    },
    "cnn": {"nearest neighbours": nearest_neighbours, "decision tree, 32 leaves": small_tree},
}


def _guess(grown: DecisionTreeClassifier, answers: Answers) -> Guess:
    return grown.predict(_features(answers.challenge)) == 1, grown.tree_.node_count


def _features(challenge: Challenge) -> np.ndarray:
    inputs = challenge.inputs.reshape(len(challenge.inputs), -1).astype(np.float32)
    return inputs[:, :2] if challenge.name == "transformer" else inputs


@cache
def _nearest(name: str) -> np.ndarray:
    """Each input's nearest others."""
    features = _features(load_challenge(name))
    search = NearestNeighbors(n_neighbors=max(NEIGHBOURS), algorithm="brute").fit(features)
    return search.kneighbors(return_distance=False)  # of what was fitted: without itself
