"""Both networks in PyTorch, in the original code's form: what our speed is held against."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn


class Transformer(nn.Module):
    """Challenge 2's network as the grokking code computes it: every position, head by head."""

    later: torch.Tensor

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Takes the parameters of `models.transformer.Transformer`."""
        super().__init__()
        attn, mlp = params["attn"], params["mlp"]
        self.W_E, self.W_pos, self.W_U = (_own(params[name]) for name in ("W_E", "W_pos", "W_U"))
        self.W_Q, self.W_K, self.W_V = (
            _own(np.swapaxes(attn[name], 1, 2)) for name in ("W_Q", "W_K", "W_V")
        )
        self.W_O = _own(np.reshape(attn["W_O"], (-1, self.W_E.shape[1])).T)
        self.W_in, self.W_out = _own(mlp["W_in"].T), _own(mlp["W_out"].T)
        self.b_in, self.b_out = _own(mlp["b_in"]), _own(mlp["b_out"])
        self.register_buffer("later", torch.triu(torch.ones(3, 3), diagonal=1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, 3) tokens -> (n, 114) logits at the last position."""
        x = self.W_E[tokens] + self.W_pos
        q, k, v = (torch.einsum("ihd,bpd->biph", w, x) for w in (self.W_Q, self.W_K, self.W_V))
        scores = torch.einsum("biph,biqh->biqp", k, q)
        scores = torch.tril(scores) + -1e10 * self.later
        pattern = torch.softmax(scores / self.W_Q.shape[1] ** 0.5, dim=-1)
        z = torch.einsum("biph,biqp->biqh", v, pattern)
        z = z.permute(0, 2, 1, 3).flatten(2)
        x = x + torch.einsum("df,bqf->bqd", self.W_O, z)
        post = torch.relu(torch.einsum("md,bpd->bpm", self.W_in, x) + self.b_in)
        x = x + torch.einsum("dm,bpm->bpd", self.W_out, post) + self.b_out
        return (x @ self.W_U)[:, -1]


class Cnn(nn.Module):
    """Challenge 1's network of PyTorch's own layers."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Takes the parameters of `models.cnn.Cnn`."""
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
        self.fc1, self.fc2 = nn.Linear(400, 200), nn.Linear(200, 2)
        self.dropout, self.pool = nn.Dropout(0.2), nn.MaxPool2d(2, 2)
        fc1 = np.reshape(params["fc1"]["kernel"], (5, 5, 16, 200)).transpose(3, 2, 0, 1)
        kernels = {
            "conv1": np.transpose(params["conv1"]["kernel"], (3, 2, 0, 1)),
            "conv2": np.transpose(params["conv2"]["kernel"], (3, 2, 0, 1)),
            "fc1": fc1.reshape(200, 400),
            "fc2": np.transpose(params["fc2"]["kernel"]),
        }
        for name, kernel in kernels.items():
            getattr(self, name).weight = _own(kernel)
            getattr(self, name).bias = _own(params[name]["bias"])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 28, 28) pixels 0..255 -> (n, 2) logits."""
        x = images[:, None].float() / 255
        for conv in (self.conv1, self.conv2):
            x = self.pool(self.dropout(torch.relu(conv(x))))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


NETWORKS = {"transformer": Transformer, "cnn": Cnn}
"""By challenge."""


def _own(array: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.ascontiguousarray(array)))
