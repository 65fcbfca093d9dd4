"""Dilation in the place of strides, and torchvision's trained networks with their second head."""

import pytest
import torch
from torch import nn
from torchvision.models import segmentation

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds
from stitchwork.models.deeplab import FCN, DeepLabV3
from stitchwork.models.resnet import ResNet
from stitchwork.weights import load_state_dict_from, rename

DEPTHS = (1, 2, 2, 3)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_map_without_strides_has_the_strided_map_in_it(output_stride):
    """Every number of the small map stands in the large one, for each still sees the same pixels; between them are new.

    That holds to the last digit, borders too, if the taps are exactly as far apart as the strides would have made them.
    """
    torch.manual_seed(0)
    strided, dilated = ResNet(DEPTHS).double().eval(), ResNet(DEPTHS, output_stride=output_stride).double().eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 96, 128, dtype=torch.float64)
    with torch.no_grad():
        small, large = strided.forward_pyramid(x), dilated.forward_pyramid(x)
    for index, stride in enumerate((4, 8, 16, 32)):
        step = max(1, stride // output_stride)
        assert large[index].shape[2:] == (96 // min(stride, output_stride), 128 // min(stride, output_stride))
        torch.testing.assert_close(large[index][:, :, ::step, ::step], small[index])


def test_dilations_and_strides():
    """Section 3.1: the first block of a stage keeps the distance of the stage before it."""
    with torch.device("meta"):
        encoder = create_model("fcn_resnet50").encoder
    found = [[block.conv2.conv.dilation[0] for block in stage] for stage in (encoder.layer3, encoder.layer4)]
    assert found == [[1, 2, 2, 2, 2, 2], [2, 4, 4]]
    strides = [
        (block.conv2.conv.stride[0], block.shortcut.conv.stride[0])
        for block in (encoder.layer2[0], encoder.layer3[0], encoder.layer4[0])
    ]
    assert strides == [(2, 2), (1, 1), (1, 1)]


def test_the_heads():
    with torch.device("meta"):
        deeplab, fcn = create_model("deeplabv3_resnet50"), create_model("fcn_resnet50")
    rates = [branch.conv.dilation for branch in deeplab.context[0].atrous]
    assert rates == [(12, 12), (24, 24), (36, 36)]  # twice the paper's for stride 16
    assert deeplab.head.in_channels == 256 and fcn.head.in_channels == 2048 // 4
    assert (deeplab.dropout, deeplab.context[0].drop.p, fcn.dropout) == (0.0, 0.5, 0.1)


def test_a_larger_map_is_dear():
    """As the docstring says: 31.3 G multiply-adds, where the classifier has 4.1 G."""
    with torch.device("meta"):
        costs = [
            count_multiply_adds(create_model(name), input_size=(1, 3, 224, 224)) / 1e9
            for name in ("deeplabv3_resnet50", "resnet50")
        ]
    assert costs == pytest.approx([31.3, 4.1], abs=0.05)


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "fcn_resnet50"])
def test_the_second_head_of_trained_networks_is_left_out(name):
    """torchvision's published weights have it; only training used it."""
    torch.manual_seed(0)
    theirs = getattr(segmentation, name)(weights_backbone=None, aux_loss=True).eval()
    assert any(key.startswith("aux_classifier.") for key in theirs.state_dict())
    ours = create_model(name).eval()
    load_state_dict_from(ours, name, theirs.state_dict(), "torchvision")
    x = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x)["out"], atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"classifier\.9\.weight: no such tensor"):
        rename(name, "torchvision", {"classifier.9.weight": torch.zeros(1)})


@pytest.mark.parametrize("build", [DeepLabV3, FCN])
def test_one_image_can_be_trained_with(build):
    """DeepLabV3 normalises the mean of the image over the batch; of one image torchvision refuses that."""
    network = build((1, 1, 1, 1), num_classes=2).train()
    network(torch.randn(1, 3, 33, 47)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_another_output_stride_needs_bottlenecks():
    with pytest.raises(ValueError, match=r"no dilation; .*output_stride=8: take a network of bottlenecks"):
        create_model("resnet18", output_stride=8)
    with pytest.raises(ValueError, match="output_stride must be 8, 16 or 32; got 4"):
        create_model("resnet50", output_stride=4)


def test_the_classifiers_weights_fit_the_encoder():
    """Dilation moves taps and adds none."""
    with torch.device("meta"):
        classifier, encoder = create_model("resnet50", num_classes=0), create_model("fcn_resnet50").encoder
    shapes = [{key: tensor.shape for key, tensor in part.state_dict().items()} for part in (classifier, encoder)]
    assert shapes[0] == shapes[1] and not [m for m in encoder.modules() if isinstance(m, nn.Linear)]
