"""Conv2Former: the weights of attention are computed by a large convolution, and nothing is compared with anything.

Paper: hou2024conv2former, section 3 and figure 2. Attention multiplies the values by weights that queries and keys
give together. Here a depthwise 11x11 looks at the features around a pixel and gives one factor for each channel of
that pixel; it costs as much for a large image, pixel by pixel, as for a small one.

    a = dw11x11(gelu(W_a LN(x)))      x = x + gamma_1 * W_p (a * W_v LN(x))
    h = gelu(W_1 LN(x))               x = x + gamma_2 * W_2 (h + gelu(dw3x3(h)))

Cost of a block: HW C (k^2 + 3C + 8C + 36) multiply-adds with k = 11. Conv2Former-N at 224 pixels: 15.0 M parameters,
2.33 G multiply-adds.

Where this differs: nothing from the official code. Where that and the paper differ: N has k = 7; in the stem the
activation stands before the BatchNorm; the second branch has a depthwise 3x3, whose GELU comes before the sum. The
head widens to 1280 channels, with GELU and LayerNorm, before the pooling. The factors a are not brought to a range
and may be negative. The first convolution pads and the later steps do not: an odd height is rounded up once, then down.
"""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    LayerNorm2d,
    LayerScale,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "hou2024conv2former"
CHAPTER = "13_large_kernels"


def to_pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), where a linear layer works on each pixel."""
    return x.permute(0, 2, 3, 1)


def to_maps(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W), where a convolution works."""
    return x.permute(0, 3, 1, 2)


class ConvModulation(nn.Module):
    """LayerNorm, then the values of each pixel times factors that a large depthwise convolution computes.

    Args:
        dim: channels C.
        kernel_size: k, odd.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, kernel_size: int = 11):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.factor = nn.Linear(dim, dim)
        self.depthwise = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.value = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.norm(to_pixels(x))  # (B, H, W, C)
        a = self.depthwise(to_maps(F.gelu(self.factor(y))))  # (B, C, H, W)
        return to_maps(self.project(to_pixels(a) * self.value(y)))  # (B, C, H, W)


class ConvMlp(nn.Module):
    """LayerNorm, then at every pixel a network of two layers, which between them look at the neighbours.

    Args:
        dim: channels C.
        mlp_ratio: width of the hidden layer in units of C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, mlp_ratio: int = 4):
        super().__init__()
        hidden = mlp_ratio * dim
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.expand = nn.Linear(dim, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        h = to_maps(F.gelu(self.expand(self.norm(to_pixels(x)))))  # (B, 4C, H, W)
        h = h + F.gelu(self.depthwise(h))
        return to_maps(self.project(to_pixels(h)))  # (B, C, H, W)


class Conv2FormerBlock(nn.Module):
    """Modulation and MLP, each with layer scale and shortcut.

    Args:
        dim: channels C.
        kernel_size: k of the modulation.
        layer_scale: the factors gamma at the start.
        drop_path_rate: probability with which an image skips a branch in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, kernel_size: int = 11, layer_scale: float = 1e-6, drop_path_rate: float = 0.0):
        super().__init__()
        self.modulation, self.scale1 = ConvModulation(dim, kernel_size), LayerScale(dim, layer_scale)
        self.mlp, self.scale2 = ConvMlp(dim), LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.drop_path(self.scale1(self.modulation(x)))
        y += x
        z = self.drop_path(self.scale2(self.mlp(y)))
        z += y
        return z


class Conv2Former(Classifier):
    """Stem, four stages of blocks with a 2x2 convolution before each but the first, a wide last layer, classifier.

    Args:
        depths: blocks in each of the four stages.
        dims: channels of the four stages.
        num_classes: number of logits; 0 gives the pooled features (B, 1280).
        in_chans: channels of the input image.
        kernel_size: k of the modulations, odd.
        layer_scale: the factors gamma of each block at the start.
        drop_path_rate: probability with which an image skips a branch of the last block in training; earlier ones less.
        dropout: probability with which a pooled feature is dropped in training.

    Attributes:
        min_size: 31: a smaller image has no pixel left in the last stage.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W from 31 on.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 31

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        dims: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        kernel_size: int = 11,
        layer_scale: float = 1e-6,
        drop_path_rate: float = 0.0,
        dropout: float = 0.0,
    ):
        check_positive(
            "Conv2Former", depths=min(depths), dims=min(dims), kernel_size=kernel_size, layer_scale=layer_scale
        )
        if kernel_size % 2 == 0:
            raise ValueError(
                f"Conv2Former: kernel_size must be odd, or the map would grow; got {kernel_size}: "
                f"take {kernel_size + 1}"
            )
        super().__init__(in_chans, 1280, dropout)
        self.pyramid_channels = tuple(dims)

        half = dims[0] // 2
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, half, 3, stride=2, padding=1, bias=False),
            nn.GELU(),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 3, padding=1, bias=False),
            nn.GELU(),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, dims[0], 2, stride=2, bias=False),
        )
        self.downsamples = nn.ModuleList([nn.Identity()])
        for dim, out_dim in pairwise(dims):
            self.downsamples.append(nn.Sequential(LayerNorm2d(dim), nn.Conv2d(dim, out_dim, 2, stride=2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*[Conv2FormerBlock(dim, kernel_size, layer_scale, rate) for rate in rates])
            for dim, rates in zip(dims, drop_path_rates(drop_path_rate, depths))
        )
        self.last = nn.Linear(dims[-1], 1280)
        self.norm = nn.LayerNorm(1280, eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        # The linear layers want the channels of a pixel side by side: laid out so once, nothing is copied later.
        x = self.stem(x).contiguous(memory_format=torch.channels_last)  # (B, C, H / 4, W / 4)
        maps = []
        for downsample, stage in zip(self.downsamples, self.stages):
            x = stage(downsample(x))  # (B, C_i, H_i, W_i)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, 1280, H / 32, W / 32)."""
        x = to_pixels(self.forward_pyramid(x)[-1])  # (B, H / 32, W / 32, C)
        return to_maps(self.norm(F.gelu(self.last(x))))  # (B, 1280, H / 32, W / 32)


MODELS = {
    "conv2former_n": partial(Conv2Former, (2, 2, 8, 2), (64, 128, 256, 512), kernel_size=7),
    "conv2former_t": partial(Conv2Former, (3, 3, 12, 3), (72, 144, 288, 576)),
    "conv2former_s": partial(Conv2Former, (4, 4, 32, 4), (72, 144, 288, 576)),
    "conv2former_b": partial(Conv2Former, (4, 4, 34, 4), (96, 192, 384, 768)),
    "conv2former_l": partial(Conv2Former, (4, 4, 48, 4), (128, 256, 512, 1024)),
}
REFERENCES = {
    "conv2former_n": ("recorded:conv2former_n",),
    "conv2former_t": ("counted:conv2former_t",),
    "conv2former_s": ("counted:conv2former_s",),
    "conv2former_b": ("counted:conv2former_b",),
    "conv2former_l": ("counted:conv2former_l",),
}
