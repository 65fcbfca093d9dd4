import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stitchwork import fuse
from stitchwork.layers import ConvNormAct, Segmenter


class Tiny(Segmenter):
    """Its features are the image, or every second pixel of it."""

    def __init__(self, num_classes=5, in_chans=3, step=1, **kwargs):
        super().__init__(in_chans, num_features=in_chans, **kwargs)
        self.step = step
        self.reset_head(num_classes)

    def forward_features(self, x):
        self.check_input(x)
        return x[:, :, :: self.step, :: self.step]


class Divisible(Tiny):
    min_size = 8
    multiple = 4


@pytest.mark.parametrize("head_bias", [True, False])
def test_the_head_sees_each_pixel_for_itself(head_bias):
    net, x = Tiny(head_bias=head_bias), torch.randn(2, 3, 4, 6)
    assert (net.head.bias is None) != head_bias
    weight, bias = net.head.weight[:, :, 0, 0], net.head.bias if head_bias else torch.zeros(5)
    expected = torch.stack([x[:, :, i, j] @ weight.T + bias for i in range(4) for j in range(6)], -1)
    torch.testing.assert_close(net(x), expected.unflatten(2, (4, 6)))


def test_logits_of_a_smaller_map_are_scaled_up():
    """To twice the size: centres stay where they are, so each number is 3/4 of the nearest and 1/4 of the next."""
    net = Tiny(num_classes=1, in_chans=1, step=2)
    nn.init.ones_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    x = torch.tensor([0.0, 9.0, 4.0, 9.0]).expand(1, 1, 4, 4)
    assert net(x)[0, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]
    assert net(torch.randn(2, 1, 7, 5)).shape == (2, 1, 7, 5)


def test_no_classes_gives_the_features_as_they_are():
    x = torch.randn(2, 3, 6, 8)
    assert Tiny(num_classes=0, step=2)(x).equal(x[:, :, ::2, ::2])


def test_reset_head():
    net = Tiny()
    old = net.head
    net.reset_head(7)
    assert net.head is not old and net.num_classes == 7
    assert net(torch.randn(2, 3, 4, 4)).shape == (2, 7, 4, 4)
    net.reset_head(0)
    assert isinstance(net.head, nn.Identity)
    with pytest.raises(ValueError, match=r"num_classes must be 0 .* got -1"):
        net.reset_head(-1)


def test_features_are_dropped_in_training_alone():
    net, x = Tiny(num_classes=0, dropout=0.5), torch.ones(1, 3, 40, 40)
    assert net.eval()(x).equal(x)
    torch.manual_seed(0)
    dropped = net.train()(x)
    assert set(dropped.unique().tolist()) == {0.0, 2.0} and abs(dropped.mean() - 1) < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Tiny(in_chans=0), "Tiny: in_chans must be at least 1; got 0"),
        (lambda: Tiny(dropout=1.0), "Tiny: dropout must be at least 0 and below 1; got 1.0"),
        (lambda: Tiny()(torch.zeros(3, 8, 8)), r"Tiny takes an image batch .*add the batch axis"),
        (lambda: Tiny()(torch.zeros(1, 1, 8, 8)), "built for 3 channels"),
        (lambda: Divisible()(torch.zeros(1, 3, 4, 8)), "at least 8"),
        (lambda: Divisible()(torch.zeros(1, 3, 8, 10)), r"multiples of 4; got \(8, 10\): pad the images to \(8, 12\)"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_fused_network_refuses_training_before_anything_changes():
    class Convolved(Tiny):
        def __init__(self):
            super().__init__()
            self.body = ConvNormAct(3, 3, 3)

        def forward_features(self, x):
            return self.body(x)

    net, x = Convolved().eval(), torch.randn(1, 3, 8, 8)
    fused = fuse(net)
    torch.testing.assert_close(fused(x), net(x))
    with pytest.raises(RuntimeError, match="fused, which only evaluation can use"):
        fused.train()
    assert not any(part.training for part in fused.modules())


def test_the_size_of_the_image_comes_back_from_any_map():
    for step in (1, 2, 3, 8):
        net, x = Tiny(step=step), torch.randn(1, 3, 17, 9)
        expected = F.interpolate(net.head(x[:, :, ::step, ::step]), size=(17, 9), mode="bilinear", align_corners=False)
        torch.testing.assert_close(net(x), expected)
