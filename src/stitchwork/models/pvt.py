"""PVT: a transformer whose maps shrink like those of a convolutional network.

Paper: wang2021pyramid, sections 3.2 and 3.3, table 1. ViT's tokens are all of one coarse size; detection and
segmentation want a pyramid. PVT begins with patches of 4 x 4 pixels and makes 2 x 2 of them one at the entrance of each
further stage. On its large maps full attention could not be paid for, so keys and values are those of cells of
8 x 8, 4 x 4, 2 x 2 and 1 x 1 tokens (spatial-reduction attention, ``layers.ReducedAttention``):

    SRA(Q, K, V) = attention(Q, SR(K), SR(V)),  SR(x) = LN(W_s · cells of s x s)       eqs. 2 and 4

Cost, with N tokens of C numbers and cells of s x s: 2 N^2 C / s^2 multiply-adds for the attention. PVT-Small: 24.5 M
parameters, 3.8 G multiply-adds.

Where this differs: nothing from the official code at 224 pixels. Learned positions belong to each stage; for another
size they are interpolated bilinearly, as there. A class token joins in the last stage only. An image that 32 does not
divide is filled up with zeros at each entrance.
"""

from functools import partial

import torch
from torch import Tensor, nn

from stitchwork.layers import (
    Classifier,
    Mlp,
    PatchEmbed,
    PositionTable,
    ReducedAttention,
    TransformerBlock,
    check_positive,
    drop_path_rates,
    init_truncated_normal,
)

PAPER = "wang2021pyramid"
CHAPTER = "18_pyramids"

DIMS, HEADS, MLP_RATIOS, SR_RATIOS = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1)


class PVT(Classifier):
    """Four stages of transformer blocks with reduced keys and values.

    Args:
        depths: blocks of each stage.
        num_classes: number of logits; 0 gives the class token's last state (B, 512).
        in_chans: channels of the input image.
        image_size: side of the images that the positions are learned on; others get interpolated positions.
        dropout: probability with which a number of the class token is dropped before the head in training.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 at the first.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes), any H and W.

    Raises:
        ValueError: wrong rank or channel count of the input; an argument out of range.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        image_size: int = 224,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        check_positive("PVT", depths=min(depths), image_size=image_size)
        super().__init__(in_chans, DIMS[-1], dropout)
        self.pyramid_channels = DIMS
        rates = drop_path_rates(drop_path_rate, depths)
        self.patch_embeds, self.positions, self.stages = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        dim, side = in_chans, image_size
        for stage, (out_dim, heads, ratio, cell) in enumerate(zip(DIMS, HEADS, MLP_RATIOS, SR_RATIOS)):
            patch = 2 if stage else 4
            dim, side, last = out_dim, -(-side // patch), stage == 3
            self.patch_embeds.append(PatchEmbed(DIMS[stage - 1] if stage else in_chans, dim, patch, nn.LayerNorm))
            self.positions.append(PositionTable((side, side), dim, int(last), "bilinear", antialias=False))
            self.stages.append(
                nn.Sequential(
                    *[
                        TransformerBlock(dim, ReducedAttention(dim, heads, cell), Mlp(dim, ratio * dim), rate)
                        for rate in rates[stage]
                    ]
                )
            )
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.reset_head(num_classes)
        self.apply(init_truncated_normal)

    def forward_stages(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Four maps (B, C_i, H_i, W_i), and the last tokens (B, 1 + N, 512), the class token first."""
        self.check_input(x)
        maps = []
        for stage, (embed, positions, blocks) in enumerate(zip(self.patch_embeds, self.positions, self.stages)):
            x = embed(x)  # (B, h, w, C)
            grid = x.shape[1:3]
            x = x.flatten(1, 2)  # (B, N, C)
            if stage == 3:
                x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1)  # (B, 1 + N, C)
                tokens = blocks(positions(x, grid)[:, None])[:, 0]  # one row of tokens, which nothing reduces
                x = tokens[:, 1:].unflatten(1, grid)
            else:
                x = blocks(positions(x, grid).unflatten(1, grid))  # (B, h, w, C)
            x = x.permute(0, 3, 1, 2)  # (B, C, h, w)
            maps.append(x)
        return maps, tokens

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """Four feature maps, at strides 4, 8, 16 and 32: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        return self.forward_stages(x)[0]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the tokens (B, 1 + N, 512), the class token first."""
        return self.norm(self.forward_stages(x)[1])

    def pre_logits(self, x: Tensor) -> Tensor:
        """The class token: (B, 1 + N, 512) -> (B, 512)."""
        return x[:, 0]


MODELS = {
    "pvt_tiny": partial(PVT, (2, 2, 2, 2)),
    "pvt_small": partial(PVT, (3, 4, 6, 3)),
    "pvt_medium": partial(PVT, (3, 4, 18, 3)),
    "pvt_large": partial(PVT, (3, 8, 27, 3)),
}
REFERENCES = {name: ("recorded:pvt_tiny",) if name == "pvt_tiny" else (f"counted:{name}",) for name in MODELS}
