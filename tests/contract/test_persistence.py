"""Saved, copied and sent: the module that comes back is the module that went."""

import copy
import pickle

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .probes import assert_same, awaken, exact, noise
from .subjects import SMALL, over


def check_round_trip(build, shape, path):
    """The state saved as safetensors and loaded into a fresh instance gives the same output."""
    module, x = exact(build), noise(shape, dtype=torch.float64)
    save_file(module.state_dict(), path)
    fresh = awaken(build(), seed=1).double().eval()
    result = fresh.load_state_dict(load_file(path))
    assert not result.missing_keys and not result.unexpected_keys
    with torch.no_grad():
        assert torch.equal(fresh(x), module(x)), "the output after a round trip through safetensors differs"


def check_everything_registered(build):
    """No tensor is a plain attribute, and no submodule hides in a list: neither would be saved, moved or trained."""
    for path, child in build().named_modules():
        for name, value in vars(child).items():
            assert not isinstance(value, torch.Tensor), f"{path}.{name} is a plain tensor: register it as a buffer"
            hidden = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            if not name.startswith("_"):
                assert not any(isinstance(v, nn.Module | torch.Tensor) for v in hidden), (
                    f"{path}.{name} hides modules or tensors in a plain {type(value).__name__}: use nn.ModuleList"
                )


def check_copy(build, shape, copier):
    """A copy computes the same, and shares no memory with the original."""
    module, x = exact(build), noise(shape, dtype=torch.float64)
    with torch.no_grad():
        expected = module(x)
        twin = copier(module)
        assert_same(twin(x), expected, "the copy's output", 0)
        awaken(twin, seed=1)
        assert_same(module(x), expected, "the original's output after the copy was changed", 0)


def pickled(module):
    return pickle.loads(pickle.dumps(module))


@over(SMALL)
def test_round_trip(subject, tmp_path):
    check_round_trip(subject.build, (2, *subject.small_size), tmp_path / "state.safetensors")


@over(SMALL)
def test_everything_registered(subject):
    check_everything_registered(subject.build)


@over(SMALL)
def test_deepcopy(subject):
    check_copy(subject.build, (2, *subject.small_size), copy.deepcopy)


@over(SMALL)
def test_pickle(subject):
    check_copy(subject.build, (2, *subject.small_size), pickled)
