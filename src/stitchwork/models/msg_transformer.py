"""MSG-Transformer: every window has a messenger, and only the messengers meet.

Paper: fang2022msg, sections 3.2 to 3.4, table 2. Each window of 7 x 7 pixels gets a token of its own. In the attention
of a window this messenger hears its 49 pixels and they hear it. Then the messengers of a region of windows exchange
what they hold, by swapping slices of their channels, which costs no arithmetic at all; in the next block each tells its
window what it got:

    [m; x] = [m; x] + attention(LN([m; x]))                    in every window, with a bias for each offset
    m_i    = concat(slice_i(m_1), ..., slice_i(m_G))           among the G windows of a region
    [m; x] = [m; x] + mlp(LN([m; x]))

Between the stages a strided 3x3 halves the map of the pixels, and the same layer the map of the messengers. The last
messenger is classified.

Cost: attention among 50 tokens for each window, 2 · 50^2 C multiply-adds. MSG-T: 25.1 M parameters, 3.8 G
multiply-adds.

Where this differs: nothing from the official code at 224 pixels. Other images are filled up with zeros to a multiple of
224 pixels, so that windows and regions come out even: a small image costs what one of 224 pixels costs. Filled places
are keys to nobody and zero between the stages; messengers of empty windows still take part in the exchange. Where the
last map has several windows, their messengers are averaged.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    DropPath,
    Mlp,
    OverlapPatchEmbed,
    RelativePositionBias,
    ScaledDotProduct,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_conv_weights,
    init_truncated_normal,
)

PAPER = "fang2022msg"
CHAPTER = "19_windows"

WINDOW, REGIONS, SIDE = 7, (4, 4, 2, 1), 224  # REGIONS: side of a region in windows, for each stage


def to_windows(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, h, w, 49, C), the windows of a map that they fill."""
    x = x.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW))  # (B, h, 7, w, 7, C)
    return x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4)


def to_map(x: Tensor) -> Tensor:
    """(B, h, w, 49, C) -> (B, H, W, C)."""
    x = x.unflatten(3, (WINDOW, WINDOW)).permute(0, 1, 3, 2, 4, 5)  # (B, h, 7, w, 7, C)
    return x.flatten(3, 4).flatten(1, 2)


def exchange(messengers: Tensor, region: int) -> Tensor:
    """Messengers swap slices of their channels within regions of ``region`` x ``region`` windows.

    Shapes:
        (B, h, w, C) -> (B, h, w, C)
    """
    if region == 1:
        return messengers
    height, width = messengers.shape[1:3]
    x = messengers.unflatten(2, (-1, region)).unflatten(1, (-1, region)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4)
    group = region * region
    x = x.unflatten(4, (group, -1)).transpose(3, 4).flatten(4)  # (B, regions, regions, G, C): slices exchanged
    x = x.unflatten(3, (region, region)).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(messengers.shape[0], height, width, -1)


class MessengerAttention(nn.Module):
    """Attention among a messenger and the 49 pixels of its window.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads of the attention.

    Shapes:
        (B, 50, C), which pixels are real (B, 49) or None -> (B, 50, C)
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.position = RelativePositionBias((WINDOW, WINDOW), num_heads)
        self.messenger = nn.Parameter(torch.zeros(num_heads, 2, 1, 1))  # bias as a key, and as a query
        self.attend = ScaledDotProduct(axes=("image and window", "head", *("messenger, pixels of the window",) * 2))
        self.proj = nn.Linear(dim, dim)

    def bias(self) -> Tensor:
        """What each query adds to its products: (heads, 50, 50), the messenger first."""
        as_key, as_query = self.messenger.unbind(1)  # (heads, 1, 1) each
        pixels = self.position()  # (heads, 49, 49)
        count = pixels.shape[-1]
        pixels = torch.cat([as_key.expand(-1, count, 1), pixels], 2)  # (heads, 49, 50)
        return torch.cat([as_query.expand(-1, 1, count + 1), pixels], 1)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """(B, 50, C) -> (B, 50, C)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, 50, d) each
        bias = self.bias()[None]  # (1, heads, 50, 50)
        if real is not None:
            keys = F.pad(real, (1, 0), value=True)[:, None, None]  # (B, 1, 1, 50): the messenger is always there
            bias = bias + torch.zeros_like(keys, dtype=x.dtype).masked_fill(~keys, float("-inf"))
        return self.proj(self.attend(q, k, v, bias).transpose(1, 2).flatten(2))


class MessengerBlock(nn.Module):
    """Attention in the windows, exchange among the messengers, a perceptron for each token.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        region: side of a region in windows.
        drop_path: probability with which an image loses a branch in training.

    Shapes:
        (B, h, w, 50, C), which pixels are real (h, w, 49) or None -> (B, h, w, 50, C)
    """

    def __init__(self, dim: int, num_heads: int, region: int, drop_path: float = 0.0):
        super().__init__()
        self.region = region
        self.norm1, self.attn = nn.LayerNorm(dim), MessengerAttention(dim, num_heads)
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """(B, h, w, 50, C) -> (B, h, w, 50, C)."""
        windows = x.shape[:3]
        if real is not None:
            real = real.expand(x.shape[0], -1, -1, -1).flatten(0, 2)  # (B h w, 49)
        y = self.attn(self.norm1(x).flatten(0, 2), real).unflatten(0, windows)
        x = x + self.drop_path(y)
        x = torch.cat([exchange(x[:, :, :, 0], self.region)[:, :, :, None], x[:, :, :, 1:]], 3)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class MSGTransformer(Classifier):
    """Four stages of windows with messengers.

    Args:
        dim: channels of the first stage; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        num_classes: number of logits; 0 gives the last messenger (B, num_features).
        in_chans: channels of the input image.
        dropout: probability with which a number of the messenger is dropped before the head in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        dim: int,
        depths: tuple[int, int, int, int],
        num_heads: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("MSGTransformer", dim=dim, depths=min(depths), num_heads=min(num_heads))
        check_multiple("MSGTransformer", dim, num_heads=num_heads[0], slices=REGIONS[0] ** 2)
        super().__init__(in_chans, 8 * dim, dropout)
        self.pyramid_channels = tuple(dim * 2**stage for stage in range(4))
        self.patch_embed = OverlapPatchEmbed(in_chans, dim, 7, 4, padding=2)
        self.messengers = nn.Parameter(torch.empty(1, REGIONS[0] ** 2, 1, dim))
        nn.init.trunc_normal_(self.messengers, std=0.02)
        self.merges, self.stages = nn.ModuleList(), nn.ModuleList()
        for index, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            width = self.pyramid_channels[index]
            if index:
                self.merges.append(OverlapPatchEmbed(width // 2, width, 3, 2))
            self.stages.append(
                nn.ModuleList(MessengerBlock(width, num_heads[index], REGIONS[index], rate) for rate in rates)
            )
        self.norm = nn.LayerNorm(8 * dim)
        self.reset_head(num_classes)
        self.apply(init_conv_weights)
        self.apply(lambda module: init_truncated_normal(module) if isinstance(module, nn.Linear) else None)

    def forward_stages(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Four maps (B, C_i, H_i, W_i), and the last messengers (B, h, w, C)."""
        self.check_input(x)
        size = x.shape[2:]
        filled = [side + -side % SIDE for side in size]
        x = F.pad(x, (0, filled[1] - size[1], 0, filled[0] - size[0]))
        side = REGIONS[0]
        regions = [length // SIDE * 2 for length in filled]  # regions of 4 x 4 windows along each axis
        start = self.messengers.unflatten(1, (side, side)).squeeze(3)  # (1, 4, 4, C)
        messengers = start.repeat(x.shape[0], *regions, 1)  # (B, h, w, C)
        maps = []
        for index, blocks in enumerate(self.stages):
            stride = 4 * 2**index
            seen = [-(-length // stride) for length in size]
            blank = [length // stride - part for length, part in zip(filled, seen)]
            if index:
                merge = self.merges[index - 1]
                messengers = merge(messengers.permute(0, 3, 1, 2))  # (B, h, w, C)
                grown = [2 * (part + more) - side for part, more, side in zip(seen, blank, x.shape[2:])]
                x = merge(F.pad(x, (0, grown[1], 0, grown[0])))  # (B, H', W', C)
            else:
                x = self.patch_embed(x)  # (B, H', W', C)
            real = None
            if any(blank):
                inside = F.pad(x.new_ones(1, *seen, 1), (0, 0, 0, blank[1], 0, blank[0]))
                real = to_windows(inside)[..., 0] > 0  # (1, h, w, 49)
            tokens = torch.cat([messengers[:, :, :, None], to_windows(x)], 3)  # (B, h, w, 50, C)
            for block in blocks:
                tokens = block(tokens, real)
            messengers, x = tokens[:, :, :, 0], to_map(tokens[:, :, :, 1:])
            x = x[:, : seen[0], : seen[1]].permute(0, 3, 1, 2)  # (B, C, H_i, W_i)
            maps.append(x)
        return maps, messengers

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        return self.forward_stages(x)[0]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the last messengers, normalised, (B, windows, num_features)."""
        return self.norm(self.forward_stages(x)[1]).flatten(1, 2)

    def pre_logits(self, x: Tensor) -> Tensor:
        """The mean messenger: (B, windows, num_features) -> (B, num_features)."""
        return x.mean(1)


MODELS = {
    "msg_transformer_tiny": partial(MSGTransformer, dim=64, depths=(2, 4, 12, 4), num_heads=(2, 4, 8, 16)),
    "msg_transformer_small": partial(MSGTransformer, dim=96, depths=(2, 4, 12, 4), num_heads=(3, 6, 12, 24)),
    "msg_transformer_base": partial(MSGTransformer, dim=96, depths=(2, 4, 28, 4), num_heads=(3, 6, 12, 24)),
}
REFERENCES = {
    name: ("recorded:msg_transformer_tiny",) if name == "msg_transformer_tiny" else (f"counted:{name}",)
    for name in MODELS
}
