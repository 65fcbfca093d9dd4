"""Networks as ONNX files: what onnxruntime computes is what torch computes, or there is no file."""

import onnxruntime
import pytest
import torch
from torch import nn

import stitchwork
from stitchwork.models.evit_unet import EViTUNet
from stitchwork.models.resnet import ResNet
from stitchwork.models.unet import UNet
from stitchwork.onnx_export import export_onnx


def shaken(build, **arguments):
    """A small network, no two weights of which are equal, and statistics that are none of the first ones."""
    torch.manual_seed(0)
    model = build(**arguments)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.1, 0.1), nn.init.uniform_(part.running_var, 0.5, 1.5)
    return model


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    real = onnxruntime.InferenceSession

    class Wrong:
        def __init__(self, *args, **kwargs):
            self.inner = real(*args, **kwargs)

        def run(self, names, inputs):
            return [self.inner.run(names, inputs)[0] + 0.5]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    model = shaken(UNet, widths=(4, 4, 4, 4, 4), num_classes=2)
    with pytest.raises(ValueError, match=r"differ by 0\.\d+, more than tolerance=0.001; it was not kept"):
        export_onnx(model, tmp_path / "net.onnx", 32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("build", "arguments", "size"),
    [
        (UNet, {"widths": (4, 6, 8, 10, 12), "num_classes": 3, "in_chans": 1}, 32),
        (EViTUNet, {"dims": (8, 16, 24, 32), "mlp_ratios": ((2,),) * 4, "num_attention": 1}, 64),
        (ResNet, {"depths": (1, 1, 1, 1), "width": 8, "bottleneck": False, "num_classes": 10}, 64),
    ],
)
def test_onnxruntime_computes_the_same(build, arguments, size, tmp_path):
    model, path = shaken(build, **arguments).train(), tmp_path / "net.onnx"
    assert 0 <= export_onnx(model, path, size) < 1e-4
    assert model.training and [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(path)
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape[1:], result.name) == ("image", [model.in_chans, size, size], "logits")
    assert isinstance(given.shape[0], str), "any number of images"
    x = torch.randn(3, model.in_chans, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.eval()(x)
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, {"image": x.numpy()})[0]), expected, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("net.pt", {}, r"\.onnx file in a folder that exists; got .*net\.pt"),
        ("nowhere/net.onnx", {}, r"\.onnx file in a folder that exists"),
        ("net.onnx", {"tolerance": 0.0}, "tolerance must be greater than 0; got 0.0"),
        ("net.onnx", {"size": 40}, "multiples of 32; got .40, 40."),
    ],
)
def test_refusals(path, options, message, tmp_path):
    model = stitchwork.create_model("evit_unet_s0")
    with pytest.raises(ValueError, match=message):
        export_onnx(model, tmp_path / path, **{"size": 32, **options})
    assert list(tmp_path.iterdir()) == []
