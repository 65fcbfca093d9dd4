"""The gate by its equations, and the network by its figure."""

import pytest
import torch
import torch.nn.functional as F

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.models.attention_unet import AttentionGate, AttentionUNet

WIDTHS = (64, 128, 256, 512, 1024)
SMALL = (4, 6, 8, 10, 12)


def settled(module, *inputs):
    """In evaluation, with statistics of its own."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    module.train()(*inputs)
    return module.eval()


def linear_and_norm(layer, x):
    """W x + b for each pixel, normalised by the statistics."""
    y = torch.einsum("oc,bchw->bohw", layer.conv.weight[:, :, 0, 0], x) + layer.conv.bias[:, None, None]
    norm = layer.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def test_gate_by_its_equations():
    torch.manual_seed(0)
    g, x = torch.randn(2, 6, 5, 7, dtype=torch.float64), torch.randn(2, 6, 5, 7, dtype=torch.float64)
    gate = settled(AttentionGate(6, 3).double(), g, x)
    q = (linear_and_norm(gate.of_encoder, x) + linear_and_norm(gate.of_decoder, g)).relu()
    alpha = torch.sigmoid(linear_and_norm(gate.gate, q))  # one number for each pixel
    assert alpha.shape == (2, 1, 5, 7) and alpha.std() > 0.05
    torch.testing.assert_close(gate(g, x), alpha * x)


def test_a_shut_gate_leaves_the_decoder_alone():
    """With all gates shut, what the encoder's fine maps say no longer counts."""
    torch.manual_seed(0)
    network, x = AttentionUNet(SMALL).eval(), torch.randn(1, 3, 32, 32)
    for up in network.up:
        up.gate.gate.norm.bias.data.fill_(-1e4)
    maps = network.forward_pyramid(x)
    up = network.up[-1]
    below = torch.randn(1, SMALL[1], 16, 16)
    with torch.no_grad():
        assert up(below, maps[0]).equal(up(below, torch.randn_like(maps[0])))


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (16, 31)], ids="{0[0]}x{0[1]}".format)
def test_forward_is_the_figure(size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    network = settled(AttentionUNet(SMALL, num_classes=2).double(), torch.randn(4, 3, 48, 48, dtype=torch.float64))
    maps = network.forward_pyramid(x)
    y = maps[4]
    with torch.no_grad():
        for up, skip in zip(network.up, maps[3::-1], strict=True):
            rows = torch.arange(skip.shape[2]) * y.shape[2] // skip.shape[2]
            columns = torch.arange(skip.shape[3]) * y.shape[3] // skip.shape[3]
            y = up.narrow(y[:, :, rows][:, :, :, columns])  # each pixel repeated
            y = up.convolve(torch.cat([up.gate(y, skip), y], 1))
        expected = F.conv2d(y, network.head.weight, network.head.bias)
        torch.testing.assert_close(network(x), expected)


def gate_by_hand(dim):
    """Three linear maps with biases and BatchNorms: to half the channels twice, and to one."""
    half = dim // 2
    return 2 * (dim * half + 3 * half) + half + 3


def test_counts_by_hand():
    with torch.device("meta"):
        network = create_model("attention_unet")
    down = sum(9 * a * b + 9 * b * b + 2 * 3 * b for a, b in zip((3, *WIDTHS), WIDTHS))
    up = sum(9 * 2 * b * b + 3 * b + 9 * 3 * b * b + 2 * 3 * b + gate_by_hand(b) for b in WIDTHS[:-1])
    assert count_parameters(network) == down + up + 64 + 1 == 34_878_573


def test_gates_cost_next_to_nothing():
    """As the docstring says: 1.0 % of the parameters and 1.6 % of the multiply-adds."""
    with torch.device("meta"):
        network = create_model("attention_unet")
    gates = [up.gate for up in network.up]
    assert sum(map(count_parameters, gates)) / count_parameters(network) == pytest.approx(0.010, abs=5e-4)
    pixels = [(224 // 2**i) ** 2 for i in (3, 2, 1, 0)]
    work = sum((2 * dim * (dim // 2) + dim // 2) * p for dim, p in zip(WIDTHS[3::-1], pixels))
    assert work / count_multiply_adds(network, input_size=(1, 3, 224, 224)) == pytest.approx(0.016, abs=5e-4)


def test_refusals():
    with pytest.raises(ValueError, match="AttentionUNet needs height and width of at least 16"):
        AttentionUNet(SMALL)(torch.zeros(1, 3, 15, 16))
    with pytest.raises(ValueError, match="AttentionUNet: widths must be greater than 0; got -1"):
        AttentionUNet((4, -1, 8, 8, 8))
