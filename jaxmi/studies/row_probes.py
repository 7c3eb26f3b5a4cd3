"""Linear probes: what a row's embedding says of its residue, and whether that carries over."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.studies.bootstrap import find
from jaxmi.studies.study import Finding, Measurements

FOLDS = 8
DRAWS = 20
"""How often random residues are drawn, for the control."""

RIDGES = tuple(10.0**k for k in range(-4, 3))
"""Penalties to choose from, in units of the mean squared length of an embedding."""


def probe_rows(
    embeddings: Float[np.ndarray, "p d"],
    residues: Int[np.ndarray, "p"],
    seen: Bool[np.ndarray, "p"],
    seed: int,
) -> dict[str, np.ndarray]:
    """Probes the embeddings of rows for their residues.

    Args:
      embeddings: Of each row's number.
      residues: 0..7, one per row.
      seen: The rows that were trained on.
      seed: Deals rows into folds, and draws the control's residues.

    Returns:
      Shares of rows whose residue is read rightly: "probe_seen", of rows that were trained on, each
      by a probe that was fit on others; "probe_random", the same for residues dealt out at random;
      and, if there are rows that were not trained on, "probe_unseen", of these by a probe fit on
      all others.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(seen)
    found = {
        "probe_seen": _cross_validate(embeddings[rows], residues[rows], rng),
        "probe_random": np.mean(
            [
                _cross_validate(embeddings[rows], rng.permutation(residues[rows]), rng)
                for _ in range(DRAWS)
            ]
        ),
    }
    if not seen.all():
        guessed = _read(embeddings[rows], residues[rows], embeddings[~seen])
        found["probe_unseen"] = np.mean(guessed == residues[~seen])
    return {name: np.asarray(value) for name, value in found.items()}


def _cross_validate(
    embeddings: np.ndarray, residues: np.ndarray, rng: np.random.Generator
) -> np.floating:
    folds = rng.permutation(len(residues)) % FOLDS
    right = np.zeros(len(residues), bool)
    for fold in range(FOLDS):
        out = folds == fold
        right[out] = _read(embeddings[~out], residues[~out], embeddings[out]) == residues[out]
    return right.mean()


def _read(fit: np.ndarray, residues: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Residues by ridge regression on indicators; the penalty by leave-one-out on what is fit."""
    mean = fit.mean(axis=0)
    centred, targets = fit - mean, np.eye(8)[residues]
    offset = targets.mean(axis=0)
    gram = centred @ centred.T
    scale = np.trace(gram) / len(gram)
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ (targets - offset)

    def weights(ridge: float) -> np.ndarray:
        return vectors @ (rotated / (values + ridge * scale)[:, None])

    def left_out(ridge: float) -> float:
        inverse = np.einsum("ij,j,ij->i", vectors, 1 / (values + ridge * scale), vectors)
        predicted = targets - weights(ridge) / inverse[:, None]
        return float((predicted.argmax(axis=1) == residues).mean())

    best = max(RIDGES, key=left_out)
    return ((others - mean) @ centred.T @ weights(best) + offset).argmax(axis=1)


def probe_findings(
    measurements: Measurements, base: str, dealt: str, rows_out: Mapping[str, list[str]]
) -> dict[str, Finding]:
    """What probes read off the embeddings of all networks.

    Args:
      measurements: With what `probe_rows` returned.
      base: The training that saw all rows.
      dealt: The one that saw all rows with residues dealt out anew.
      rows_out: Rule -> trainings that did not see some rows.
    """

    def over(names: Sequence[str], key: str) -> Float[np.ndarray, "n"]:
        values = [[float(m[key]) for m in measurements[name].values()] for name in names]
        return np.mean(values, axis=0)

    return {
        "probe_seen": find(
            "probes of the embedding: residue read rightly, seen rows", over([base], "probe_seen")
        ),
        "probe_random": find(
            "the same, residues drawn at random for the probe", over([base], "probe_random")
        ),
        "probe_seen_dealt": find(
            "seen rows, networks with residues dealt out anew", over([dealt], "probe_seen")
        ),
        "probe_unseen": find("unseen rows", over(rows_out["published"], "probe_unseen")),
        "probe_unseen_dealt": find(
            "unseen rows, residues dealt out anew", over(rows_out["residues"], "probe_unseen")
        ),
    }
