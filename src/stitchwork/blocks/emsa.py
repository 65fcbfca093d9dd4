"""EMSA: full attention, but to a smaller image.

Paper: zhang2021rest, section 3.1. Every pixel still looks everywhere, but what it looks at is the image at a lower
resolution: a depthwise convolution of stride s makes keys and values s^2 times fewer. The heads, which have become
short, are allowed to talk to one another: a 1x1 convolution mixes their logits, and every head's map of weights is
normalised over all of its queries and keys:

    x' = LN(dwconv_{s+1, stride s}(x))
    A  = IN(softmax(conv1x1 over heads of (Q K'^T / √d)))              eq. 4
    y  = W_o A V',    Q = W_q x,  [K', V'] = W_kv x'

Cost, with M = N/s^2 keys and h heads: 4 C^2 + 4 C + (s+1)^2 C + 3 C + h^2 + h parameters; N M (2 C + h^2) multiply-adds
for the attention, 2 C^2 (N + M) for the projections.
Growth: N^2

Where this differs: nothing in the result. InstanceNorm subtracts from each map its mean, which is 1/M because the rows
sum to one; so the values are centred here, and the output is divided by the map's standard deviation, in the place of
normalising N x M numbers. A CPU takes the queries in pieces, whose logits stay in its cache. Three biases are without
effect: that of the 1x1 convolution, the same for all keys, does not pass the softmax; those of W_kv and of LN, the same
for all keys and values, do not pass weights that sum to zero. A popular copy has H and W as arguments of its
constructor and fails at any other size; it takes keys and values as arguments, and ignores them wherever s > 1; and it
has two projections for keys and values, where the official code has one. PyTorch's InstanceNorm refuses an image of one
pixel; here its map, the number 1, has no variance, and what comes out is the bias of the last projection.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_image, check_multiple, check_positive

PAPER = "zhang2021rest"
CHAPTER = "06_everyone_to_everyone"

# Logits of an image that are computed at a time on a CPU.
CACHED = 2**19


class EMSA(nn.Module):
    """Attention to a subsampled image, with heads that mix.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: number of heads h.
        sr_ratio: s, how much smaller the image of the keys is along each axis.
        qkv_bias: biases in the projections to queries, keys and values.
        apply_transform: mix the heads' logits, and normalise their maps.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). H and W are at least 2 if ``sr_ratio`` is odd and above 1.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C, or too small; ``dim`` is no multiple of ``num_heads``; an
            argument is not positive.
    """

    def __init__(
        self, dim: int, num_heads: int = 8, sr_ratio: int = 2, qkv_bias: bool = True, apply_transform: bool = True
    ):
        super().__init__()
        check_positive("EMSA", dim=dim, num_heads=num_heads, sr_ratio=sr_ratio)
        check_multiple("EMSA", dim, num_heads=num_heads)
        self.dim, self.num_heads, self.sr_ratio = dim, num_heads, sr_ratio
        self.min_size = 2 if sr_ratio % 2 and sr_ratio > 1 else 1
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        if sr_ratio > 1:
            self.sr = nn.Conv2d(dim, dim, sr_ratio + 1, sr_ratio, padding=sr_ratio // 2, groups=dim)
            self.sr_norm = nn.LayerNorm(dim)
        self.transform = nn.Conv2d(num_heads, num_heads, 1) if apply_transform and num_heads > 1 else None
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from every pixel of (B, C, H, W) to the subsampled image."""
        check_image(x, self.dim, "EMSA", self.min_size)
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, C)
        fewer = self.sr_norm(self.sr(x).flatten(2).transpose(1, 2)) if self.sr_ratio > 1 else tokens  # (B, M, C)
        q = self.q(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, N, d)
        k, v = self.kv(fewer).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, M, d) each
        attend = F.scaled_dot_product_attention if self.transform is None else self._mixed_attention
        y = attend(q, k, v)  # (B, heads, N, d)
        return self.proj(y.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, x.shape[2:])

    def _mixed_attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Softmax of mixed logits, normalised over queries and keys: (B, heads, N, d)."""
        keys = k.shape[2]
        k, v = k.transpose(2, 3), v - v.mean(2, keepdim=True)
        outputs, norms = [], []
        for piece in self._pieces(q * q.shape[3] ** -0.5, keys):
            weights = self.softmax(self.transform(piece @ k))  # (B, heads, n, M)
            outputs.append(weights @ v)  # (A - 1/M) V = A (V - mean of V), for the rows of A sum to one
            # The variance is the small difference of mean square and squared mean: bfloat16 would leave nothing of it.
            exact = torch.promote_types(weights.dtype, torch.float32)
            norms.append(torch.linalg.vector_norm(weights, dim=3, dtype=exact))  # (B, heads, n)
        y, norm = torch.cat(outputs, 2), torch.cat(norms, 2)  # (B, heads, N, d), (B, heads, N)
        variance = norm.square().mean(2) / keys - keys**-2.0  # (B, heads)
        return y * torch.rsqrt(variance + 1e-5)[..., None, None].to(y.dtype)

    def _pieces(self, q: Tensor, keys: int) -> tuple[Tensor, ...]:
        """The queries (B, heads, N, d) in pieces whose logits stay in a CPU's cache; elsewhere, all of them at once."""
        if torch.compiler.is_compiling() or q.device.type != "cpu":
            return (q,)
        return q.split(max(1, CACHED // (self.num_heads * keys)), 2)


BLOCKS = {"emsa": EMSA}
REFERENCES = {"emsa": ("recorded:emsa", "recorded:emsa.split_key_and_value")}
