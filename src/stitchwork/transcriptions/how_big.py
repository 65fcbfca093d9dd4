"""The modules of several scales, as they are usually written: branches stacked, summed and upsampled one by one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainSelectiveKernel(nn.Module):
    """All branches in one tensor, their sum made before it is averaged."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        maps = torch.stack([branch(x) for branch in block.split], 1)  # (B, M, C, H, W)
        z = block.fuse(nn.AdaptiveAvgPool2d(1)(maps.sum(1)))  # (B, d, 1, 1)
        logits = block.select(z).view(len(x), block.branches, block.dim, 1, 1)
        return (maps * torch.softmax(logits, 1)).sum(1)


class PlainSplitAttention(nn.Module):
    """All splits in one tensor, and one softmax for each cardinal group."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        splits = torch.stack(torch.split(block.split(x), block.dim, 1), 1)  # (B, R, C, H, W)
        z = nn.AdaptiveAvgPool2d(1)(splits.sum(1))  # (B, C, 1, 1)
        gates = []
        for logits in torch.chunk(block.select(block.fuse(z)), block.groups, 1):
            logits = logits.reshape(len(x), block.radix, -1)  # (B, R, C/K)
            gates.append(torch.softmax(logits, 1) if block.radix > 1 else torch.sigmoid(logits))
        gate = torch.cat(gates, 2)[..., None, None]  # (B, R, C, 1, 1)
        return (splits * gate).sum(1)


class PlainPyramidSqueezeAttention(nn.Module):
    """The gate of each branch by a call of its own, the output put together back to front."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        maps, weights = [], []
        for conv in block.convs:
            maps.append(F.conv2d(x, conv.weight, padding=conv.padding, groups=conv.groups))
            z = nn.AdaptiveAvgPool2d(1)(maps[-1]).flatten(1)  # (B, C/S)
            weights.append(torch.sigmoid(block.excite(F.relu(block.squeeze(z)))))
        gate = torch.softmax(torch.stack(weights, 1), 1)  # (B, S, C/S)
        weighted = torch.stack(maps, 1) * gate[..., None, None]  # (B, S, C/S, H, W)
        y = weighted[:, 0]
        for branch in range(1, len(maps)):
            y = torch.cat([weighted[:, branch], y], 1)
        return y


class PlainASPP(nn.Module):
    """The image's mean enlarged to a map, all branches concatenated and projected."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        block = self.block
        maps = [block.point(x), *(branch(x) for branch in block.atrous)]
        whole = block.whole(nn.AdaptiveAvgPool2d(1)(x))
        maps.append(F.interpolate(whole, x.shape[2:], mode="bilinear", align_corners=False))
        return block.drop(block.project(torch.cat(maps, 1)))


class PlainSAFM(nn.Module):
    """Pooling and enlarging by the layers made for it, at the first level too, where both do nothing."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        height, width = x.shape[2:]
        views = []
        for level, part in enumerate(torch.chunk(x, len(block.look), 1)):
            small_height, small_width = max(1, height // 2**level), max(1, width // 2**level)
            pooled = nn.AdaptiveMaxPool2d((small_height, small_width))(part)
            view = block.look[level](pooled)
            views.append(nn.Upsample((height, width), mode="nearest")(view))
        return F.gelu(block.mix(torch.cat(views, 1))) * x


class PlainParNetBlock(nn.Module):
    """Three branches, each finished before they are added."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        wide, point, skip = block.conv3(x), block.conv1(x), block.skip(x)
        gate = torch.sigmoid(block.excite(nn.AdaptiveAvgPool2d(1)(skip)))
        y = wide + point + skip * gate.expand_as(skip)
        return F.silu(y)


TRANSCRIPTIONS = {
    "selective_kernel": PlainSelectiveKernel,
    "split_attention": PlainSplitAttention,
    "psa": PlainPyramidSqueezeAttention,
    "aspp": PlainASPP,
    "safm": PlainSAFM,
    "parnet": PlainParNetBlock,
}
