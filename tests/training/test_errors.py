"""What does not fit together is said before it costs anything."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from stitchwork.training import evaluate, fit

from .helpers import FAST, network, samples


def attempt(train=None, model=None, valid=None, recipe=FAST, **kwargs):
    fit(model or network(), samples() if train is None else train, valid, recipe, progress=False, **kwargs)


def labelled(*labels, dtype=torch.int64):
    return TensorDataset(torch.randn(8, 6), torch.tensor(labels, dtype=dtype).repeat(8 // len(labels)))


@pytest.mark.parametrize("empty", [[], TensorDataset(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))])
def test_empty_data(empty):
    with pytest.raises(ValueError, match="training dataset is empty"):
        attempt(empty)
    with pytest.raises(ValueError, match="validation dataset is empty"):
        attempt(valid=empty)
    with pytest.raises(ValueError, match="is empty"):
        evaluate(network(), empty)


def test_a_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="batch_size=64 is more than the 50 training samples: set it to 50 or less"):
        attempt(recipe=replace(FAST, batch_size=64))
    attempt(recipe=replace(FAST, batch_size=50))


@pytest.mark.parametrize(("labels", "span"), [((0, 3), "from 0 to 3"), ((-1, 2), "from -1 to 2")])
def test_labels_out_of_range(labels, span):
    with pytest.raises(ValueError, match=rf"{span}, but the model has 3 classes"):
        attempt(labelled(*labels))
    with pytest.raises(ValueError, match=span):
        evaluate(network(), labelled(*labels))


def test_targets_that_are_no_labels():
    with pytest.raises(ValueError, match=r"float32.*loss=torch\.nn\.functional\.mse_loss"):
        attempt(labelled(0, 1, dtype=torch.float32))
    with pytest.raises(ValueError, match=r"targets of shape \(8,\); got \(8, 2\)"):
        attempt(TensorDataset(torch.randn(8, 6), torch.zeros(8, 2, dtype=torch.int64)))


def test_items_that_are_no_pairs():
    with pytest.raises(ValueError, match=r"pairs \(x, y\)"):
        attempt(TensorDataset(torch.randn(8, 6)))
    with pytest.raises(ValueError, match=r"pairs \(x, y\)"):
        attempt([torch.randn(6)] * 8)


def test_label_smoothing_with_a_loss_of_ones_own():
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1"):
        attempt(recipe=replace(FAST, label_smoothing=0.1), loss=F.cross_entropy)


def test_a_loss_that_is_no_number():
    with pytest.raises(ValueError, match=r"loss must be one number.*\(8,\)"):
        attempt(loss=lambda output, target: F.cross_entropy(output, target, reduction="none"))


def test_nothing_to_train():
    with pytest.raises(ValueError, match="requires_grad"):
        attempt(model=nn.Linear(6, 3).requires_grad_(False))
