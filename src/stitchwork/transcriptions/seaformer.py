"""SeaFormer with its head for segmentation, layer by layer: every activation where the paper's figure has it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.transcriptions.everyone import PlainSeaAttention


def conv_norm(layers: nn.Sequential, x: Tensor) -> Tensor:
    """The convolution and its normalisation alone."""
    return layers.norm(layers.conv(x))


class PlainSeaFormerSegmenter(nn.Module):
    """The whole network, in evaluation."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_classes, H, W)."""
        network, encoder, size = self.network, self.network.encoder, x.shape[2:]
        x = torch.relu(conv_norm(encoder.stem, x))
        maps = []  # at strides 4, 8, 16, 32 and 64
        for residuals, blocks in zip(encoder.convolve, encoder.attend):
            for block in residuals:
                x = self.residual(block, x)
            for block in blocks:
                x = x + PlainSeaAttention(block.attn)(x)
                x = x + self.feed_forward(block.mlp, x)
            maps.append(x)
        gates = list(network.gates)
        y = maps[1]
        for gate, coarse in zip(gates, maps[5 - len(gates) :]):
            share = (conv_norm(gate.gate, coarse) + 3).clamp(0, 6) / 6
            share = F.interpolate(share, size=y.shape[2:], mode="bilinear", align_corners=False)
            y = conv_norm(gate.local, y) * share
        y = torch.relu(conv_norm(network.fuse, y))
        return F.interpolate(network.head(y), size=size, mode="bilinear", align_corners=False)

    def residual(self, block: nn.Module, x: Tensor) -> Tensor:
        """Expand, depthwise, project; added to the input where their shapes are the same."""
        y = x if isinstance(block.expand, nn.Identity) else torch.relu(conv_norm(block.expand, x))
        y = torch.relu(conv_norm(block.depthwise, y))
        y = conv_norm(block.project, y)
        return x + y if y.shape == x.shape else y

    def feed_forward(self, mlp: nn.Sequential, x: Tensor) -> Tensor:
        """Expand, depthwise with a bias, ReLU6, project."""
        first, depthwise, _, last = mlp
        return conv_norm(last, depthwise(conv_norm(first, x)).clamp(0, 6))


TRANSCRIPTIONS = {f"seaformer_{size}_seg": PlainSeaFormerSegmenter for size in ("tiny", "small", "base", "large")}
