"""EViT-UNet: EfficientFormerV2 as the encoder of a U-Net, and the same network in a mirror as its decoder.

Paper: li2025evitunet, sections 2.1 to 2.3, figure 1. Encoder and decoder have the same stages in opposite order:
feed-forward blocks with a depthwise 3x3 where the maps are large, attention where they are small. Between two stages
of the encoder the map shrinks, between two of the decoder it grows, and at the bottom both ways are an attention as
well as a convolution. On the way across, the decoder decides by its own channels which channels of the encoder's map
it wants (channel cross attention):

    skip = relu(x · sigmoid((W_x mean(x) + W_g mean(g)) / 2))      x: the encoder's map, g: the decoder's
    g' = blocks(conv3x3([g, skip]))

Cost: 55.2 M parameters and 5.8 G multiply-adds for nine classes and one channel at 224 pixels.

Where this differs: nothing from the official code at 224 pixels, the only size that it takes; here any multiple of 32
goes, and distances beyond those of the tables of biases count as their largest. With one class the official code
leaves the channel cross attention out (its weights are there all the same), and so does this; but it returns the
sigmoid of the logits, and this the logits, as losses and metrics want them. As in the official code only copies of
the encoder's maps for the way across are normalised; the way down goes on with what was not. The figure of the paper
has one attention that grows the map, the code has two.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import AttentionWeights, Segmenter, check_positive, drop_path_rates, fold_batch_norm
from stitchwork.models.efficientformerv2 import (
    EXPAND,
    GELU,
    HEADS,
    VARIANTS,
    Conv,
    ConvGELU,
    efficient_blocks,
    encoder_stage,
    heads_of,
    pixels_of,
)

PAPER = "li2025evitunet"
CHAPTER = "23_evit_unet"


class Grow(nn.Sequential):
    """A transposed 3x3 convolution with stride 2, BatchNorm, and if wanted GELU.

    Args:
        dim: channels C.
        out_dim: channels C'.
        depthwise: each channel for itself.
        act: builds the activation; ``None`` leaves the output linear.

    Shapes:
        (B, C, H, W) -> (B, C', 2 H, 2 W)
    """

    def __init__(self, dim: int, out_dim: int, depthwise: bool = False, act: type[nn.Module] | None = None):
        super().__init__()
        self.conv = nn.ConvTranspose2d(dim, out_dim, 3, 2, padding=1, output_padding=1, groups=dim if depthwise else 1)
        self.norm = nn.BatchNorm2d(out_dim)
        if act is not None:
            self.act = act()

    def fused(self) -> nn.Module:
        """The same function in evaluation, with the BatchNorm folded into the convolution."""
        return nn.Sequential(fold_batch_norm(self.conv, self.norm), *list(self)[2:])


class GrowingQuery(nn.Module):
    """Queries for a map of twice the size: the map scaled up, and a transposed depthwise 3x3 of it.

    Args:
        dim: channels C.
        out_dim: channels of the queries.

    Shapes:
        (B, C, H, W) -> (B, out_dim, 2 H, 2 W)
    """

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.local = nn.ConvTranspose2d(dim, dim, 3, 2, padding=1, output_padding=1, groups=dim)
        self.proj = Conv(dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_dim, 2 H, 2 W)."""
        # The corners are aligned here, and not where the stride attention scales up.
        return self.proj(self.local(x) + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))


class UpsamplingAttention(nn.Module):
    """Each pixel of a map of twice the size attends to all pixels of the small one; there is no bias for distances.

    Args:
        dim: channels C.
        out_dim: channels C'.
        key_dim: numbers d of a query and of a key; a value has four times as many.

    Shapes:
        (B, C, H, W) -> (B, C', 2 H, 2 W)
    """

    def __init__(self, dim: int, out_dim: int, key_dim: int = 16):
        super().__init__()
        self.scale = key_dim**-0.5
        keys, values = HEADS * key_dim, HEADS * EXPAND * key_dim
        self.q, self.k, self.v = GrowingQuery(dim, keys), Conv(dim, keys), Conv(dim, values)
        self.local = Grow(values, values, depthwise=True)
        self.weights = AttentionWeights(("image", "head", "query", "key"))
        self.proj = nn.Sequential(GELU(), Conv(values, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', 2 H, 2 W)."""
        value = self.v(x)
        local = self.local(value)  # (B, 4 heads d, 2 H, 2 W)
        weights = ((self.scale * heads_of(self.q(x))) @ heads_of(self.k(x)).transpose(2, 3)).softmax(dim=3)
        y = self.weights(weights) @ heads_of(value)  # (B, heads, 4 H W, 4 d)
        return self.proj(pixels_of(y, local.shape[2:]) + local)


class Upsample(nn.Module):
    """A transposed convolution with stride 2, and beside it, at the bottom of the decoder, an attention.

    Args:
        dim: channels C.
        out_dim: channels C'.
        attends: whether there is the attention.

    Shapes:
        (B, C, H, W) -> (B, C', 2 H, 2 W)
    """

    def __init__(self, dim: int, out_dim: int, attends: bool = False):
        super().__init__()
        self.conv = Grow(dim, out_dim)
        self.attn = UpsamplingAttention(dim, out_dim) if attends else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', 2 H, 2 W)."""
        y = self.conv(x)
        return y if self.attn is None else y + self.attn(x)


class ChannelCrossAttention(nn.Module):
    """Weigh the channels of the encoder's map by the means of its channels and of the decoder's.

    Paper: wang2022uctransnet, section 3.2.

    Args:
        dim: channels C of both maps.

    Shapes:
        g (B, C, H, W), x (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.linear_x, self.linear_g = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.gate = nn.Sigmoid()

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        """The decoder's map g and the encoder's x, (B, C, H, W) each -> (B, C, H, W)."""
        weights = self.gate((self.linear_x(x.mean((2, 3))) + self.linear_g(g.mean((2, 3)))) / 2)  # (B, C)
        return F.relu(x * weights[:, :, None, None])


class EViTUNet(Segmenter):
    """EfficientFormerV2 down and, mirrored, up.

    Args:
        dims: channels of the encoder's four stages.
        mlp_ratios: for each stage of the encoder the feed-forward widths of its blocks, over its channels.
        num_attention: blocks with attention at the end of each of the two deep stages.
        num_classes: number of logits for each pixel; with 1 the encoder's maps are taken as they are, with more through
            the channel cross attention; 0 gives the features (B, dims[0], H, W).
        in_chans: channels of the input image.
        train_size: height and width of the images for whose distances the attention has biases; others may come.
        drop_path_rate: stochastic depth of the block at the bottom, growing linearly from 0 at the first and falling
            towards the last (0.1 in the paper).

    Attributes:
        multiple: 32: height and width are halved five times and doubled again.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), H and W multiples of 32.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    multiple = 32

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        mlp_ratios: tuple[tuple[float, ...], ...],
        num_attention: int,
        num_classes: int = 9,
        in_chans: int = 1,
        *,
        train_size: int = 224,
        drop_path_rate: float = 0.0,
    ):
        check_positive("EViTUNet", dims=min(dims), mlp_ratios=min(map(min, mlp_ratios)), train_size=train_size)
        super().__init__(in_chans, dims[0], head_bias=False)
        self.pyramid_channels = tuple(dims)
        self.stem = nn.Sequential(ConvGELU(in_chans, dims[0] // 2, 3, 2), ConvGELU(dims[0] // 2, dims[0], 3, 2))
        rates = drop_path_rates(drop_path_rate, tuple(map(len, mlp_ratios)))
        self.stages = nn.ModuleList(
            encoder_stage(dims, stage, mlp_ratios[stage], num_attention, train_size, rates[stage]) for stage in range(4)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(dim) for dim in dims)
        # From the bottom up: stage 3 of the encoder has its mirror first.
        self.grow, self.cross = nn.ModuleList(), nn.ModuleList()
        self.merge, self.up_stages = nn.ModuleList(), nn.ModuleList()
        for stage in (3, 2, 1, 0):
            dim = dims[stage]
            self.grow.append(nn.Identity() if stage == 3 else Upsample(dims[stage + 1], dim, attends=stage > 0))
            self.cross.append(ChannelCrossAttention(dim))
            self.merge.append(nn.Conv2d(2 * dim, dim, 3, padding=1))
            side, attending = -(-train_size // 2 ** (stage + 2)), num_attention if stage > 1 else 0
            self.up_stages.append(efficient_blocks(dim, mlp_ratios[stage], attending, side, stage == 2, rates[stage]))
        self.expand = nn.Sequential(Grow(dims[0], dims[0] // 2, act=GELU), Grow(dims[0] // 2, dims[0], act=GELU))
        self.reset_head(num_classes)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """The encoder's four maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stem(x)  # (B, C, H / 4, W / 4)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dims[0], H, W)."""
        maps = self.forward_pyramid(x)
        g = maps[-1]  # (B, C_3, H / 32, W / 32)
        norms = list(self.norms)[::-1]
        for norm, grow, cross, merge, blocks in zip(norms, self.grow, self.cross, self.merge, self.up_stages):
            skip, g = norm(maps.pop()), grow(g)  # (B, C_i, H_i, W_i) both
            g = blocks(merge(torch.cat([g, skip if self.num_classes == 1 else cross(g, skip)], 1)))
        return self.expand(g)  # (B, C, H, W)


MODELS = {
    "evit_unet_s0": partial(EViTUNet, *VARIANTS["s0"]),
    "evit_unet_s1": partial(EViTUNet, *VARIANTS["s1"]),
    "evit_unet_s2": partial(EViTUNet, *VARIANTS["s2"]),
    "evit_unet": partial(EViTUNet, *VARIANTS["l"]),
}
REFERENCES = {name: ("recorded:evit_unet",) if name == "evit_unet" else ("sibling:evit_unet",) for name in MODELS}
