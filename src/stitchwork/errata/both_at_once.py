"""Defects of ACmix, CoT, CloFormer's attention, and of the two modules for sequences."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.errata.erratum import Erratum
from stitchwork.errata.measures import distance_from_published, failure_at, noise


def far_steps_that_are_seen(module: nn.Module, steps: int = 64, near: int = 4) -> float:
    """How many steps more than ``near`` away from a late one have an influence on its output."""
    x = noise(1, steps, 64).requires_grad_()
    at = steps - 2
    (gradient,) = torch.autograd.grad(module.double().eval()(x)[0, at].square().sum(), x)
    reached = gradient[0].abs().amax(1) > 0  # (T,)
    far = (torch.arange(steps) - at).abs() > near
    return float((reached & far).sum())


@torch.no_grad()
def effect_on_the_past(module: nn.Module) -> float:
    """How much the outputs before the last one change when the last step of the input does, relative to their size."""
    x = noise(2, 32, 5, 24)
    other = x.clone()
    other[..., -1] += 1
    module = module.double().eval()
    before, after = module(x)[..., :-1], module(other)[..., :-1]
    return ((after - before).norm() / before.norm()).item()


class DilatedACmix(nn.Module):
    """ACmix whose padding grows with the dilation while the window that is unfolded does not."""

    def __init__(self, dim: int = 64, head: int = 4, dilation: int = 2):
        super().__init__()
        self.head, self.padding = head, (6 * dilation + 1) // 2
        self.projections = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        batch, _, height, width = x.shape
        q, k, v = (projection(x) for projection in self.projections)
        k, v = (
            F.unfold(F.pad(z, [self.padding] * 4, mode="reflect"), 7).view(batch, self.head, -1, 49, height, width)
            for z in (k, v)
        )
        weights = (q.view(batch, self.head, -1, 1, height, width) * k).sum(2, keepdim=True).softmax(3)
        return (weights * v).sum(3).view(x.shape)


class CoTWithoutKernels(nn.Module):
    """CoT whose k^2 weights are averaged, and then normalised over all pixels."""

    def __init__(self, dim: int = 64):
        super().__init__()
        self.static = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(dim), nn.ReLU()
        )
        self.value = nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim))
        self.weight = nn.Sequential(
            nn.Conv2d(2 * dim, dim // 2, 1, bias=False),
            nn.BatchNorm2d(dim // 2),
            nn.ReLU(),
            nn.Conv2d(dim // 2, 9 * dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        static = self.static(x)
        weight = self.weight(torch.cat([static, x], 1)).unflatten(1, (-1, 9)).mean(2)  # (B, C, H, W)
        return static + weight.flatten(2).softmax(2).view(x.shape) * self.value(x)


class UnpaddedCloAttention(nn.Module):
    """The low-frequency half of CloFormer's attention, for sizes that the window divides."""

    def __init__(self, dim: int = 64, heads: int = 4, window_size: int = 2):
        super().__init__()
        self.heads, self.window_size = heads, window_size
        self.q, self.kv = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, 2 * dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        batch, dim, height, width = x.shape
        q = self.q(x).view(batch, self.heads, -1, height * width)
        coarse = F.avg_pool2d(x, self.window_size)
        kv = self.kv(coarse).view(batch, 2, self.heads, dim // self.heads, height * width // self.window_size**2)
        k, v = kv.unbind(1)
        weights = (q.transpose(2, 3) @ k * q.shape[2] ** -0.5).softmax(3)
        return (v @ weights.transpose(2, 3)).reshape(x.shape)


class QuadraticPyramidalAttention(nn.Module):
    """Pyramidal attention in whose finest level every step attends to all earlier ones and to the next.

    It also lacks the bottleneck, BatchNorm, the residual and the last LayerNorm, has ReLU for ELU, and returns the
    finest level.
    """

    def __init__(self, dim: int = 64, heads: int = 4, levels: int = 3):
        super().__init__()
        self.heads = heads
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, 4, stride=4) for _ in range(levels))
        self.norm = nn.LayerNorm(dim)
        self.projections = nn.ModuleList(nn.Linear(dim, dim) for _ in range(3))
        self.fc = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        levels = [x.transpose(1, 2)]
        for conv in self.convs:
            levels.append(F.relu(conv(levels[-1])))
        nodes = self.norm(torch.cat(levels, 2).transpose(1, 2))  # (B, M, C)
        q, k, v = (projection(nodes).unflatten(2, (self.heads, -1)).transpose(1, 2) for projection in self.projections)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask([level.shape[2] for level in levels]))
        return self.fc(y.transpose(1, 2).flatten(2))[:, : x.shape[1]]

    @staticmethod
    def mask(sizes: list[int]) -> Tensor:
        """Which node sees which: (M, M)."""
        allowed = torch.block_diag(*(torch.ones(n, n).triu(-1).tril(1) for n in sizes))
        finest = sizes[0]
        allowed[:finest, :finest] = torch.ones(finest, finest).tril(1)  # here is the defect
        start = 0
        for below, above in pairwise(sizes):
            for i in range(below):
                parent = start + below + min(i // 4, above - 1)
                allowed[start + i, parent] = allowed[parent, start + i] = 1
            start += below
        return allowed.bool()


class StretchedInception(nn.Module):
    """A dilated inception whose outputs an MLP over the time axis stretches back to the length of the input."""

    def __init__(self, dim: int = 32, steps: int = 24, dilation: int = 2):
        super().__init__()
        lengths = (2, 3, 6, 7)
        self.convs = nn.ModuleList(nn.Conv2d(dim, dim // 4, (1, k), dilation=(1, dilation)) for k in lengths)
        self.stretch = nn.Sequential(nn.Linear(steps - 6 * dilation, dim), nn.ReLU(), nn.Linear(dim, steps))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N, T) -> (B, C, N, T)."""
        parts = [conv(x) for conv in self.convs]
        return self.stretch(torch.cat([part[..., -parts[-1].shape[3] :] for part in parts], 1))


class StretchedGatedInception(nn.Module):
    """Gated dilated inception with an MLP over time in both banks."""

    def __init__(self):
        super().__init__()
        self.filter, self.gate = StretchedInception(), StretchedInception()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N, T) -> (B, C, N, T)."""
        return torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x))


ERRATA = [
    Erratum(
        key="acmix_dilation_crashes",
        block="acmix",
        found_in="the official code",
        text="The constructor takes a `dilation`, by which the padding of keys and values grows; but the window that "
        "is unfolded stays dense, so there are more windows than pixels, and the next `view` fails. `stride=2` fails "
        "at odd sizes in the same way. (And of the bias that the constructor asks for in the grouped convolution "
        "nothing is left: the function that sets it to zero returns `None`, which is then assigned to it.)",
        wrong=DilatedACmix,
        measure=failure_at(1, 64, 14, 14),
        meaning="0 if an image of 14×14 goes through with dilation 2, infinity if not",
        arguments=(("dilation", 2),),
    ),
    Erratum(
        key="clo_attention_odd_sizes_crash",
        block="clo_attention",
        found_in="the official code",
        text="Keys and values are averages of w×w pixels, and their number is computed as HW/w². The pooling drops "
        "incomplete windows, so where w does not divide height and width the numbers differ and `view` fails.",
        wrong=UnpaddedCloAttention,
        measure=failure_at(1, 64, 15, 13),
        meaning="0 if an image of 15×13 goes through, infinity if not",
    ),
    Erratum(
        key="cot_softmax_over_all_pixels",
        block="cot",
        found_in="popular copies",
        text="The heart of CoT is missing: the k² weights that a pixel makes for its surroundings are averaged to one, "
        "one softmax runs over all pixels of the image, and its result scales the values. No pixel receives anything "
        "from a neighbour in this way, and since a softmax over HW pixels is about 1/HW, the dynamic context fades as "
        "the image grows: 3 % of the static one at 7×7, 0.7 % at 14×14, 0.05 % at 56×56. GroupNorm, the second "
        "BatchNorm, swish and the choice between the contexts are left out, too.",
        wrong=CoTWithoutKernels,
        measure=distance_from_published("cot"),
        meaning="distance of the fingerprint from that of the official code",
        recorded="popular_copy",
    ),
    Erratum(
        key="gated_dilated_inception_sees_the_future",
        block="gated_dilated_inception",
        found_in="popular copies",
        text="To give back as many steps as went in, the copies append an MLP over the time axis to each bank. Every "
        "output step is then a mixture of all steps, also of later ones, which in a forecast are not there yet; and "
        "the module fits one length of sequence.",
        wrong=StretchedGatedInception,
        measure=effect_on_the_past,
        meaning="change of all outputs but the last when the last step of the input changes",
        dim=32,
        recorded="popular_copy",
    ),
    Erratum(
        key="pyramidal_attention_all_earlier_steps",
        block="pyramidal_attention",
        found_in="popular copies",
        text="One line of the mask, `mask[i, 0:right]` in the place of `mask[i, left:right]`, lets a step of the "
        "finest level attend to all earlier ones and to the next, in the place of its neighbours: for 64 steps 2368 "
        "edges in the place of 415. That is O(T²), which the pyramid was built to avoid. Bottleneck, BatchNorm, "
        "residual and the last LayerNorm are missing as well, and ReLU stands for ELU.",
        wrong=QuadraticPyramidalAttention,
        measure=far_steps_that_are_seen,
        meaning="steps more than 4 away that have an influence on a step of the finest level",
        recorded="popular_copy",
    ),
]
