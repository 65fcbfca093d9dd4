import pytest
import torch
import torch.nn.functional as F

from stitchwork.blocks.emsa import EMSA


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(dim=16, **arguments):
    torch.manual_seed(0)
    return EMSA(dim, **{"num_heads": 4, **arguments}).double().eval()


def weights_of(block, x):
    seen = []
    handle = block.softmax.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(x)
    handle.remove()
    return seen[0]


def test_equals_the_equation():
    """Equation 4 with the maps normalised as such."""
    block, x = build(), noise(2, 16, 5, 6)
    fewer = F.layer_norm(block.sr(x).flatten(2).transpose(1, 2), (16,), block.sr_norm.weight, block.sr_norm.bias)
    q = block.q(x.flatten(2).transpose(1, 2)).view(2, 30, 4, 4)
    k, v = block.kv(fewer).view(2, 9, 2, 4, 4).unbind(2)
    logits = torch.einsum("bnhd,bmhd->bhnm", q, k) / 2
    mixed = torch.einsum("gh,bhnm->bgnm", block.transform.weight[..., 0, 0], logits)
    a = (mixed + block.transform.bias.view(4, 1, 1)).softmax(-1)
    a = (a - a.mean((2, 3), keepdim=True)) / (a.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    y = torch.einsum("bhnm,bmhd->bnhd", a, v).flatten(2)
    torch.testing.assert_close(block(x), block.proj(y).transpose(1, 2).view_as(x))


def test_without_transform_is_attention_to_the_smaller_image():
    block, x = build(apply_transform=False), noise(2, 16, 5, 6)
    tokens = x.flatten(2).transpose(1, 2)
    fewer = block.sr_norm(block.sr(x).flatten(2).transpose(1, 2))
    q, (k, v) = block.q(tokens).view(2, 30, 4, 4), block.kv(fewer).view(2, 9, 2, 4, 4).unbind(2)
    a = (torch.einsum("bnhd,bmhd->bhnm", q, k) / 2).softmax(-1)
    y = torch.einsum("bhnm,bmhd->bnhd", a, v).flatten(2)
    torch.testing.assert_close(block(x), block.proj(y).transpose(1, 2).view_as(x))


@pytest.mark.parametrize(
    ("sr_ratio", "size", "keys"), [(1, (5, 6), 30), (2, (5, 6), 9), (2, (1, 1), 1), (3, (7, 2), 2)]
)
def test_number_of_keys(sr_ratio, size, keys):
    block, x = build(sr_ratio=sr_ratio), noise(1, 16, *size)
    assert weights_of(block, x).shape == (1, 4, size[0] * size[1], keys)


def test_biases_of_keys_and_values_have_no_effect():
    """Weights that sum to zero see nothing that all keys and values have in common."""
    block, x = build(), noise(2, 16, 5, 6)
    before = block(x)
    for bias in (block.kv.bias, block.sr_norm.bias, block.transform.bias):
        torch.nn.init.normal_(bias)
    torch.testing.assert_close(block(x), before)


def test_one_pixel_gives_the_last_bias():
    block = build()
    torch.testing.assert_close(block(noise(1, 16, 1, 1)).flatten(), block.proj.bias)


def test_float32_is_as_good_as_instance_norm():
    """The shortcut for the variance, the small difference of two numbers, loses no digits that count."""
    block, x = build(dim=64, num_heads=8), noise(1, 64, 40, 40)
    exact = block(x)
    deviation = (block.float()(x.float()) - exact).norm() / exact.norm()
    assert deviation < 1e-5


@pytest.mark.parametrize(("dim", "heads", "s"), [(64, 8, 2), (24, 4, 1), (128, 8, 8)])
def test_parameters(dim, heads, s):
    subsampling = (s + 1) ** 2 * dim + 3 * dim if s > 1 else 0
    count = sum(p.numel() for p in EMSA(dim, num_heads=heads, sr_ratio=s).parameters())
    assert count == 4 * dim**2 + 4 * dim + subsampling + heads**2 + heads


def test_too_small_for_an_odd_stride():
    block = build(sr_ratio=3)
    with pytest.raises(ValueError, match=r"at least 2; got shape \(1, 16, 1, 5\)"):
        block(noise(1, 16, 1, 5))
    assert block(noise(1, 16, 2, 2)).isfinite().all()


def test_dim_must_divide():
    with pytest.raises(ValueError, match="dim must be a multiple of num_heads=8; got dim=60: take 64"):
        EMSA(60)
