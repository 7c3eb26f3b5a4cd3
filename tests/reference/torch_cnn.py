"""Challenge 1's network in PyTorch, from its description alone; shares no code with jaxmi."""

import torch
from torch import nn


class MnistNet(nn.Module):
    """conv1, ReLU, dropout, pool; conv2, ReLU, dropout, pool; fc1, ReLU; fc2."""

    def __init__(self, channels: tuple[int, int] = (8, 16), neurons: int = 200) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels[0], 3)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3)
        self.fc1 = nn.Linear(channels[1] * 5 * 5, neurons)
        self.fc2 = nn.Linear(neurons, 2)
        self.dropout = nn.Dropout(0.2)
        self.pool = nn.MaxPool2d(2, 2)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Takes (n, 1, 28, 28) pixels in 0..1; gives (n, 2) logits and the layers' activations."""
        sites = {}
        x = images
        for i, conv in enumerate((self.conv1, self.conv2), start=1):
            sites[f"conv{i}.pre"] = conv(x)
            sites[f"conv{i}.post"] = torch.relu(sites[f"conv{i}.pre"])
            x = sites[f"pool{i}"] = self.pool(self.dropout(sites[f"conv{i}.post"]))
        sites["fc1.pre"] = self.fc1(x.flatten(1))
        sites["fc1.post"] = torch.relu(sites["fc1.pre"])
        return self.fc2(sites["fc1.post"]), sites
