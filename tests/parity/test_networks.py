"""Every network gives the logits of timm's and torchvision's under the same weights."""

import copy

import pytest
import torch

import stitchwork
from stitchwork.analysis import first_differing_layer
from stitchwork.weights import load_state_dict_from

from .conftest import size_for

PAIRS = [
    (name, reference)
    for name in stitchwork.list_models()
    for reference in stitchwork.describe(name).references
    if reference.split(":")[0] in ("timm", "torchvision")
]
SMALLEST = (
    "convformer_s18",
    "convnext_tiny",
    "deeplabv3_resnet50",
    "deit_tiny_distilled",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "fasternet_t0",
    "fcn_resnet50",
    "inception_next_atto",
    "mobilenet_v1",
    "mobilenet_v2_035",
    "mobilenet_v3_small",
    "mobilevit_xxs",
    "poolformer_s12",
    "pvt_v2_b0",
    "pvt_v2_b2_li",
    "repvgg_a0",
    "resnet18",
    "shufflenet_v2_x0_5",
    "vit_tiny_patch16",
)
# Name: what timm's network is told, and the size at which it is compared a second time.
ANOTHER_SIZE = {
    "deit_small_distilled": ({}, (224, 160)),
    "mobilevit_s": ({}, (256, 288)),
    "swin_tiny": ({"img_size": (448, 224)}, (448, 224)),
    "twins_pcpvt_small": ({}, (96, 160)),
    "twins_svt_small": ({}, (448, 224)),
    "vit_small_patch16": ({}, (224, 160)),
}
# Under random weights their signal grows a hundredfold, and in single precision the rounding with it.
IN_DOUBLE = ("efficientformerv2_l", "efficientformerv2_s2")
CHEAP = (
    "efficientnet_b0",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v2_035",
    "resnet18",
    "resnet50_deep_stem",
    "resnext50_32x4d",
)


def ours_like(theirs: torch.nn.Module, name: str, reference: str) -> torch.nn.Module:
    ours = stitchwork.create_model(name).eval()
    load_state_dict_from(ours, name, theirs.state_dict(), reference.split(":")[0])
    return ours


def assert_equal_logits(ours: torch.nn.Module, theirs: torch.nn.Module, x: torch.Tensor, atol: float) -> None:
    with torch.no_grad():
        a, b = ours(x), theirs(x)
    assert b.std() > 0.1, "the reference gives next to nothing, so that equality would show nothing"
    equal = a.shape == b.shape and (a - b).abs().max() <= atol
    assert equal, str(first_differing_layer(ours, theirs, x, atol=atol))


@pytest.mark.parametrize(("name", "reference"), PAIRS)
def test_logits(name, reference, theirs):
    network = theirs(reference)
    ours = ours_like(network, name, reference)
    x = torch.randn(2, 3, *size_for(reference), generator=torch.Generator().manual_seed(2))
    if name in IN_DOUBLE:
        assert_equal_logits(ours.double(), copy.deepcopy(network).double(), x[:1].double(), atol=1e-8)
    else:
        assert_equal_logits(ours, network, x, atol=1e-4)


@pytest.mark.parametrize("name", ANOTHER_SIZE)
def test_logits_at_another_size(name, theirs):
    options, size = ANOTHER_SIZE[name]
    (reference,) = stitchwork.describe(name).references
    network = theirs(reference, size, **options)
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(5))
    assert_equal_logits(ours_like(network, name, reference), network, x, atol=1e-4)


@pytest.mark.parametrize(("name", "reference"), [pair for pair in PAIRS if pair[0] in SMALLEST])
def test_logits_in_double_precision_at_an_odd_size(name, reference, theirs):
    network = copy.deepcopy(theirs(reference)).double()
    ours = ours_like(network, name, reference).double()
    load_state_dict_from(ours, name, network.state_dict(), reference.split(":")[0])
    x = torch.randn(1, 3, 75, 97, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert_equal_logits(ours, network, x, atol=1e-8)


@pytest.mark.parametrize(("name", "reference"), [(n, r) for n, r in PAIRS if n in CHEAP and r.startswith("timm:")])
def test_feature_pyramid(name, reference, theirs):
    import timm

    network = theirs(reference)
    features = timm.create_model(reference.split(":")[1], features_only=True, out_indices=(1, 2, 3, 4))
    # Without the head, and with the last convolution left out where it is not part of the pyramid.
    _, leftover = features.load_state_dict(network.state_dict(), strict=False)
    assert all(key.split(".")[0] in ("classifier", "fc", "conv_head", "bn2") for key in leftover)
    x = torch.randn(1, 3, 65, 48, generator=torch.Generator().manual_seed(4))
    ours = ours_like(network, name, reference)
    with torch.no_grad():
        pairs = list(zip(ours.forward_pyramid(x), features.eval()(x), strict=True))
    for index, (a, b) in enumerate(pairs):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0, msg=lambda text, i=index: f"map {i}: {text}")
    assert ours.pyramid_channels == tuple(features.feature_info.channels())


def test_a_difference_would_be_found_and_named(theirs):
    network = theirs("torchvision:resnet18")
    ours = ours_like(network, "resnet18", "torchvision:resnet18")
    ours.layer2[0].shortcut.norm.eps = 1e-2
    with pytest.raises(AssertionError, match=r"ours layer2.0.shortcut.norm .* theirs layer2.0.downsample.1 "):
        assert_equal_logits(ours, network, torch.randn(2, 3, 64, 80), atol=1e-4)
