"""Linear layers in a row, or side by side, are one linear layer: the algebra of re-parameterisation.

Paper: ding2021repvgg, section 3.3. In evaluation a BatchNorm scales and shifts by constants, so with s = gamma / sqrt(
variance + eps) a convolution W and the BatchNorm behind it are the one convolution s W with the bias beta - s mean.
Convolutions that are summed are the one with the sum of their kernels, once a smaller kernel is padded to the larger.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Fused(nn.Module):
    """A layer that several layers have been folded into; for evaluation only.

    What is left of the layers (the BatchNorm's statistics, the branches' own learning rates) cannot be trained any
    more, so that ``train()`` is refused, and no parameter takes a gradient.
    """

    def take(self, weight: Tensor, bias: Tensor) -> None:
        """Make ``weight`` and ``bias`` its own."""
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(bias.detach(), requires_grad=False)
        self.eval()

    def train(self, mode: bool = True) -> "Fused":
        """Refuse training.

        Raises:
            RuntimeError: ``mode`` is true.
        """
        if mode:
            raise RuntimeError(
                "this network is fused, which only evaluation can use: its normalisations and branches are folded into "
                "single convolutions. Train the network that fuse() was given, and fuse that again"
            )
        return super().train(mode)


class FusedConv2d(Fused, nn.Conv2d):
    """A convolution that several layers have been folded into; for evaluation only.

    Args:
        weight: (C', C / groups, k_h, k_w).
        bias: (C',).
        stride: as of Conv2d.
        padding: as of Conv2d.
        dilation: as of Conv2d.
        groups: as of Conv2d.

    Shapes:
        (B, C, H, W) -> (B, C', H', W')
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride=1, padding=0, dilation=1, groups: int = 1):
        out_dim, per_group, *kernel_size = weight.shape
        super().__init__(
            per_group * groups,
            out_dim,
            tuple(kernel_size),
            stride,
            padding,
            dilation,
            groups,
            device="meta",
        )
        self.take(weight, bias)


class FusedConvTranspose2d(Fused, nn.ConvTranspose2d):
    """A transposed convolution that a BatchNorm has been folded into; for evaluation only.

    Args:
        weight: (C, C' / groups, k_h, k_w).
        bias: (C',).
        stride: as of ConvTranspose2d.
        padding: as of ConvTranspose2d.
        output_padding: as of ConvTranspose2d.
        groups: as of ConvTranspose2d.
        dilation: as of ConvTranspose2d.

    Shapes:
        (B, C, H, W) -> (B, C', H', W')
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, stride=1, padding=0, output_padding=0, groups: int = 1, dilation=1
    ):
        in_dim, per_group, *kernel_size = weight.shape
        super().__init__(
            in_dim,
            per_group * groups,
            tuple(kernel_size),
            stride,
            padding,
            output_padding,
            groups,
            dilation=dilation,
            device="meta",
        )
        self.take(weight, bias)


def refuse_if_fused(network: nn.Module) -> None:
    """Refuse to train a network with a part that is fused.

    Raises:
        RuntimeError: there is such a part.
    """
    if fused := next((part for part in network.modules() if isinstance(part, Fused)), None):
        fused.train()


def batch_norm_as_affine(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) that a BatchNorm applies in evaluation, in double precision.

    Raises:
        TypeError: ``norm`` keeps no statistics, so that it normalises by the batch in evaluation as well.
    """
    if norm.running_var is None:
        raise TypeError(
            f"a BatchNorm without statistics depends on the batch; build it with track_running_stats: {norm}"
        )
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    return scale.detach(), shift.detach()


def fold_batch_norm(conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> FusedConv2d | FusedConvTranspose2d:
    """The convolution that gives what ``norm(conv(x))`` gives in evaluation.

    Raises:
        TypeError: ``norm`` is no BatchNorm: another normalisation depends on the input.
        ValueError: ``conv`` is none of these, or pads with other than zeros.
    """
    if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) or conv.padding_mode != "zeros":
        raise ValueError(f"only a Conv2d that pads with zeros, or its transpose, can take in a BatchNorm; got {conv}")
    if not isinstance(norm, nn.BatchNorm2d):
        raise TypeError(f"only a BatchNorm2d folds into a convolution, because its statistics are fixed; got {norm}")
    scale, shift = batch_norm_as_affine(norm)
    bias = (shift if conv.bias is None else shift + scale * conv.bias.double()).to(conv.weight.dtype)
    if isinstance(conv, nn.ConvTranspose2d):
        # Its weight is (C, C' / groups, k_h, k_w), and only C is divided into the groups.
        groups = conv.weight.double().unflatten(0, (conv.groups, -1)) * scale.view(conv.groups, 1, -1, 1, 1)
        weight = groups.flatten(0, 1).to(conv.weight.dtype)
        return FusedConvTranspose2d(
            weight, bias, conv.stride, conv.padding, conv.output_padding, conv.groups, conv.dilation
        )
    weight = (conv.weight.double() * scale[:, None, None, None]).to(conv.weight.dtype)
    return FusedConv2d(weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def pad_kernel(weight: Tensor, kernel_size: tuple[int, int]) -> Tensor:
    """A kernel (C', C, k_h, k_w) with zeros around it, so that it becomes a centred one of the odd ``kernel_size``.

    Raises:
        ValueError: it has no centre, or is larger than ``kernel_size``.
    """
    size = tuple(weight.shape[2:])
    rows, columns = kernel_size[0] - size[0], kernel_size[1] - size[1]
    if min(rows, columns) < 0 or rows % 2 or columns % 2:
        raise ValueError(
            f"a kernel of size {size} cannot be the centre of one of size {tuple(kernel_size)}: "
            "take an odd size that is at least as large on both axes"
        )
    return F.pad(weight, (columns // 2, columns // 2, rows // 2, rows // 2))


def dilate_kernel(weight: Tensor, dilation: int) -> Tensor:
    """The dense kernel of a dilated one: ``dilation - 1`` zeros between the taps (C', C, k_h, k_w)."""
    out_dim, in_dim, rows, columns = weight.shape
    dense = weight.new_zeros(out_dim, in_dim, (rows - 1) * dilation + 1, (columns - 1) * dilation + 1)
    dense[:, :, ::dilation, ::dilation] = weight
    return dense
