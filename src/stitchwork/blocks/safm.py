"""Spatially adaptive feature modulation: views of the image at several resolutions decide how bright each pixel is.

Paper: sun2023spatially, section 3.1. A gate that looks far is costly at full resolution and cheap on a small image. The
channels are cut into n parts; part i looks at the image reduced 2^i times, with a depthwise 3x3 that thereby covers
3 * 2^i pixels. The parts together are the gate, a factor that is not squashed into (0, 1):

    s_i = up(dwconv_3x3(maxpool(x_i to H/2^i x W/2^i)))       i = 0..n-1, no pooling for i = 0
    y   = gelu(W [s_0; ..; s_{n-1}] + b) * x

Cost: 10 C + C^2 + C parameters; C^2 HW multiply-adds for the mixing, at most 9 C/n (1 + 1/4 + 1/16 + ..) HW for the
depthwise convolutions, and BCHW for the modulation.
Growth: N^1

Where this differs: in the official code, and in all copies of it, H/2^i is rounded down, so that an image with a side
under 2^(n-1) pixels is pooled to nothing, and fails; here the pooled side is at least one pixel. As there, pooling is
adaptive (where 2^i does not divide the side, neighbouring windows overlap) and enlarging is to the nearest pixel.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "sun2023spatially"
CHAPTER = "05_how_big"


class SAFM(nn.Module):
    """Scale every number of the image by what n resolutions see around it.

    Args:
        dim: channels C; a multiple of ``n_levels``.
        n_levels: n, resolutions.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``dim`` is not a multiple
            of ``n_levels``.
    """

    def __init__(self, dim: int, n_levels: int = 4):
        super().__init__()
        check_positive("SAFM", dim=dim, n_levels=n_levels)
        if dim % n_levels:
            raise ValueError(f"SAFM: dim must be a multiple of n_levels={n_levels}; got dim={dim}: use other n_levels")
        part = dim // n_levels
        self.dim = dim
        self.look = nn.ModuleList(nn.Conv2d(part, part, 3, padding=1, groups=part) for _ in range(n_levels))
        self.mix = nn.Conv2d(dim, dim, 1)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Modulate (B, C, H, W) by a map of the same shape."""
        check_image(x, self.dim, "SAFM")
        size = x.shape[2:]
        parts = x.chunk(len(self.look), 1)  # n of (B, C/n, H, W)
        views = [self.look[0](parts[0])]
        for level in range(1, len(parts)):
            pooled = _adaptive_max_pool(parts[level], [max(1, side >> level) for side in size])
            view = self.look[level](pooled)  # (B, C/n, H / 2^level, W / 2^level)
            views.append(F.interpolate(view, size))
        return self.act(self.mix(torch.cat(views, 1))) * x


def _adaptive_max_pool(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *size): output i is the maximum from floor(i H / h) up to ceil((i + 1) H / h)."""
    if not torch.compiler.is_compiling():
        # Several times faster, copy included, if the channels lie side by side in memory.
        return F.adaptive_max_pool2d(x.contiguous(memory_format=torch.channels_last), size)
    # The compiler would build PyTorch's pooling anew for every size, so it gets the windows, all of one length: one
    # that is shorter has its last pixel several times.
    for axis, count in zip((2, 3), size):
        side, i = x.shape[axis], torch.arange(count, device=x.device)[:, None]
        first, last = i * side // count, -(-(i + 1) * side // count) - 1
        steps = torch.arange(-(-side // count) + 1, device=x.device)
        windows = torch.minimum(first + steps, last)  # (count, length)
        x = x.index_select(axis, windows.flatten()).unflatten(axis, windows.shape).amax(axis + 1)
    return x


BLOCKS = {"safm": SAFM}
REFERENCES = {"safm": ("recorded:safm",)}
