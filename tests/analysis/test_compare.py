"""The first differing layer of pairs whose difference the test put there."""

import copy
import math

import pytest
import torch
from torch import nn

import stitchwork
from stitchwork.analysis import first_differing_layer


class Ours(nn.Module):
    """Convolution, norm, ReLU, convolution, mean, linear."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.second(self.first(x)).mean((2, 3)))


class Theirs(nn.Module):
    """The same with other names, functions in the place of modules, a dropout, and a 1x1 convolution as the head."""

    def __init__(self, ours: Ours):
        super().__init__()
        ours = copy.deepcopy(ours)
        self.fc = nn.Conv2d(8, 5, 1)
        self.fc.weight.data, self.fc.bias.data = ours.head.weight.data[:, :, None, None], ours.head.bias.data
        self.conv1, self.bn1, _ = ours.first
        self.drop, self.conv2 = nn.Dropout(), ours.second

    def forward(self, x):
        x = self.conv2(self.drop(torch.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3), keepdim=True)).flatten(1)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    ours = Ours()
    return ours, Theirs(ours)


X = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))


def test_equal_networks(pair):
    assert first_differing_layer(*pair, X, atol=1e-6) is None


def test_a_changed_weight_is_found_by_its_layer(pair):
    ours, theirs = pair
    theirs.conv2.weight.data[0, 0, 0, 0] += 1
    found = first_differing_layer(ours, theirs, X)
    assert (found.ours, found.theirs) == ("second", "conv2")
    assert found.our_shape == found.their_shape == (2, 8, 9, 11)
    assert "only in ours since the last equal layer: first.2 (ReLU)" in str(found)


def test_the_deviation_is_the_largest(pair):
    ours, theirs = pair
    theirs.fc.bias.data[3] -= 0.25
    found = first_differing_layer(ours, theirs, X)
    assert (found.ours, found.theirs) == ("head", "fc")
    assert found.deviation == pytest.approx(0.25, rel=1e-4)
    assert "largest deviation 0.25" in str(found)


def test_a_norm_is_found_by_its_eps(pair):
    ours, theirs = pair
    theirs.bn1.eps = 1e-2
    assert first_differing_layer(ours, theirs, X).ours == "first.1"


def test_another_stride_shows_as_another_shape(pair):
    ours, theirs = pair
    ours.first[0].stride = (2, 2)
    found = first_differing_layer(ours, theirs, X)
    assert (found.ours, found.our_shape, found.their_shape) == ("first.0", (2, 8, 5, 6), (2, 8, 9, 11))
    assert found.deviation == math.inf
    assert "the shapes differ" in str(found)


def test_a_missing_layer_is_named(pair):
    ours, theirs = pair
    ours.first[1] = nn.Identity()
    theirs.bn1.weight.data *= 3
    found = first_differing_layer(ours, theirs, X)
    assert (found.ours, found.theirs, found.only_theirs) == ("second", "conv2", ("bn1 (norm)",))


def test_another_activation_is_named():
    torch.manual_seed(0)
    ours = Ours()
    theirs = copy.deepcopy(ours)
    theirs.first[2] = nn.Hardswish()
    found = first_differing_layer(ours, theirs, X)
    assert (found.ours, found.only_ours, found.only_theirs) == ("second", ("first.2 (ReLU)",), ("first.2 (Hardswish)",))


def test_a_difference_outside_of_all_layers(pair):
    ours, theirs = pair
    theirs.register_forward_hook(lambda module, inputs, output: output * 2)
    found = first_differing_layer(ours, theirs, X)
    assert (found.ours, found.theirs) == ("(output)", "(output)")


def test_nan_is_a_difference(pair):
    ours, theirs = pair
    ours.second.bias.data[0] = math.nan
    theirs.conv2.bias.data[0] = math.nan
    assert first_differing_layer(ours, theirs, X).deviation == math.inf


def test_modes_statistics_hooks_and_input_are_left_alone(pair):
    ours, theirs = pair
    x = X.clone()
    ours.train()
    first_differing_layer(ours, nn.Sequential(nn.ReLU(inplace=True), theirs).train(), x)
    assert ours.training and theirs.drop.training and ours.first[1].num_batches_tracked == 0
    assert x.equal(X)
    assert not any(part._forward_hooks for net in pair for part in net.modules())


def test_a_network_against_its_variant():
    torch.manual_seed(0)
    ours = stitchwork.create_model("resnet18", num_classes=3)
    theirs = copy.deepcopy(ours)
    theirs.layer3[1].conv2.conv.weight.data.mul_(1.1)
    found = first_differing_layer(ours, theirs, torch.randn(1, 3, 32, 32))
    assert found.ours == found.theirs == "layer3.1.conv2.conv"
