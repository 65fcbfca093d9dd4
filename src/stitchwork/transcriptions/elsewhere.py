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
    """Move, read, fade, multiply and add, for all taps at once."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, k = self.block, self.block.kernel_size
        height, width = x.shape[2:]
        row_offset, column_offset = block.offset(x).chunk(2, 1)  # (B, P, H, W)
        steps = block.dilation * (torch.arange(k).to(x) - k // 2)
        rows = torch.arange(height)[:, None].to(x) + steps.repeat_interleave(k)[:, None, None] + row_offset
        columns = torch.arange(width).to(x) + steps.repeat(k)[:, None, None] + column_offset
        samples = read_between_pixels(x, rows.flatten(1), columns.flatten(1))
        samples = samples.unflatten(2, (k * k, height, width))  # (B, C, P, H, W)
        if block.modulation is not None:
            samples = samples * block.modulation(x)[:, None].sigmoid()
        y = torch.einsum("ocp,bcphw->bohw", block.conv.weight.flatten(2), samples)
        return y if block.conv.bias is None else y + block.conv.bias[:, None, None]


class PlainDeformableConvV3(nn.Module):
    """All points of a group of channels with one grid_sample, the groups as so many images."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block, k, groups = self.block, self.block.kernel_size, self.block.groups
        height, width = x.shape[2:]
        query = F.gelu(block.norm(block.depthwise(x).permute(0, 2, 3, 1)))
        value = block.value(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).unflatten(1, (groups, -1)).flatten(0, 1)
        weight = block.modulation(query).unflatten(3, (groups, -1)).softmax(4)  # (B, H, W, G, P)
        steps = torch.arange(k).to(x) - k // 2
        taps = torch.stack([steps.repeat_interleave(k), steps.repeat(k)], 1)  # (P, 2): column, row
        offset = block.offset_scale * (taps + block.offset(query).unflatten(3, (groups, k * k, 2)))
        pixels = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), 2).to(x)
        points = pixels[:, :, None, None] + offset  # (B, H, W, G, P, 2)
        grid = (2 * points + 1) / torch.tensor([width, height]).to(x) - 1
        grid = grid.permute(0, 3, 4, 1, 2, 5).flatten(2, 3).flatten(0, 1)  # (B G, P H, W, 2)
        samples = F.grid_sample(value, grid, align_corners=False).unflatten(2, (k * k, height))  # (B G, c, P, H, W)
        weight = weight.permute(0, 3, 4, 1, 2).flatten(0, 1)[:, None]  # (B G, 1, P, H, W)
        mean = (samples * weight).sum(2).unflatten(0, (-1, groups)).flatten(1, 2)
        return block.project(mean.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


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
