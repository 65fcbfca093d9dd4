"""Eight random images with eight labels are learnt by heart: loss, gradient and update work together."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from .probes import noise
from .subjects import SMALL_BLOCKS, SMALL_MODELS, over

# Networks that are made smaller for this: the regions of MSG-Transformer are 224 pixels wide, and a smaller image is
# filled up to that.
SMALLER = {"msg_transformer_tiny": {"dim": 32, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8)}}


def check_overfits(build, shape, steps=60, lr=2e-3):
    """The training loss on eight samples falls below 0.1. Where pixels are classified, all have their image's label."""
    assert shape[0] == 8
    model, x, labels = build().train(), noise(shape), torch.arange(8)
    optimiser = torch.optim.Adam(model.parameters(), lr)
    torch.manual_seed(0)
    for _ in range(steps):
        logits = model(x)
        loss = F.cross_entropy(logits, labels.view(-1, *[1] * (logits.dim() - 2)).expand(8, *logits.shape[2:]))
        if loss < 0.1:
            return
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    raise AssertionError(f"eight samples are not learnt: loss {loss.item():.2f} after {steps} steps")


class Host(nn.Module):
    """A classifier around a block; what the classifier sees has all gone through the block."""

    def __init__(self, block, dim):
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(3, dim, 3, 2, 1), block, nn.Linear(dim, 8)

    def forward(self, x):
        return self.head(F.relu(self.block(self.stem(x))).mean((2, 3)))


def hosted(build, dim):
    """``build`` for a classifier that contains the block."""

    def build_host():
        block = build()
        torch.manual_seed(0)
        return Host(block, dim)

    return build_host


@over(SMALL_BLOCKS)
def test_block_overfits(subject):
    # The stem halves 16 x 16.
    check_overfits(hosted(subject.at(8, 8), subject.small_size[0]), (8, 3, 16, 16), steps=200, lr=1e-2)


@over(SMALL_MODELS)
def test_network_overfits(subject):
    # Where pixels are classified, each must hear of the whole image, which takes longer and needs fewer of them.
    size, steps, lr = (subject.fitting(16, 16), 200, 3e-3) if subject.is_segmenter else ((64, 64), 60, 2e-3)
    build = partial(subject.at(*size), num_classes=8, **SMALLER.get(subject.name, {}))
    check_overfits(build, (8, subject.channels, *size), steps, lr)
