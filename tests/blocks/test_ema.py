import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.blocks.ema import EfficientMultiScaleAttention


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = EfficientMultiScaleAttention(12, factor=3).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block


@pytest.fixture
def x():
    return torch.randn(2, 12, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def branches(block, group):
    """x1 and x2 of one group (4, H, W), row by row and column by column."""
    w, b = block.conv1x1.weight[..., 0, 0], block.conv1x1.bias
    x1 = torch.empty_like(group)
    for i in range(group.shape[1]):
        for j in range(group.shape[2]):
            row, column = group[:, i].mean(1), group[:, :, j].mean(1)
            x1[:, i, j] = group[:, i, j] * torch.sigmoid(w @ row + b) * torch.sigmoid(w @ column + b)
    variance, mean = torch.var_mean(x1, (1, 2), keepdim=True, correction=0)
    x1 = (x1 - mean) / (variance + 1e-5).sqrt() * block.norm.weight[:, None, None] + block.norm.bias[:, None, None]
    return x1, F.conv2d(group[None], block.conv3x3.weight, block.conv3x3.bias, padding=1)[0]


def test_equals_the_equations_group_by_group(block, x):
    y = torch.empty_like(x)
    for image in range(2):
        for g in range(3):
            group = x[image, 4 * g : 4 * g + 4]
            x1, x2 = branches(block, group)
            weight1, weight2 = x1.mean((1, 2)).softmax(0), x2.mean((1, 2)).softmax(0)
            logits = sum(weight1[c] * x2[c] + weight2[c] * x1[c] for c in range(4))
            y[image, 4 * g : 4 * g + 4] = group * logits.sigmoid()
    torch.testing.assert_close(block(x), y)


def test_one_softmax_does_not_see_the_image(block, x):
    """The mean of a channel after the normalisation is its shift, whatever the image: the weight is learnt."""
    for group in x.reshape(6, 4, 5, 7):
        torch.testing.assert_close(branches(block, group)[0].mean((1, 2)), block.norm.bias)


def test_one_gate_for_the_channels_of_a_group(block, x):
    gate = (block(x) / x).reshape(2, 3, 4, 5, 7)
    torch.testing.assert_close(gate, gate[:, :, :1].expand_as(gate))
    assert (gate > 0).all() and (gate < 1).all()
    assert (gate[:, 0] - gate[:, 1]).abs().max() > 1e-3


def test_groups_share_their_weights(block, x):
    order = [2, 0, 1]
    permuted = x.unflatten(1, (3, 4))[:, order].flatten(1, 2)
    expected = block(x).unflatten(1, (3, 4))[:, order].flatten(1, 2)
    torch.testing.assert_close(block(permuted), expected)


@pytest.mark.parametrize(("dim", "factor", "inner"), [(64, 32, 2), (64, 8, 8), (32, 32, 1)])
def test_parameters(dim, factor, inner):
    count = sum(p.numel() for p in EfficientMultiScaleAttention(dim, factor).parameters())
    assert count == 10 * inner**2 + 4 * inner


def test_width_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"dim must be a multiple of factor=32; got dim=24"):
        EfficientMultiScaleAttention(24)
