"""EViT-UNet as it is usually written: biases looked up anew in every call, attention step by step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 8


def split(x: Tensor) -> Tensor:
    """(B, heads d, H, W) -> (B, heads, H W, d)."""
    return x.reshape(x.shape[0], HEADS, -1, x.shape[2] * x.shape[3]).permute(0, 1, 3, 2)


def join(x: Tensor, height: int, width: int) -> Tensor:
    """(B, heads, H W, d) -> (B, heads d, H, W)."""
    return x.permute(0, 1, 3, 2).reshape(x.shape[0], -1, height, width)


def bias_of(position: nn.Module, height: int, width: int) -> Tensor:
    """The bias of every pair: its rows and columns apart, and their place in the table."""
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    keys = torch.stack([ys.flatten(), xs.flatten()], 1)  # (keys, 2)
    step = position.step
    queries = torch.stack([ys[::step, ::step].flatten(), xs[::step, ::step].flatten()], 1)  # (queries, 2)
    apart = (queries[:, None] - keys[None]).abs().clamp(max=position.side - 1).to(position.table.device)
    return position.table[:, apart[..., 0] * position.side + apart[..., 1]]  # (heads, queries, keys)


def conv_norm(layers: nn.Sequential, x: Tensor) -> Tensor:
    """The convolution, its normalisation, and where there is one the GELU."""
    x = layers.norm(layers.conv(x))
    return F.gelu(x) if hasattr(layers, "act") else x


def talk(layer: nn.Linear, x: Tensor) -> Tensor:
    """A 1x1 convolution over the heads: (B, heads, N, N) -> the same."""
    return F.conv2d(x, layer.weight[..., None, None], layer.bias)


class PlainTalkingAttention(nn.Module):
    """Attention among all pixels with heads that talk, at the full or at half the resolution."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, (height, width) = self.block, x.shape[2:]
        if block.stride > 1:
            x = conv_norm(block.shrink, x)
        grid = x.shape[2:]
        q, k, v = conv_norm(block.q, x), conv_norm(block.k, x), conv_norm(block.v, x)
        local = conv_norm(block.local, v)
        q, k, v = split(q), split(k), split(v)
        logits = torch.matmul(q, k.transpose(-2, -1)) * block.scale
        logits = logits + bias_of(block.position, *grid)
        attention = talk(block.talk2, torch.softmax(talk(block.talk1, logits), -1))  # (B, heads, N, N)
        y = join(torch.matmul(attention, v), *grid) + local
        if block.stride > 1:
            y = F.interpolate(y, scale_factor=block.stride, mode="bilinear", align_corners=False)
            y = y[:, :, :height, :width]
        return conv_norm(block.proj[1], F.gelu(y))


class PlainDownsamplingAttention(nn.Module):
    """Every second pixel asks all."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / 2, W / 2), rounded up."""
        block = self.block
        q = conv_norm(block.q.proj, block.q.local(x) + F.avg_pool2d(x, 1, 2))
        k, v = conv_norm(block.k, x), conv_norm(block.v, x)
        local = conv_norm(block.local, v)
        grid = q.shape[2:]
        logits = torch.matmul(split(q), split(k).transpose(-2, -1)) * (q.shape[1] // HEADS) ** -0.5
        attention = torch.softmax(logits + bias_of(block.position, *x.shape[2:]), -1)
        y = join(torch.matmul(attention, split(v)), *grid) + local
        return conv_norm(block.proj[1], F.gelu(y))


class PlainUpsamplingAttention(nn.Module):
    """Every pixel of the larger map asks all of the small one."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', 2 H, 2 W)."""
        block = self.block
        larger = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        q = conv_norm(block.q.proj, block.q.local(x) + larger)
        k, v = conv_norm(block.k, x), conv_norm(block.v, x)
        local = conv_norm(block.local, v)
        grid = q.shape[2:]
        logits = torch.matmul(split(q), split(k).transpose(-2, -1)) * (q.shape[1] // HEADS) ** -0.5
        y = join(torch.matmul(torch.softmax(logits, -1), split(v)), *grid) + local
        return conv_norm(block.proj[1], F.gelu(y))


class PlainEViTUNet(nn.Module):
    """The whole network, in evaluation."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_classes, H, W)."""
        network = self.network
        x = conv_norm(network.stem[1], conv_norm(network.stem[0], x))
        skips = []
        for stage, norm in zip(network.stages, network.norms):
            if hasattr(stage, "downsample"):
                x = self.resize(stage.downsample, x, PlainDownsamplingAttention)
            x = self.blocks(stage.blocks, x)
            skips.append(norm(x))
        for i, blocks in enumerate(network.up_stages):
            if i > 0:
                x = self.resize(network.grow[i], x, PlainUpsamplingAttention)
            skip = skips[-1 - i]
            if network.num_classes != 1:
                skip = self.cross(network.cross[i], x, skip)
            x = self.blocks(blocks, network.merge[i](torch.cat([x, skip], 1)))
        x = conv_norm(network.expand[1], conv_norm(network.expand[0], x))
        return network.head(x)

    def blocks(self, blocks: nn.Sequential, x: Tensor) -> Tensor:
        """The blocks of a stage, in a row."""
        for block in blocks:
            if block.attn is not None:
                x = x + block.scale1.gamma * PlainTalkingAttention(block.attn)(x)
            first, middle, last = block.mlp
            x = x + block.scale2.gamma * conv_norm(last, conv_norm(middle, conv_norm(first, x)))
        return x

    def resize(self, layers: nn.Module, x: Tensor, attention: type[nn.Module]) -> Tensor:
        """The convolution with a stride, and the attention beside it where there is one."""
        y = conv_norm(layers.conv, x)
        return y if layers.attn is None else y + attention(layers.attn)(x)

    def cross(self, layers: nn.Module, g: Tensor, x: Tensor) -> Tensor:
        """Channel cross attention."""
        means = [F.avg_pool2d(y, y.shape[2:]).flatten(1) for y in (x, g)]
        gate = torch.sigmoid((layers.linear_x(means[0]) + layers.linear_g(means[1])) / 2.0)
        return torch.relu(x * gate.unsqueeze(2).unsqueeze(3).expand_as(x))


TRANSCRIPTIONS = {f"evit_unet{size}": PlainEViTUNet for size in ("", "_s0", "_s1", "_s2")}
