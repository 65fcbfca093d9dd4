"""Dilated convolution: pull the taps of a kernel apart, and the field grows while the weights stay.

Paper: yu2016multiscale, section 2 (the operation is older: the algorithme à trous of wavelet analysis). A kernel whose
taps are d pixels apart sees further for the same price; a stack whose dilations double sees exponentially far:

    y(p) = sum over k of w_k x(p + d k)                       eq. 2
    field of one layer: d (k - 1) + 1;   of dilations 1, 2, 4, ..., 2^(n-1) with k = 3: 2^(n+1) - 1

The context module of section 3 is such a stack, to be put behind a network for dense prediction: seven 3 x 3
convolutions with ReLU, dilated 1, 1, 2, 4, 8, 16, 1, and a linear 1 x 1 convolution (table 1). It starts as the
identity, so that what it is put behind is not disturbed: section 3 reports that random weights did not train.

Cost: k^2 C^2 + C parameters and k^2 C^2 HW multiply-adds, whatever the dilation; the context module 64 C^2 + 8 C and
64 C^2 HW.
Growth: N^1

Where this differs: nothing in the result of the convolution. Taps two apart never see the pixels between them: stack
layers with one dilation greater than 1, and the output pixels fall into d^2 interleaved images that know nothing of one
another (gridding). The context module's later layers, which go back to dilation 1, mend that. The paper pads the image
once with its reflection; here every layer pads with zeros, so that any size keeps its size. What some collections give
under this name is ASPP, which is another module.
"""

from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "yu2016multiscale"
CHAPTER = "09_kernels_that_look_elsewhere"


class DilatedConv(nn.Module):
    """A convolution whose taps are ``dilation`` pixels apart.

    Args:
        dim: channels C.
        kernel_size: k, taps in a row; odd.
        dilation: d, distance of the taps.
        bias: a bias for each channel.

    Shapes:
        (B, C, H, W) -> (B, C, H, W); outside the image there are zeros.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive; ``kernel_size`` is even.
    """

    def __init__(self, dim: int, kernel_size: int = 3, dilation: int = 2, bias: bool = True):
        super().__init__()
        check_positive("DilatedConv", dim=dim, kernel_size=kernel_size, dilation=dilation)
        if kernel_size % 2 == 0:
            raise ValueError(f"DilatedConv: kernel_size must be odd to keep the size; got {kernel_size}")
        self.dim = dim
        padding = dilation * (kernel_size // 2)  # half the field, not half the kernel
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=padding, dilation=dilation, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        check_image(x, self.dim, "DilatedConv")
        return self.conv(x)


class ContextModule(nn.Module):
    """3 x 3 convolutions of growing dilation with ReLU, then a linear 1 x 1 convolution; the identity at first.

    Args:
        dim: channels C.
        dilations: of the 3 x 3 convolutions, in order.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or a dilation is not positive.
    """

    def __init__(self, dim: int, dilations: tuple[int, ...] = (1, 1, 2, 4, 8, 16, 1)):
        super().__init__()
        check_positive("ContextModule", dim=dim, dilations=min(dilations))
        self.dim = dim
        layers = []
        for dilation in dilations:
            layers += [nn.Conv2d(dim, dim, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(dim, dim, 1))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        check_image(x, self.dim, "ContextModule")
        return self.layers(x)


BLOCKS = {"dilated_conv": DilatedConv, "context_module": ContextModule}
REFERENCES = {
    "dilated_conv": ("recorded:dilated_conv",),
    "context_module": ("recorded:dilated_conv.context_module",),
}
