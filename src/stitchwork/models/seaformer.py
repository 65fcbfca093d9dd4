"""SeaFormer: a transformer for segmentation on a telephone, whose attention sees an image as two lines.

Paper: wan2023seaformer, sections 3.1 to 3.3, figure 2. Inverted residuals take the image down to 1/64; behind the last
two or three of their stages stand blocks of squeeze-enhanced axial attention (``blocks.sea_attention``), whose cost
grows with HW and not with its square. The head for segmentation starts from the map at an eighth of the image, which
is sharp and knows little, and lets each of the attended maps, which are coarse and know more, gate it:

    y = BN(W_l y) · up(hard sigmoid(BN(W_g x_i)))

Cost: SeaFormer-T as a classifier 1.8 M parameters and 0.09 G multiply-adds at 224 pixels; as a segmenter 1.7 M and
0.56 G at 512.

Where this differs: nothing from the official code; there is no normalisation in front of a branch, and ReLU stands in
the inverted residuals, ReLU6 in the attention blocks.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from stitchwork.blocks.sea_attention import SeaAttention
from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    DropPath,
    ReLU6,
    Segmenter,
    check_positive,
    drop_path_rates,
    init_conv_weights,
)

PAPER = "wan2023seaformer"
CHAPTER = "22_dense_heads"


class InvertedResidual(nn.Module):
    """MobileNetV2's block with ReLU and a kernel of its own.

    Args:
        dim: channels C.
        out_dim: channels C'.
        kernel_size: of the depthwise convolution.
        stride: of the depthwise convolution.
        expansion: t; with 1 the expanding convolution is left out.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, dim: int, out_dim: int, kernel_size: int, stride: int, expansion: int):
        super().__init__()
        hidden = dim * expansion
        self.has_shortcut = stride == 1 and dim == out_dim
        self.expand = ConvNormAct(dim, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNormAct(hidden, hidden, kernel_size, stride, groups=hidden)
        self.project = ConvNormAct(hidden, out_dim, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_shortcut else y


class SeaBlock(nn.Module):
    """Squeeze-enhanced axial attention, and a feed-forward part with a depthwise 3x3.

    Args:
        dim: channels C.
        key_dim: channels of a query or key, for each head.
        num_heads: number of heads.
        mlp_ratio: width of the feed-forward part over C.
        drop_path_rate: probability with which an image loses a branch in training.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, key_dim: int, num_heads: int, mlp_ratio: int, drop_path_rate: float = 0.0):
        super().__init__()
        hidden = mlp_ratio * dim
        self.attn = SeaAttention(dim, key_dim, num_heads)
        self.mlp = nn.Sequential(
            ConvNormAct(dim, hidden, act=None),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            ReLU6(),
            ConvNormAct(hidden, dim, act=None),
        )
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.mlp(x))


class SeaStages(nn.Module):
    """The encoder: a stem, five stages of inverted residuals, attention behind the last ones.

    Args:
        stages: for each stage its inverted residuals: (kernel, expansion, channels, stride).
        depths: attention blocks behind each of the last ``len(depths)`` stages.
        key_dims: channels of a query or key there.
        mlp_ratios: feed-forward widths there.
        num_heads: number of heads.
        in_chans: channels of the input image.
        drop_path_rate: stochastic depth of the last block of each stage, growing linearly from 0 at its first.

    Shapes:
        (B, in_chans, H, W) -> five maps at strides 4, 8, 16, 32 and 64

    Raises:
        ValueError: ``depths``, ``key_dims`` and ``mlp_ratios`` of different lengths; a rate out of range.
    """

    def __init__(
        self,
        stages: tuple[tuple[tuple[int, int, int, int], ...], ...],
        depths: tuple[int, ...],
        key_dims: tuple[int, ...],
        mlp_ratios: tuple[int, ...],
        num_heads: int,
        in_chans: int,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        if not len(depths) == len(key_dims) == len(mlp_ratios):
            raise ValueError(
                "SeaFormer: depths, key_dims and mlp_ratios say something of the same stages and must be equally long; "
                f"got {depths}, {key_dims} and {mlp_ratios}"
            )
        dim = stages[0][0][2]
        self.stem = ConvNormAct(in_chans, dim, 3, 2)
        self.convolve, self.attend = nn.ModuleList(), nn.ModuleList()
        without = len(stages) - len(depths)
        for index, rows in enumerate(stages):
            blocks = nn.Sequential()
            for kernel_size, expansion, out_dim, stride in rows:
                blocks.append(InvertedResidual(dim, out_dim, kernel_size, stride, expansion))
                dim = out_dim
            self.convolve.append(blocks)
            attention = nn.Sequential()
            if (late := index - without) >= 0:
                (rates,) = drop_path_rates(drop_path_rate, (depths[late],))
                for rate in rates:
                    attention.append(SeaBlock(dim, key_dims[late], num_heads, mlp_ratios[late], rate))
            self.attend.append(attention)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, in_chans, H, W) -> five maps (B, C_i, H_i, W_i)."""
        x = self.stem(x)  # (B, C, H / 2, W / 2)
        maps = []
        for convolve, attend in zip(self.convolve, self.attend):
            x = attend(convolve(x))
            maps.append(x)
        return maps


class SeaFormer(Classifier):
    """The classifier.

    Args:
        stages: for each of five stages its inverted residuals: (kernel, expansion, channels, stride).
        num_heads: number of heads of the attention.
        depths: attention blocks behind each of the last ``len(depths)`` stages.
        key_dims: channels of a query or key there.
        mlp_ratios: feed-forward widths there.
        num_classes: number of logits; 0 gives the pooled features (B, num_features).
        in_chans: channels of the input image.
        drop_path_rate: stochastic depth of the last block of each stage, growing linearly from 0 at its first (0.1 in
            the official recipe).
        dropout: probability with which a pooled feature is dropped in training.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W. In training B must be greater than 1 for images of up to
        64 pixels, for the BatchNorm.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        stages: tuple[tuple[tuple[int, int, int, int], ...], ...],
        num_heads: int,
        depths: tuple[int, ...],
        key_dims: tuple[int, ...] = (16, 24),
        mlp_ratios: tuple[int, ...] = (2, 4),
        num_classes: int = 1000,
        in_chans: int = 3,
        *,
        drop_path_rate: float = 0.0,
        dropout: float = 0.0,
    ):
        check_positive("SeaFormer", num_heads=num_heads, depths=min(depths), key_dims=min(key_dims))
        super().__init__(in_chans, stages[-1][-1][2], dropout)
        self.encoder = SeaStages(stages, depths, key_dims, mlp_ratios, num_heads, in_chans, drop_path_rate)
        self.pyramid_channels = tuple(rows[-1][2] for rows in stages[:4])
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """The first four maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        return self.encoder(x)[:4]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 64, W / 64)."""
        self.check_input(x)
        return self.encoder(x)[-1]


class GateByCoarse(nn.Module):
    """A fine map, gated by a coarse one.

    Args:
        dim: channels of the fine map.
        coarse_dim: channels of the coarse map.
        out_dim: channels of the result.

    Shapes:
        fine (B, dim, H, W), coarse (B, coarse_dim, h, w) -> (B, out_dim, H, W)
    """

    def __init__(self, dim: int, coarse_dim: int, out_dim: int):
        super().__init__()
        self.local = ConvNormAct(dim, out_dim, act=None)
        self.gate = ConvNormAct(coarse_dim, out_dim, act=nn.Hardsigmoid)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(B, dim, H, W), (B, coarse_dim, h, w) -> (B, out_dim, H, W)."""
        return self.local(fine) * F.interpolate(self.gate(coarse), size=fine.shape[2:], mode="bilinear")


class SeaFormerSegmenter(Segmenter):
    """The encoder with the head for segmentation.

    Args:
        stages: for each of five stages its inverted residuals: (kernel, expansion, channels, stride).
        num_heads: number of heads of the attention.
        depths: attention blocks behind each of the last ``len(depths)`` stages.
        key_dims: channels of a query or key there.
        mlp_ratios: feed-forward widths there.
        head_dims: channels of the head behind each gate.
        num_classes: number of logits for each pixel; 0 gives the features (B, num_features, H / 8, W / 8).
        in_chans: channels of the input image.
        drop_path_rate: stochastic depth of the last block of each stage, growing linearly from 0 at its first.
        dropout: probability with which a channel of the features is dropped in training, all its pixels together (0.1
            in the official configuration).

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), any H and W. In training B must be greater than 1 for images of
        up to 64 pixels, for the BatchNorm.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        stages: tuple[tuple[tuple[int, int, int, int], ...], ...],
        num_heads: int,
        depths: tuple[int, ...],
        key_dims: tuple[int, ...] = (16, 24),
        mlp_ratios: tuple[int, ...] = (2, 4),
        head_dims: tuple[int, ...] = (64, 96),
        num_classes: int = 150,
        in_chans: int = 3,
        *,
        drop_path_rate: float = 0.0,
        dropout: float = 0.1,
    ):
        check_positive("SeaFormerSegmenter", num_heads=num_heads, depths=min(depths), key_dims=min(key_dims))
        super().__init__(in_chans, head_dims[-1], dropout=dropout)
        self.encoder = SeaStages(stages, depths, key_dims, mlp_ratios, num_heads, in_chans, drop_path_rate)
        channels = tuple(rows[-1][2] for rows in stages)
        self.pyramid_channels = channels[:4]
        fine = (channels[1], *head_dims)
        self.gates = nn.ModuleList(
            GateByCoarse(dim, coarse, out) for dim, coarse, out in zip(fine, channels[-len(depths) :], head_dims)
        )
        self.fuse = ConvNormAct(head_dims[-1], head_dims[-1], groups=head_dims[-1])
        self.reset_head(num_classes)
        self.apply(init_conv_weights)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """The first four maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        return self.encoder(x)[:4]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H / 8, W / 8)."""
        self.check_input(x)
        maps = self.encoder(x)
        y = maps[1]  # (B, C, H / 8, W / 8)
        for gate, coarse in zip(self.gates, maps[-len(self.gates) :]):
            y = gate(y, coarse)
        return self.fuse(y)

    def forward_head(self, x: Tensor) -> Tensor:
        """Classify each pixel: (B, num_features, H / 8, W / 8) -> (B, num_classes, H / 8, W / 8)."""
        return self.head(F.dropout2d(x, self.dropout, self.training))


def five_stages(dims: tuple[int, int, int, int, int], expansion: int) -> tuple:
    """The stages of T, S and B, which differ in their channels and in the expansion of the fourth."""
    a, b, c, d, e = dims
    return (
        ((3, 1, 16, 1), (3, 4, a, 2), (3, 3, a, 1)),
        ((5, 3, b, 2), (5, 3, b, 1)),
        ((3, 3, c, 2), (3, 3, c, 1)),
        ((5, expansion, d, 2),),
        ((3, 6, e, 2),),
    )


TINY = five_stages((16, 32, 64, 128, 160), 3)
SMALL = five_stages((24, 48, 96, 160, 192), 4)
BASE = five_stages((32, 64, 128, 192, 256), 4)
LARGE = (
    ((3, 3, 32, 1), (3, 4, 64, 2), (3, 4, 64, 1)),
    ((5, 4, 128, 2), (5, 4, 128, 1)),
    ((3, 4, 192, 2), (3, 4, 192, 1)),
    ((5, 4, 256, 2),),
    ((3, 6, 320, 2),),
)
VARIANTS = {
    "tiny": {"stages": TINY, "num_heads": 4, "depths": (2, 2)},
    "small": {"stages": SMALL, "num_heads": 6, "depths": (3, 3)},
    "base": {"stages": BASE, "num_heads": 8, "depths": (4, 4)},
    "large": {
        "stages": LARGE,
        "num_heads": 8,
        "depths": (3, 3, 3),
        "key_dims": (16, 20, 24),
        "mlp_ratios": (2, 4, 6),
    },
}
HEAD_DIMS = {"tiny": (64, 96), "small": (96, 128), "base": (128, 160), "large": (128, 160, 192)}
MODELS = {f"seaformer_{size}": partial(SeaFormer, **facts) for size, facts in VARIANTS.items()}
MODELS |= {
    f"seaformer_{size}_seg": partial(SeaFormerSegmenter, **facts, head_dims=HEAD_DIMS[size])
    for size, facts in VARIANTS.items()
}
REFERENCES = {
    name: ("recorded:seaformer_tiny",) if name == "seaformer_tiny" else (f"counted:{name}",) for name in MODELS
}
