import pytest
import torch
from timm.layers import SplitAttn
from torch import nn

from stitchwork.blocks.split_attention import SplitAttention


def randomised(block):
    """Evaluation mode, float64, BatchNorms that are not the identity."""
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                nn.init.uniform_(tensor, 0.2, 1.5)
    return block.double().eval()


def test_equals_the_equations():
    """Each cardinal group on its own: a layer of two groups is two layers of one, which share nothing."""
    torch.manual_seed(0)
    block = randomised(SplitAttention(12, radix=3, groups=2, kernel_size=1))
    x = torch.randn(2, 12, 4, 5, dtype=torch.float64)
    splits = block.split(x).unflatten(1, (3, 2, 6))  # (B, R, K, C/K, H, W)
    s = splits.sum(1).mean((3, 4))  # (B, K, C/K)
    first, norm, second = block.fuse[0], block.fuse[1], block.select
    hidden = first.out_channels // 2
    y = torch.empty(2, 2, 6, 4, 5, dtype=torch.float64)
    for k in range(2):
        units = slice(k * hidden, (k + 1) * hidden)
        z = s[:, k] @ first.weight[units, :, 0, 0].T + first.bias[units]
        z = (z - norm.running_mean[units]) / (norm.running_var[units] + norm.eps).sqrt()
        z = (z * norm.weight[units] + norm.bias[units]).relu()
        outputs = slice(k * 18, (k + 1) * 18)
        logits = (z @ second.weight[outputs, :, 0, 0].T + second.bias[outputs]).reshape(2, 3, 6)
        a = torch.softmax(logits, 1)  # (B, R, C/K)
        y[:, k] = (a[..., None, None] * splits[:, :, k]).sum(1)
    torch.testing.assert_close(block(x), y.flatten(1, 2))


@pytest.mark.parametrize(("radix", "groups"), [(2, 1), (1, 1), (2, 2), (4, 2)])
def test_equals_timms(radix, groups):
    torch.manual_seed(0)
    theirs = randomised(SplitAttn(64, radix=radix, groups=groups, norm_layer=nn.BatchNorm2d))
    ours = SplitAttention(64, radix, groups).double().eval()
    names = {
        "conv": "split.conv",
        "bn0": "split.norm",
        "fc1": "fuse.0",
        "bn1": "fuse.1",
        "fc2": "select",
    }
    ours.load_state_dict(
        {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": tensor for key, tensor in theirs.state_dict().items()}
    )
    x = torch.randn(3, 64, 13, 9, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


def test_radix_one_is_squeeze_and_excitation_of_the_convolution():
    torch.manual_seed(0)
    block, x = randomised(SplitAttention(8, radix=1)), torch.randn(2, 8, 6, 5, dtype=torch.float64)
    assert isinstance(block.gate, nn.Sigmoid)
    u = block.split(x)
    gate = torch.sigmoid(block.select(block.fuse(u.mean((2, 3), keepdim=True))))
    torch.testing.assert_close(block(x), u * gate)


def test_a_split_sees_a_part_of_the_channels():
    """With radix 2 the first split is computed from the first half of the channels, the second from the second."""
    torch.manual_seed(0)
    block, x = randomised(SplitAttention(8)), torch.randn(1, 8, 5, 5, dtype=torch.float64)
    other = x.clone()
    other[:, :4] += 1
    changed = (block.split(x) != block.split(other)).any(3).any(2)[0]
    assert changed[:8].any() and not changed[8:].any()


@pytest.mark.parametrize(
    ("dim", "radix", "groups", "hidden"), [(64, 2, 1, 32), (256, 2, 1, 128), (64, 1, 2, 32), (64, 4, 2, 64)]
)
def test_parameters(dim, radix, groups, hidden):
    count = sum(p.numel() for p in SplitAttention(dim, radix, groups).parameters())
    expected = 9 * dim**2 // groups + 2 * radix * dim + (1 + radix) * dim * hidden // groups + 3 * hidden + radix * dim
    assert count == expected


def test_refusals():
    with pytest.raises(ValueError, match=r"dim must be a multiple of groups \* radix = 6; got dim=64"):
        SplitAttention(64, radix=3, groups=2)
    with pytest.raises(ValueError, match=r"the 32 hidden units, from reduction=4, must be a multiple of groups=3"):
        SplitAttention(9, radix=1, groups=3)
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 4"):
        SplitAttention(64, kernel_size=4)


def test_batch_of_one_trains():
    torch.manual_seed(0)
    x = torch.randn(1, 64, 4, 4, requires_grad=True)
    SplitAttention(64).train()(x).sum().backward()
    assert x.grad.abs().max() > 0
