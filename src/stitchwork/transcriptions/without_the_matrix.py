"""The modules that mix pixels without an attention matrix, as they are usually written."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(layer: nn.Conv2d, tokens: Tensor) -> Tensor:
    """A 1x1 convolution as a linear layer on tokens: (B, N, C) -> (B, N, D)."""
    return F.linear(tokens, layer.weight.flatten(1), layer.bias)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C)."""
    return x.flatten(2).permute(0, 2, 1)


def to_image(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, N, C) -> (B, C, H, W), of the size of ``like``."""
    return tokens.permute(0, 2, 1).reshape(len(tokens), -1, *like.shape[2:])


class PlainEfficientAdditiveAttention(nn.Module):
    """Efficient additive attention on tokens, with the global query repeated for every token."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        tokens = to_tokens(x)  # (B, N, C)
        query, key = linear(self.block.query, tokens), linear(self.block.key, tokens)  # (B, N, D) each
        query = query / query.norm(dim=-1, keepdim=True)
        key = key / key.norm(dim=-1, keepdim=True)
        likes = query @ self.block.weight / query.shape[-1] ** 0.5  # (B, N, 1)
        likes = likes / likes.norm(dim=1, keepdim=True)
        shared = (likes * query).sum(1, keepdim=True).repeat(1, tokens.shape[1], 1)  # (B, N, D)
        return to_image(linear(self.block.out, linear(self.block.project, shared * key) + query), x)


class PlainUFOAttention(nn.Module):
    """UFO attention on tokens, with the division by the length written out."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        tokens, heads = to_tokens(x), self.block.num_heads
        q, k, v = (
            linear(layer, tokens).reshape(*tokens.shape[:2], heads, -1).permute(0, 2, 1, 3)  # (B, h, N, d)
            for layer in (self.block.query, self.block.key, self.block.value)
        )
        context = k.permute(0, 1, 3, 2) @ v  # (B, h, d, d)
        context = self.block.gamma * context / context.norm(dim=-1, keepdim=True)
        q = self.block.gamma * q / q.norm(dim=-1, keepdim=True)
        return to_image(linear(self.block.out, (q @ context).permute(0, 2, 1, 3).flatten(2)), x)


class PlainExternalAttention(nn.Module):
    """External attention, one small matrix after the other."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        logits = F.conv1d(block.embed(x).flatten(2), block.memory_key[..., None])  # (B, S, N)
        attention = F.softmax(logits, 2)
        attention = attention / (1e-9 + attention.sum(1, keepdim=True))
        found = F.conv1d(attention, block.memory_value[..., None])  # (B, C, N)
        return F.relu(x + block.norm(block.project(found.reshape(x.shape))))


class PlainMultiHeadExternalAttention(nn.Module):
    """Multi-head external attention on tokens, head by head."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        found = []
        for head in linear(block.embed, to_tokens(x)).split(block.head_dim, 2):  # (B, N, d) each
            logits = linear(block.memory_key, head)  # (B, N, S)
            attention = F.softmax(logits, 1)
            attention = attention / (1e-9 + attention.sum(2, keepdim=True))
            found.append(linear(block.memory_value, attention))
        return to_image(linear(block.project, torch.cat(found, 2)), x)


class PlainS2Attention(nn.Module):
    """S2 attention in channels-last, with the shifts written into copies and the three versions stacked."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, channels = self.block, x.shape[1]
        expanded = F.linear(x.permute(0, 2, 3, 1), block.expand.weight.flatten(1), block.expand.bias)  # (B, H, W, 3 C)
        first, second, still = expanded.split(channels, 3)
        versions = torch.stack([self.shifted(first), self.shifted(second.transpose(1, 2)).transpose(1, 2), still], 1)
        total = versions.sum((1, 2, 3))  # (B, C)
        weights = block.reweight(total).softmax(1)[:, :, None, None]  # (B, 3, 1, 1, C)
        mixed = (weights * versions).sum(1)  # (B, H, W, C)
        return F.linear(mixed, block.project.weight.flatten(1), block.project.bias).permute(0, 3, 1, 2)

    def shifted(self, x: Tensor) -> Tensor:
        """Quarters of the channels of (B, H, W, C) moved forwards and backwards along H, then along W."""
        one, two, three, _ = torch.tensor(self.block.quarters).cumsum(0).tolist()
        y = x.clone()
        y[:, 1:, :, :one] = x[:, :-1, :, :one]
        y[:, :-1, :, one:two] = x[:, 1:, :, one:two]
        y[:, :, 1:, two:three] = x[:, :, :-1, two:three]
        y[:, :, :-1, three:] = x[:, :, 1:, three:]
        return y


class PlainWeightedPermuteMLP(nn.Module):
    """Weighted Permute-MLP in channels-last, permuted there and back for each axis."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        h = self.along_height(x, block.mlp_h, block.segment_h)
        w = self.along_height(x.transpose(1, 2), block.mlp_w, block.segment_w).transpose(1, 2)
        c = F.linear(x, block.mlp_c.weight.flatten(1), block.mlp_c.bias)
        weights = block.reweight((h + w + c).mean((1, 2))).softmax(2)[:, None, None]  # (B, 1, 1, C, 3)
        mixed = h * weights[..., 0] + w * weights[..., 1] + c * weights[..., 2]
        return F.linear(mixed, block.project.weight.flatten(1), block.project.bias).permute(0, 3, 1, 2)

    def along_height(self, x: Tensor, layer: nn.Linear, segment: int) -> Tensor:
        """One layer for every column and segment: (B, H, W, C) -> same."""
        y = x.reshape(*x.shape[:3], -1, segment).permute(0, 3, 2, 1, 4)  # (B, g, W, H, S)
        return layer(y.flatten(3)).reshape(y.shape).permute(0, 3, 2, 1, 4).reshape(x.shape)


class PlainAFTSimple(nn.Module):
    """AFT-simple on tokens."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        tokens = to_tokens(x)
        query, key, value = (linear(layer, tokens) for layer in (self.block.query, self.block.key, self.block.value))
        mean = self.mean(key, value)  # (B, N, C) or (B, 1, C)
        return self.block.project(to_image(query.sigmoid() * mean, x))

    def mean(self, key: Tensor, value: Tensor) -> Tensor:
        """The values (B, N, C) averaged with the weights e^K: (B, 1, C)."""
        return (key.softmax(1) * value).sum(1, keepdim=True)


class PlainAFTFull(PlainAFTSimple):
    """AFT-full with every weight e^{K_s + w_ts} written out: N x N x C numbers for every image."""

    def mean(self, key: Tensor, value: Tensor) -> Tensor:
        """The values (B, N, C) averaged with the weights e^{K + w}: (B, N, C)."""
        exponents = key[:, None] + self.block.position_bias[..., None]  # (B, N, N, C): image, t, s, channel
        return (exponents.softmax(2) * value[:, None]).sum(2)


class PlainAFTLocal(PlainAFTSimple):
    """AFT-local with the whole table of N x N pairs, zeros outside the windows."""

    def mean(self, key: Tensor, value: Tensor) -> Tensor:
        """The values (B, N, C) averaged with the weights e^K e^w: (B, N, C)."""
        weights, table = key.exp(), self.table().exp()
        return (table @ (weights * value)) / (table @ weights)

    def table(self) -> Tensor:
        """w: (N, N)."""
        bias, reach = self.block.position_bias, self.block.window_size - 1
        rows, columns = torch.meshgrid(*(torch.arange(n, device=bias.device) for n in self.block.size), indexing="ij")
        down = rows.flatten() - rows.flatten()[:, None]  # (N, N): from the pixel t to the pixel s
        right = columns.flatten() - columns.flatten()[:, None]
        inside = (down.abs() <= reach) & (right.abs() <= reach)
        pixels = torch.arange(len(inside), device=bias.device)[:, None]
        learned = bias.flatten(2)[(down + reach).clamp(0, 2 * reach), (right + reach).clamp(0, 2 * reach), pixels]
        return torch.where(inside, learned, 0.0)


TRANSCRIPTIONS = {
    "efficient_additive_attention": PlainEfficientAdditiveAttention,
    "ufo_attention": PlainUFOAttention,
    "external_attention": PlainExternalAttention,
    "multi_head_external_attention": PlainMultiHeadExternalAttention,
    "s2_attention": PlainS2Attention,
    "weighted_permute_mlp": PlainWeightedPermuteMLP,
    "aft_full": PlainAFTFull,
    "aft_local": PlainAFTLocal,
    "aft_simple": PlainAFTSimple,
}
