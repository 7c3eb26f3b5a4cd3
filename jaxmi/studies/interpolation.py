"""Does a model that only interpolates predict the transformer's labels and mistakes?

The solvers argued that the network interpolates from neighbours rather than runs a program. If so,
a model that interpolates from the same training pairs should be wrong where the network is. Their
mistakes are compared with what chance gives, also at equal distance to a boundary, and with another
seed's network in the model's place.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.models.transformer import Transformer
from jaxmi.studies.bootstrap import divide, estimate, ratio, ratio_columns
from jaxmi.studies.interpolators import (
    SAME_ROW,
    Guess,
    gaussian_process,
    kernel_regression,
    neighbours,
    tangent_kernel,
)
from jaxmi.studies.parts import (
    BINS,
    CURVES,
    distance_to_change,
    find_changes,
    is_published,
    published,
)
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    plain,
    refuse,
)

QUICK_PAIRS = 1000
"""The number of training pairs that kernels are fitted to in the quick form."""

MAX_ENTRIES = 200_000_000
"""Most entries of a kernel between the training pairs and all pairs: about 6 GB are then needed.
Challenge 2 has 82 million."""

DESCRIPTIONS = {
    "nearest": "1-NN in (x, y)",
    "knn": "k-NN in (x, y), k and the weight of x tuned",
    "row": "the nearest pair of the same row",
    "gp": "Gaussian process",
    "ntk": "tangent kernel at initialisation",
    "seed": "another seed's network",
}


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return the published challenge."""
    return [plain("transformer", quick, data_dir)]


def trainings_of(base: Training) -> list[Training]:
    """Return the training alone.

    Raises:
      InputError: if it is not on pairs, or on too few or too many.
    """
    challenge = base.challenge
    if challenge.kind != "pairs":
        asks = "needs labels of pairs, between which its models interpolate"
        raise refuse("interpolation", challenge, asks, f"is of {challenge.kind}")
    n_train, n = len(_fit_indices(challenge, base.is_quick)), len(challenge.inputs)
    if n_train < 2:
        raise refuse("interpolation", challenge, "needs two training pairs", f"has {n_train}")
    if n_train * n > MAX_ENTRIES:
        asks = f"takes at most {MAX_ENTRIES:,} entries of a kernel, training pairs times all pairs"
        has = f"has {n_train:,} times {n:,}: make one with a smaller p or --train-share"
        raise refuse("interpolation", challenge, asks, has)
    return [base]


def _fit_indices(challenge: Challenge, quick: bool) -> np.ndarray:
    """Return the indices of the training pairs that kernels are fitted to."""
    train = challenge.splits["train"]
    return train[:QUICK_PAIRS] if quick else train


def measure(training: Training, trained: Trained) -> Measured:
    """Predict the test split, by the network and by its tangent kernel before training.

    The kernel is that of a network with one block; of several blocks it is left out.
    """
    challenge = training.challenge
    train, test = _fit_indices(challenge, training.is_quick), challenge.splits["test"]
    # A transformer may predict any of p + 1 tokens.
    answers = {"answers": challenge.predict(trained.params, test).astype(np.uint16)}
    if challenge.model_config.get("n_layers", 1) > 1:
        return answers
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
        **answers,
        "ntk": guess.labels,
        "ntk_noise": np.array(guess.tuned["noise"]),
    }


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate the agreement on labels and on mistakes, and what chance gives."""
    (training,) = trainings
    challenge = training.challenge
    test = challenge.splits["test"]
    truth = challenge.labels[test] == 1
    networks = list(measurements[training.name].values())
    predictions = np.stack([measured["answers"] == 1 for measured in networks])
    guesses = interpolate(challenge, training.is_quick)
    labels = {name: np.stack([guess.labels] * len(predictions)) for name, guess in guesses.items()}
    tuned = {name: guess.tuned for name, guess in guesses.items()}
    if "ntk" in networks[0]:
        labels["ntk"] = np.stack([measured["ntk"] for measured in networks])
        tuned["ntk"] = {"noise": float(np.median([m["ntk_noise"] for m in networks]))}
    strata = distance_classes(challenge)[test]
    findings = {
        "network_accuracy": estimate(
            "the network's accuracy, test half", (predictions == truth).mean(axis=1)
        )
    }
    for name, guessed in labels.items():
        findings |= compare(name, predictions, guessed, truth, strata)
    # The reference: the next seed's network in the model's place.
    findings |= compare("seed", predictions, np.roll(predictions, 1, axis=0), truth, strata)
    data = {
        "tuned": tuned,
        "left_out_accuracy": {name: guess.accuracy for name, guess in guesses.items()},
        "test": test.tolist(),
        "wrong_networks": (predictions != truth).mean(axis=0).round(3).tolist(),
        "wrong": {
            name: (guessed != truth).mean(axis=0).round(3).tolist()
            for name, guessed in labels.items()
        },
        "p": challenge.p,
    }
    if len(test) != len(challenge.inputs) - len(challenge.inputs) // 2:
        findings = {
            key: replace(
                finding, description=finding.description.replace("test half", "test split")
            )
            for key, finding in findings.items()
        }
    return Conclusion(findings, data)


def distance_classes(challenge: Challenge | None = None) -> Int[np.ndarray, "inputs"]:
    """Return each pair's bin of `BINS`, by the distance to the nearest boundary.

    Args:
      challenge: Whose boundaries: with challenge 2's labels, and if None, its curves and its line;
        else every change of the label between neighbouring pairs.
    """
    if challenge is None or is_published(challenge):
        distances = find_changes(published()).distances[: len(CURVES)].min(axis=0).reshape(-1)
    else:
        distances = distance_to_change(challenge.as_table(challenge.labels))
    return np.digitize(distances, BINS[1:-1], right=True)


def interpolate(challenge: Challenge, quick: bool) -> dict[str, Guess]:
    """Fit the interpolators that do not depend on the network, so not on the seed."""
    train, test = challenge.splits["train"], challenge.splits["test"]
    pairs, labels = challenge.inputs[:, :2], challenge.labels == 1
    fit = _fit_indices(challenge, quick)
    assert challenge.p is not None
    return {
        "nearest": neighbours(pairs[train], labels[train], pairs[test], k=1, row_weight=1.0),
        "knn": neighbours(pairs[train], labels[train], pairs[test]),
        "row": neighbours(pairs[train], labels[train], pairs[test], k=1, row_weight=SAME_ROW),
        "gp": gaussian_process(pairs[fit], labels[fit], pairs[test], quick, challenge.p),
    }


def compare(
    name: str,
    predictions: Bool[np.ndarray, "n m"],
    guessed: Bool[np.ndarray, "n m"],
    truth: Bool[np.ndarray, "m"],
    strata: np.ndarray,
) -> dict[str, Finding]:
    """Compare the mistakes of networks with those of a model.

    Args:
      name: The model's name.
      predictions: The networks' labels of the test inputs.
      guessed: The model's labels, for each network.
      truth: The program's labels.
      strata: Each input's class of distance to a boundary, for a stricter kind of chance: that
        network and model are wrong independently of each other given the distance.
    """
    wrong, slips = predictions != truth, guessed != truth
    shared = (wrong & slips).sum(axis=1).astype(np.float64)
    mistakes = wrong.sum(axis=1)
    by_chance = mistakes * slips.mean(axis=1)
    near = np.zeros(len(predictions))
    for stratum in np.unique(strata):
        inputs = strata == stratum
        near += wrong[:, inputs].sum(axis=1) * slips[:, inputs].mean(axis=1)
    observed = (wrong == slips).mean(axis=1)
    both = wrong.mean(axis=1) * slips.mean(axis=1)
    expected = both + (1 - wrong.mean(axis=1)) * (1 - slips.mean(axis=1))
    kappa = divide(observed - expected, 1 - expected)  # 0 where neither errs
    # The largest agreement with these numbers of mistakes: the rarer ones are all shared.
    possible = 1 - np.abs(wrong.mean(axis=1) - slips.mean(axis=1))
    common = wrong.mean(axis=0) >= 0.5
    description = DESCRIPTIONS[name]

    return {
        f"{name}_accuracy": estimate(
            f"accuracy, test half: {description}", (guessed == truth).mean(axis=1)
        ),
        f"{name}_agreement": estimate(
            f"test labels that equal the network's: {description}",
            (predictions == guessed).mean(axis=1),
        ),
        f"{name}_mistakes_shared": estimate(
            f"share of the network's mistakes that the model makes too: {description}",
            ratio_columns(shared, mistakes),
            ratio,
        ),
        f"{name}_mistakes_by_chance": estimate(
            f"the same if both erred independently: {description}",
            ratio_columns(by_chance, mistakes),
            ratio,
        ),
        f"{name}_mistakes_by_distance": estimate(
            f"the same if both erred independently at each distance to a boundary: {description}",
            ratio_columns(near, mistakes),
            ratio,
        ),
        f"{name}_own_mistakes_shared": estimate(
            f"share of the model's own mistakes that the network makes too: {description}",
            ratio_columns(shared, slips.sum(axis=1)),
            ratio,
        ),
        f"{name}_common_mistakes_shared": estimate(
            f"share of {common.sum()} pairs, wrong in half or more of these networks, that the "
            f"model gets wrong too: {description}",
            ratio_columns(slips[:, common].sum(axis=1), common.sum()),
            ratio,
        ),
        f"{name}_kappa": estimate(f"Cohen's kappa of being wrong: {description}", kappa),
        f"{name}_kappa_of_possible": estimate(
            f"the same over the largest kappa that the numbers of mistakes allow: {description}",
            divide(observed - expected, possible - expected),
        ),
    }


STUDY = Study(
    name="interpolation",
    question="Does a model that only interpolates predict the transformer's labels and mistakes?",
    n_seeds=16,
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer",),
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
