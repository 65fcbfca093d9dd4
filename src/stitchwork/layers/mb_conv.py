"""MBConv, the inverted residual of MobileNetV2 with a squeeze-and-excitation gate: what EfficientNets are made of."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from stitchwork.layers.conv_norm_act import ConvNormAct
from stitchwork.layers.drop_path import DropPath
from stitchwork.layers.squeeze_excite import SqueezeExcite

SiLU = partial(nn.SiLU, inplace=True)


class MBConv(nn.Module):
    """Expand by 1x1, depthwise, gate, project linearly by 1x1; with a shortcut where the shape stays.

    Paper: tan2019mnasnet, after sandler2018mobilenetv2; in the form of tan2019efficientnet, with SiLU activations.

        z = silu(BN dw(silu(BN W_expand x)));    y = x + drop_path(BN W_project (z * SE(z)))

    The gate's bottleneck has a quarter of the block's *input* channels, not of the expanded ones.

    Args:
        dim: channels C.
        out_dim: channels C'.
        kernel_size: of the depthwise convolution.
        stride: of the depthwise convolution.
        expansion: t; with 1 the expanding convolution is left out.
        drop_path: probability with which an image's branch is left out in training.
        norm: builds the normalisation for a number of channels.
        same_padding: pad as TensorFlow does.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        kernel_size: int = 3,
        stride: int = 1,
        expansion: int = 6,
        drop_path: float = 0.0,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        same_padding: bool = False,
    ):
        super().__init__()
        hidden = dim * expansion
        self.has_shortcut = stride == 1 and dim == out_dim
        self.expand = ConvNormAct(dim, hidden, act=SiLU, norm=norm) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNormAct(
            hidden, hidden, kernel_size, stride, groups=hidden, act=SiLU, norm=norm, same_padding=same_padding
        )
        self.se = SqueezeExcite(hidden, max(1, dim // 4), act=SiLU, inplace=True)
        self.project = ConvNormAct(hidden, out_dim, act=None, norm=norm)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        y = self.expand(x)  # (B, tC, H, W)
        y = self.depthwise(y)  # (B, tC, H / stride, W / stride)
        y = self.project(self.se(y))  # (B, C', H / stride, W / stride)
        if self.has_shortcut:
            y = self.drop_path(y)
            y += x
        return y
