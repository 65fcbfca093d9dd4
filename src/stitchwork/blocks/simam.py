"""SimAM: a pixel matters as far as it stands out from its channel; nothing is learnt.

Paper: yang2021simam, section 3. A neuron that is unlike its neighbours is taken to carry information. How well a
linear function could separate pixel t of a channel from the others has a closed form, an energy that is low where the
pixel is distinct; its inverse goes through a sigmoid:

    1 / e_t = (x_t - mu)^2 / (4 (sigma^2 + lambda)) + 1/2,    mu, sigma^2: mean and variance of the channel     eq. 5
    y       = sigmoid(1 / e) x                                                                                  eq. 6

The gate is sigmoid(1/2) = 0.62 for a pixel at its channel's mean, and nears 1 the further the pixel is from it, to
either side. But for lambda it does not see the scale of x.

Cost: no parameters and no multiply-adds as they are usually counted; some eight operations on each of the BCHW numbers.

Growth: N^1, on a CPU more steeply where its maps outgrow the cache of a core

Where this differs: the paper's sigma^2 divides by the number of pixels, HW; the official code divides by HW - 1, and so
does this. At a single pixel that is 0 / 0 in the official code and in its copies, and the output is NaN. Here the
variance of one pixel is 0 and its gate is sigmoid(1/2).
"""

from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive

PAPER = "yang2021simam"
CHAPTER = "04_where_as_well_as_what"


class SimAM(nn.Module):
    """Gate for every pixel of every channel, from its distance to the channel's mean.

    Args:
        dim: channels C; only checked, for nothing depends on it.
        e_lambda: lambda, which keeps the division sound where a channel is constant.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` or ``e_lambda`` is not positive.
    """

    def __init__(self, dim: int, e_lambda: float = 1e-4):
        super().__init__()
        check_positive("SimAM", dim=dim, e_lambda=e_lambda)
        self.dim, self.e_lambda = dim, e_lambda
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Scale every number of (B, C, H, W) by a gate of its own."""
        check_image(x, self.dim, "SimAM")
        others = max(x.shape[2] * x.shape[3] - 1, 1)
        distance = (x - x.mean((2, 3), keepdim=True)).square()  # (B, C, H, W)
        variance = distance.sum((2, 3), keepdim=True) / others  # (B, C, 1, 1)
        # One factor for each channel, so that the image is multiplied and not divided.
        logits = distance * (0.25 / (variance + self.e_lambda))
        logits += 0.5
        return x * self.gate(logits)


BLOCKS = {"simam": SimAM}
REFERENCES = {"simam": ("recorded:simam",)}
