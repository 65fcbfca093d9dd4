import copy
import pickle
from functools import partial

import pytest
import torch

from stitchwork.layers import Constant


@pytest.fixture
def constant():
    return Constant(partial(torch.arange, 5))


def test_it_gives_the_tensor_and_saves_nothing(constant):
    assert constant().tolist() == [0, 1, 2, 3, 4]
    assert not constant.state_dict() and not list(constant.parameters())


def test_it_is_there_again_after_to_empty():
    with torch.device("meta"):
        constant = Constant(partial(torch.arange, 5))
    assert constant().device.type == "meta"
    constant.to_empty(device="cpu")
    assert constant().tolist() == [0, 1, 2, 3, 4]


def test_to_empty_within_another_default_device(constant):
    with torch.device("meta"):
        constant.to_empty(device="cpu")
    assert constant().tolist() == [0, 1, 2, 3, 4]


def test_it_follows_the_module_to_another_device(constant):
    assert torch.nn.Sequential(constant).to("meta")[0]().device.type == "meta"


def test_integers_stay_integers_and_floats_follow_the_module(constant):
    assert constant.double()().dtype == torch.int64
    assert Constant(partial(torch.ones, 2)).double()().dtype == torch.float64


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies(constant, duplicate):
    assert duplicate(constant)().tolist() == [0, 1, 2, 3, 4]
