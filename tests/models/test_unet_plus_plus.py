"""The triangle of nodes by its equation; counts by hand."""

import pytest
import torch
import torch.nn.functional as F

from stitchwork import create_model
from stitchwork.analysis import count_multiply_adds, count_parameters
from stitchwork.models.unet_plus_plus import UNetPlusPlus

WIDTHS = (32, 64, 128, 256, 512)
SMALL = (4, 6, 8, 10, 12)


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (16, 31)], ids="{0[0]}x{0[1]}".format)
def test_every_node_is_the_equation(size):
    torch.manual_seed(0)
    network = UNetPlusPlus(SMALL, num_classes=2).double().eval()
    image = torch.randn(2, 3, *size, dtype=torch.float64)

    def node(i, j):
        """X(i, j), with everything that it is made of computed anew."""
        if j == 0:
            return network.down[i](image if i == 0 else F.max_pool2d(node(i - 1, 0), 2))
        row = [node(i, k) for k in range(j)]
        up = F.interpolate(node(i + 1, j - 1), size=row[0].shape[2:], mode="bilinear", align_corners=True)
        return network.across[i][j - 1](torch.cat([*row, up], 1))

    with torch.no_grad():
        torch.testing.assert_close(network(image), network.head(node(0, 4)))


def test_the_triangle():
    """Five nodes in the top row, one at the bottom; a node takes its row so far and the one below."""
    with torch.device("meta"):
        network = create_model("unet_plus_plus")
    assert [len(row) for row in network.across] == [4, 3, 2, 1]
    for i, row in enumerate(network.across):
        taken = [part[0].conv.in_channels for part in row]
        assert taken == [j * WIDTHS[i] + WIDTHS[i + 1] for j in range(1, 5 - i)]


def nodes():
    """Row, channels in and channels out of all nodes."""
    for i, width in enumerate(WIDTHS):
        yield i, (3, *WIDTHS)[i], width
        for j in range(1, 5 - i):
            yield i, j * width + WIDTHS[i + 1], width


def test_counts_by_hand():
    with torch.device("meta"):
        network = create_model("unet_plus_plus")
    assert len(list(nodes())) == 15
    parameters = sum(9 * a * b + 9 * b * b + 2 * 3 * b for _, a, b in nodes())
    assert count_parameters(network) == parameters + 32 + 1 == 9_163_329
    work = sum(9 * (a * b + b * b) * (224 // 2**i) ** 2 for i, a, b in nodes())
    assert count_multiply_adds(network, input_size=(1, 3, 224, 224)) == work + 32 * 224**2 == 26_403_012_608


def test_refusals():
    with pytest.raises(ValueError, match="UNetPlusPlus needs height and width of at least 16"):
        UNetPlusPlus(SMALL)(torch.zeros(1, 3, 16, 8))
    with pytest.raises(ValueError, match="UNetPlusPlus: widths must be greater than 0; got 0"):
        UNetPlusPlus((4, 4, 8, 8, 0))
