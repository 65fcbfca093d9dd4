import pytest
import torch
from torch import nn

from stitchwork import create_model, fuse
from stitchwork.analysis import count_multiply_adds
from stitchwork.layers import FusedConv2d
from stitchwork.models.unireplknet import (
    COMPANIONS,
    DilatedReparam,
    FeedForward,
    GlobalResponseNorm,
    UniRepLKNet,
    UniRepLKNetBlock,
)


def meta(name="unireplknet_a", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def random_norms(module, seed=0):
    """Every parameter and statistic gets a value that matters."""
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        nn.init.normal_(p, 0.3, 0.5, generator=generator)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, generator=generator)
            nn.init.uniform_(norm.running_var, 0.5, 2.0, generator=generator)
    return module.double().eval()


@pytest.mark.parametrize("kernel_size", COMPANIONS)
def test_companions_fit_into_the_large_kernel(kernel_size):
    """The zeros included, none is wider than the kernel that it is folded into, and no two are the same."""
    widths = [(size - 1) * dilation + 1 for size, dilation in COMPANIONS[kernel_size]]
    assert max(widths) <= kernel_size and all(width % 2 for width in widths)
    assert len(set(COMPANIONS[kernel_size])) == len(COMPANIONS[kernel_size])


def test_companions_of_the_default_kernel():
    """Of a 13x13: kernels 5, 7, 3, 3, 3 with dilations 1 to 5."""
    block = DilatedReparam(4, 13)
    found = [(conv.kernel_size[0], conv.dilation[0]) for conv, _ in block.branches]
    assert found == [(13, 1), (5, 1), (7, 2), (3, 3), (3, 4), (3, 5)]
    assert all(conv.groups == 4 and conv.bias is None for conv, _ in block.branches)


@pytest.mark.parametrize("kernel_size", [7, 9, 13, 17])
def test_branches_are_one_convolution(kernel_size):
    block = random_norms(DilatedReparam(3, kernel_size))
    x = torch.randn(2, 3, 11, 20, dtype=torch.float64)
    fused = block.fused()
    assert isinstance(fused, FusedConv2d) and fused.weight.shape == (3, 1, kernel_size, kernel_size)
    torch.testing.assert_close(fused(x), block(x), atol=1e-12, rtol=0)


def test_folded_kernel_by_hand():
    """With identities for BatchNorms, the kernel is the sum of the branches; each tap lands at its dilated place."""
    block = DilatedReparam(1, 7).eval()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 0.0
    for index, (conv, _) in enumerate(block.branches):
        nn.init.constant_(conv.weight, 10.0**index)
    # A row through the middle of: 7 ones, 5 tens, 3 hundreds with gaps of one, 3 thousands with gaps of two.
    assert block.fused().weight[0, 0, 3].tolist() == [1001.0, 111.0, 11.0, 1111.0, 11.0, 111.0, 1001.0]
    assert block.fused().bias.tolist() == [0.0]


def test_global_response_norm_by_hand():
    """Two channels of norms 3 and 1 have shares 1.5 and 0.5 of the mean."""
    norm = GlobalResponseNorm(2)
    nn.init.constant_(norm.weight, 2.0)
    nn.init.constant_(norm.bias, 0.25)
    x = torch.zeros(1, 2, 1, 3)
    x[0, 0, 0, 0], x[0, 1, 0, 2] = 3.0, -1.0
    expected = torch.tensor([[[[3 * (1 + 2 * 1.5) + 0.25, 0.25, 0.25]], [[0.25, 0.25, -1 * (1 + 2 * 0.5) + 0.25]]]])
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=0)


def test_global_response_norm_starts_as_the_identity():
    x = torch.randn(2, 5, 4, 3)
    assert torch.equal(GlobalResponseNorm(5)(x), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_squares_do_not_overflow_in_half_precision(dtype):
    """300 squared is beyond float16."""
    norm = GlobalResponseNorm(2)
    nn.init.ones_(norm.weight)
    y = norm.to(dtype)(torch.full((1, 2, 8, 8), 300.0, dtype=dtype))
    assert y.dtype == dtype and (y == 600).all()


def test_a_silent_channel_has_a_finite_gradient():
    norm = GlobalResponseNorm(2)
    nn.init.ones_(norm.weight)
    x = torch.zeros(1, 2, 3, 3, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad.isfinite().all()


def test_shift_norm_and_layer_scale_are_folded_into_the_projection():
    layers = random_norms(FeedForward(6))
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    fused = layers.fused()
    torch.testing.assert_close(fused(x), layers(x), atol=1e-10, rtol=0)
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    assert fused.respond.bias is None and layers.respond.bias is not None, "the network was changed"
    assert fused.project.weight.shape == (6, 24, 1, 1)


def test_a_fresh_block_is_almost_the_identity():
    """Layer scale starts at 1e-6."""
    x = torch.randn(2, 8, 14, 14)
    difference = (UniRepLKNetBlock(8, 13).train()(x) - x).abs().max()
    assert 0 < difference < 1e-4


def test_layer_scale_at_the_start():
    assert torch.equal(UniRepLKNetBlock(8, 3).feed_forward.scale.gamma.flatten(), torch.full((8,), 1e-6))


def test_kernel_of_five_is_plain():
    assert UniRepLKNetBlock(8, 5).look.conv.kernel_size == (5, 5)


@pytest.mark.parametrize(("dim", "kernel_size"), [(8, 3), (8, 13), (12, 9)])
def test_cost(dim, kernel_size):
    """HW C (K² + companions + 8C) and the gate's two products; fused, without the companions."""
    companions = sum(size**2 for size, _ in COMPANIONS.get(kernel_size, ()))
    block, pixels, gate = UniRepLKNetBlock(dim, kernel_size), 6 * 8, 2 * dim * (dim // 4)
    cost = count_multiply_adds(block, input_size=(1, dim, 6, 8))
    assert cost == pixels * dim * (kernel_size**2 + companions + 8 * dim) + gate
    cost = count_multiply_adds(fuse(block), input_size=(1, dim, 6, 8))
    assert cost == pixels * dim * (kernel_size**2 + 8 * dim) + gate


def test_receptive_field_of_a_block():
    """A 13x13 block sees six pixels to every side; past that, only the gate and the response norm look."""
    block = UniRepLKNetBlock(4, 13).look.eval()
    x = torch.zeros(1, 4, 31, 31, requires_grad=True)
    block(x)[0, :, 15, 15].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert (rows.min(), rows.max()) == (9, 21)


def test_stochastic_depth_rises_to_the_last_block():
    network = meta("unireplknet_a", drop_path_rate=0.11)
    rates = [block.drop_path.rate for stage in network.stages for block in stage]
    assert rates == pytest.approx([0.01 * i for i in range(12)])


def test_head():
    """Mean, LayerNorm, linear; without classes, the normalised mean."""
    torch.manual_seed(0)
    network = create_model("unireplknet_a", num_classes=0).eval()
    with torch.no_grad():
        features = network(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 320)
    torch.testing.assert_close(features.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(1, correction=0), torch.ones(2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kernel_size", [1, 4, 8, 19])
def test_kernels_without_companions_are_refused(kernel_size):
    with pytest.raises(ValueError, match=rf"kernel_size must be one of \[7, 9, .*\]; got {kernel_size}"):
        UniRepLKNetBlock(8, kernel_size)


def test_as_many_stages_of_kernels_as_of_channels():
    with pytest.raises(ValueError, match="zip"):
        UniRepLKNet((8, 16, 32, 64), ((3,), (13,), (13,)))


@pytest.mark.parametrize("arguments", [{"layer_scale": 0}, {"drop_path_rate": 1.0}])
def test_refusals(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments)).removeprefix("drop_path_")):
        meta(**arguments)
