"""Attention U-Net: what comes across from the encoder passes a gate that the decoder sets, pixel by pixel.

Paper: oktay2018attention, section 2, eqs. 1 and 2. Much of an encoder's map is background that the decoder has ruled
out already. A gate at each size compares the encoder's map x with the decoder's g, and lets through what fits:

    gate = sigmoid(BN(w · relu(BN(W_x x) + BN(W_g g)))),    skip = gate · x

Cost: 34.9 M parameters and 50.9 G multiply-adds at 224 pixels; the gates have 1.0 % and 1.6 % of them.

Where this differs: from the paper, as the most used code in two dimensions: g is the decoder's map after it was
doubled, so that nothing is resampled inside the gate; each linear map has a bias and a BatchNorm; the decoder doubles
by repeating pixels, with a 3x3 convolution behind. That code takes multiples of 16 only; here a map is doubled to
whatever size the encoder's has.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, Segmenter, check_positive, init_conv_weights
from stitchwork.models.unet import WIDTHS, Double

PAPER = "oktay2018attention"
CHAPTER = "21_unet_and_its_losses"


class AttentionGate(nn.Module):
    """Let through of the encoder's map what the decoder asks for.

    Args:
        dim: channels C of both maps.
        hidden: channels in which they are compared.

    Shapes:
        the decoder's g (B, C, H, W), the encoder's x (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.of_decoder = ConvNormAct(dim, hidden, act=None, bias=True)
        self.of_encoder = ConvNormAct(dim, hidden, act=None, bias=True)
        self.gate = ConvNormAct(hidden, 1, act=nn.Sigmoid, bias=True)

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        """(B, C, H, W), (B, C, H, W) -> (B, C, H, W)."""
        return x * self.gate(F.relu(self.of_decoder(g) + self.of_encoder(x)))


class GatedUp(nn.Module):
    """Double the map, gate the encoder's with it, join them, convolve twice.

    Args:
        dim: channels C.
        out_dim: channels C' of the encoder's map and of the output.

    Shapes:
        (B, C, h, w), the encoder's (B, C', H, W) -> (B, C', H, W)
    """

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.narrow = ConvNormAct(dim, out_dim, 3, bias=True)
        self.gate = AttentionGate(out_dim, out_dim // 2)
        self.convolve = Double(2 * out_dim, out_dim, bias=True)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, h, w), (B, C', H, W) -> (B, C', H, W)."""
        x = self.narrow(F.interpolate(x, size=skip.shape[2:], mode="nearest"))
        return self.convolve(torch.cat([self.gate(x, skip), x], 1))


class AttentionUNet(Segmenter):
    """U-Net with a gate on each way across.

    Args:
        widths: channels at the five sizes.
        num_classes: number of logits for each pixel; 0 gives the features (B, widths[0], H, W).
        in_chans: channels of the input image.

    Attributes:
        min_size: 16: a smaller image has no pixel left at the bottom.

    Shapes:
        (B, in_chans, H, W) -> (B, num_classes, H, W), any H and W from 16 on.

    Raises:
        ValueError: wrong rank, channel count or size of the input; an argument out of range.
    """

    min_size = 16

    def __init__(self, widths: tuple[int, ...] = WIDTHS, num_classes: int = 1, in_chans: int = 3):
        check_positive("AttentionUNet", widths=min(widths))
        super().__init__(in_chans, widths[0])
        self.pyramid_channels = tuple(widths)
        self.down = nn.ModuleList(Double(a, b, bias=True) for a, b in zip((in_chans, *widths), widths))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(GatedUp(below, dim) for below, dim in pairwise(widths[::-1]))
        self.apply(init_conv_weights)
        self.reset_head(num_classes)

    def forward_pyramid(self, x: Tensor) -> list[Tensor]:
        """The encoder's five maps, at strides 1, 2, 4, 8 and 16: (B, ``pyramid_channels[i]``, H_i, W_i)."""
        self.check_input(x)
        maps = [self.down[0](x)]
        for down in self.down[1:]:
            maps.append(down(self.pool(maps[-1])))
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, widths[0], H, W)."""
        *skips, x = self.forward_pyramid(x)
        for up, skip in zip(self.up, skips[::-1]):
            x = up(x, skip)
        return x


MODELS = {"attention_unet": AttentionUNet}
REFERENCES = {"attention_unet": ("recorded:attention_unet",)}
