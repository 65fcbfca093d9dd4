import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.models.resnet import BasicBlock, Bottleneck, ResNet

NAMES = {18: "resnet18", 34: "resnet34", 50: "resnet50", 101: "resnet101", 152: "resnet152"}


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


@pytest.mark.parametrize("depth", NAMES)
def test_depth_is_the_number_of_weighted_layers(depth):
    """The name counts the layers with weights, without the shortcuts: section 3.3."""
    layers = [
        name
        for name, m in meta(NAMES[depth]).named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(layers) == depth


# Table 1, 10^9 multiply-adds at 224 pixels (the paper cuts off the second digit of some).
@pytest.mark.parametrize(("depth", "paper"), [(18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)])
def test_multiply_adds_of_table_1(depth, paper):
    count = count_multiply_adds(meta(NAMES[depth]), input_size=(1, 3, 224, 224))
    if depth >= 50:
        # The paper's stride is on the first 1x1 of three bottlenecks, which then works on a quarter of the pixels.
        count -= sum(
            3 * inside * width * side**2 // 4
            for inside, width, side in ((256, 128, 56), (512, 256, 28), (1024, 512, 14))
        )
    assert count / 1e9 == pytest.approx(paper, abs=0.07)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_block_equals_its_formula(block, stride):
    """y = relu(shortcut(x) + F(x)): the last convolution is linear, and the ReLU comes after the addition."""
    torch.manual_seed(0)
    in_dim, width = 16, 8
    module = block(in_dim, width, stride).double().eval()
    x = torch.randn(2, in_dim, 7, 8, dtype=torch.float64)

    def conv_norm(layer, x):
        return layer.norm(F.conv2d(x, layer.conv.weight, stride=layer.conv.stride, padding=layer.conv.padding))

    y = x
    layers = [module.conv1, module.conv2] + ([module.conv3] if block is Bottleneck else [])
    for layer in layers[:-1]:
        y = conv_norm(layer, y).relu()
    y = conv_norm(layers[-1], y) + conv_norm(module.shortcut, x)
    assert (y < 0).any()
    torch.testing.assert_close(module(x), y.relu())


def test_identity_shortcut():
    """Where the shape stays the shortcut has no weights, and a block whose F is zero is relu(x)."""
    for block in (BasicBlock(8, 8), Bottleneck(32, 8)):
        assert isinstance(block.shortcut, nn.Identity)
        for p in block.parameters():
            nn.init.zeros_(p)
        x = torch.randn(2, 32 if isinstance(block, Bottleneck) else 8, 5, 5)
        assert torch.equal(block.eval()(x), x.relu())


def test_stride_is_on_the_3x3():
    block = Bottleneck(64, 32, stride=2)
    assert [c.conv.stride for c in (block.conv1, block.conv2, block.conv3)] == [(1, 1), (2, 2), (1, 1)]
    assert block.shortcut.conv.stride == (2, 2) and block.shortcut.conv.kernel_size == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "inner"), [({}, 64), ({"groups": 32, "base_width": 4}, 128), ({"base_width": 128}, 128)], ids=str
)
def test_width_of_the_3x3(arguments, inner):
    """ResNeXt-50 32x4d has 128 channels in 32 groups of 4, Wide ResNet-50-2 twice ResNet's 64."""
    convolution = Bottleneck(64, 64, **arguments).conv2.conv
    assert convolution.in_channels == convolution.out_channels == inner
    assert convolution.groups == arguments.get("groups", 1)


def test_deep_stem():
    """Three 3x3 convolutions see what the 7x7 sees and end at the same size: ResNet-C."""
    plain, deep = meta("resnet50"), meta("resnet50_deep_stem")
    convolutions = [m for m in deep.stem.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (32, (3, 3), (2, 2)),
        (32, (3, 3), (1, 1)),
        (64, (3, 3), (1, 1)),
    ]
    # Three kernels, 27 · 32 + 9 · 32² + 9 · 32 · 64, in the place of 147 · 64, and two more BatchNorms of 32.
    added = 27 * 32 + 9 * 32 * 32 + 9 * 32 * 64 - 147 * 64 + 2 * 2 * 32
    assert count_parameters(deep) - count_parameters(plain) == added
    assert create_model("resnet18", deep_stem=True)(torch.randn(2, 3, 64, 64)).shape == (2, 1000)


def test_pool_sees_the_border():
    """The pooling's padding is minus infinity, not zero: a negative image keeps its maximum."""
    pool = meta("resnet18").pool
    assert torch.equal(pool(-torch.ones(1, 1, 4, 4)), -torch.ones(1, 1, 2, 2))


def test_groups_need_bottlenecks():
    with pytest.raises(
        ValueError, match=r"basic block has no groups.*groups=32, base_width=4.*: take a network of bottl"
    ):
        ResNet((2, 2, 2, 2), bottleneck=False, groups=32, base_width=4)
    with pytest.raises(ValueError, match="depths must be greater than 0; got 0"):
        ResNet((2, 0, 2, 2))
