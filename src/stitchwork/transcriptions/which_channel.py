"""The modules that gate channels, and those that gate places as well, as they are usually written."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainECA(nn.Module):
    """ECA with a pooling layer, the channel axis turned to where a 1-d convolution wants it, and the gate expanded."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        z = F.adaptive_avg_pool2d(x, 1)  # (B, C, 1, 1)
        logits = self.block.conv(z.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * logits.sigmoid().expand_as(x)


class PlainFca(nn.Module):
    """FcaNet that pools the image to the grid and multiplies it by a filter that is as large, for every channel."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block
        self.register_buffer(
            "filters", block.filters.repeat_interleave(block.dim // len(block.filters), 0)
        )  # (C, h, w)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        pooled = x if x.shape[2:] == self.filters.shape[1:] else F.adaptive_avg_pool2d(x, self.filters.shape[1:])
        z = (pooled * self.filters).sum((2, 3))  # (B, C)
        gate = block.excite(F.relu(block.squeeze(z))).sigmoid()
        return x * gate[..., None, None].expand_as(x)


class PlainSimAM(nn.Module):
    """SimAM with the division at every pixel."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.e_lambda = block.e_lambda

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), of two pixels or more."""
        n = x.shape[2] * x.shape[3] - 1
        distance = (x - x.mean((2, 3), keepdim=True)).pow(2)
        inverse_energy = distance / (4 * (distance.sum((2, 3), keepdim=True) / n + self.e_lambda)) + 0.5
        return x * inverse_energy.sigmoid()


class PlainTripletAttention(nn.Module):
    """Triplet attention that turns the image, gates it and turns it back."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        turned = gated(self.block.cw, x.permute(0, 2, 1, 3).contiguous())  # (B, H, C, W)
        cw = turned.permute(0, 2, 1, 3).contiguous()
        turned = gated(self.block.hc, x.permute(0, 3, 2, 1).contiguous())  # (B, W, H, C)
        hc = turned.permute(0, 3, 2, 1).contiguous()
        return (cw + hc + gated(self.block.hw, x)) / 3


def gated(gate: nn.Module, x: Tensor) -> Tensor:
    """The image times the gate on its last two axes."""
    planes = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
    return x * gate.norm(gate.conv(planes)).sigmoid()


class PlainGAM(nn.Module):
    """GAM with linear layers over channels that were brought to the last axis."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        squeeze, _, excite = self.block.channel
        tokens = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        hidden = F.relu(F.linear(tokens, squeeze.weight.flatten(1), squeeze.bias))
        logits = F.linear(hidden, excite.weight.flatten(1), excite.bias)
        x = x * logits.permute(0, 3, 1, 2).sigmoid()
        return x * self.block.spatial(x).sigmoid()


class PlainShuffleAttention(nn.Module):
    """Shuffle attention with its two affine maps one after the other."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, (batch, channels, height, width) = self.block, x.shape
        what, where = x.reshape(batch * block.groups, -1, height, width).chunk(2, 1)
        z = F.adaptive_avg_pool2d(what, 1)
        what = what * (block.channel_weight * z + block.channel_bias).sigmoid()
        normalised = block.norm(where)
        where = where * (block.spatial_weight[:, None, None] * normalised + block.spatial_bias[:, None, None]).sigmoid()
        y = torch.cat([what, where], 1).reshape(batch, 2, channels // 2, height, width)
        return y.permute(0, 2, 1, 3, 4).reshape(batch, channels, height, width)


class PlainEMA(nn.Module):
    """EMA with pooling layers, and both softmaxes computed from the image."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, (batch, channels, height, width) = self.block, x.shape
        groups = x.reshape(batch * block.factor, -1, height, width)
        rows = F.adaptive_avg_pool2d(groups, (None, 1))
        columns = F.adaptive_avg_pool2d(groups, (1, None)).permute(0, 1, 3, 2)
        rows, columns = block.conv1x1(torch.cat([rows, columns], 2)).split([height, width], 2)
        x1 = block.norm(groups * rows.sigmoid() * columns.permute(0, 1, 3, 2).sigmoid())
        x2 = block.conv3x3(groups)
        weight1, weight2 = (F.adaptive_avg_pool2d(y, 1).flatten(1)[:, None].softmax(-1) for y in (x1, x2))
        logits = weight1 @ x2.flatten(2) + weight2 @ x1.flatten(2)  # (B g, 1, H W)
        gate = logits.reshape(-1, 1, height, width).sigmoid()
        return (groups * gate).reshape(batch, channels, height, width)


TRANSCRIPTIONS = {
    "eca": PlainECA,
    "fca": PlainFca,
    "simam": PlainSimAM,
    "triplet_attention": PlainTripletAttention,
    "gam": PlainGAM,
    "shuffle_attention": PlainShuffleAttention,
    "ema": PlainEMA,
}
