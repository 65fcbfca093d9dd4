"""MSG-Transformer: what a messenger hears, what messengers exchange, and table 2 by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import explicit_attention
from stitchwork.models.msg_transformer import (
    MessengerAttention,
    MessengerBlock,
    MSGTransformer,
    exchange,
    to_map,
    to_windows,
)

REGIONS = (4, 4, 2, 1)


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def by_hand(dim, depths, num_heads):
    """Parameters, and multiply-adds at 224 pixels."""
    parameters, multiply_adds = (49 * 3 + 3) * dim + 16 * dim, 56**2 * 49 * 3 * dim
    for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
        width, windows = dim << stage, (8 >> stage) ** 2
        if stage:
            parameters += (9 * width // 2 + 3) * width
            multiply_adds += 50 * windows * 9 * width // 2 * width  # the messengers pass the same layer
        parameters += depth * (4 * width + 4 * (width + 1) * width + heads * (13**2 + 2) + 8 * width**2 + 5 * width)
        multiply_adds += depth * windows * (50 * 12 * width**2 + 2 * 50**2 * width)
    return parameters + 16 * dim + (8 * dim + 1) * 1000, multiply_adds + 8 * dim * 1000


# Table 2: channels, blocks, heads; table 3: millions of parameters, billions of multiply-adds.
@pytest.mark.parametrize(
    ("name", "dim", "depths", "heads", "parameters", "multiply_adds"),
    [
        ("msg_transformer_tiny", 64, (2, 4, 12, 4), (2, 4, 8, 16), 25, 3.8),
        ("msg_transformer_small", 96, (2, 4, 12, 4), (3, 6, 12, 24), 56, 8.4),
        ("msg_transformer_base", 96, (2, 4, 28, 4), (3, 6, 12, 24), 84, 14.2),
    ],
)
def test_tables_2_and_3(name, dim, depths, heads, parameters, multiply_adds):
    network = meta(name)
    counted = count_parameters(network), count_multiply_adds(network, input_size=(1, 3, 224, 224))
    assert counted == by_hand(dim, depths, heads)
    assert counted[0] / 1e6 == pytest.approx(parameters, abs=0.5)
    assert counted[1] / 1e9 == pytest.approx(multiply_adds, abs=0.06)
    assert [{block.attn.num_heads for block in stage} for stage in network.stages] == [{number} for number in heads]
    assert [{block.region for block in stage} for stage in network.stages] == [{region} for region in REGIONS]


@pytest.mark.parametrize(("grid", "region"), [((4, 4), 4), ((4, 6), 2), ((8, 4), 4), ((2, 3), 1)], ids=str)
def test_exchange_by_hand(grid, region):
    """Slice j of window i is slice i of window j, where i and j count the windows of a region row by row."""
    x, group = torch.arange(2 * grid[0] * grid[1] * 48).view(2, *grid, 48), region**2
    y, width = exchange(x, region), 48 // group
    for top in range(0, grid[0], region):
        for left in range(0, grid[1], region):
            windows = [(top + a, left + b) for a in range(region) for b in range(region)]
            for i, here in enumerate(windows):
                for j, there in enumerate(windows):
                    got = y[:, here[0], here[1], j * width : (j + 1) * width]
                    assert torch.equal(got, x[:, there[0], there[1], i * width : (i + 1) * width])
    assert torch.equal(exchange(y, region), x)  # what is exchanged twice is where it was


def test_windows_are_the_map_cut():
    x = torch.arange(2 * 14 * 21 * 3).view(2, 14, 21, 3)
    windows = to_windows(x)
    assert windows.shape == (2, 2, 3, 49, 3) and torch.equal(to_map(windows), x)
    assert torch.equal(windows[:, 1, 2], x[:, 7:, 14:].flatten(1, 2))


@settings(max_examples=20, deadline=None)
@given(missing=st.integers(0, 49), seed=st.integers(0, 99))
def test_attention_by_hand(missing, seed):
    """Among a messenger and those of its pixels that are there; others are keys to nobody."""
    torch.manual_seed(seed)
    attn, x = MessengerAttention(12, 3).double(), torch.randn(2, 50, 12, dtype=torch.float64)
    nn.init.normal_(attn.position.table)
    nn.init.normal_(attn.messenger)
    real = torch.ones(2, 49, dtype=torch.bool)
    real[1, torch.randperm(49)[:missing]] = False
    places = [(i, j) for i in range(7) for j in range(7)]
    rows = torch.tensor([[(a - i + 6) * 13 + b - j + 6 for i, j in places] for a, b in places])
    expected = []
    with torch.no_grad():
        bias = torch.empty(3, 50, 50, dtype=torch.float64)
        bias[:, 1:, 1:] = attn.position.table[rows].permute(2, 0, 1)
        bias[:, 1:, 0] = attn.messenger[:, 0, 0]  # a pixel asks the messenger
        bias[:, 0] = attn.messenger[:, 1, 0]  # the messenger asks
        for tokens, there in zip(x, real, strict=True):
            keys = [0, *(1 + there.nonzero().flatten()).tolist()]
            q, k, v = attn.qkv(tokens).unflatten(-1, (3, 3, 4)).permute(1, 2, 0, 3)  # (heads, 50, 4) each
            weights = (q @ k[:, keys].mT / 2 + bias[:, :, keys]).softmax(-1)
            expected.append(attn.proj((weights @ v[:, keys]).transpose(0, 1).flatten(1)))
        expected = torch.stack(expected)
        torch.testing.assert_close(attn(x, real), expected, atol=1e-10, rtol=0)
        with explicit_attention(attn):
            torch.testing.assert_close(attn(x, real), expected, atol=1e-10, rtol=0)
        if not missing:
            torch.testing.assert_close(attn(x, None), expected, atol=1e-10, rtol=0)


def test_news_travel_by_messenger():
    """One block: a pixel hears its own window. Two: it hears all windows of its region, and no other region."""
    torch.manual_seed(0)
    first, second = (MessengerBlock(16, 2, 2).double() for _ in range(2))
    x = torch.randn(1, 2, 4, 50, 16, dtype=torch.float64, requires_grad=True)

    def heard(y):  # by a pixel of the window (0, 1): which windows' pixels
        (gradient,) = torch.autograd.grad(y[0, 0, 1, 8].sum(), x, retain_graph=True)
        return gradient[0, :, :, 1:].flatten(2).any(-1).tolist()

    once = first(x, None)
    assert heard(once) == [[False, True, False, False], [False] * 4]
    assert heard(second(once, None)) == [[True, True, False, False]] * 2


def test_exchange_stands_before_the_perceptron():
    """A messenger's perceptron works on what it has got, not on what it had."""
    torch.manual_seed(0)
    block, x = MessengerBlock(16, 2, 2), torch.randn(1, 2, 2, 50, 16)
    nn.init.zeros_(block.attn.proj.weight)
    nn.init.zeros_(block.attn.proj.bias)
    swapped = exchange(x[:, :, :, 0], 2)
    torch.testing.assert_close(block(x, None)[:, :, :, 0], swapped + block.mlp(block.norm2(swapped)))


@pytest.mark.parametrize(("size", "regions"), [((224, 224), (1, 1)), ((100, 230), (1, 2))], ids=str)
@torch.no_grad()
def test_any_size(size, regions):
    """Filled up to a multiple of 224 pixels: 8 x 8 windows each at first, one at the end."""
    torch.manual_seed(0)
    network, x = MSGTransformer(16, (1, 1, 1, 1), (1, 1, 1, 1), num_classes=0).eval(), torch.randn(1, 3, *size)
    maps, messengers = network.forward_stages(x)
    assert messengers.shape == (1, *regions, 128)
    expected = [(16 * 2**i, *(-(-side // (4 * 2**i)) for side in size)) for i in range(4)]
    assert [tuple(m.shape[1:]) for m in maps] == expected
    assert all(m.isfinite().all() for m in maps)
    torch.testing.assert_close(network(x), network.norm(messengers).mean((1, 2)))


@torch.no_grad()
def test_filled_places_are_zeros_between_the_stages():
    """Of 100 x 230 pixels, filled up to 224 x 448, the layers between the stages see nothing but what is there."""
    torch.manual_seed(0)
    network, seen = MSGTransformer(16, (1, 1, 1, 1), (1, 1, 1, 1), num_classes=0).eval(), []
    for merge in network.merges:
        merge.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.randn(1, 3, 100, 230))
    maps = [x for x in seen if x.shape[2] > 8]  # the others are messengers
    assert [tuple(x.shape[2:]) for x in maps] == [(56, 112), (28, 56), (14, 28)]
    for x, (height, width) in zip(maps, ((25, 58), (13, 29), (7, 15)), strict=True):
        assert not x[:, :, height:].any() and not x[:, :, :, width:].any()
        assert x[:, :, height - 1].any() and x[:, :, :, width - 1].any()


def test_messengers_and_pixels_share_the_layers_between_stages():
    network, seen = MSGTransformer(16, (1, 1, 1, 1), (1, 1, 1, 1), num_classes=2), []
    for merge in network.merges:
        merge.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
    network(torch.zeros(1, 3, 32, 32))
    pixels, messengers = [(28, 28, 32), (14, 14, 64), (7, 7, 128)], [(4, 4, 32), (2, 2, 64), (1, 1, 128)]
    assert sorted(seen) == sorted(pixels + messengers)


def test_refusals():
    with pytest.raises(ValueError, match="MSGTransformer: dim must be a multiple of slices=16; got dim=24"):
        MSGTransformer(24, (1, 1, 1, 1), (1, 1, 1, 1))
    with pytest.raises(ValueError, match="MSGTransformer: dim must be a multiple of num_heads=3; got dim=32"):
        MSGTransformer(32, (1, 1, 1, 1), (3, 3, 3, 3))
