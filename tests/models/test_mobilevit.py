import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters, gradient_support
from stitchwork.layers import DropPath
from stitchwork.models.mobilevit import InvertedResidual, MobileViT, MobileViTBlock, fold, unfold

NAMES = ["mobilevit_xxs", "mobilevit_xs", "mobilevit_s"]


def meta(name="mobilevit_xxs", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def block(dim=6, hidden=8, depth=1, seed=0):
    torch.manual_seed(seed)
    return MobileViTBlock(dim, hidden, [0.0] * depth).double().eval()


# Table 4: channels of the five stages, numbers of a token in the last three, and channels of the last convolution.
TABLE_4 = {
    "mobilevit_xxs": ((16, 24, 48, 64, 80), (64, 80, 96), 2, 320),
    "mobilevit_xs": ((32, 48, 64, 80, 96), (96, 120, 144), 4, 384),
    "mobilevit_s": ((32, 64, 96, 128, 160), (144, 192, 240), 4, 640),
}


@pytest.mark.parametrize("name", NAMES)
def test_table_4(name):
    """Every inverted residual and every block: channels, stride, expansion; numbers of a token, transformer layers."""
    model, (dims, hidden, expansion, features) = meta(name), TABLE_4[name]
    residuals = [
        (m.expand.conv.in_channels, m.depthwise.conv.stride[0], m.project.conv.out_channels)
        for m in model.modules()
        if isinstance(m, InvertedResidual)
    ]
    assert residuals == [
        (16, 1, dims[0]),
        (dims[0], 2, dims[1]),
        (dims[1], 1, dims[1]),
        (dims[1], 1, dims[1]),
        (dims[1], 2, dims[2]),
        (dims[2], 2, dims[3]),
        (dims[3], 2, dims[4]),
    ]
    assert {
        m.depthwise.conv.groups / m.expand.conv.in_channels for m in model.modules() if isinstance(m, InvertedResidual)
    } == {expansion}
    blocks = [m for m in model.modules() if isinstance(m, MobileViTBlock)]
    assert [(m.widen.in_channels, m.widen.out_channels, len(m.transformer)) for m in blocks] == list(
        zip(dims[2:], hidden, (2, 4, 3))
    )
    assert {m.transformer[0].attn.num_heads for m in blocks} == {4}
    assert model.num_features == model.last.conv.out_channels == features


# Table 4, last row: millions of parameters.
@pytest.mark.parametrize(("name", "millions"), list(zip(NAMES, (1.3, 2.3, 5.6))))
def test_parameters_of_table_4(name, millions):
    assert round(count_parameters(meta(name)) / 1e6, 1) == millions


def test_everything_is_swish():
    """Swish, which PyTorch calls SiLU, wherever there is an activation."""
    kinds = {type(m).__name__ for m in meta().modules() if type(m).__module__ == "torch.nn.modules.activation"}
    assert kinds == {"SiLU"}


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 10), (7, 8), (5, 3)])
@pytest.mark.parametrize(("dim", "hidden", "depth"), [(6, 8, 1), (5, 12, 3)])
def test_cost(dim, hidden, depth, height, width):
    """Section 3.1: attention costs N² P d in the place of (N P)² d; what is odd is rounded up for the transformer."""
    tokens = 4 * -(-height // 2) * -(-width // 2)
    near_and_join = height * width * (9 * dim**2 + 2 * 9 * dim**2)
    in_and_out = height * width * 2 * dim * hidden
    linear = tokens * (3 + 1 + 2 + 2) * hidden**2
    attention = 2 * 4 * (tokens // 4) ** 2 * hidden
    with torch.device("meta"):
        module = MobileViTBlock(dim, hidden, [0.0] * depth)
    cost = count_multiply_adds(module, input_size=(1, dim, height, width))
    assert cost == near_and_join + in_and_out + depth * (linear + attention)


def test_unfolding_pixel_by_pixel():
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    tokens = unfold(x)
    assert tokens.shape == (2, 4, 6, 3)
    for place in range(4):
        for n in range(6):
            row, column = 2 * (n // 3) + place // 2, 2 * (n % 3) + place % 2
            assert torch.equal(tokens[:, place, n], x[:, :, row, column])


@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 6), (8, 2)])
def test_fold_puts_back_what_unfold_took_apart(height, width):
    x = torch.randn(2, 3, height, width)
    assert torch.equal(fold(unfold(x), (height, width)), x)


def attention_alone(near):
    """The block without the convolution that joins, and with or without the one before."""
    module = block()
    if not near:
        module.near = nn.Identity()
    module.join = nn.Sequential(nn.Conv2d(12, 6, 1, bias=False, dtype=torch.double))
    return module


def test_a_pixel_attends_to_its_place_in_all_patches():
    support = gradient_support(attention_alone(near=False), (1, 6, 8, 12))
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[4 % 2 :: 2, 6 % 2 :: 2] = True  # the pixel in the middle, (4, 6)
    assert torch.equal(support, expected)


@pytest.mark.parametrize("size", [(8, 12), (6, 6), (7, 9)])
def test_with_a_convolution_before_all_hear_of_all(size):
    assert gradient_support(attention_alone(near=True), (1, 6, *size)).all()


def test_the_places_do_not_know_their_order():
    """Patches that change places change the places of the answers, and nothing else: there is no position table."""
    module, order = attention_alone(near=False), torch.randperm(12)
    x = torch.randn(2, 6, 6, 8, dtype=torch.double)
    shuffled = fold(unfold(x)[:, :, order], (6, 8))
    with torch.no_grad():
        expected = fold(unfold(module(x))[:, :, order], (6, 8))
        torch.testing.assert_close(module(shuffled), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(5, 7), (6, 7), (1, 1)])
def test_odd_maps_are_resized_for_the_transformer_only(size):
    module, x = block(depth=2), torch.randn(2, 6, *size, dtype=torch.double)
    even = [side + side % 2 for side in size]
    with torch.no_grad():
        wide = F.interpolate(module.widen(module.near(x)), even, mode="bilinear")
        places = [
            module.norm(module.transformer(wide[:, :, i::2, j::2].flatten(2).mT)).mT.unflatten(2, (even[0] // 2, -1))
            for i in (0, 1)
            for j in (0, 1)
        ]
        y = torch.empty_like(wide)
        for (i, j), place in zip(((0, 0), (0, 1), (1, 0), (1, 1)), places):
            y[:, :, i::2, j::2] = place
        y = F.interpolate(y, size, mode="bilinear")
        expected = module.join(torch.cat([x, module.narrow(y)], 1))
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_what_came_in_comes_first():
    """The joining convolution reads the input from the first channels, and what was heard from the others."""
    module, x = block(), torch.randn(1, 6, 6, 6, dtype=torch.double)
    with torch.no_grad():
        module.join.conv.weight[:, 6:] = 0
        joined = F.conv2d(x, module.join.conv.weight[:, :6], padding=1)
        expected = module.join.act(module.join.norm(joined))
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_normalisations():
    """A BatchNorm behind near, narrow and join, none where tokens are made; a LayerNorm behind the last layer."""
    module = block(depth=3)
    assert len([m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]) == 3
    assert len([m for m in module.modules() if isinstance(m, nn.LayerNorm)]) == 2 * 3 + 1
    assert isinstance(module.widen, nn.Conv2d) and module.widen.bias is None


@pytest.mark.parametrize(
    ("dim", "out_dim", "stride", "shortcut"), [(8, 8, 1, True), (8, 8, 2, False), (8, 12, 1, False)]
)
def test_shortcut_where_the_shape_stays(dim, out_dim, stride, shortcut):
    residual = InvertedResidual(dim, out_dim, stride, 2).eval()
    for p in residual.parameters():
        nn.init.zeros_(p)
    x = torch.randn(2, dim, 6, 6)
    y = residual(x)
    assert y.shape == (2, out_dim, 6 // stride, 6 // stride)
    assert torch.equal(y, x) if shortcut else not y.any()


def test_stochastic_depth_grows_from_layer_to_layer():
    rates = [m.rate for m in meta(drop_path_rate=0.8).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.1 * layer for layer in range(9)])


def test_strides_of_the_pyramid():
    maps = meta("mobilevit_s").forward_pyramid(torch.zeros(1, 3, 64, 96, device="meta"))
    assert [tuple(y.shape[1:]) for y in maps] == [(64, 16, 24), (96, 8, 12), (128, 4, 6), (160, 2, 3)]


@pytest.mark.parametrize(("argument", "bad"), [("dims", (4, 4, 0, 4, 4)), ("hidden", (0, 4, 4)), ("expansion", 0)])
def test_bad_arguments(argument, bad):
    arguments = {"dims": (4, 4, 4, 4, 4), "hidden": (4, 4, 4), "expansion": 1, "num_features": 4}
    with pytest.raises(ValueError, match=f"{argument}.*0"):
        MobileViT(**arguments | {argument: bad})
