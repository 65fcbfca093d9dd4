import math

import pytest
import torch

from stitchwork.blocks.crossformer_attention import CrossFormerAttention, DynamicPositionBias


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(**arguments):
    torch.manual_seed(0)
    return CrossFormerAttention(32, **{"group_size": 3, "num_heads": 2, **arguments}).double().eval()


def moved_by(block, at, size):
    """The pixels whose output changes with one pixel of the input."""
    x = noise(1, 32, *size)
    other = x.clone()
    other[..., at[0], at[1]] += 1
    return (block(x) - block(other)).abs().amax(1)[0] > 1e-9


def test_one_group_by_hand():
    """Attention among the pixels of one group, its bias asked for one offset at a time."""
    block, x = build(), noise(1, 32, 3, 3)
    q, k, v = block.qkv(x.flatten(2).transpose(1, 2))[0].view(9, 3, 2, 16).permute(1, 2, 0, 3)  # (heads, 9, 16) each
    y = torch.empty(9, 2, 16, dtype=x.dtype)
    for i in range(9):
        offsets = torch.tensor([[i // 3 - j // 3, i % 3 - j % 3] for j in range(9)], dtype=x.dtype)
        for h in range(2):
            weights = (k[h] @ q[h, i] / math.sqrt(16) + block.pos(offsets)[:, h]).softmax(0)
            y[i, h] = weights @ v[h]
    torch.testing.assert_close(block(x), block.proj(y.flatten(1)).T.view(1, 32, 3, 3))


def test_short_groups_are_windows():
    moved = moved_by(build(), (4, 2), (8, 7))
    expected = torch.zeros(8, 7, dtype=torch.bool)
    expected[3:6, 0:3] = True
    assert torch.equal(moved, expected)


def test_long_groups_are_a_grid_over_the_image():
    moved = moved_by(build(kind="long"), (4, 2), (8, 6))  # every third row, every second column
    expected = torch.zeros(8, 6, dtype=torch.bool)
    expected[1::3, 0::2] = True
    assert torch.equal(moved, expected)


def test_long_groups_of_a_given_interval():
    """With an interval of 2, groups of 3 x 3 span 6 pixels, and the next group begins."""
    moved = moved_by(build(kind="long", interval=2), (7, 2), (8, 6))
    expected = torch.zeros(8, 6, dtype=torch.bool)
    expected[7, 0::2] = True
    assert torch.equal(moved, expected)


def test_an_interval_beyond_the_image():
    """Grids that lie outside altogether do not matter, and each pixel that is alone gets its own value."""
    block, x = build(kind="long", interval=5), noise(2, 32, 2, 1)
    value = block.qkv(x.flatten(2).transpose(1, 2))[..., 64:]
    torch.testing.assert_close(block(x), block.proj(value).transpose(1, 2).view_as(x))


@pytest.mark.parametrize("kind", ["short", "long"])
@pytest.mark.parametrize("size", [(4, 5), (1, 1), (7, 2)], ids=str)
def test_filling_is_no_partner(size, kind):
    """Of equal pixels comes one and the same value, whatever is filled up around them."""
    block = build(kind=kind)
    x = noise(1, 32, 1, 1).expand(-1, -1, *size).contiguous()
    torch.testing.assert_close(block(x), block(x[..., :1, :1]).expand_as(x))


def test_one_group_serves_smaller_images():
    """A group that the image does not fill is attention among the image's own pixels."""
    block, larger = build(), build(group_size=5)
    x = noise(2, 32, 2, 3)
    torch.testing.assert_close(block(x), larger(x))


def test_position_bias_knows_direction():
    bias = DynamicPositionBias(4, 3).double()
    offsets = torch.tensor([[0.0, 1], [1, 0], [-1, 0]], dtype=torch.float64)
    values = bias(offsets)
    assert values.shape == (3, 3) and values.std(0).min() > 1e-3


@pytest.mark.parametrize(("dim", "heads"), [(64, 4), (96, 6), (40, 5)])
def test_parameters(dim, heads):
    width = dim // 16
    count = sum(p.numel() for p in CrossFormerAttention(dim, num_heads=heads).parameters())
    assert count == 4 * dim**2 + 4 * dim + 2 * width**2 + 11 * width + heads * (width + 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "wide"}, r'kind must be "short" or "long"; got \'wide\''),
        ({"interval": 2}, r'interval must be None for kind="short"; got 2'),
        ({"dim": 16}, "dim must be at least 32; got 16"),
        ({"dim": 66}, "dim must be a multiple of num_heads=4; got dim=66"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossFormerAttention(**{"dim": 64, **arguments})
