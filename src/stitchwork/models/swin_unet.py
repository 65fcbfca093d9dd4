"""Swin-Unet: a U-Net without a convolution that looks further than its own patch.

Paper: cao2022swinunet, section 3, figure 1. The encoder is Swin's, two blocks to a stage; the decoder is made of the
same blocks. Where the encoder merges four pixels into one of twice the channels, the decoder takes one apart into four:

    expand: (H, W, C) -> linear (H, W, 2 C) -> (2 H, 2 W, C / 2) -> LayerNorm

The encoder's map of the same size is joined, and a linear layer halves the channels. At the end every pixel, which
stands for a patch of 4 x 4, is taken apart into sixteen.

Cost: 27.2 M parameters and 6.1 G multiply-adds at 224 pixels.

Where this differs: nothing from the official code at 224 pixels, the only size that it takes. (Its configuration file
asks for one block in a stage of the decoder; the code does not read that.) For one channel the official code repeats
the image three times, which is the same as a first layer for one channel whose weights are the sums over three.
"""

import torch
from torch import Tensor, nn

from stitchwork.layers import (
    PatchEmbed,
    Segmenter,
    check_multiple,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)
from stitchwork.models.swin import PatchMerging, SwinBlock

PAPER = "cao2022swinunet"
CHAPTER = "23_evit_unet"


class PatchExpanding(nn.Module):
    """One pixel becomes ``side`` x ``side`` pixels.

    Args:
        dim: channels C.
        hidden: channels in which the pixels lie side by side.
        side: pixels in a row.

    Shapes:
        (B, H, W, C) -> (B, side H, side W, hidden / side^2)
    """

    def __init__(self, dim: int, hidden: int, side: int):
        super().__init__()
        self.side = side
        self.expand = nn.Linear(dim, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden // side**2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, side H, side W, hidden / side^2)."""
        x = self.expand(x).unflatten(3, (self.side, self.side, -1))  # (B, H, W, side, side, C')
        return self.norm(x.transpose(2, 3).flatten(3, 4).flatten(1, 2))


class SwinUNet(Segmenter):
    """Four stages of window attention down, and four up.

    Args:
        dim: channels of the first stage; each further one has twice as many.
        depths: blocks of each stage, down and up.
        num_heads: heads of each stage.
        window: side of a window in pixels of the map.
        num_classes: number of logits for each pixel; 0 gives the features (B, dim, H, W).
        in_chans: channels of the input image.
        drop_path_rate: stochastic depth of the block at the bottom, growing linearly from 0 at the first and falling
            towards the last (0.2 in the paper).

    Attributes:
        multiple: 32: the first patches have 4 pixels, and three times four pixels are merged.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), H and W multiples of 32.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    multiple = 32

    def __init__(
        self,
        dim: int = 96,
        depths: tuple[int, int, int, int] = (2, 2, 2, 2),
        num_heads: tuple[int, int, int, int] = (3, 6, 12, 24),
        window: int = 7,
        num_classes: int = 9,
        in_chans: int = 3,
        *,
        drop_path_rate: float = 0.0,
    ):
        check_positive("SwinUNet", dim=dim, depths=min(depths), num_heads=min(num_heads), window=window)
        check_multiple("SwinUNet", dim, num_heads=num_heads[0])
        super().__init__(in_chans, dim, head_bias=False)
        self.pyramid_channels = dims = tuple(dim * 2**stage for stage in range(4))
        rates = drop_path_rates(drop_path_rate, depths)

        def blocks(stage: int) -> nn.Sequential:
            return nn.Sequential(
                *[
                    SwinBlock(dims[stage], num_heads[stage], window, i % 2 == 1, drop_path=rate)
                    for i, rate in enumerate(rates[stage])
                ]
            )

        self.patch_embed = PatchEmbed(in_chans, dim, 4, nn.LayerNorm)
        self.down = nn.ModuleList(blocks(stage) for stage in range(4))
        self.merge = nn.ModuleList(PatchMerging(d) for d in dims[:3])
        self.bottom_norm = nn.LayerNorm(dims[3])
        # From the bottom up.
        self.expand = nn.ModuleList(PatchExpanding(d, 2 * d, 2) for d in dims[:0:-1])
        self.join = nn.ModuleList(nn.Linear(2 * d, d) for d in dims[2::-1])
        self.up = nn.ModuleList(blocks(stage) for stage in (2, 1, 0))
        self.norm = nn.LayerNorm(dim)
        self.last_expand = PatchExpanding(dim, 16 * dim, 4)
        self.apply(init_truncated_normal)
        self.reset_head(num_classes)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """What goes across to the decoder, at strides 4, 8 and 16, and the map at the bottom, at stride 32.

        What goes across is what went into a stage of the encoder, not what came out of it.
        """
        self.check_input(x)
        maps = [self.patch_embed(x).permute(0, 3, 1, 2)]  # (B, C, H / 4, W / 4)
        for blocks, merge in zip(self.down, self.merge):
            maps.append(merge(blocks(maps[-1].permute(0, 2, 3, 1))).permute(0, 3, 1, 2))  # (B, 2 C_i, H_i / 2, W_i / 2)
        return [*maps[:-1], self.down[-1](maps[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dim, H, W)."""
        *skips, x = (part.permute(0, 2, 3, 1) for part in self.forward_pyramid(x))
        x = self.bottom_norm(x)  # (B, H / 32, W / 32, 8 C)
        for expand, join, blocks, skip in zip(self.expand, self.join, self.up, skips[::-1]):
            x = blocks(join(torch.cat([expand(x), skip], 3)))  # (B, H_i, W_i, C_i)
        return self.last_expand(self.norm(x)).permute(0, 3, 1, 2)  # (B, C, H, W)


MODELS = {"swin_unet_tiny": SwinUNet}
REFERENCES = {"swin_unet_tiny": ("recorded:swin_unet_tiny",)}
