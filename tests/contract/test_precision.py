"""Half the bits: autocast, and modules that are bfloat16 throughout."""

import torch

from .probes import noise
from .subjects import SMALL, over

# bfloat16 keeps 8 bits of a number, so a layer is off by about 0.4 %; some twenty layers add up to a few per cent.
TOLERANCE = 0.1
# Class -> what is allowed where that is too little, and why.
ALLOWED = {
    # Its signal grows from block to block under the initial weights, through 171 layers, and the rounding with it: the
    # deviation rises evenly, with no layer that stands out. Under torchvision's smaller initial weights it is 2 %.
    "EfficientNetV2": 0.3,
}


def _assert_near(module, actual, expected, what):
    allowed = ALLOWED.get(type(module).__name__, TOLERANCE)
    deviation = ((actual.float() - expected).norm() / expected.norm()).item()
    assert deviation < allowed, f"{what} is {deviation:.1%} away from float32"


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
