"""A fused network is the same function with fewer layers, and cannot be trained by mistake."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import stitchwork
from stitchwork import fuse
from stitchwork.analysis import count_parameters
from stitchwork.layers import ConvNormAct, FusedConv2d
from stitchwork.training import Recipe, fit
from stitchwork.weights import load_safetensors, save_safetensors

from .probes import awaken

PUBLISHED = json.loads((Path(__file__).parents[1] / "parity" / "published.json").read_text("utf-8"))
WITH_FUSED_COUNT = [name for name, facts in PUBLISHED.items() if "n_params_fused" in facts]
FOLDING = [
    "efficientnet_b0",
    "fasternet_t0",
    "mobilenet_v1",
    "mobilenet_v2_035",
    "mobilenet_v3_small",
    "resnet18",
    "repvgg_a0",
    "shufflenet_v2_x0_5",
    "unireplknet_a",
    "repnext_m0",
    "unet_half",
    "efficientformerv2_s0",
    "evit_unet_s0",
]


def lived_in(name, dtype=torch.float64):
    """A network whose normalisations have seen data and whose every parameter counts."""
    torch.manual_seed(0)
    model = awaken(stitchwork.create_model(name, num_classes=10)).to(dtype)
    x = torch.randn(4, model.in_chans, 64, 96, dtype=dtype)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.momentum = 1.0
    model.train()(x)
    return model.eval(), x


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["double", "single"])
@pytest.mark.parametrize("name", [*FOLDING, "repvgg_b1g4"])
def test_the_fused_network_gives_the_same(name, dtype, atol):
    model, x = lived_in(name, dtype)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with torch.no_grad():
        expected = model(x)
        assert expected.std() > 1e-2, "next to no signal, so that equality would show nothing"
        got = fuse(model)(x)
    torch.testing.assert_close(got / expected.std(), expected / expected.std(), atol=atol, rtol=0)
    assert all(before[key].equal(tensor) for key, tensor in model.state_dict().items()), "the network was changed"


@pytest.mark.parametrize("name", FOLDING)
def test_no_branch_and_no_normalisation_is_left_that_could_be_folded(name):
    model, x = lived_in(name)
    fused = fuse(model)
    assert not [m for m in fused.modules() if hasattr(m, "fused")]
    assert count_parameters(fused) < count_parameters(model)
    assert [tuple(m.shape) for m in fused.forward_pyramid(x)] == [tuple(m.shape) for m in model.forward_pyramid(x)]
    with pytest.raises(ValueError, match=r"nothing to fold.*is it fused already"):
        fuse(fused)


@pytest.mark.parametrize("name", WITH_FUSED_COUNT)
def test_published_count_of_the_fused_form(name):
    with torch.device("meta"):
        model = stitchwork.create_model(name)
    assert count_parameters(fuse(model)) == PUBLISHED[name]["n_params_fused"]


@pytest.mark.parametrize("name", FOLDING)
def test_training_is_refused_before_anything_changes(name):
    fused = fuse(stitchwork.create_model(name, num_classes=4))
    with pytest.raises(RuntimeError, match=r"fused, which only evaluation can use.*Train the network that fuse\(\)"):
        fused.train()
    assert not [m for m in fused.modules() if m.training], "some part was switched to training"
    assert not [p for p in fused.parameters() if p.requires_grad]
    data = torch.utils.data.TensorDataset(torch.randn(4, 3, 32, 32), torch.arange(4))
    with pytest.raises((RuntimeError, ValueError), match=r"fused|nothing to train"):
        fit(fused, data, recipe=Recipe(epochs=1, batch_size=4), progress=False)


def test_a_fused_part_refuses_inside_any_network():
    with pytest.raises(RuntimeError, match="fused"):
        nn.Sequential(fuse(ConvNormAct(3, 4, 3)), nn.Conv2d(4, 4, 1)).train()


def test_weights_of_a_fused_network_are_saved_and_loaded(tmp_path):
    model, x = lived_in("resnet18", torch.float32)
    save_safetensors(fuse(model), tmp_path / "fused.safetensors")
    other = fuse(stitchwork.create_model("resnet18", num_classes=10))
    load_safetensors(other, tmp_path / "fused.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(other(x), fuse(model)(x), atol=0, rtol=0)


def test_a_fused_network_is_copied_compiled_and_moved():
    fused = fuse(lived_in("resnet18", torch.float32)[0])
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = fused(x)
        assert copy.deepcopy(fused)(x).equal(expected)
        torch.testing.assert_close(torch.compile(fused, backend="eager", fullgraph=True)(x), expected)
        layout = fused.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(layout, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "repvgg_a0", "repnext_m0"])
def test_a_fused_network_has_fewer_layers(name):
    def layers(model):
        return len([m for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)])

    model = stitchwork.create_model(name)
    assert layers(fuse(model)) <= 0.6 * layers(model)


def test_every_folded_convolution_is_a_fused_one():
    fused = fuse(stitchwork.create_model("resnet18"))
    convolutions = [m for m in fused.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions and all(isinstance(m, FusedConv2d) for m in convolutions)


def test_a_network_without_batch_norm_has_nothing_to_fold():
    with pytest.raises(ValueError, match="Sequential has nothing to fold"):
        fuse(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_a_normalisation_that_depends_on_the_input_cannot_be_folded():
    with pytest.raises(TypeError, match="only a BatchNorm2d folds"):
        fuse(ConvNormAct(3, 4, norm=lambda dim: nn.GroupNorm(2, dim)))
