"""AFT-local: position weights for the neighbours, none for the rest, and still every pixel reaches every other.

Paper: zhai2021aft, section 3.2. As in ``aft_full``, a pixel s counts at pixel t by e^{K_s + w_ts}, but w is learned
only for the s in a window around t:

    y_t  = sigmoid(Q_t) * (sum over s of e^{K_s + w_ts} V_s) / (sum over s of e^{K_s + w_ts})      eq. 2
    w_ts = learned if s is less than S rows and less than S columns away from t, else 0            eq. 4

Pixels outside the window do not drop out, as they would in window attention: they count by their keys alone.

Cost: 3 C^2 + 3 C + (2S-1)^2 N parameters; 3 C^2 N + 2 C (2S-1)^2 N multiply-adds.

Growth: N^1

Where this differs: there is no official code. The paper's window is an interval of a sequence; here it is the square
that an image suggests. ``project=True`` adds the output layer that one public version has and the paper has not. The
table depends on the size, so that ``size`` must be given and other sizes are refused.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import AttentionFree, check_positive

PAPER = "zhai2021aft"
CHAPTER = "07_attention_without_the_matrix"


class AFTLocal(AttentionFree):
    """A learned w for the pairs within a window; 0 for all others, which count all the same.

    Args:
        dim: channels C.
        size: (H, W) of the images, on which the parameters depend.
        window_size: S; the window spans 2S - 1 rows and columns around each pixel.
        project: a 1x1 convolution behind the product with the gate.

    Shapes:
        (B, C, H, W) -> (B, C, H, W), for the given H and W only.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C, H and W; ``dim``, ``size`` or ``window_size`` is not
            positive.
    """

    def __init__(self, dim: int, size: tuple[int, int], window_size: int = 4, project: bool = False):
        super().__init__(dim, project, size)
        check_positive("AFTLocal", window_size=window_size)
        self.window_size = window_size
        side = 2 * window_size - 1
        self.position_bias = nn.Parameter(0.02 * torch.randn(side, side, *self.size))

    def gather(self, x: Tensor) -> Tensor:
        """Weighted sum over the window and plain sum over the rest: (B, 2 C, H, W) -> the same."""
        peak = self.position_bias.detach().amax((0, 1)).clamp_min(0)  # (H, W): the largest w, 0 outside the window
        near = (self.position_bias - peak).exp()  # (2S-1, 2S-1, H, W)
        far = (-peak).exp()  # (H, W)
        # The two sums one after the other: half the channels stay in the cache where all would not.
        return torch.cat([far * self.rest(half) + self.window(half, near) for half in x.chunk(2, 1)], 1)

    def window(self, x: Tensor, near: Tensor) -> Tensor:
        """Sum over the window of each pixel, weighted by ``near`` (2S-1, 2S-1, H, W): (B, C, H, W) -> the same."""
        height, width = self.size
        padded = F.pad(x, [self.window_size - 1] * 4)  # (B, C, H + 2S-2, W + 2S-2)
        total = torch.zeros_like(x)
        for i, row in enumerate(near):
            for j, weight in enumerate(row):
                total.addcmul_(weight, padded[:, :, i : i + height, j : j + width])
        return total

    def rest(self, x: Tensor) -> Tensor:
        """Sum over all pixels outside the window of each: (B, C, H, W) -> the same.

        It is added up from what it is, the rows that the window does not touch, and in those that it does what is left
        and right of it. Everything less the window is quicker, but only rounding where little is left.
        """
        height, reach = self.size[0], self.window_size - 1
        total = beyond(x.sum(3), self.window_size)[..., None].expand_as(x).clone()
        sides = F.pad(beyond(x, self.window_size), (0, 0, reach, reach))  # (B, C, H + 2S-2, W)
        for i in range(2 * reach + 1):
            total += sides[:, :, i : i + height]
        return total


def beyond(x: Tensor, distance: int) -> Tensor:
    """For each place along the last axis the sum of ``x`` over all places ``distance`` or more away."""
    length = x.shape[-1]
    before = F.pad(x.cumsum(-1), (distance, 0))[..., :length]
    after = F.pad(x.flip(-1).cumsum(-1), (distance, 0))[..., :length].flip(-1)
    return before + after


BLOCKS = {"aft_local": AFTLocal}
REFERENCES = {"aft_local": ("transcription:aft_local",)}
