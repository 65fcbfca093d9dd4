"""Super token attention: group the pixels softly, let the groups attend to one another, and hand the result back.

Paper: huang2023supertoken, section 3.2. Shallow layers of a vision transformer look at near pixels only and repeat
themselves. So the image is cut into cells, each cell begins as one super token, the mean of its pixels, and every pixel
is associated with the nine super tokens around it. Full attention is among the super tokens:

    S_0 = means of the cells,    Q = softmax over 9 neighbours of (X S^T / √C)     eq. 3
    S   = Q̂^T X,                 Q̂ the associations, those of a super token divided by their sum     eq. 5
    S'  = W_o MHSA(S),           Y = Q S'                                           eq. 8, 9

Cost, with M = HW / (s_h s_w) super tokens: 4 C^2 + 4 C parameters; 27 C HW multiply-adds for the associations,
4 C^2 M + 2 M^2 C for the attention.
Growth: N^1.75

Where this differs: nothing in the result. As in the official code, zeros fill up the last cells, and count as pixels in
their means and sums; and at the border, where a pixel has fewer than nine neighbouring super tokens, the missing ones
are zeros that take part in the softmax. The associations carry no gradient. The official code gathers the neighbours
with convolutions whose fixed kernels are parameters, 162 numbers that are counted and saved, and that train as soon as
somebody unfreezes the network; here they are slices. Growth is from 32² to 128² pixels, where the M x M attention,
1/256 of the full one, overtakes the rest; beyond, it goes on to N^2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive, join_windows, split_windows

PAPER = "huang2023supertoken"
CHAPTER = "06_everyone_to_everyone"

# Where the neighbours of a cell lie in a grid that is larger by one cell on each side.
NEIGHBOURS = [(i, j) for i in range(3) for j in range(3)]


class SuperTokenAttention(nn.Module):
    """Attention among the super tokens of an image.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        stoken_size: (s_h, s_w), the pixels of a cell. (1, 1) is plain attention among pixels.
        n_iter: how often the associations are computed, each time with the super tokens of the time before.
        num_heads: number of heads.
        qkv_bias: a bias in the projection to queries, keys and values.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` is no multiple of ``num_heads``; an argument is
            not positive.
    """

    def __init__(
        self,
        dim: int,
        stoken_size: tuple[int, int] = (4, 4),
        n_iter: int = 1,
        num_heads: int = 8,
        qkv_bias: bool = True,
    ):
        super().__init__()
        name = "SuperTokenAttention"
        check_positive(name, dim=dim, n_iter=n_iter, num_heads=num_heads)
        check_multiple(name, dim, num_heads=num_heads)
        if len(stoken_size) != 2 or min(stoken_size) < 1:
            raise ValueError(f"{name}: stoken_size must be two positive numbers (height, width); got {stoken_size}")
        self.dim, self.stoken_size, self.n_iter, self.num_heads = dim, tuple(stoken_size), n_iter, num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.softmax = nn.Softmax(dim=-1)
        for layer in (self.qkv, self.proj):
            nn.init.kaiming_normal_(layer.weight)  # larger than it came in: averages over many pixels make it small

    def forward(self, x: Tensor) -> Tensor:
        """Group the pixels of (B, C, H, W), attend, and hand back."""
        check_image(x, self.dim, "SuperTokenAttention")
        pixels = split_windows(x, *self.stoken_size)  # (B, h, w, P, C): P pixels in each of h x w cells
        if self.stoken_size == (1, 1):
            y = self._attend(pixels.squeeze(3)).unsqueeze(3)
        else:
            association = self._associate(pixels.detach())  # (B, h, w, P, 9)
            tokens = self._attend(self._gather(pixels, association))  # (B, h, w, C)
            y = association @ neighbours(tokens)  # (B, h, w, P, C)
        return join_windows(y, *self.stoken_size, x.shape[2:])

    def _associate(self, pixels: Tensor) -> Tensor:
        """How much of each pixel belongs to each of the nine super tokens around it: (B, h, w, P, 9)."""
        association = self._compare(pixels, pixels.mean(3))
        for _ in range(1, self.n_iter):
            association = self._compare(pixels, self._gather(pixels, association))
        return association

    def _compare(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Softmax over the nine neighbours (B, h, w, P, 9) of pixel times super token (B, h, w, C)."""
        return self.softmax(pixels @ (neighbours(tokens) * self.dim**-0.5).transpose(-1, -2))

    def _gather(self, pixels: Tensor, association: Tensor) -> Tensor:
        """The super tokens: the means (B, h, w, C) of the pixels, weighted by their associations."""
        total = to_neighbours(association.sum(3).unsqueeze(-1))  # (B, h, w, 1)
        return to_neighbours(association.transpose(-1, -2) @ pixels) / (total + 1e-12)

    def _attend(self, tokens: Tensor) -> Tensor:
        """Multi-head attention among all super tokens: (B, h, w, C) -> (B, h, w, C)."""
        qkv = self.qkv(tokens.flatten(1, 2)).unflatten(-1, (self.num_heads, 3, -1))  # (B, M, heads, 3, d)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)  # (B, heads, M, d) each
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, M, C)
        return self.proj(y).unflatten(1, tokens.shape[1:3])


def neighbours(cells: Tensor) -> Tensor:
    """The cells around each cell and itself, zeros outside: (B, h, w, C) -> (B, h, w, 9, C)."""
    height, width = cells.shape[1:3]
    padded = F.pad(cells, (0, 0, 1, 1, 1, 1))  # (B, h + 2, w + 2, C)
    return torch.stack([padded[:, i : i + height, j : j + width] for i, j in NEIGHBOURS], 3)


def to_neighbours(shares: Tensor) -> Tensor:
    """Add up what each cell has for its neighbours, where they are: (B, h, w, 9, C) -> (B, h, w, C)."""
    height, width = shares.shape[1:3]
    padded = F.pad(shares, (0, 0, 0, 0, 1, 1, 1, 1))  # (B, h + 2, w + 2, 9, C)
    return sum(padded[:, 2 - i : 2 - i + height, 2 - j : 2 - j + width, 3 * i + j] for i, j in NEIGHBOURS)


BLOCKS = {"super_token": SuperTokenAttention}
REFERENCES = {"super_token": ("recorded:super_token",)}
