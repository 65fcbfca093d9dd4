"""FasterNet: convolve a quarter of the channels densely, and let 1x1 convolutions do the rest.

Paper: chen2023run, table 8 and figure 4. Time is FLOPs divided by FLOPS, the operations by the rate at which they are
done, and a depthwise convolution has few of the former at a poor rate: it fetches much and computes little. The partial
convolution (:mod:`stitchwork.blocks.partial_conv`) computes densely on C / 4 channels and leaves the others alone. A
block is one of them, for the space, and an inverted bottleneck of two 1x1 convolutions, for the channels; it has one
normalisation and one activation, in the wide middle.

    y = x + W_2 act(BN(W_1 pconv(x)))             W_1: C -> 2C,  W_2: 2C -> C

Cost of a block: HW (4 C^2 + 9 C^2 / 16) multiply-adds. At 224 pixels the smallest network has 3.9 M parameters and
335 M multiply-adds, the largest 93 M and 15.5 G.

Where this differs: nothing from timm, which has the authors' code. The two smallest have GELU, the others ReLU. The
patches have no padding: a height of H gives floor(H / 4) rows, and behind each later stage half of them, rounded down.
Stochastic depth is off unless asked for; the paper's rates are 0, 0.02, 0.05, 0.1, 0.2 and 0.3 from T0 to L.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from stitchwork.blocks.partial_conv import PartialConv
from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    DropPath,
    ReLU,
    check_positive,
    drop_path_rates,
    init_conv_weights,
)

PAPER = "chen2023run"
CHAPTER = "12_mobilenets_and_shufflenets"


class FasterNetBlock(nn.Module):
    """Partial convolution, then 1x1 to a wider tensor and 1x1 back, added to the input.

    Args:
        dim: channels C.
        mlp_ratio: how much wider the middle is.
        n_div: the fraction of the channels that is convolved is 1 / ``n_div``.
        drop_path: probability with which the branch is left out for an image in training.
        act: builds the activation.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(
        self,
        dim: int,
        mlp_ratio: float = 2.0,
        n_div: int = 4,
        drop_path: float = 0.0,
        act: Callable[[], nn.Module] = ReLU,
    ):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.mix = PartialConv(dim, n_div)
        self.expand = ConvNormAct(dim, hidden, act=act)
        self.project = nn.Conv2d(hidden, dim, 1, bias=False)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = self.mix(x)  # (B, C, H, W)
        y = self.expand(y)  # (B, 2C, H, W)
        y = self.project(y)  # (B, C, H, W)
        return self.drop_path(y).add_(x)


class Patches(ConvNormAct):
    """Cut the image into patches of k x k pixels, and map each to a vector.

    Args:
        in_dim: channels in.
        out_dim: channels out.
        size: k.

    Shapes:
        (B, in_dim, H, W) -> (B, out_dim, floor(H / k), floor(W / k))
    """

    def __init__(self, in_dim: int, out_dim: int, size: int):
        super().__init__(in_dim, out_dim, size, size, act=None)
        self.conv.padding = (0, 0)


class FasterNet(Classifier):
    """Four stages of blocks, each on patches of the one before, and a classifier with a hidden layer.

    Args:
        dim: channels of the first stage; each later one has twice as many.
        depths: blocks in each stage.
        num_classes: number of logits; 0 gives what the linear classifier sees (B, head_features).
        in_chans: channels of the input image.
        mlp_ratio: how much wider the middle of a block is.
        n_div: the fraction of the channels that is convolved is 1 / ``n_div``.
        hidden_features: units of the hidden layer behind the pooling.
        act: builds the activation.
        drop_path_rate: probability with which the last block's branch is left out for an image in training; it rises
            linearly from 0 at the first. The paper's value grows from 0 (T0) to 0.3 (L).
        dropout: probability with which a hidden unit is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W from 32 on.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 32

    def __init__(
        self,
        dim: int,
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        mlp_ratio: float = 2.0,
        n_div: int = 4,
        hidden_features: int = 1280,
        act: Callable[[], nn.Module] = ReLU,
        drop_path_rate: float = 0.0,
        dropout: float = 0.0,
    ):
        check_positive(
            "FasterNet", dim=dim, depths=min(depths), mlp_ratio=mlp_ratio, n_div=n_div, hidden_features=hidden_features
        )
        super().__init__(in_chans, dim * 2 ** (len(depths) - 1), dropout, head_features=hidden_features)
        self.pyramid_channels = tuple(dim * 2**i for i in range(len(depths)))

        self.patches, self.stages = nn.ModuleList(), nn.ModuleList()
        for width, rates in zip(self.pyramid_channels, drop_path_rates(drop_path_rate, depths), strict=True):
            self.patches.append(Patches(width // 2, width, 2) if self.patches else Patches(in_chans, width, 4))
            self.stages.append(nn.Sequential(*[FasterNetBlock(width, mlp_ratio, n_div, rate, act) for rate in rates]))
        self.hidden = nn.Linear(self.num_features, hidden_features, bias=False)
        self.act = act()
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = []
        for patches, stage in zip(self.patches, self.stages, strict=True):
            x = stage(patches(x))  # (B, C, H / 4, W / 4), then (B, 2C, H / 8, W / 8), ...
            maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 32, W / 32)."""
        return self.forward_pyramid(x)[-1]

    def pre_logits(self, x: Tensor) -> Tensor:
        """Pool, then the hidden layer: (B, num_features, H', W') -> (B, head_features)."""
        return self.act(self.hidden(x.mean((2, 3))))


MODELS = {
    "fasternet_t0": partial(FasterNet, dim=40, depths=(1, 2, 8, 2), act=nn.GELU),
    "fasternet_t1": partial(FasterNet, dim=64, depths=(1, 2, 8, 2), act=nn.GELU),
    "fasternet_t2": partial(FasterNet, dim=96, depths=(1, 2, 8, 2)),
    "fasternet_s": partial(FasterNet, dim=128, depths=(1, 2, 13, 2)),
    "fasternet_m": partial(FasterNet, dim=144, depths=(3, 4, 18, 3)),
    "fasternet_l": partial(FasterNet, dim=192, depths=(3, 4, 18, 3)),
}
REFERENCES = {name: (f"timm:{name}",) for name in MODELS}
