import pytest
import torch
from contract.probes import exact
from torch import nn

from stitchwork.analysis import capture
from stitchwork.blocks.sea_attention import SeaAttention, SqueezedAttention


def test_the_gate_starts_half_open():
    """Three BatchNorms start with a weight of zero: the output is half the details."""
    torch.manual_seed(0)
    block, x = SeaAttention(16).eval(), torch.randn(2, 16, 6, 9)
    details = block.detail(torch.cat([block.to_q(x), block.to_k(x), block.to_v(x)], 1))
    torch.testing.assert_close(block(x), details / 2)
    assert isinstance(block.gate, nn.Hardsigmoid)


def test_activations_stop_at_six():
    """ReLU6 in the lines, in front of the gate, and behind the depthwise convolution."""
    block = SeaAttention(16)
    for act in (block.row.proj[0], block.column.proj[0], block.proj[0], block.detail[0].act):
        assert act(torch.tensor([-1.0, 5.0, 7.0])).tolist() == [0, 5, 6]


@pytest.mark.parametrize(("line", "axis"), [("row", 3), ("column", 2)])
def test_a_line_sees_means_only(line, axis):
    """Shuffling the pixels along the axis that is averaged away leaves the line as it is, along the other does not."""
    torch.manual_seed(0)
    block, x = exact(lambda: SeaAttention(16)), torch.randn(1, 16, 6, 6).double()
    lines = []
    for image in (x, x.flip(axis), x.flip(5 - axis)):
        with capture(block, line) as seen, torch.no_grad():
            block(image)
        lines.append(seen[line])
    torch.testing.assert_close(lines[1], lines[0])
    assert not torch.allclose(lines[2], lines[0])


def test_lines_are_attention_with_positions():
    """One head, four tokens and four positions: no stretching, and the formula by hand."""
    torch.manual_seed(0)
    line = exact(lambda: SqueezedAttention(1, key_dim=3, value_dim=2, positions=4))
    line.proj = nn.Identity()
    q, k, v = (torch.randn(1, width, 4).double() for width in (3, 3, 2))
    logits = (q + line.position_q)[0].T @ (k + line.position_k)[0] / 3**0.5  # (T, T)
    torch.testing.assert_close(line(q, k, v)[0, ..., 0], (logits.softmax(1) @ v[0].T).T)


def test_heads_do_not_mix():
    torch.manual_seed(0)
    line = exact(lambda: SqueezedAttention(2, key_dim=3, value_dim=2, positions=4))
    line.proj = nn.Identity()
    q, k, v = (torch.randn(1, width, 5).double() for width in (6, 6, 4))
    y = line(q, k, v)
    for tensor in (q, k, v):
        tensor[:, : tensor.shape[1] // 2] += 1 + torch.rand(5)
    other = line(q, k, v)
    assert torch.equal(y[:, 2:], other[:, 2:]) and not torch.allclose(y[:, :2], other[:, :2])


def test_positions_are_stretched_in_a_straight_line():
    """Two entries on four tokens: the outer two are the entries, the inner two a quarter of the way from them."""
    line = SqueezedAttention(1, key_dim=1, value_dim=1, positions=2)
    line.proj = nn.Identity()
    line.position_q.data.fill_(0)
    line.position_k.data.copy_(torch.tensor([[[0.0, 4.0]]]))
    q, k, v = torch.ones(1, 1, 4), torch.zeros(1, 1, 4), torch.tensor([[[1.0, 10.0, 100.0, 1000.0]]])
    weights = torch.tensor([0.0, 1.0, 3.0, 4.0]).softmax(0)
    torch.testing.assert_close(line(q, k, v).flatten(), (weights @ v.flatten()).expand(4))


@pytest.mark.parametrize(
    ("dim", "key_dim", "num_heads", "attn_ratio"), [(64, 16, 4, 2), (24, 8, 2, 1), (30, 5, 3, 1.5)]
)
def test_parameters(dim, key_dim, num_heads, attn_ratio):
    keys, values = num_heads * key_dim, num_heads * int(attn_ratio * key_dim)
    total = 2 * keys + values
    weights = dim * (4 * keys + 3 * values) + 9 * total + 2 * values**2
    norms = 2 * (2 * keys + values + 2 * values + dim + total + dim)
    block = SeaAttention(dim, key_dim, num_heads, attn_ratio)
    assert sum(p.numel() for p in block.parameters()) == weights + norms + 4 * 16 * keys
    x = torch.randn(2, dim, 3, 4)
    assert block(x).shape == x.shape


def test_values_without_a_channel_are_refused():
    with pytest.raises(ValueError, match=r"attn_ratio must be at least .* got attn_ratio 0.01 and key_dim 16"):
        SeaAttention(64, attn_ratio=0.01)
