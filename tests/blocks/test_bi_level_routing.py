import pytest
import torch

from stitchwork.blocks.bi_level_routing import BiLevelRoutingAttention
from stitchwork.errata.fewer_partners import OfficialRouting


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(dim=16, **arguments):
    torch.manual_seed(0)
    return BiLevelRoutingAttention(dim, **{"num_heads": 2, **arguments}).double().eval()


def silent(block):
    """Without the depthwise convolution and the last projection: attention alone."""
    for parameter in (block.lepe.weight, block.lepe.bias, block.proj.bias):
        torch.nn.init.zeros_(parameter)
    torch.nn.init.dirac_(block.proj.weight)
    return block


@pytest.mark.parametrize("size", [(14, 14), (15, 9), (3, 2), (1, 1)], ids=str)
def test_all_regions_is_full_attention(size):
    """With every region chosen, each pixel attends to the whole image, at any size, and to nothing else."""
    block, x = silent(build(topk=1000)), noise(2, 16, *size)
    q, k, v = block.qkv(x).flatten(2).unflatten(1, (3, 2, 8)).unbind(1)  # (B, heads, d, N) each
    weights = (q.transpose(2, 3) @ k * 16**-0.5).softmax(-1)
    torch.testing.assert_close(block(x), (v @ weights.transpose(2, 3)).flatten(1, 2).view_as(x))


def test_routing_by_hand():
    """Regions of 1 x 2 pixels, of which each attends to the one whose mean key fits its mean query best."""
    block, x = silent(build(n_win=2, topk=1)), noise(1, 16, 2, 4)
    q, k, v = block.qkv(x)[0].chunk(3)  # (C, 2, 4) each
    regions = [(slice(None), i, slice(j, j + 2)) for i in (0, 1) for j in (0, 2)]
    expected = torch.empty_like(q)
    for region in regions:
        fit = torch.stack([q[region].mean(1) @ k[other].mean(1) for other in regions])
        best = regions[fit.argmax()]
        for head in (slice(0, 8), slice(8, 16)):
            weights = (q[region][head].T @ k[best][head] / 4).softmax(-1)  # (2, 2)
            expected[region][head] = v[best][head] @ weights.T
    torch.testing.assert_close(block(x)[0], expected)


def test_a_pixel_has_k_regions_and_its_surroundings():
    torch.manual_seed(0)
    block = BiLevelRoutingAttention(64).double().eval()
    x = noise(1, 64, 14, 14).requires_grad_()
    block(x)[..., 7, 7].sum().backward()
    support = (x.grad != 0).any(1)[0]
    near = torch.zeros_like(support)
    near[6:9, 6:9] = True
    far = support & ~near
    assert (support[near]).all()
    whole = support.view(7, 2, 7, 2).transpose(1, 2).flatten(2).all(2)  # regions that are reached as a whole
    assert whole.sum() >= 4 and far.sum() <= 16


@pytest.mark.parametrize("size", [(14, 21), (15, 22), (9, 30)], ids=str)
def test_without_mask_it_is_the_official_code(size):
    """The official code's padding is data; everything else is the same."""
    official, unmasked = OfficialRouting().double(), BiLevelRoutingAttention(64, mask_padding=False).double()
    unmasked.load_state_dict(official.state_dict())
    x = noise(2, 64, *size)
    torch.testing.assert_close(unmasked(x), official(x))


def test_mask_matters_where_regions_do_not_fit():
    torch.manual_seed(0)
    masked = BiLevelRoutingAttention(64).double()
    unmasked = BiLevelRoutingAttention(64, mask_padding=False).double()
    unmasked.load_state_dict(masked.state_dict())
    fits, does_not = noise(1, 64, 14, 14), noise(1, 64, 15, 15)
    torch.testing.assert_close(masked(fits), unmasked(fits))
    assert not torch.allclose(masked(does_not), unmasked(does_not), rtol=1e-2)


@pytest.mark.parametrize("dim", [64, 24])
def test_parameters(dim):
    assert sum(p.numel() for p in BiLevelRoutingAttention(dim).parameters()) == 4 * dim**2 + 14 * dim


def test_refusals():
    with pytest.raises(ValueError, match="side_dwconv must be odd to keep the size; got 4"):
        BiLevelRoutingAttention(64, side_dwconv=4)
    with pytest.raises(ValueError, match="dim must be a multiple of num_heads=8; got dim=60"):
        BiLevelRoutingAttention(60)
