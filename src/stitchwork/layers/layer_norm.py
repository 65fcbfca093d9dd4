"""Layer normalisation of images."""

import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """At every pixel, the channels are brought to mean 0 and variance 1, scaled and shifted.

    Paper: ba2016layer, as ConvNeXt uses it: over the channels of one pixel, not over the whole map. The channels go
    to the end and back, which costs nothing if the image is in the channels-last layout.

    Args:
        dim: channels C.
        eps: added to the variance.
        bias: shift the channels.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, eps: float = 1e-6, bias: bool = True):
        super().__init__(dim, eps=eps, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)  # (B, C, H, W)
