"""Attention to fewer partners: halo, CrossFormer, dilated, routed, super tokens and EMSA, written out."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def heads_of(x: Tensor, heads: int) -> Tensor:
    """(..., P, heads · d) -> (..., heads, P, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    """softmax(q k / √d + bias) v with all its logits, heads merged: (..., heads, P, d) -> (..., P, heads · d)."""
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias
    return (logits.softmax(-1) @ v).transpose(-3, -2).flatten(-2)


class PlainHaloAttention(nn.Module):
    """Halo attention that unfolds first and projects then, and looks up a position vector for every pair of pixels."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, b, w, halo = self.block, self.block.block_size, self.block.window_size, self.block.halo_size
        batch, channels, height, width = x.shape
        filling = (0, -width % b, 0, -height % b)
        x, real = F.pad(x, filling), F.pad(torch.ones_like(x[:1, :1]), filling)
        padded_size = x.shape[2:]
        own = F.unfold(x, b, stride=b).view(batch, channels, b * b, -1).permute(0, 3, 2, 1)  # (B, blocks, b², C)
        seen = F.unfold(x, w, stride=b, padding=halo).view(batch, channels, w * w, -1).permute(0, 3, 2, 1)
        real = F.unfold(real, w, stride=b, padding=halo).transpose(1, 2) > 0  # (1, blocks, w²)

        q = heads_of(F.linear(own, block.to_q.weight.flatten(1)), block.heads)  # (B, blocks, heads, b², d)
        k, v = F.linear(seen, block.to_kv.weight.flatten(1)).chunk(2, -1)
        i, j = torch.cartesian_prod(torch.arange(b), torch.arange(b)), torch.cartesian_prod(*[torch.arange(w)] * 2)
        dy, dx = (j - i[:, None] + w - 1).unbind(-1)  # (b², w²) each
        position = block.rel_height[dy] + block.rel_width[dx]  # (b², w², d)
        logits = q @ heads_of(k, block.heads).transpose(-1, -2)  # (B, blocks, heads, b², w²)
        logits = logits + torch.einsum("...id,ijd->...ij", q, position)
        logits = (logits / math.sqrt(block.dim_head)).masked_fill(~real[:, :, None, None], -torch.inf)
        y = logits.softmax(-1) @ heads_of(v, block.heads)
        y = F.linear(y.transpose(2, 3).flatten(3), block.to_out.weight.flatten(1), block.to_out.bias)
        y = F.fold(y.permute(0, 3, 2, 1).flatten(1, 2), padded_size, b, stride=b)
        return y[..., :height, :width]


class PlainCrossFormerAttention(nn.Module):
    """CrossFormer's attention, one group after the other, and none of them filled up."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        rows, columns = (self.members(side) for side in x.shape[2:])
        y = torch.zeros_like(x)
        for i in rows:
            for j in columns:
                y[:, :, i[:, None], j] = self.attend(x[:, :, i[:, None], j])
        return y

    def members(self, side: int) -> list[Tensor]:
        """The pixels of each group along an axis."""
        group, interval = self.block.group_size, 1
        if self.block.kind == "long":
            interval = self.block.interval or math.ceil(side / group)
        starts = [s + i for s in range(0, side, group * interval) for i in range(interval) if s + i < side]
        return [torch.arange(s, min(s + group * interval, side), interval) for s in starts]

    def attend(self, x: Tensor) -> Tensor:
        """Attention among the pixels of one group (B, C, h, w)."""
        block, tokens = self.block, x.flatten(2).transpose(1, 2)
        place = torch.cartesian_prod(torch.arange(x.shape[2]), torch.arange(x.shape[3]))
        bias = block.pos((place[:, None] - place).to(x)).permute(2, 0, 1)  # (heads, P, P)
        q, k, v = (heads_of(t, block.num_heads) for t in block.qkv(tokens).chunk(3, -1))
        return block.proj(plain_attention(q, k, v, bias)).transpose(1, 2).view_as(x)


class PlainMSDA(nn.Module):
    """Dilated attention with unfolded keys and values, as in the official code, but not into the input."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, kernel = self.block, self.block.kernel_size
        heads, groups = block.num_heads // len(block.dilation), len(block.dilation)
        q, k, v = (t.chunk(groups, 1) for t in block.qkv(x).chunk(3, 1))
        outputs = []
        for i, r in enumerate(block.dilation):

            def unfold(t, r=r):
                t = F.unfold(t, kernel, dilation=r, padding=r * (kernel // 2))
                return t.unflatten(1, (heads, -1, kernel**2)).permute(0, 4, 1, 3, 2)  # (B, N, heads, k², d)

            query = q[i].flatten(2).unflatten(1, (heads, -1)).permute(0, 3, 1, 2).unsqueeze(3)  # (B, N, heads, 1, d)
            y = plain_attention(query, unfold(k[i]), unfold(v[i]))  # (B, N, 1, C / groups)
            outputs.append(y.squeeze(2))
        y = torch.cat(outputs, -1).transpose(1, 2).unflatten(2, x.shape[2:])
        return block.proj(y)


class PlainBiLevelRouting(nn.Module):
    """Routing and attention with all logits, and with one copy of the image for each region to gather from."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, (height, width) = self.block, x.shape[2:]
        rows, columns = max(1, height // block.n_win), max(1, width // block.n_win)
        pixels = rows * columns
        filling = (0, -width % columns, 0, -height % rows)
        padded_size = height + filling[3], width + filling[1]

        def regions(t):
            t = F.unfold(F.pad(t, filling), (rows, columns), stride=(rows, columns))
            return t.unflatten(1, (-1, pixels)).permute(0, 3, 2, 1)  # (B, S, P, channels)

        q, k, v = (regions(t) for t in block.qkv(x).chunk(3, 1))
        real = regions(torch.ones_like(x[:1, :1]))  # (1, S, P, 1)
        mean_q, mean_k = (t.detach().sum(2) / real.sum(2) for t in (q, k))
        chosen = (mean_q @ mean_k.transpose(1, 2)).topk(min(block.topk, q.shape[1])).indices  # (B, S, k)

        def gather(t):
            index = chosen[..., None, None].expand(-1, -1, -1, *t.shape[2:])  # (B, S, k, P, channels)
            return t[:, None].expand(len(x), q.shape[1], -1, -1, -1).gather(2, index).flatten(2, 3)

        mask = torch.zeros_like(real).masked_fill(real == 0, -torch.inf)
        q, k, v = (heads_of(t, block.num_heads) for t in (q / math.sqrt(block.num_heads), gather(k), gather(v)))
        y = plain_attention(q, k, v, gather(mask).transpose(2, 3)[:, :, None])  # (B, S, P, C)
        y = F.fold(y.permute(0, 3, 2, 1).flatten(1, 2), padded_size, (rows, columns), stride=(rows, columns))
        return block.proj(y[..., :height, :width] + block.lepe(block.qkv(x).chunk(3, 1)[2]))


class PlainSuperToken(nn.Module):
    """Super tokens with the association as a matrix (N, M), most of which is zero."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, (s_h, s_w), (height, width) = self.block, self.block.stoken_size, x.shape[2:]
        x = F.pad(x, (0, -width % s_w, 0, -height % s_h))
        h, w = x.shape[2] // s_h, x.shape[3] // s_w
        tokens = F.avg_pool2d(x.detach(), (s_h, s_w)).flatten(2).transpose(1, 2)  # (B, M, C)
        pixels = x.flatten(2).transpose(1, 2)  # (B, N, C)

        row = torch.arange(x.shape[2], device=x.device).repeat_interleave(x.shape[3]) // s_h
        column = torch.arange(x.shape[3], device=x.device).repeat(x.shape[2]) // s_w
        cell = torch.cartesian_prod(torch.arange(h, device=x.device), torch.arange(w, device=x.device))
        near = ((row[:, None] - cell[:, 0]).abs() <= 1) & ((column[:, None] - cell[:, 1]).abs() <= 1)  # (N, M)
        absent = 9 - near.sum(1, keepdim=True)  # neighbours outside the image: a logit of 0 each
        for _ in range(block.n_iter):
            powers = (pixels.detach() @ tokens.transpose(1, 2) / math.sqrt(block.dim)).exp() * near  # (B, N, M)
            association = powers / (powers.sum(2, keepdim=True) + absent)
            share = association / (association.sum(1, keepdim=True) + 1e-12)
            tokens = share.transpose(1, 2) @ pixels.detach()
        tokens = share.transpose(1, 2) @ pixels

        q, k, v = block.qkv(tokens).unflatten(-1, (block.num_heads, 3, -1)).transpose(1, 2).unbind(3)
        y = association @ block.proj(plain_attention(q, k, v))  # (B, N, C)
        return y.transpose(1, 2).view_as(x)[..., :height, :width]


class PlainEMSA(nn.Module):
    """EMSA with InstanceNorm over the maps, as in the official code."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, tokens = self.block, x.flatten(2).transpose(1, 2)
        fewer = block.sr_norm(block.sr(x).flatten(2).transpose(1, 2))
        q, k, v = (heads_of(t, block.num_heads) for t in (block.q(tokens), *block.kv(fewer).chunk(2, -1)))
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (B, heads, N, M)
        weights = F.instance_norm(block.transform(logits).softmax(-1))
        y = block.proj((weights @ v).transpose(1, 2).flatten(2))
        return y.transpose(1, 2).view_as(x)


TRANSCRIPTIONS = {
    "bi_level_routing": PlainBiLevelRouting,
    "crossformer_attention": PlainCrossFormerAttention,
    "emsa": PlainEMSA,
    "halo_attention": PlainHaloAttention,
    "msda": PlainMSDA,
    "super_token": PlainSuperToken,
}
