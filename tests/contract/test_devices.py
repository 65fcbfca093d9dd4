"""No device is built in. The meta device shows it without a GPU; where there is a GPU, it computes the same."""

from unittest.mock import patch

import pytest
import torch

from .probes import assert_same, awaken, exact, noise, tensors
from .subjects import SMALL, over

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


def _strangers(module, device):
    return [path for path, tensor in tensors(module).items() if tensor.device.type != device]


def _spoilt(tensor, **options):
    """New memory that nobody has filled: often zeros by chance, never here."""
    return torch.full_like(tensor, 99, **options)


def check_built_on_meta(build, shape):
    """Built on the meta device the module is wholly there, runs there, and comes alive with the state of another."""
    with torch.device("meta"):
        module = build().eval()
    assert not _strangers(module, "meta"), f"built on the meta device, but elsewhere: {_strangers(module, 'meta')}"
    _assert_runs_on_meta(module, shape)

    original = awaken(build()).eval()
    with patch("torch.empty_like", _spoilt):
        module.to_empty(device="cpu")
    module.load_state_dict(original.state_dict())
    x = noise(shape)
    with torch.no_grad():
        assert_same(module(x), original(x), "the output of a module that was born on the meta device", 0)


def check_moved_to_meta(build, shape):
    """Moved to the meta device after construction, the module leaves nothing behind."""
    module = build().eval().to("meta")
    assert not _strangers(module, "meta"), f"moved to the meta device, but elsewhere: {_strangers(module, 'meta')}"
    _assert_runs_on_meta(module, shape)


def _assert_runs_on_meta(module, shape):
    try:
        y = module(torch.empty(shape, device="meta"))
    except (RuntimeError, NotImplementedError) as error:
        raise AssertionError(f"a tensor of another device takes part in the forward pass: {error}") from error
    assert y.device.type == "meta", f"input on the meta device, output on {y.device}"


def check_same_on_gpu(build, shape):
    """The output on the GPU is that of the CPU."""
    module, x = exact(build), noise(shape, dtype=torch.float64)
    with torch.no_grad():
        expected = module(x)
        assert_same(module.cuda()(x.cuda()).cpu(), expected, "the output on the GPU")


@over(SMALL)
def test_built_on_meta(subject):
    check_built_on_meta(subject.build, (2, *subject.small_size))


@over(SMALL)
def test_moved_to_meta(subject):
    check_moved_to_meta(subject.build, (2, *subject.small_size))


@needs_gpu
@over(SMALL)
def test_same_on_gpu(subject):
    check_same_on_gpu(subject.build, (2, *subject.small_size))
