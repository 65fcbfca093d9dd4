import pytest
import torch
from torch import nn

from stitchwork.layers import PooledBatchNorm


@pytest.fixture
def norms():
    """Ours and PyTorch's, with the same parameters and statistics."""
    torch.manual_seed(0)
    ours, theirs = PooledBatchNorm(6), nn.BatchNorm2d(6)
    for tensor in (ours.weight, ours.bias, ours.running_mean, ours.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_is_batch_norm_from_two_images_on(norms, training):
    ours, theirs = norms
    x = torch.randn(3, 6, 1, 1)
    assert torch.equal(ours.train(training)(x), theirs.train(training)(x))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


def test_one_image_gets_the_running_statistics(norms):
    ours, theirs = norms
    x = torch.randn(1, 6, 1, 1, requires_grad=True)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    y = ours.train()(x)
    assert torch.equal(y, theirs.eval()(x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient.flatten(), ours.weight / (ours.running_var + ours.eps).sqrt())
    with pytest.raises(ValueError, match="more than 1 value"):
        theirs.train()(x)


def test_pooled_features_without_the_axes_of_length_one():
    torch.manual_seed(0)
    ours, theirs = PooledBatchNorm(6), nn.BatchNorm1d(6)
    x = torch.randn(5, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert ours.train()(x[:1]).shape == (1, 6)


def test_a_map_that_is_not_pooled_along_one_axis_alone_is_refused():
    with pytest.raises(ValueError, match=r"takes \(B, C\) or \(B, C, 1, 1\); got shape \(2, 6, 7\): pool it first"):
        PooledBatchNorm(6)(torch.randn(2, 6, 7))
