"""Half the bits: autocast, and modules that are bfloat16 throughout."""

import torch

from .probes import noise
from .subjects import SMALL, over

# bfloat16 keeps 8 bits of a number, so a layer is off by about 0.4 %; some sixty layers add up to several per cent.
TOLERANCE = 0.1
LAYERS = 60


def _assert_near(module, actual, expected, what):
    layers = len([m for m in module.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)])
    deviation = ((actual.float() - expected).norm() / expected.norm()).item()
    assert deviation < TOLERANCE * max(1, layers / LAYERS), f"{what} is {deviation:.1%} away from float32"


def check_autocast(build, shape):
    """Under bfloat16 autocast a training step is finite, and the output that of float32 up to rounding."""
    module, x = build(), noise(shape).requires_grad_()
    expected = module.eval()(x).detach()
    with torch.autocast("cpu", torch.bfloat16):
        _assert_near(module, module(x), expected, "the output under autocast")
        y = module.train()(x)
    assert y.isfinite().all(), "output under autocast is not finite"
    y.float().square().mean().backward()
    gradients = {"the input": x.grad} | {name: p.grad for name, p in module.named_parameters()}
    broken = [name for name, g in gradients.items() if g is not None and not g.isfinite().all()]
    assert not broken, f"gradient under autocast not finite: {broken}"


def check_half_module(build, shape):
    """``module.to(bfloat16)`` takes bfloat16, gives bfloat16, and trains."""
    module, x = build().eval(), noise(shape)
    expected = module(x).detach()
    module.to(torch.bfloat16)
    y = module(x.bfloat16())
    assert y.dtype == torch.bfloat16, f"bfloat16 in, {y.dtype} out"
    _assert_near(module, y, expected, "the output of the bfloat16 module")
    module.train()(x.bfloat16().requires_grad_()).sum().backward()  # the input, for modules without parameters
    broken = [name for name, p in module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert not broken, f"gradient in bfloat16 not finite: {broken}"


@over(SMALL)
def test_autocast(subject):
    check_autocast(subject.build, (2, *subject.small_size))


@over(SMALL)
def test_half_module(subject):
    check_half_module(subject.build, (2, *subject.small_size))
