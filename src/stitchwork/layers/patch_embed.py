"""An image as a sequence of patches."""

from collections.abc import Callable

from torch import Tensor, nn

from stitchwork.layers.windows import pad_to_windows


class PatchEmbed(nn.Conv2d):
    """Cut an image into patches that do not overlap, and map each linearly to a token.

    Paper: dosovitskiy2021image, eq. 1. A convolution whose stride is its kernel. An image that the patches do not fill
    is first filled up with zeros, below and to the right.

    Args:
        in_chans: channels of the image.
        dim: numbers of a token.
        patch_size: side p of a patch.
        norm: builds a normalisation of the tokens for ``dim``.

    Shapes:
        (B, in_chans, H, W) -> (B, h, w, dim) with h = ceil(H / p), w = ceil(W / p)
    """

    def __init__(self, in_chans: int, dim: int, patch_size: int, norm: Callable[[int], nn.Module] | None = None):
        super().__init__(in_chans, dim, patch_size, patch_size)
        self.norm = nn.Identity() if norm is None else norm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, h, w, dim)."""
        p = self.stride[0]
        return self.norm(super().forward(pad_to_windows(x, p, p)).permute(0, 2, 3, 1))  # (B, h, w, dim)
