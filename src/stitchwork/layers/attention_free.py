"""What the three forms of the attention free transformer share."""

import math

import torch
from torch import Tensor, nn

from stitchwork.layers.checks import check_image, check_positive, check_size


class AttentionFree(nn.Module):
    """A gated mean of the values, in every channel by itself; each form says with :meth:`gather` who counts where.

        y_t = sigmoid(Q_t) * (sum over s of e^{K_s + w_ts} V_s) / (sum over s of e^{K_s + w_ts})

    The exponentials are safe. A factor of all e^{K_s} in a channel, or of all e^{w_ts} at a pixel t, is lost in the
    quotient, so each form divides by the largest or by the sum. And so that no sum is 0 where the keys want one pixel
    and w wants another, every pixel counts everywhere by 1e-18 at least: nothing beside 1 in any precision, and if
    keys and w contradict each other by more than some 25, the keys decide.

    Args:
        dim: channels C.
        project: a 1x1 convolution behind the product with the gate.
        size: (H, W) of the images, if w depends on it.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C, or of another size than ``size``; ``dim`` or ``size`` is
            not positive.
    """

    def __init__(self, dim: int, project: bool = False, size: tuple[int, int] | None = None):
        super().__init__()
        check_positive(type(self).__name__, dim=dim, **({"size": min(size)} if size else {}))
        self.dim = dim
        self.size = size and tuple(size)
        self.query = nn.Conv2d(dim, dim, 1)
        self.key = nn.Conv2d(dim, dim, 1)
        self.value = nn.Conv2d(dim, dim, 1)
        self.softmax = nn.Softmax(2)
        self.gate = nn.Sigmoid()
        self.project = nn.Conv2d(dim, dim, 1) if project else nn.Identity()
        # Smaller keys would let all pixels count alike, and the mean of them all comes to nothing.
        for layer in (self.query, self.key, self.value):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / dim))
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Gate the weighted mean of the values of (B, C, H, W)."""
        check_image(x, self.dim, type(self).__name__)
        if self.size:
            check_size(x, self.size, type(self).__name__)
        weight = self.softmax(self.key(x).flatten(2)).reshape(x.shape)  # (B, C, H, W)
        return self.project(self.gate(self.query(x)) * self.mean(weight, self.value(x)))

    def mean(self, weight: Tensor, value: Tensor) -> Tensor:
        """The quotient of the two sums, from e^K up to a factor and V, both (B, C, H, W): the same shape."""
        both = torch.cat([weight * value, weight], 1)  # (B, 2 C, H, W)
        numerator, denominator = (self.gather(both) + 1e-18 * both.sum((2, 3), keepdim=True)).chunk(2, 1)
        return numerator / denominator

    def gather(self, x: Tensor) -> Tensor:
        """Sum over s of e^{w_ts} x_s for every pixel t, up to a factor of t alone: (B, 2 C, H, W) -> the same."""
        raise NotImplementedError
