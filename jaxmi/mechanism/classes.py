"""Classes of an operand's values, read off the weights: which residues does the network tell apart?

Each operand adds a vector to the residual stream, one per value. Along the value, a program of
curves and lines makes it change smoothly; a condition on a residue adds an offset for each class.
So the vectors' leading coordinates are fit by a cubic of the value plus an offset for each class,
once for each of `CANDIDATES`. The score is the share of variance that is predicted for a value that
was left out of the fit, of what the cubic alone leaves: a partial R2. Neither labels nor a program
enter. Both operands share one embedding, so a class that only x needs leaves a trace in what y
adds; classes count as found only where they explain some of all that the operand does.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

EXPONENTS = tuple(round(1 + tenth / 10, 1) for tenth in range(11))
MODULI = tuple(range(3, 13))
CANDIDATES = tuple((exponent, modulus) for exponent in EXPONENTS for modulus in MODULI)
"""Classes `int(x ** exponent) % modulus` that are tried."""

DEGREE = 3
"""Degree of the smooth part."""

COORDINATES = 4
"""Leading coordinates of the vectors that are fit."""

PERMUTATIONS = 100
"""Random assignments of values to classes of the same sizes: the control."""

MARGIN = 0.1
"""Classes are found if their score exceeds every permuted one's by so much,"""

LEAST_SHARE = 0.03
"""and if they explain so much of all the variance of what the operand adds."""


@dataclass(frozen=True)
class Classes:
    """The classes that fit an operand's vectors best."""

    found: str | None
    """The classes as a program writes them, such as "int(x ** 1.5) % 8"; None if no candidate is
    clearly better than permuted classes."""
    best: str
    """The best candidate, clear or not."""
    score: float
    """Its partial R2, at most 1; below 0 if it predicts worse than the cubic."""
    share: float
    """The share of all variance that it explains beyond the cubic."""
    next_score: float
    """The second-best candidate's."""
    permuted_score: float
    """The largest of the permuted classes."""
    ranking: tuple[tuple[str, float], ...]
    """All candidates with their scores, best first."""
    values: Int[np.ndarray, "n"]
    """The best candidate's class of each value."""
    coordinate: int
    """The coordinate of which it explains most."""


def find_classes(
    vectors: Float[np.ndarray, "n d"],
    operand: str,
    values: Int[np.ndarray, "n"],
    seed: int = 0,
    taken_out: Int[np.ndarray, "n"] | None = None,
) -> Classes:
    """Scan the candidates.

    Args:
      vectors: What an operand adds to the residual stream, by its value, or coordinates of that.
      operand: Its name.
      values: The values, one per vector.
      seed: Draws the permutations.
      taken_out: Classes whose offsets are fit beside the cubic, to find others that explain a
        share of what both leave.
    """
    centred = vectors - vectors.mean(axis=0)
    total = float((centred**2).sum())
    smooth = np.stack([(values / values.max()) ** power for power in range(DEGREE + 1)], axis=1)
    if taken_out is not None:
        smooth = np.concatenate([smooth, _offsets(taken_out)], axis=1)
    smooth_errors = _left_out_errors(smooth, centred)
    left = float(smooth_errors.sum())

    def errors(classes: np.ndarray) -> np.ndarray:
        return _left_out_errors(np.concatenate([_offsets(classes), smooth], axis=1), centred)

    def score(classes: np.ndarray) -> float:
        return 1 - float(errors(classes).sum()) / left if left else 0.0

    scores = {one: score(class_of(values, *one)) for one in CANDIDATES}
    ordered = sorted(scores, key=lambda one: -scores[one])
    best = class_of(values, *ordered[0])
    rng = np.random.default_rng(seed)
    permuted = max(score(rng.permutation(best)) for _ in range(PERMUTATIONS))
    name, top = class_text(operand, *ordered[0]), scores[ordered[0]]
    share = top * left / total if total else 0.0
    return Classes(
        found=name if top > permuted + MARGIN and share >= LEAST_SHARE else None,
        best=name,
        score=top,
        share=share,
        next_score=scores[ordered[1]],
        permuted_score=permuted,
        ranking=tuple((class_text(operand, *one), scores[one]) for one in ordered),
        values=best,
        coordinate=int((smooth_errors - errors(best)).argmax()),
    )


def class_text(operand: str, exponent: float, modulus: int) -> str:
    """Return classes as a program writes them."""
    if exponent == 1:
        return f"{operand} % {modulus}"
    if exponent == 2:
        return f"{operand} ** 2 % {modulus}"
    return f"int({operand} ** {exponent:g}) % {modulus}"


def class_of(values: Int[np.ndarray, "n"], exponent: float, modulus: int) -> Int[np.ndarray, "n"]:
    """Return the class of each value, with Python's own power."""
    power = int(exponent) if exponent == int(exponent) else exponent
    return np.array([int(value**power) % modulus for value in values.tolist()])


def _offsets(classes: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n k"]:
    return (classes[:, None] == np.unique(classes)).astype(float)


def _left_out_errors(
    design: Float[np.ndarray, "n k"], vectors: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "d"]:
    """Return each coordinate's squared error of predicting a row from a fit to all others.

    A row that alone determines a coefficient cannot be predicted: the mean is its prediction.
    """
    q, sizes, _ = np.linalg.svd(design, full_matrices=False)
    q = q[:, sizes > 1e-9 * sizes[0]]  # offsets of two classes, and the constant, hang together
    leverage = (q**2).sum(axis=1)
    alone = leverage > 1 - 1e-6
    residuals = (vectors - q @ (q.T @ vectors)) / np.where(alone, 1, 1 - leverage)[:, None]
    residuals[alone] = vectors[alone]
    return (residuals**2).sum(axis=0)
