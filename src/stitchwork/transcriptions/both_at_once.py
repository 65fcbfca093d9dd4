"""ACmix, CoT, CloFormer's attention, iRMB, and the two modules for sequences, as they are usually written."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainACmix(nn.Module):
    """ACmix with the windows of keys, values and positions unfolded."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, (height, width) = self.block, x.shape[2:]
        q, k, v = block.query(x), block.key(x), block.value(x)
        p = block.positions(x)
        head_dim = p.shape[1]

        def heads(z: Tensor) -> Tensor:
            return z.reshape(-1, head_dim, height, width)  # (B * h, d, H, W)

        def windows(z: Tensor) -> Tensor:
            unfolded = F.unfold(F.pad(z, [3] * 4, mode="reflect"), 7)
            return unfolded.reshape(-1, head_dim, 49, height, width)

        logits = (heads(q)[:, :, None] * (windows(heads(k)) + p[:, :, None] - windows(p))).sum(1)  # (B * h, 49, H, W)
        weights = (logits * head_dim**-0.5).softmax(1)
        attention = (weights[:, None] * windows(heads(v))).sum(2).reshape(x.shape)

        features = torch.cat([z.reshape(len(x), block.head, head_dim, height * width) for z in (q, k, v)], 1)
        maps = block.fc(features).permute(0, 2, 1, 3).reshape(len(x), -1, height, width)
        return block.rate_att * attention + block.rate_conv * block.shift(maps)


class PlainCoT(nn.Module):
    """CoT with the values unfolded."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, (batch, dim, height, width) = self.block, x.shape
        static = block.static(x)
        weight = block.weight(torch.cat([x, static], 1)).reshape(batch, 1, dim // 8, 9, height, width)
        v = F.unfold(block.value(x), 3, padding=1).reshape(batch, 8, dim // 8, 9, height, width)
        dynamic = block.dynamic((weight * v).sum(3).reshape(x.shape))
        both = torch.stack([dynamic, static], 2)  # (B, C, 2, H, W)
        choice = block.choose(both.sum(2).mean((2, 3), keepdim=True)).reshape(batch, dim, 2).softmax(2)
        return (both * choice[..., None, None]).sum(2)


class PlainCloAttention(nn.Module):
    """CloFormer's attention with loops over windows and heads, and the attention as a matrix."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        high, low = self.block.branches
        q, k, v = high.local(high.qkv(x)).split(high.qkv.out_channels // 3, 1)
        parts = [torch.tanh(high.mix(q * k) * high.scale) * v]

        side = low.pool.kernel_size
        means = [[window.mean((2, 3)) for window in row.split(side, 3)] for row in x.split(side, 2)]
        coarse = torch.stack([torch.stack(row, 2) for row in means], 2)  # (B, C, ceil(H / w), ceil(W / w))
        q = low.q(x).flatten(2).chunk(low.heads, 1)
        k, v = (z.flatten(2).chunk(low.heads, 1) for z in low.kv(coarse).chunk(2, 1))
        for head in range(low.heads):
            weights = (q[head].transpose(1, 2) @ k[head] * low.head_dim**-0.5).softmax(2)  # (B, HW, HW / w^2)
            parts.append((v[head] @ weights.transpose(1, 2)).unflatten(2, x.shape[2:]))
        return self.block.proj(torch.cat(parts, 1))


class PlainInvertedResidualMobileBlock(nn.Module):
    """iRMB with a loop over the grids, and the attention as a matrix."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, (height, width) = self.block, x.shape[2:]
        side, heads = block.window_size, block.attention.heads
        rows, columns = math.ceil(height / side), math.ceil(width / side)
        n = F.pad(block.norm(x), (0, columns * side - width, 0, rows * side - height))
        mixed = torch.zeros_like(n)
        for i in range(rows):
            for j in range(columns):
                grid = n[:, :, i::rows, j::columns]  # (B, C, 7, 7)
                q, k = block.attention.qk(grid).flatten(2).unflatten(1, (2, heads, -1)).unbind(1)  # (B, h, d, 49)
                weights = (q.transpose(2, 3) @ k * q.shape[2] ** -0.5).softmax(3)
                values = grid.flatten(2).unflatten(1, (heads, -1))
                mixed[:, :, i::rows, j::columns] = (values @ weights.transpose(2, 3)).reshape(grid.shape)
        u = block.expand(mixed)[..., :height, :width]
        return x + block.project(u + block.local(u))


class PlainPyramidalAttention(nn.Module):
    """Pyramidal attention with all nodes attending to all, under a mask that is drawn edge by edge."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, M, C)."""
        block = self.block
        allowed = self.mask(x.shape[1])
        x = block.pyramid(x)
        q, k, v = (
            layer(x).unflatten(2, (block.n_head, -1)).transpose(1, 2) for layer in (block.query, block.key, block.value)
        )  # (B, h, M, d) each
        logits = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).masked_fill(~allowed.to(x.device), -math.inf)
        return block.norm(x + block.fc((logits.softmax(3) @ v).transpose(1, 2).flatten(2)))

    def mask(self, steps: int) -> Tensor:
        """Which node sees which: (M, M)."""
        sizes = [steps]
        for children in self.block.window_size:
            sizes.append(sizes[-1] // children)
        starts = [sum(sizes[:level]) for level in range(len(sizes))]
        allowed = torch.zeros(sum(sizes), sum(sizes), dtype=torch.bool)
        for level, size in enumerate(sizes):
            for i in range(size):
                for j in range(size):
                    if abs(i - j) <= self.block.inner_size // 2:
                        allowed[starts[level] + i, starts[level] + j] = True
                if level + 1 < len(sizes):
                    child = starts[level] + i
                    parent = starts[level + 1] + min(i // self.block.window_size[level], sizes[level + 1] - 1)
                    allowed[child, parent] = allowed[parent, child] = True
        return allowed


class PlainGatedDilatedInception(nn.Module):
    """Gated dilated inception with eight convolutions, of which the longer outputs are cut."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N, T) -> (B, C, N, T - d (longest - 1))."""
        banks = []
        for bank in (self.block.filter, self.block.gate):
            parts = [conv(x) for conv in bank.convs]
            shortest = min(part.shape[3] for part in parts)
            banks.append(torch.cat([part[..., -shortest:] for part in parts], 1))
        return torch.tanh(banks[0]) * torch.sigmoid(banks[1])


TRANSCRIPTIONS = {
    "acmix": PlainACmix,
    "cot": PlainCoT,
    "clo_attention": PlainCloAttention,
    "irmb": PlainInvertedResidualMobileBlock,
    "pyramidal_attention": PlainPyramidalAttention,
    "gated_dilated_inception": PlainGatedDilatedInception,
}
