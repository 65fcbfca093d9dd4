import math

import pytest
import torch
import torch.nn.functional as F

from stitchwork.blocks.super_token import SuperTokenAttention, neighbours, to_neighbours


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(dim=16, **arguments):
    torch.manual_seed(0)
    return SuperTokenAttention(dim, **{"num_heads": 4, **arguments}).double().eval()


def association_of(block, x):
    seen = []
    handle = block.softmax.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(x)
    handle.remove()
    return seen[-1]


def test_neighbours_of_a_grid():
    """Nine cells around each, in reading order, and zeros outside."""
    cells = torch.arange(1, 7).view(1, 2, 3, 1)
    around = neighbours(cells)[0, ..., 0]
    assert around.shape == (2, 3, 9)
    assert around[0, 0].tolist() == [0, 0, 0, 0, 1, 2, 0, 4, 5]
    assert around[1, 1].tolist() == [1, 2, 3, 4, 5, 6, 0, 0, 0]


def test_sending_back_is_the_transpose_of_gathering():
    cells, shares = noise(2, 4, 3, 5), torch.randn(2, 4, 3, 9, 5, dtype=torch.float64)
    torch.testing.assert_close((neighbours(cells) * shares).sum(), (cells * to_neighbours(shares)).sum())


def test_association_by_hand():
    """Softmax over the nine super tokens around a pixel's cell; there are none outside, and they count as zero."""
    block, x = build(stoken_size=(2, 2)), noise(1, 16, 4, 6)
    means = F.avg_pool2d(x, 2)[0]  # (C, 2, 3)
    association = association_of(block, x)
    assert association.shape == (1, 2, 3, 4, 9)
    pixel = x[0, :, 1, 0]  # lower left pixel of the first cell
    logits = [
        0,
        0,
        0,
        0,
        pixel @ means[:, 0, 0],
        pixel @ means[:, 0, 1],
        0,
        pixel @ means[:, 1, 0],
        pixel @ means[:, 1, 1],
    ]
    expected = (torch.tensor(logits, dtype=torch.float64) / math.sqrt(16)).softmax(0)
    torch.testing.assert_close(association[0, 0, 0, 2], expected)


def test_one_cell_averages():
    """One super token: its value goes to each pixel by the share in which the pixel belongs to it."""
    block, x = build(stoken_size=(3, 3)), noise(1, 16, 3, 3)
    share = association_of(block, x)[0, 0, 0, :, 4]  # (9,)
    pixels = x[0].flatten(1)  # (C, 9)
    token = (pixels * share).sum(1) / share.sum()
    value = block.qkv(token).view(4, 3, 4)[:, 2].flatten()
    expected = block.proj(value)[:, None] * share
    torch.testing.assert_close(block(x)[0].flatten(1), expected)


def test_single_pixels_are_plain_attention():
    block, x = build(stoken_size=(1, 1)), noise(2, 16, 3, 4)
    q, k, v = block.qkv(x.flatten(2).transpose(1, 2)).view(2, 12, 4, 3, 4).permute(3, 0, 2, 1, 4)
    y = (q @ k.transpose(-1, -2) / 2).softmax(-1) @ v
    torch.testing.assert_close(block(x), block.proj(y.transpose(1, 2).flatten(2)).transpose(1, 2).view_as(x))


def test_further_iterations_sharpen():
    """Each iteration associates pixels with the super tokens of the one before."""
    x = noise(1, 16, 8, 8)
    first, second = (association_of(build(stoken_size=(2, 2), n_iter=n), x) for n in (1, 2))
    block = build(stoken_size=(2, 2))
    pixels = x.unflatten(3, (4, 2)).unflatten(2, (4, 2)).permute(0, 2, 4, 3, 5, 1).flatten(3, 4)
    tokens = block._gather(pixels, first)
    expected = (pixels @ neighbours(tokens).transpose(-1, -2) / 4).softmax(-1)
    torch.testing.assert_close(second, expected)


def test_no_gradient_through_the_association():
    block, x = build(stoken_size=(2, 2)), noise(1, 16, 4, 4).requires_grad_()
    seen = []
    block.softmax.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(x)
    assert not seen[0].requires_grad


def test_nothing_but_projections_is_saved():
    assert set(build().state_dict()) == {"qkv.weight", "qkv.bias", "proj.weight", "proj.bias"}


@pytest.mark.parametrize("dim", [64, 96])
def test_parameters(dim):
    assert sum(p.numel() for p in SuperTokenAttention(dim).parameters()) == 4 * dim**2 + 4 * dim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 60}, "dim must be a multiple of num_heads=8; got dim=60"),
        ({"stoken_size": (4, 0)}, r"two positive numbers .* got \(4, 0\)"),
        ({"stoken_size": (4,)}, r"two positive numbers .* got \(4,\)"),
    ],
    ids=str,
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        SuperTokenAttention(**{"dim": 64, **arguments})
