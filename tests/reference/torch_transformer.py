"""Challenge 2's network in PyTorch, in the published file's layout; shares no code with jaxmi."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Sizes:
    """The network's sizes; the defaults are the published ones."""

    vocab: int = 114
    model: int = 128
    heads: int = 8
    head: int = 16
    mlp: int = 1024
    layers: int = 1


def _weight(*shape: int, scale: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * scale)


class _Embed(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.W_E = _weight(s.model, s.vocab, scale=s.model**-0.5)


class _PosEmbed(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.W_pos = _weight(3, s.model, scale=s.model**-0.5)


class _Unembed(nn.Module):
    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.W_U = _weight(s.model, s.vocab, scale=s.vocab**-0.5)


class _Attention(nn.Module):
    def __init__(self, s: Sizes, block: int) -> None:
        super().__init__()
        for name in ("W_K", "W_Q", "W_V"):
            setattr(self, name, _weight(s.heads, s.head, s.model, scale=s.model**-0.5))
        self.W_O = _weight(s.model, s.heads * s.head, scale=s.model**-0.5)
        self.prefix = f"blocks.{block}.attn"
        self.register_buffer("mask", torch.tril(torch.ones(3, 3)))

    def forward(self, x: torch.Tensor, sites: dict[str, torch.Tensor]) -> torch.Tensor:
        k, q, v = (torch.einsum("ihd,bpd->biph", w, x) for w in (self.W_K, self.W_Q, self.W_V))
        scores = torch.einsum("biqh,bikh->biqk", q, k) / q.shape[-1] ** 0.5
        scores = scores - 1e10 * (1 - self.mask)
        pattern = torch.softmax(scores, dim=-1)
        z = torch.einsum("biqk,bikh->biqh", pattern, v)
        sites[f"{self.prefix}.hook_pattern"] = pattern
        for name, value in (("q", q), ("k", k), ("v", v), ("z", z)):
            sites[f"{self.prefix}.hook_{name}"] = value.transpose(1, 2)
        flat = z.transpose(1, 2).flatten(2)
        return torch.einsum("df,bpf->bpd", self.W_O, flat)


class _Mlp(nn.Module):
    def __init__(self, s: Sizes, block: int) -> None:
        super().__init__()
        self.W_in = _weight(s.mlp, s.model, scale=s.model**-0.5)
        self.b_in = nn.Parameter(torch.zeros(s.mlp))
        self.W_out = _weight(s.model, s.mlp, scale=s.model**-0.5)
        self.b_out = nn.Parameter(torch.zeros(s.model))
        self.prefix = f"blocks.{block}.mlp"

    def forward(self, x: torch.Tensor, sites: dict[str, torch.Tensor]) -> torch.Tensor:
        pre = torch.einsum("md,bpd->bpm", self.W_in, x) + self.b_in
        sites[f"{self.prefix}.hook_pre"], post = pre, torch.relu(pre)
        sites[f"{self.prefix}.hook_post"] = post
        return torch.einsum("dm,bpm->bpd", self.W_out, post) + self.b_out


class _Block(nn.Module):
    def __init__(self, s: Sizes, block: int) -> None:
        super().__init__()
        self.attn, self.mlp = _Attention(s, block), _Mlp(s, block)


class PairTransformer(nn.Module):
    """embed + pos -> +attn -> +mlp -> unembed, without LayerNorm."""

    def __init__(self, s: Sizes = Sizes()) -> None:
        super().__init__()
        self.embed, self.pos_embed, self.unembed = _Embed(s), _PosEmbed(s), _Unembed(s)
        self.blocks = nn.ModuleList([_Block(s, i) for i in range(s.layers)])

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Takes (n, 3) tokens; gives (n, 3, vocab) logits and activations by site name."""
        sites = {"hook_embed": self.embed.W_E.T[tokens]}
        sites["hook_pos_embed"] = self.pos_embed.W_pos.expand(len(tokens), -1, -1)
        x = sites["hook_embed"] + sites["hook_pos_embed"]
        for i, block in enumerate(self.blocks):
            sites[f"blocks.{i}.hook_resid_pre"] = x
            sites[f"blocks.{i}.hook_attn_out"] = block.attn(x, sites)
            x = sites[f"blocks.{i}.hook_resid_mid"] = x + sites[f"blocks.{i}.hook_attn_out"]
            sites[f"blocks.{i}.hook_mlp_out"] = block.mlp(x, sites)
            x = sites[f"blocks.{i}.hook_resid_post"] = x + sites[f"blocks.{i}.hook_mlp_out"]
        return x @ self.unembed.W_U, sites
