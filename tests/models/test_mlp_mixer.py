"""MLP-Mixer: table and cost, which axis each perceptron looks along, and the size that it is bound to."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.layers import DropPath
from stitchwork.models.mlp_mixer import MixerBlock, MlpMixer


def meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def lively(module, std=0.3):
    """None of its weights is zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.double().eval()


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Table 1: layers, side of a patch, hidden size, sequence length, D_C, D_S, million parameters without the classifier.
TABLE_1 = {
    "mlp_mixer_s32": (8, 32, 512, 49, 2048, 256, 19),
    "mlp_mixer_s16": (8, 16, 512, 196, 2048, 256, 18),
    "mlp_mixer_b32": (12, 32, 768, 49, 3072, 384, 60),
    "mlp_mixer_b16": (12, 16, 768, 196, 3072, 384, 59),
    "mlp_mixer_l16": (24, 16, 1024, 196, 4096, 512, 207),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1(name):
    layers, patch, dim, tokens, wide, narrow, parameters = TABLE_1[name]
    network = meta(name, num_classes=0)
    for block in network.blocks:
        found = [(mlp.fc1.in_features, mlp.fc1.out_features) for mlp in (block.mlp_tokens, block.mlp_channels)]
        assert found == [(tokens, narrow), (dim, wide)]
    assert len(network.blocks) == layers and network.patch_embed.kernel_size == (patch, patch)
    assert count_parameters(network) / 1e6 == pytest.approx(parameters, abs=0.5)


@pytest.mark.parametrize("name", TABLE_1)
def test_cost(name):
    """C times the weights over the patches, N times those over the channels, and the patches and the head."""
    layers, patch, dim, tokens, wide, narrow, _ = TABLE_1[name]
    network, pixels = meta(name), 3 * patch**2
    block = 2 * tokens * narrow + narrow + tokens + 2 * dim * wide + wide + dim + 4 * dim
    around = (pixels + 1) * dim + 2 * dim + (dim + 1) * 1000
    assert count_parameters(network) == layers * block + around
    block = dim * 2 * tokens * narrow + tokens * 2 * dim * wide
    around = tokens * pixels * dim + 1000 * dim
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) == layers * block + around


def test_equation_1():
    block, x = lively(MixerBlock(5, 8)), noise(2, 5, 8)
    y = F.layer_norm(x, (8,), block.norm1.weight, block.norm1.bias, 1e-6).clone()
    for channel in range(8):
        column = y[:, :, channel]  # (B, N): the same two layers for each channel
        hidden = F.gelu(column @ block.mlp_tokens.fc1.weight.T + block.mlp_tokens.fc1.bias)
        y[:, :, channel] = hidden @ block.mlp_tokens.fc2.weight.T + block.mlp_tokens.fc2.bias
    y = x + y
    expected = y + block.mlp_channels(F.layer_norm(y, (8,), block.norm2.weight, block.norm2.bias, 1e-6))
    torch.testing.assert_close(block(x), expected)


def test_each_perceptron_looks_along_its_axis():
    """Without the normalisation, which looks along the channels: one sees its channel, the other one its patch."""
    block, x = lively(MixerBlock(5, 8)), noise(1, 5, 8).requires_grad_()
    block.norm1 = block.norm2 = nn.Identity()
    expected = {"mlp_channels": [[n, 3] for n in range(5)], "mlp_tokens": [[2, c] for c in range(8)]}
    for silent, seen in expected.items():
        part = getattr(block, silent).fc2
        weight, bias = part.weight.data.clone(), part.bias.data.clone()
        nn.init.zeros_(part.weight), nn.init.zeros_(part.bias)
        (gradient,) = torch.autograd.grad(block(x)[0, 2, 3], x)
        assert gradient[0].nonzero().tolist() == seen, f"with {silent} silent"
        part.weight.data, part.bias.data = weight, bias


def test_all_channels_share_the_mixing_of_patches():
    block, x = lively(MixerBlock(5, 8)), noise(2, 5, 8)
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    torch.testing.assert_close(
        block.mlp_tokens(x.transpose(1, 2)[:, order]), block.mlp_tokens(x.transpose(1, 2))[:, order]
    )
    block.norm1, block.mlp_channels = nn.Identity(), nn.Identity()
    block.norm2 = nn.Identity()
    torch.testing.assert_close(block(x[..., order]), block(x)[..., order])


def test_every_place_has_weights_of_its_own():
    """Other than a ViT without positions, it knows where a patch was."""
    network = lively(MlpMixer(8, 1, 4, num_classes=3, size=(8, 8)))
    x = noise(1, 3, 8, 8)
    swapped = torch.cat([x[..., 4:], x[..., :4]], 3)
    assert (network(x) - network(swapped)).abs().max() > 1e-4


def test_features_are_the_mean_of_normalised_tokens():
    network, x = lively(MlpMixer(8, 2, 4, num_classes=0, size=(8, 12))), noise(2, 3, 8, 12)
    tokens = network.blocks(network.patch_embed(x).flatten(1, 2))
    assert tokens.shape == (2, 6, 8)
    expected = F.layer_norm(tokens, (8,), network.norm.weight, network.norm.bias, 1e-6).mean(1)
    torch.testing.assert_close(network(x), expected)


def test_the_size_is_part_of_the_network():
    network = MlpMixer(8, 1, 4, num_classes=3, size=(9, 14))
    assert network.blocks[0].mlp_tokens.fc1.in_features == 3 * 4
    assert network(torch.randn(2, 3, 9, 14)).shape == (2, 3)
    for size in ((14, 9), (12, 16)):  # as many patches, but not those
        with pytest.raises(ValueError, match=rf"built for images of size \(9, 14\); got \({size[0]}, {size[1]}\)"):
            network(torch.randn(2, 3, *size))


def test_stochastic_depth_grows_with_depth():
    rates = [m.rate for m in meta("mlp_mixer_s32", drop_path_rate=0.14).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.02 * i for i in range(8)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": 0}, "MlpMixer: patch_size must be greater than 0; got 0"),
        ({"size": (0, 8)}, "MlpMixer: size must be greater than 0; got 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        MlpMixer(**{"dim": 8, "depth": 1, "patch_size": 4, "size": (8, 8), **arguments})
