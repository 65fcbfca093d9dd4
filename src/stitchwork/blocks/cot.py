"""CoT: each pixel makes its own 3 x 3 kernel, from itself and from what surrounds it.

Paper: li2023contextual, section 3.2. In self-attention the keys do not know their neighbours. The contextual
transformer first gives every key its surroundings (the static context, an ordinary convolution), and reads from query
and key together the weights with which the 3 x 3 values around a pixel are to be summed (the dynamic context):

    s      = relu(BN(conv3x3 x)),  in 4 groups                               static context
    A      = GN(W2 relu(BN(W1 [x; s]))),  k^2 weights for each of C/8 maps
    d_c(i) = silu(BN(sum over the 3 x 3 places j of A_{c mod C/8, j}(i) v_c(i + j))),  v = BN(W3 x)
    y_c    = a_c d_c + b_c s_c,  (a, b) = softmax over the two of MLP(mean over pixels of d + s)

Cost, with k = 3, m = max(C/2, 32): k^2 C^2/4 + 2 C^2 + k^2 C^2/16 + 3 k^2 C/8 + 7 C + 3 C m + 3 m + 2 C parameters;
for each pixel k^2 C^2/4 + C^2 + k^2 C^2/16 + C^2 of the convolutions and k^2 C of the sum over the places.
Growth: N^1

Where this differs: the paper's equation has no normalisation of the weights A; the official code has a GroupNorm, and
normalises the dynamic context once more, which is the default here. No softmax anywhere: weights may be negative. The
last line is the radix-2 split attention of ResNeSt. In the official code its BatchNorm cannot train with a single
image; here that image is normalised with the running statistics. The official sum over the places is a CUDA kernel of
its own; here it is nine products of shifted views, which never make the nine-fold copy that unfolding does. A widely
copied version has no dynamic kernel at all: it averages the k^2 maps, takes one softmax over all H·W pixels, and
multiplies the values by it, so that nothing is gathered from the neighbours and the dynamic half fades as 1/HW.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import PooledBatchNorm, check_image, check_positive

PAPER = "li2023contextual"
CHAPTER = "08_both_at_once"
SHARE = 8  # channels that share a map of weights
GROUPS = 4  # of the convolution that makes the static context


def local_convolution(v: Tensor, weight: Tensor) -> Tensor:
    """Sum the k x k surroundings of each pixel with that pixel's own weights.

    Args:
        v: values (B, C, H, W); beyond the border they are zero.
        weight: (B, M, k^2, H, W); channel c takes map c mod M.

    Returns:
        (B, C, H, W)
    """
    height, width = v.shape[2:]
    side = int(weight.shape[2] ** 0.5)
    v = F.pad(v, [side // 2] * 4).unflatten(1, (-1, weight.shape[1]))  # (B, C / M, M, H + k - 1, W + k - 1)
    places = [(i, j) for i in range(side) for j in range(side)]
    total = sum(
        weight[:, None, :, n] * v[..., i : i + height, j : j + width] for n, (i, j) in enumerate(places)
    )  # (B, C / M, M, H, W)
    return total.flatten(1, 2)


class CoT(nn.Module):
    """A static context from a convolution, a dynamic one from kernels that each pixel makes, and a choice of both.

    Args:
        dim: channels C, a multiple of 8.
        kernel_size: k of both contexts; odd.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorms.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``dim`` is not a multiple
            of 8; ``kernel_size`` is even.
    """

    def __init__(self, dim: int, kernel_size: int = 3):
        super().__init__()
        check_positive("CoT", dim=dim, kernel_size=kernel_size)
        if dim % SHARE:
            raise ValueError(f"CoT: dim must be a multiple of {SHARE}, the channels that share a kernel; got {dim}")
        if kernel_size % 2 == 0:
            raise ValueError(f"CoT: kernel_size must be odd to keep the size; got {kernel_size}")
        self.dim = dim
        maps, weights, hidden = dim // SHARE, kernel_size**2 * dim // SHARE, max(dim // 2, 32)
        self.static = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=GROUPS, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
        )
        self.weight = nn.Sequential(
            nn.Conv2d(2 * dim, dim // 2, 1, bias=False),
            nn.BatchNorm2d(dim // 2),
            nn.ReLU(),
            nn.Conv2d(dim // 2, weights, 1),
            nn.GroupNorm(maps, weights),
        )
        self.value = nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim))
        self.dynamic = nn.Sequential(nn.BatchNorm2d(dim), nn.SiLU())
        self.choose = nn.Sequential(
            nn.Conv2d(dim, hidden, 1), PooledBatchNorm(hidden), nn.ReLU(), nn.Conv2d(hidden, 2 * dim, 1)
        )
        self.choice = nn.Softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """Mix (B, C, H, W) with its static and its dynamic context."""
        check_image(x, self.dim, "CoT")
        static = self.static(x)
        weight = self.weight(torch.cat([x, static], 1))
        weight = weight.unflatten(1, (self.dim // SHARE, -1))  # (B, C / 8, k^2, H, W)
        dynamic = self.dynamic(local_convolution(self.value(x), weight))
        pooled = (dynamic + static).mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        choice = self.choice(self.choose(pooled).unflatten(1, (self.dim, 2)))  # (B, C, 2, 1, 1)
        return choice[:, :, 0] * dynamic + choice[:, :, 1] * static


BLOCKS = {"cot": CoT}
REFERENCES = {"cot": ("recorded:cot",)}
