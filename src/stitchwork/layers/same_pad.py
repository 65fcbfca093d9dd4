"""TensorFlow's padding, for weights that were trained with it."""

import torch.nn.functional as F
from torch import Tensor, nn


class SamePad2d(nn.Module):
    """The zeros that TensorFlow's ``padding="same"`` puts around an image before a strided convolution.

    It pads just as much as ceil(H / stride) positions of the kernel need; where that is an odd number, the larger half
    is at the bottom and right. So an image of even size gets one row less at the top than PyTorch's symmetric padding
    gives it, and the kernel looks one pixel further down and right: weights lose accuracy under the other padding. At
    stride 1 an odd kernel sees no difference.

    Args:
        kernel_size: side of the kernel that follows, whose convolution itself must not pad.
        stride: step of that kernel.

    Shapes:
        (B, C, H, W) -> (B, C, H + p, W + q), of which the convolution makes ceil(H / stride) x ceil(W / stride)
    """

    def __init__(self, kernel_size: int, stride: int):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H + p, W + q)."""
        sides = []
        for size in (x.shape[3], x.shape[2]):
            total = max(self.kernel_size - (size % self.stride or self.stride), 0)
            sides += [total // 2, total - total // 2]
        return F.pad(x, sides)
