"""The order of the numbers in memory changes nothing in the result."""

import torch

from .probes import assert_same, exact, noise, settle
from .subjects import SMALL, over


def check_channels_last(build, shape):
    """Channels-last input and weights give the same output and the same gradient."""
    x = noise(shape, dtype=torch.float64)
    module = settle(exact(build), x)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        module = module.to(memory_format=layout)
        x_in = x.clone(memory_format=layout).requires_grad_()
        y = module(x_in)
        y.square().sum().backward()
        results.append((y.detach(), x_in.grad))
    (y, gradient), (y_last, gradient_last) = results
    assert_same(y_last, y, "output with channels_last")
    assert_same(gradient_last, gradient, "gradient with channels_last")


def check_strided_input(build, shape):
    """A view with gaps (every second column of a wider image) gives what its contiguous copy gives."""
    module, wide = exact(build), noise((*shape[:3], 2 * shape[3]), dtype=torch.float64)
    view = wide[..., ::2]
    assert not view.is_contiguous()
    with torch.no_grad():
        assert_same(module(view), module(view.contiguous()), "output of a strided view")


@over(SMALL)
def test_channels_last(subject):
    check_channels_last(subject.build, (2, *subject.small_size))


@over(SMALL)
def test_strided_input(subject):
    check_strided_input(subject.build, (2, *subject.small_size))
