"""CrossFormer's attention: near neighbours in one layer, a coarse grid over the whole image in the next.

Paper: wang2022crossformer, section 3.2. Attention within groups of G x G pixels costs as much as the image has groups.
A *short*-distance group is a window of neighbouring pixels. A *long*-distance group takes every I-th pixel along each
axis, so that it reaches across the image with the same G^2 members. The layers alternate. What a position is worth is
not looked up in a table but computed from the offset by a small network, the dynamic position bias, which can be asked
for any offset:

    y = W_o softmax(Q K^T / √d + B) V   in each group,    B_ij = DPB(y_i - y_j, x_i - x_j)       eq. 2
    DPB = Linear(2, D) then three times [LayerNorm, ReLU, Linear],  D = C/16; the last one gives a bias for each head

Cost, with D = C/16: 4 C^2 + 4 C + 2 D^2 + 11 D + h (D + 1) parameters; (4 C^2 + 2 G^2 C) HW multiply-adds.
Growth: N^1

Where this differs: nothing in the result. The official code is for one image size; here the image is filled up to whole
groups, and the filling is masked. Its ``interval`` is a constant of each stage; without one, the smallest is taken
with which the grid spans the image (the official option ``adaptive_interval``, here along each axis). Offsets count
members of the group, not pixels, so the same network serves both kinds. The last bias of the DPB is the same for all
keys, and the softmax takes it away again. One much-copied collection tells CrossFormer's story above the code of
criss-cross attention, which is another module.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "wang2022crossformer"
CHAPTER = "06_everyone_to_everyone"


class DynamicPositionBias(nn.Module):
    """A small network from an offset to a bias for each head.

    Args:
        dim: width D.
        num_heads: numbers that come out.

    Shapes:
        (..., 2) -> (..., num_heads)
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        layers = [nn.Linear(2, dim)]
        for width in (dim, dim, num_heads):
            layers += [nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, offsets: Tensor) -> Tensor:
        """Bias of the offsets (..., 2)."""
        return self.layers(offsets)


class CrossFormerAttention(nn.Module):
    """Attention within groups of neighbours, or of pixels on a coarse grid.

    Args:
        dim: channels C; at least 32, and a multiple of ``num_heads``.
        group_size: G, side of the groups.
        num_heads: number of heads.
        kind: "short" for groups of neighbours, "long" for groups of every I-th pixel.
        interval: I of long groups; without it, the smallest with which a group spans the image. Short ones have none.
        qkv_bias: a bias in the projection to queries, keys and values.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` is below 32 or no multiple of ``num_heads``;
            ``kind`` is neither; an argument is not positive; short groups are given an ``interval``.
    """

    def __init__(
        self,
        dim: int,
        group_size: int = 7,
        num_heads: int = 4,
        kind: str = "short",
        interval: int | None = None,
        qkv_bias: bool = True,
    ):
        super().__init__()
        name = "CrossFormerAttention"
        check_positive(
            name, dim=dim, group_size=group_size, num_heads=num_heads, interval=1 if interval is None else interval
        )
        check_multiple(name, dim, num_heads=num_heads)
        if dim < 32:
            raise ValueError(
                f"{name}: dim must be at least 32; got {dim}, which gives the position bias {dim // 16} channels, "
                "and LayerNorm leaves nothing of a single one"
            )
        if kind not in ("short", "long"):
            raise ValueError(f'{name}: kind must be "short" or "long"; got {kind!r}')
        if kind == "short" and interval is not None:
            raise ValueError(f'{name}: interval must be None for kind="short"; got {interval}')
        self.dim, self.group_size, self.num_heads, self.kind, self.interval = dim, group_size, num_heads, kind, interval
        self.pos = DynamicPositionBias(dim // 16, num_heads)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        for layer in (self.qkv, self.proj):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")  # as large out as in

    def forward(self, x: Tensor) -> Tensor:
        """Attend within the groups of (B, C, H, W)."""
        check_image(x, self.dim, "CrossFormerAttention")
        size, intervals = x.shape[2:], [self._interval(side) for side in x.shape[2:]]
        inside = self._groups(torch.ones_like(x[:1, :1], dtype=torch.bool), intervals)  # (1, a, I, b, I, G², 1)
        grid = inside.shape[1:5]  # a x b groups of I x I grids
        x = self._groups(x, intervals)  # (B, a, I, b, I, G², C)

        qkv = self.qkv(x.flatten(0, 4)).unflatten(-1, (3, self.num_heads, -1))  # (B·groups, G², 3, heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B·groups, heads, G², d) each
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(inside, x.shape[0], q.dtype))
        y = self.proj(y.transpose(1, 2).flatten(2))  # (B·groups, G², C)

        y = y.view(-1, *grid, self.group_size, self.group_size, self.dim).permute(0, 7, 1, 5, 2, 3, 6, 4)
        return y.flatten(5).flatten(2, 4)[..., : size[0], : size[1]]  # (B, C, a·G·I, b·G·I), cut

    def _interval(self, side: int) -> int:
        """I along an axis of ``side`` pixels: 1 for short groups."""
        if self.kind == "short":
            return 1
        spanning = -(-side // self.group_size)
        return spanning if self.interval is None else self.interval

    def _groups(self, x: Tensor, intervals: list[int]) -> Tensor:
        """Fill up with zeros and group: (B, C, H, W) -> (B, a, I, b, I, G², C)."""
        (height, width), (rows, columns), side = x.shape[2:], intervals, self.group_size
        x = F.pad(x, (0, -width % (side * columns), 0, -height % (side * rows)))
        x = x.unflatten(3, (-1, side, columns)).unflatten(2, (-1, side, rows))  # (B, C, a, G, I, b, G, I)
        return x.permute(0, 2, 4, 5, 7, 3, 6, 1).flatten(5, 6)

    def _bias(self, inside: Tensor, batch: int, dtype: torch.dtype) -> Tensor:
        """Position bias, and a large negative number for keys outside the image: (B·groups, heads, G², G²).

        Not minus infinity, which would give NaN in a group that lies outside altogether.
        """
        side, places = self.group_size, torch.arange(self.group_size, device=inside.device)
        steps = torch.arange(1 - side, side, device=inside.device)
        offsets = torch.cartesian_prod(steps, steps).to(self.qkv.weight.dtype)
        table = self.pos(offsets).unflatten(0, (2 * side - 1, -1))  # (2G - 1, 2G - 1, heads)
        step = places[:, None] - places + side - 1  # (G, G), from query to key
        position = table[step[:, None, :, None], step[None, :, None, :]]  # (G, G, G, G, heads): rows, columns of both
        position = position.flatten(2, 3).flatten(0, 1).permute(2, 0, 1)  # (heads, G², G²)
        outside = ~inside.flatten(0, 4)[:, None, None, :, 0]  # (groups, 1, 1, G²)
        bias = position.to(dtype).masked_fill(outside, torch.finfo(dtype).min / 2)  # (groups, heads, G², G²)
        return bias.expand(batch, -1, -1, -1, -1).flatten(0, 1)


BLOCKS = {"crossformer_attention": CrossFormerAttention}
REFERENCES = {"crossformer_attention": ("recorded:crossformer_attention",)}
