"""A transformer without LayerNorm, every step a named site; challenge 2's network has one block.

Parameters and sites have TransformerLens's names and shapes, so that activations can be compared
directly. The architecture is that of Casper's post and of Neel Nanda's grokking code, on which it
is based.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, Int

from jaxmi.errors import InputError
from jaxmi.models.sites import Sites
from jaxmi.types import Activations, Array, Edits

_RESIDUAL = ("pos", "d_model")
_HEADS = ("pos", "head", "d_head")
_PATTERN = ("head", "query", "key")
_NEURONS = ("pos", "neuron")
_BLOCK = {
    "hook_resid_pre": _RESIDUAL,
    "attn.hook_q": _HEADS,
    "attn.hook_k": _HEADS,
    "attn.hook_v": _HEADS,
    "attn.hook_attn_scores": _PATTERN,
    "attn.hook_pattern": _PATTERN,
    "attn.hook_z": _HEADS,
    "hook_attn_out": _RESIDUAL,
    "hook_resid_mid": _RESIDUAL,
    "mlp.hook_pre": _NEURONS,
    "mlp.hook_post": _NEURONS,
    "hook_mlp_out": _RESIDUAL,
    "hook_resid_post": _RESIDUAL,
}

MAX_LAYERS = 4
"""Most blocks of a transformer."""


@cache
def sites(n_layers: int = 1) -> Mapping[str, tuple[str, ...]]:
    """Return the sites of a transformer and their axes, in order of computation."""
    blocks = {f"blocks.{i}.{name}": axes for i in range(n_layers) for name, axes in _BLOCK.items()}
    return {"hook_embed": _RESIDUAL, "hook_pos_embed": _RESIDUAL, **blocks}


def part_name(part: str, block: int) -> str:
    """Return the key of a block's "attn" or "mlp" among the parameters: "attn", "attn_1", ..."""
    return part if block == 0 else f"{part}_{block}"


@dataclass(frozen=True)
class TransformerConfig:
    """The transformer's sizes; the defaults are the published network's."""

    d_vocab: int = 114
    """Number of tokens: the numbers 0..p-1 and the final token p."""
    n_ctx: int = 3
    """Sequence length: [x, y, p]."""
    d_model: int = 128
    """Width of the residual stream."""
    n_heads: int = 8
    """Number of attention heads."""
    d_head: int = 16
    """Width of each head's query, key and value."""
    d_mlp: int = 1024
    """Number of MLP neurons of each block."""
    n_layers: int = 1
    """Number of blocks, up to `MAX_LAYERS`."""

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
          InputError: naming the size.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise InputError(f"{field.name} = {value!r}: expected a whole number, at least 1")
        if self.n_layers > MAX_LAYERS:
            raise InputError(f"n_layers = {self.n_layers}: expected at most {MAX_LAYERS} blocks")


class Attention(nn.Module):
    """A block's causal multi-head self-attention, without biases."""

    config: TransformerConfig
    block: int

    @nn.compact
    def __call__(
        self, resid_pre: Float[jax.Array, "pos d_model"], site: Sites
    ) -> Float[jax.Array, "pos d_model"]:
        """Return the heads' outputs, summed over heads, which the residual stream adds."""
        c, prefix = self.config, f"blocks.{self.block}.attn"
        init = nn.initializers.normal(stddev=c.d_model**-0.5)
        w_q, w_k, w_v = (
            self.param(name, init, (c.n_heads, c.d_model, c.d_head))
            for name in ("W_Q", "W_K", "W_V")
        )
        w_o = self.param("W_O", init, (c.n_heads, c.d_head, c.d_model))

        q = site(f"{prefix}.hook_q", jnp.einsum("qm,hmd->qhd", resid_pre, w_q))
        k = site(f"{prefix}.hook_k", jnp.einsum("km,hmd->khd", resid_pre, w_k))
        v = site(f"{prefix}.hook_v", jnp.einsum("km,hmd->khd", resid_pre, w_v))
        causal = jnp.tril(jnp.ones((1, c.n_ctx, c.n_ctx), bool))
        scores = jnp.einsum("qhd,khd->hqk", q, k) / c.d_head**0.5
        scores = site(f"{prefix}.hook_attn_scores", jnp.where(causal, scores, -jnp.inf))
        pattern = site(f"{prefix}.hook_pattern", jax.nn.softmax(scores, axis=-1))
        z = site(f"{prefix}.hook_z", jnp.einsum("hqk,khd->qhd", pattern, v))
        return jnp.einsum("qhd,hdm->qm", z, w_o)


class Mlp(nn.Module):
    """A block's hidden layer of ReLU neurons, with biases."""

    config: TransformerConfig
    block: int

    @nn.compact
    def __call__(
        self, resid_mid: Float[jax.Array, "pos d_model"], site: Sites
    ) -> Float[jax.Array, "pos d_model"]:
        """Return the neurons' output, which the residual stream adds."""
        c = self.config
        init = nn.initializers.normal(stddev=c.d_model**-0.5)
        w_in = self.param("W_in", init, (c.d_model, c.d_mlp))
        b_in = self.param("b_in", nn.initializers.zeros, (c.d_mlp,))
        w_out = self.param("W_out", init, (c.d_mlp, c.d_model))
        b_out = self.param("b_out", nn.initializers.zeros, (c.d_model,))

        pre = site(f"blocks.{self.block}.mlp.hook_pre", resid_mid @ w_in + b_in[None])
        post = site(f"blocks.{self.block}.mlp.hook_post", jax.nn.relu(pre))
        return post @ w_out + b_out[None]


class Transformer(nn.Module):
    """The network, for one token sequence: embed + pos -> (+attn -> +mlp) -> unembed."""

    config: TransformerConfig = TransformerConfig()

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "pos"], edits: Edits | None = None
    ) -> tuple[Float[jax.Array, "pos d_vocab"], Activations]:
        """Run the network.

        Args:
          tokens: One sequence, [x, y, p].
          edits: Site name -> function from the activation at the site to its replacement.

        Returns:
          Logits at every position, (pos, d_vocab), of which the last position's are the prediction,
          and every site's activation.

        Raises:
          InputError: if an edit names an unknown site or changes a shape.
        """
        c = self.config
        site = Sites(sites(c.n_layers), edits)
        init = nn.initializers.normal(stddev=c.d_model**-0.5)
        # A checkpoint's parameters are NumPy arrays: traced tokens cannot index one.
        w_e = jnp.asarray(self.param("W_E", init, (c.d_vocab, c.d_model)))
        w_pos = jnp.asarray(self.param("W_pos", init, (c.n_ctx, c.d_model)))
        unembed = nn.initializers.normal(stddev=c.d_vocab**-0.5)
        w_u = self.param("W_U", unembed, (c.d_model, c.d_vocab))

        embed = site("hook_embed", w_e[tokens])
        resid = embed + site("hook_pos_embed", w_pos)
        for i in range(c.n_layers):
            attn, mlp = (part_name(part, i) for part in ("attn", "mlp"))
            resid = site(f"blocks.{i}.hook_resid_pre", resid)
            attn_out = Attention(c, i, name=attn)(resid, site)
            resid = resid + site(f"blocks.{i}.hook_attn_out", attn_out)
            resid = site(f"blocks.{i}.hook_resid_mid", resid)
            resid = resid + site(f"blocks.{i}.hook_mlp_out", Mlp(c, i, name=mlp)(resid, site))
            resid = site(f"blocks.{i}.hook_resid_post", resid)
        return resid @ w_u, site.activations
