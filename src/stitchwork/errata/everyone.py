"""Defects of copies, and of official code, of the attentions of everyone to everyone."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.analysis import gradient_support
from stitchwork.blocks.axial_attention import AxialAttention
from stitchwork.blocks.criss_cross import CrissCrossAttention
from stitchwork.blocks.danet_channel import ChannelAttention
from stitchwork.errata.erratum import Erratum
from stitchwork.errata.measures import distance_from_published, failure_at, leak_between_images, noise


def failure_of_the_gradient_in_evaluation(module: nn.Module) -> float:
    """Infinity if no gradient can be had in evaluation mode, else 0."""
    x = noise(1, 64, 6, 6).float().requires_grad_()
    try:
        module.eval()(x).sum().backward()
    except (RuntimeError, TypeError):
        return math.inf
    return 0.0 if x.grad is not None else math.inf


def failure_away_from_the_cpu(module: nn.Module) -> float:
    """Infinity if the module fails on a device that is not the CPU, else 0."""
    try:
        module.to("meta")(torch.empty(1, 64, 6, 6, device="meta"))
    except RuntimeError:
        return math.inf
    return 0.0


@torch.no_grad()
def pixels_out_of_reach(module: nn.Module) -> float:
    """The share of 14 x 14 input pixels that do not reach the centre of the output."""
    for parameter in module.parameters():
        if parameter.numel() == 1:
            parameter.fill_(1)  # the gain, which hides the attention while it is zero
    return 1 - gradient_support(module, (1, 64, 14, 14)).double().mean().item()


@torch.no_grad()
def not_finite_in_half_precision(module: nn.Module) -> float:
    """The share of the output that is not finite in float16, for an image of 64 x 64 pixels with a deviation of 5."""
    y = module.half().eval()((5 * noise(1, 64, 64, 64)).half())
    return (~y.isfinite()).double().mean().item()


class OverflowingChannelAttention(ChannelAttention):
    """Channel attention that sums the products over all pixels before it subtracts the largest."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        channels = x.flatten(2)
        energy = channels @ channels.transpose(1, 2)
        weights = self.softmax(energy.amax(2, keepdim=True) - energy)
        return x + self.gamma * (weights @ channels).unflatten(2, x.shape[2:])


class OtherDualAttention(nn.Module):
    """What a popular collection calls DANet: no gain, no input added, one image size."""

    def __init__(self, dim: int, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width
        self.convs = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(2))
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        self.channels_output = nn.Linear(height * width, height * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        pixels, channels = (conv(x).flatten(2) for conv in self.convs)  # (B, C, N) each
        pixels = pixels.transpose(1, 2)
        pixels = F.scaled_dot_product_attention(self.query(pixels), self.key(pixels), self.value(pixels))
        channels = F.scaled_dot_product_attention(channels, channels, channels)
        return (self.output(pixels).transpose(1, 2) + self.channels_output(channels)).reshape(x.shape)


class DualAttentionOfOneWidth(OtherDualAttention):
    """The same, with the width of its example written into the branches in the place of the arguments."""

    def __init__(self, dim: int):
        super().__init__(512, 7, 7)


class FixedMask(CrissCrossAttention):
    """Criss-cross attention whose mask is a tensor of fixed type and device, subtracted from the logits."""

    def attend(self, x: Tensor) -> Tensor:
        """One pass."""
        height, width = x.shape[2:]
        q, k, v = self.project(x)
        infinite = torch.diag(torch.full((height,), math.inf, device="cpu"))
        column = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) - infinite
        row = q @ k.transpose(2, 3)
        weights = self.softmax(torch.cat([column.transpose(1, 2), row], -1))
        column, row = weights.split([height, width], -1)
        from_column = column.transpose(1, 2) @ v.transpose(1, 2)
        return (from_column.transpose(1, 2) + row @ v).permute(0, 3, 1, 2)


class Replay(torch.autograd.Function):
    """Computes a branch without a graph, and once more in the backward pass, with the random numbers of the first."""

    @staticmethod
    def forward(context, x: Tensor, branch: nn.Module) -> Tensor:
        """The output of the branch; the state of the random generator is kept in training only."""
        context.branch, context.state = branch, torch.get_rng_state() if branch.training else None
        context.save_for_backward(x)
        return branch(x)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient of the branch, which is run again under the state that was kept."""
        (x,) = context.saved_tensors
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.set_rng_state(context.state)
            again = x.detach().requires_grad_()
            context.branch(again).backward(gradient)
        return again.grad, None


class ReversibleAxialAttention(nn.Module):
    """Axial attention that saves the memory of its activations."""

    def __init__(self, dim: int = 64):
        super().__init__()
        self.attention = AxialAttention(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return Replay.apply(x, self.attention)


class BatchDoubleAttention(nn.Module):
    """Double attention with both softmaxes over the first axis, as PyTorch chooses for three axes."""

    def __init__(self, dim: int = 64, c_m: int = 128, c_n: int = 128):
        super().__init__()
        self.feature, self.gather, self.distribute = (nn.Conv2d(dim, width, 1) for width in (c_m, c_n, c_n))
        self.reconstruct = nn.Conv2d(c_m, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        attention, choice = (layer(x).flatten(2).softmax(0) for layer in (self.gather, self.distribute))
        descriptors = self.feature(x).flatten(2) @ attention.transpose(1, 2)
        return self.reconstruct((descriptors @ choice).unflatten(2, x.shape[2:]))


class CopiedSea(nn.Module):
    """SEA with a sigmoid, ReLU, and as many depthwise channels as twice the values."""

    def __init__(self, dim: int = 64, key_dim: int = 16, num_heads: int = 4, attn_ratio: float = 2):
        super().__init__()

        def conv(inputs: int, outputs: int, *arguments: int, groups: int = 1) -> nn.Module:
            layer = nn.Conv2d(inputs, outputs, *arguments, bias=False, groups=groups)
            return nn.Sequential(layer, nn.BatchNorm2d(outputs))

        keys, values = num_heads * key_dim, num_heads * int(attn_ratio * key_dim)
        self.heads = num_heads
        self.to_q, self.to_k, self.to_v = conv(dim, keys, 1), conv(dim, keys, 1), conv(dim, values, 1)
        self.positions = nn.ParameterList(torch.randn(1, keys, 16) for _ in range(4))
        self.proj_row = nn.Sequential(nn.ReLU(), conv(values, values, 1))
        self.proj_column = nn.Sequential(nn.ReLU(), conv(values, values, 1))
        self.proj = nn.Sequential(nn.ReLU(), conv(values, dim, 1))
        self.detail = nn.Sequential(
            conv(2 * values, 2 * values, 3, 1, 1, groups=2 * values), nn.ReLU(), conv(2 * values, dim, 1)
        )

    def attend(self, axis: int, q: Tensor, k: Tensor, v: Tensor, positions: list[Tensor]) -> Tensor:
        """Attention along the line that is left of the image when ``axis`` is averaged away."""
        q, k, v = (y.mean(axis) for y in (q, k, v))
        q, k = (y + F.interpolate(p, size=y.shape[2], mode="linear") for y, p in zip((q, k), positions))
        q, k, v = (y.unflatten(1, (self.heads, -1)).transpose(2, 3) for y in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        rows = self.proj_row(self.attend(3, q, k, v, self.positions[:2]).unsqueeze(3))
        columns = self.proj_column(self.attend(2, q, k, v, self.positions[2:]).unsqueeze(2))
        return self.proj(v + rows + columns).sigmoid() * self.detail(torch.cat([q, k, v], 1))


ERRATA = [
    Erratum(
        key="axial_attention_no_gradient_in_evaluation",
        block="axial_attention",
        found_in="popular copies",
        text="The image Transformer that is handed on as axial attention is reversible: it forgets its activations and "
        "computes them again in the backward pass, with the random numbers of the first time. It notes the state of "
        "the random generator in training only, and looks for it always. So there is no gradient in evaluation mode: "
        "no saliency map, no adversarial example, no fine-tuning of a part with the rest in `eval()`.",
        wrong=ReversibleAxialAttention,
        measure=failure_of_the_gradient_in_evaluation,
        meaning="failure of the backward pass in evaluation mode",
    ),
    Erratum(
        key="criss_cross_mask_of_fixed_type",
        block="criss_cross",
        found_in="popular copies",
        text="The infinities that keep a pixel from counting twice are a float32 tensor, whatever the module's type. "
        "In a bfloat16 or float16 module they raise the weights to float32, and the product with the values fails.",
        wrong=lambda: FixedMask(64),
        measure=failure_at(1, 64, 6, 6, dtype=torch.bfloat16),
        meaning="failure of the module in bfloat16",
    ),
    Erratum(
        key="criss_cross_mask_on_fixed_device",
        block="criss_cross",
        found_in="popular copies",
        text="The same infinities are made on one device: with `.cuda()` in the widely copied version, so that the "
        "module cannot run without a GPU, nor on the second of two. Rebuilt here the other way round: a mask that "
        "stays on the CPU fails on every other device.",
        wrong=lambda: FixedMask(64),
        measure=failure_away_from_the_cpu,
        meaning="failure of the module on another device",
    ),
    Erratum(
        key="criss_cross_without_recurrence",
        block="criss_cross",
        found_in="popular copies",
        text="CCNet owes its reach to two passes with the same weights: along a row, then along a column. The copies "
        "have one and do not speak of a second. After one pass a pixel of a 14×14 map knows 27 of the 196.",
        wrong=lambda: CrissCrossAttention(64),
        measure=pixels_out_of_reach,
        meaning="share of the pixels that do not reach the centre",
        arguments=(("recurrence", 2),),
    ),
    Erratum(
        key="danet_another_module",
        block="danet",
        found_in="popular copies",
        text="What the copies call DANet is another module: a 3×3 convolution and a scaled attention with four "
        "projections for the positions, and for the channels a linear layer over *all pixels of the image*, which is "
        "why height and width must be given and no other size fits. The learned gain is gone, and so is the input "
        "that it is added to.",
        wrong=lambda: OtherDualAttention(64, 14, 14),
        measure=failure_at(1, 64, 12, 16),
        meaning="failure at another image size",
        recorded="popular_copy",
    ),
    Erratum(
        key="danet_ignores_its_arguments",
        block="danet",
        found_in="popular copies",
        text="The constructor takes a width and an image size, and builds its branches for 512 channels of 7×7 pixels "
        "whatever they are: the sizes of the example that stands below it.",
        wrong=lambda: DualAttentionOfOneWidth(64),
        measure=failure_at(1, 64, 14, 14),
        meaning="failure at the number of channels that was asked for",
    ),
    Erratum(
        key="danet_channel_overflows_in_half_precision",
        block="danet_channel",
        found_in="the official code",
        text="The products of the channels are summed over all pixels as they stand. In float16, as under automatic "
        "mixed precision, a sum above 65,504 is infinite, infinity minus infinity is no number, and the output is NaN, "
        "even while the gain is zero. Dividing by the number of pixels until the largest is subtracted changes "
        "nothing else.",
        wrong=lambda: OverflowingChannelAttention(64),
        measure=not_finite_in_half_precision,
        meaning="share of the output that is not finite in float16",
    ),
    Erratum(
        key="double_attention_softmax_over_batch",
        block="double_attention",
        found_in="popular copies",
        text="Both softmaxes are called without an axis. For three axes PyTorch then takes the first, and that is the "
        "*batch*: the images of a batch compete for attention, and what comes out for one depends on the others. With "
        "a batch of one all weights are exactly 1, and the attention is a plain sum over all pixels.",
        wrong=BatchDoubleAttention,
        measure=leak_between_images,
        meaning="change of the first output when the second image changes",
        recorded="popular_copy",
    ),
    Erratum(
        key="sea_attention_fits_one_ratio",
        block="sea_attention",
        found_in="popular copies",
        text="The depthwise convolution sees queries, keys and values together. The copies give it twice the channels "
        "of the values, which is right if the values are twice as wide as the keys, and fails for any other "
        "`attn_ratio`.",
        wrong=lambda: CopiedSea(attn_ratio=1),
        measure=failure_at(1, 64, 14, 14),
        meaning="failure with values as wide as keys",
        arguments=(("attn_ratio", 1),),
    ),
    Erratum(
        key="sea_attention_other_gate",
        block="sea_attention",
        found_in="popular copies",
        text="The gate is a sigmoid and the activations are ReLU, where the official code has the hard sigmoid and its "
        "networks ReLU6. Official weights load without a complaint and give other numbers.",
        wrong=CopiedSea,
        measure=distance_from_published("sea_attention"),
        meaning="distance of the fingerprint from that of the official code",
        recorded="popular_copy",
    ),
]
