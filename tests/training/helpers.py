"""Small networks and data that the training tests share."""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from stitchwork.training import Recipe

FAST = Recipe(epochs=3, batch_size=8, lr=0.01)


def network(seed: int = 0, width: int = 8) -> nn.Module:
    """A classifier with everything that a resume could get wrong: BatchNorm statistics and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 3))


def samples(n: int = 50, seed: int = 0) -> TensorDataset:
    """Three classes of points around three centres."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.eye(3).repeat(1, 2) * 2
    return TensorDataset(centres[y] + torch.randn(n, 6, generator=generator), y)


class Noisy(Dataset):
    """Points with an augmentation that draws from all three of the usual generators."""

    def __init__(self, n: int = 50):
        self.points = samples(n)

    def __len__(self):
        return len(self.points)

    def __getitem__(self, i: int):
        import random

        import numpy

        x, y = self.points[i]
        return x + 0.1 * torch.randn(6) + random.random() + numpy.random.rand(), y


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether all parameters and buffers are equal bit for bit."""
    pairs = zip(a.state_dict().items(), b.state_dict().items())
    return all(n == m and torch.equal(x, y) for (n, x), (m, y) in pairs)


def mean_square(output: Tensor, target: Tensor) -> Tensor:
    """A loss for regression."""
    return (output.squeeze(1) - target).square().mean()
