import pytest
import torch
import torch.nn.functional as F
from timm.layers import SelectiveKernel as TimmSelectiveKernel
from torch import nn

from stitchwork.blocks.selective_kernel import SelectiveKernel


def randomised(block):
    """Evaluation mode, float64, BatchNorms that are not the identity."""
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                nn.init.uniform_(tensor, 0.2, 1.5)
    return block.double().eval()


def gate_of(block, x):
    seen = []
    handle = block.gate.register_forward_hook(lambda m, inputs, output: seen.append(output))
    with torch.no_grad():
        block(x)
    handle.remove()
    return seen[0]


def test_equals_the_equations():
    """Equations 1 to 6, item by item and channel by channel."""
    torch.manual_seed(0)
    block = randomised(SelectiveKernel(8, branches=3, groups=4, reduction=2, min_hidden=2))
    x = torch.randn(2, 8, 5, 7, dtype=torch.float64)

    def norm(u, part):
        scale = part.weight / (part.running_var + part.eps).sqrt()
        return scale[:, None, None] * (u - part.running_mean[:, None, None]) + part.bias[:, None, None]

    y = torch.empty_like(x)
    for b in range(2):
        maps = []
        for dilation, branch in enumerate(block.split, 1):
            u = F.conv2d(x[b : b + 1], branch.conv.weight, padding=dilation, dilation=dilation, groups=4)[0]
            maps.append(norm(u, branch.norm).relu())
        s = sum(maps).mean((1, 2))
        z = norm((block.fuse[0].weight[..., 0, 0] @ s)[:, None, None], block.fuse[1])[:, 0, 0].relu()
        logits = (block.select.weight[..., 0, 0] @ z).reshape(3, 8)
        for c in range(8):
            a = torch.softmax(logits[:, c], 0)
            y[b, c] = sum(a[m] * maps[m][c] for m in range(3))
    torch.testing.assert_close(block(x), y)


def test_one_branch_is_a_convolution():
    """A softmax over one branch is 1: nothing is chosen."""
    torch.manual_seed(0)
    block, x = randomised(SelectiveKernel(8, branches=1, groups=4)), torch.randn(2, 8, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(block(x), block.split[0](x))


def test_gate_chooses_between_the_branches():
    torch.manual_seed(0)
    block, x = randomised(SelectiveKernel(8, groups=4)), torch.randn(2, 8, 6, 5, dtype=torch.float64)
    gate = gate_of(block, x)
    assert gate.shape == (2, 2, 8, 1, 1)
    torch.testing.assert_close(gate.sum(1), torch.ones(2, 8, 1, 1, dtype=torch.float64))
    assert (gate[0] - gate[1]).abs().max() > 1e-4, "two images, one choice"
    # All but certain logits: the output is the second branch.
    block.gate.register_forward_hook(lambda m, inputs, output: torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1, 1))
    torch.testing.assert_close(block(x), block.split[1](x))


def test_equals_timms():
    """timm's, told not to divide the input among the branches."""
    torch.manual_seed(0)
    theirs = randomised(TimmSelectiveKernel(64, groups=32, rd_channels=32, split_input=False))
    ours = SelectiveKernel(64).double().eval()
    names = {
        "paths": "split",
        "bn": "norm",
        "attn.fc_reduce": "fuse.0",
        "attn.bn": "fuse.1",
        "attn.fc_select": "select",
    }
    state = {}
    for key, tensor in theirs.state_dict().items():
        for old in ("attn.fc_reduce", "attn.bn", "attn.fc_select", "paths", "bn"):
            key = key.replace(old, names[old])
        state[key] = tensor
    ours.load_state_dict(state)
    x = torch.randn(3, 64, 13, 9, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("dim", "branches", "groups", "reduction", "hidden"),
    [(64, 2, 32, 16, 32), (1024, 2, 32, 16, 64), (48, 3, 16, 8, 32)],
)
def test_parameters(dim, branches, groups, reduction, hidden):
    count = sum(p.numel() for p in SelectiveKernel(dim, branches, groups, reduction).parameters())
    assert count == branches * (9 * dim**2 // groups + 2 * dim) + (branches + 1) * dim * hidden + 2 * hidden


def test_batch_of_one_trains_as_it_evaluates_the_summary():
    """One image: the branches use its pixels, the summary the running statistics, which stay as they are."""
    torch.manual_seed(0)
    block = SelectiveKernel(64).train()
    before = block.fuse[1].running_mean.clone()
    x = torch.randn(1, 64, 4, 4, requires_grad=True)
    block(x).sum().backward()
    assert x.grad.abs().max() > 0 and torch.equal(block.fuse[1].running_mean, before)


def test_width_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"dim must be a multiple of groups=32; got dim=40: use groups=20"):
        SelectiveKernel(40)
    assert SelectiveKernel(40, groups=20).eval()(torch.randn(1, 40, 3, 3)).shape == (1, 40, 3, 3)
