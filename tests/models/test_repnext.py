import copy

import pytest
import torch
from torch import nn

import stitchwork
from stitchwork import create_model, fuse
from stitchwork.analysis import count_multiply_adds
from stitchwork.layers import FusedConv2d
from stitchwork.models.repnext import (
    DoublingMixer,
    Downsample,
    MediumMixer,
    QuarterMixer,
    RepNeXt,
    RepNeXtBlock,
    SmallMixer,
    TwoHeads,
    dense_kernel,
    row_then_column,
)
from stitchwork.training import Recipe, fit
from stitchwork.weights import load_safetensors, save_safetensors


def meta(name="repnext_m0", **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def shapes(mixer):
    """Kernel, dilation and bias of every convolution of every branch."""
    return [
        [(conv.kernel_size, conv.dilation[0], conv.bias is not None) for conv in branch.modules() if is_conv(conv)]
        for branch in mixer.branches
    ]


def is_conv(module):
    return isinstance(module, nn.Conv2d)


def test_branches_of_the_small_mixer():
    assert shapes(SmallMixer(4)) == [[((3, 3), 1, True)], [((3, 1), 1, True)], [((1, 3), 1, True)], [((2, 2), 2, True)]]
    assert shapes(SmallMixer(4, stride=2)) == [
        [((3, 3), 1, True)],
        [((1, 3), 1, False), ((3, 1), 1, False)],
        [((2, 2), 2, True)],
    ]


@pytest.mark.parametrize("stride", [1, 2])
def test_branches_of_the_medium_mixer(stride):
    single = [[((7, 7), 1, True)], [((5, 3), 1, True)], [((3, 5), 1, True)]]
    stacked = [[((1, k), 1, False), ((k, 1), 1, False)] for k in (7, 5)]
    assert shapes(MediumMixer(4, stride)) == single + stacked


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("mixer", "size"), [(SmallMixer, 3), (MediumMixer, 7)])
@pytest.mark.parametrize("image", [(12, 8), (7, 9), (2, 1)])
def test_branches_are_one_convolution(mixer, size, stride, image):
    torch.manual_seed(0)
    branches = mixer(3, stride).double().eval()
    x = torch.randn(2, 3, *image, dtype=torch.float64)
    fused = branches.fused()
    assert isinstance(fused, FusedConv2d) and fused.weight.shape == (3, 1, size, size)
    torch.testing.assert_close(fused(x), branches(x), atol=1e-12, rtol=0)


def test_a_row_and_a_column_are_an_outer_product():
    stack = row_then_column(1, 3, 1)
    stack[0].weight.data = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    stack[1].weight.data = torch.tensor([[[[1.0], [10.0], [100.0]]]])
    assert dense_kernel(stack)[0, 0].tolist() == [[1, 2, 3], [10, 20, 30], [100, 200, 300]]


def test_the_corners():
    """A 2x2 with dilation 2 is a 3x3 with zeros but in the corners."""
    corners = SmallMixer(1).branches[3]
    nn.init.ones_(corners.weight)
    assert dense_kernel(corners)[0, 0].tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]


def test_a_row_with_a_bias_is_no_outer_product_at_the_border():
    """Why the large mixer is not folded: the column sees the row's bias inside the image and zero outside it."""
    torch.manual_seed(0)
    row, column = stack = QuarterMixer(8).large
    kernel = column.weight * row.weight
    bias = column.weight.sum((1, 2, 3)) * row.bias + column.bias
    x = torch.randn(1, 2, 15, 15)
    difference = (nn.functional.conv2d(x, kernel, bias, padding=5, groups=2) - stack(x)).abs()
    assert difference[..., 5:-5, :].max() < 1e-5 < 1e-3 < difference[..., 0, :].min()


def test_each_quarter_has_its_own_reach():
    """The first passes; the others see 3, 7 and 11 pixels."""
    mixer, x = QuarterMixer(8).eval(), torch.zeros(1, 8, 21, 21)
    with torch.no_grad():
        silence = mixer(x)
        x[..., 10, 10] = 1.0
        heard = (mixer(x) - silence).abs().amax((0, 2)) > 1e-7  # (C, W): a column of the image counts once
    assert heard.sum(1).tolist() == [1, 1, 3, 3, 7, 7, 11, 11]


def test_downsampling_gives_every_channel_to_both_kernels():
    mixer, x = DoublingMixer(6).eval(), torch.zeros(1, 6, 21, 21)
    with torch.no_grad():
        silence = mixer(x)
        x[..., 10, 10] = 1.0
        heard = (mixer(x) - silence).abs().amax((0, 2)) > 1e-7
    assert heard.sum(1).tolist() == [1] * 6 + [3] * 6  # at stride 2, one of 3 pixels and three of 7 are hit


def silence_the_mlp(block):
    nn.init.zeros_(block.mlp[1].norm.weight)
    return block.eval()


def test_the_shortcut_is_around_both_steps_of_a_block():
    block, x = silence_the_mlp(RepNeXtBlock(8)), torch.randn(2, 8, 6, 5)
    assert torch.equal(block(x), x)


def test_the_shortcut_of_the_downsampling_is_around_the_second_step():
    block, x = silence_the_mlp(Downsample(8)), torch.randn(2, 8, 6, 5)
    torch.testing.assert_close(block(x), block.norm(block.mixer(x)))


@pytest.mark.parametrize(("dim", "ratio"), [(8, 2), (16, 3)])
def test_cost(dim, ratio):
    """HW C (80 / 4 + 2 r C) fused, and HW C 64 / 4 more in training."""
    block, pixels = RepNeXtBlock(dim, ratio), 6 * 8
    cost = count_multiply_adds(block, input_size=(1, dim, 6, 8))
    fused = count_multiply_adds(fuse(block), input_size=(1, dim, 6, 8))
    assert fused == pixels * dim * (80 // 4 + 2 * ratio * dim)
    # The row of a row and a column is as large as the image at stride 1, so that its share is the same.
    assert cost - fused == pixels * dim * 64 // 4


def test_head_is_the_mean_of_two():
    torch.manual_seed(0)
    network = create_model("repnext_m0", num_classes=5).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        label, teacher = network.forward_heads(x)
        assert (label - teacher).abs().max() > 1e-3
        torch.testing.assert_close(network(x), (label + teacher) / 2)


def test_training_gives_one_tensor_and_reaches_both_heads():
    torch.manual_seed(0)
    network = create_model("repnext_m0", num_classes=5).train()
    logits = network(torch.randn(3, 3, 64, 64))
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    for _, linear in (network.head.label, network.head.teacher):
        assert linear.weight.grad.abs().sum() > 0


def test_it_can_be_fitted():
    torch.manual_seed(0)
    network = RepNeXt(8, (1, 1, 1, 1), num_classes=3)
    data = torch.utils.data.TensorDataset(torch.randn(6, 3, 32, 32), torch.arange(6) % 3)
    history = fit(network, data, recipe=Recipe(epochs=1, batch_size=3), progress=False)
    assert history is not None and network.head.label[0].num_batches_tracked == 2


def test_both_heads_become_one_linear_layer():
    torch.manual_seed(0)
    heads = TwoHeads(6, 4).double()
    for norm, _ in (heads.label, heads.teacher):
        nn.init.uniform_(norm.running_var, 0.5, 2)
        for tensor in (norm.running_mean, norm.weight, norm.bias):
            nn.init.normal_(tensor)
    x = torch.randn(3, 6, dtype=torch.float64)
    fused = heads.eval().fused()
    assert isinstance(fused, nn.Linear)
    torch.testing.assert_close(fused(x), heads(x), atol=1e-12, rtol=0)


def test_fusing_leaves_the_row_and_the_column_and_the_norm_behind_the_mixer():
    block = fuse(RepNeXtBlock(8))
    assert len([m for m in block.modules() if is_conv(m)]) == 6  # 3x3, 7x7, 1x11, 11x1, and two of the MLP
    assert [type(m) for m in block.modules() if isinstance(m, nn.BatchNorm2d)] == [nn.BatchNorm2d]


def test_fused_without_a_head():
    network = create_model("repnext_m0", num_classes=0).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(fuse(network)(x), network(x), atol=1e-4, rtol=0)


def test_reset_head():
    network = copy.deepcopy(meta())
    network.reset_head(7)
    assert [linear.out_features for _, linear in (network.head.label, network.head.teacher)] == [7, 7]
    network.reset_head(0)
    assert isinstance(network.head, nn.Identity) and network.head_features == 320


@pytest.mark.parametrize(("classes", "same_head"), [(10, True), (3, False), (0, False)])
def test_a_file_with_another_number_of_classes_leaves_both_heads_fresh(tmp_path, classes, same_head):
    torch.manual_seed(0)
    saved = create_model("repnext_m0", num_classes=10)
    save_safetensors(saved, tmp_path / "saved.safetensors")
    network = create_model("repnext_m0", num_classes=classes)
    fresh = copy.deepcopy(network.head.state_dict())
    load_safetensors(network, tmp_path / "saved.safetensors")
    assert torch.equal(network.stem[0].conv.weight, saved.stem[0].conv.weight)
    expected = saved.head.state_dict() if same_head else fresh
    assert all(torch.equal(tensor, expected[key]) for key, tensor in network.head.state_dict().items())


def test_four_equal_quarters():
    with pytest.raises(ValueError, match="dim must be a multiple of 4, for four equal quarters; got 42"):
        RepNeXt(42, (1, 1, 1, 1))


def test_pyramid_channels_double():
    assert stitchwork.create_model("repnext_m1", num_classes=0).pyramid_channels == (48, 96, 192, 384)
