import pytest
import torch
from sklearn.datasets import load_digits

from stitchwork.data import digits


def test_shapes_types_and_range():
    x, y = digits("train").tensors
    assert x.shape == (1437, 1, 8, 8) and x.dtype == torch.float32
    assert x.min() == 0 and x.max() == 1
    assert y.dtype == torch.int64 and sorted(set(y.tolist())) == list(range(10))


def test_the_parts_make_up_the_whole_and_share_nothing():
    rows = [tuple((x * 16).int().flatten().tolist()) for part in ("train", "test") for x, _ in digits(part, seed=3)]
    whole = [tuple(image.astype(int).tolist()) for image in load_digits().data]
    assert sorted(rows) == sorted(whole)


def test_every_class_is_split_alike():
    train, test = (digits(part).tensors[1].bincount() for part in ("train", "test"))
    assert (test / (train + test)).sub(0.2).abs().max() < 0.01


def test_images_keep_their_labels():
    labels = {tuple(image.astype(int).tolist()): int(label) for image, label in zip(*load_digits(return_X_y=True))}
    assert all(labels[tuple((x * 16).int().flatten().tolist())] == y for x, y in digits("test"))


def test_the_seed_decides_the_split():
    assert torch.equal(digits("test", seed=1).tensors[0], digits("test", seed=1).tensors[0])
    assert not torch.equal(digits("test", seed=1).tensors[0], digits("test", seed=2).tensors[0])


def test_resized():
    x = digits("test", size=20).tensors[0]
    assert x.shape == (360, 1, 20, 20) and x.min() >= 0 and x.max() <= 1
    assert (x.mean((1, 2, 3)) - digits("test").tensors[0].mean((1, 2, 3))).abs().max() < 0.05


@pytest.mark.parametrize(("argument", "value"), [("split", "valid"), ("size", 0)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"{argument}.*{value}"):
        digits(**{argument: value})
