import pytest
import torch
from contract.probes import exact
from torch import nn

from stitchwork.blocks.axial_attention import AxialAttention


def along(line, x):
    """PyTorch's own multi-head attention with the weights of ``line``, along the second axis of (lines, T, C)."""
    heads = line.to_q.out_features // line.dim_heads
    assert heads > 1
    theirs = nn.MultiheadAttention(x.shape[2], heads, batch_first=True).double().eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([line.to_q.weight, line.to_kv.weight]))
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(line.to_out.state_dict())
        return theirs(x, x, x, need_weights=False)[0]


def test_equals_multi_head_attention_along_each_line():
    torch.manual_seed(0)
    block, x = exact(lambda: AxialAttention(16, heads=4)), torch.randn(1, 16, 5, 7).double()
    y = block(x)
    columns, rows = x[0].permute(2, 1, 0), x[0].permute(1, 2, 0)  # (W, H, C), (H, W, C)
    expected = along(block.height, columns).permute(2, 1, 0) + along(block.width, rows).permute(2, 0, 1)
    torch.testing.assert_close(y[0], expected)


def test_a_pixel_reaches_its_row_and_its_column():
    torch.manual_seed(0)
    block, x = AxialAttention(16).double(), torch.randn(1, 16, 6, 8).double()
    other = x.clone()
    other[..., 2, 5] += 1
    moved = (block(x) - block(other)).abs().amax((0, 1)) > 1e-12
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[2], expected[:, 5] = True, True
    assert torch.equal(moved, expected)


def test_the_axes_have_weights_of_their_own():
    """The transposed image gives the transposed output only if the two attentions change places."""
    torch.manual_seed(0)
    block, x = AxialAttention(16).double(), torch.randn(1, 16, 6, 8).double()
    y = block(x)
    assert not torch.allclose(block(x.mT).mT, y)
    block.height, block.width = block.width, block.height
    torch.testing.assert_close(block(x.mT).mT, y)


@pytest.mark.parametrize(("dim", "heads", "dim_heads", "hidden"), [(64, 8, None, 64), (64, 4, 32, 128), (10, 4, 3, 12)])
def test_parameters(dim, heads, dim_heads, hidden):
    block = AxialAttention(dim, heads, dim_heads)
    assert sum(p.numel() for p in block.parameters()) == 2 * (4 * dim * hidden + dim)
    x = torch.randn(2, dim, 3, 4)
    assert block(x).shape == x.shape


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"dim must be a multiple of heads=8; got dim=67"):
        AxialAttention(67)
