"""Patches that overlap."""

from torch import Tensor, nn


class OverlapPatchEmbed(nn.Conv2d):
    """A strided convolution whose kernel is larger than its stride, and a normalisation of the tokens.

    Paper: wang2022pvtv2, section 3.1. Neighbouring patches share pixels, so that an edge between two is seen.

    Args:
        in_chans: channels in.
        dim: numbers of a token.
        kernel_size: side of a patch.
        stride: distance of the patches.
        padding: zeros around the image; without it half the kernel, rounded down.

    Shapes:
        (B, in_chans, H, W) -> (B, h, w, dim), with the usual padding h = ceil(H / stride), w = ceil(W / stride)
    """

    def __init__(self, in_chans: int, dim: int, kernel_size: int, stride: int, padding: int | None = None):
        super().__init__(in_chans, dim, kernel_size, stride, kernel_size // 2 if padding is None else padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, h, w, dim)."""
        return self.norm(super().forward(x).permute(0, 2, 3, 1))
