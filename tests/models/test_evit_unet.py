"""The decoder as the encoder's mirror, the ways across, and the sizes that the network takes."""

import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.models.efficientformerv2 import HEADS, VARIANTS
from stitchwork.models.evit_unet import (
    ChannelCrossAttention,
    EViTUNet,
    Grow,
    GrowingQuery,
    UpsamplingAttention,
)

TINY = {"dims": (8, 8, 16, 16), "mlp_ratios": ((1,), (2,), (1, 1), (1, 2)), "num_attention": 1}


def tiny(**arguments) -> EViTUNet:
    torch.manual_seed(0)
    return EViTUNet(**TINY | {"num_classes": 4} | arguments)


@torch.no_grad()
def awake(module: nn.Module) -> nn.Module:
    """In evaluation, with random numbers for all that is zero or one, or tiny, in the beginning."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        if parameter.squeeze().dim() < 2:
            parameter.uniform_(0.5, 1.5)
    return module.eval()


def meta(name="evit_unet", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


@pytest.mark.parametrize(("classes", "parameters"), [(9, 55_206_500), (1, 55_206_180)])
def test_published_costs(classes, parameters):
    """One class is without the channel cross attention: four means and two matrices less, and eight maps of logits."""
    model = meta(num_classes=classes)
    assert count_parameters(model) == parameters
    gates = sum(2 * dim**2 for dim in (40, 80, 192, 384))
    expected = 5_822_936_256 - (9 - classes) * (40 * 224**2 + gates // 8)
    assert count_multiply_adds(model, input_size=(1, 1, 224, 224)) == expected


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)], ids=str)
def test_every_multiple_of_32(size):
    assert tiny()(torch.randn(2, 1, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize(("size", "fitting"), [((224, 200), r"\(224, 224\)"), ((33, 64), r"\(64, 64\)")])
def test_other_sizes_are_refused(size, fitting):
    message = rf"EViTUNet takes a height and a width that are multiples of 32; got .*: pad the images to {fitting}"
    with pytest.raises(ValueError, match=message):
        tiny()(torch.randn(1, 1, *size))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels(channels):
    model = tiny(in_chans=channels)
    assert model(torch.randn(2, channels, 32, 32)).shape == (2, 4, 32, 32)
    with pytest.raises(ValueError, match=f"was built for {channels} channels; got shape .* with 2"):
        model(torch.randn(2, 2, 32, 32))


def test_one_class_leaves_the_cross_attention_out_and_gives_logits():
    model, x = awake(tiny(num_classes=1)), torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        y = model(x)
        assert y.min() < 0 or y.max() > 1, "no sigmoid"
        for layer in model.cross:
            layer.linear_x.bias.fill_(-50.0)
        assert model(x).equal(y)


def test_several_classes_have_it():
    model, x = awake(tiny()), torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        y = model(x)
        for layer in model.cross:
            layer.linear_x.bias.fill_(-50.0)
        closed = model(x)
        assert not torch.allclose(closed, y)
        for merge, dim in zip(model.merge, (16, 16, 8, 8)):
            merge.weight[:, dim:] = 0
        torch.testing.assert_close(model(x), closed, atol=1e-5, rtol=1e-5)


def test_channel_cross_attention_by_hand():
    """Both means of a channel, added and halved, open its gate; what is negative goes."""
    layer = ChannelCrossAttention(2)
    for linear in (layer.linear_x, layer.linear_g):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    x = torch.tensor([[[[1.0, 3.0]], [[-4.0, 2.0]]]])  # means 2 and -1
    g = torch.tensor([[[[0.0, 4.0]], [[3.0, 3.0]]]])  # means 2 and 3
    gate = torch.tensor([2.0, 1.0]).sigmoid()
    torch.testing.assert_close(layer(g, x), torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]]) * gate[:, None, None])


def test_only_the_copies_for_the_way_across_are_normalised():
    model, x = awake(tiny()), torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        maps, y = model.forward_pyramid(x), model(x)
        for norm in model.norms:
            norm.weight.mul_(3.0)
        assert all(a.equal(b) for a, b in zip(maps, model.forward_pyramid(x)))
        assert not torch.allclose(model(x), y)
    assert [m.shape[1:] for m in maps] == [(8, 16, 16), (8, 8, 8), (16, 4, 4), (16, 2, 2)]


def test_the_decoder_is_the_encoder_in_a_mirror():
    model = tiny()
    for up, stage in zip(model.up_stages, list(model.stages)[::-1], strict=True):
        shapes = [{k: v.shape for k, v in blocks.state_dict().items()} for blocks in (up, stage.blocks)]
        assert shapes[0] == shapes[1] and shapes[0]
    first, *rest = model.grow
    assert isinstance(first, nn.Identity)
    assert [layer.attn is not None for layer in rest] == [True, True, False]


def test_stochastic_depth_falls_towards_the_last_block():
    """Official: the rate of the encoder's block of the same stage and place."""
    model = tiny(drop_path_rate=0.5)
    down = [[block.drop_path.rate for block in stage.blocks] for stage in model.stages]
    up = [[block.drop_path.rate for block in blocks] for blocks in model.up_stages]
    assert up == down[::-1]
    assert [rate for stage in down for rate in stage] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_growing_queries_align_the_corners():
    query = GrowingQuery(3, 3)
    nn.init.zeros_(query.local.weight)
    nn.init.zeros_(query.local.bias)
    query.proj = nn.Identity()
    x = torch.randn(1, 3, 4, 5)
    torch.testing.assert_close(query(x)[:, :, ::7, ::9], x[:, :, ::3, ::4])


def test_upsampling_attention_pixel_by_pixel():
    torch.manual_seed(0)
    attn = awake(UpsamplingAttention(6, 10, key_dim=3)).double()
    x = torch.randn(2, 6, 2, 3, dtype=torch.float64)

    def heads(y):
        return y.permute(0, 2, 3, 1).unflatten(3, (HEADS, -1))

    with torch.no_grad():
        q, k, v = attn.q(x), attn.k(x), attn.v(x)
        y = attn.local(v)
        assert y.shape[2:] == (4, 6)
        for row in range(4):
            for column in range(6):
                logits = torch.einsum("bhd,bYXhd->bhYX", heads(q)[:, row, column], heads(k)).flatten(2) / 3**0.5
                answer = torch.einsum("bhN,bNhe->bhe", logits.softmax(2), heads(v).flatten(1, 2))
                y[:, :, row, column] += answer.flatten(1)
        torch.testing.assert_close(attn(x), attn.proj(y), atol=1e-10, rtol=0)


def test_growing_doubles_height_and_width():
    """A pixel at (i, j) lands at (2 i, 2 j), with its kernel around it."""
    grow = Grow(1, 1)
    with torch.no_grad():
        grow.conv.weight.copy_(torch.arange(1.0, 10).view(1, 1, 3, 3))
    grow.norm = nn.Identity()
    nn.init.zeros_(grow.conv.bias)
    x = torch.zeros(1, 1, 3, 2)
    x[..., 1, 0] = 1
    y = grow(x)[0, 0]
    assert y.shape == (6, 4)
    assert y[1:4, :2].tolist() == [[2, 3], [5, 6], [8, 9]] and y.sum() == 2 + 3 + 5 + 6 + 8 + 9


@pytest.mark.parametrize("size", ["s0", "s1", "s2"])
def test_siblings_have_the_encoders_sizes(size):
    dims, ratios, attending = VARIANTS[size]
    model, encoder = meta(f"evit_unet_{size}"), meta(f"efficientformerv2_{size}", in_chans=1)
    assert model.pyramid_channels == dims == encoder.pyramid_channels
    assert [len(blocks) for blocks in model.up_stages] == [len(r) for r in ratios][::-1]
    assert count_parameters(model.stages) == count_parameters(encoder.stages)
    assert sum(block.attn is not None for blocks in model.up_stages for block in blocks) == 2 * attending
