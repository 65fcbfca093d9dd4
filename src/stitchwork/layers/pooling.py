"""A mixer without a weight: the neighbourhood's mean."""

import torch.nn.functional as F
from torch import Tensor, nn


class Pooling(nn.Module):
    """The mean over 3 x 3 pixels, less the pixel itself.

    Paper: yu2022metaformer, eq. 4. Pixels beyond the border do not count. The block around it adds the pixel again.

    Args:
        dim: channels, of which nothing depends: every mixer takes it.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False) - x
