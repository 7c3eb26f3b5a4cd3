"""Both networks in PyTorch, in the original code's form: the baseline for speed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from jaxmi.storage.layouts import CASPER_CNN, CASPER_TRANSFORMER


class Transformer(nn.Module):
    """Challenge 2's network as Neel Nanda's grokking code computes it, at every position."""

    input_type = torch.long
    future: torch.Tensor
    """1 where a key is later than the query."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Take the parameters of `models.transformer.Transformer`."""
        super().__init__()
        tensors = CASPER_TRANSFORMER.write(params)
        self.W_E, self.W_U = _parameter(tensors["embed.W_E"].T), _parameter(tensors["unembed.W_U"])
        self.W_pos = _parameter(tensors["pos_embed.W_pos"])
        self.W_Q, self.W_K, self.W_V, self.W_O = (
            _parameter(tensors[f"blocks.0.attn.{name}"]) for name in ("W_Q", "W_K", "W_V", "W_O")
        )
        self.W_in, self.b_in, self.W_out, self.b_out = (
            _parameter(tensors[f"blocks.0.mlp.{name}"])
            for name in ("W_in", "b_in", "W_out", "b_out")
        )
        self.register_buffer("future", torch.triu(torch.ones(3, 3), diagonal=1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits at the last position, (n, 114), for tokens (n, 3)."""
        x = self.W_E[tokens] + self.W_pos
        q, k, v = (torch.einsum("ihd,bpd->biph", w, x) for w in (self.W_Q, self.W_K, self.W_V))
        scores = torch.einsum("biph,biqh->biqp", k, q)
        scores = torch.tril(scores) + -1e10 * self.future
        pattern = torch.softmax(scores / self.W_Q.shape[1] ** 0.5, dim=-1)
        z = torch.einsum("biph,biqp->biqh", v, pattern)
        z = z.permute(0, 2, 1, 3).flatten(2)
        x = x + torch.einsum("df,bqf->bqd", self.W_O, z)
        post = torch.relu(torch.einsum("md,bpd->bpm", self.W_in, x) + self.b_in)
        x = x + torch.einsum("dm,bpm->bpd", self.W_out, post) + self.b_out
        return (x @ self.W_U)[:, -1]


class Cnn(nn.Module):
    """Challenge 1's network, of the layers in `torch.nn`."""

    input_type = torch.uint8

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Take the parameters of `models.cnn.Cnn`."""
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
        self.fc1, self.fc2 = nn.Linear(400, 200), nn.Linear(200, 2)
        self.dropout, self.pool = nn.Dropout(0.2), nn.MaxPool2d(2, 2)
        tensors = CASPER_CNN.write(params)
        self.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()})

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, (n, 2), for images (n, 28, 28) with pixels 0..255."""
        x = images[:, None].float() / 255
        for conv in (self.conv1, self.conv2):
            x = self.pool(self.dropout(torch.relu(conv(x))))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


NETWORKS = {"transformer": Transformer, "cnn": Cnn}
"""Challenge -> network."""


def _parameter(array: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.ascontiguousarray(array)))
