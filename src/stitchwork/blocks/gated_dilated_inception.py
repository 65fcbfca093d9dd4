"""Gated dilated inception: kernels of several lengths over time, and a gate for what they find.

Paper: wu2020connecting, section 4.4. A forecast needs periods of many lengths: kernels of 2, 3, 6 and 7 steps, and the
dilations of a stack of layers, combine to the usual ones (7 days, 12 months, 24 hours, ...). Two such banks work side
by side; one says what there is, the other how much of it passes:

    DI(x) = [x * f_2; x * f_3; x * f_6; x * f_7]   dilated by d over time, C -> C/4 channels each
    y     = tanh(DI_filter(x)) sigmoid(DI_gate(x))

All four see only steps that are there and end at the same one: T steps give T - 6 d, of which the last belongs to the
last step of the input. Nothing looks ahead, and the series of the N nodes are not mixed.

Cost: (2 + 3 + 6 + 7) C^2/2 + 2 C parameters, 9 C^2 multiply-adds for each node and output step.
Growth: N^1

Where this differs: nothing from the official code, whose shorter kernels also compute the first steps, which are then
cut off; here they do not see them. Filter and gate of one length run as one convolution. A widely copied version
stretches the T - 6 d steps back to T by an MLP over the time axis: every step then sees every other, later ones
included, and the module works for one length only.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.layers import check_positive

PAPER = "wu2020connecting"
CHAPTER = "28_beyond_images"
DIM = 32
LAYOUT = "series"


class DilatedInception(nn.Module):
    """A bank of dilated convolutions of several lengths over time.

    Args:
        dim: channels C, a multiple of the number of lengths; each makes an equal part of the output.
        kernel_set: the lengths, in steps.
        dilation_factor: d, distance of the taps.

    Shapes:
        (B, C, N, T) -> (B, C, N, T - d (longest - 1))
    """

    def __init__(self, dim: int, kernel_set: Sequence[int] = (2, 3, 6, 7), dilation_factor: int = 2):
        super().__init__()
        self.dilation = (1, dilation_factor)
        # Where each kernel starts, so that all of them end at the same step.
        self.starts = tuple(dilation_factor * (max(kernel_set) - length) for length in kernel_set)
        self.convs = nn.ModuleList(
            nn.Conv2d(dim, dim // len(kernel_set), (1, length), dilation=self.dilation) for length in kernel_set
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, N, T) with all lengths."""
        return torch.cat([conv(x[..., start:]) for conv, start in zip(self.convs, self.starts)], 1)


class GatedDilatedInception(nn.Module):
    """Two banks of dilated convolutions over time: one finds, the other lets pass.

    Args:
        dim: channels C, a multiple of the number of lengths.
        kernel_set: the lengths of the kernels, in steps.
        dilation_factor: d, distance of the taps.

    Shapes:
        (B, C, N, T) -> (B, C, N, T - d (longest - 1)), for T greater than d (longest - 1): N series of T steps. The
        last step out belongs to the last step in.

    Raises:
        ValueError: the input is not (B, C, N, T) with this C, or too short; a number is not positive; ``dim`` is not
            a multiple of the number of lengths.
    """

    def __init__(self, dim: int, kernel_set: Sequence[int] = (2, 3, 6, 7), dilation_factor: int = 2):
        super().__init__()
        check_positive("GatedDilatedInception", dim=dim, dilation_factor=dilation_factor)
        if not kernel_set or min(kernel_set) < 1:
            raise ValueError(
                f"GatedDilatedInception: kernel_set must be lengths of at least 1; got {tuple(kernel_set)}"
            )
        if dim % len(kernel_set):
            raise ValueError(
                f"GatedDilatedInception: dim must be a multiple of {len(kernel_set)}, the number of lengths in "
                f"kernel_set; got {dim}"
            )
        self.dim = dim
        self.min_steps = dilation_factor * (max(kernel_set) - 1) + 1
        self.filter = DilatedInception(dim, kernel_set, dilation_factor)
        self.gate = DilatedInception(dim, kernel_set, dilation_factor)
        self.tanh = nn.Tanh()
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Find and gate in (B, C, N, T)."""
        if x.dim() != 4:
            advice = "add the batch axis with x[None]" if x.dim() == 3 else "reshape it to four axes"
            raise ValueError(
                f"GatedDilatedInception takes series (B, {self.dim}, N, T); got shape {tuple(x.shape)}: {advice}"
            )
        if x.shape[1] != self.dim:
            raise ValueError(
                f"GatedDilatedInception was built for {self.dim} channels; got shape {tuple(x.shape)} with "
                f"{x.shape[1]}: build it for {x.shape[1]} channels, or permute the input to (B, C, N, T)"
            )
        if x.shape[2] < 1 or x.shape[3] < self.min_steps:
            raise ValueError(
                f"GatedDilatedInception needs at least one series and at least {self.min_steps} steps; got shape "
                f"{tuple(x.shape)}: take a longer sequence, or pad it before its first step"
            )
        found, gates = [], []
        for conv, gate, start in zip(self.filter.convs, self.gate.convs, self.filter.starts):
            weight, bias = torch.cat([conv.weight, gate.weight]), torch.cat([conv.bias, gate.bias])
            both = F.conv2d(x[..., start:], weight, bias, dilation=conv.dilation)  # (B, 2 * C / 4, N, T - ...)
            part, gate_part = both.chunk(2, 1)
            found.append(part)
            gates.append(gate_part)
        return self.tanh(torch.cat(found, 1)) * self.sigmoid(torch.cat(gates, 1))


BLOCKS = {"gated_dilated_inception": GatedDilatedInception}
REFERENCES = {"gated_dilated_inception": ("recorded:gated_dilated_inception",)}
