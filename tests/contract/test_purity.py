"""A forward pass leaves its input, its state and the random generator alone."""

import pytest
import torch

from .probes import noise, tensors
from .subjects import SMALL, over


def check_input_untouched(build, shape, training):
    """The input keeps its values, and a leaf that wants a gradient may go in directly."""
    x = noise(shape)
    before = x.clone()
    module = build().train(training)
    module(x)
    assert torch.equal(x, before), "the forward pass overwrites its input"
    leaf = x.clone().requires_grad_()
    try:
        module(leaf).sum().backward()
    except RuntimeError as error:
        raise AssertionError(f"an input that is a leaf with requires_grad fails: {error}") from error
    assert leaf.grad is not None, "no gradient reaches the input"


def check_eval_is_deterministic(build, shape):
    """In evaluation two calls give the same bits, and no random number is drawn."""
    module, x = build().eval(), noise(shape)
    state = torch.get_rng_state()
    with torch.no_grad():
        first, second = module(x), module(x)
    assert torch.equal(first, second), "two calls in evaluation mode differ"
    assert torch.equal(state, torch.get_rng_state()), "evaluation draws random numbers"


def check_eval_keeps_state(build, shape):
    """An evaluation pass changes no tensor of the module, registered or not, and leaves the mode alone."""
    module = build().eval()
    before = {path: (tensor, tensor.detach().clone()) for path, tensor in tensors(module).items()}
    with torch.no_grad():
        module(noise(shape))
    after = tensors(module)
    assert after.keys() == before.keys(), f"evaluation adds or removes {sorted(after.keys() ^ before.keys())}"
    changed = [path for path, (tensor, copy) in before.items() if after[path] is not tensor or not copy.equal(tensor)]
    assert not changed, f"evaluation changes {changed}"
    assert not any(m.training for m in module.modules()), "evaluation switches to training mode"


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@over(SMALL)
def test_input_untouched(subject, training):
    check_input_untouched(subject.build, (2, *subject.small_size), training)


@over(SMALL)
def test_eval_is_deterministic(subject):
    check_eval_is_deterministic(subject.build, (2, *subject.small_size))


@over(SMALL)
def test_eval_keeps_state(subject):
    check_eval_keeps_state(subject.build, (2, *subject.small_size))
