"""MobileViT: a convolution that unfolds into a transformer and folds back.

Paper: mehta2022mobilevit, sections 3.1 and 3.2, figure 1. A convolution unfolds the image into patches, multiplies, and
folds. MobileViT's block puts a transformer in the place of the multiplication: a 3x3 and a 1x1 convolution encode what
is near; the map is unfolded into patches of 2 x 2; each of the four places in a patch attends to the same place of all
patches; folded back, it is joined to what came in by another 3x3. Since each place has seen its neighbours by
convolution, all pixels hear of all others:

    X_U(p) -> transformer(X_U(p)),  1 <= p <= P             eq. 1, P = 4

Between the blocks stand MobileNetV2's inverted residuals, with SiLU.

Cost of the attention, with N = HW / 4 patches: 2 · 4 N^2 d multiply-adds, a fourth of full attention. MobileViT-S at
256 pixels: 5.6 M parameters, 2.0 G multiply-adds.

Where this differs: nothing from timm's, which has the official weights. Maps of an odd size are resized to an even one
for the transformer and back, as there and in the official code. The paper calls its parameters few; its latency on a
phone is several times that of MobileNetV2, as its own table 3 says.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    Mlp,
    SelfAttention,
    SiLU,
    TransformerBlock,
    check_positive,
    drop_path_rates,
    init_conv_weights,
    init_truncated_normal,
)

PAPER = "mehta2022mobilevit"
CHAPTER = "20_mobilevit"

PATCH, HEADS, DEPTHS = 2, 4, (2, 4, 3)
ConvSiLU = partial(ConvNormAct, act=SiLU)


class InvertedResidual(nn.Module):
    """Expand by 1x1, depthwise 3x3, project linearly by 1x1; with a shortcut where the shape stays.

    Args:
        dim: channels C.
        out_dim: channels C'.
        stride: of the depthwise convolution.
        expansion: factor of the channels inside.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, dim: int, out_dim: int, stride: int, expansion: int):
        super().__init__()
        hidden = dim * expansion
        self.has_shortcut = stride == 1 and dim == out_dim
        self.expand = ConvSiLU(dim, hidden)
        self.depthwise = ConvSiLU(hidden, hidden, 3, stride, groups=hidden)
        self.project = ConvNormAct(hidden, out_dim, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_shortcut else y


def unfold(x: Tensor) -> Tensor:
    """The four places of all patches of 2 x 2 pixels: (B, C, H, W) -> (B, 4, N, C)."""
    x = x.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))  # (B, C, h, 2, w, 2)
    return x.permute(0, 3, 5, 2, 4, 1).flatten(3, 4).flatten(1, 2)


def fold(x: Tensor, size: tuple[int, int]) -> Tensor:
    """What :func:`unfold` has taken apart, an image of even ``size``: (B, 4, N, C) -> (B, C, H, W)."""
    x = x.unflatten(2, (size[0] // PATCH, -1)).unflatten(1, (PATCH, PATCH))  # (B, 2, 2, h, w, C)
    return x.permute(0, 5, 3, 1, 4, 2).flatten(4, 5).flatten(2, 3)


class MobileViTBlock(nn.Module):
    """Near things by convolution, far things by a transformer, both joined.

    Args:
        dim: channels C.
        hidden: numbers d of a token.
        rates: stochastic depth of each transformer block.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, hidden: int, rates: list[float]):
        super().__init__()
        self.near = ConvSiLU(dim, dim, 3)
        self.widen = nn.Conv2d(dim, hidden, 1, bias=False)
        self.transformer = nn.Sequential(
            *[
                TransformerBlock(hidden, SelfAttention(hidden, HEADS), Mlp(hidden, 2 * hidden, nn.SiLU), rate, eps=1e-5)
                for rate in rates
            ]
        )
        self.norm = nn.LayerNorm(hidden)
        self.narrow = ConvSiLU(hidden, dim)
        self.join = ConvSiLU(2 * dim, dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        size = x.shape[2:]
        even = [side + side % PATCH for side in size]
        y = self.widen(self.near(x))  # (B, d, H, W)
        if size[0] % PATCH or size[1] % PATCH:
            y = F.interpolate(y, even, mode="bilinear")
        tokens = unfold(y)  # (B, 4, N, d)
        tokens = self.norm(self.transformer(tokens.flatten(0, 1))).unflatten(0, tokens.shape[:2])
        y = fold(tokens, even)  # (B, d, H, W)
        if size[0] % PATCH or size[1] % PATCH:
            y = F.interpolate(y, size, mode="bilinear")
        return self.join(torch.cat([x, self.narrow(y)], 1))


class MobileViT(Classifier):
    """Inverted residuals, then three stages that end in a MobileViT block.

    Args:
        dims: channels of the five stages.
        hidden: numbers of a token in the last three stages; multiples of 4, the heads.
        expansion: of the inverted residuals.
        num_features: channels of the last convolution.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a pooled feature is dropped in training.
        drop_path_rate: stochastic depth of the last transformer block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        dims: tuple[int, int, int, int, int],
        hidden: tuple[int, int, int],
        expansion: int,
        num_features: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("MobileViT", dims=min(dims), hidden=min(hidden), expansion=expansion, num_features=num_features)
        super().__init__(in_chans, num_features, dropout)
        self.pyramid_channels = tuple(dims[1:])
        self.stem = ConvSiLU(in_chans, 16, 3, 2)
        rates = iter(drop_path_rates(drop_path_rate, DEPTHS))
        self.stages = nn.ModuleList()
        dim = 16
        for index, out_dim in enumerate(dims):
            stage = nn.Sequential(InvertedResidual(dim, out_dim, 2 if index else 1, expansion))
            if index == 1:
                stage.extend(InvertedResidual(out_dim, out_dim, 1, expansion) for _ in range(2))
            elif index > 1:
                stage.append(MobileViTBlock(out_dim, hidden[index - 2], next(rates)))
            self.stages.append(stage)
            dim = out_dim
        self.last = ConvSiLU(dim, num_features)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)
        self.apply(lambda module: init_truncated_normal(module) if isinstance(module, nn.Linear) else None)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        x = self.stages[0](self.stem(x))  # (B, C, H / 2, W / 2)
        maps = []
        for stage in self.stages[1:]:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.last(self.forward_pyramid(x)[-1])


MODELS = {
    "mobilevit_xxs": partial(MobileViT, (16, 24, 48, 64, 80), (64, 80, 96), expansion=2, num_features=320),
    "mobilevit_xs": partial(MobileViT, (32, 48, 64, 80, 96), (96, 120, 144), expansion=4, num_features=384),
    "mobilevit_s": partial(MobileViT, (32, 64, 96, 128, 160), (144, 192, 240), expansion=4, num_features=640),
}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
