"""ViT-Adapter: a plain ViT learns to see at four sizes, and its own weights stay as they were trained.

Paper: chen2023vision, sections 3.2 to 3.4, figure 4. Beside the transformer runs a small convolutional network that
knows edges and sizes. Before each quarter of the transformer's blocks its tokens may read from the convolutional maps
(injector), and behind it the maps read from the tokens (extractor):

    x = x + gamma · D(LN(x), LN(c)),    x = blocks(x),    c = c + D(LN(c), LN(x)),    c = c + FFN(LN(c))

D is deformable attention (zhu2021deformable): a query does not look everywhere but at four points for each size, whose
places and weights it computes itself. gamma starts at zero, so that the ViT starts as it is.

Cost: 2.2 M parameters beside ViT-T's 5.5 M, and N · 4 · C multiply-adds for reading, where attention has N^2 C.

Where this differs: nothing from the official code for segmentation, which adds the tokens behind each quarter to one of
the four maps. (The code for detection adds the last ones to all four.) It keeps the centres of the pixels in float32
even where it computes in float64, which shows in the eighth digit. The official network has no head: with
``num_classes=0``, the default, this gives the map at stride 4; with classes a 1x1 convolution reads that map alone, so
that the norms of the other three learn nothing. ``stitchwork.encoder_decoder`` puts a decoder on all four.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    ConvNormAct,
    DropPath,
    Mlp,
    PatchEmbed,
    PositionTable,
    Segmenter,
    SelfAttention,
    TransformerBlock,
    bilinear,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_conv_weights,
    init_truncated_normal,
    weighted_sums,
    zero_border,
)

PAPER = "chen2023vision"
CHAPTER = "22_dense_heads"

Grid = tuple[int, int]
LayerNorm = partial(nn.LayerNorm, eps=1e-6)
GROUPS = 4


class DeformableAttention(nn.Module):
    """Each query reads a few points of each of several maps, at places that it computes from itself.

    Paper: zhu2021deformable, eq. 3.

    Args:
        dim: numbers C of a token.
        num_heads: heads.
        levels: maps that are read.
        points: points of each map, for each head.
        ratio: numbers of a value over those of a token.

    Shapes:
        queries (B, M, C), their places (M, 2), tokens of all maps (B, N, C) -> (B, M, C)
    """

    def __init__(self, dim: int, num_heads: int, levels: int, points: int = 4, ratio: float = 1.0):
        super().__init__()
        check_multiple("DeformableAttention", int(ratio * dim), num_heads=num_heads)
        self.num_heads, self.levels, self.points = num_heads, levels, points
        self.offsets = nn.Linear(dim, num_heads * levels * points * 2)
        self.weights = nn.Linear(dim, num_heads * levels * points)
        self.value, self.proj = nn.Linear(dim, int(ratio * dim)), nn.Linear(int(ratio * dim), dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start with every head looking in a direction of its own, a pixel further with each point."""
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angles.cos(), angles.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)  # (heads, 2)
        steps = torch.arange(1, self.points + 1)
        start = (direction[:, None, None] * steps[:, None]).expand(
            -1, self.levels, -1, -1
        )  # (heads, levels, points, 2)
        for layer in (self.offsets, self.weights):
            layer.weight.zero_()
            layer.bias.zero_()
        self.offsets.bias.copy_(start.flatten())
        for layer in (self.value, self.proj):
            nn.init.xavier_uniform_(layer.weight)
            layer.bias.zero_()

    def forward(self, queries: Tensor, places: Tensor, tokens: Tensor, grids: list[Grid]) -> Tensor:
        """Read; ``places`` are row and column of each query as shares of the image, ``grids`` the sizes of the maps."""
        heads = (self.num_heads, self.levels, self.points)
        offsets = (
            self.offsets(queries).unflatten(2, (*heads, 2)).permute(0, 2, 3, 1, 4, 5)
        )  # (B, heads, levels, M, P, 2)
        weights = self.weights(queries).unflatten(2, (self.num_heads, -1)).softmax(3)
        weights = weights.unflatten(3, heads[1:]).permute(0, 2, 3, 1, 4)  # (B, heads, levels, M, P)
        values = self.value(tokens).unflatten(2, (self.num_heads, -1))  # (B, N, heads, d)
        pixels, index, weight, start = [], [], [], 0
        parts = values.split([h * w for h, w in grids], 1)
        for level, (grid, part) in enumerate(zip(grids, parts, strict=True)):
            height, width = grid
            # Offsets are in pixels of the map, columns before rows.
            columns = places[:, 1, None] * width - 0.5 + offsets[:, :, level, ..., 0]
            rows = places[:, 0, None] * height - 0.5 + offsets[:, :, level, ..., 1]  # (B, heads, M, P)
            i, w = bilinear(rows, columns, height, width, weights[:, :, level])  # (B, heads, M, P, 4)
            image = part.permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, grid)  # (B heads, d, h, w)
            pixels.append(zero_border(image).flatten(1, 2))
            index.append((i + start).flatten(0, 1).flatten(2))
            weight.append(w.flatten(0, 1).flatten(2))
            start += (height + 2) * (width + 2)
        y = weighted_sums(torch.cat(pixels, 1), torch.cat(index, 2), torch.cat(weight, 2))  # (B heads, M, d)
        return self.proj(y.unflatten(0, (-1, self.num_heads)).transpose(1, 2).flatten(2))


def centres(grids: list[Grid], like: Tensor) -> Tensor:
    """Row and column of all pixels of some maps, one map after the other, as shares of the image: (N, 2).

    At least float32, whatever the tokens are: half precision knows no tenth of a pixel of a large map.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    places = []
    for grid in grids:
        rows, columns = ((torch.arange(side, device=like.device, dtype=dtype) + 0.5) / side for side in grid)
        places.append(torch.cartesian_prod(rows, columns))
    return torch.cat(places)


class ConvFeedForward(nn.Module):
    """Linear, a depthwise 3x3 within each map, GELU, linear.

    Args:
        dim: numbers C of a token.
        hidden: width between the layers.

    Shapes:
        (B, N, C) -> (B, N, C)
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, grids: list[Grid]) -> Tensor:
        """The tokens of maps of sizes ``grids``, one map after the other: (B, N, C) -> (B, N, C)."""
        parts = self.fc1(x).transpose(1, 2).split([h * w for h, w in grids], 2)  # (B, hidden, h w) each
        convolved = [
            self.depthwise(part.unflatten(2, grid)).flatten(2) for part, grid in zip(parts, grids, strict=True)
        ]
        return self.fc2(F.gelu(torch.cat(convolved, 2).transpose(1, 2)))


class Injector(nn.Module):
    """The transformer's tokens read the convolutional maps.

    Args:
        dim: numbers C of a token.
        num_heads: heads of the deformable attention.
        ratio: numbers of a value over those of a token.

    Shapes:
        x (B, M, C), c (B, N, C), places of x (M, 2) -> (B, M, C)
    """

    def __init__(self, dim: int, num_heads: int, ratio: float):
        super().__init__()
        self.query_norm, self.value_norm = LayerNorm(dim), LayerNorm(dim)
        self.attn = DeformableAttention(dim, num_heads, levels=3, ratio=ratio)
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, c: Tensor, places: Tensor, grids: list[Grid]) -> Tensor:
        """(B, M, C), (B, N, C), (M, 2) -> (B, M, C); ``grids`` are the sizes of the maps in ``c``."""
        return x + self.gamma * self.attn(self.query_norm(x), places, self.value_norm(c), grids)


class Extractor(nn.Module):
    """The convolutional maps read the transformer's tokens.

    Args:
        dim: numbers C of a token.
        num_heads: heads of the deformable attention.
        ratio: numbers of a value over those of a token.
        drop_path_rate: probability with which an image loses the feed-forward part in training.

    Shapes:
        c (B, N, C), x (B, M, C), places of c (N, 2) -> (B, N, C)
    """

    def __init__(self, dim: int, num_heads: int, ratio: float, drop_path_rate: float = 0.0):
        super().__init__()
        self.query_norm, self.value_norm = LayerNorm(dim), LayerNorm(dim)
        self.attn = DeformableAttention(dim, num_heads, levels=1, ratio=ratio)
        self.ffn_norm, self.ffn = LayerNorm(dim), ConvFeedForward(dim, dim // 4)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, c: Tensor, x: Tensor, places: Tensor, grids: list[Grid]) -> Tensor:
        """(B, N, C), (B, M, C), (N, 2) -> (B, N, C); ``grids`` are the sizes of the maps in ``c``, x has the second."""
        c = c + self.attn(self.query_norm(c), places, self.value_norm(x), grids[1:2])
        return c + self.drop_path(self.ffn(self.ffn_norm(c), grids))


class TokenScale(nn.Module):
    """A learned factor for each number of a token, which starts at one.

    Args:
        dim: numbers C of a token.

    Shapes:
        (..., C) -> (..., C)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.gamma


class SpatialPrior(nn.Module):
    """A small convolutional network with maps at strides 4, 8, 16 and 32.

    Args:
        in_chans: channels of the input image.
        dim: channels of each map.

    Shapes:
        (B, in_chans, H, W) -> four maps (B, dim, H_i, W_i)
    """

    def __init__(self, in_chans: int, dim: int):
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    ConvNormAct(in_chans, 64, 3, 2),
                    ConvNormAct(64, 64, 3),
                    ConvNormAct(64, 64, 3),
                    nn.MaxPool2d(3, 2, 1),
                ),
                ConvNormAct(64, 128, 3, 2),
                ConvNormAct(128, 256, 3, 2),
                ConvNormAct(256, 256, 3, 2),
            ]
        )
        self.project = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in (64, 128, 256, 256))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, in_chans, H, W) -> four maps (B, dim, H_i, W_i)."""
        maps = []
        for stage, project in zip(self.stages, self.project):
            x = stage(x)
            maps.append(project(x))
        return maps


class ViTAdapter(Segmenter):
    """A ViT in four groups of blocks, and a convolutional network that talks with it between them.

    Args:
        dim: numbers C of a token.
        depth: blocks of the ViT, a multiple of 4.
        num_heads: heads of its attention.
        deform_heads: heads of the deformable attention.
        deform_ratio: numbers of its values over those of a token.
        num_classes: number of logits for each pixel; 0 gives the map at stride 4, (B, dim, H / 4, W / 4).
        in_chans: channels of the input image.
        train_size: height and width of the images that the table of positions is made for; others may come.
        drop_path_rate: stochastic depth of the ViT's last block, growing linearly from 0 at the first, and of every
            extractor.

    Attributes:
        multiple: 32: the smallest map has a pixel for 32 x 32 of the image.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), H and W multiples of 32.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    multiple = 32

    def __init__(
        self,
        dim: int,
        num_heads: int,
        deform_heads: int,
        deform_ratio: float = 1.0,
        depth: int = 12,
        num_classes: int = 0,
        in_chans: int = 3,
        *,
        train_size: int = 224,
        drop_path_rate: float = 0.0,
    ):
        check_positive("ViTAdapter", dim=dim, num_heads=num_heads, deform_heads=deform_heads, train_size=train_size)
        check_positive("ViTAdapter", depth=depth, deform_ratio=deform_ratio)
        if depth % GROUPS:
            raise ValueError(f"ViTAdapter: depth must be a multiple of {GROUPS}; got {depth}")
        super().__init__(in_chans, dim)
        self.pyramid_channels = (dim,) * 4
        side = -(-train_size // 16)
        self.patch_embed = PatchEmbed(in_chans, dim, 16)
        # One place is that of the class token, which is not here: so the table of a trained ViT fits.
        self.positions = PositionTable((side, side), dim, prefix=1, antialias=False)
        (rates,) = drop_path_rates(drop_path_rate, (depth,))
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim,
                nn.Sequential(SelfAttention(dim, num_heads), TokenScale(dim)),
                nn.Sequential(Mlp(dim, 4 * dim), TokenScale(dim)),
                rate,
            )
            for rate in rates
        )
        self.prior = SpatialPrior(in_chans, dim)
        self.levels = nn.Parameter(torch.randn(3, dim))
        self.injectors = nn.ModuleList(Injector(dim, deform_heads, deform_ratio) for _ in range(GROUPS))
        # Three behind the last group, one behind the others.
        self.extractors = nn.ModuleList(
            nn.ModuleList(Extractor(dim, deform_heads, deform_ratio, drop_path_rate) for _ in range(3 if last else 1))
            for last in (False,) * (GROUPS - 1) + (True,)
        )
        self.up = nn.ConvTranspose2d(dim, dim, 2, 2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(dim) for _ in range(4))
        self.apply(init_truncated_normal)
        self.prior.apply(init_conv_weights)
        for part in self.modules():
            if isinstance(part, DeformableAttention):
                part.reset_parameters()
        self.reset_head(num_classes)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four maps, at strides 4, 8, 16 and 32: (B, dim, H_i, W_i)."""
        self.check_input(x)
        finest, *maps = self.prior(x)
        grids = [tuple(part.shape[2:]) for part in maps]  # at strides 8, 16 and 32
        c = torch.cat([part.flatten(2).transpose(1, 2) + level for part, level in zip(maps, self.levels)], 1)
        x = self.patch_embed(x).flatten(1, 2)  # (B, M, C)
        x = x + self.positions.at(grids[1])[:, 1:]
        of_tokens, of_pixels = centres(grids[1:2], x), centres(grids, c)
        states = []
        per_group = len(self.blocks) // GROUPS
        for group, (injector, extractors) in enumerate(zip(self.injectors, self.extractors)):
            x = injector(x, c, of_tokens, grids)
            for block in self.blocks[group * per_group : (group + 1) * per_group]:
                x = block(x)
            for extractor in extractors:
                c = extractor(c, x, of_pixels, grids)
            states.append(x.transpose(1, 2).unflatten(2, grids[1]))  # (B, C, H / 16, W / 16)
        maps = [
            part.transpose(1, 2).unflatten(2, grid) for part, grid in zip(c.split([h * w for h, w in grids], 1), grids)
        ]
        maps = [self.up(maps[0]) + finest, *maps]
        scaled = [
            state if scale == 1 else F.interpolate(state, scale_factor=scale, mode="bilinear")
            for state, scale in zip(states, (4, 2, 1, 0.5))
        ]
        return [norm(part + state) for norm, part, state in zip(self.norms, maps, scaled)]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dim, H / 4, W / 4)."""
        return self.forward_pyramid(x)[0]


MODELS = {
    "vit_adapter_tiny": partial(ViTAdapter, 192, 3, 6),
    "vit_adapter_small": partial(ViTAdapter, 384, 6, 6),
    "vit_adapter_base": partial(ViTAdapter, 768, 12, 12, 0.5),
}
REFERENCES = {
    name: ("recorded:vit_adapter_tiny",) if name == "vit_adapter_tiny" else (f"counted:{name}",) for name in MODELS
}
