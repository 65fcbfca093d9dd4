"""Defects of copies, and of official code, of the modules that mix pixels without an attention matrix."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.blocks.aft_simple import AFTSimple
from stitchwork.blocks.efficient_additive_attention import EfficientAdditiveAttention
from stitchwork.blocks.external_attention import ExternalAttention
from stitchwork.blocks.s2_attention import S2Attention
from stitchwork.blocks.ufo_attention import UFOAttention
from stitchwork.blocks.weighted_permute_mlp import WeightedPermuteMLP
from stitchwork.errata.erratum import Erratum
from stitchwork.errata.measures import distance_from_published, failure_at, noise, tensors_left_behind


def not_finite_for(image: Callable[[], Tensor]) -> Callable[[nn.Module], float]:
    """Gives the share of the output that is not finite for this image, in float32."""

    @torch.no_grad()
    def measure(module: nn.Module) -> float:
        return (~module.float().eval()(image().float()).isfinite()).double().mean().item()

    return measure


def large_image() -> Tensor:
    """Noise of standard deviation 1000."""
    return 1000 * noise(2, 64, 14, 14)


def image_with_outliers() -> Tensor:
    """Noise with one pixel that is a hundred thousand times as large, and another that is its negative."""
    x = noise(2, 64, 14, 14)
    x[:, :, 3, 5] *= 1e5
    x[:, :, 9, 2] = -x[:, :, 3, 5]
    return x


# --- AFT


class ExponentialAFT(AFTSimple):
    """AFT-simple with the exponentials as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        weight = self.key(x).exp()
        mean = (weight * self.value(x)).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)
        return self.gate(self.query(x)) * mean


class AFTWithLooseTable(AFTSimple):
    """AFT-full for ``simple=True``: its table of zeros is an attribute that is no buffer."""

    def __init__(self, dim: int = 64, size: tuple[int, int] = (14, 14)):
        super().__init__(dim)
        self.position_bias = torch.zeros(size[0] * size[1], size[0] * size[1])

    def mean(self, weight: Tensor, value: Tensor) -> Tensor:
        """The weighted mean for every pixel."""
        table = self.position_bias.exp()
        sums = [F.linear(x.flatten(2), table).reshape(x.shape) for x in (weight * value, weight)]
        return sums[0] / sums[1]


# --- efficient additive attention


class NarrowedEfficientAdditiveAttention(EfficientAdditiveAttention):
    """Efficient additive attention whose output is as wide as its queries, not as its input."""

    def __init__(self, dim: int = 64, token_dim: int = 32):
        super().__init__(dim)
        self.query, self.key = nn.Conv2d(dim, token_dim, 1), nn.Conv2d(dim, token_dim, 1)
        self.weight = nn.Parameter(torch.randn(token_dim, 1))
        self.project, self.out = nn.Conv2d(token_dim, token_dim, 1), nn.Conv2d(token_dim, token_dim, 1)


# --- external attention


class BareExternalAttention(nn.Module):
    """The two memories alone."""

    def __init__(self, dim: int = 64, slots: int = 64):
        super().__init__()
        self.memory_key = nn.Conv1d(dim, slots, 1, bias=False)
        self.memory_value = nn.Conv1d(slots, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        attention = self.memory_key(x.flatten(2)).softmax(2)  # (B, S, N)
        return self.memory_value(attention / attention.sum(1, keepdim=True)).reshape(x.shape)


class TiedExternalAttention(ExternalAttention):
    """External attention whose second memory is the first one seen from the side, as long as nothing is moved."""

    def __init__(self, dim: int = 64):
        super().__init__(dim)
        self.memory_value.data = self.memory_key.data.mT


def effect_of_moving(module: nn.Module) -> float:
    """How far two steps of training from the same state are apart, the second after a move to float64 and back."""
    x, outputs = noise(2, 64, 6, 6).float(), []
    start = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    for moved in (False, True):
        module.load_state_dict(start)
        if moved:
            module.double().float()
        module.train().zero_grad()
        module(x).square().mean().backward()
        torch.optim.SGD(module.parameters(), 1.0).step()
        outputs.append(module.eval()(x).detach())
    return ((outputs[1] - outputs[0]).norm() / outputs[0].norm()).item()


# --- S2 attention


class SmearedS2Attention(S2Attention):
    """S2 attention with the result of shifting in place: forwards, the first line ends up everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        first, second, still = self.expand(x).chunk(3, 1)
        first, second = self.smeared(first), self.smeared(second.transpose(2, 3)).transpose(2, 3)
        a = self.softmax(self.reweight((first + second + still).sum((2, 3))))[..., None, None]
        return self.project(a[:, 0] * first + a[:, 1] * second + a[:, 2] * still)

    def smeared(self, x: Tensor) -> Tensor:
        """Quarters shifted along H, forwards and backwards, and along W likewise: (B, C, H, W) -> same."""
        down, up, right, left = x.split(self.quarters, 1)
        return torch.cat(
            [
                down[:, :, :1].expand_as(down),
                torch.cat([up[:, :, 1:], up[:, :, -1:]], 2),
                right[..., :1].expand_as(right),
                torch.cat([left[..., 1:], left[..., -1:]], 3),
            ],
            1,
        )


class S2AttentionFor512(S2Attention):
    """S2 attention whose weighing is built for 512 channels whatever the module is built for."""

    def __init__(self, dim: int = 64):
        super().__init__(dim)
        self.reweight = S2Attention(512).reweight


# --- UFO attention


class UnsafeUFOAttention(UFOAttention):
    """UFO attention that divides by the length as it is, and starts with weights of 0.001 and biases of 0."""

    def __init__(self, dim: int = 64):
        super().__init__(dim)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        heads = (x.shape[0], self.num_heads, self.dim // self.num_heads, x.shape[2] * x.shape[3])
        q, k, v = (layer(x).reshape(heads) for layer in (self.query, self.key, self.value))
        context = k @ v.mT
        context = self.gamma * context / context.norm(dim=3, keepdim=True)
        q = self.gamma * q / q.norm(dim=2, keepdim=True)
        return self.out((context.mT @ q).reshape(x.shape))


@torch.no_grad()
def loss_of_scale(module: nn.Module) -> float:
    """How many times smaller the output is than the input as training begins."""
    x = noise(4, 64, 14, 14).float()
    return (x.std() / module(x).std()).item()


# --- Weighted Permute-MLP


class SquarePermuteMLP(WeightedPermuteMLP):
    """Weighted Permute-MLP with ``segment_dim`` segments and layers of width C, for H = W = segment_dim."""

    def __init__(self, dim: int = 64, segment_dim: int = 8):
        super().__init__(dim, (segment_dim, segment_dim), segment_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        self.size = tuple(x.shape[2:])
        return super().forward(x)


class ReorderedPermuteMLP(WeightedPermuteMLP):
    """Weighted Permute-MLP that reads the weights of the branches as (c, w, h)."""

    def __init__(self, dim: int = 64, size: tuple[int, int] = (16, 16)):
        super().__init__(dim, size)
        self.softmax = nn.Sequential(self.softmax, Reversed())


class Reversed(nn.Module):
    """The last axis the other way round."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., n) -> (..., n)."""
        return x.flip(-1)


def permute_mlp_with_dropout(dim: int = 64, size: tuple[int, int] = (14, 14)) -> nn.Module:
    """Weighted Permute-MLP with the dropout of the copies in the small MLP."""
    block = WeightedPermuteMLP(dim, size)
    block.reweight.insert(2, nn.Dropout(0.1))
    return block


@torch.no_grad()
def chance_in_training(module: nn.Module) -> float:
    """How much two training passes on the same images differ, relative to their size."""
    x = noise(2, 64, 14, 14).float()
    first, second = module.train()(x), module(x)
    return ((first - second).norm() / first.norm()).item()


ERRATA = [
    Erratum(
        key="aft_simple_overflows",
        block="aft_simple",
        found_in="popular copies",
        text="The exponentials of the keys are taken as they are. Beyond 88 a float32 exponential is infinite, and "
        "infinity divided by infinity is NaN: one large activation ends the training. The largest key of each channel "
        "can be subtracted first, and the quotient is the same.",
        wrong=lambda: ExponentialAFT(64),
        measure=not_finite_for(large_image),
        meaning="share of the output that is not finite for large inputs",
        limit=0.0,
    ),
    Erratum(
        key="aft_simple_table_stays_behind",
        block="aft_simple",
        found_in="popular copies",
        text="For `simple=True` the table of position weights is a plain attribute filled with zeros, no buffer: "
        "`.to(device)` leaves it on the CPU and the next call fails. And N² zeros are stored and multiplied for what "
        "is one sum.",
        wrong=AFTWithLooseTable,
        measure=tensors_left_behind,
        meaning="number of tensors that stay where they are when the module is moved",
        limit=0.0,
    ),
    Erratum(
        key="efficient_additive_attention_loses_channels",
        block="efficient_additive_attention",
        found_in="the official code",
        text="The last layer gives `token_dim` channels, the width of the queries, and not `in_dims`, those of the "
        "input. Copies document the output as of the input's shape; with any other `token_dim` it is not, and a "
        "residual connection around it fails.",
        wrong=NarrowedEfficientAdditiveAttention,
        measure=failure_at(2, 64, 14, 14),
        meaning="infinity if the output has another shape than the input",
    ),
    Erratum(
        key="external_attention_bare",
        block="external_attention",
        found_in="popular copies",
        text="Only the two memories are there. The official module has a 1×1 convolution before them, a 1×1 "
        "convolution with BatchNorm behind them, a residual connection and a ReLU.",
        wrong=BareExternalAttention,
        measure=distance_from_published("external_attention"),
        meaning="distance of the fingerprint from that of the official code",
        recorded="popular_copy",
    ),
    Erratum(
        key="external_attention_without_epsilon",
        block="external_attention",
        found_in="popular copies",
        text="The second normalisation divides by the sum of a pixel's weights without the official 1e-9. Where "
        "two opposite outliers take all the weight of every slot between them, the weights of the other pixels "
        "underflow to 0, and 0/0 is NaN.",
        wrong=BareExternalAttention,
        measure=not_finite_for(image_with_outliers),
        meaning="share of the output that is not finite where two pixels are outliers",
        limit=0.0,
    ),
    Erratum(
        key="external_attention_untied_by_moving",
        block="external_attention",
        found_in="the official code",
        text="The second memory is made as the transpose of the first, in the same storage: training the one trains "
        "the other. But `.cuda()` or `.to()` gives every parameter its own storage, without a word, so that the same "
        "script trains another network on the GPU than on the CPU. Ours are two parameters everywhere that start "
        "alike: what the published networks, trained on GPUs, had.",
        wrong=TiedExternalAttention,
        measure=effect_of_moving,
        meaning="difference that a harmless move of the module makes to one step of training",
    ),
    Erratum(
        key="s2_attention_shifts_in_place",
        block="s2_attention",
        found_in="popular copies",
        text="The shift is written `x[:, 1:] = x[:, :-1]`, as in the paper's listing. Source and target overlap in "
        "memory, and PyTorch does not promise anything for that; what it does is copy line after line, so that the "
        "first line is handed on through the whole image. Two of the four directions are no shift but a smear.",
        wrong=lambda: SmearedS2Attention(64),
        measure=distance_from_published("s2_attention"),
        meaning="distance of the fingerprint from that of the paper's algorithm",
        recorded="popular_copy",
    ),
    Erratum(
        key="s2_attention_for_512_channels",
        block="s2_attention",
        found_in="popular copies",
        text="The module takes a number of channels and does not hand it on to its split attention, whose default is "
        "512: any other number fails.",
        wrong=S2AttentionFor512,
        measure=failure_at(2, 64, 14, 14),
        meaning="infinity if the module fails",
    ),
    Erratum(
        key="ufo_attention_zero_by_zero",
        block="ufo_attention",
        found_in="popular copies",
        text="Queries are divided by their length, and nothing keeps that from 0. With the biases at 0, as they "
        "start, every black pixel gives 0/0, in the gradient too: the first padded image ends the training.",
        wrong=UnsafeUFOAttention,
        measure=not_finite_for(lambda: torch.zeros(2, 64, 14, 14)),
        meaning="share of the output that is not finite for an image of zeros",
        limit=0.0,
    ),
    Erratum(
        key="ufo_attention_starts_at_nothing",
        block="ufo_attention",
        found_in="popular copies",
        text="All weights start with a standard deviation of 0.001, in this module as in most of that collection. What "
        "comes out is hundreds of times smaller than what goes in: stacked without a residual connection, "
        "two of them are silent.",
        wrong=UnsafeUFOAttention,
        measure=loss_of_scale,
        meaning="how many times smaller the output is than the input",
        limit=10.0,
    ),
    Erratum(
        key="weighted_permute_mlp_square_only",
        block="weighted_permute_mlp",
        found_in="the official code",
        text="The layers along the axes are C wide, while what goes in is H·C/segment_dim and W·C/segment_dim wide: "
        "only H = W = segment_dim works. The default of 8 segments fails on the 14×14 map of every ImageNet network.",
        wrong=SquarePermuteMLP,
        measure=failure_at(2, 64, 14, 14),
        meaning="infinity if the module fails on 14×14 pixels",
        arguments=(("size", (14, 14)),),
    ),
    Erratum(
        key="weighted_permute_mlp_order",
        block="weighted_permute_mlp",
        found_in="popular copies",
        text="The three weights of a channel are read in the order (c, w, h), those of the official code are "
        "(h, w, c). A network trained from scratch does not mind; published weights load without a complaint and "
        "give the weight of the columns to the channels.",
        wrong=ReorderedPermuteMLP,
        measure=distance_from_published("weighted_permute_mlp"),
        meaning="distance of the fingerprint from that of the official code",
        arguments=(("size", (16, 16)),),
    ),
    Erratum(
        key="weighted_permute_mlp_dropout",
        block="weighted_permute_mlp",
        found_in="popular copies",
        text="The small MLP that weighs the branches has a dropout of 0.1, which the official code sets to 0: the "
        "choice among the three axes is shaken at every step.",
        wrong=permute_mlp_with_dropout,
        measure=chance_in_training,
        meaning="difference of two training passes on the same images",
        arguments=(("size", (14, 14)),),
    ),
]
