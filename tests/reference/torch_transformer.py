"""Challenge 2's network in PyTorch, in the published file's layout; shares no code with jaxmi."""

import torch
from torch import nn


def _weight(*shape: int, scale: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * scale)


class _Embed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W_E = _weight(128, 114, scale=128**-0.5)


class _PosEmbed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W_pos = _weight(3, 128, scale=128**-0.5)


class _Unembed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W_U = _weight(128, 114, scale=114**-0.5)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in ("W_K", "W_Q", "W_V"):
            setattr(self, name, _weight(8, 16, 128, scale=128**-0.5))
        self.W_O = _weight(128, 8 * 16, scale=128**-0.5)
        self.register_buffer("mask", torch.tril(torch.ones(3, 3)))

    def forward(self, x: torch.Tensor, sites: dict[str, torch.Tensor]) -> torch.Tensor:
        k, q, v = (torch.einsum("ihd,bpd->biph", w, x) for w in (self.W_K, self.W_Q, self.W_V))
        scores = torch.einsum("biqh,bikh->biqk", q, k) / 16**0.5
        scores = scores - 1e10 * (1 - self.mask)
        pattern = torch.softmax(scores, dim=-1)
        z = torch.einsum("biqk,bikh->biqh", pattern, v)
        sites["blocks.0.attn.hook_pattern"] = pattern
        for name, value in (("q", q), ("k", k), ("v", v), ("z", z)):
            sites[f"blocks.0.attn.hook_{name}"] = value.transpose(1, 2)
        flat = z.transpose(1, 2).flatten(2)
        return torch.einsum("df,bpf->bpd", self.W_O, flat)


class _Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W_in = _weight(1024, 128, scale=128**-0.5)
        self.b_in = nn.Parameter(torch.zeros(1024))
        self.W_out = _weight(128, 1024, scale=128**-0.5)
        self.b_out = nn.Parameter(torch.zeros(128))

    def forward(self, x: torch.Tensor, sites: dict[str, torch.Tensor]) -> torch.Tensor:
        pre = torch.einsum("md,bpd->bpm", self.W_in, x) + self.b_in
        sites["blocks.0.mlp.hook_pre"], post = pre, torch.relu(pre)
        sites["blocks.0.mlp.hook_post"] = post
        return torch.einsum("dm,bpm->bpd", self.W_out, post) + self.b_out


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = _Attention(), _Mlp()


class PairTransformer(nn.Module):
    """embed + pos -> +attn -> +mlp -> unembed, without LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.pos_embed, self.unembed = _Embed(), _PosEmbed(), _Unembed()
        self.blocks = nn.ModuleList([_Block()])

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Takes (n, 3) tokens; gives (n, 3, 114) logits and activations by site name."""
        sites = {"hook_embed": self.embed.W_E.T[tokens]}
        sites["hook_pos_embed"] = self.pos_embed.W_pos.expand(len(tokens), 3, 128)
        pre = sites["blocks.0.hook_resid_pre"] = sites["hook_embed"] + sites["hook_pos_embed"]
        block = self.blocks[0]
        sites["blocks.0.hook_attn_out"] = block.attn(pre, sites)
        mid = sites["blocks.0.hook_resid_mid"] = pre + sites["blocks.0.hook_attn_out"]
        sites["blocks.0.hook_mlp_out"] = block.mlp(mid, sites)
        post = sites["blocks.0.hook_resid_post"] = mid + sites["blocks.0.hook_mlp_out"]
        return post @ self.unembed.W_U, sites
