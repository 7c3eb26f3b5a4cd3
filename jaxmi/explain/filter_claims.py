"""The published scrubbing table of challenge 2: what the two filters claim, row by row."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxmi.explain.scrub import Claim, Outcome, Scrubbed, anyone, same, scrub, within
from jaxmi.explain.transformer_evidence import Filters, Stream

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
