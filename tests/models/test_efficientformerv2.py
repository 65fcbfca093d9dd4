"""The attentions against attention pixel by pixel, and the sizes that the paper's search found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stitchwork import create_model
from stitchwork.models.efficientformerv2 import (
    GELU,
    HEADS,
    DistanceBias,
    DownsamplingAttention,
    EfficientFormerBlock,
    EfficientFormerV2,
    LocalGlobalQuery,
    TalkingAttention,
    distance_index,
)

TINY = {"dims": (8, 8, 16, 16), "mlp_ratios": ((1,), (1,), (1, 1), (1, 1)), "num_attention": 1}


def tiny(**arguments) -> EfficientFormerV2:
    torch.manual_seed(0)
    return EfficientFormerV2(**TINY | {"num_classes": 5} | arguments)


@torch.no_grad()
def awake(module: nn.Module, x: torch.Tensor) -> nn.Module:
    """In double precision and in evaluation, with random biases and the statistics of ``x``."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        parameter.normal_(1, 0.3) if parameter.dim() < 2 else parameter.normal_(0, parameter[0].numel() ** -0.5)
    for part in module.modules():
        if isinstance(part, DistanceBias):
            part.table.normal_()
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    module.double().train()(x)
    return module.eval()


def heads(x: torch.Tensor) -> torch.Tensor:
    """(B, heads d, H, W) -> (B, H, W, heads, d)."""
    return x.permute(0, 2, 3, 1).unflatten(3, (HEADS, -1))


def one_answer(queries, keys, values, position, talk, y, x, step=1):
    """What the query at (y, x) gets, (B, heads, e): each head's biases, one pair of pixels at a time."""
    _, height, width, _, d = keys.shape
    logits = torch.einsum("bhd,bYXhd->bhYX", queries[:, y, x], keys) / d**0.5
    for row in range(height):
        for column in range(width):
            dy, dx = abs(step * y - row), abs(step * x - column)
            place = min(dy, position.side - 1) * position.side + min(dx, position.side - 1)
            logits[:, :, row, column] += position.table[:, place]
    before, after = talk
    weights = before(logits.flatten(2)).softmax(2)
    return torch.einsum("bhN,bNhe->bhe", after(weights), values.flatten(1, 2))


def mixed(talk: nn.Linear):
    """The mixture of heads, for one query."""
    return lambda w: torch.einsum("gh,bhN->bgN", talk.weight, w) + talk.bias[:, None]


@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 5), width=st.integers(1, 5), side=st.integers(1, 6))
def test_talking_attention_equals_brute_force(height, width, side):
    x = torch.randn(2, 6, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(side))
    attn = awake(TalkingAttention(6, side, key_dim=3), x)
    q, k, v = attn.q(x), attn.k(x), attn.v(x)
    y = attn.local(v)
    for row in range(height):
        for column in range(width):
            talk = mixed(attn.talk1), mixed(attn.talk2)
            y[:, :, row, column] += one_answer(heads(q), heads(k), heads(v), attn.position, talk, row, column).flatten(
                1
            )
    torch.testing.assert_close(attn(x), attn.proj(y), atol=1e-10, rtol=0)


@pytest.mark.parametrize("size", [(6, 6), (5, 8), (7, 3)], ids=str)
def test_downsampling_attention_equals_brute_force(size):
    x = torch.randn(2, 6, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    attn = awake(DownsamplingAttention(6, 10, 6, key_dim=3), x)
    q, k, v = attn.q(x), attn.k(x), attn.v(x)
    y = attn.local(v)
    assert y.shape[2:] == (-(-size[0] // 2), -(-size[1] // 2))
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            silent = (lambda w: w,) * 2
            y[:, :, row, column] += one_answer(
                heads(q), heads(k), heads(v), attn.position, silent, row, column, step=2
            ).flatten(1)
    torch.testing.assert_close(attn(x), attn.proj(y), atol=1e-10, rtol=0)


def test_distances_of_a_small_map():
    """Two rows of three pixels, a table of three rows: 3 |dy| + |dx|."""
    assert distance_index(2, 3, 3).tolist()[0] == [0, 1, 2, 3, 4, 5]
    assert distance_index(2, 3, 3).tolist()[4] == [4, 3, 4, 1, 0, 1]
    assert distance_index(1, 4, 2).tolist()[0] == [0, 1, 1, 1], "what is farther than the table counts as its largest"
    assert distance_index(4, 4, 4, step=2)[3].tolist() == [10, 9, 8, 9, 6, 5, 4, 5, 2, 1, 0, 1, 6, 5, 4, 5]


def test_the_table_follows_the_weights_and_needs_no_memory_from_before():
    """Nothing is kept that a new table, or another device, would make wrong."""
    position = DistanceBias(2, 3)
    assert (position(3, 3) == 0).all()
    with torch.no_grad():
        position.table.copy_(torch.arange(18).view(2, 9))
    assert position(3, 3)[1, 0].tolist() == list(range(9, 18))
    assert position(3, 3).equal(position(4, 5)[:, [0, 1, 2, 5, 6, 7, 10, 11, 12]][:, :, [0, 1, 2, 5, 6, 7, 10, 11, 12]])
    with torch.device("meta"):
        empty = DistanceBias(2, 3)
    empty.to_empty(device="cpu").load_state_dict(position.state_dict())
    assert empty(3, 3).equal(position(3, 3))


def test_stride_attention_works_at_half_the_resolution():
    attn = TalkingAttention(8, 7, stride=2)
    seen = []
    attn.weights.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    assert attn(torch.randn(2, 8, 7, 10)).shape == (2, 8, 7, 10)
    assert seen == [(2, HEADS, 4 * 5, 4 * 5)]
    assert attn.position.side == 4


def test_queries_of_every_second_pixel():
    query = LocalGlobalQuery(3, 3)
    nn.init.zeros_(query.local.weight)
    nn.init.zeros_(query.local.bias)
    query.proj = nn.Identity()
    x = torch.randn(1, 3, 5, 4)
    assert query(x).equal(x[:, :, [0, 2, 4]][:, :, :, [0, 2]])


def test_a_block_begins_close_to_the_identity():
    block = EfficientFormerBlock(8, 2, TalkingAttention(8, 4))
    x = torch.randn(2, 8, 4, 4)
    assert 0 < (block(x) - x).abs().max() < 1e-3
    assert block.scale1.gamma.unique().tolist() == block.scale2.gamma.unique().tolist() == [pytest.approx(1e-5)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gelu_in_either_layout(memory_format):
    x = torch.randn(2, 5, 3, 4).contiguous(memory_format=memory_format).requires_grad_()
    y, expected = GELU()(x), nn.functional.gelu(x.detach().double())
    torch.testing.assert_close(y.double(), expected, atol=1e-6, rtol=0)
    assert y.is_contiguous(memory_format=memory_format)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.autograd.functional.vjp(nn.functional.gelu, x, torch.ones_like(x))[1])


# Table 7: blocks and channels of the four stages, and the blocks with attention at the end of the last two.
@pytest.mark.parametrize(
    ("name", "depths", "dims", "attending"),
    [
        ("efficientformerv2_s0", (2, 2, 6, 4), (32, 48, 96, 176), 2),
        ("efficientformerv2_s1", (3, 3, 9, 6), (32, 48, 120, 224), 2),
        ("efficientformerv2_s2", (4, 4, 12, 8), (32, 64, 144, 288), 4),
        ("efficientformerv2_l", (5, 5, 15, 10), (40, 80, 192, 384), 6),
    ],
)
def test_table_of_the_search(name, depths, dims, attending):
    with torch.device("meta"):
        model = create_model(name)
    assert tuple(len(stage.blocks) for stage in model.stages) == depths
    assert model.pyramid_channels == dims
    for index, stage in enumerate(model.stages):
        with_attention = [block.attn is not None for block in stage.blocks]
        expected = attending if index > 1 else 0
        assert with_attention == [False] * (depths[index] - expected) + [True] * expected
    assert {block.attn.stride for block in model.stages[2].blocks[-attending:]} == {2}
    assert {block.attn.stride for block in model.stages[3].blocks[-attending:]} == {1}
    assert model.stages[3].downsample.attn is not None
    assert model.stages[1].downsample.attn is model.stages[2].downsample.attn is None


def test_two_heads():
    model, x = tiny(distilled_training=True), torch.randn(3, 3, 64, 64)
    assert model(x).shape == (3, 2, 5), "the label's logits and the teacher's"
    model.eval()
    pooled = model.forward_features(x).mean((2, 3))
    with torch.no_grad():
        expected = (model.head.label(pooled) + model.head.distillation(pooled)) / 2
        torch.testing.assert_close(model(x), expected)
    assert tiny()(x).shape == (3, 5), "in training the mean as well, unless they are asked for apart"
    assert tiny(num_classes=0)(x).shape == (3, 16)


def test_drop_path_grows_to_the_last_block():
    model = tiny(drop_path_rate=0.5)
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_another_size_than_that_of_training():
    """A network made for 96 pixels is at 64 the one made for 64 with the smaller distances of its tables."""
    large, small = tiny(train_size=96).eval(), tiny(train_size=64).eval()
    for theirs, part in zip(large.modules(), small.modules(), strict=True):
        if isinstance(part, DistanceBias):
            nn.init.normal_(theirs.table)
            table = theirs.table.detach().unflatten(1, (theirs.side,) * 2)
            part.table = nn.Parameter(table[:, : part.side, : part.side].flatten(1))
            assert part.side < theirs.side
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(large(x), small(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_size": 0}, "train_size must be greater than 0; got 0"),
        ({"dims": (8, 0, 16, 16)}, "dims must be greater than 0; got 0"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be at least 0 and below 1; got 1.0"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)


def test_timms_weights_for_another_number_of_classes(monkeypatch):
    """What timm would download is made here; both heads stay fresh, all else is loaded."""
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("efficientformerv2_s0")
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: theirs)
    model = create_model("efficientformerv2_s0", num_classes=7, weights="timm")
    assert model.head.label.weight.shape == model.head.distillation.weight.shape == (7, 176)
    block, same = model.stages[3].blocks[-1], theirs.stages[3].blocks[-1]
    assert block.attn.position.table.equal(same.token_mixer.attention_biases)
    assert block.attn.talk2.weight.equal(same.token_mixer.talking_head2.weight[:, :, 0, 0])
    assert block.mlp[1].conv.weight.equal(same.mlp.mid.conv.weight)
