"""Do models that only interpolate predict the transformer's labels, and its mistakes?

The solvers argued that the network interpolates from neighbours rather than runs a program. If so,
a model that interpolates from the same training pairs should be wrong where the network is.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.models.transformer import Transformer
from jaxmi.programs.domain import P
from jaxmi.studies import parts
from jaxmi.studies.bootstrap import beside, find, ratio
from jaxmi.studies.interpolators import (
    SAME_ROW,
    Guess,
    gaussian_process,
    kernel_regression,
    neighbours,
    tangent_kernel,
)
from jaxmi.studies.parts import BINS, CURVES, find_changes
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    plain,
)

QUICK_PAIRS = 1000
"""Training pairs that kernels are fit to when the study is only to be tried."""

WORDS = {
    "nearest": "1-NN in (x, y)",
    "knn": "k-NN in (x, y), k and the weight of x chosen",
    "row": "the nearest pair of the same row",
    "gp": "Gaussian process",
    "ntk": "tangent kernel at initialisation",
    "seed": "another seed's network",
}


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """The published challenge."""
    return [plain("transformer", quick, data_dir)]


def _fit_rows(challenge: Challenge, quick: bool) -> np.ndarray:
    train = challenge.splits["train"]
    return train[:QUICK_PAIRS] if quick else train


def measure(training: Training, trained: Trained) -> Measured:
    """A network's labels on the test half, and its initial tangent kernel's."""
    challenge = training.challenge
    train, test = _fit_rows(challenge, training.is_quick), challenge.splits["test"]
    answers = challenge.logits(trained.params, test).argmax(axis=-1)
    start = jax.jit(challenge.init)(jax.random.fold_in(jax.random.key(trained.seed), 0))
    assert isinstance(challenge.model, Transformer)
    kernel = tangent_kernel(
        challenge.model,
        start,
        challenge.inputs[np.concatenate([train, test])],
        challenge.inputs[train],
    )
    guess = kernel_regression(
        kernel[: len(train)], kernel[len(train) :], challenge.labels[train] == 1
    )
    return {
        "answers": answers.astype(np.uint8),
        "ntk": guess.labels,
        "ntk_noise": np.array(guess.tuned["noise"]),
    }


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Agreement on labels and on mistakes, beside what chance gives."""
    (training,) = trainings
    challenge = training.challenge
    test = challenge.splits["test"]
    truth = challenge.labels[test] == 1
    networks = list(measurements[training.name].values())
    answers = np.stack([measured["answers"] == 1 for measured in networks])
    guesses = interpolate(challenge, training.is_quick)
    labels = {name: np.stack([guess.labels] * len(answers)) for name, guess in guesses.items()}
    labels["ntk"] = np.stack([measured["ntk"] for measured in networks])
    strata = distance_classes()[test]
    findings = {
        "network_accuracy": find(
            "the network's accuracy, test half", (answers == truth).mean(axis=1)
        )
    }
    for name, guessed in labels.items():
        findings |= compare(name, answers, guessed, truth, strata)
    # And the next seed's network in the model's place.
    findings |= compare("seed", answers, np.roll(answers, 1, axis=0), truth, strata)
    data = {
        "tuned": {name: guess.tuned for name, guess in guesses.items()}
        | {"ntk": {"noise": float(np.median([m["ntk_noise"] for m in networks]))}},
        "left_out_accuracy": {name: guess.accuracy for name, guess in guesses.items()},
        "test": test.tolist(),
        "wrong_networks": (answers != truth).mean(axis=0).round(3).tolist(),
        "wrong": {
            name: (guessed != truth).mean(axis=0).round(3).tolist()
            for name, guessed in labels.items()
        },
        "p": P,
    }
    return Conclusion(findings, data)


def distance_classes() -> Int[np.ndarray, "inputs"]:
    """Each pair's class of distance to the nearest curve or line, by `BINS`."""
    distances = find_changes(parts.published()).distances[: len(CURVES)].min(axis=0)
    return np.digitize(distances.reshape(-1), BINS[1:-1], right=True)


def interpolate(challenge: Challenge, quick: bool) -> dict[str, Guess]:
    """The interpolators that see nothing of a network; they are the same for all seeds."""
    train, test = challenge.splits["train"], challenge.splits["test"]
    pairs, labels = challenge.inputs[:, :2], challenge.labels == 1
    fit = _fit_rows(challenge, quick)
    return {
        "nearest": neighbours(pairs[train], labels[train], pairs[test], k=1, row_weight=1.0),
        "knn": neighbours(pairs[train], labels[train], pairs[test]),
        "row": neighbours(pairs[train], labels[train], pairs[test], k=1, row_weight=SAME_ROW),
        "gp": gaussian_process(pairs[fit], labels[fit], pairs[test], quick),
    }


def compare(
    name: str,
    answers: Bool[np.ndarray, "n m"],
    guessed: Bool[np.ndarray, "n m"],
    truth: Bool[np.ndarray, "m"],
    strata: np.ndarray,
) -> dict[str, Finding]:
    """Compares networks with a model's guesses, a row of each per network.

    Args:
      name: The model's.
      answers: The networks' labels.
      guessed: The model's.
      truth: The program's.
      strata: Each pair's class of distance to a boundary, for the stricter chance: that network and
        model are wrong independently of each other given that distance.
    """
    wrong, slips = answers != truth, guessed != truth
    shared = (wrong & slips).sum(axis=1).astype(np.float64)
    mistakes = wrong.sum(axis=1)
    by_chance = mistakes * slips.mean(axis=1)
    near = np.zeros(len(answers))
    for stratum in np.unique(strata):
        here = strata == stratum
        near += wrong[:, here].sum(axis=1) * slips[:, here].mean(axis=1)
    observed = (wrong == slips).mean(axis=1)
    both = wrong.mean(axis=1) * slips.mean(axis=1)
    expected = both + (1 - wrong.mean(axis=1)) * (1 - slips.mean(axis=1))
    # As many mistakes as they make, all of the rarer kind shared.
    possible = 1 - np.abs(wrong.mean(axis=1) - slips.mean(axis=1))
    common = wrong.mean(axis=0) >= 0.5
    words = WORDS[name]

    return {
        f"{name}_accuracy": find(f"accuracy, test half: {words}", (guessed == truth).mean(axis=1)),
        f"{name}_agreement": find(
            f"test labels that equal the network's: {words}", (answers == guessed).mean(axis=1)
        ),
        f"{name}_mistakes_shared": find(
            f"share of the network's mistakes: {words}", beside(shared, mistakes), ratio
        ),
        f"{name}_mistakes_by_chance": find(
            f"the same if both erred independently: {words}", beside(by_chance, mistakes), ratio
        ),
        f"{name}_mistakes_by_distance": find(
            f"the same if independently at each distance to a boundary: {words}",
            beside(near, mistakes),
            ratio,
        ),
        f"{name}_own_mistakes_shared": find(
            f"share of the model's own mistakes that the network makes: {words}",
            beside(shared, slips.sum(axis=1)),
            ratio,
        ),
        f"{name}_common_mistakes_shared": find(
            f"share of {common.sum()} pairs that half or more of these networks get wrong: {words}",
            beside(slips[:, common].sum(axis=1), common.sum()),
            ratio,
        ),
        f"{name}_kappa": find(
            f"Cohen's kappa of being wrong: {words}", (observed - expected) / (1 - expected)
        ),
        f"{name}_kappa_of_possible": find(
            f"kappa over the largest that their numbers of mistakes allow: {words}",
            (observed - expected) / (possible - expected),
        ),
    }


STUDY = Study(
    name="interpolation",
    question="Does a model that only interpolates predict the transformer's labels and mistakes?",
    n_seeds=16,
    trainings=trainings,
    main=(
        "network_accuracy",
        "row_accuracy",
        "gp_accuracy",
        "ntk_accuracy",
        "row_mistakes_shared",
        "row_own_mistakes_shared",
        "gp_mistakes_shared",
        "seed_mistakes_shared",
    ),
    measure=measure,
    conclude=conclude,
)
