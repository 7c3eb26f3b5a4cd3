"""Do different seeds make the same mistakes, and does their vote come closer to the program?

Networks of a challenge differ only by their seed. The mistakes that they share are compared
with what independence would give, and majority votes of random sets of networks with single ones.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from jaxmi.studies.bootstrap import estimate, estimate_over_pairs, exact
from jaxmi.studies.study import (
    Conclusion,
    Finding,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    network_of,
    plain,
)

DRAWS = 200
"""The number of random sets of networks that vote, for each size but the largest."""


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return both published challenges."""
    return [plain("transformer", quick, data_dir), plain("cnn", quick, data_dir)]


def trainings_of(base: Training) -> list[Training]:
    """Return the training alone."""
    return [base]


def measure(training: Training, trained: Trained) -> Measured:
    """Compute the logit difference on every test input."""
    challenge = training.challenge
    logits = challenge.logits(trained.params, challenge.splits["test"])
    return {"difference": (logits[:, 1] - logits[:, 0]).astype(np.float32)}


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate the overlap of mistakes, and the accuracy of votes, for each challenge."""
    findings: dict[str, Finding] = {}
    data = {}
    for training in trainings:
        challenge = training.challenge
        network, name = network_of(challenge), challenge.name
        truth = challenge.labels[challenge.splits["test"]] == 1
        networks = measurements[training.name].values()
        differences = np.stack([measured["difference"] for measured in networks])
        wrong = (differences > 0) != truth
        votes, curve = _votes(name, differences, truth)
        for key, finding in {**_overlap(name, wrong), **votes}.items():
            findings[f"{network}_{key}"] = finding
        data[network] = {
            "wrong_networks": np.bincount(
                wrong.sum(axis=0), minlength=len(differences) + 1
            ).tolist(),
            "independent": independent_counts(wrong.mean(axis=1), len(truth)),
            "votes": curve,
        }
    return Conclusion(findings, data)


def _overlap(name: str, wrong: Bool[np.ndarray, "n m"]) -> dict[str, Finding]:
    """Compare the mistakes that two networks share with those expected by independence."""
    n, m = wrong.shape
    mistakes = wrong.sum(axis=1).astype(np.float64)
    shared = wrong.astype(np.float64) @ wrong.T
    own = np.broadcast_to(mistakes[:, None], shared.shape)
    expected = np.outer(mistakes, mistakes) / m
    findings = {
        "mistakes": estimate(f"{name}: mistakes per network, of {m} test inputs", mistakes),
        "shared": estimate_over_pairs(
            f"{name}: share of a network's mistakes that another makes too", shared, own
        ),
        "shared_by_chance": estimate_over_pairs(
            f"{name}: the same if networks erred independently", expected, own
        ),
        "overlap": estimate_over_pairs(
            f"{name}: shared mistakes over those expected by independence", shared, expected
        ),
    }
    # Without intervals, for these depend on the number of networks: more get less wrong together.
    these, n_any = f"of these {n} networks", int(wrong.any(axis=0).sum())
    values = {"mistakes_of_any": (f"{name}: inputs that any {these} gets wrong", n_any)}
    for key, share, quantity in (("half", 0.5, "half or more"), ("all", 1.0, "all")):
        inputs = wrong.mean(axis=0) >= share
        values[f"wrong_in_{key}"] = (
            f"{name}: share of mistakes on inputs that {quantity} {these} get wrong",
            wrong[:, inputs].sum() / max(wrong.sum(), 1),
        )
    return findings | {
        key: replace(exact(description, value), n=n) for key, (description, value) in values.items()
    }


def independent_counts(rates: Float[np.ndarray, "n"], m: int) -> list[float]:
    """Return the expected inputs that 0, 1, ... n networks get wrong if they err independently.

    Args:
      rates: Each network's error rate.
      m: The number of inputs.
    """
    counts = np.array([1.0])
    for rate in rates:
        counts = np.convolve(counts, [1 - rate, rate])
    return (m * counts).tolist()


def _votes(
    name: str, differences: Float[np.ndarray, "n m"], truth: Bool[np.ndarray, "m"]
) -> tuple[dict[str, Finding], list[dict[str, float | int]]]:
    """Estimate the accuracy of majority votes and of summed logits, by the number of networks."""
    n = len(differences)
    rng = np.random.default_rng(0)
    curve = []
    for size in [k for k in (1, 2, 4, 8, 16, 32, 64) if k < n] + [n]:
        draws = 1 if size == n else DRAWS
        subsets = [rng.permutation(n)[:size] for _ in range(draws)]
        right = np.array([_vote_score(differences[networks], truth).mean() for networks in subsets])
        summed = [((differences[networks].sum(axis=0) > 0) == truth).mean() for networks in subsets]
        curve.append(
            {
                "networks": size,
                "majority": float(right.mean()),
                "spread": float(right.std()),
                "summed": float(np.mean(summed)),
            }
        )
    single = ((differences > 0) == truth).mean(axis=0)
    gained = _vote_score(differences, truth) - single
    return {
        "accuracy": estimate(
            f"{name}: a network's accuracy, test", ((differences > 0) == truth).mean(axis=1)
        ),
        "vote": _over_inputs(
            f"{name}: accuracy of the vote of all {n}; interval over test inputs",
            _vote_score(differences, truth),
            n,
        ),
        "vote_gain": _over_inputs(
            f"{name}: the vote's accuracy minus a network's; interval over test inputs", gained, n
        ),
        "summed_logits": _over_inputs(
            f"{name}: accuracy of the sum of logit differences; interval over test inputs",
            ((differences.sum(axis=0) > 0) == truth).astype(np.float64),
            n,
        ),
    }, curve


def _vote_score(differences: np.ndarray, truth: np.ndarray) -> Float[np.ndarray, "m"]:
    """Return 1 where the majority is right, 0.5 where it is a tie."""
    votes = 2 * (differences > 0).sum(axis=0) - len(differences)
    return np.where(votes == 0, 0.5, (votes > 0) == truth)


def _over_inputs(description: str, values: Float[np.ndarray, "m"], n: int) -> Finding:
    """Return the mean over thousands of test inputs, its interval by normal approximation."""
    half = 1.96 * values.std() / np.sqrt(len(values))
    mean = float(values.mean())
    return Finding(mean, float(mean - half), float(mean + half), n, description)


STUDY = Study(
    name="agreement",
    question="Do different seeds make the same mistakes, and does their vote come closer to the "
    "program?",
    n_seeds=32,
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer", "cnn"),
    main=(
        "transformer_shared",
        "transformer_shared_by_chance",
        "transformer_vote_gain",
        "cnn_shared",
        "cnn_shared_by_chance",
        "cnn_vote_gain",
    ),
    measure=measure,
    conclude=conclude,
)
