"""EfficientFormerV2's weights in both halves of an EViT-UNet."""

import pytest
import torch
from torch import nn

import stitchwork
from stitchwork.weights import load_mirrored, save_safetensors

ENCODER, NETWORK = "efficientformerv2_s0", "evit_unet_s0"
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def timms():
    """timm's encoder, with random numbers for every tensor."""
    import timm

    network = timm.create_model(ENCODER)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.dim() > 1:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def ours(timms):
    """Our encoder with the same weights."""
    from stitchwork.weights import load_state_dict_from

    network = stitchwork.create_model(ENCODER).eval()
    load_state_dict_from(network, ENCODER, timms.state_dict(), "timm")
    return network


def unet(**arguments) -> nn.Module:
    torch.manual_seed(1)
    return stitchwork.create_model(NETWORK, **{"in_chans": 3} | arguments).eval()


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def test_the_encoder_half_is_the_encoder(timms, ours):
    network = unet()
    load_mirrored(network, ENCODER, timms.state_dict(), "timm")
    encoder = ours.state_dict()
    for key, tensor in network.state_dict().items():
        if key.startswith(("stem.", "stages.")):
            assert tensor.equal(encoder[key]), key
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for a, b in zip(network.forward_pyramid(x), ours.forward_pyramid(x), strict=True):
            assert a.equal(b) and a.std() > 0.1


def test_the_decoders_stages_are_the_encoders_in_a_mirror(timms, ours):
    network = unet()
    load_mirrored(network, ENCODER, timms.state_dict(), "timm")
    for ours_up, theirs in zip(network.up_stages, list(ours.stages)[::-1], strict=True):
        up, down = ours_up.state_dict(), theirs.blocks.state_dict()
        assert list(up) == list(down)
        assert all(up[key].equal(down[key]) for key in up)


def test_the_kernel_of_a_convolution_goes_into_the_transposed_one(ours):
    """From 176 channels back to 96: the kernel (176, 96, 3, 3) fits, the biases of 176 do not."""
    network = unet()
    before = network.grow[1].conv.conv.bias.clone()
    load_mirrored(network, ENCODER, ours.state_dict())
    for stage in (3, 2, 1):
        assert network.grow[4 - stage].conv.conv.weight.equal(ours.stages[stage].downsample.conv.conv.weight)
    assert network.grow[1].conv.conv.bias.equal(before)


def test_what_is_loaded_between_the_stages(ours):
    """With its 96 channels in and its 176 out, the attention agrees with its mirror in what has the heads' width."""
    result = load_mirrored(unet(), ENCODER, ours.state_dict())
    found = {key.removeprefix("grow.1.") for key in result.loaded if key.startswith("grow.1.")}
    expected = {"conv.conv.weight", "attn.local.conv.weight", "attn.local.conv.bias"}
    expected |= {f"attn.{part}.conv.bias" for part in ("q.proj", "k", "v")}
    expected |= {f"attn.{part}.norm.{tail}" for part in ("q.proj", "k", "v", "local") for tail in BATCH_NORM}
    expected |= {f"{part}.norm.num_batches_tracked" for part in ("conv", "attn.proj.1")}
    assert found == expected
    assert {key for key in result.loaded if key.startswith("grow.2.attn")} == set(), "the encoder has none there"


def test_what_is_said_to_be_loaded_is_and_all_else_stays(timms, ours):
    network = unet()
    before, encoder = snapshot(network), ours.state_dict()
    result = load_mirrored(network, ENCODER, timms.state_dict(), "timm")
    after = network.state_dict()
    assert set(result.loaded) | set(result.kept) == set(after) and not set(result.loaded) & set(result.kept)
    for key, tensor in after.items():
        assert tensor.equal(encoder[result.loaded[key]] if key in result.loaded else before[key]), key
    assert {key.split(".")[0] for key in result.kept} == {"norms", "cross", "merge", "grow", "expand", "head"}
    assert {key.split(".")[0] for key in result.unused} == {"norm", "head"}
    assert str(result).startswith(f"{len(result.loaded)} tensors loaded, {len(result.kept)} kept")


def test_images_of_one_channel_keep_their_first_convolution(ours):
    network = unet(in_chans=1, num_classes=1)
    result = load_mirrored(network, ENCODER, ours.state_dict())
    assert [key for key in result.kept if key.startswith(("stem.", "stages."))] == ["stem.0.conv.weight"]
    assert network.stem[1].conv.weight.equal(ours.stem[1].conv.weight)


def test_a_file_is_loaded_by_its_path(tmp_path, ours):
    network, path = unet(), tmp_path / "encoder.safetensors"
    save_safetensors(ours, path)
    load_mirrored(network, ENCODER, path)
    assert network.up_stages[3][0].scale2.gamma.equal(ours.stages[0].blocks[0].scale2.gamma)


def without(tensors, **changes):
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return {key: tensor for key, tensor in (tensors | changes).items() if tensor is not None}


def test_an_encoder_of_another_size_is_refused_and_nothing_changes():
    network = unet()
    before = snapshot(network)
    larger = stitchwork.create_model("efficientformerv2_s1").state_dict()
    with pytest.raises(
        ValueError, match=r"of efficientformerv2_s1 are not .* lacks stages.* which the network has not"
    ):
        load_mirrored(network, "efficientformerv2_s1", larger)
    assert all(before[key].equal(tensor) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages__0__blocks__0__scale2__gamma": None}, r"it lacks stages\.0\.blocks\.0\.scale2\.gamma\. Take"),
        (
            {"stages__3__downsample__attn__position__table": torch.zeros(8, 100)},
            r"has stages\.3\.downsample\.attn\.position\.table as \(8, 100\) for \(8, 196\)\. Take .* same train_size",
        ),
    ],
)
def test_what_does_not_fit_is_named(ours, changes, message):
    with pytest.raises(ValueError, match=message):
        load_mirrored(unet(), ENCODER, without(ours.state_dict(), **changes))


def test_other_networks_are_refused(ours):
    with pytest.raises(TypeError, match="an EViTUNet; got EfficientFormerV2"):
        load_mirrored(ours, ENCODER, ours.state_dict())
    with pytest.raises(ValueError, match="is an efficientformerv2, in one of its sizes; got 'resnet50'"):
        load_mirrored(unet(), "resnet50", {})
    with pytest.raises(ValueError, match="on the meta device"):
        load_mirrored(unet().to("meta"), ENCODER, ours.state_dict())
