"""GAM: CBAM without any pooling.

Paper: liu2021gam, section 3. CBAM decides on a channel from two numbers and on a pixel from two numbers. GAM keeps
everything: every pixel decides on its own channels, and the spatial gate is computed from all channels, one gate for
each of them:

    M_c = sigmoid(MLP(x)) at every pixel,                                      MLP: C -> C/r -> C
    x'  = M_c x
    M_s = sigmoid(BN(conv_7x7(relu(BN(conv_7x7(x'))))))                        C -> C/r -> C
    y   = M_s x'

What it costs is the two dense 7 x 7 convolutions, 49 times the multilayer perceptron.

Cost: 100 C^2/r + 4 C/r + 4 C parameters (102,720 at 64 channels, where Squeeze-and-Excitation has 580); 100 C^2/r
multiply-adds for each pixel, and 2 BCHW for the scaling.

Growth: N^1

Where this differs: no official code was published; this is the paper's figures 2 and 3, with biases and BatchNorm as
the public versions have them (the convolutions' biases are subtracted again by the BatchNorm, so that training never
moves them). Many copies forget the sigmoid of the channel gate and multiply by the bare output of the perceptron. For
its ResNet-50 the paper uses group convolutions with a channel shuffle, without saying where they go; figure 3 and this
module have neither.
"""

from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "liu2021gam"
CHAPTER = "04_where_as_well_as_what"


class GlobalAttention(nn.Module):
    """A channel gate for every pixel, then a spatial gate for every channel.

    Args:
        dim: channels C.
        rate: r; both bottlenecks have max(1, C // r) channels.
        kernel_size: side of the two spatial convolutions; odd.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim``, ``rate`` or ``kernel_size`` is not positive;
            ``kernel_size`` is even.
    """

    def __init__(self, dim: int, rate: int = 4, kernel_size: int = 7):
        super().__init__()
        check_positive("GlobalAttention", dim=dim, rate=rate, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"GlobalAttention: kernel_size must be odd to keep the size; got {kernel_size}")
        hidden, padding = max(1, dim // rate), kernel_size // 2
        self.dim = dim
        # A linear layer at every pixel is a 1x1 convolution.
        self.channel = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, dim, 1))
        self.channel_gate = nn.Sigmoid()
        self.spatial = nn.Sequential(
            nn.Conv2d(dim, hidden, kernel_size, padding=padding),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, dim, kernel_size, padding=padding),
            nn.BatchNorm2d(dim),
        )
        self.spatial_gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Gate (B, C, H, W) by channel, then by place."""
        check_image(x, self.dim, "GlobalAttention")
        x = x * self.channel_gate(self.channel(x))
        return x * self.spatial_gate(self.spatial(x))


BLOCKS = {"gam": GlobalAttention}
REFERENCES = {"gam": ("recorded:gam",)}
