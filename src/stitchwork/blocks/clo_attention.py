"""CloFormer's attention: some heads are a gated convolution, the others attend to a coarse image.

Paper: fan2023rethinking, section 3. The heads are divided. The high-frequency ones look near: q, k, v pass a depthwise
convolution, and what a convolution would weigh with fixed numbers is weighed with a number for each pixel and channel,
which comes from q k of that pixel, with a second nonlinearity (swish, then tanh) in the place of the softmax. The
low-frequency ones look far: they attend to the averages of w x w pixels.

    high:  q, k, v = dw5x5(W x);   y = tanh(W2 silu(W1 (q * k)) / sqrt(d)) * v
    low:   y = softmax(q K^T / sqrt(d)) V,   K, V = W mean over w x w of x
    out = W_o [y_high; y_low]

Cost, with half of the heads high and k = 5: 9 C^2/2 + 3 k^2 C/2 + 13 C/2 parameters; for each of the N pixels 2 C^2 +
3 k^2 C/2 of the high half, C^2/2 + C^2/w^2 + C N/w^2 of the low one, and C^2 of the last projection.
Growth: N^2

Where this differs: the official code crashes where w does not divide height and width; here the last averages are of
the pixels that there are. It builds the configuration of each stage from outside: the defaults here are those of the
second stage of CloFormer-XXS, with w = 2. It leaves the initial weights to PyTorch, under which every convolution
shrinks the signal by sqrt(3) and the whole module by more than ten; here each keeps its size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "fan2023rethinking"
CHAPTER = "08_both_at_once"


class HighFrequency(nn.Module):
    """Values of a depthwise convolution, scaled by a context-aware weight for each pixel and channel.

    Args:
        dim: channels C of the input.
        heads: heads of this branch, h.
        head_dim: channels d of each.
        kernel_size: k of the depthwise convolution; odd.
        qkv_bias: whether the projection has a bias.

    Shapes:
        (B, C, H, W) -> (B, h * d, H, W)
    """

    def __init__(self, dim: int, heads: int, head_dim: int, kernel_size: int, qkv_bias: bool = True):
        super().__init__()
        inner = heads * head_dim
        self.scale = head_dim**-0.5
        self.qkv = nn.Conv2d(dim, 3 * inner, 1, bias=qkv_bias)
        self.local = nn.Conv2d(3 * inner, 3 * inner, kernel_size, padding=kernel_size // 2, groups=3 * inner)
        self.mix = nn.Sequential(nn.Conv2d(inner, inner, 1), nn.SiLU(), nn.Conv2d(inner, inner, 1))
        self.gate = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the values of (B, C, H, W) by a gate (B, h * d, H, W) between -1 and 1."""
        q, k, v = self.local(self.qkv(x)).chunk(3, 1)
        return self.gate(self.mix(q * k) * self.scale) * v


class LowFrequency(nn.Module):
    """Attention of all pixels to the averages of windows.

    Args:
        dim: channels C of the input.
        heads: heads of this branch, h.
        head_dim: channels d of each.
        window_size: w, side of the windows.
        qkv_bias: whether the projections have a bias.

    Shapes:
        (B, C, H, W) -> (B, h * d, H, W)
    """

    def __init__(self, dim: int, heads: int, head_dim: int, window_size: int, qkv_bias: bool = True):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.q = nn.Conv2d(dim, heads * head_dim, 1, bias=qkv_bias)
        self.kv = nn.Conv2d(dim, 2 * heads * head_dim, 1, bias=qkv_bias)
        self.pool = nn.AvgPool2d(window_size, ceil_mode=True)  # an incomplete window is averaged over what it has

    def forward(self, x: Tensor) -> Tensor:
        """Attend from (B, C, H, W) to its averages (B, C, ceil(H / w), ceil(W / w))."""
        q = self.q(x).flatten(2).unflatten(1, (self.heads, self.head_dim))  # (B, h, d, HW)
        kv = self.kv(self.pool(x)).flatten(2)
        k, v = kv.unflatten(1, (2, self.heads, self.head_dim)).unbind(1)  # (B, h, d, HW / w^2) each
        # The fused attention is six times as fast where the channels of a pixel lie side by side.
        q, k, v = (t.transpose(2, 3).contiguous() for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v)  # (B, h, HW, d)
        return y.transpose(2, 3).reshape(-1, self.heads * self.head_dim, *x.shape[2:])


class CloAttention(nn.Module):
    """Heads that look near, beside heads that look far.

    Args:
        dim: channels C, a multiple of ``num_heads``.
        num_heads: heads of all branches together.
        group_split: heads of each high-frequency branch, and, last, of the low-frequency one; a zero leaves it out.
        kernel_sizes: depthwise kernel of each high-frequency branch; odd.
        window_size: w, side of the windows that the low-frequency branch averages.
        qkv_bias: whether the projections have a bias.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; a number is not positive; the heads of ``group_split``
            are not ``num_heads``, or the branches not one more than ``kernel_sizes``; a kernel is even; ``dim`` is not
            a multiple of ``num_heads``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 4,
        group_split: Sequence[int] = (2, 2),
        kernel_sizes: Sequence[int] = (5,),
        window_size: int = 2,
        qkv_bias: bool = True,
    ):
        super().__init__()
        check_positive("CloAttention", dim=dim, num_heads=num_heads, window_size=window_size)
        if min(group_split) < 0 or sum(group_split) != num_heads or len(group_split) != len(kernel_sizes) + 1:
            raise ValueError(
                f"CloAttention: group_split must be num_heads = {num_heads} in {len(kernel_sizes) + 1} parts, one for "
                f"each of the kernel_sizes and one for the low frequencies; got {tuple(group_split)}"
            )
        if any(k <= 0 or k % 2 == 0 for k in kernel_sizes):
            raise ValueError(f"CloAttention: kernel_sizes must be odd to keep the size; got {tuple(kernel_sizes)}")
        check_multiple("CloAttention", dim, num_heads=num_heads)
        self.dim = dim
        head_dim = dim // num_heads
        branches: list[nn.Module] = [
            HighFrequency(dim, heads, head_dim, kernel_size, qkv_bias)
            for heads, kernel_size in zip(group_split, kernel_sizes)
            if heads
        ]
        if group_split[-1]:
            branches.append(LowFrequency(dim, group_split[-1], head_dim, window_size, qkv_bias))
        self.branches = nn.ModuleList(branches)
        self.proj = nn.Conv2d(dim, dim, 1, bias=qkv_bias)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")  # as large out as in

    def forward(self, x: Tensor) -> Tensor:
        """Mix (B, C, H, W) near and far."""
        check_image(x, self.dim, "CloAttention")
        return self.proj(torch.cat([branch(x) for branch in self.branches], 1))


BLOCKS = {"clo_attention": CloAttention}
REFERENCES = {"clo_attention": ("recorded:clo_attention",)}
