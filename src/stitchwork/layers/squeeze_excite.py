"""The squeeze-and-excitation gate as it stands inside the mobile networks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Scale the channels by a gate that is computed from their means.

    Paper: hu2018squeeze. :class:`stitchwork.blocks.se.SqueezeExcitation` is the published module; the networks that
    adopted it chose other widths, activations and gates.

    Args:
        dim: channels C.
        hidden: units of the bottleneck.
        act: builds the activation of the bottleneck.
        gate: builds what maps the result to the factors.
        bias: biases in the two layers of the bottleneck.
        inplace: write over the input where no gradient is recorded, which saves the time of fetching new memory.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        act: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
        bias: bool = True,
        inplace: bool = False,
    ):
        super().__init__()
        self.inplace = inplace
        self.squeeze = nn.Conv2d(dim, hidden, 1, bias=bias)
        self.act = act()
        self.excite = nn.Conv2d(hidden, dim, 1, bias=bias)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        z = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        gate = self.gate(self.excite(self.act(self.squeeze(z))))
        return x.mul_(gate) if self.inplace and not torch.is_grad_enabled() else x * gate
