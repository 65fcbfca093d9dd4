"""CvT: table 2 by hand, and queries, keys and values made by convolutions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath, explicit_attention
from stitchwork.models.cvt import ConvAttention, ConvProjection, CvT, QuickGELU

DIMS, HEADS = (64, 192, 384), (1, 3, 6)


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(depths):
    """Parameters, and multiply-adds at 224 pixels."""
    parameters = multiply_adds = 0
    for stage, (dim, depth) in enumerate(zip(DIMS, depths, strict=True)):
        kernel, dim_in = (3, DIMS[stage - 1]) if stage else (7, 3)
        pixels, token = (56 >> stage) ** 2, stage == 2  # the class token joins in the last stage
        queries, keys = pixels + token, pixels // 4 + token
        parameters += (kernel**2 * dim_in + 1) * dim + 2 * dim  # patches, their norm
        # Two norms; three 3x3 with their BatchNorm; four linear layers; the perceptron.
        parameters += depth * (4 * dim + 3 * (9 + 2) * dim + 4 * (dim + 1) * dim + 8 * dim**2 + 5 * dim)
        multiply_adds += pixels * kernel**2 * dim_in * dim
        linear = 2 * queries * dim**2 + 2 * keys * dim**2 + 8 * queries * dim**2
        multiply_adds += depth * ((pixels + 2 * pixels // 4) * 9 * dim + linear + 2 * queries * keys * dim)
    return parameters + 3 * 384 + 385 * 1000, multiply_adds + 384 * 1000


# Table 2: blocks of each stage; table 3: millions of parameters, billions of multiply-adds.
@pytest.mark.parametrize(
    ("name", "depths", "parameters", "multiply_adds"),
    [("cvt_13", (1, 2, 10), 20, 4.5), ("cvt_21", (1, 4, 16), 32, 7.1)],
)
def test_tables_2_and_3(name, depths, parameters, multiply_adds):
    network = meta(name)
    counted = count_parameters(network), count_multiply_adds(network, input_size=(1, 3, 224, 224))
    assert counted == by_hand(depths)
    assert counted[0] / 1e6 == pytest.approx(parameters, abs=0.5)
    assert counted[1] / 1e9 == pytest.approx(multiply_adds, abs=0.1)


def test_stages():
    network = meta("cvt_13")
    maps, tokens = network.forward_stages(torch.empty(1, 3, 224, 224, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 56, 56), (192, 28, 28), (384, 14, 14)]
    assert tokens.shape == (1, 1 + 14 * 14, 384)
    assert [{block.attn.num_heads for block in stage} for stage in network.stages] == [{heads} for heads in HEADS]


@pytest.mark.parametrize("stride", [1, 2])
@torch.no_grad()
def test_projection_by_hand(stride):
    """Eq. 2: a depthwise 3x3, BatchNorm, a linear layer; only the linear layer for what stands before the pixels."""
    torch.manual_seed(0)
    project, grid = ConvProjection(4, stride).double().eval(), (5, 6)
    norm = project.norm
    for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
        nn.init.uniform_(tensor, 0.5, 1.5)
    x = torch.randn(2, 2 + 30, 4, dtype=torch.float64)
    pixels = F.pad(x[:, 2:].unflatten(1, grid), (0, 0, 1, 1, 1, 1))  # (B, 7, 8, C)
    convolved = []
    for i in range(0, 5, stride):
        for j in range(0, 6, stride):
            taps = project.conv.weight[:, 0].permute(1, 2, 0)  # (3, 3, C)
            y = (pixels[:, i : i + 3, j : j + 3] * taps).sum((1, 2))
            convolved.append((y - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias)
    expected = torch.cat([x[:, :2], torch.stack(convolved, 1)], 1) @ project.proj.weight.T + project.proj.bias
    assert expected.shape[1] == 2 + (30 if stride == 1 else 9)
    torch.testing.assert_close(project(x, grid), expected)


@pytest.mark.parametrize("before", [0, 1])
@torch.no_grad()
def test_attention_by_hand(before):
    """All heads together are 12 numbers wide, and it is by √12 that the products are divided, not by √4."""
    torch.manual_seed(0)
    attn, grid = ConvAttention(12, 3).double().eval(), (4, 5)
    x = torch.randn(2, before + 20, 12, dtype=torch.float64)
    q, k, v = (part(x, grid).unflatten(-1, (3, 4)) for part in (attn.q, attn.k, attn.v))
    assert q.shape[1] == before + 20 and k.shape[1] == v.shape[1] == before + 2 * 3
    weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) / 12**0.5).softmax(-1)
    expected = attn.proj(torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2))
    torch.testing.assert_close(attn(x, grid), expected)
    with explicit_attention(attn):
        torch.testing.assert_close(attn(x, grid), expected)


def test_keys_are_of_every_second_pixel():
    """With a 3x3 that is only its centre, keys are those of rows and columns 0, 2, 4, ..."""
    project = ConvProjection(3, 2).eval()
    nn.init.dirac_(project.conv.weight, groups=3)
    project.norm.running_var.fill_(1 - project.norm.eps)
    x = torch.randn(1, 5, 7, 3)
    y = project(x.flatten(1, 2), (5, 7))
    torch.testing.assert_close(y, project.proj(x[:, ::2, ::2].flatten(1, 2)))


def test_quick_gelu():
    x = torch.tensor([-2.0, 0.0, 1.0])
    expected = [-2 / (1 + 2.718281828**3.404), 0, 1 / (1 + 2.718281828**-1.702)]
    torch.testing.assert_close(QuickGELU()(x), torch.tensor(expected))
    activations = [block.mlp.act for stage in meta("cvt_13").stages for block in stage]
    assert len(activations) == 13 and all(isinstance(act, QuickGELU) for act in activations)


def test_class_token_joins_in_the_last_stage():
    torch.manual_seed(0)
    network = CvT((1, 1, 1), num_classes=3)
    maps, tokens = network.forward_stages(torch.randn(2, 3, 32, 48))
    assert tokens.shape == (2, 1 + 2 * 3, 384) and torch.equal(maps[2].flatten(2).mT, tokens[:, 1:])
    gradients = [
        torch.autograd.grad(m.square().sum(), network.class_token, retain_graph=True, allow_unused=True)[0]
        for m in maps
    ]
    assert gradients[:2] == [None] * 2 and gradients[2].any()


def test_only_the_last_stage_drops_branches():
    rates = [[b.drop_path.rate for b in stage] for stage in meta("cvt_13", drop_path_rate=0.09).stages]
    assert rates[:2] == [[0], [0, 0]] and rates[2] == pytest.approx([0.01 * i for i in range(10)])
    assert not any(m.rate for m in meta("cvt_13").modules() if isinstance(m, DropPath))


@pytest.mark.parametrize("size", [(37, 90), (3, 3), (4, 65)], ids=str)
@torch.no_grad()
def test_other_sizes(size):
    """The first convolution of kernel 7 pads by 2, so that of 65 pixels it makes 16, and not 65 / 4 rounded up."""
    torch.manual_seed(0)
    network, x = CvT((1, 1, 1), num_classes=3).eval(), torch.randn(1, 3, *size)
    first = [(side - 3) // 4 + 1 for side in size]
    halves = [[-(-side // 2**i) for side in first] for i in range(3)]
    assert [list(m.shape[2:]) for m in network.forward_pyramid(x)] == halves
    assert network(x).shape == (1, 3)


@torch.no_grad()
def test_refusals():
    with pytest.raises(ValueError, match=r"CvT needs height and width of at least 3; got shape \(1, 3, 2, 40\)"):
        CvT((1, 1, 1))(torch.randn(1, 3, 2, 40))
    with pytest.raises(ValueError, match="CvT: depths must be greater than 0; got 0"):
        CvT((1, 0, 1))
