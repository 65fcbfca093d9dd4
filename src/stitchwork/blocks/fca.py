"""FcaNet: the mean is the lowest frequency of a cosine transform; let other channels be summarised by other ones.

Paper: qin2021fcanet, section 3. Squeeze-and-Excitation sums up a channel by its mean. The mean is, up to a factor, the
component (0, 0) of the two-dimensional discrete cosine transform (DCT), and a channel of stripes that has mean zero
looks to it like an empty one. FcaNet splits the channels into F groups and gives each group another component:

    z_c = sum over i, j of x_c(i, j) cos(pi u (i + 1/2) / h) cos(pi v (j + 1/2) / w) a_u a_v,   (u, v) that of c's group
    s   = sigmoid(W2 relu(W1 z)),   W1: C/r x C,  W2: C x C/r
    y_c = s_c x_c

with a_0 = 1/sqrt(n) and otherwise sqrt(2/n), n being h or w. The F = 16 frequencies are those that did best one by one
in the paper's experiment on a 7 x 7 grid. On a grid k times as fine they are multiplied by k, and so keep their period
in pixels. An image of another size than h x w is first averaged to it, in the manner of adaptive pooling.

Nothing is transformed there and back, and there is no FFT: each channel is projected on one fixed image.

Cost: 2 C^2/r parameters and F h w stored numbers; 2 C^2/r multiply-adds for the gate, BChw for the projection and
BCHW for the scaling.

Growth: N^1

Where this differs: nothing in the result. The official networks set h = w by the stage, 56 to 7; here it is 14 unless
``size`` says otherwise. The official code accepts grids of fewer than 7 pixels, on which it multiplies every frequency
by 7 // h = 0 and so is Squeeze-and-Excitation without saying so; here they are refused. Images smaller than the grid it
enlarges by repeating pixels, and so does this: at 1 x 1 only the channels with the frequency (0, 0) have anything to
report. Popular copies keep the filter as a plain attribute, which stays on the CPU when the module moves and is missing
from its state; here, as in the official code, it is a buffer.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "qin2021fcanet"
CHAPTER = "03_which_channel"

GRID = 7  # frequencies are given for a grid of 7 x 7
# The frequencies (u, v) of the paper's experiment, the one with which a network did best first: u counts along the
# height, v along the width.
# fmt: off
TOP = (
    (0, 0), (0, 1), (6, 0), (0, 5), (0, 2), (1, 0), (1, 2), (4, 0), (5, 0), (1, 6), (3, 0), (0, 4), (0, 6), (0, 3),
    (3, 5), (2, 2), (4, 6), (6, 3), (3, 3), (5, 3), (5, 5), (2, 1), (6, 1), (5, 2), (5, 4), (3, 2), (3, 1), (4, 1),
    (2, 3), (2, 0), (6, 5), (1, 3),
)
# fmt: on


def cosine(frequency: int, length: int) -> Tensor:
    """The DCT's basis vector of this frequency on ``length`` pixels, of unit norm, in float64."""
    positions = torch.arange(length, dtype=torch.float64) + 0.5
    return torch.cos(math.pi * frequency * positions / length) * math.sqrt((1 if frequency == 0 else 2) / length)


class FrequencyChannelAttention(nn.Module):
    """Channel gate computed from one DCT component of every channel.

    Args:
        dim: channels C, a multiple of the number of frequencies.
        size: (h, w), the grid to which images are averaged before the projection; at least 7 x 7.
        reduction: r; the bottleneck has max(1, C // r) units.
        frequencies: pairs (u, v) from 0 to 6, one for each group of C / F channels. ``TOP[:k]`` are the k best;
            ``TOP[:1]`` is the mean alone.

    Shapes:
        (B, C, H, W) -> (B, C, H, W), whatever ``size`` is.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``reduction`` is not positive; ``dim`` is no
            multiple of the number of frequencies; a frequency or ``size`` is out of range.
    """

    def __init__(
        self,
        dim: int,
        size: tuple[int, int] = (14, 14),
        reduction: int = 16,
        frequencies: Sequence[tuple[int, int]] = TOP[:16],
    ):
        super().__init__()
        check_positive("FrequencyChannelAttention", dim=dim, reduction=reduction)
        if min(size) < GRID:
            raise ValueError(
                f"FrequencyChannelAttention: size must be at least ({GRID}, {GRID}) to tell {GRID} frequencies apart; "
                f"got {tuple(size)}. Images smaller than size are enlarged"
            )
        if not frequencies or any(not 0 <= f < GRID for pair in frequencies for f in pair):
            raise ValueError(
                f"FrequencyChannelAttention: frequencies must be pairs of numbers from 0 to {GRID - 1}; "
                f"got {list(frequencies)}"
            )
        if dim % len(frequencies):
            raise ValueError(
                f"FrequencyChannelAttention: dim must be a multiple of the {len(frequencies)} frequencies; got {dim}: "
                "take fewer, such as frequencies=TOP[:k] with a k that divides dim"
            )
        hidden = max(1, dim // reduction)
        self.dim, self.size = dim, tuple(size)
        rows, columns = [
            torch.stack([cosine(pair[axis] * (n // GRID), n) for pair in frequencies]) for axis, n in enumerate(size)
        ]
        self.register_buffer("filters", (rows[:, :, None] * columns[:, None]).float())  # (F, h, w)
        self.squeeze = nn.Linear(dim, hidden, bias=False)
        self.act = nn.ReLU()
        self.excite = nn.Linear(hidden, dim, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W) by a gate (B, C)."""
        check_image(x, self.dim, "FrequencyChannelAttention")
        grid = x if x.shape[2:] == self.size else F.adaptive_avg_pool2d(x, self.size)
        groups = grid.unflatten(1, (len(self.filters), -1))  # (B, F, C / F, h, w)
        z = (groups * self.filters[:, None]).sum((3, 4)).flatten(1)  # (B, C)
        s = self.gate(self.excite(self.act(self.squeeze(z))))  # (B, C)
        return x * s[..., None, None]


BLOCKS = {"fca": FrequencyChannelAttention}
REFERENCES = {"fca": ("recorded:fca",)}
