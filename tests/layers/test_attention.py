import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork.analysis import capture, count_multiply_adds, count_parameters, measure_peak_memory
from stitchwork.layers import ScaledDotProduct, SelfAttention, explicit_attention


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random(*shape):
    return torch.randn(*shape, dtype=torch.double)


def published(dim, num_heads, qkv_bias=True):
    """Torch's module with random biases, and ours with its weights."""
    theirs = nn.MultiheadAttention(dim, num_heads, bias=True, batch_first=True).double()
    nn.init.normal_(theirs.in_proj_bias, std=float(qkv_bias))
    nn.init.normal_(theirs.out_proj.bias)
    ours = SelfAttention(dim, num_heads, qkv_bias).double()
    state = {"qkv.weight": theirs.in_proj_weight, "qkv.bias": theirs.in_proj_bias}
    state |= {f"proj.{name}": p for name, p in theirs.out_proj.named_parameters()}
    ours.load_state_dict({name: p for name, p in state.items() if qkv_bias or name != "qkv.bias"})
    return theirs, ours


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("biased", [False, True])
def test_the_formula_number_by_number(explicit, scale, biased):
    """For other numbers of keys than of queries, and longer values than keys."""
    q, k, v, bias = random(2, 3, 4, 5), random(2, 3, 6, 5), random(2, 3, 6, 7), random(3, 4, 6)
    attend = ScaledDotProduct(scale)
    attend.explicit = explicit
    y = attend(q, k, v, bias if biased else None)
    assert y.shape == (2, 3, 4, 7)
    for b, h, n in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        shares = []
        for m in range(6):
            product = sum(a * c for a, c in zip(q[b, h, n].tolist(), k[b, h, m].tolist()))
            logit = product * (5**-0.5 if scale is None else scale) + biased * bias[h, n, m].item()
            shares.append(math.exp(logit))
        expected = sum(share / sum(shares) * v[b, h, m] for m, share in enumerate(shares))
        torch.testing.assert_close(y[b, h, n], expected)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("shapes", [((1, 1, 5), (1, 1, 5)), ((2, 3, 7, 4), (2, 3, 9, 4))])
def test_both_forms_have_the_same_gradients(scale, shapes):
    q, k = (random(*shape) for shape in shapes)
    inputs = [q, k, random(*k.shape), random(q.shape[-2], k.shape[-2])]
    gradients = []
    for explicit in (False, True):
        attend, leaves = ScaledDotProduct(scale), [x.clone().requires_grad_() for x in inputs]
        attend.explicit = explicit
        gradients.append(torch.autograd.grad(attend(*leaves).square().sum(), leaves))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("explicit", [False, True])
def test_a_key_at_minus_infinity_does_not_count(explicit):
    q, k, v = random(2, 4, 5, 8), random(2, 4, 7, 8), random(2, 4, 7, 8)
    bias = torch.zeros(7, dtype=torch.double)
    bias[3] = -torch.inf
    attend = ScaledDotProduct()
    attend.explicit = explicit
    others = [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(attend(q, k, v, bias[None]), attend(q, k[:, :, others], v[:, :, others]))


@pytest.mark.parametrize(("dim", "num_heads", "tokens"), [(8, 1, 5), (12, 3, 7), (24, 12, 1), (64, 8, 50)])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_self_attention_is_torchs(dim, num_heads, tokens, qkv_bias):
    """The results, and the weights of every head."""
    theirs, ours = published(dim, num_heads, qkv_bias)
    x = random(3, tokens, dim)
    y, weights = theirs(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(ours(x), y)
    with explicit_attention(ours), capture(ours, "attend.weights") as maps:
        torch.testing.assert_close(ours(x), y)
    torch.testing.assert_close(maps["attend.weights"], weights)


def test_the_scale_is_that_of_a_head():
    x = random(2, 5, 12)
    _, ours = published(12, 3)
    y = ours(x)
    for scale, same in ((4**-0.5, True), (12**-0.5, False), (1.0, False)):
        other = SelfAttention(12, 3, scale=scale).double()
        other.load_state_dict(ours.state_dict())
        assert torch.allclose(other(x), y) == same, scale


def test_permuted_tokens_give_permuted_results():
    ours, x, order = SelfAttention(12, 3).double(), random(2, 9, 12), torch.randperm(9)
    torch.testing.assert_close(ours(x[:, order]), ours(x)[:, order])


def test_images_do_not_see_each_other():
    ours, x = SelfAttention(12, 3).double(), random(2, 5, 12)
    other = x.clone()
    other[0] += 1
    torch.testing.assert_close(ours(other)[1], ours(x)[1])


def test_only_what_passes_the_weights_makes_them():
    """Fused, an attention of many tokens never holds a number for each pair."""
    attend, tokens = ScaledDotProduct(), 1024
    q, k, v = torch.randn(3, 1, 1, tokens, 8)
    assert measure_peak_memory(attend, q, k, v) < 4 * tokens**2 / 8
    attend.explicit = True
    assert measure_peak_memory(attend, q, k, v) >= 4 * tokens**2


@pytest.mark.parametrize(("dim", "num_heads", "qkv_bias"), [(12, 3, True), (12, 1, False), (32, 4, True)])
def test_cost(dim, num_heads, qkv_bias):
    ours, tokens = SelfAttention(dim, num_heads, qkv_bias), 10
    assert count_parameters(ours) == 4 * dim**2 + dim + 3 * dim * qkv_bias
    assert count_multiply_adds(ours, torch.randn(1, tokens, dim)) == 4 * tokens * dim**2 + 2 * tokens**2 * dim


def test_the_switch_goes_back_as_it_was():
    model = nn.Sequential(SelfAttention(8, 2), SelfAttention(8, 2))
    model[1].attend.explicit = True
    with pytest.raises(KeyError), explicit_attention(model):
        assert model[0].attend.explicit and model[1].attend.explicit
        raise KeyError
    assert not model[0].attend.explicit and model[1].attend.explicit


def test_the_weights_say_what_their_axes_mean():
    ours = SelfAttention(8, 2)
    assert ours.attend.weights.axes == ("image", "head", "query", "key")
    assert ScaledDotProduct(axes=("pixel", "cell")).weights.axes == ("pixel", "cell")
    with explicit_attention(ours), capture(ours, "attend.weights") as maps:
        ours(torch.randn(3, 5, 8))
    weights = maps["attend.weights"]
    assert weights.shape == (3, 2, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5))


@pytest.mark.parametrize(
    ("dim", "num_heads", "message"),
    [(10, 3, "multiple of num_heads=3; got dim=10: take 12"), (0, 1, "dim must be"), (8, 0, "num_heads must be")],
)
def test_refusals(dim, num_heads, message):
    with pytest.raises(ValueError, match=f"SelfAttention: .*{message}"):
        SelfAttention(dim, num_heads)


def test_low_precision():
    ours, x = SelfAttention(16, 4), torch.randn(2, 9, 16)
    with torch.autocast("cpu", torch.bfloat16):
        fused = ours(x)
        with explicit_attention(ours):
            explicit = ours(x)
    assert fused.dtype == torch.bfloat16
    assert F.mse_loss(fused.float(), explicit.float()) < 1e-4
