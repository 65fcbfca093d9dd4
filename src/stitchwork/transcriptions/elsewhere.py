"""Dilated, partial, reconstructing, deformable and snake convolutions, as they are usually written."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sum_over_taps(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A dilated convolution that keeps the size: the padded image, moved and multiplied for each tap."""
    height, width = x.shape[2:]
    dilation = conv.dilation[0]
    padded = F.pad(x, [conv.padding[0]] * 4)
    y = sum(
        torch.einsum(
            "oc,bchw->bohw",
            conv.weight[:, :, i, j],
            padded[..., i * dilation : i * dilation + height, j * dilation : j * dilation + width],
        )
        for i in range(conv.kernel_size[0])
        for j in range(conv.kernel_size[1])
    )
    return y if conv.bias is None else y + conv.bias[:, None, None]


def read_between_pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The image (B, C, H, W) at points (B, N), zero outside: (B, C, N), with a gather for each of the four corners."""
    height, width = x.shape[2:]
    top, left = rows.floor(), columns.floor()
    y = 0
    for i in (top, top + 1):
        for j in (left, left + 1):
            weight = (1 - (rows - i).abs()) * (1 - (columns - j).abs())
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            index = i.clamp(0, height - 1).long() * width + j.clamp(0, width - 1).long()  # (B, N)
            values = x.flatten(2).gather(2, index[:, None].expand(-1, x.shape[1], -1))
            y = y + values * (weight * inside)[:, None]
    return y


class PlainDilatedConv(nn.Module):
    """The convolution as a sum over its taps."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return sum_over_taps(x, self.block.conv)


class PlainContextModule(nn.Module):
    """The context module, each convolution as a sum over its taps."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        for layer in self.block.layers:
            x = sum_over_taps(x, layer) if isinstance(layer, nn.Conv2d) else F.relu(x)
        return x


class PlainPartialConv(nn.Module):
    """A dense convolution of all channels, whose kernel is the identity for those that pass."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        weight, dim = self.block.conv.weight, self.block.dim
        kernel = nn.init.dirac_(weight.new_empty(dim, dim, 3, 3))
        kernel[: len(weight), : len(weight)] = weight
        return F.conv2d(x, kernel, padding=1)


class PlainSCConv(nn.Module):
    """SCConv, equation by equation."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        norm, channel = self.block.spatial.norm, self.block.channel
        share = (norm.weight / norm.weight.sum()).view(1, -1, 1, 1)
        gate = torch.sigmoid(norm(x) * share)
        first = torch.where(gate > 0.5, torch.ones_like(gate), gate) * x
        second = torch.where(gate > 0.5, torch.zeros_like(gate), gate) * x
        (front1, back1), (front2, back2) = first.chunk(2, 1), second.chunk(2, 1)
        x = torch.cat([front1 + back2, back1 + front2], 1)

        front, back = torch.split(x, channel.parts, 1)
        front, back = channel.squeeze_front(front), channel.squeeze_back(back)
        rich = channel.group_wise(front) + channel.point_wise(front)
        cheap = torch.cat([channel.point_wise_cheap(back), back], 1)
        s1, s2 = (F.adaptive_avg_pool2d(y, 1).exp() for y in (rich, cheap))
        return s1 / (s1 + s2) * rich + s2 / (s1 + s2) * cheap


class PlainDeformableConv(nn.Module):
    """Taps in turn: move, read, fade, multiply, add."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.block
        height, width = x.shape[2:]
        k, taps = block.kernel_size, block.kernel_size**2
        offset = block.offset(x)  # (B, 2P, H, W)
        y = 0
        for tap in range(taps):
            i, j = tap // k - k // 2, tap % k - k // 2
            rows = torch.arange(height)[:, None].to(x) + i * block.dilation + offset[:, tap]  # (B, H, W)
            columns = torch.arange(width).to(x) + j * block.dilation + offset[:, taps + tap]
            samples = read_between_pixels(x, rows.flatten(1), columns.flatten(1)).view_as(x)
            if block.modulation is not None:
                samples = samples * block.modulation(x)[:, tap, None].sigmoid()
            y = y + torch.einsum("oc,bchw->bohw", block.conv.weight[:, :, tap // k, tap % k], samples)
        return y if block.conv.bias is None else y + block.conv.bias[:, None, None]


class PlainDeformableConvV3(nn.Module):
    """Groups and taps in turn, with grid_sample."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, scale = self.block, self.block.offset_scale
        height, width = x.shape[2:]
        k, taps = block.kernel_size, block.kernel_size**2
        query = F.gelu(block.norm(block.depthwise(x).permute(0, 2, 3, 1)))
        offset, factors = block.offset(query), block.modulation(query)  # (B, H, W, 2GP), (B, H, W, GP)
        value = block.value(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        means = []
        for group, part in enumerate(value.chunk(block.groups, 1)):
            weight = factors[..., group * taps : (group + 1) * taps].softmax(3)
            mean = 0
            for tap in range(taps):
                at = 2 * (group * taps + tap)
                columns = torch.arange(width).to(x) + scale * (tap // k - k // 2 + offset[..., at])  # (B, H, W)
                rows = torch.arange(height)[:, None].to(x) + scale * (tap % k - k // 2 + offset[..., at + 1])
                grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], 3)
                mean = mean + weight[:, None, ..., tap] * F.grid_sample(part, grid, align_corners=False)
            means.append(mean)
        return block.project(torch.cat(means, 1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PlainDynamicSnakeConv(nn.Module):
    """The snake tap by tap from its centre; the samples of each pixel side by side, and a strided convolution."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, k = self.block, self.block.kernel_size
        height, width = x.shape[2:]
        steps = torch.tanh(block.offset_norm(block.offset(x)))  # (B, 2K, H, W)
        steps = steps[:, :k] if block.along == "x" else steps[:, k:]
        centre = k // 2
        bends = [torch.zeros_like(steps[:, 0]) for _ in range(k)]
        for i in range(1, centre + 1):
            bends[centre + i] = bends[centre + i - 1] + steps[:, centre + i]
            bends[centre - i] = bends[centre - i + 1] + steps[:, centre - i]
        samples = []
        for tap, bend in enumerate(bends):
            rows, columns = torch.arange(height)[:, None].to(x), torch.arange(width).to(x)
            if block.along == "x":
                rows, columns = rows + block.extend_scope * bend, columns + (tap - centre) + 0 * bend
            else:
                rows, columns = rows + (tap - centre) + 0 * bend, columns + block.extend_scope * bend
            rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
            samples.append(read_between_pixels(x, rows.flatten(1), columns.flatten(1)).view_as(x))
        if block.along == "x":  # K rows in the place of each
            stretched = torch.stack(samples, 3).flatten(2, 3)  # (B, C, HK, W)
            y = F.conv2d(stretched, block.conv_x.weight, block.conv_x.bias, stride=(k, 1))
        else:
            stretched = torch.stack(samples, 4).flatten(3)  # (B, C, H, WK)
            y = F.conv2d(stretched, block.conv_y.weight, block.conv_y.bias, stride=(1, k))
        return F.relu(block.norm(y))


TRANSCRIPTIONS = {
    "dilated_conv": PlainDilatedConv,
    "context_module": PlainContextModule,
    "partial_conv": PlainPartialConv,
    "scconv": PlainSCConv,
    "deformable_conv": PlainDeformableConv,
    "deformable_conv_v1": PlainDeformableConv,
    "deformable_conv_v3": PlainDeformableConvV3,
    "snake_conv": PlainDynamicSnakeConv,
}
