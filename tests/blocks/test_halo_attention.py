import math

import pytest
import torch

from stitchwork.blocks.halo_attention import HaloAttention
from stitchwork.errata.fewer_partners import UnmaskedHalo


@pytest.fixture
def block():
    torch.manual_seed(0)
    return HaloAttention(8, block_size=2, halo_size=1, dim_head=3, heads=2).double().eval()


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_hand(block, x):
    """The equation, pixel by pixel and head by head."""
    b, halo, d = block.block_size, block.halo_size, block.dim_head
    batch, _, height, width = x.shape
    inner = block.heads * d
    y = torch.empty(batch, inner, height, width, dtype=x.dtype)
    project = {"q": block.to_q.weight, "k": block.to_kv.weight[:inner], "v": block.to_kv.weight[inner:]}
    t = {name: torch.einsum("oc,bchw->bohw", w[..., 0, 0], x) for name, w in project.items()}
    for n in range(batch):
        for h in range(block.heads):
            q, k, v = (t[name][n, h * d : (h + 1) * d] for name in "qkv")
            for i in range(height):
                for j in range(width):
                    rows = range(max(0, i // b * b - halo), min(height, i // b * b + b + halo))
                    columns = range(max(0, j // b * b - halo), min(width, j // b * b + b + halo))
                    window = [(r, c) for r in rows for c in columns]
                    centre = len(block.rel_height) // 2 + halo  # the row of the tables for offset 0
                    logits = []
                    for r, c in window:
                        position = block.rel_height[centre + r - i] + block.rel_width[centre + c - j]
                        logits.append(q[:, i, j] @ (k[:, r, c] + position))
                    weights = (torch.stack(logits) / math.sqrt(d)).softmax(0)
                    y[n, h * d : (h + 1) * d, i, j] = sum(a * v[:, r, c] for a, (r, c) in zip(weights, window))
    return block.to_out(y)


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 1), (1, 6)], ids=str)
def test_equals_the_equation(block, size):
    x = noise(2, 8, *size)
    torch.testing.assert_close(block(x), by_hand(block, x))


def test_partners_are_the_block_and_its_halo(block):
    """A pixel moves the blocks that have it in their window, and no others."""
    x = noise(1, 8, 12, 12)
    other = x.clone()
    other[..., 4, 5] += (
        1  # in the block of rows 4, 5 and columns 4, 5, and in the halos of those above and to the right
    )
    moved = (block(x) != block(other)).any(1)[0]
    assert moved[2:6, 4:8].all() and moved.sum() == 16


def test_padding_has_no_weight(block):
    """An image of equal pixels gives equal pixels: the weights of real keys sum to one everywhere."""
    y = block(noise(1, 8, 1, 1).expand(-1, -1, 5, 7).contiguous())
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))


def test_halo_beyond_the_image_changes_nothing():
    """Where one block holds the image, the size of its halo does not matter."""
    torch.manual_seed(0)
    small, large = (HaloAttention(8, block_size=5, halo_size=h, dim_head=4, heads=2).double() for h in (1, 3))
    state = large.state_dict()
    for name in ("rel_height", "rel_width"):
        # Offset 0 is in row 3h + b - 1, and offsets between pixels of the image go from 1 - b to b - 1.
        state[name] = torch.cat([torch.full((3, 4), torch.nan), state[name][9:18], torch.full((1, 4), torch.nan)])
    small.load_state_dict(state)
    x = noise(2, 8, 5, 5)
    torch.testing.assert_close(small(x), large(x))


@pytest.mark.parametrize(("dim", "dim_head", "heads", "window"), [(64, 16, 4, 13), (24, 8, 3, 13), (1, 2, 1, 13)])
def test_parameters(dim, dim_head, heads, window):
    count = sum(p.numel() for p in HaloAttention(dim, dim_head=dim_head, heads=heads).parameters())
    assert count == 4 * dim * dim_head * heads + dim + 2 * (2 * window - 1) * dim_head


def timm_layer():
    from timm.layers.halo_attn import HaloAttn

    torch.manual_seed(0)
    return HaloAttn(64, num_heads=4, block_size=7, halo_size=3).double().eval()


def test_unmasked_copy_is_timms():
    theirs, copy = timm_layer(), UnmaskedHalo().double()
    names = {"pos_embed.height_rel": "height_rel", "pos_embed.width_rel": "width_rel"}
    copy.load_state_dict({names.get(key, key): tensor for key, tensor in theirs.state_dict().items()})
    x = noise(2, 64, 14, 21)
    torch.testing.assert_close(copy(x), theirs(x))


def test_equals_timms_inside():
    """Away from the border, ours is timm's layer: with tables √d as large, and no projection."""
    theirs, ours = timm_layer(), HaloAttention(64).double()
    state, d = theirs.state_dict(), 16
    # timm keeps the keys and values of a head together.
    kv = state["kv.weight"].view(4, 2, d, 64, 1, 1).transpose(0, 1).reshape(128, 64, 1, 1)
    ours.load_state_dict(
        {
            "to_q.weight": state["q.weight"],
            "to_kv.weight": kv,
            "rel_height": math.sqrt(d) * state["pos_embed.height_rel"],
            "rel_width": math.sqrt(d) * state["pos_embed.width_rel"],
            "to_out.weight": torch.eye(64).view(64, 64, 1, 1),
            "to_out.bias": torch.zeros(64),
        }
    )
    x = noise(2, 64, 21, 28)
    inner = (..., slice(7, 14), slice(7, 21))
    torch.testing.assert_close(ours(x)[inner], theirs(x)[inner])
    assert (ours(x) - theirs(x)).abs()[..., 0, :].max() > 1e-3
