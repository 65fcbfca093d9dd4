"""Blocks that timm and torchvision have too, as they have them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class TorchvisionDeformableConv(nn.Module):
    """torchvision's ``deform_conv2d`` with layers for the offsets and, in version 2, the factors."""

    def __init__(self, dim: int, modulated: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, dim, 3, 3) / (3 * dim**0.5))
        self.offset = nn.Conv2d(dim, 18, 3, padding=1)
        self.modulation = nn.Conv2d(dim, 9, 3, padding=1) if modulated else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        from torchvision.ops import deform_conv2d

        mask = None if self.modulation is None else self.modulation(x).sigmoid()
        return deform_conv2d(x, self.offset(x), self.weight, padding=1, mask=mask)


def aspp(dim: int) -> nn.Module:
    """torchvision's ``ASPP``."""
    from torchvision.models.segmentation.deeplabv3 import ASPP

    return ASPP(dim, (6, 12, 18), dim)


def eca(dim: int) -> nn.Module:
    """timm's ``EcaModule``."""
    from timm.layers import EcaModule

    return EcaModule(dim)


def se(dim: int) -> nn.Module:
    """timm's ``SEModule``."""
    from timm.layers import SEModule

    return SEModule(dim, rd_channels=max(1, dim // 16))


def selective_kernel(dim: int) -> nn.Module:
    """timm's ``SelectiveKernel``, which does not divide the channels among the branches."""
    from timm.layers import SelectiveKernel

    return SelectiveKernel(dim, groups=32, rd_channels=32, split_input=False)


def split_attention(dim: int) -> nn.Module:
    """timm's ``SplitAttn``."""
    from timm.layers import SplitAttn

    return SplitAttn(dim, norm_layer=nn.BatchNorm2d)


LIBRARIES: dict[str, tuple[str, Callable[[int], nn.Module]]] = {
    "aspp": ("torchvision", aspp),
    "deformable_conv": ("torchvision", lambda dim: TorchvisionDeformableConv(dim, modulated=True)),
    "deformable_conv_v1": ("torchvision", lambda dim: TorchvisionDeformableConv(dim, modulated=False)),
    "eca": ("timm", eca),
    "se": ("timm", se),
    "selective_kernel": ("timm", selective_kernel),
    "split_attention": ("timm", split_attention),
}
"""Block to the library and what builds its layer of the same cost for a number of channels."""
