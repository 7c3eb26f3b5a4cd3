"""The published solution of challenge 2 on any network, with controls.

The published scrubbing table of challenge 2: what the two filters claim, row by row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import (
    Claim,
    Outcome,
    Scrubbed,
    anyone,
    chance_level,
    same,
    scrub,
    within,
)
from jaxmi.explanation.transformer_evidence import (
    Attention,
    Filters,
    ReadOut,
    Stream,
    find_filters,
    probe_accuracy,
    random_components,
    random_plane,
    run_both_ways,
    wrong_sides,
)
from jaxmi.types import Figures, Params

SITE = "coordinates"


def hypotheses(filters: Filters) -> dict[str, list[Claim]]:
    """Returns every row of the published scrubbing table as claims about the coordinates.

    1: only the plane matters (1*: the plane and the third component). 2: of alpha only whether it
    is passed matters, and of beta. 3a: alpha does not matter where beta fails; 3b: beta does not
    matter where alpha fails. Rows with + make several claims in turn.
    """
    alpha, beta = filters.passed.T
    n, others = len(alpha), np.arange(2, len(filters.basis.components))

    def where_alpha_fails(rng: np.random.Generator, scrubbed: Scrubbed) -> np.ndarray:
        fails = scrubbed[SITE][:, 0] <= filters.boundary.thresholds[0]  # as it is by now
        return within(fails)(rng, scrubbed)

    one = [Claim(SITE, anyone(n), others)]
    two = [Claim(SITE, same(alpha), [0]), Claim(SITE, same(beta), [1])]
    three_a = [Claim(SITE, within(~beta), [0])]
    three_b = [Claim(SITE, where_alpha_fails, [1])]
    return {
        "1": one,
        "1*": [Claim(SITE, anyone(n), others[1:])],
        "2": two,
        "3a": three_a,
        "3b": three_b,
        "1+2": one + two,
        "1+3a": one + three_a,
        "1+3b": one + three_b,
        "1+2+3a": one + two + three_a,
        "1+2+3b": one + two + three_b,
        "1+2+3a+3b": one + two + three_a + three_b,
    }


def scrub_filters(
    stream: Stream,
    filters: Filters,
    claims: list[Claim],
    read_out: Callable[[np.ndarray], np.ndarray],
    clean: Float[np.ndarray, "n 2"],
    draws: int,
) -> Outcome:
    """Tests one row on one run; `clean` are the answers to be kept."""
    return scrub(
        {SITE: filters.coordinates(stream.resid_mid)},
        claims,
        lambda scrubbed: read_out(filters.residual(scrubbed[SITE])),
        clean,
        draws,
    )


DRAWS = 5
"""How often donors are drawn for each row of scrubbing."""

CONTROL_DRAWS = 5
"""How many random planes, pairs of components, and turned sides are tried."""

LEADING = 8
"""Random planes are also drawn within the first so many principal components."""

RUNS = ("full", "fixed")
QUADRANTS = ("TT", "TF", "FT", "FF")
"""Whether alpha is passed, whether beta is."""


@dataclass(frozen=True)
class TransformerExplanation:
    """What was found; `figures` in shares of 0..1, the arrays to draw."""

    figures: Figures
    streams: dict[str, Stream]
    """By run."""
    filters: dict[str, Filters]
    """By run."""
    attention: Attention
    rows: dict[str, Figures]
    """Row of scrubbing -> run -> share of the network's labels kept."""
    quadrants: Float[np.ndarray, "2 4"]
    """Mean logit difference past the MLP, and through it, in each of `QUADRANTS`."""


def explain_transformer(challenge: Challenge, params: Params) -> TransformerExplanation:
    """Explains a network of challenge 2.

    Args:
      challenge: Challenge 2.
      params: The network.

    Raises:
      InputError: if nothing can be said of the network: it does not respond to its input.
    """
    network = Network(challenge.model, params, chunk=400)
    full, fixed, read_out, attention = run_both_ways(network, challenge.inputs)
    for name, stream in (("as it is", full), ("fixed", fixed)):
        if np.ptp(stream.resid_mid, axis=0).max() == 0:
            raise InputError(
                "this network's residual stream is the same for every pair, with its attention "
                f"{name}: nothing to explain"
            )
    streams = {"full": full, "fixed": fixed}
    filters = {name: find_filters(stream) for name, stream in streams.items()}
    figures = _attention(attention, full, fixed, challenge)
    rows: dict[str, Figures] = {}
    for name in RUNS:
        figures |= _plane(name, streams[name], filters[name])
        found = _rows(name, streams[name], filters[name], read_out, full)
        figures |= {f"{name}_{key}": value for key, value in found.items()}
    for row in ("baseline", "goal", *hypotheses(filters["full"])):
        rows[row] = {name: figures[f"{name}_{figure_of(row)}"] for name in RUNS}
    mlp, quadrants = _mlp(full, filters["full"], read_out)
    figures |= mlp
    figures |= _plane_controls(full, filters["full"], read_out)
    figures |= _side_controls(full, filters["full"], read_out)
    figures |= _untrained(challenge)
    return TransformerExplanation(figures, streams, filters, attention, rows, quadrants)


def figure_of(row: str) -> str:
    """Returns a row's name in `figures`, after the run's."""
    if row in ("baseline", "goal"):
        return row
    return "scrub_" + row.replace("*", "star").replace("+", "_")


def _attention(attention: Attention, full: Stream, fixed: Stream, challenge: Challenge) -> Figures:
    figures = {
        "accuracy": float((full.labels == challenge.labels).mean()),
        "fixed_accuracy": float((fixed.labels == challenge.labels).mean()),
        "label1_share": float(full.labels.mean()),
        "chance": chance_level(full.labels),
        "constant_answer": float(max(full.labels.mean(), 1 - full.labels.mean())),
    }
    for head, (mean, std, kept) in enumerate(zip(*attention, strict=True)):
        for key, m, s in zip(("x", "y", "last"), mean, std, strict=True):
            figures[f"attention_head{head}_{key}_mean"] = float(m)
            figures[f"attention_head{head}_{key}_std"] = float(s)
        figures[f"attention_head{head}_kept_if_fixed"] = float(kept)
    return figures


def _plane(name: str, stream: Stream, filters: Filters) -> Figures:
    alpha, beta = filters.passed.mean(axis=0)
    shares = filters.basis.variance_shares
    return {
        f"{name}_pca_variance_1": float(shares[0]),
        f"{name}_pca_variance_2": float(shares[1]),
        f"{name}_pca_variance_3": float(shares[2]),
        f"{name}_filters_agreement": filters.boundary.agreement,
        f"{name}_alpha_share": float(alpha),
        f"{name}_beta_share": float(beta),
        f"{name}_probe_resid_mid": probe_accuracy(stream.resid_mid, stream.labels),
    }


def _rows(name: str, stream: Stream, filters: Filters, read_out: ReadOut, full: Stream) -> Figures:
    """Every row, against the labels of the full network."""
    figures = {
        "baseline": float((stream.labels == full.labels).mean()),
        "goal": float((filters.passed.all(axis=1) == full.labels).mean()),
    }
    for row, claims in hypotheses(filters).items():
        outcome = scrub_filters(stream, filters, claims, read_out, full.logits, DRAWS)
        figures[figure_of(row)] = outcome.kept
        figures[f"{figure_of(row)}_std"] = outcome.kept_std
        figures[f"{figure_of(row)}_logit_error"] = outcome.logit_error
    return figures


def _mlp(
    full: Stream, filters: Filters, read_out: ReadOut
) -> tuple[Figures, Float[np.ndarray, "2 4"]]:
    """What the MLP adds to the logit difference, by quadrant, and how the network does without."""
    parts = np.stack(read_out.parts(full.resid_mid))
    alpha, beta = filters.passed.T
    members = (alpha & beta, alpha & ~beta, ~alpha & beta, ~alpha & ~beta)
    quadrants = np.stack(
        [parts[:, m].mean(axis=1) if m.any() else np.zeros(2) for m in members], axis=1
    )
    direct, through = parts
    figures = {
        "mlp_zero_kept": float(((direct > 0) == full.labels).mean()),
        "mlp_mean_kept": float(((direct + through.mean() > 0) == full.labels).mean()),
        "mlp_alone_kept": float(((through + direct.mean() > 0) == full.labels).mean()),
    }
    for quadrant, (past, by) in zip(QUADRANTS, quadrants.T, strict=True):
        figures[f"direct_logit_diff_{quadrant}"] = float(past)
        figures[f"mlp_logit_diff_{quadrant}"] = float(by)
    return figures, quadrants


def _plane_controls(full: Stream, filters: Filters, read_out: ReadOut) -> Figures:
    """The filters and row 1 in planes that were not chosen by variance."""
    figures: Figures = {}
    for name, choose in (
        ("random_plane", random_plane),
        ("leading_plane", partial(random_plane, leading=LEADING)),
        ("random_dims", random_components),
    ):
        agreements, kept = [], []
        for seed in range(CONTROL_DRAWS):
            other = find_filters(full, choose(filters.basis, np.random.default_rng(seed)))
            claims = hypotheses(other)["1"]
            outcome = scrub_filters(full, other, claims, read_out, full.logits, 1)
            agreements.append(other.boundary.agreement)
            kept.append(outcome.kept)
        figures[f"control_{name}_filters_agreement"] = float(np.mean(agreements))
        figures[f"control_{name}_filters_agreement_max"] = float(np.max(agreements))
        figures[f"control_{name}_scrub_1"] = float(np.mean(kept))
        figures[f"control_{name}_scrub_1_max"] = float(np.max(kept))
    return figures


def _side_controls(full: Stream, filters: Filters, read_out: ReadOut) -> Figures:
    """The rows about sides with other sides in the same plane."""
    figures: Figures = {}
    for row in ("2", "1+2", "1+2+3a+3b"):
        kept = []
        for seed in range(CONTROL_DRAWS):
            other = wrong_sides(filters, np.random.default_rng(seed))
            claims = hypotheses(other)[row]
            kept.append(scrub_filters(full, other, claims, read_out, full.logits, 1).kept)
        figures[f"control_wrong_sides_{figure_of(row)}"] = float(np.mean(kept))
        figures[f"control_wrong_sides_{figure_of(row)}_max"] = float(np.max(kept))
    return figures


def _untrained(challenge: Challenge) -> Figures:
    """The same pipeline on a network as initialised, with a bias that balances its answers."""
    params = jax.jit(challenge.init)(jax.random.key(0))
    network = Network(challenge.model, params, chunk=400)
    full, fixed, read_out, _ = run_both_ways(network, challenge.inputs, balance=True)
    filters = find_filters(full)
    rows = hypotheses(filters)
    figures = {
        "control_untrained_fixed_baseline": float((fixed.labels == full.labels).mean()),
        "control_untrained_full_filters_agreement": filters.boundary.agreement,
    }
    for row in ("1", "1+2"):
        outcome = scrub_filters(full, filters, rows[row], read_out, full.logits, 1)
        figures[f"control_untrained_full_{figure_of(row)}"] = outcome.kept
    return figures
