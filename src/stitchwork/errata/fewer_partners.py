"""Defects of copies, and of official code, of attention to fewer partners."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stitchwork.analysis import gradient_support
from stitchwork.blocks.super_token import SuperTokenAttention
from stitchwork.errata import Erratum
from stitchwork.errata.measures import damage_to_the_input, noise, not_finite_at_one_pixel


def heads_first(x: Tensor, heads: int) -> Tensor:
    """(..., P, heads · d) -> (..., heads, P, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


class HaloCopy(nn.Module):
    """Halo attention for blocks of 7 and a halo of 3, without position, with a mask of the copy's own."""

    def __init__(self, dim: int = 64, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_kv = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        real = F.unfold(torch.ones_like(x[:1, :1]), 13, padding=3, stride=7).transpose(1, 2) > 0  # (1, blocks, 169)
        own = F.unfold(x, 7, stride=7).unflatten(1, (-1, 49)).permute(0, 3, 2, 1)  # (B, blocks, 49, C)
        seen = F.unfold(x, 13, padding=3, stride=7).unflatten(1, (-1, 169)).permute(0, 3, 2, 1)
        k, v = self.to_kv(seen).chunk(2, -1)
        q, k, v = (heads_first(t, self.heads) for t in (self.to_q(own), k, v))
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        logits = logits.masked_fill(real[:, :, None, None], -torch.finfo(logits.dtype).max)  # the wrong way round
        y = self.to_out((logits.softmax(-1) @ v).transpose(2, 3).flatten(3))
        return F.fold(y.permute(0, 3, 2, 1).flatten(1, 2), x.shape[2:], 7, stride=7)


class UnmaskedHalo(nn.Module):
    """Halo attention as timm has it: zeros around the image are keys, and nothing comes after the attention."""

    def __init__(self, dim: int = 64, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Conv2d(dim, dim, 1, bias=False), nn.Conv2d(dim, 2 * dim, 1, bias=False)
        self.height_rel = nn.Parameter(0.25 * torch.randn(25, dim // heads))
        self.width_rel = nn.Parameter(0.25 * torch.randn(25, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), H and W multiples of 7."""
        q = F.unfold(self.q(x), 7, stride=7).unflatten(1, (self.heads, -1, 49)).permute(0, 4, 1, 3, 2)
        # Each head's keys are followed by its values.
        kv = F.unfold(self.kv(x), 13, padding=3, stride=7).unflatten(1, (self.heads, 2, -1, 169))
        k, v = kv.permute(2, 0, 5, 1, 4, 3)  # (B, blocks, heads, 169, d) each
        i, j = torch.cartesian_prod(*[torch.arange(7)] * 2), torch.cartesian_prod(*[torch.arange(13)] * 2)
        dy, dx = (j - i[:, None] + 12).unbind(-1)  # (49, 169) each
        position = torch.einsum("...id,ijd->...ij", q, self.height_rel[dy] + self.width_rel[dx])
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + position).softmax(-1)
        y = (weights @ v).permute(0, 2, 4, 3, 1).flatten(1, 3)  # (B, C · 49, blocks)
        return F.fold(y, x.shape[2:], 7, stride=7)


class OverwritingMSDA(nn.Module):
    """Dilated attention that keeps its results in a view of its input."""

    def __init__(self, dim: int = 72):
        super().__init__()
        self.qkv, self.proj = nn.Conv2d(dim, 3 * dim, 1, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        qkv = self.qkv(x).unflatten(1, (3, 3, -1))  # (B, 3, dilations, d, H, W)
        groups = x.unflatten(1, (3, -1)).transpose(0, 1)  # (dilations, B, d, H, W), a view
        for i in range(3):
            q = qkv[:, 0, i].flatten(2).transpose(1, 2).unsqueeze(2)  # (B, N, 1, d)
            k, v = (F.unfold(qkv[:, j, i], 3, dilation=i + 1, padding=i + 1).unflatten(1, (-1, 9)) for j in (1, 2))
            y = F.scaled_dot_product_attention(q, k.permute(0, 3, 2, 1), v.permute(0, 3, 2, 1))
            groups[i] = y.squeeze(2).transpose(1, 2).unflatten(2, x.shape[2:])
        return self.proj(groups.transpose(0, 1).flatten(1, 2).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class OfficialRouting(nn.Module):
    """Routing attention that takes the zeros which fill up the last regions for pixels."""

    def __init__(self, dim: int = 64, heads: int = 8, topk: int = 4):
        super().__init__()
        self.heads, self.topk = heads, topk
        self.qkv, self.proj = nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 1)
        self.lepe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        height, width = x.shape[2:]
        region = height // 7, width // 7
        q, k, v = self.qkv(x).chunk(3, 1)
        mean_q, mean_k = (
            F.avg_pool2d(t.detach(), region, ceil_mode=True, count_include_pad=False).flatten(2) for t in (q, k)
        )
        chosen = (mean_q.transpose(1, 2) @ mean_k).topk(self.topk).indices  # (B, S, k)
        filling = (0, -width % region[1], 0, -height % region[0])

        def regions(t):
            t = F.unfold(F.pad(t, filling), region, stride=region)
            return t.unflatten(1, (-1, region[0] * region[1])).permute(0, 3, 2, 1)  # (B, S, P, C)

        batch = torch.arange(len(x), device=x.device)[:, None, None]
        keys, values = (heads_first(regions(t)[batch, chosen].flatten(2, 3), self.heads) for t in (k, v))
        y = F.scaled_dot_product_attention(heads_first(regions(q), self.heads), keys, values, scale=x.shape[1] ** -0.5)
        y = y.transpose(2, 3).flatten(3).permute(0, 3, 2, 1).flatten(1, 2)
        y = F.fold(y, (height + filling[3], width + filling[1]), region, stride=region)
        return self.proj(y[..., :height, :width] + self.lepe(v))


class KernelsAsParameters(SuperTokenAttention):
    """Super tokens that are gathered with convolutions, whose fixed kernels are parameters."""

    def __init__(self, dim: int = 64):
        super().__init__(dim)
        kernels = torch.eye(9).view(9, 1, 3, 3)
        self.unfold, self.fold = (nn.Parameter(kernels.clone(), requires_grad=False) for _ in range(2))


class FixedSizeEMSA(nn.Module):
    """EMSA with the image's size in its constructor, and with keys and values that it does not use."""

    def __init__(self, dim: int = 64, heads: int = 8, height: int = 14, width: int = 14):
        super().__init__()
        self.heads, self.height, self.width = heads, height, width
        self.fc_q, self.fc_k, self.fc_v, self.fc_o = (nn.Linear(dim, dim) for _ in range(4))
        self.sr, self.norm = nn.Conv2d(dim, dim, 3, 2, padding=1, groups=dim), nn.LayerNorm(dim)
        self.mix = nn.Conv2d(heads, heads, 1)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, N, C), three times -> (B, N, C)."""
        image = queries.transpose(1, 2).reshape(len(queries), -1, self.height, self.width)
        keys = values = self.norm(self.sr(image).flatten(2).transpose(1, 2))
        q, k, v = (heads_first(t, self.heads) for t in (self.fc_q(queries), self.fc_k(keys), self.fc_v(values)))
        weights = F.instance_norm(self.mix(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1))
        return self.fc_o((weights @ v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        tokens = x.flatten(2).transpose(1, 2)
        return self.attend(tokens, tokens, tokens).transpose(1, 2).view_as(x)


def partners_missing(module: nn.Module) -> float:
    """How many of the 10 x 10 pixels that should reach the centre of 14 x 14 do not."""
    return 100.0 - gradient_support(module, (1, 64, 14, 14)).sum().item()


@torch.no_grad()
def unevenness_of_a_constant(module: nn.Module) -> float:
    """How much the output for an image of equal pixels differs from its centre, relative to its size."""
    y = module.double().eval()(noise(1, 64, 1, 1).expand(-1, -1, 14, 14).clone())
    return ((y - y[..., 7:8, 7:8]).norm() / y.norm()).item()


@torch.no_grad()
def change_by_one_row_more(module: nn.Module) -> float:
    """How much the inner pixels of a constant image change when it has 15 rows and columns in the place of 14."""
    colour, module = noise(1, 64, 1, 1), module.double().eval()
    small, large = (module(colour.expand(-1, -1, n, n).clone())[..., 1:13, 1:13] for n in (14, 15))
    return ((large - small).norm() / small.norm()).item()


def parameters_that_must_not_train(module: nn.Module) -> float:
    """How many numbers among the parameters are constants."""
    return float(sum(p.numel() for p in module.parameters() if not p.requires_grad))


@torch.no_grad()
def not_finite_at_another_size(module: nn.Module) -> float:
    """The share of the output that is not finite where the image is 9 x 12; infinity if that fails."""
    try:
        y = module.double().eval()(noise(2, 64, 9, 12))
    except RuntimeError:
        return math.inf
    return (~y.isfinite()).double().mean().item()


ERRATA = [
    Erratum(
        key="halo_attention_inverted_mask",
        block="halo_attention",
        found_in="popular copies",
        text="For years the most widely used version passed its mask the wrong way round, so that every pixel of the "
        "image was hidden and the padding around it was not. A block at the border attends to nothing but zeros, and "
        "gives the bias of its last layer at every pixel; a block further in, where everything is hidden, the same "
        "mean of its window for each of its queries. All shapes are right.",
        wrong=HaloCopy,
        measure=partners_missing,
        meaning="pixels that should reach the centre and do not",
    ),
    Erratum(
        key="halo_attention_padding_as_keys",
        block="halo_attention",
        found_in="popular copies",
        text="Neither the paper nor timm's version masks what lies outside the image: there are zeros, which take part "
        "in the softmax, so that pixels at the border spend some of their attention on nothing, and an image of equal "
        "pixels comes out uneven. That timm's position logits are not divided by √d, and that it has no output "
        "projection, are choices.",
        wrong=UnmaskedHalo,
        measure=unevenness_of_a_constant,
        meaning="unevenness of the output for a constant image",
        recorded="timm",
    ),
    Erratum(
        key="msda_overwrites_its_input",
        block="msda",
        found_in="the official code",
        text="The outputs of the heads are written into a view of the input. The caller's tensor is lost, and with a "
        "residual connection around the module, `x + attention(x)`, the backward pass fails, or adds the wrong `x`. "
        "In the network a LayerNorm stands in front, whose output is the one that is overwritten.",
        wrong=OverwritingMSDA,
        measure=partial(damage_to_the_input, shape=(72, 14, 14)),
        meaning="share of the caller's numbers that are overwritten",
        dim=72,
    ),
    Erratum(
        key="bi_level_routing_padding_as_keys",
        block="bi_level_routing",
        found_in="the official code",
        text="Where the regions do not fit, zeros fill up the last ones, and take part in the softmax as keys with "
        "logit 0 and value 0; a comment asks for a mask. At 224² pixels all sizes of the network are multiples of 7, "
        "and nothing is filled up, but elsewhere what a pixel sees depends on whether the image happens to fit.",
        wrong=partial(OfficialRouting, topk=49),
        measure=change_by_one_row_more,
        meaning="change inside a constant image when it grows from 14 to 15 pixels",
        arguments=(("topk", 49),),
    ),
    Erratum(
        key="bi_level_routing_small_images",
        block="bi_level_routing",
        found_in="the official code",
        text="The side of a region is the image's divided by 7, rounded down: 0 for images of fewer than 7 pixels, and "
        "the pooling over regions fails.",
        wrong=OfficialRouting,
        measure=not_finite_at_one_pixel,
        meaning="share of numbers that are not finite for one pixel (infinity: it fails)",
    ),
    Erratum(
        key="super_token_kernels_as_parameters",
        block="super_token",
        found_in="the official code",
        text="Neighbouring super tokens are gathered by convolutions with fixed kernels of zeros and ones, which are "
        "parameters that want no gradient. They are counted and saved; and whoever freezes the network and thaws it "
        "with `requires_grad_(True)` trains them.",
        wrong=KernelsAsParameters,
        measure=parameters_that_must_not_train,
        meaning="constants among the parameters",
    ),
    Erratum(
        key="emsa_fixed_size",
        block="emsa",
        found_in="popular copies",
        text="Height and width are arguments of the constructor, so that another size fails, and another shape with "
        "as many pixels is cut into wrong rows without a word. The forward pass takes queries, keys and values, and "
        "uses the first alone: keys and values are made from the queries wherever the reduction is above 1.",
        wrong=FixedSizeEMSA,
        measure=not_finite_at_another_size,
        meaning="share of numbers that are not finite at 9 x 12 (infinity: it fails)",
    ),
]
