"""AFT-full: a weighted mean in every channel, whose weights never compare the contents of two pixels.

Paper: zhai2021aft, section 3.1. A pixel s counts at pixel t by the exponential of its own key, channel by channel,
and of a learned number for the pair of places; the query is only a gate:

    y_t = sigmoid(Q_t) * (sum over s of e^{K_s + w_ts} V_s) / (sum over s of e^{K_s + w_ts})      eq. 2

Since e^{K + w} = e^K e^w, both sums are products of the N x N table e^w with a matrix of N rows.

Cost: 3 C^2 + 3 C + N^2 parameters; 3 C^2 N + 2 C N^2 multiply-adds. Free of attention, not of the square of N.

Growth: N^2

Where this differs: there is no official code. Copies write out e^{K + w} as N x B x N x C, and take the exponentials
as they are, which is inf / inf = NaN as soon as a key passes 88; here both come from a softmax, which subtracts the
largest. The paper gives w a low rank where N is large; here, as in the copies, it is a plain table. ``project=True``
adds the output layer that one public version has and the paper has not. The table depends on the size, so that
``size`` must be given and other sizes are refused.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import AttentionFree

PAPER = "zhai2021aft"
CHAPTER = "07_attention_without_the_matrix"


class AFTFull(AttentionFree):
    """A learned w for every pair of pixels.

    Args:
        dim: channels C.
        size: (H, W) of the images, on which the parameters depend.
        project: a 1x1 convolution behind the product with the gate.

    Shapes:
        (B, C, H, W) -> (B, C, H, W), for the given H and W only.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C, H and W; ``dim`` or ``size`` is not positive.
    """

    def __init__(self, dim: int, size: tuple[int, int], project: bool = False):
        super().__init__(dim, project, size)
        pixels = math.prod(self.size)
        self.position_bias = nn.Parameter(0.02 * torch.randn(pixels, pixels))

    def gather(self, x: Tensor) -> Tensor:
        """Sum over all pixels, weighted by the table: (B, 2 C, H, W) -> the same."""
        return F.linear(x.flatten(2), self.position_bias.softmax(1)).reshape(x.shape)


BLOCKS = {"aft_full": AFTFull}
REFERENCES = {"aft_full": ("recorded:aft_full", "recorded:aft_full.with_projection")}
