import pytest
import torch
from torch import nn

from stitchwork.layers import Classifier


class Tiny(Classifier):
    """Its features are the image."""

    def __init__(self, num_classes=5, in_chans=3, dropout=0.0):
        super().__init__(in_chans, num_features=in_chans, dropout=dropout)
        self.reset_head(num_classes)

    def forward_features(self, x):
        self.check_input(x)
        return x


def test_head_is_linear_on_the_mean():
    net, x = Tiny().eval(), torch.randn(2, 3, 4, 6)
    expected = torch.stack([x[b].sum((1, 2)) / 24 @ net.head.weight.T + net.head.bias for b in range(2)])
    torch.testing.assert_close(net(x), expected)


def test_no_classes_gives_the_mean():
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(Tiny(num_classes=0)(x), x.mean((2, 3)))


def test_reset_head():
    net = Tiny()
    old = net.head
    net.reset_head(7)
    assert net.head is not old and net.num_classes == 7
    assert net(torch.randn(2, 3, 4, 4)).shape == (2, 7)
    net.reset_head(0)
    assert isinstance(net.head, nn.Identity)
    with pytest.raises(ValueError, match=r"num_classes must be 0 .* got -1"):
        net.reset_head(-1)


def test_dropout_in_training_only():
    torch.manual_seed(0)
    net, x = Tiny(num_classes=0, in_chans=1000, dropout=0.3), torch.ones(1, 1000, 1, 1)
    dropped = (net.train()(x) == 0).float().mean().item()
    assert dropped == pytest.approx(0.3, abs=0.05)
    assert (net.eval()(x) == 1).all()


def test_refuses():
    with pytest.raises(ValueError, match="in_chans must be at least 1; got 0"):
        Tiny(in_chans=0)
    with pytest.raises(ValueError, match="Tiny was built for 3 channels"):
        Tiny()(torch.zeros(1, 4, 8, 8))
