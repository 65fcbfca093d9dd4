"""ACmix: convolution and self-attention share their 1x1 projections, and are added.

Paper: pan2022integration, section 4. A k x k convolution is k^2 pointwise convolutions, shifted and summed;
self-attention starts with three pointwise convolutions as well. So project once, and use q, k, v twice:

    attention:    a_i = sum over j in the 7 x 7 window of i of softmax_j(q_i · (k_j + p_i - p_j) / sqrt(d)) v_j
    convolution:  f = fc([q; k; v]),  from 3 numbers of each of h heads to k_c^2,
                  c = grouped k_c x k_c convolution of f, which starts as the k_c^2 shifts
    y = r1 a + r2 c,   with p = conv_p(column, row) and two learned numbers r1, r2, which start at 1/2

Cost, with d = C/h, k_a = 7, k_c = 3: 3 C (C + 1) + 3 d + 3 h k_c^2 + k_c^4 C + 2 parameters; for each pixel 3 C^2 of
the projections, 2 k_a^2 C of the attention, 3 C k_c^2 + k_c^4 C of the convolution, and 2 d of the positions.
Growth: N^1

Where this differs: nothing in the result. q_i · p_i and the bias of conv_p are the same for all keys of a pixel, so
the softmax does not see them: here the positions are subtracted from the keys, and that bias never learns. The window
is a band of the keys of an 8 x 8 tile, masked in a fused attention, where the official code unfolds 49 copies of keys
and values. As there, keys and values beyond the border are reflected, and the heads come out in different orders:
number i of head n is channel n d + i of the attention and channel i h + n of the convolution. The official constructor
asks for a bias in the grouped convolution, overwrites it with the None that its initialiser returns, and so has none;
the count of the paper's networks goes with that. Its ``dilation`` crashes (the padding grows with it, the window does
not), its ``stride`` crashes at odd sizes, and ``kernel_conv`` other than 3 gives maps of two sizes. Here the dilation
works, every odd ``kernel_conv`` does, and there is no stride. Images smaller than the window, which the official
padding refuses, are reflected back and forth. The attention looks 7 x 7 pixels wide: nothing in it is global.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive, join_windows, split_windows

PAPER = "pan2022integration"
CHAPTER = "08_both_at_once"
TILE = 8  # pixels on a side that share one call of the attention; 8 is the fastest for windows of about 7


def reflect(x: Tensor, margin: int) -> Tensor:
    """Mirror (B, C, H, W) at its border pixels; a margin wider than the image is mirrored back and forth."""
    for axis, sides in ((2, (0, 0, 1, 1)), (3, (1, 1, 0, 0))):
        left = margin
        while left > 0:
            step = min(left, x.shape[axis] - 1)
            if step == 0:  # the mirror image of one pixel is that pixel
                x = F.pad(x, [side * left for side in sides], mode="replicate")
                break
            x = F.pad(x, [side * step for side in sides], mode="reflect")
            left -= step
    return x


def axis(size: int, like: Tensor) -> Tensor:
    """``size`` numbers from -1 to 1; of a single one, -1. Like ``torch.linspace``, but compiled once for all sizes."""
    exact = torch.promote_types(like.dtype, torch.float32)  # bfloat16 cannot count beyond 256
    step = 2 / (size - 1) if size > 1 else 0
    return (torch.arange(size, device=like.device, dtype=exact) * step - 1).to(like.dtype)


class ACmix(nn.Module):
    """Local self-attention and a convolution from shared projections.

    Args:
        dim: channels C, a multiple of ``head``.
        kernel_att: side of the window of the attention; odd.
        head: h, heads of the attention.
        kernel_conv: side of the kernel of the convolution; odd.
        dilation: distance of neighbouring keys of the window, in pixels.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; a number is not positive; a kernel is even; ``dim`` is
            not a multiple of ``head``.
    """

    def __init__(self, dim: int, kernel_att: int = 7, head: int = 4, kernel_conv: int = 3, dilation: int = 1):
        super().__init__()
        check_positive("ACmix", dim=dim, kernel_att=kernel_att, head=head, kernel_conv=kernel_conv, dilation=dilation)
        if kernel_att % 2 == 0 or kernel_conv % 2 == 0:
            raise ValueError(
                f"ACmix: kernel_att and kernel_conv must be odd, to have a centre; got {kernel_att} and {kernel_conv}"
            )
        check_multiple("ACmix", dim, head=head)
        self.dim, self.head = dim, head
        self.dilation, self.margin = dilation, dilation * (kernel_att // 2)
        head_dim, taps = dim // head, kernel_conv**2
        self.query = nn.Conv2d(dim, dim, 1)
        self.key = nn.Conv2d(dim, dim, 1)
        self.value = nn.Conv2d(dim, dim, 1)
        self.position = nn.Conv2d(2, head_dim, 1)
        self.fc = nn.Conv2d(3 * head, taps, 1, bias=False)
        self.shift = nn.Conv2d(taps * head_dim, dim, kernel_conv, padding=kernel_conv // 2, groups=head_dim, bias=False)
        shifts = torch.eye(taps).reshape(taps, kernel_conv, kernel_conv)  # tap t is the shift to place t of the kernel
        self.shift.weight = nn.Parameter(shifts.repeat(dim, 1, 1, 1))
        self.rate_att = nn.Parameter(torch.full((1,), 0.5))
        self.rate_conv = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Project (B, C, H, W) once, attend and convolve, add."""
        check_image(x, self.dim, "ACmix")
        q, k, v = self.query(x), self.key(x), self.value(x)
        return self.rate_att * self.attend(q, k, v) + self.rate_conv * self.convolve(q, k, v)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Each pixel attends to its window: three of (B, C, H, W) -> (B, C, H, W)."""
        size = q.shape[2:]
        k = k - self.positions(k).repeat(1, self.head, 1, 1)
        q = split_windows(q, TILE, TILE)  # (B, m, n, 64, C): m x n tiles
        grid = q.shape[:3]
        q = q.flatten(0, 2).unflatten(2, (self.head, -1)).transpose(1, 2)  # (B * m * n, h, 64, d)
        window = self.window(q.device)
        y = F.scaled_dot_product_attention(q, self.surroundings(k), self.surroundings(v), attn_mask=window)
        y = join_windows(y.transpose(1, 2).flatten(2).unflatten(0, grid), TILE, TILE, size)
        return y.clone(memory_format=torch.contiguous_format)  # or compilers tell whole tiles from cut ones

    def positions(self, like: Tensor) -> Tensor:
        """Encoded columns and rows, both from -1 to 1: (1, d, H, W)."""
        height, width = like.shape[2:]
        rows, columns = axis(height, like), axis(width, like)
        grid = torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width)])
        return self.position(grid[None])

    def window(self, device: torch.device) -> Tensor:
        """Which of a tile's surroundings are in the window of which of its pixels: bool (64, side^2)."""
        pixels = torch.arange(TILE, device=device)
        keys = torch.arange(TILE + 2 * self.margin, device=device)
        offset = keys - pixels[:, None]
        near = (offset >= 0) & (offset <= 2 * self.margin) & (offset % self.dilation == 0)
        return (near[:, None, :, None] & near[None, :, None, :]).flatten(2).flatten(0, 1)

    def surroundings(self, x: Tensor) -> Tensor:
        """Each tile with a margin around it: (B, C, H, W) -> (B * m * n, h, side^2, d)."""
        fill = (0, -x.shape[3] % TILE, 0, -x.shape[2] % TILE)  # in the window of no pixel of the image
        x = F.pad(reflect(x, self.margin), fill)
        side = TILE + 2 * self.margin
        x = x.unfold(2, side, TILE).unfold(3, side, TILE)  # (B, C, m, n, side, side)
        x = x.unflatten(1, (self.head, -1)).permute(0, 3, 4, 1, 5, 6, 2)  # (B, m, n, h, side, side, d)
        return x.flatten(4, 5).flatten(0, 2)

    def convolve(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mix heads into k_c^2 maps, shift and sum: three of (B, C, H, W) -> (B, C, H, W)."""
        height = q.shape[2]
        heads = torch.cat([q, k, v], 1).unflatten(1, (3 * self.head, -1))  # (B, 3h, d, H, W)
        maps = self.fc(heads.flatten(2, 3))  # (B, k_c^2, d * H, W)
        maps = maps.unflatten(2, (-1, height)).transpose(1, 2)  # (B, d, k_c^2, H, W)
        return self.shift(maps.flatten(1, 2))


BLOCKS = {"acmix": ACmix}
REFERENCES = {"acmix": ("recorded:acmix",)}
