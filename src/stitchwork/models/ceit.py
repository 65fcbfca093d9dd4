"""CeiT: convolutions where a transformer lacks them: in the tokens, in the feed-forward part, and across the layers.

Paper: yuan2021incorporating, sections 3.2 to 3.4, table 2. Image-to-tokens: a strided convolution and max pooling see
edges before the patches are cut. Locally-enhanced feed-forward (LeFF): between its two layers the patch tokens are laid
out as an image, and a depthwise 3x3 lets neighbours meet. Layer-wise class attention (LCA): at the end, the last class
token looks back at the class tokens of all layers:

    LeFF(x) = BN(W_2 gelu(BN(dw3x3(gelu(BN(W_1 x))))))         for the patches; the class token passes by
    z       = lca([z_class^1, ..., z_class^L])

Cost of LeFF besides ViT's feed-forward: 9 · 4 C N multiply-adds. CeiT-T: 6.4 M parameters, 1.4 G multiply-adds.

Where this differs: nothing from the official code. Its stem has 64 channels, the paper says 32; its third BatchNorm is
not followed by an activation, which the paper shows. The class token gets norm(z) added in the place of a feed-forward
output, as there. For another size than 224 pixels the positions are interpolated (bicubic), and the map is filled up
with zeros to whole patches.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    ConvNormAct,
    DropPath,
    Mlp,
    PatchEmbed,
    PositionTable,
    ScaledDotProduct,
    SelfAttention,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "yuan2021incorporating"
CHAPTER = "17_vision_transformer"

HEAD_DIM, EPS = 64, 1e-6


class LeFF(nn.Module):
    """Feed-forward whose patch tokens meet their neighbours.

    Args:
        dim: numbers C of a token.
        hidden: width between the layers.

    Shapes:
        (B, 1 + hw, C), the grid (h, w) -> (B, 1 + hw, C)
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.widen, self.norm1 = nn.Conv2d(dim, hidden, 1), nn.BatchNorm2d(hidden)
        self.depthwise, self.norm2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.BatchNorm2d(hidden)
        self.narrow, self.norm3 = nn.Conv2d(hidden, dim, 1), nn.BatchNorm2d(dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, 1 + hw, C) -> (B, 1 + hw, C)."""
        y = x[:, 1:].unflatten(1, grid).permute(0, 3, 1, 2)  # (B, C, h, w)
        y = self.act(self.norm1(self.widen(y)))  # (B, hidden, h, w)
        y = self.act(self.norm2(self.depthwise(y)))
        y = self.norm3(self.narrow(y))  # (B, C, h, w)
        return torch.cat([x[:, :1], y.flatten(2).transpose(1, 2)], 1)


class CeiTBlock(nn.Module):
    """Attention, then the locally enhanced feed-forward part.

    Args:
        dim: numbers C of a token.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, 1 + hw, C), the grid (h, w) -> (B, 1 + hw, C)
    """

    def __init__(self, dim: int, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = SelfAttention(dim, dim // HEAD_DIM)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.leff = LeFF(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, 1 + hw, C) -> (B, 1 + hw, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.leff(self.norm2(x), grid))


class LayerwiseClassAttention(nn.Module):
    """The last class token attends to the class tokens of all layers.

    Args:
        dim: numbers C of a token.

    Shapes:
        (B, L, C) -> (B, C)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.num_heads = dim // HEAD_DIM
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attend = ScaledDotProduct(axes=("image", "head", "last class token", "class token of each layer"))
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, C)."""
        dim = x.shape[-1]
        y, weight, bias = self.norm1(x), self.qkv.weight, self.qkv.bias
        q = F.linear(y[:, -1:], weight[:dim], bias[:dim])  # (B, 1, C): only the last token asks
        kv = F.linear(y, weight[dim:], bias[dim:])  # (B, L, 2 C)
        q = q.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, 1, d)
        k, v = kv.unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, L, d) each
        y = self.attend(q, k, v)  # (B, heads, 1, d)
        last = x[:, -1] + self.proj(y.flatten(1))  # (B, C)
        return last + self.mlp(self.norm2(last))


class CeiT(Classifier):
    """Classifier of convolutional tokens.

    Args:
        dim: numbers C of a token; a multiple of 64, the width of a head.
        depth: blocks L.
        num_classes: number of logits; 0 gives what the layer-wise class attention gives, (B, dim).
        in_chans: channels of the input image.
        dropout: probability with which a number is dropped before the head in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        dim: int,
        depth: int = 12,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("CeiT", dim=dim, depth=depth)
        check_multiple("CeiT", dim, head_dim=HEAD_DIM)
        super().__init__(in_chans, dim, dropout)
        self.stem = nn.Sequential(ConvNormAct(in_chans, 64, 7, 2, act=None), nn.MaxPool2d(3, 2, padding=1))
        self.patch_embed = PatchEmbed(64, dim, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = PositionTable((14, 14), dim, prefix=1)
        (rates,) = drop_path_rates(drop_path_rate, (depth,))
        self.blocks = nn.ModuleList(CeiTBlock(dim, rate) for rate in rates)
        self.layer_position = nn.Parameter(torch.empty(1, depth, dim))
        nn.init.trunc_normal_(self.layer_position, std=0.02)
        self.class_attention = LayerwiseClassAttention(dim)
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the class tokens of all layers (B, depth, dim)."""
        self.check_input(x)
        x = self.patch_embed(self.stem(x))  # (B, h, w, dim)
        grid = x.shape[1:3]
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], 1)  # (B, 1 + N, dim)
        x = self.positions(x, grid)
        seen = []
        for block in self.blocks:
            x = block(x, grid)
            seen.append(x[:, 0])
        return torch.stack(seen, 1)

    def pre_logits(self, x: Tensor) -> Tensor:
        """What the last class token makes of those of all layers: (B, depth, dim) -> (B, dim)."""
        return self.norm(self.class_attention(x + self.layer_position))


MODELS = {
    "ceit_tiny": partial(CeiT, dim=192),
    "ceit_small": partial(CeiT, dim=384),
    "ceit_base": partial(CeiT, dim=768),
}
REFERENCES = {name: ("recorded:ceit_tiny",) if name == "ceit_tiny" else (f"counted:{name}",) for name in MODELS}
