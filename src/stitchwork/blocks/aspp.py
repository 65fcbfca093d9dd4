"""Atrous spatial pyramid pooling: look at several distances at once, and keep everything that was seen.

Paper: chen2017rethinking, section 3.3. A pixel's class may hang on its surroundings at any distance. ASPP asks at five:
the pixel alone, its 3x3 neighbours at three distances (the rates), and the mean of the whole image. Nothing chooses
among the branches; a 1x1 convolution mixes them all:

    u_0 = relu(BN(conv_1x1 x))
    u_i = relu(BN(conv_3x3 x)), dilation r_i       r = 6, 12, 18
    g   = relu(BN(W mean over pixels of x))        one vector for the whole image
    y   = dropout(relu(BN(P [u_0; u_1; u_2; u_3; g])))

Cost, with n rates and C' channels out: (1 + 9 n + 1) C C' + (n + 2) C'^2 + 2 (n + 3) C' parameters;
(1 + 9 n) C C' + (n + 1) C'^2 multiply-adds for a pixel. The image's vector is projected once, not at each pixel.
Growth: N^1

Where this differs: the paper has 256 channels out and the rates for a map of stride 16; here the channels stay as they
are unless ``out_dim`` says otherwise, and dropout is torchvision's, 0.5 (the authors' own code: 0.1). On a map smaller
than a rate, all outer taps of that branch lie in the padding, and it is a 1x1 convolution. In training, the BatchNorm
of g cannot take a single image in torchvision, which is what refuses a batch of one there; here that image is
normalised with the running statistics. A widely copied version has 256 channels and five branches built in, so that any
other number of rates fails.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, PooledBatchNorm, check_image, check_positive

PAPER = "chen2017rethinking"
CHAPTER = "05_how_big"


class ASPP(nn.Module):
    """A 1 x 1 convolution, dilated 3 x 3 convolutions and the image's mean, side by side, then mixed.

    Args:
        dim: channels C.
        rates: dilations r of the 3 x 3 convolutions.
        out_dim: channels C' of each branch and of the output; C if not given.
        dropout: probability in [0, 1) with which a number of the output is dropped in training.

    Shapes:
        (B, C, H, W) -> (B, C', H, W). In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; a number of channels or a rate is not positive;
            ``dropout`` is not in [0, 1).
    """

    def __init__(self, dim: int, rates: Sequence[int] = (6, 12, 18), out_dim: int | None = None, dropout: float = 0.5):
        super().__init__()
        out_dim = dim if out_dim is None else out_dim
        check_positive("ASPP", dim=dim, out_dim=out_dim)
        if any(rate < 1 for rate in rates):
            raise ValueError(f"ASPP: rates must be greater than 0; got {tuple(rates)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"ASPP: dropout must be in [0, 1); got {dropout}")
        self.dim, self.out_dim = dim, out_dim
        self.point = ConvNormAct(dim, out_dim, 1)
        self.atrous = nn.ModuleList(ConvNormAct(dim, out_dim, 3, dilation=rate) for rate in rates)
        self.whole = nn.Sequential(nn.Conv2d(dim, out_dim, 1, bias=False), PooledBatchNorm(out_dim), nn.ReLU())
        self.project = ConvNormAct((len(rates) + 2) * out_dim, out_dim, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        check_image(x, self.dim, "ASPP")
        local = torch.cat([self.point(x), *(branch(x) for branch in self.atrous)], 1)  # (B, (n + 1) C', H, W)
        whole = self.whole(x.mean((2, 3), keepdim=True))  # (B, C', 1, 1)
        # The projection of a constant map is a constant map: project the vector, and add it to every pixel.
        conv, *layers = self.project.children()  # the BatchNorm, if it is not folded, and the activation
        weight = conv.weight  # (C', (n + 2) C', 1, 1)
        y = F.conv2d(local, weight[:, : -self.out_dim], conv.bias) + F.conv2d(whole, weight[:, -self.out_dim :])
        for layer in layers:
            y = layer(y)
        return self.drop(y)  # (B, C', H, W)


BLOCKS = {"aspp": ASPP}
REFERENCES = {"aspp": ("recorded:aspp", "torchvision:models.segmentation.deeplabv3.ASPP")}
