"""What Swin-Unet adds to Swin: pixels taken apart, and the way across."""

import pytest
import torch
from torch import nn

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.models.swin import SwinBlock
from stitchwork.models.swin_unet import PatchExpanding, SwinUNet


def small(**kwargs):
    torch.manual_seed(0)
    return SwinUNet(8, (2, 2, 2, 2), (1, 2, 4, 8), 4, **{"num_classes": 3, "in_chans": 1} | kwargs).eval()


@pytest.mark.parametrize("side", [2, 4])
def test_a_pixel_is_taken_apart_row_by_row(side):
    """Its numbers are those of the new pixels, one after the other from the upper left."""
    channels = 3
    dim = hidden = side**2 * channels
    expand = PatchExpanding(dim, hidden, side)
    nn.init.eye_(expand.expand.weight)
    expand.norm = nn.Identity()
    x = torch.randn(2, 2, 3, dim)
    y = expand(x)
    assert y.shape == (2, 2 * side, 3 * side, channels)
    for i in range(2 * side):
        for j in range(3 * side):
            place = (i % side) * side + j % side
            numbers = slice(place * channels, (place + 1) * channels)
            assert y[:, i, j].equal(x[:, i // side, j // side, numbers])


def test_what_goes_across_is_what_went_into_a_stage():
    network, x = small(), torch.randn(2, 1, 64, 96)
    maps = network.forward_pyramid(x)
    assert maps[0].equal(network.patch_embed(x).permute(0, 3, 1, 2))
    for stage in range(3):
        after = network.merge[stage](network.down[stage](maps[stage].permute(0, 2, 3, 1)))
        expected = after if stage < 2 else network.down[3](after)
        assert maps[stage + 1].equal(expected.permute(0, 3, 1, 2))


def test_forward_is_the_figure():
    network, x = small().double(), torch.randn(2, 1, 64, 32, dtype=torch.float64)
    a, b, c, bottom = (part.permute(0, 2, 3, 1) for part in network.forward_pyramid(x))
    y = network.bottom_norm(bottom)
    for index, skip in enumerate((c, b, a)):
        y = network.up[index](network.join[index](torch.cat([network.expand[index](y), skip], -1)))
    y = network.last_expand(network.norm(y))  # (B, H, W, C)
    expected = torch.einsum("oc,bhwc->bohw", network.head.weight[:, :, 0, 0], y)
    torch.testing.assert_close(network(x), expected)


def test_one_channel_is_three_equal_ones():
    """The official code repeats a grey image: the same as weights summed over the three channels."""
    grey, colour = small(), small(in_chans=3)
    weights = colour.state_dict()
    weights["patch_embed.weight"] = weights["patch_embed.weight"].sum(1, keepdim=True)
    grey.load_state_dict(weights)
    x = torch.randn(2, 1, 32, 64)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-5)


def test_the_decoder_has_the_encoders_blocks():
    """Two in each of its three stages, the second shifted; 2, 2, 2, 1 of the configuration file are not read."""
    with torch.device("meta"):
        network = create_model("swin_unet_tiny")
    for part, stages in ((network.down, 4), (network.up, 3)):
        assert [block.shifted for block in part.modules() if isinstance(block, SwinBlock)] == [False, True] * stages
    assert [stage[0].attn.num_heads for stage in network.up] == [12, 6, 3]


def test_counts_by_hand():
    """Blocks are Swin's: 12 C^2 for the layers, with biases, norms and 13 x 13 offsets for each head."""
    with torch.device("meta"):
        network = create_model("swin_unet_tiny")

    def block(dim, heads):
        return 12 * dim**2 + 9 * dim + 4 * dim + 169 * heads

    dims, heads = (96, 192, 384, 768), (3, 6, 12, 24)
    total = 48 * 96 + 96 + 2 * 96  # patches of 4 x 4 x 3, and their norm
    total += sum(2 * block(dim, head) for dim, head in zip(dims, heads))
    total += sum(2 * block(dim, head) for dim, head in zip(dims[:3], heads[:3]))
    total += sum(4 * dim * 2 * dim + 2 * 4 * dim for dim in dims[:3])  # merging
    total += sum(dim * 2 * dim + 2 * dim // 2 for dim in dims[1:])  # expanding
    total += sum(2 * dim * dim + dim for dim in dims[:3])  # joining
    total += 2 * 768 + 2 * 96 + 96 * 16 * 96 + 2 * 96 + 9 * 96  # two norms, sixteen pixels of one, and the head
    assert count_parameters(network) == total == 27_168_900
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) / 1e9 == pytest.approx(6.1, abs=0.05)


def test_refusals():
    with pytest.raises(ValueError, match=r"SwinUNet takes .* multiples of 32; got \(64, 80\): pad .* \(64, 96\)"):
        small()(torch.zeros(1, 1, 64, 80))
    with pytest.raises(ValueError, match="multiple of num_heads=3; got dim=8"):
        SwinUNet(8)
