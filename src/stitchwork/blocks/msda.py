"""Multi-scale dilated attention: each head attends to a 3x3 of its own spacing.

Paper: jiao2023dilateformer, section 3.1. In the shallow layers of a vision transformer the attention maps are local and
sparse, so most of the N x N logits are wasted. MSDA keeps k^2 of them for each pixel, on a grid whose spacing r
differs from one group of heads to the next, so that one layer sees several scales:

    y_i(p) = sum over t in {-1, 0, 1}^2 of softmax_t(q_i(p) · k_i(p + r_i t) / √d) v_i(p + r_i t)     eq. 2-4
    y      = W_o [y_1; ...; y_n]

Cost: 4 C^2 + C parameters; (4 C^2 + 2 k^2 C) HW multiply-adds.
Growth: N^1

Where this differs: nothing in the result. As in the official code, keys outside the image are zeros that take part in
the softmax: at the border they draw weight away, with a logit of 0 and a value of 0. The official forward pass writes
its results into a view of its input, so that the caller's tensor is overwritten and a residual connection around it
fails in the backward pass; here nothing is overwritten. Its default of 8 heads cannot be split into its three
dilations; the default here is the 3 heads of the first stage of DilateFormer-Tiny, with 24 channels each at 72. A
popular copy drops one dilation, so that 8 heads and powers of two fit (``num_heads=8, dilation=(1, 3)``). The official
code unfolds keys and values, nine copies of each; here nine shifted views of one padded copy do.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "jiao2023dilateformer"
CHAPTER = "06_everyone_to_everyone"
DIM = 72  # three dilations share the channels


class MultiScaleDilatedAttention(nn.Module):
    """Attention to k x k neighbours, at another spacing in each group of heads.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: number of heads; a multiple of the number of dilations.
        kernel_size: k; odd.
        dilation: the spacings r_i, one for each group of heads.
        qkv_bias: a bias in the projection to queries, keys and values.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` is no multiple of ``num_heads``, or that none of
            the number of dilations; ``kernel_size`` is even; an argument is not positive.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 3,
        kernel_size: int = 3,
        dilation: Sequence[int] = (1, 2, 3),
        qkv_bias: bool = False,
    ):
        super().__init__()
        name = "MultiScaleDilatedAttention"
        check_positive(name, dim=dim, num_heads=num_heads, kernel_size=kernel_size)
        check_multiple(name, dim, num_heads=num_heads)
        if kernel_size % 2 == 0:
            raise ValueError(f"{name}: kernel_size must be odd to have a centre; got {kernel_size}")
        if not dilation or min(dilation) < 1 or num_heads % len(dilation):
            raise ValueError(
                f"{name}: dilation must be positive numbers, as many as divide num_heads={num_heads}; got {dilation}"
            )
        self.dim, self.num_heads, self.kernel_size, self.dilation = dim, num_heads, kernel_size, tuple(dilation)
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=qkv_bias)
        self.softmax = nn.Softmax(dim=2)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from every pixel of (B, C, H, W) to its neighbours."""
        check_image(x, self.dim, "MultiScaleDilatedAttention")
        groups = len(self.dilation)
        qkv = self.qkv(x).unflatten(1, (3, groups, self.num_heads // groups, -1))  # (B, 3, groups, heads, d, H, W)
        y = [self._attend(*qkv[:, :, i].unbind(1), r) for i, r in enumerate(self.dilation)]  # (B, C/groups, H, W) each
        return self.proj(torch.cat(y, 1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, dilation: int) -> Tensor:
        """Attention of one group of heads: (B, heads, d, H, W) three times -> (B, heads · d, H, W)."""
        height, width = q.shape[3:]
        margin = dilation * (self.kernel_size // 2)
        q, k, v = q * q.shape[2] ** -0.5, F.pad(k, [margin] * 4), F.pad(v, [margin] * 4)
        steps = range(0, 2 * margin + 1, dilation)
        shifted = [(..., slice(i, i + height), slice(j, j + width)) for i in steps for j in steps]
        logits = torch.stack([(q * k[at]).sum(2) for at in shifted], 2)  # (B, heads, k², H, W)
        weights = self.softmax(logits).unsqueeze(3)  # (B, heads, k², 1, H, W)
        y = weights[:, :, 0] * v[shifted[0]]  # (B, heads, d, H, W)
        for tap in range(1, len(shifted)):
            y = torch.addcmul(y, weights[:, :, tap], v[shifted[tap]])
        return y.flatten(1, 2)


BLOCKS = {"msda": MultiScaleDilatedAttention}
REFERENCES = {"msda": ("recorded:msda", "recorded:msda.two_dilations")}
