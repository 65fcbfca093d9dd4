import math

import pytest
import torch

from stitchwork.blocks.msda import MultiScaleDilatedAttention


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(dim=12, **arguments):
    torch.manual_seed(0)
    return MultiScaleDilatedAttention(dim, **arguments).double().eval()


@pytest.mark.parametrize("size", [(4, 5), (1, 1), (1, 3)], ids=str)
@pytest.mark.parametrize(("num_heads", "kernel_size", "dilation"), [(3, 3, (1, 2, 3)), (4, 3, (1, 3)), (2, 5, (2,))])
def test_equals_the_equation(num_heads, kernel_size, dilation, size):
    """Pixel by pixel and head by head; what lies outside the image has a logit of 0 and a value of 0."""
    block = build(num_heads=num_heads, kernel_size=kernel_size, dilation=dilation, qkv_bias=True)
    x, d, reach = noise(2, 12, *size), 12 // num_heads, kernel_size // 2
    q, k, v = block.qkv(x).unflatten(1, (3, num_heads, d)).unbind(1)  # (B, heads, d, H, W) each
    y = torch.empty(2, num_heads, d, *size, dtype=x.dtype)
    for h in range(num_heads):
        r = dilation[h // (num_heads // len(dilation))]
        for i in range(size[0]):
            for j in range(size[1]):
                steps = [(a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1)]
                places = [(i + r * a, j + r * b) for a, b in steps]
                inside = [(a, b) for a, b in places if 0 <= a < size[0] and 0 <= b < size[1]]
                logits = [(q[:, h, :, i, j] * k[:, h, :, a, b]).sum(1) / math.sqrt(d) for a, b in inside]
                logits += [torch.zeros(2, dtype=x.dtype)] * (len(places) - len(inside))
                weights = torch.stack(logits).softmax(0)  # (k², B)
                y[:, h, :, i, j] = sum(w[:, None] * v[:, h, :, a, b] for w, (a, b) in zip(weights, inside))
    torch.testing.assert_close(block(x), block.proj(y.flatten(1, 2)))


@pytest.mark.parametrize("head", [0, 1, 2])
def test_each_head_has_its_spacing(head):
    block, seen = build(), {}
    block.proj.register_forward_pre_hook(lambda module, inputs: seen.update(y=inputs[0]))
    x = noise(1, 12, 9, 9)
    other = x.clone()
    other[..., 4, 4] += 1
    before, after = ((block(image), seen["y"])[1] for image in (x, other))
    moved = (before != after)[0, 4 * head : 4 * head + 4].any(0)
    r = head + 1
    assert moved.sum() == 9 and moved[4 - r : 5 + r : r, 4 - r : 5 + r : r].all()


def test_weights_can_be_looked_at():
    block, seen = build(), []
    block.softmax.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(noise(1, 12, 5, 6))
    assert [tuple(weights.shape) for weights in seen] == [(1, 1, 9, 5, 6)] * 3
    torch.testing.assert_close(seen[0].sum(2), torch.ones(1, 1, 5, 6, dtype=torch.float64))


def test_residual_connection_trains():
    """x + attention(x) has a gradient, and x is what it was."""
    block, x = build(), noise(1, 12, 5, 5).requires_grad_()
    before = x.detach().clone()
    (x + block(x)).square().sum().backward()
    assert torch.equal(x.detach(), before) and x.grad.isfinite().all()


@pytest.mark.parametrize("dim", [72, 144, 3])
def test_parameters(dim):
    assert sum(p.numel() for p in MultiScaleDilatedAttention(dim).parameters()) == 4 * dim**2 + dim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 64}, "dim must be a multiple of num_heads=3; got dim=64: take 66"),
        ({"num_heads": 8}, r"as many as divide num_heads=8; got \(1, 2, 3\)"),
        ({"dilation": (1, 0, 2)}, r"positive numbers.* got \(1, 0, 2\)"),
        ({"dilation": ()}, r"got \(\)"),
        ({"kernel_size": 4}, "kernel_size must be odd .* got 4"),
    ],
    ids=str,
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiScaleDilatedAttention(**{"dim": 72, **arguments})
