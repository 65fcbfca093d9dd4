"""A network from its file alone: the file says how many classes and channels there are."""

import pytest
import torch

import stitchwork
from stitchwork.weights import save_safetensors, trained_network


def saved(path, name, **arguments):
    torch.manual_seed(0)
    model = stitchwork.create_model(name, **arguments)
    save_safetensors(model, path)
    return model


@pytest.mark.parametrize(
    ("name", "sizes", "arguments"),
    [
        ("mobilenet_v2_035", {"num_classes": 5, "in_chans": 2}, {}),
        ("unet", {"num_classes": 1, "in_chans": 4}, {"widths": (4, 4, 4, 4, 4)}),
        ("evit_unet_s0", {"num_classes": 2, "in_chans": 3}, {}),
    ],
)
def test_classes_and_channels_are_the_files(tmp_path, name, sizes, arguments):
    path = tmp_path / "net.safetensors"
    model = saved(path, name, **sizes, **arguments)
    again = trained_network(name, path, **arguments)
    assert (again.num_classes, again.in_chans) == tuple(sizes.values())
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))


def test_refusals(tmp_path):
    path = tmp_path / "net.safetensors"
    saved(path, "mobilenet_v2_035", num_classes=0)
    with pytest.raises(ValueError, match=r"net\.safetensors has no head"):
        trained_network("mobilenet_v2_035", path)
    saved(path, "mobilenet_v2_035", num_classes=3)
    with pytest.raises(ValueError, match="do not fit this"):
        trained_network("mobilenet_v2", path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        trained_network("mobilenet_v2", tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="pickle"):
        trained_network("mobilenet_v2", tmp_path / "net.pt")
