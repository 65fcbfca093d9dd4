"""S2 attention: pixels meet because channels are shifted by one pixel, and nothing else moves.

Paper: yu2021s2mlpv2, section 3. An MLP in each pixel never sees the neighbours. Shift a quarter of the channels by
one pixel in each of the four directions, which costs no parameter and no multiplication, and the next MLP mixes five
pixels. Three versions are made and weighed against each other, channel by channel:

    X_1, X_2, X_3 = W_1 x + b_1                          C -> 3 C
    X_1: quarters shifted down, up, right, left;  X_2: right, left, down, up;  X_3 stays
    a     = softmax over k of W_b gelu(W_a sum over k and pixels of X_k)                      C -> C -> 3 C
    y     = W_2 (sum over k of a_k * X_k) + b_2

At the border, the line that nothing is shifted into keeps what it had.

Cost: 8 C^2 + 4 C parameters; 4 C^2 N + 4 C^2 multiply-adds.

Growth: N^1

Where this differs: there is no official code. The paper's listing, and the copies, shift by assigning overlapping
slices of one tensor in place, such as ``x[1:] = x[:-1]``. What comes of that is undefined: PyTorch copies line after
line and smears the first line over the whole map in two of the four directions. Here the shifts read the tensor as
it was. The sum over all pixels in ``a`` is not a mean, so the softmax gets harder as the image grows; it is the
published one. Copies build their split attention for 512 channels whatever they are asked for.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "yu2021s2mlpv2"
CHAPTER = "07_attention_without_the_matrix"

DOWN, UP, RIGHT, LEFT = (2, 1), (2, -1), (3, 1), (3, -1)  # axis and step
DIRECTIONS = ((DOWN, UP, RIGHT, LEFT), (RIGHT, LEFT, DOWN, UP))  # of the quarters of X_1 and of X_2


def shift(x: Tensor, axis: int, step: int) -> Tensor:
    """Move (B, C, H, W) by one pixel along an axis, forwards (+1) or backwards (-1); the free line keeps its values."""
    rest = x.shape[axis] - 1
    if step > 0:
        return torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, rest)], axis)
    return torch.cat([x.narrow(axis, 1, rest), x.narrow(axis, rest, 1)], axis)


class S2Attention(nn.Module):
    """Three differently shifted projections, weighed channel by channel.

    Args:
        dim: channels C; where 4 does not divide it, the last group of channels takes the rest.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` is not positive.
    """

    def __init__(self, dim: int):
        super().__init__()
        check_positive("S2Attention", dim=dim)
        self.dim = dim
        self.quarters = [dim // 4, dim // 2 - dim // 4, 3 * dim // 4 - dim // 2, dim - 3 * dim // 4]
        self.expand = nn.Conv2d(dim, 3 * dim, 1)
        self.reweight = nn.Sequential(
            nn.Linear(dim, dim, bias=False), nn.GELU(), nn.Linear(dim, 3 * dim, bias=False), nn.Unflatten(1, (3, dim))
        )
        self.softmax = nn.Softmax(1)
        self.project = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each pixel of (B, C, H, W) with its four neighbours."""
        check_image(x, self.dim, "S2Attention")
        first, second, still = self.expand(x).chunk(3, 1)  # (B, C, H, W) each
        first, second = (
            torch.cat([shift(quarter, *d) for quarter, d in zip(part.split(self.quarters, 1), directions)], 1)
            for part, directions in zip((first, second), DIRECTIONS)
        )
        total = first.sum((2, 3)) + second.sum((2, 3)) + still.sum((2, 3))  # (B, C)
        a = self.softmax(self.reweight(total))[..., None, None]  # (B, 3, C, 1, 1)
        mixed = torch.addcmul(torch.addcmul(a[:, 0] * first, a[:, 1], second), a[:, 2], still)  # (B, C, H, W)
        return self.project(mixed)


BLOCKS = {"s2_attention": S2Attention}
REFERENCES = {"s2_attention": ("recorded:s2_attention",)}
