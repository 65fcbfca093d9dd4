"""ConvFormer and CAFormer: the frame of the transformer, filled with what was known already.

Paper: yu2024metaformer, sections 2 and 3. If the frame matters more than the mixer, plain mixers must do: the average
of PoolFormer, the separable convolution of MobileNetV2, attention. ConvFormer has the convolution in all four stages,
CAFormer attention in the last two, where the maps are small; both pass what attention alone reached. The frame gets
three new parts: an activation of a squared ReLU, a factor on the shortcut in the last two stages, and no biases.

    x' = r_1 x + mixer(norm(x))             r: residual scale, a factor for each channel
    y  = r_2 x' + mlp(norm(x'))
    starrelu(x) = s relu(x)^2 + b           s, b: two numbers that are learned

Cost of a block besides 8 C^2 for the perceptron: 4 C^2 + 98 C parameters for the convolution, 4 C^2 for attention, none
for the average. ConvFormer-S18: 26.8 M parameters, 3.9 G multiply-adds; CAFormer-S18: 26.3 M and 4.1 G.

Where this differs: nothing from timm's, which has the official weights. StarReLU starts with s = 1, b = 0 as in the
official code; the paper's s = 0.8944, b = -0.4472, which keep a normal input normal, are only a derivation.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    LayerNorm2d,
    LayerScale,
    Pooling,
    ScaledDotProduct,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "yu2024metaformer"
CHAPTER = "17_vision_transformer"
HEAD_DIM = 32
BiaslessNorm = partial(LayerNorm2d, bias=False)


class StarReLU(nn.Module):
    """s relu(x)^2 + b, with two learned numbers.

    Shapes:
        any -> the same
    """

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        x = F.relu(x)
        return torch.addcmul(self.bias, x, self.scale * x)


class SepConv(nn.Sequential):
    """Widen to twice the channels, depthwise 7x7, narrow again: MobileNetV2's block without normalisations.

    Args:
        dim: channels C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int):
        super().__init__(
            nn.Conv2d(dim, 2 * dim, 1, bias=False),
            StarReLU(),
            nn.Conv2d(2 * dim, 2 * dim, 7, padding=3, groups=2 * dim, bias=False),
            nn.Conv2d(2 * dim, dim, 1, bias=False),
        )


class Attention(nn.Module):
    """Every pixel takes from every pixel, in heads of 32 channels.

    Args:
        dim: channels C, a multiple of 32.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the heads do not fill the channels.
    """

    def __init__(self, dim: int):
        super().__init__()
        check_multiple("Attention", dim, head_dim=HEAD_DIM)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attend = ScaledDotProduct(axes=("image", "head", "pixel", "pixel"))
        self.proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, C)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, -1, HEAD_DIM)).permute(2, 0, 3, 1, 4)  # (B, heads, N, 32) each
        y = self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2))  # (B, N, C)
        return y.transpose(1, 2).unflatten(2, x.shape[2:])


class MetaFormerBlock(nn.Module):
    """Mix the pixels, then a perceptron for each.

    Args:
        dim: channels C.
        mixer: builds what mixes the pixels, for ``dim``.
        norm: builds the normalisation, for ``dim``.
        scaled: learn a factor for each channel of both shortcuts.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(
        self,
        dim: int,
        mixer: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module],
        scaled: bool,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.norm1, self.mixer = norm(dim), mixer(dim)
        self.norm2 = norm(dim)
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, 4 * dim, 1, bias=False), StarReLU(), nn.Conv2d(4 * dim, dim, 1, bias=False)
        )
        self.residual1, self.residual2 = (LayerScale(dim, 1.0) if scaled else nn.Identity() for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = self.residual1(x) + self.drop_path(self.mixer(self.norm1(x)))
        return self.residual2(x) + self.drop_path(self.mlp(self.norm2(x)))


class GroupNorm1(nn.GroupNorm):
    """Normalise over channels and pixels together, with a factor for each channel and no shift.

    Args:
        dim: channels C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int):
        super().__init__(1, dim, eps=1e-6)
        self.bias = None


class SquaredReLUHead(nn.Sequential):
    """Widen the pooled features fourfold, squared ReLU, LayerNorm: what the baselines put before the classifier.

    Args:
        dim: pooled features C.

    Shapes:
        (B, C) -> (B, 4 C)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.fc = nn.Linear(dim, 4 * dim)
        self.norm = nn.LayerNorm(4 * dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) -> (B, 4 C)."""
        return self.norm(F.relu(self.fc(x)).square())


class MetaFormer(Classifier):
    """Four stages, each with a mixer of its own.

    Args:
        depths: blocks of each stage.
        dims: channels of each stage.
        mixers: what builds each stage's mixer.
        norm: builds the normalisation of the blocks.
        wide_head: put a hidden layer of four times the width before the classifier.
        num_classes: number of logits; 0 gives what the classifier sees, (B, head_features).
        in_chans: channels of the input image.
        dropout: probability with which a feature is dropped before the classifier in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), H and W at least 3.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 3

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        dims: tuple[int, int, int, int],
        mixers: tuple[Callable[[int], nn.Module], ...],
        norm: Callable[[int], nn.Module] = BiaslessNorm,
        wide_head: bool = True,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("MetaFormer", depths=min(depths), dims=min(dims))
        super().__init__(in_chans, dims[-1], dropout, head_features=dims[-1] * (4 if wide_head else 1))
        self.pyramid_channels = tuple(dims)
        self.stages = nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            dim = dims[index]
            stage = nn.Sequential()
            if index:
                stage.norm = BiaslessNorm(dims[index - 1])
                stage.conv = nn.Conv2d(dims[index - 1], dim, 3, 2, padding=1)
            else:
                stage.conv = nn.Conv2d(in_chans, dim, 7, 4, padding=2)
                stage.norm = BiaslessNorm(dim)
            stage.blocks = nn.Sequential(
                *[MetaFormerBlock(dim, mixers[index], norm, scaled=index > 1, drop_path=rate) for rate in rates]
            )
            self.stages.append(stage)
        self.norm = LayerNorm2d(dims[-1])
        self.widen = SquaredReLUHead(dims[-1]) if wide_head else nn.Identity()
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]

    def pre_logits(self, x: Tensor) -> Tensor:
        """Normalised means over the pixels, widened: (B, num_features, H', W') -> (B, head_features)."""
        return self.widen(self.norm(x.mean((2, 3), keepdim=True)).flatten(1))


S18, S36 = (3, 3, 9, 3), (3, 12, 18, 3)
SMALL, MEDIUM, BASE = (64, 128, 320, 512), (96, 192, 384, 576), (128, 256, 512, 768)
convformer = partial(MetaFormer, mixers=(SepConv,) * 4)
caformer = partial(MetaFormer, mixers=(SepConv, SepConv, Attention, Attention))

MODELS = {
    "poolformerv2_s12": partial(
        MetaFormer, (2, 2, 6, 2), SMALL, mixers=(Pooling,) * 4, norm=GroupNorm1, wide_head=False
    ),
    "convformer_s18": partial(convformer, S18, SMALL),
    "convformer_s36": partial(convformer, S36, SMALL),
    "convformer_m36": partial(convformer, S36, MEDIUM),
    "convformer_b36": partial(convformer, S36, BASE),
    "caformer_s18": partial(caformer, S18, SMALL),
    "caformer_s36": partial(caformer, S36, SMALL),
    "caformer_m36": partial(caformer, S36, MEDIUM),
    "caformer_b36": partial(caformer, S36, BASE),
}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
