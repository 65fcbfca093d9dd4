"""SE, CBAM, coordinate attention and the separable convolution, as they are usually written."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainSqueezeExcitation(nn.Module):
    """SE with pooling layers, linear layers, and the gate expanded to the size of the image."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        squeeze, excite = self.block.squeeze, self.block.excite
        z = nn.AdaptiveAvgPool2d(1)(x).flatten(1)  # (B, C)
        hidden = F.relu(F.linear(z, squeeze.weight.flatten(1), squeeze.bias))
        gate = F.linear(hidden, excite.weight.flatten(1), excite.bias).sigmoid()
        return x * gate[..., None, None].expand_as(x)


class PlainCBAM(nn.Module):
    """CBAM with pooling layers and the gates expanded to the size of the image."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        mlp, spatial = self.block.channel.mlp, self.block.spatial
        logits = mlp(nn.AdaptiveAvgPool2d(1)(x)) + mlp(nn.AdaptiveMaxPool2d(1)(x))
        x = x * logits.sigmoid().expand_as(x)
        planes = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)  # (B, 2, H, W)
        return x * spatial.norm(spatial.conv(planes)).sigmoid().expand_as(x)


class PlainCoordAttention(nn.Module):
    """Coordinate attention with pooling layers."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        height, width = x.shape[2:]
        rows = nn.AdaptiveAvgPool2d((None, 1))(x)  # (B, C, H, 1)
        columns = nn.AdaptiveAvgPool2d((1, None))(x).permute(0, 1, 3, 2)  # (B, C, W, 1)
        mixed = self.block.mix(torch.cat([rows, columns], 2))
        rows, columns = torch.split(mixed, [height, width], 2)
        gate_h = self.block.conv_h(rows).sigmoid()
        gate_w = self.block.conv_w(columns.permute(0, 1, 3, 2)).sigmoid()
        return x * gate_w * gate_h


class PlainDepthwiseSeparableConv(nn.Module):
    """The depthwise convolution as a sum over the taps of the kernel, the pointwise one as a product of matrices."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        depthwise, pointwise = self.block.depthwise, self.block.pointwise
        height, width = x.shape[2:]
        weight = depthwise.conv.weight  # (C, 1, k, k)
        margin = weight.shape[-1] // 2
        padded = F.pad(x, [margin] * 4)
        y = sum(
            weight[:, :, i, j, None] * padded[..., i : i + height, j : j + width]
            for i in range(weight.shape[2])
            for j in range(weight.shape[3])
        )
        y = depthwise.act(depthwise.norm(y))
        y = torch.einsum("oc,bchw->bohw", pointwise.conv.weight.flatten(1), y)
        return pointwise.act(pointwise.norm(y))


TRANSCRIPTIONS = {
    "se": PlainSqueezeExcitation,
    "cbam": PlainCBAM,
    "coord_attention": PlainCoordAttention,
    "depthwise_separable_conv": PlainDepthwiseSeparableConv,
}
