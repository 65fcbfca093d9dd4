"""Any pyramid network under the decoder of a U-Net."""

import pytest
import torch
import torch.nn.functional as F

import stitchwork
from stitchwork import encoder_decoder, list_encoders
from stitchwork.weights import save_safetensors

# What the encoders take: four, five and three maps; a first map at stride 1 or 4; convolutions and attention.
RUN = ("resnet18", "mobilenet_v3_small", "swin_tiny", "unet_half", "cvt_13")


def test_list_encoders():
    names = list_encoders()
    assert {"resnet50", "convnext_tiny", "pvt_v2_b2", "evit_unet"} <= set(names)
    assert not {"vit_tiny_patch16", "mlp_mixer_b16", "se"} & set(names)
    with_pyramid = [
        n for n in stitchwork.list_models() if hasattr(stitchwork.describe(n).constructor, "forward_pyramid")
    ]
    assert names == with_pyramid


FIRST_OF_EACH_CLASS = {stitchwork.describe(name).constructor: name for name in reversed(list_encoders())}.values()


@pytest.mark.parametrize("name", sorted(FIRST_OF_EACH_CLASS))
def test_every_kind_of_pyramid_network_can_be_an_encoder(name):
    with torch.device("meta"):
        model = encoder_decoder(name, num_classes=5, in_chans=2)
        assert model(torch.empty(2, 2, 64, 96)).shape == (2, 5, 64, 96)
    assert model.pyramid_channels == model.encoder.pyramid_channels


@pytest.mark.parametrize("name", RUN)
def test_it_runs_and_every_part_of_the_decoder_learns(name):
    torch.manual_seed(0)
    model = encoder_decoder(name, num_classes=3, in_chans=1).train()
    x = torch.randn(2, 1, 75, 91)
    y = model(x)
    assert y.shape == (2, 3, 75, 91) and y.isfinite().all()
    F.cross_entropy(y, torch.randint(3, (2, 75, 91))).backward()
    learning = [*model.decoder.parameters(), *model.head.parameters()]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in learning)
    assert next(model.encoder.parameters()).grad.abs().max() > 0


def test_forward_is_a_u():
    """From the bottom: scaled up to the next map, joined, convolved; at last to the size of the image."""
    torch.manual_seed(0)
    model, x = (
        encoder_decoder("resnet18", num_classes=3).double().eval(),
        torch.randn(2, 3, 70, 50, dtype=torch.float64),
    )
    c2, c3, c4, c5 = model.encoder.forward_pyramid(x)
    y = c5
    for stage, skip in zip(model.decoder, (c4, c3, c2, x[:, :0]), strict=True):
        y = F.interpolate(y, size=skip.shape[2:], mode="bilinear", align_corners=False)
        y = stage.convolve(torch.cat([y, skip], 1))
    assert y.shape == (2, 32, 70, 50)
    with torch.no_grad():
        torch.testing.assert_close(model(x), F.conv2d(y, model.head.weight, model.head.bias))


def test_widths():
    model = encoder_decoder("resnet18", num_classes=2, widths=(40, 30, 20, 10))
    assert [stage.convolve[1].conv.out_channels for stage in model.decoder] == [40, 30, 20, 10]
    assert [stage.convolve[0].conv.in_channels for stage in model.decoder] == [512 + 256, 40 + 128, 30 + 64, 20]
    widths = {name: encoder_decoder(name, num_classes=2).decoder for name in ("cvt_13", "unet_half")}
    assert [stage.convolve[1].conv.out_channels for stage in widths["cvt_13"]] == [128, 64, 32]
    assert [stage.convolve[1].conv.out_channels for stage in widths["unet_half"]] == [512, 256, 128, 64, 32]


def test_no_classes_gives_the_features():
    x = torch.randn(1, 3, 64, 64)
    assert encoder_decoder("resnet18", num_classes=0).eval()(x).shape == (1, 32, 64, 64)


def test_arguments_and_weights_reach_the_encoder(tmp_path):
    torch.manual_seed(0)
    trained = stitchwork.create_model("resnet18", num_classes=10, in_chans=1)
    save_safetensors(trained, tmp_path / "trained.safetensors")
    model = encoder_decoder("resnet18", 2, 1, weights=str(tmp_path / "trained.safetensors"))
    assert model.encoder.layer4[1].conv2.conv.weight.equal(trained.layer4[1].conv2.conv.weight)
    assert encoder_decoder("resnet50", 2, output_stride=8).encoder.layer4[0].conv2.conv.dilation == (2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encoder_decoder("vit_tiny_patch16", 2), "vit_tiny_patch16 has no forward_pyramid.*list_encoders"),
        (lambda: encoder_decoder("resnet19", 2), "no model named 'resnet19'; did you mean"),
        (lambda: encoder_decoder("se", 2), "se has no forward_pyramid, so it cannot be an encoder"),
        (lambda: encoder_decoder("resnet18", -1), "num_classes must be 0"),
        (lambda: encoder_decoder("resnet18", 2, widths=(8, 8)), r"4 maps needs as many widths; got \(8, 8\): take 4"),
        (lambda: encoder_decoder("resnet18", 2, widths=(8, 8, 0, 8)), "widths must be greater than 0; got 0"),
        (lambda: encoder_decoder("resnet18", 2)(torch.zeros(1, 1, 64, 64)), "EncoderDecoder was built for 3 channels"),
        (lambda: encoder_decoder("unet_half", 2)(torch.zeros(1, 3, 8, 64)), "EncoderDecoder needs .* at least 16"),
        (
            lambda: encoder_decoder("swin_unet_tiny", 2)(torch.zeros(1, 3, 64, 65)),
            r"EncoderDecoder takes .* multiples of 32; got \(64, 65\)",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
