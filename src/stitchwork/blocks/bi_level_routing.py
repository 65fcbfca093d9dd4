"""Bi-level routing attention: find the regions worth looking at first, then look at their pixels.

Paper: zhu2023biformer, section 3.2. Windows, stripes and dilated grids fix in advance where a pixel may look. Here the
image is cut into about 7x7 regions, each region compares its mean query with the mean keys of all others, and keeps the
best k. Its pixels then attend to all pixels of those regions:

    A_r = Q_r K_r^T,    I_r = top k of each row of A_r      eq. 3, 4,  Q_r, K_r: means over regions
    y   = softmax(Q K_g^T / √C) V_g + dwconv(V)             eq. 6,     K_g, V_g: gathered from the regions I_r

Cost, with S regions: 4 C^2 + 14 C parameters; (4 C^2 + 9 C) HW multiply-adds for projections and dwconv, S^2 C for the
routing, 2 k (HW)^2 C / S for the attention.
Growth: N^2

Where this differs: the logits are divided by √C and not by the root of a head's channels, as in the official code,
which keeps to its older models. Regions have max(1, H // 7) x max(1, W // 7) pixels, so there are 7x7 of them if 7
divides the image, and a few more otherwise. The official code fills up the last ones with zeros that take part in the
softmax (its own comment asks for a mask); here they are masked, which changes nothing where the regions fit, as they do
in its networks at 224² pixels (``mask_padding=False`` gives the official result elsewhere). It fails for images of
fewer than 7 pixels, or of fewer than k regions; here regions then are single pixels, and k is the number of regions.
The routing carries no gradient: what it chooses does. Nearly equal regions can be chosen differently in bfloat16. With
a fixed number of regions, time grows with N^2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive, join_windows, pad_to_windows, split_windows

PAPER = "zhu2023biformer"
CHAPTER = "06_everyone_to_everyone"


class BiLevelRoutingAttention(nn.Module):
    """Attention from each region to the k regions whose mean keys fit its mean query best.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: number of heads.
        n_win: regions along each axis.
        topk: k, the number of regions that a region attends to.
        side_dwconv: side of the depthwise convolution of the values that is added; odd.
        mask_padding: leave the zeros that fill up the last regions out of the softmax.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` is no multiple of ``num_heads``; ``side_dwconv``
            is even; an argument is not positive.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        n_win: int = 7,
        topk: int = 4,
        side_dwconv: int = 3,
        mask_padding: bool = True,
    ):
        super().__init__()
        name = "BiLevelRoutingAttention"
        check_positive(name, dim=dim, num_heads=num_heads, n_win=n_win, topk=topk, side_dwconv=side_dwconv)
        check_multiple(name, dim, num_heads=num_heads)
        if side_dwconv % 2 == 0:
            raise ValueError(f"{name}: side_dwconv must be odd to keep the size; got {side_dwconv}")
        self.dim, self.num_heads, self.n_win, self.topk = dim, num_heads, n_win, topk
        self.mask_padding = mask_padding
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.lepe = nn.Conv2d(dim, dim, side_dwconv, padding=side_dwconv // 2, groups=dim)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Route between the regions of (B, C, H, W), then attend between pixels."""
        check_image(x, self.dim, "BiLevelRoutingAttention")
        batch, _, height, width = x.shape
        region = max(1, height // self.n_win), max(1, width // self.n_win)
        inside = torch.ones_like(x[:1, :1], dtype=torch.bool)  # where the image is, for the regions that are filled up
        q, kv = self.qkv(x).split([self.dim, 2 * self.dim], 1)
        v = pad_to_windows(kv[:, self.dim :], *region)  # the zeros that the convolution would pad with
        q, kv, inside = (split_windows(t, *region) for t in (q, kv, inside))  # (B, h, w, P, channels)
        h, w = q.shape[1:3]
        q, kv, inside = q.flatten(1, 2), kv.flatten(1, 2), inside.flatten(1, 2)  # (B, S = h·w, P, channels)
        chosen = self._route(q.detach(), kv[..., : self.dim].detach(), inside)  # (B, S, k)
        partners = kv.shape[1] * torch.arange(batch, device=x.device)[:, None, None] + chosen
        kv = kv.reshape(batch * h * w, -1)[partners.flatten()]  # (B·S·k, P·2C)
        kv = kv.view(batch * h * w, -1, 2, self.num_heads, self.dim // self.num_heads)  # (B·S, k·P, 2, heads, d)
        k, v_chosen = kv.permute(2, 0, 3, 1, 4)  # (B·S, heads, k·P, d) each
        q = q.flatten(0, 1).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B·S, heads, P, d)
        mask = None
        if self.mask_padding:
            mask = inside[0, :, :, 0][chosen].flatten(2).flatten(0, 1)[:, None, None]  # (B·S, 1, 1, k·P)
        y = F.scaled_dot_product_attention(q, k, v_chosen, attn_mask=mask, scale=self.dim**-0.5)  # (B·S, heads, P, d)
        y = y.transpose(1, 2).flatten(2).view(batch, h, w, -1, self.dim)  # (B, h, w, P, C)
        y = join_windows(y, *region, v.shape[2:]) + self.lepe(v)
        return self.proj(y[..., :height, :width])

    def _route(self, q: Tensor, k: Tensor, inside: Tensor) -> Tensor:
        """The regions to which each region attends: indices (B, S, k), from queries and keys (B, S, P, C)."""
        pixels = inside.sum(2)  # (1, S, 1)
        affinity = (q.sum(2) / pixels) @ (k.sum(2) / pixels).transpose(1, 2)  # (B, S, S)
        return affinity.topk(min(self.topk, affinity.shape[-1])).indices


BLOCKS = {"bi_level_routing": BiLevelRoutingAttention}
REFERENCES = {"bi_level_routing": ("recorded:bi_level_routing",)}
