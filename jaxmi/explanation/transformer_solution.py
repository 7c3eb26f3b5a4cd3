"""Explain a transformer: the experiments of challenge 2's published solution, with controls.

`explain_transformer` runs the network as it is and with its attention fixed, fits two filters to
each run, and scrubs what they claim, row by row of the published scrubbing table (Heimersheim and
Hobbhahn, 2023). It returns the metrics of `transformer_metrics.TABLE` with the arrays that figures
need.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.subgrid import Subgrid
from jaxmi.errors import InputError
from jaxmi.explanation import transformer_metrics as table
from jaxmi.explanation.components import Component, select
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
    EXCHANGED,
    Attention,
    Filters,
    ReadOut,
    Stream,
    find_filters,
    probe_accuracy,
    random_components,
    random_plane,
    run_both_ways,
    varying,
    wrong_sides,
)
from jaxmi.types import Metrics, Params

SITE = "coordinates"
"""Alpha's and beta's strength, then the coordinates on the other components."""

DRAWS = 5
"""Draws of donors for each row of scrubbing; controls draw once."""

MAX_INPUTS = 40_000
"""A larger domain is explained on a part of so many inputs: 200 values of either operand."""


@dataclass(frozen=True)
class TransformerExplanation:
    """An explanation of a transformer: the metrics, and the arrays that figures are drawn from."""

    domain: Subgrid
    """The inputs on which everything is measured."""
    metrics: Metrics
    """Key -> value, for the metrics of `transformer_metrics.TABLE`."""
    streams: dict[str, Stream]
    """Run, "full" or "fixed" -> its residual stream."""
    filters: dict[str, Filters]
    """Run -> the filters that were fit to it."""
    attention: Attention
    quadrants: Float[np.ndarray, "2 4"]
    """Mean logit difference past the MLP, and through it, in each of `QUADRANTS`."""

    program: None = None
    """The published solution finds no program."""


def explain_transformer(
    challenge: Challenge, params: Params, max_inputs: int = MAX_INPUTS
) -> TransformerExplanation:
    """Explain a transformer.

    Args:
      challenge: A challenge on pairs or triples. If it is sealed, nothing is compared with true
        labels.
      params: The network's parameters.
      max_inputs: Measure a larger domain on a part of at most so many inputs.

    Raises:
      InputError: if the network's residual stream does not respond to its input, or has one
        dimension.
    """
    if challenge.model_config["d_model"] < 2:
        raise InputError(
            "the network's residual stream has one dimension: it has no plane to explain"
        )
    network = Network(challenge.model, params, chunk=400)
    domain = challenge.subgrid(max_inputs)
    inputs = challenge.inputs[domain.rows]
    full, fixed, read_out, attention = run_both_ways(network, inputs)
    streams = {"full": full, "fixed": fixed}
    for run, stream in streams.items():
        if np.ptp(stream.resid_mid, axis=0).max() == 0:
            raise InputError(
                f"the network's residual stream before the MLP is the same for every input "
                f"({table.RUNS[run]}): there is nothing to explain"
            )
    filters = {run: find_filters(stream) for run, stream in streams.items()}
    truth = None if challenge.sealed else challenge.labels[domain.rows]
    metrics = _predictions(full, fixed, truth) | _attention(attention, challenge)
    for run in table.RUNS:
        metrics |= _plane(run, streams[run], filters[run])
        metrics |= _rows(run, streams[run], filters[run], read_out, full)
    mlp, quadrants = _mlp(full, filters["full"], read_out)
    metrics |= mlp
    metrics |= _plane_controls(full, filters["full"], read_out)
    metrics |= _side_controls(full, filters["full"], read_out)
    metrics |= _untrained(challenge, inputs)
    return TransformerExplanation(domain, metrics, streams, filters, attention, quadrants)


def hypotheses(filters: Filters) -> dict[str, list[Claim]]:
    """Return every row of the published scrubbing table as claims about the coordinates.

    1: only the plane matters (1*: the plane and the third component). 2: only whether alpha is
    passed matters, and likewise beta. 3a: alpha does not matter where beta fails; 3b: beta does not
    matter where alpha fails. A row with + makes its claims one after the other. A stream of two
    dimensions has nothing but the plane, and a stream of three no fourth: rows that exchange what
    is not there are left out.
    """
    alpha, beta = filters.passed.T
    n, others = len(alpha), np.arange(2, len(filters.basis.components))

    def where_alpha_fails(rng: np.random.Generator, scrubbed: Scrubbed) -> np.ndarray:
        # Claims before this one may have changed alpha's strength: read it from the activations.
        fails = scrubbed[SITE][:, 0] <= filters.boundary.thresholds[0]
        return within(fails)(rng, scrubbed)

    row_1 = [Claim(SITE, anyone(n), others)] if len(others) else []
    row_2 = [Claim(SITE, same(alpha), [0]), Claim(SITE, same(beta), [1])]
    row_3a = [Claim(SITE, within(~beta), [0])]
    row_3b = [Claim(SITE, where_alpha_fails, [1])]
    rows = {
        "1": row_1,
        "1*": [Claim(SITE, anyone(n), others[1:])] if len(others) > 1 else [],
        "2": row_2,
        "3a": row_3a,
        "3b": row_3b,
        "1+2": row_1 + row_2,
        "1+3a": row_1 + row_3a,
        "1+3b": row_1 + row_3b,
        "1+2+3a": row_1 + row_2 + row_3a,
        "1+2+3b": row_1 + row_2 + row_3b,
        "1+2+3a+3b": row_1 + row_2 + row_3a + row_3b,
    }
    left_out = {row for row in rows if row.startswith("1") and not rows[row.split("+")[0]]}
    return {row: claims for row, claims in rows.items() if row not in left_out}


def scrub_filters(
    stream: Stream,
    filters: Filters,
    claims: list[Claim],
    read_out: Callable[[np.ndarray], np.ndarray],
    clean: Float[np.ndarray, "n 2"],
    draws: int,
) -> Outcome:
    """Test one row of the scrubbing table on one run.

    Args:
      stream: The run.
      filters: The filters that give the coordinates.
      claims: The row's claims.
      read_out: Maps the residual stream before the MLP to the two logits.
      clean: The logits whose labels are to be kept.
      draws: How often donors are drawn.
    """
    if not isinstance(read_out, ReadOut):
        return scrub(
            {SITE: filters.coordinates(stream.resid_mid)},
            claims,
            lambda scrubbed: read_out(filters.residual(scrubbed[SITE])),
            clean,
            draws,
        )
    # All coordinates after the first few are exchanged together: their donor stands for them.
    rest = read_out.rest_of(stream, filters.basis)
    leading = filters.coordinates(stream.resid_mid, EXCHANGED)
    activations = np.concatenate([leading, np.arange(len(leading))[:, None]], axis=1)
    of_rest = leading.shape[1]

    def logits(scrubbed: Scrubbed) -> Float[np.ndarray, "n 2"]:
        values = filters.on_basis(scrubbed[SITE][:, :of_rest])
        return read_out.of_coordinates(rest, values, scrubbed[SITE][:, of_rest].astype(np.int32))

    shape = (len(filters.basis.components),)
    compact = [
        replace(claim, components=_columns(select(SITE, shape, claim.components), shape[0]))
        for claim in claims
    ]
    return scrub({SITE: activations}, compact, logits, clean, draws)


def _columns(component: Component, dimensions: int) -> list[int]:
    """Return the columns that a claim exchanges, where one stands for all after the first few."""
    positions = component.index[-1]
    rest = positions[positions >= EXCHANGED]
    assert len(rest) in (0, dimensions - EXCHANGED), "a claim exchanges a part of the rest"
    return [*positions[positions < EXCHANGED].tolist(), *([EXCHANGED] if len(rest) else [])]


def _predictions(full: Stream, fixed: Stream, truth: Int[np.ndarray, "n"] | None) -> Metrics:
    """Measure accuracies, if the true labels are known, and class shares."""
    runs = ((table.ACCURACY, full), (table.FIXED_ACCURACY, fixed))
    return {
        **(
            {}
            if truth is None
            else {metric.key: float((stream.labels == truth).mean()) for metric, stream in runs}
        ),
        table.LABEL1_SHARE.key: float(full.labels.mean()),
        table.CHANCE.key: chance_level(full.labels),
        table.CONSTANT.key: float(max(full.labels.mean(), 1 - full.labels.mean())),
    }


def _attention(attention: Attention, challenge: Challenge) -> Metrics:
    """Measure each head's attention, and the labels kept if that head alone is fixed."""
    sizes = challenge.model_config
    heads = table.heads_of(sizes["n_heads"], sizes.get("n_layers", 1), challenge.axes)
    metrics: Metrics = {}
    for head, mean, std, kept in zip(heads, *attention, strict=True):
        for position, token in enumerate((*challenge.axes, "last")):
            metrics[head.attention[token, "mean"].key] = float(mean[position])
            metrics[head.attention[token, "std"].key] = float(std[position])
        metrics[head.kept_if_fixed.key] = float(kept)
    return metrics


def _plane(run: str, stream: Stream, filters: Filters) -> Metrics:
    """Measure a run's plane, its filters, and a probe of all dimensions."""
    alpha, beta = filters.passed.mean(axis=0)
    variances = zip(table.VARIANCES, filters.basis.variance_shares, strict=False)
    return {
        **{metric[run].key: float(share) for metric, share in variances},
        table.FILTERS_AGREEMENT[run].key: filters.boundary.agreement,
        table.ALPHA_SHARE[run].key: float(alpha),
        table.BETA_SHARE[run].key: float(beta),
        table.PROBE[run].key: probe_accuracy(stream.resid_mid, stream.labels),
    }


def _rows(run: str, stream: Stream, filters: Filters, read_out: ReadOut, full: Stream) -> Metrics:
    """Scrub every row on one run, against the labels of the full run."""
    metrics = {
        table.BASELINE[run].key: float((stream.labels == full.labels).mean()),
        table.GOAL[run].key: float((filters.passed.all(axis=1) == full.labels).mean()),
    }
    for row, claims in hypotheses(filters).items():
        outcome = scrub_filters(stream, filters, claims, read_out, full.logits, DRAWS)
        metrics |= table.SCRUBS[row][run].values(outcome)
    return metrics


def _mlp(
    full: Stream, filters: Filters, read_out: ReadOut
) -> tuple[Metrics, Float[np.ndarray, "2 4"]]:
    """Measure what the MLP adds to the logit difference, and the labels kept without each part."""
    parts = np.stack(read_out.parts(full.resid_mid))
    alpha, beta = filters.passed.T
    members = (alpha & beta, alpha & ~beta, ~alpha & beta, ~alpha & ~beta)
    quadrants = np.stack(
        [parts[:, m].mean(axis=1) if m.any() else np.zeros(2) for m in members], axis=1
    )
    direct, through = parts
    metrics = {
        table.MLP_ZERO.key: float(((direct > 0) == full.labels).mean()),
        table.MLP_MEAN.key: float(((direct + through.mean() > 0) == full.labels).mean()),
        table.MLP_ALONE.key: float(((through + direct.mean() > 0) == full.labels).mean()),
    }
    for quadrant, (mean_direct, mean_through) in zip(table.QUADRANTS, quadrants.T, strict=True):
        metrics[table.DIRECT[quadrant].key] = float(mean_direct)
        metrics[table.THROUGH[quadrant].key] = float(mean_through)
    return metrics, quadrants


def _plane_controls(full: Stream, filters: Filters, read_out: ReadOut) -> Metrics:
    """Fit the filters and scrub row 1 in planes that were not chosen by variance.

    A stream of two dimensions has no other plane, and a stream of three no other two components.
    """
    metrics: Metrics = {}
    dimensions = varying(filters.basis)
    for plane, choose, least in (
        ("random_plane", random_plane, 3),
        ("leading_plane", partial(random_plane, leading=table.LEADING), 3),
        ("random_dims", random_components, 4),
    ):
        if dimensions < least:
            continue
        agreements, kept = [], []
        for seed in range(table.CONTROL_DRAWS):
            other = find_filters(full, choose(filters.basis, np.random.default_rng(seed)))
            claims = hypotheses(other)["1"]
            outcome = scrub_filters(full, other, claims, read_out, full.logits, 1)
            agreements.append(other.boundary.agreement)
            kept.append(outcome.kept)
        metrics[table.PLANE_AGREEMENT_MEAN[plane].key] = float(np.mean(agreements))
        metrics[table.PLANE_AGREEMENT_MAX[plane].key] = float(np.max(agreements))
        metrics[table.PLANE_SCRUB_MEAN[plane].key] = float(np.mean(kept))
        metrics[table.PLANE_SCRUB_MAX[plane].key] = float(np.max(kept))
    return metrics


def _side_controls(full: Stream, filters: Filters, read_out: ReadOut) -> Metrics:
    """Scrub the rows about sides with other sides in the same plane."""
    metrics: Metrics = {}
    for row in (row for row in table.TURNED_ROWS if row in hypotheses(filters)):
        kept = []
        for seed in range(table.CONTROL_DRAWS):
            other = wrong_sides(filters, np.random.default_rng(seed))
            claims = hypotheses(other)[row]
            kept.append(scrub_filters(full, other, claims, read_out, full.logits, 1).kept)
        metrics[table.TURNED_MEAN[row].key] = float(np.mean(kept))
        metrics[table.TURNED_MAX[row].key] = float(np.max(kept))
    return metrics


def _untrained(challenge: Challenge, inputs: Int[np.ndarray, "n tokens"]) -> Metrics:
    """Run the same pipeline on a network as initialised, with a bias that balances its labels."""
    params = jax.jit(challenge.init)(jax.random.key(0))
    network = Network(challenge.model, params, chunk=400)
    full, fixed, read_out, _ = run_both_ways(network, inputs, balance=True, each_head=False)
    filters = find_filters(full)
    rows = hypotheses(filters)
    values = {
        table.BASELINE["fixed"]: float((fixed.labels == full.labels).mean()),
        table.FILTERS_AGREEMENT["full"]: filters.boundary.agreement,
    }
    for row in (row for row in ("1", "1+2") if row in rows):
        outcome = scrub_filters(full, filters, rows[row], read_out, full.logits, 1)
        values[table.SCRUBS[row]["full"].kept] = outcome.kept
    return {table.ON_UNTRAINED[metric].key: value for metric, value in values.items()}
