import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP as TorchvisionASPP

from stitchwork import fuse
from stitchwork.blocks.aspp import ASPP


def randomised(block):
    """Evaluation mode, float64, BatchNorms that are not the identity."""
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                nn.init.uniform_(tensor, 0.2, 1.5)
    return block.double().eval()


@pytest.mark.parametrize(("rates", "out_dim"), [((6, 12, 18), 256), ((2, 3), 8), ((1,), 16), ((), 8)])
def test_equals_torchvisions(rates, out_dim):
    torch.manual_seed(0)
    theirs = randomised(TorchvisionASPP(12, rates, out_dim))
    ours = ASPP(12, rates, out_dim).double().eval()
    parts = {"convs.0": "point", f"convs.{len(rates) + 1}": "whole", "project": "project"}
    parts |= {f"convs.{i + 1}": f"atrous.{i}" for i in range(len(rates))}
    state = {}
    for key, tensor in theirs.state_dict().items():
        prefix, layer, name = key.rsplit(".", 2)
        pooling = parts[prefix] == "whole"  # there the pooling is layer 0
        layer = str(int(layer) - 1) if pooling else ("conv", "norm")[int(layer)]
        state[f"{parts[prefix]}.{layer}.{name}"] = tensor
    ours.load_state_dict(state)
    x = torch.randn(2, 12, 13, 9, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


def test_whole_image_is_the_same_for_every_pixel():
    """With all other weights of the projection at zero, the output is one vector."""
    torch.manual_seed(0)
    block, x = randomised(ASPP(6)), torch.randn(2, 6, 5, 7, dtype=torch.float64)
    nn.init.zeros_(block.project.conv.weight[:, :-6])
    y = block(x)
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))
    assert (y[0] - y[1]).abs().max() > 1e-3


def test_rate_beyond_the_image_is_a_pointwise_convolution():
    torch.manual_seed(0)
    block, x = randomised(ASPP(6)), torch.randn(2, 6, 6, 6, dtype=torch.float64)
    wide = block.atrous[0]
    torch.testing.assert_close(wide.conv(x), F.conv2d(x, wide.conv.weight[:, :, 1:2, 1:2]))
    larger = torch.randn(2, 6, 7, 7, dtype=torch.float64)
    assert not torch.allclose(wide.conv(larger), F.conv2d(larger, wide.conv.weight[:, :, 1:2, 1:2]))


def test_batch_of_one_trains():
    """The mean of one image is normalised with the running statistics, which stay, and the gradient passes."""
    torch.manual_seed(0)
    block, x = ASPP(6).train(), torch.randn(1, 6, 5, 7, requires_grad=True)
    before = block.whole[1].running_mean.clone()
    mean = x.mean((2, 3), keepdim=True)
    expected = F.relu(F.conv2d(mean, block.whole[0].weight) / (1 + 1e-5) ** 0.5)  # fresh statistics are 0 and 1
    torch.testing.assert_close(block.whole(mean), expected)
    block(x).sum().backward()
    assert block.whole[0].weight.grad.abs().max() > 0
    assert torch.equal(block.whole[1].running_mean, before)


def test_fused():
    """The projection is taken apart in forward; behind a folded BatchNorm there is a bias, which counts once."""
    torch.manual_seed(0)
    block, x = randomised(ASPP(6, (1, 2))), torch.randn(2, 6, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(fuse(block)(x), block(x))


@pytest.mark.parametrize(("dim", "rates", "out_dim"), [(64, (6, 12, 18), 64), (64, (6, 12, 18), 256), (10, (2, 4), 7)])
def test_parameters(dim, rates, out_dim):
    n = len(rates)
    count = sum(p.numel() for p in ASPP(dim, rates, out_dim).parameters())
    assert count == (1 + 9 * n + 1) * dim * out_dim + (n + 2) * out_dim**2 + 2 * (n + 3) * out_dim


def test_dropout_is_at_the_end_and_in_training_only():
    torch.manual_seed(0)
    block, x = ASPP(8, dropout=0.5), torch.randn(4, 8, 16, 16)
    quiet = block.train()
    quiet.drop.p = 0.0
    expected = (quiet(x) == 0).float().mean()  # what the ReLU leaves at zero
    quiet.drop.p = 0.5
    assert (block(x) == 0).float().mean().item() == pytest.approx(1 - 0.5 * (1 - expected.item()), abs=0.02)
    assert torch.equal(block.eval()(x), block(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": (6, 0)}, r"rates must be greater than 0; got \(6, 0\)"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
        ({"out_dim": 0}, r"out_dim must be greater than 0; got 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        ASPP(8, **arguments)
