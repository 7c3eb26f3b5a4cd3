"""General learners on what `jaxmi recover` sees: a network's predictions on all inputs.

Command:   none; imported by baselines.py
Time:      seconds; a minute for symbolic regression and for trees on images
Expected:  labels, and the number of nodes of the tree or formula that gives them
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
from jaxmi.workflows.recover import Predictions

LearnedLabels = tuple[np.ndarray, int | None]
NEIGHBOURS = (1, 2, 3, 5, 7, 9, 15, 25)
LEAVES = (16, 32, 64, 128, 256, 512, 1024)
FUNCTIONS = ("add", "sub", "mul", "div", "sqrt", "log", "abs", "max", "min", "sin", "cos")


def median(predictions: Predictions) -> LearnedLabels:
    """Apply a median filter of 1 x 7, for each x separately."""
    table = predictions.labels.reshape(113, 113).astype(np.int8)
    return median_filter(table, size=(1, 7), mode="nearest").reshape(-1) == 1, None


def nearest_neighbours(predictions: Predictions) -> LearnedLabels:
    """Take the majority of the nearest other inputs; leave-one-out chooses how many."""
    neighbours = predictions.labels[_nearest(predictions.challenge.name)]
    votes = [neighbours[:, :k].mean(axis=1) + 1e-6 * neighbours[:, 0] > 0.5 for k in NEIGHBOURS]
    return max(votes, key=lambda vote: (vote == predictions.labels).mean()), None


def tree(predictions: Predictions) -> LearnedLabels:
    """Fit a decision tree; cross-validation chooses its number of leaves."""
    folds = KFold(5, shuffle=True, random_state=0)
    classifier = DecisionTreeClassifier(random_state=0)
    search = GridSearchCV(classifier, {"max_leaf_nodes": LEAVES}, cv=folds)
    search.fit(_features(predictions.challenge), predictions.labels)
    return _predict(search.best_estimator_, predictions)


def small_tree(predictions: Predictions) -> LearnedLabels:
    """Fit a decision tree of 32 leaves."""
    classifier = DecisionTreeClassifier(max_leaf_nodes=32, random_state=0)
    classifier.fit(_features(predictions.challenge), predictions.labels)
    return _predict(classifier, predictions)


def formula(predictions: Predictions) -> LearnedLabels:
    """Fit a formula's sign by symbolic regression; sines are among its functions."""
    classifier = SymbolicClassifier(
        population_size=2000,
        generations=30,
        const_range=(0.0, 113.0),
        init_depth=(2, 6),
        function_set=FUNCTIONS,
        parsimony_coefficient=1e-4,
        random_state=0,
    ).fit(_features(predictions.challenge), predictions.labels)
    return classifier.predict(_features(predictions.challenge)) == 1, classifier._program.length_


LEARNERS: dict[str, dict[str, Callable[[Predictions], LearnedLabels]]] = {
    "transformer": {
        "median filter": median,
        "nearest neighbours": nearest_neighbours,
        "decision tree": tree,
        "decision tree, 32 leaves": small_tree,
        "symbolic regression": formula,
    },
    "cnn": {"nearest neighbours": nearest_neighbours, "decision tree, 32 leaves": small_tree},
}


def _predict(classifier: DecisionTreeClassifier, predictions: Predictions) -> LearnedLabels:
    labels = classifier.predict(_features(predictions.challenge)) == 1
    return labels, classifier.tree_.node_count


def _features(challenge: Challenge) -> np.ndarray:
    inputs = challenge.inputs.reshape(len(challenge.inputs), -1).astype(np.float32)
    return inputs[:, :2] if challenge.name == "transformer" else inputs


@cache
def _nearest(name: str) -> np.ndarray:
    """Return the indices of each input's nearest other inputs."""
    features = _features(load_challenge(name))
    search = NearestNeighbors(n_neighbors=max(NEIGHBOURS), algorithm="brute").fit(features)
    return search.kneighbors(return_distance=False)  # without the input itself
