"""Depthwise separable convolution: look around in each channel alone, then mix the channels in each pixel alone.

Paper: howard2017mobilenets, section 3.1 (the idea is from Sifre's thesis of 2014). A convolution does two things at
once: it looks at the k x k neighbourhood and it mixes channels. Done one after the other they cost

    C k^2 HW  (depthwise)  +  C C' HW  (pointwise)     instead of     C C' k^2 HW,

that is 1/C' + 1/k^2 of the multiply-adds (section 3.1): one eighth to one ninth for k = 3. Parameters, with the two
BatchNorms: C k^2 + C C' + 2 C + 2 C'.

Growth: N^1 with the number of pixels N = HW.

Where this differs: as in figure 3 of the paper, each of the two convolutions has its BatchNorm and its activation, and
no bias. Xception's separable convolution has nothing in between; copies often add biases that the BatchNorm cancels.
"""

from collections.abc import Callable

from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, ReLU, check_image, check_positive

PAPER = "howard2017mobilenets"
CHAPTER = "01_depthwise_separable_convolution"


class DepthwiseSeparableConv(nn.Module):
    """A depthwise k x k and a pointwise 1 x 1 convolution, each with BatchNorm and activation.

    Args:
        dim: channels C.
        out_dim: channels C' of the output; C if not given.
        kernel_size: k; odd.
        stride: of the depthwise convolution.
        act: builds the activation.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``kernel_size`` is even.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        act: Callable[[], nn.Module] = ReLU,
    ):
        super().__init__()
        out_dim = dim if out_dim is None else out_dim
        check_positive("DepthwiseSeparableConv", dim=dim, out_dim=out_dim, kernel_size=kernel_size, stride=stride)
        if kernel_size % 2 == 0:
            raise ValueError(f"DepthwiseSeparableConv: kernel_size must be odd to keep the size; got {kernel_size}")
        self.dim = dim
        self.depthwise = ConvNormAct(dim, dim, kernel_size, stride, groups=dim, act=act)
        self.pointwise = ConvNormAct(dim, out_dim, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        check_image(x, self.dim, "DepthwiseSeparableConv")
        x = self.depthwise(x)  # (B, C, H / stride, W / stride)
        return self.pointwise(x)  # (B, C', H / stride, W / stride)


BLOCKS = {"depthwise_separable_conv": DepthwiseSeparableConv}
REFERENCES = {"depthwise_separable_conv": ("recorded:depthwise_separable_conv",)}
