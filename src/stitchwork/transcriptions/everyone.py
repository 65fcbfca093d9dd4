"""The attentions of everyone to everyone, as they are usually written."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pointwise(layer: nn.Linear, x: Tensor) -> Tensor:
    """The linear layer as a 1x1 convolution of (B, C, H, W)."""
    return F.conv2d(x, layer.weight[..., None, None], layer.bias)


class PlainPositionAttention(nn.Module):
    """Position attention with the N x N map of weights."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        q, k, v = (pointwise(layer, x).flatten(2) for layer in (block.query, block.key, block.value))
        attention = torch.softmax(torch.bmm(q.permute(0, 2, 1), k), -1)  # (B, N, N)
        y = torch.bmm(v, attention.permute(0, 2, 1)).reshape(x.shape)
        return block.gamma * y + x


class PlainChannelAttention(nn.Module):
    """Channel attention with the products as they stand, taken from their maximum."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        channels = x.reshape(*x.shape[:2], -1)
        energy = torch.bmm(channels, channels.permute(0, 2, 1))
        energy = energy.max(-1, keepdim=True).values.expand_as(energy) - energy
        y = torch.bmm(torch.softmax(energy, -1), channels).reshape(x.shape)
        return self.block.gamma * y + x


class PlainDANet(nn.Module):
    """DANet's head with both attentions in their plain form."""

    def __init__(self, block: nn.Module):
        super().__init__()
        before, position, after = block.position
        self.position = nn.Sequential(before, PlainPositionAttention(position), after)
        before, channel, after = block.channel
        self.channel = nn.Sequential(before, PlainChannelAttention(channel), after)
        self.classify = block.classify[0]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_dim, H, W)."""
        return self.classify(self.position(x) + self.channel(x))


class PlainCrissCrossAttention(nn.Module):
    """Criss-cross attention with every column and every row copied out, and the mask subtracted."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        for _ in range(self.block.recurrence):
            x = self.block.gamma * self.attend(x) + x
        return x

    def attend(self, x: Tensor) -> Tensor:
        """One pass."""
        batch, _, height, width = x.shape

        def columns(y: Tensor) -> Tensor:
            return y.permute(0, 3, 1, 2).reshape(batch * width, -1, height)

        def rows(y: Tensor) -> Tensor:
            return y.permute(0, 2, 1, 3).reshape(batch * height, -1, width)

        q, k, v = (pointwise(layer, x) for layer in (self.block.query, self.block.key, self.block.value))
        infinite = torch.diag(torch.full((height,), math.inf, dtype=x.dtype, device=x.device))
        vertical = torch.bmm(columns(q).permute(0, 2, 1), columns(k)) - infinite  # (B·W, H, H)
        horizontal = torch.bmm(rows(q).permute(0, 2, 1), rows(k))  # (B·H, W, W)
        vertical = vertical.reshape(batch, width, height, height).permute(0, 2, 1, 3)  # (B, H, W, H)
        horizontal = horizontal.reshape(batch, height, width, width)  # (B, H, W, W)
        attention = torch.softmax(torch.cat([vertical, horizontal], 3), 3)
        vertical = attention[..., :height].permute(0, 2, 1, 3).reshape(batch * width, height, height)
        horizontal = attention[..., height:].reshape(batch * height, width, width)
        from_column = torch.bmm(columns(v), vertical.permute(0, 2, 1)).reshape(batch, width, -1, height)
        from_row = torch.bmm(rows(v), horizontal.permute(0, 2, 1)).reshape(batch, height, -1, width)
        return from_column.permute(0, 2, 3, 1) + from_row.permute(0, 2, 1, 3)


class PlainAxialAttention(nn.Module):
    """Axial attention with explicit maps, the heads folded into the batch."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        columns = self.attend(x.permute(0, 3, 2, 1), self.block.height).permute(0, 3, 2, 1)
        rows = self.attend(x.permute(0, 2, 3, 1), self.block.width).permute(0, 3, 1, 2)
        return columns + rows

    def attend(self, x: Tensor, line: nn.Module) -> Tensor:
        """Along the third axis of (B, lines, T, C)."""
        lines = x.reshape(-1, *x.shape[2:])
        q, (k, v) = line.to_q(lines), line.to_kv(lines).chunk(2, -1)
        count, length, hidden = q.shape
        heads = hidden // line.dim_heads

        def fold(y: Tensor) -> Tensor:
            return y.reshape(count, length, heads, -1).transpose(1, 2).reshape(count * heads, length, -1)

        logits = torch.einsum("bie,bje->bij", fold(q), fold(k)) * line.dim_heads**-0.5
        y = torch.einsum("bij,bje->bie", logits.softmax(-1), fold(v))
        y = y.reshape(count, heads, length, -1).transpose(1, 2).reshape(count, length, -1)
        return line.to_out(y).reshape(x.shape)


class PlainDoubleAttention(nn.Module):
    """Double attention in the order of the equations: every pixel is projected, then gathered, and the other way."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        feature = self.block.feature(x).flatten(2)  # (B, c_m, N)
        gather = torch.softmax(self.block.gather(x).flatten(2), -1)  # (B, c_n, N)
        distribute = torch.softmax(self.block.distribute(x).flatten(2), 1)  # (B, c_n, N)
        descriptors = torch.bmm(feature, gather.permute(0, 2, 1))  # (B, c_m, c_n)
        y = torch.bmm(descriptors, distribute)  # (B, c_m, N)
        return self.block.reconstruct(y.reshape(x.shape[0], -1, *x.shape[2:]))


class PlainSeaAttention(nn.Module):
    """SEA with six poolings and explicit maps."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        q, k, v = block.to_q(x), block.to_k(x), block.to_v(x)
        rows = self.attend(q.mean(-1), k.mean(-1), v.mean(-1), block.row)
        columns = self.attend(q.mean(-2), k.mean(-2), v.mean(-2), block.column).permute(0, 1, 3, 2)
        gate = F.hardsigmoid(block.proj(v + rows + columns))
        return gate * block.detail(torch.cat([q, k, v], 1))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, line: nn.Module) -> Tensor:
        """Along the last axis of (B, channels, T)."""
        batch, channels, length = q.shape
        q = q + F.interpolate(line.position_q, size=length, mode="linear", align_corners=False)
        k = k + F.interpolate(line.position_k, size=length, mode="linear", align_corners=False)
        q = q.reshape(batch, line.heads, -1, length).permute(0, 1, 3, 2)
        k = k.reshape(batch, line.heads, -1, length)
        values = v.reshape(batch, line.heads, -1, length).permute(0, 1, 3, 2)
        logits = torch.matmul(q, k) * (channels // line.heads) ** -0.5
        y = torch.matmul(logits.softmax(-1), values)  # (B, heads, T, value_dim)
        return line.proj(y.permute(0, 1, 3, 2).reshape(batch, -1, length, 1))


TRANSCRIPTIONS = {
    "axial_attention": PlainAxialAttention,
    "criss_cross": PlainCrissCrossAttention,
    "danet": PlainDANet,
    "danet_channel": PlainChannelAttention,
    "danet_position": PlainPositionAttention,
    "double_attention": PlainDoubleAttention,
    "sea_attention": PlainSeaAttention,
}
