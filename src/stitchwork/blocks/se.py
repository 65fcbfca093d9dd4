"""Squeeze-and-Excitation: let a summary of the whole image decide how loud each channel is.

Paper: hu2018squeeze, section 3. A convolution mixes channels with the same weights for every image. SE averages
each channel over all pixels (squeeze), passes the C averages through a small bottleneck (excitation), and scales the
channels by the result:

    z_c = mean of x_c over its pixels                   eq. 2
    s   = sigmoid(W2 relu(W1 z))                        eq. 3,  W1: C/r x C,  W2: C x C/r
    y_c = s_c x_c                                       eq. 4

Cost: 2 C^2/r + C/r + C parameters, 2 C^2/r multiply-adds for the gate and BCHW for the scaling.

Growth: N^1 with the number of pixels N = HW.

Where this differs: the paper writes eq. 3 without biases; the official Caffe networks have them, and so has the
default here (``bias=False`` gives the equation). Many copies leave the biases out.
"""

from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "hu2018squeeze"
CHAPTER = "02_se_cbam_coordatt"


class SqueezeExcitation(nn.Module):
    """Channel gate computed from the mean of every channel.

    Args:
        dim: channels C.
        reduction: r, how much narrower the bottleneck is; it has max(1, C // r) units.
        bias: biases in the two layers of the bottleneck.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``reduction`` is not positive.
    """

    def __init__(self, dim: int, reduction: int = 16, bias: bool = True):
        super().__init__()
        check_positive("SqueezeExcitation", dim=dim, reduction=reduction)
        hidden = max(1, dim // reduction)
        self.dim = dim
        self.squeeze = nn.Conv2d(dim, hidden, 1, bias=bias)
        self.act = nn.ReLU()
        self.excite = nn.Conv2d(hidden, dim, 1, bias=bias)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W) by a gate (B, C, 1, 1)."""
        check_image(x, self.dim, "SqueezeExcitation")
        z = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        s = self.gate(self.excite(self.act(self.squeeze(z))))  # (B, C, 1, 1)
        return x * s


BLOCKS = {"se": SqueezeExcitation}
REFERENCES = {"se": ("recorded:se", "timm:layers.SEModule")}
