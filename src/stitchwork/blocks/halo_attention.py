"""Halo attention: cut the image into blocks, and let each block look a little beyond its border.

Paper: vaswani2021halonet, section 2.2. Attention over k x k surroundings is the natural rival of a k x k convolution,
but every pixel has its own surroundings, and gathering them all copies the image k^2 times. HaloNet lets the b^2 pixels
of a block share one window, the block and a halo of h pixels around it, so that only (b + 2h)^2 / b^2 copies are made:

    q = W_q x,  k = W_k x,  v = W_v x
    y_i = W_o sum over j in window(i) of softmax_j(q_i · (k_j + r_{j-i}) / √d) v_j      eq. 2
    r_(dy, dx) = [table of heights](dy) + [table of widths](dx)                         learned, shared by the heads

Cost, with D = heads · dim_head and w = b + 2h: 4 C D + C + 2 (2w - 1) dim_head parameters; 4 C D HW multiply-adds for
the projections and 2 w^2 D HW for the attention.
Growth: N^1

Where this differs: there is no official code; this is the function of the widely used halonet-pytorch. As there, pixels
outside the image are masked (the paper and timm let zeros take part in the softmax), the position logits are scaled
like the others (timm's are not), there is an output projection (timm has none), and the tables have 2w - 1 rows, of
which the first w - b can never be met. For years that repository applied its mask the wrong way round: each pixel saw
the padding and nothing else. It also projects keys and values after it has made the overlapping copies, w^2 / b^2
times the work; here they are projected once. Images that are no multiple of the block are filled up, and the filling
is masked as well.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_positive, join_windows, split_windows

PAPER = "vaswani2021halonet"
CHAPTER = "06_everyone_to_everyone"


class HaloAttention(nn.Module):
    """Attention from each block to the window that is the block and its halo.

    Args:
        dim: channels C.
        block_size: b, side of the blocks.
        halo_size: h, how far a block looks beyond its border.
        dim_head: d, channels of each head.
        heads: number of heads; heads · dim_head need not be C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; an argument is not positive.
    """

    def __init__(self, dim: int, block_size: int = 7, halo_size: int = 3, dim_head: int = 16, heads: int = 4):
        super().__init__()
        check_positive(
            "HaloAttention", dim=dim, block_size=block_size, halo_size=halo_size, dim_head=dim_head, heads=heads
        )
        self.dim, self.heads, self.dim_head = dim, heads, dim_head
        self.block_size, self.halo_size, self.window_size = block_size, halo_size, block_size + 2 * halo_size
        inner = heads * dim_head
        self.to_q = nn.Conv2d(dim, inner, 1, bias=False)
        self.to_kv = nn.Conv2d(dim, 2 * inner, 1, bias=False)
        self.rel_height = nn.Parameter(dim_head**-0.5 * torch.randn(2 * self.window_size - 1, dim_head))
        self.rel_width = nn.Parameter(dim_head**-0.5 * torch.randn(2 * self.window_size - 1, dim_head))
        self.to_out = nn.Conv2d(inner, dim, 1)
        for layer in (self.to_q, self.to_kv, self.to_out):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")  # as large out as in

    def forward(self, x: Tensor) -> Tensor:
        """Attend within the windows of (B, C, H, W)."""
        check_image(x, self.dim, "HaloAttention")
        batch, _, height, width = x.shape
        b = self.block_size
        q = split_windows(self.to_q(x), b, b)  # (B, m, n, b², D): m x n blocks
        m, n = q.shape[1:3]
        q = q.unflatten(-1, (self.heads, -1)).transpose(3, 4)  # (B, m, n, heads, b², d)
        kv = self._windows(self.to_kv(x)).unflatten(-1, (2, self.heads, -1))  # (B·m·n, w², 2, heads, d)
        k, v = kv.permute(2, 0, 3, 1, 4)  # (B·m·n, heads, w², d) each
        bias = self._bias(q, height, width)  # (B·m·n, heads, b², w²)
        y = F.scaled_dot_product_attention(q.flatten(0, 2), k, v, attn_mask=bias)  # (B·m·n, heads, b², d)
        y = y.transpose(1, 2).flatten(2).view(batch, m, n, b * b, -1)  # (B, m, n, b², D)
        return self.to_out(join_windows(y, b, b, (height, width)))

    def _windows(self, x: Tensor) -> Tensor:
        """The overlapping windows of the blocks of (B, C, H, W): (B·m·n, w², C)."""
        b, w, halo = self.block_size, self.window_size, self.halo_size
        x = F.pad(x, (halo, halo + -x.shape[3] % b, halo, halo + -x.shape[2] % b)).permute(0, 2, 3, 1)
        x = x.unfold(1, w, b).unfold(2, w, b)  # (B, m, n, C, w, w)
        return x.permute(0, 1, 2, 4, 5, 3).flatten(3, 4).flatten(0, 2)

    def _bias(self, q: Tensor, height: int, width: int) -> Tensor:
        """What is added to the logits: q · r / √d, and minus infinity for keys outside the image.

        Both are a part that depends on the key's row and one that depends on its column.
        """
        b, w = self.block_size, self.window_size
        q = q.unflatten(4, (b, b)) * self.dim_head**-0.5  # (B, m, n, heads, b, b, d)
        # Row of the tables for a pixel of a block and a pixel of its window, along one axis.
        offset = torch.arange(w, device=q.device) - torch.arange(b, device=q.device)[:, None] + w - 1  # (b, w)
        rows = torch.einsum("...yxd,yid->...yxi", q, self.rel_height[offset])  # (B, m, n, heads, b, b, w)
        columns = torch.einsum("...yxd,xjd->...yxj", q, self.rel_width[offset])
        outside_rows, outside_columns = self._outside(q.shape[1], height, q), self._outside(q.shape[2], width, q)
        rows = rows.masked_fill(outside_rows[:, None, None, None, None], -torch.inf)
        columns = columns.masked_fill(outside_columns[:, None, None, None], -torch.inf)
        bias = rows[..., :, None] + columns[..., None, :]  # (B, m, n, heads, b, b, w, w)
        return bias.flatten(6, 7).flatten(4, 5).flatten(0, 2)

    def _outside(self, blocks: int, size: int, like: Tensor) -> Tensor:
        """Which pixels of the windows lie outside an axis of ``size`` pixels: bool (blocks, w), where ``like`` is."""
        first = self.block_size * torch.arange(blocks, device=like.device) - self.halo_size
        pixel = first[:, None] + torch.arange(self.window_size, device=like.device)
        return (pixel < 0) | (pixel >= size)


BLOCKS = {"halo_attention": HaloAttention}
REFERENCES = {"halo_attention": ("recorded:halo_attention",)}
