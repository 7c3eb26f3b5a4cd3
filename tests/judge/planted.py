"""A transformer with planted features, for tests of submitted explanations."""

import numpy as np

from jaxmi.challenges.registry import origin

RESID, Z, POST = "blocks.0.hook_resid_mid", "blocks.0.attn.hook_z", "blocks.0.mlp.hook_post"
ROWS = np.sort(np.random.default_rng(0).permutation(12769)[:900])

BOTH = "(x % 10 < 7) + (y % 10 < 7)"
LABEL = "x % 10 < 7 and y % 10 < 7"
DECOY = "(x >= 56) + (y >= 56)"


def planted() -> dict:
    """Return a transformer that predicts 1 where n % 10 < 7 for both of its numbers.

    Every token has three features in its embedding: n % 10 < 7, n >= 56, and one at random. Head 0
    adds each up over both numbers, into dimensions 4, 5 and 6 of the last position; neuron 0 of the
    MLP compares the first sum with 1.5 and writes what exceeds it into dimension 7, which logit 1
    reads. The other two sums are read by nothing.
    """
    params = _zeros(origin("transformer").param_shapes)
    n = np.arange(113)
    for place, feature in enumerate((n % 10 < 7, n >= 56, np.random.default_rng(1).random(113))):
        params["W_E"][:113, place] = feature
        params["attn"]["W_V"][0, place, place] = 3.0  # attention is uniform over three positions
        params["attn"]["W_O"][0, place, 4 + place] = 1.0
    params["mlp"]["W_in"][4, 0] = 1.0
    params["mlp"]["b_in"][0] = -1.5
    params["mlp"]["W_out"][0, 7] = 1.0
    params["mlp"]["b_out"][7] = -0.25
    params["W_U"][7, 1] = 8.0
    return params


def _zeros(shapes):
    if isinstance(shapes, dict):
        return {name: _zeros(part) for name, part in shapes.items()}
    return np.zeros(shapes.shape, np.float32)


def at(components, feature, site=RESID, **more) -> dict:
    if site == RESID and components != "all":
        components = {"pos": 2, **components}
    return {"site": site, "components": components, "feature": feature, **more}


def sums(which, feature, **more) -> dict:
    """Return a claim about some of the three planted sums; the first decides the label."""
    return at({"d_model": which}, feature, **more)
