"""The ParNet block: a 3x3 and a 1x1 convolution beside a gated skip, all of which become one layer after training.

Paper: goyal2022nondeep, section 3.1. Twelve layers are enough for ImageNet if they are wide and run side by side. Such
a shallow network needs a larger field and a summary of the image in each block, without making it deeper. So
Skip-Squeeze-Excitation (SSE) is put not behind the convolutions but beside them, on the skip:

    n = BN(x)
    y = silu(BN(conv_3x3 x) + BN(conv_1x1 x) + n * sigmoid(W mean over pixels of n))

After training the BatchNorms are constants, and the 1x1 convolution is a 3x3 with eight zeros: :meth:`ParNetBlock.fuse`
makes the two branches one convolution, as RepVGG does.

Cost: 11 C^2 + 6 C parameters; 10 C^2 HW multiply-adds for the convolutions (9 C^2 HW when fused), BCHW for the gate.
Growth: N^1

Where this differs: nothing from the official code, where the gate's layer has no bias. Widely copied versions leave out
the BatchNorm of the skip, so that raw numbers are added to normalised ones, and give the convolutions biases, which the
BatchNorm behind them subtracts again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import ConvNormAct, check_image, check_positive

PAPER = "goyal2022nondeep"
CHAPTER = "05_how_big"


class ParNetBlock(nn.Module):
    """A 3 x 3 convolution, a 1 x 1 convolution and a skip with a channel gate, added up.

    Args:
        dim: channels C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W). In training B·H·W must be greater than 1, for the BatchNorm.

    Raises:
        ValueError: the input is not (B, C, H, W) with this C; ``dim`` is not positive.
    """

    def __init__(self, dim: int):
        super().__init__()
        check_positive("ParNetBlock", dim=dim)
        self.dim = dim
        self.conv3 = ConvNormAct(dim, dim, 3, act=None)
        self.conv1 = ConvNormAct(dim, dim, 1, act=None)
        self.skip = nn.BatchNorm2d(dim)
        self.excite = nn.Conv2d(dim, dim, 1, bias=False)
        self.gate = nn.Sigmoid()
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions of (B, C, H, W), and its own channels scaled by a gate (B, C, 1, 1)."""
        check_image(x, self.dim, "ParNetBlock")
        n = self.skip(x)
        s = self.gate(self.excite(n.mean((2, 3), keepdim=True)))  # (B, C, 1, 1)
        return self.act(torch.addcmul(self.conv3(x) + self.conv1(x), n, s))

    @torch.no_grad()
    def fuse(self) -> "FusedParNetBlock":
        """The same function, with the BatchNorms' running statistics, as one convolution and the gated skip."""
        scale3, shift3 = _affine(self.conv3.norm)
        scale1, shift1 = _affine(self.conv1.norm)
        scale, shift = _affine(self.skip)
        fused = FusedParNetBlock(self.dim).to(scale)
        point = F.pad(self.conv1.conv.weight * scale1[:, None, None, None], [1, 1, 1, 1])  # 1x1 as the centre of a 3x3
        fused.conv.weight.copy_(self.conv3.conv.weight * scale3[:, None, None, None] + point)
        fused.conv.bias.copy_(shift3 + shift1)
        fused.scale.copy_(scale)
        fused.shift.copy_(shift)
        fused.excite.load_state_dict(self.excite.state_dict())
        return fused.train(self.training)


class FusedParNetBlock(nn.Module):
    """What a trained :class:`ParNetBlock` is when its BatchNorms are constants.

    Args:
        dim: channels C.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(dim))
        self.shift = nn.Parameter(torch.zeros(dim))
        self.excite = nn.Conv2d(dim, dim, 1, bias=False)
        self.gate = nn.Sigmoid()
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """A convolution of (B, C, H, W), and its own channels scaled and shifted by a gate (B, C, 1, 1)."""
        check_image(x, self.dim, "FusedParNetBlock")
        scale, shift = self.scale[:, None, None], self.shift[:, None, None]  # (C, 1, 1)
        s = self.gate(self.excite(x.mean((2, 3), keepdim=True) * scale + shift))  # (B, C, 1, 1)
        return self.act(torch.addcmul(self.conv(x) + shift * s, x, scale * s))


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) of a BatchNorm in evaluation."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


BLOCKS = {"parnet": ParNetBlock}
REFERENCES = {"parnet": ("recorded:parnet",)}
