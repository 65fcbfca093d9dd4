"""CrossViT: one transformer for small patches, one for large ones, and their class tokens carry messages.

Paper: chen2021crossvit, sections 3.2 and 3.3, tables 1 and 2. Small patches are precise and dear, large ones coarse
and cheap; CrossViT runs both, each on its own width and depth. After some blocks, each branch's class token visits the
other branch: projected to its width, it attends once to the other's patch tokens, and comes home with what it saw.
Because only the class token asks, the exchange is linear in the tokens:

    z'_s = f(z_s),   z''_s = z'_s + CA(LN([z'_s; patches of l])),   z_s = g(z''_s)      eqs. 3 to 5

with f and g: LN, GELU, linear. Logits are the mean of both class tokens' heads.

Cost of an exchange, with N tokens of C numbers: 2 N C^2 + 2 N C multiply-adds. CrossViT-S at 240 pixels: 26.9 M
parameters, 5.6 G multiply-adds.

Where this differs: nothing from timm's, which has the official weights. The branch of the large patches sees the image
at 14/15 of its size (bicubic), so that patches of 12 and 16 fill 240 and 224 pixels. The dagger variants make patches
by three convolutions. For another size the positions are interpolated, and the image is filled up with zeros to whole
patches.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    Mlp,
    PatchEmbed,
    PositionTable,
    ScaledDotProduct,
    SelfAttention,
    TransformerBlock,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
    pad_to_windows,
)

PAPER = "chen2021crossvit"
CHAPTER = "17_vision_transformer"

EPS, PATCHES, SIDE, EXCHANGES = 1e-6, (12, 16), 240, 3


class ConvPatchEmbed(nn.Sequential):
    """Patches by three convolutions.

    Args:
        in_chans: channels of the image.
        dim: numbers of a token.
        patch_size: side of a patch, 12 or 16.

    Shapes:
        (B, in_chans, H, W) -> (B, ceil(H / patch_size), ceil(W / patch_size), dim)
    """

    def __init__(self, in_chans: int, dim: int, patch_size: int):
        second, third = ((3, 3, 0), (3, 1, 1)) if patch_size == 12 else ((3, 2, 1), (3, 2, 1))
        super().__init__(
            nn.Conv2d(in_chans, dim // 4, 7, 4, padding=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim // 4, dim // 2, *second),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim // 2, dim, *third),
        )
        self.patch_size = patch_size

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, h, w, dim)."""
        x = pad_to_windows(x, self.patch_size, self.patch_size)
        return super().forward(x).permute(0, 2, 3, 1)


class Bridge(nn.Sequential):
    """LayerNorm, GELU, linear: from the width of one branch to that of the other.

    Args:
        dim: numbers of a token.
        out_dim: numbers of a token in the other branch.

    Shapes:
        (B, 1, dim) -> (B, 1, out_dim)
    """

    def __init__(self, dim: int, out_dim: int):
        super().__init__(nn.LayerNorm(dim, eps=EPS), nn.GELU(), nn.Linear(dim, out_dim))


class CrossAttention(nn.Module):
    """The first token asks, all tokens answer.

    Args:
        dim: numbers C of a token; a multiple of ``num_heads``.
        num_heads: heads of the attention.
        drop_path: probability with which an image loses the branch in training.

    Shapes:
        (B, 1 + N, C) -> (B, 1, C)
    """

    def __init__(self, dim: int, num_heads: int, drop_path: float = 0.0):
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.attend = ScaledDotProduct(
            axes=("image", "head", "visiting class token", "itself, then patches of the other branch")
        )
        self.proj = nn.Linear(dim, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + N, C) -> (B, 1, C)."""
        y = self.norm(x)
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.q(y[:, :1]), self.k(y), self.v(y))
        )  # (B, heads, 1, d), (B, heads, 1 + N, d) twice
        y = self.attend(q, k, v).transpose(1, 2).flatten(2)  # (B, 1, C)
        return x[:, :1] + self.drop_path(self.proj(y))


class Exchange(nn.Module):
    """Blocks in both branches, then each class token visits the other branch.

    Args:
        dims: numbers of a token in both branches.
        depths: blocks in both branches.
        num_heads: heads of all attention.
        mlp_ratio: width of the feed-forward parts over the tokens'.
        rates: stochastic depth of the blocks.

    Shapes:
        two of (B, 1 + N_i, C_i) -> the same
    """

    def __init__(
        self, dims: tuple[int, int], depths: tuple[int, int], num_heads: int, mlp_ratio: float, rates: list[float]
    ):
        super().__init__()
        self.blocks, self.leave, self.visit, self.home = (nn.ModuleList() for _ in range(4))
        for (dim, other), depth in zip((dims, dims[::-1]), depths):
            blocks = nn.Sequential()
            for rate in rates[:depth]:
                mlp = Mlp(dim, int(mlp_ratio * dim))
                blocks.append(TransformerBlock(dim, SelfAttention(dim, num_heads), mlp, rate))
            self.blocks.append(blocks)
            self.leave.append(Bridge(dim, other))
            self.visit.append(CrossAttention(other, num_heads, rates[-1]))
            self.home.append(Bridge(other, dim))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Two of (B, 1 + N_i, C_i) -> the same."""
        branches = [blocks(x) for blocks, x in zip(self.blocks, branches)]
        changed = []
        for i, x in enumerate(branches):
            there = torch.cat([self.leave[i](x[:, :1]), branches[1 - i][:, 1:]], 1)  # (B, 1 + N of the other, C there)
            changed.append(torch.cat([self.home[i](self.visit[i](there)), x[:, 1:]], 1))
        return changed


class MeanOfHeads(nn.ModuleList):
    """A linear classifier for each branch's class token, and the mean of their logits.

    Args:
        dims: numbers of a token in both branches.
        num_classes: number of logits.

    Shapes:
        (B, C_0 + C_1) -> (B, num_classes)
    """

    def __init__(self, dims: tuple[int, int], num_classes: int):
        super().__init__(nn.Linear(dim, num_classes) for dim in dims)
        self.dims = list(dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_0 + C_1) -> (B, num_classes)."""
        first, second = (head(part) for head, part in zip(self, x.split(self.dims, 1)))
        return (first + second) / 2


class CrossViT(Classifier):
    """Two transformers of different patches, three exchanges, two heads.

    Args:
        dims: numbers of a token in the branches of the small and of the large patches.
        depth: blocks of the large patches' branch between two exchanges; the other one has a single block.
        num_heads: heads of all attention.
        mlp_ratio: width of the feed-forward parts over the tokens'.
        conv_embed: make the patches by three convolutions.
        num_classes: number of logits; 0 gives both class tokens (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a number of the class tokens is dropped before the heads in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), H and W at least 2.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 2

    def __init__(
        self,
        dims: tuple[int, int],
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        conv_embed: bool = False,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("CrossViT", dims=min(dims), depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio)
        super().__init__(in_chans, sum(dims), dropout)
        self.dims = tuple(dims)
        embed = ConvPatchEmbed if conv_embed else PatchEmbed
        self.embeds = nn.ModuleList(embed(in_chans, dim, patch) for dim, patch in zip(dims, PATCHES))
        self.class_tokens = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, dim)) for dim in dims)
        sides = (SIDE // PATCHES[0], SIDE * 14 // 15 // PATCHES[1])
        self.positions = nn.ModuleList(PositionTable((side, side), dim, prefix=1) for side, dim in zip(sides, dims))
        rates = drop_path_rates(drop_path_rate, (depth,) * EXCHANGES)
        self.exchanges = nn.ModuleList(Exchange(dims, (1, depth), num_heads, mlp_ratio, r) for r in rates)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=EPS) for dim in dims)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def reset_head(self, num_classes: int) -> None:
        """Put a fresh linear classifier on each class token, or none at all if ``num_classes`` is 0."""
        super().reset_head(num_classes)
        if num_classes:
            self.head = MeanOfHeads(self.dims, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> both class tokens, normalised, (B, num_features)."""
        self.check_input(x)
        small = [side * 14 // 15 for side in x.shape[2:]]
        branches = []
        for image, embed, first, positions in zip(
            (x, F.interpolate(x, small, mode="bicubic")), self.embeds, self.class_tokens, self.positions
        ):
            tokens = embed(image)  # (B, h, w, C)
            grid = tokens.shape[1:3]
            tokens = torch.cat([first.expand(x.shape[0], -1, -1), tokens.flatten(1, 2)], 1)  # (B, 1 + N, C)
            branches.append(positions(tokens, grid))
        for exchange in self.exchanges:
            branches = exchange(branches)
        return torch.cat([norm(tokens[:, 0]) for norm, tokens in zip(self.norms, branches)], 1)

    def pre_logits(self, x: Tensor) -> Tensor:
        """Both class tokens as they are: (B, num_features)."""
        return x


MODELS = {
    "crossvit_tiny": partial(CrossViT, (96, 192), depth=4, num_heads=3, mlp_ratio=4),
    "crossvit_small": partial(CrossViT, (192, 384), depth=4, num_heads=6, mlp_ratio=4),
    "crossvit_base": partial(CrossViT, (384, 768), depth=4, num_heads=12, mlp_ratio=4),
    "crossvit_9": partial(CrossViT, (128, 256), depth=3, num_heads=4, mlp_ratio=3),
    "crossvit_15": partial(CrossViT, (192, 384), depth=5, num_heads=6, mlp_ratio=3),
    "crossvit_18": partial(CrossViT, (224, 448), depth=6, num_heads=7, mlp_ratio=3),
}
MODELS |= {
    f"{name}_dagger": partial(MODELS[name], conv_embed=True) for name in ("crossvit_9", "crossvit_15", "crossvit_18")
}
REFERENCES = {name: (f"timm:{name}_240",) for name in MODELS}
