"""Weighted Permute-MLP: one linear layer along the height, one along the width, one along the channels.

Paper: hou2022vip, section 3. A linear layer over all pixels and channels at once would be huge, and one over all
pixels forgets the two axes. Here the channels are cut into g segments of S = C/g, and a layer mixes the H pixels of
a column and the S channels of a segment, the same layer for every column and segment; another one does so along the
rows; a third mixes the C channels of a pixel. The three are weighed channel by channel:

    h[:, w, segment] = W_h x[:, w, segment]      H S -> H S
    w[h, :, segment] = W_w x[h, :, segment]      W S -> W S
    c[h, w, :]       = W_c x[h, w, :]            C -> C
    a = softmax over (h, w, c) of MLP(mean over the pixels of h + w + c)        C -> C/4 -> 3 C
    y = W_p (a_h * h + a_w * w + a_c * c) + b_p

Cost: (H S)^2 + (W S)^2 + 3 C^2 + 17 C/4 parameters; H S + W S + 2 C multiply-adds for every one of the BCHW numbers,
and C^2 for the small MLP.

Growth: N^1.5

That is the growth once H and W exceed C; up to there H S and W S are about C, and it is linear.

Where this differs: in the paper each axis has as many segments as pixels, so that H S = W S = C. The official code
has one number ``segment_dim`` for both axes and layers of width C, which works for H = W = segment_dim only. What it
does there is what happens here, at any size: the layers are H S and W S wide, and without ``segment_dim`` each axis
has as many segments as it has pixels, or if that does not divide C, the largest number below that does. The
parameters depend on the size, so that ``size`` must be given and other sizes are refused. Copies put a dropout of
0.1 into the small MLP and order its output (c, w, h), with which published weights do not fit.
"""

from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive, check_size

PAPER = "hou2022vip"
CHAPTER = "07_attention_without_the_matrix"


def largest_divisor(dim: int, limit: int) -> int:
    """The largest divisor of ``dim`` that is at most ``limit``."""
    return max(n for n in range(1, min(dim, limit) + 1) if dim % n == 0)


class WeightedPermuteMLP(nn.Module):
    """Linear layers along the three axes, and a choice among them.

    Args:
        dim: channels C.
        size: (H, W) of the images, on which the parameters depend.
        segment_dim: g, the number of segments for both axes; divides C. Without it each axis has the largest divisor
            of C that is at most its length.
        qkv_bias: biases in the three layers.

    Shapes:
        (B, C, H, W) -> (B, C, H, W), for the given H and W only.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C, H and W; an argument is not positive; ``segment_dim``
            does not divide ``dim``.
    """

    def __init__(self, dim: int, size: tuple[int, int], segment_dim: int | None = None, qkv_bias: bool = False):
        super().__init__()
        check_positive("WeightedPermuteMLP", dim=dim, size=min(size))
        if segment_dim is not None:
            check_positive("WeightedPermuteMLP", segment_dim=segment_dim)
            check_multiple("WeightedPermuteMLP", dim, segment_dim=segment_dim)
        height, width = self.size = tuple(size)
        self.dim = dim
        # Channels in a segment, along the height and along the width.
        self.segment_h = dim // (segment_dim or largest_divisor(dim, height))
        self.segment_w = dim // (segment_dim or largest_divisor(dim, width))
        self.mlp_h = nn.Linear(height * self.segment_h, height * self.segment_h, bias=qkv_bias)
        self.mlp_w = nn.Linear(width * self.segment_w, width * self.segment_w, bias=qkv_bias)
        self.mlp_c = nn.Conv2d(dim, dim, 1, bias=qkv_bias)
        hidden = max(1, dim // 4)
        self.reweight = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, 3 * dim), nn.Unflatten(1, (dim, 3))
        )
        self.softmax = nn.Softmax(2)
        self.project = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the columns, the rows and the channels of (B, C, H, W)."""
        check_image(x, self.dim, "WeightedPermuteMLP")
        check_size(x, self.size, "WeightedPermuteMLP")
        height, width = self.size

        h = x.unflatten(1, (-1, self.segment_h))  # (B, g, S, H, W)
        h = self.mlp_h(h.permute(0, 1, 4, 3, 2).flatten(3))  # (B, g, W, H S)
        h = h.unflatten(3, (height, -1)).permute(0, 1, 4, 3, 2).reshape(x.shape)

        w = x.unflatten(1, (-1, self.segment_w))  # (B, g, S, H, W)
        w = self.mlp_w(w.permute(0, 1, 3, 4, 2).flatten(3))  # (B, g, H, W S)
        w = w.unflatten(3, (width, -1)).permute(0, 1, 4, 2, 3).reshape(x.shape)

        c = self.mlp_c(x)
        a = self.softmax(self.reweight((h + w + c).mean((2, 3))))[..., None, None]  # (B, C, 3, 1, 1)
        return self.project(a[:, :, 0] * h + a[:, :, 1] * w + a[:, :, 2] * c)


BLOCKS = {"weighted_permute_mlp": WeightedPermuteMLP}
REFERENCES = {"weighted_permute_mlp": ("recorded:weighted_permute_mlp",)}
