"""The weights of all attention: sums to one, named axes, and the same result as without looking."""

import pytest
import torch

import stitchwork
from stitchwork.analysis import attention_maps
from stitchwork.layers import ScaledDotProduct, explicit_attention

NETWORKS = [
    "caformer_s18",
    "ceit_tiny",
    "crossvit_9",
    "cvt_13",
    "deit_tiny_distilled",
    "dilateformer_tiny",
    "focal_tiny",
    "gcvit_xxtiny",
    "maxvit_tiny",
    "mobilevit_xxs",
    "msg_transformer_tiny",
    "pvt_tiny",
    "pvt_v2_b0",
    "shunted_tiny",
    "swin_tiny",
    "t2t_vit_7",
    "twins_svt_small",
    "vit_tiny_patch16",
]


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_and_both_forms(name):
    torch.manual_seed(0)
    model, x = stitchwork.create_model(name, num_classes=4).double().eval(), torch.randn(2, 3, 64, 96).double()
    maps = attention_maps(model, x)
    for found in maps:
        assert found.weights.dim() == len(found.axes), (found.layer, found.weights.shape, found.axes)
        keys = 2 if "neighbour" in found.axes else -1
        sums = found.weights.sum(keys)
        torch.testing.assert_close(sums, torch.ones_like(sums))
    layers = [path for path, part in model.named_modules() if isinstance(part, ScaledDotProduct)]
    assert set(layers) <= {found.layer for found in maps}
    assert not any(model.get_submodule(path).explicit for path in layers)
    with torch.no_grad():
        fused = model(x)
        with explicit_attention(model):
            plain = model(x)
    torch.testing.assert_close(plain, fused, atol=1e-9, rtol=0)


def test_a_network_without_attention():
    with pytest.raises(ValueError, match="ResNet has no attention to look at"):
        attention_maps(stitchwork.create_model("resnet18"), torch.randn(1, 3, 64, 64))


def test_dropping_a_key_changes_the_map():
    """The maps are those of this input: another image gives others."""
    model = stitchwork.create_model("vit_tiny_patch16").eval()
    first, second = (attention_maps(model, torch.randn(1, 3, 64, 64))[0].weights for _ in range(2))
    assert not torch.equal(first, second)
