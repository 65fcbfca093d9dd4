"""What the checks feed in, and how they look at a module."""

import math

import torch


def noise(shape, seed=0, dtype=torch.float32):
    """Standard normal noise, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@torch.no_grad()
def awaken(module, seed=0):
    """Move every parameter and running statistic off its initial value.

    A scale that starts at zero, a bias that starts at zero or a variance that starts at one hides what its layer does.
    """
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        fan_in = p[0].numel() if p.dim() > 1 else 1
        p += 0.1 / math.sqrt(fan_in) * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer += 0.1 * torch.randn(buffer.shape, generator=generator, dtype=torch.float64).to(buffer)
        elif name.endswith("running_var"):
            buffer *= 0.5 + torch.rand(buffer.shape, generator=generator, dtype=torch.float64).to(buffer)
    return module


def exact(build):
    """A woken module in evaluation mode and float64, where equal means equal to ten digits."""
    return awaken(build()).double().eval()


@torch.no_grad()
def settle(module, x):
    """Give every BatchNorm the statistics of ``x``, as training would.

    With fresh statistics the signal of a network of forty residual blocks grows from block to block, until the rounding
    of its large numbers decides what a gate lets through.
    """
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    training = module.training
    module.train()(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    return module.train(training)


def assert_same(actual, expected, what, tolerance=1e-9):
    """Equal up to ``tolerance`` of the largest expected magnitude."""
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    scale = expected.detach().abs().max().item() or 1.0
    deviation = (actual - expected).detach().abs().max().item() / scale
    assert deviation <= tolerance, f"{what}: differs by {deviation:.1e} of the largest value (allowed {tolerance:.0e})"


def tensors(module):
    """Every tensor that a module holds by path: parameters, buffers, and plain attributes as well."""
    found = dict(module.named_parameters()) | dict(module.named_buffers())
    for path, child in module.named_modules():
        found |= {f"{path}.{k}": v for k, v in vars(child).items() if isinstance(v, torch.Tensor)}
    return found
