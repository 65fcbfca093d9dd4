"""Deformable attention against grid_sample, the maps, and what the adapter does to a ViT at the start: nothing."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.models.vit_adapter import ConvFeedForward, DeformableAttention, Extractor, Injector, ViTAdapter, centres


def small(**kwargs):
    return ViTAdapter(24, 3, 6, **{"depth": 4, "train_size": 64, **kwargs})


def straightforward(attn, queries, places, tokens, grids):
    """Equation 3 of Deformable DETR, map by map with grid_sample: weights times what lies at place plus offset."""
    batch, count, _ = queries.shape
    heads = (attn.num_heads, attn.levels, attn.points)
    offsets = attn.offsets(queries).reshape(batch, count, *heads, 2)
    weights = attn.weights(queries).reshape(batch, count, attn.num_heads, -1).softmax(-1).reshape(batch, count, *heads)
    values = attn.value(tokens)
    width_of_head = values.shape[2] // attn.num_heads
    result, start = 0, 0
    for level, (height, width) in enumerate(grids):
        maps = values[:, start : start + height * width].transpose(1, 2)
        maps = maps.reshape(batch * attn.num_heads, width_of_head, height, width)
        start += height * width
        at = places.flip(1)[None, :, None, None] + offsets[:, :, :, level] / torch.tensor([width, height]).to(queries)
        at = at.permute(0, 2, 1, 3, 4).flatten(0, 1)  # (B heads, M, P, 2), columns first, as shares of the image
        read = F.grid_sample(maps, 2 * at - 1, align_corners=False)  # (B heads, d, M, P)
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (B heads, M, P)
        result = result + (read * share[:, None]).sum(3)
    return attn.proj(result.reshape(batch, -1, count).transpose(1, 2))


@pytest.mark.parametrize("grids", [[(5, 7)], [(8, 6), (4, 3), (2, 1)]], ids=str)
@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("reach", [0.1, 3.0], ids=["near", "far outside"])
def test_deformable_attention_reads_between_the_pixels(grids, ratio, reach):
    torch.manual_seed(0)
    attn = DeformableAttention(24, 3, len(grids), points=4, ratio=ratio).double()
    for layer in (attn.offsets, attn.weights):
        nn.init.normal_(layer.weight, std=reach)
    queries = torch.randn(2, 11, 24, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(2, sum(h * w for h, w in grids), 24, dtype=torch.float64, requires_grad=True)
    places = torch.rand(11, 2, dtype=torch.float64)
    found = attn(queries, places, tokens, grids)
    expected = straightforward(attn, queries, places, tokens, grids)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    direction = torch.randn_like(found)
    variables = [queries, tokens, *attn.parameters()]
    slopes = [torch.autograd.grad(y, variables, direction) for y in (found, expected)]
    for name, ours, theirs in zip(["queries", "tokens", *dict(attn.named_parameters())], *slopes):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_each_head_starts_in_a_direction_of_its_own():
    """Four heads, each with a ramp to read: the mean of steps 1 to 4 is 2.5 pixels to the right, down, left, up."""
    attn = DeformableAttention(8, 4, levels=1)
    for layer in (attn.value, attn.proj):
        nn.init.eye_(layer.weight)
    rows, columns = torch.meshgrid(torch.arange(21.0), torch.arange(21.0), indexing="ij")
    tokens = torch.stack([rows, columns] * 4, -1).reshape(1, -1, 8)
    middle = torch.tensor([[10.5 / 21, 10.5 / 21]])
    found = attn(torch.randn(1, 1, 8), middle, tokens, [(21, 21)]).reshape(4, 2)
    expected = torch.tensor([[10, 12.5], [12.5, 10], [10, 7.5], [7.5, 10]])
    torch.testing.assert_close(found, expected)


def test_every_map_has_the_same_start():
    attn = DeformableAttention(12, 6, levels=3)
    start = attn.offsets.bias.detach().view(6, 3, 4, 2)
    assert start[:, 0].equal(start[:, 1]) and start[:, 0].equal(start[:, 2])
    # A sixth of a circle per head, stretched so that each step reaches the next square ring of pixels.
    torch.testing.assert_close(start.abs().amax(3)[:, 0], torch.arange(1.0, 5).expand(6, 4))
    angles = torch.atan2(start[:, 0, 0, 1], start[:, 0, 0, 0]).rad2deg() % 360
    torch.testing.assert_close(angles, torch.arange(0, 360, 60).float(), atol=1e-4, rtol=0)
    assert not attn.offsets.weight.any() and not attn.weights.weight.any()


def test_centres():
    places = centres([(2, 2), (1, 4)], torch.zeros(1))
    expected = [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]] + [[0.5, x / 8] for x in (1, 3, 5, 7)]
    assert places.tolist() == expected
    assert centres([(128, 128)], torch.zeros(1, dtype=torch.bfloat16)).unique().numel() == 128


def test_the_feed_forward_part_stays_within_a_map():
    ffn, grids = ConvFeedForward(8, 6), [(4, 4), (2, 2), (1, 1)]
    x = torch.randn(1, 21, 8)
    changed = x.clone()
    changed[:, 16] += 1  # the first pixel of the second map
    touched = (ffn(changed, grids) != ffn(x, grids)).any(2)[0]
    assert touched.nonzero().flatten().tolist() == [16, 17, 18, 19]


def test_the_vit_starts_as_it_is():
    """gamma is zero: the tokens go through the blocks as if there was no adapter, and behind training they do not."""
    model, x = small().eval(), torch.randn(2, 3, 64, 96)
    states = []
    model.blocks[-1].register_forward_hook(lambda module, inputs, output: states.append(output))
    with torch.no_grad():
        model(x)
        found = states.pop()
        tokens = model.patch_embed(x).flatten(1, 2) + model.positions.at((4, 6))[:, 1:]
        plain = nn.Sequential(*model.blocks)(tokens)
        torch.testing.assert_close(found, plain)
        for injector in model.injectors:
            injector.gamma.fill_(0.5)
        model(x)
    assert (states.pop() - plain).abs().max() > 0.1


def test_the_weights_of_a_vit_fit():
    """The table of positions has the place of a class token, which the adapter leaves out."""
    adapter, vit = create_model("vit_adapter_tiny"), create_model("vit_tiny_patch16")
    ours = {n: p.shape for n, p in adapter.blocks.named_parameters() if not n.endswith("gamma")}
    theirs = {n: p.shape for n, p in vit.blocks.named_parameters()}
    assert sorted(map(tuple, ours.values())) == sorted(map(tuple, theirs.values()))
    shapes = [
        [tuple(p.shape) for part in (model.patch_embed, model.positions) for p in part.parameters()]
        for model in (adapter, vit)
    ]
    assert shapes[0] == shapes[1]


def deformable(dim, heads, levels, ratio):
    inner = int(dim * ratio)
    values = dim * inner + inner + inner * dim + dim
    return values + (dim + 1) * heads * levels * 4 * 3  # two offsets and a weight for each point


@pytest.mark.parametrize(
    ("name", "dim", "heads", "ratio", "published"),
    [
        ("vit_adapter_tiny", 192, 6, 1.0, 7_966_640),
        ("vit_adapter_small", 384, 6, 1.0, 27_503_888),
        ("vit_adapter_base", 768, 12, 0.5, 99_495_392),
    ],
)
def test_parameters_by_hand(name, dim, heads, ratio, published):
    """The ViT without class token and last norm, and every part of the adapter."""
    with torch.device("meta"):
        model = create_model(name)
    hidden = dim // 4
    vit = 12 * (12 * dim**2 + 13 * dim + 2 * dim) + (16 * 16 * 3 + 1) * dim + 197 * dim
    injector = deformable(dim, heads, 3, ratio) + 5 * dim
    ffn = 2 * dim * hidden + hidden + dim + 10 * hidden
    extractor = deformable(dim, heads, 1, ratio) + ffn + 6 * dim
    prior = 9 * (3 * 64 + 64 * 64 * 2 + 64 * 128 + 128 * 256 + 256 * 256) + 2 * (3 * 64 + 128 + 256 + 256)
    prior += (64 + 128 + 256 + 256 + 4) * dim
    rest = 3 * dim + 4 * dim**2 + dim + 8 * dim
    assert vit + 4 * injector + 6 * extractor + prior + rest == published
    parts = {Injector: injector, Extractor: extractor}
    for part in model.modules():
        if type(part) in parts:
            assert sum(p.numel() for p in part.parameters()) == parts[type(part)]
    assert sum(p.numel() for p in model.parameters()) == published


def test_one_extractor_behind_each_group_and_three_behind_the_last():
    with torch.device("meta"):
        model = create_model("vit_adapter_tiny")
    assert [len(group) for group in model.extractors] == [1, 1, 1, 3] and len(model.injectors) == 4


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 32)], ids=str)
def test_maps(size):
    model = small().eval()
    maps = model.forward_pyramid(torch.randn(1, 3, *size))
    assert [tuple(y.shape[1:]) for y in maps] == [(24, size[0] // s, size[1] // s) for s in (4, 8, 16, 32)]
    assert model.pyramid_channels == (24,) * 4 and model(torch.randn(1, 3, *size)).shape[2:] == maps[0].shape[2:]


def test_the_maps_get_the_tokens_behind_the_first_to_the_fourth_group():
    """With everything else silent, map i is what the tokens were behind group i, scaled to its size."""
    model, x = small().eval(), torch.randn(1, 3, 64, 96)
    states = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: states.append(output))
    silent = [*model.prior.project, model.up]
    silent += [layer for group in model.extractors for part in group for layer in (part.attn.proj, part.ffn.fc2)]
    with torch.no_grad():
        model.levels.zero_()
        for layer in silent:
            layer.weight.zero_(), layer.bias.zero_()
        maps = model.forward_pyramid(x)
    for found, state, scale in zip(maps, states, (4, 2, 1, 0.5)):
        state = state.transpose(1, 2).unflatten(2, (4, 6))
        expected = state if scale == 1 else F.interpolate(state, scale_factor=scale, mode="bilinear")
        torch.testing.assert_close(found, expected / math.sqrt(1 + 1e-5))


def test_positions_of_another_size_are_the_tables_own():
    """At 224 pixels the table is used as it is; at another size nothing of the class token's place comes in."""
    model = small()
    with torch.no_grad():
        model.positions.table[:, 1:] = 1.0
        model.positions.table[:, :1] = 1e6
    assert model.positions.at((4, 4))[:, 1:].eq(1).all()
    torch.testing.assert_close(model.positions.at((6, 2))[:, 1:], torch.ones(1, 12, 24))


def test_stochastic_depth_of_blocks_and_extractors():
    model = small(drop_path_rate=0.3)
    assert [block.drop_path.rate for block in model.blocks] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert all(part.drop_path.rate == 0.3 for group in model.extractors for part in group)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 6}, "depth must be a multiple of 4; got 6"),
        ({"depth": 0}, "depth must be greater than 0; got 0"),
        ({"deform_ratio": -1.0}, "deform_ratio must be greater than 0; got -1.0"),
        ({"train_size": 0}, "train_size must be greater than 0; got 0"),
        ({"deform_ratio": 0.3}, "DeformableAttention: dim must be a multiple of num_heads=6; got dim=7"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be at least 0 and below 1; got 1.0"),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_refuses_sizes():
    with pytest.raises(ValueError, match=r"multiples of 32; got \(64, 80\): pad the images to \(64, 96\)"):
        small()(torch.randn(1, 3, 64, 80))
