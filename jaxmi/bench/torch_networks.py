"""Both networks in PyTorch, in the original code's form: the baseline for speed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from jaxmi.storage.layouts import CASPER_CNN, CASPER_TRANSFORMER


class Transformer(nn.Module):
    """Challenge 2's network as Neel Nanda's grokking code computes it, at every position.

    Of any sizes and number of blocks.
    """

    input_type = torch.long
    future: torch.Tensor
    """1 where a key is later than the query."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Take the parameters of `models.transformer.Transformer`."""
        super().__init__()
        tensors = CASPER_TRANSFORMER.write(params)
        self.W_E, self.W_U = _parameter(tensors["embed.W_E"].T), _parameter(tensors["unembed.W_U"])
        self.W_pos = _parameter(tensors["pos_embed.W_pos"])
        n_layers = sum(name.endswith(".attn.W_Q") for name in tensors)
        self.blocks = nn.ModuleList(Block(tensors, f"blocks.{i}") for i in range(n_layers))
        n_ctx = len(self.W_pos)
        self.register_buffer("future", torch.triu(torch.ones(n_ctx, n_ctx), diagonal=1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits at the last position, (n, d_vocab), for tokens (n, n_ctx)."""
        x = self.W_E[tokens] + self.W_pos
        for block in self.blocks:
            x = block(x, self.future)
        return (x @ self.W_U)[:, -1]


class Block(nn.Module):
    """A block of the transformer: attention, then the MLP."""

    def __init__(self, tensors: Mapping[str, Any], name: str) -> None:
        """Take the tensors of one block by the prefix of their names."""
        super().__init__()
        self.W_Q, self.W_K, self.W_V, self.W_O = (
            _parameter(tensors[f"{name}.attn.{part}"]) for part in ("W_Q", "W_K", "W_V", "W_O")
        )
        self.W_in, self.b_in, self.W_out, self.b_out = (
            _parameter(tensors[f"{name}.mlp.{part}"]) for part in ("W_in", "b_in", "W_out", "b_out")
        )

    def forward(self, x: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
        """Return the residual stream (n, n_ctx, d_model) after the block."""
        q, k, v = (torch.einsum("ihd,bpd->biph", w, x) for w in (self.W_Q, self.W_K, self.W_V))
        scores = torch.einsum("biph,biqh->biqp", k, q)
        scores = torch.tril(scores) + -1e10 * future
        pattern = torch.softmax(scores / self.W_Q.shape[1] ** 0.5, dim=-1)
        z = torch.einsum("biph,biqp->biqh", v, pattern)
        z = z.permute(0, 2, 1, 3).flatten(2)
        x = x + torch.einsum("df,bqf->bqd", self.W_O, z)
        post = torch.relu(torch.einsum("md,bpd->bpm", self.W_in, x) + self.b_in)
        return x + torch.einsum("dm,bpm->bpd", self.W_out, post) + self.b_out


class Cnn(nn.Module):
    """Challenge 1's network, of any sizes, of the layers in `torch.nn`."""

    input_type = torch.uint8

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Take the parameters of `models.cnn.Cnn`."""
        super().__init__()
        tensors = CASPER_CNN.write(params)
        (c1, c2), neurons = (
            (len(tensors[f"conv{i}.bias"]) for i in (1, 2)),
            len(tensors["fc1.bias"]),
        )
        self.conv1, self.conv2 = nn.Conv2d(1, c1, 3), nn.Conv2d(c1, c2, 3)
        self.fc1, self.fc2 = nn.Linear(25 * c2, neurons), nn.Linear(neurons, 2)
        self.dropout, self.pool = nn.Dropout(0.2), nn.MaxPool2d(2, 2)
        self.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()})

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, (n, 2), for images (n, 28, 28) with pixels 0..255."""
        x = images[:, None].float() / 255
        for conv in (self.conv1, self.conv2):
            x = self.pool(self.dropout(torch.relu(conv(x))))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


NETWORKS = {"transformer": Transformer, "cnn": Cnn}
"""Published challenge -> network of its kind."""


def _parameter(array: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.ascontiguousarray(array)))
