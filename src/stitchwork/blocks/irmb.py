"""iRMB: an inverted residual block whose expanded features come from attention.

Paper: zhang2023rethinking, section 3. MobileNetV2's block expands the channels, mixes neighbours with a depthwise
convolution and projects back; a transformer's feed-forward network is the same without the convolution, and attention
is another way to mix. So one block for all: expand, mix far with attention, mix near with the convolution, project:

    n = norm(x),   A = softmax(q k^T / sqrt(d)) in groups of 7 x 7 pixels,   q, k = W n
    u = act(W_v (A n))                                 expanded to e C channels; with attn_pre=False A act(W_v n)
    y = x + W_p (u + silu(BN(dw5x5 u)))

Cost, with e = 4, k = 5: 2 C^2 + 2 e C^2 + e k^2 C + (3 e + 4) C parameters; for each pixel 2 C^2 + 2 e C^2 + e k^2 C
and, for the attention to 49 pixels, 98 C.
Growth: N^1

Where this differs: nothing in the result. The "windows" of the official code are none: it cuts each axis into 7 parts
and puts the n-th pixels of all parts together, so that a group is a grid of 49 pixels, ceil(H/7) and ceil(W/7) apart,
over the whole image. Below and right it pads the normalised image with zeros up to multiples of 7, and the padding
takes part in the softmax (with the projection's bias as its key); since that is the published network, both stay. The
default has the settings of the third stage of EMO-5M; the constructor of the official class has others (BatchNorm,
ReLU, e = 1, heads of 64 channels, no bias, a 3 x 3 kernel). With attn_pre, the normalised input is mixed before it is
expanded, which costs 1/e of mixing the values.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "zhang2023rethinking"
CHAPTER = "08_both_at_once"
EPS = 1e-6  # of all norms
ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel.

    Args:
        dim: channels C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int):
        super().__init__(dim, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of (B, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GridAttention(nn.Module):
    """The weights of an attention within grids of pixels, applied to any image of the same size.

    Args:
        dim: channels C of the input that makes queries and keys.
        dim_head: channels of each head of them.
        window_size: w; a grid has w x w pixels, spread over the whole image.
        qkv_bias: whether the projection has a bias.

    Shapes:
        (B, C, H, W), (B, D, H, W) -> (B, D, H, W), for D a multiple of the heads C / dim_head, H and W of w
    """

    def __init__(self, dim: int, dim_head: int, window_size: int, qkv_bias: bool):
        super().__init__()
        self.heads, self.window_size = dim // dim_head, window_size
        self.qk = nn.Conv2d(dim, 2 * dim, 1, bias=qkv_bias)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """Mix ``v`` (B, D, H, W) with the attention that ``x`` (B, C, H, W) makes."""
        w = self.window_size
        rows, columns = x.shape[2] // w, x.shape[3] // w  # the distance of a grid's pixels
        q, k = self.qk(x).chunk(2, 1)
        q, k, v = (self.grids(t, rows, columns) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v)  # (B * grids, heads, w^2, D / heads)
        y = y.reshape(-1, rows, columns, self.heads, w, w, y.shape[3])
        y = y.permute(0, 3, 6, 4, 1, 5, 2)  # (B, heads, D / heads, w, rows, w, columns)
        return y.reshape(y.shape[0], -1, w * rows, w * columns)

    def grids(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """(B, D, w * rows, w * columns) -> (B * rows * columns, heads, w^2, D / heads)."""
        w = self.window_size
        x = x.reshape(x.shape[0], self.heads, -1, w, rows, w, columns).permute(0, 4, 6, 1, 3, 5, 2)
        return x.reshape(-1, self.heads, w * w, x.shape[6])


class InvertedResidualMobileBlock(nn.Module):
    """Expand, mix far with attention and near with a convolution, project, add.

    Args:
        dim: channels C, a multiple of ``dim_head``.
        exp_ratio: e; there are int(e C) channels in between.
        norm_layer: ``"ln_2d"``, LayerNorm over the channels, or ``"bn_2d"``, BatchNorm.
        act_layer: activation of the expanded channels: ``"gelu"``, ``"relu"`` or ``"silu"``.
        dw_ks: side of the depthwise kernel; odd.
        dim_head: channels of a head of the queries and keys.
        window_size: w; a pixel attends to the w x w pixels of its grid.
        qkv_bias: whether the projections to q, k and v have a bias.
        attn_pre: mix the normalised input and expand it then; otherwise expand first.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; a number is not positive; ``dw_ks`` is even;
            ``dim`` is not a multiple of ``dim_head``, or what is mixed not one of the heads; an unknown layer.
    """

    def __init__(
        self,
        dim: int,
        exp_ratio: float = 4.0,
        norm_layer: str = "ln_2d",
        act_layer: str = "gelu",
        dw_ks: int = 5,
        dim_head: int = 32,
        window_size: int = 7,
        qkv_bias: bool = True,
        attn_pre: bool = True,
    ):
        super().__init__()
        owner = "InvertedResidualMobileBlock"
        check_positive(owner, dim=dim, exp_ratio=exp_ratio, dw_ks=dw_ks, dim_head=dim_head, window_size=window_size)
        if norm_layer not in ("ln_2d", "bn_2d"):
            raise ValueError(f"{owner}: norm_layer must be 'ln_2d' or 'bn_2d'; got {norm_layer!r}")
        if act_layer not in ACTIVATIONS:
            raise ValueError(f"{owner}: act_layer must be one of {', '.join(ACTIVATIONS)}; got {act_layer!r}")
        if dw_ks % 2 == 0:
            raise ValueError(f"{owner}: dw_ks must be odd to keep the size; got {dw_ks}")
        check_multiple(owner, dim, dim_head=dim_head)
        inner = int(dim * exp_ratio)
        if inner < 1 or (not attn_pre and inner % (dim // dim_head)):
            raise ValueError(
                f"{owner}: exp_ratio must be such that dim * exp_ratio is a multiple of the {dim // dim_head} heads; "
                f"got {exp_ratio} and dim {dim}"
            )
        self.dim, self.window_size, self.attn_pre = dim, window_size, attn_pre
        self.norm = ChannelNorm(dim) if norm_layer == "ln_2d" else nn.BatchNorm2d(dim, eps=EPS)
        self.attention = GridAttention(dim, dim_head, window_size, qkv_bias)
        self.expand = nn.Sequential(nn.Conv2d(dim, inner, 1, bias=qkv_bias), ACTIVATIONS[act_layer]())
        self.local = nn.Sequential(
            nn.Conv2d(inner, inner, dw_ks, padding=dw_ks // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner, eps=EPS),
            nn.SiLU(),
        )
        self.project = nn.Conv2d(inner, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add to (B, C, H, W) what attention and convolution make of it."""
        check_image(x, self.dim, "InvertedResidualMobileBlock")
        height, width = x.shape[2:]
        n = F.pad(self.norm(x), (0, -width % self.window_size, 0, -height % self.window_size))
        u = self.expand(self.attention(n, n)) if self.attn_pre else self.attention(n, self.expand(n))
        u = u[..., :height, :width]
        return x + self.project(u + self.local(u))


BLOCKS = {"irmb": InvertedResidualMobileBlock}
REFERENCES = {"irmb": ("recorded:irmb",)}
