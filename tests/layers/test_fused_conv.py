import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.layers import (
    FusedConv2d,
    FusedConvTranspose2d,
    batch_norm_as_affine,
    dilate_kernel,
    fold_batch_norm,
    pad_kernel,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def lived_in(norm):
    """A normalisation in double precision whose statistics and parameters are not those of the beginning."""
    norm = norm.double().eval()
    nn.init.uniform_(norm.running_mean, -1, 1)
    nn.init.uniform_(norm.running_var, 0.1, 2)
    if norm.affine:
        nn.init.uniform_(norm.weight, -1, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    return norm


def noise(*shape):
    return torch.randn(shape, dtype=torch.double)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("eps", [1e-5, 1e-1])
@pytest.mark.parametrize("build", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_batch_norm_as_affine(build, eps, affine):
    norm = lived_in(build(5, eps=eps, affine=affine))
    scale, shift = batch_norm_as_affine(norm)
    assert scale.shape == shift.shape == (5,)
    assert scale.dtype == shift.dtype == torch.double
    assert not scale.requires_grad and not shift.requires_grad
    x = noise(4, 5, 3, 2) if build is nn.BatchNorm2d else noise(4, 5)
    shape = (5, 1, 1) if build is nn.BatchNorm2d else (5,)
    close(x * scale.view(shape) + shift.view(shape), norm(x))


def test_affine_is_computed_in_double_precision():
    """Of a small variance single precision would lose the eps."""
    norm = nn.BatchNorm2d(1)
    norm.running_var.fill_(1e-3)
    exact = (torch.tensor(1e-3).double() + 1e-5).rsqrt()
    assert batch_norm_as_affine(norm)[0].item() == exact.item()
    assert batch_norm_as_affine(norm)[0].item() != (torch.tensor(1e-3) + 1e-5).rsqrt().item()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2},
        {"stride": (1, 2), "padding": (2, 0)},
        {"padding": "same", "dilation": 2},
        {"groups": 2},
        {"groups": 4, "stride": 2, "padding": 1},
        {"dilation": (1, 3), "padding": 3, "bias": False},
        {"bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernel_size", [1, 3, (2, 5)], ids=str)
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
def test_fold_batch_norm(kernel_size, arguments, affine):
    conv, norm = nn.Conv2d(4, 8, kernel_size, **arguments).double(), lived_in(nn.BatchNorm2d(8, 1e-3, affine=affine))
    fused = fold_batch_norm(conv, norm)
    x = noise(2, 4, 11, 16)
    expected = norm(conv(x))
    assert expected.std() > 0.1
    close(fused(x), expected)
    assert isinstance(fused, FusedConv2d)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(fused, name) == getattr(conv, name), name


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": (1, 2), "groups": 2, "output_padding": (0, 1)},
        {"groups": 4, "dilation": 2, "bias": False},
    ],
    ids=str,
)
def test_fold_into_a_transposed_convolution(arguments):
    conv, norm = nn.ConvTranspose2d(4, 8, 3, **arguments).double(), lived_in(nn.BatchNorm2d(8, 1e-3))
    fused = fold_batch_norm(conv, norm)
    x = noise(2, 4, 7, 10)
    expected = norm(conv(x))
    assert expected.std() > 0.1
    close(fused(x), expected)
    assert isinstance(fused, FusedConvTranspose2d)
    for name in ("in_channels", "out_channels", "stride", "padding", "output_padding", "groups", "dilation"):
        assert getattr(fused, name) == getattr(conv, name), name


def test_fold_keeps_the_dtype_and_changes_nothing():
    conv, norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
    norm(torch.randn(4, 3, 5, 5))
    before = {id(t): t.detach().clone() for m in (conv, norm) for t in m.state_dict(keep_vars=True).values()}
    fused = fold_batch_norm(conv, norm.eval())
    assert fused.weight.dtype == fused.bias.dtype == torch.float32
    for m in (conv, norm):
        for t in m.state_dict(keep_vars=True).values():
            assert torch.equal(t, before[id(t)])
    with torch.no_grad():
        fused.weight.zero_()
    assert conv.weight.any(), "the folded convolution shares its memory with the original"


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.Identity(), nn.LayerNorm(4)], ids=str)
def test_only_a_batch_norm_folds(norm):
    with pytest.raises(TypeError, match=r"only a BatchNorm2d folds .* got (Group|Instance|Layer|Identity)"):
        fold_batch_norm(nn.Conv2d(4, 4, 1), norm)


@pytest.mark.parametrize("conv", [nn.Linear(4, 4), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")])
def test_only_a_convolution_with_zero_padding_takes_it_in(conv):
    with pytest.raises(ValueError, match=r"only a Conv2d that pads with zeros, or its transpose.* got (Conv|Linear)"):
        fold_batch_norm(conv, nn.BatchNorm2d(4))


def test_a_batch_norm_without_statistics_does_not_fold():
    """Without running statistics it normalises by the batch in evaluation as well."""
    with pytest.raises(TypeError, match="track_running_stats"):
        fold_batch_norm(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))


@pytest.mark.parametrize(
    ("build", "channels"), [(FusedConv2d, (4, 6)), (FusedConvTranspose2d, (6, 4))], ids=["conv", "transposed"]
)
def test_fused_conv_cannot_be_trained(build, channels):
    conv = build(torch.randn(6, 2, 3, 3), torch.randn(channels[1]), stride=2, padding=1, groups=2)
    assert (conv.in_channels, conv.out_channels, conv.groups, conv.kernel_size) == (*channels, 2, (3, 3))
    assert not conv.training and not any(p.requires_grad for p in conv.parameters())
    assert conv.eval() is conv and conv.train(False) is conv
    for switch in (conv.train, nn.Sequential(conv).train):
        with pytest.raises(RuntimeError, match=r"fused, which only evaluation can use.*Train the network that fuse"):
            switch()
    assert not conv.training


def test_fused_conv_computes():
    weight, bias = noise(6, 2, 3, 3), noise(6)
    x = noise(1, 4, 9, 7)
    conv = FusedConv2d(weight, bias, stride=2, padding=2, dilation=2, groups=2)
    assert torch.equal(conv(x), F.conv2d(x, weight, bias, 2, 2, 2, 2))


@pytest.mark.parametrize("small", [(1, 1), (3, 3), (1, 3), (5, 1)], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_pad_kernel(small, groups):
    """A kernel in a larger one of zeros, with the larger padding, sees the same."""
    weight, large = noise(4, 4 // groups, *small), (5, 7)
    padded = pad_kernel(weight, large)
    assert padded.shape == (4, 4 // groups, *large)
    x = noise(2, 4, 8, 9)
    for stride in (1, 2):
        expected = F.conv2d(x, weight, None, stride, (small[0] // 2, small[1] // 2), 1, groups)
        close(F.conv2d(x, padded, None, stride, (2, 3), 1, groups), expected)
    assert padded.count_nonzero() == weight.count_nonzero()


def test_pad_kernel_refuses_what_has_no_centre():
    for small, large in (((3, 3), (3, 1)), ((2, 3), (3, 3)), ((3, 3), (4, 4))):
        message = f"a kernel of size {small} cannot be the centre of one of size {large}: take an odd size"
        with pytest.raises(ValueError, match=re.escape(message)):
            pad_kernel(torch.ones(1, 1, *small), large)


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (3, 5)], ids=str)
@pytest.mark.parametrize("groups", [1, 4])
def test_dilate_kernel(kernel_size, dilation, groups):
    weight, x = noise(4, 4 // groups, *kernel_size), noise(2, 4, 14, 17)
    dense = dilate_kernel(weight, dilation)
    assert dense.shape[2:] == tuple((k - 1) * dilation + 1 for k in kernel_size)
    for stride in (1, 2):
        close(F.conv2d(x, dense, None, stride, 0, 1, groups), F.conv2d(x, weight, None, stride, 0, dilation, groups))
