import torch

from stitchwork.layers import LayerScale


def test_multiplies_each_channel():
    scale = LayerScale(3)
    with torch.no_grad():
        scale.gamma.copy_(torch.tensor([1.0, 2.0, 3.0]).view(scale.gamma.shape))
    y = scale(torch.ones(2, 3, 4, 5))
    assert y.shape == (2, 3, 4, 5)
    assert torch.equal(y.mean((0, 2, 3)), torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(y.amax((2, 3)), y.amin((2, 3)))


def test_starts_small():
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(LayerScale(3)(x), 1e-6 * x)
    torch.testing.assert_close(LayerScale(3, init=0.1)(x), 0.1 * x)


def test_is_learned_one_factor_a_channel():
    torch.manual_seed(0)
    scale, x = LayerScale(3, init=1.0), torch.randn(2, 3, 4, 4)
    scale(x).sum().backward()
    (gamma,) = scale.parameters()
    assert gamma.numel() == 3
    torch.testing.assert_close(gamma.grad.flatten(), x.sum((0, 2, 3)))


def test_input_stays():
    x = torch.ones(1, 2, 2, 2)
    LayerScale(2)(x)
    assert (x == 1).all()


def test_adds_the_shortcut():
    scale, x, shortcut = LayerScale(3, init=0.5), torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(scale(x, shortcut), shortcut + 0.5 * x)
