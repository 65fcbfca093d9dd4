"""Objects of several sizes in clutter: all can be found among the pixels, and the small ones not among means."""

import pytest
import torch
import torch.nn.functional as F

from stitchwork.data.tasks import objects_in_clutter


def parts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Names, questions (n, K, N) and values (n, 1, N)."""
    bits = x.shape[1] // 2
    return x.flatten(2).split([bits, bits, 1], 1)


def test_the_seed_decides_the_samples():
    before = torch.get_rng_state()
    one, same, other = (objects_in_clutter(4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])
    assert torch.equal(before, torch.get_rng_state())


def test_shapes_and_the_error_of_knowing_nothing():
    x, y = objects_in_clutter(3000, size=8, sides=(1, 2), seed=0)
    assert x.shape == (3000, 13, 8, 8) and y.shape == (3000, 1, 8, 8)
    assert y.square().mean().item() == pytest.approx(1, abs=0.06) and y.mean().abs() < 0.05
    assert x[:, :12].abs().eq(1).all()


def test_there_is_one_object_of_each_side_and_all_else_is_clutter():
    x, _ = objects_in_clutter(50, size=12, sides=(1, 2, 4), seed=3)
    names, _, values = parts(x)
    for name, value in zip(names, values):
        kinds, kind, counts = name.unique(dim=1, return_inverse=True, return_counts=True)
        assert sorted(counts.tolist()) == [1] * (144 - 20) + [4, 16]
        for index, side in [(counts.argmax(), 4), ((counts == 4).nonzero()[0, 0], 2)]:
            places = (kind == index).nonzero()[:, 0]
            rows, columns = places // 12, places % 12
            assert rows.min() % side == columns.min() % side == 0
            assert rows.max() - rows.min() == columns.max() - columns.min() == side - 1
            assert len(value[0, places].unique()) == 1
        assert len(value.unique()) == kinds.shape[1]


def test_objects_are_everywhere_equally_often():
    x, _ = objects_in_clutter(4000, size=8, sides=(1, 2, 4), seed=4)
    names = parts(x)[0]
    same = (names.mT @ names == names.shape[1]).sum(2)  # (n, N): pixels of the same name
    for count in (4, 16):
        often = (same == count).float().mean(0)
        assert (often - count / 64).abs().max() < 0.05


@pytest.mark.parametrize("asked", [(1,), (2,), (4,), (1, 4), None])
def test_comparing_with_every_pixel_solves_it(asked):
    x, y = objects_in_clutter(40, asked=asked, seed=5)
    names, questions, values = parts(x)
    equal = questions.mT @ names == names.shape[1]  # (n, N, N)
    found = (equal * values).sum(2) / equal.sum(2)
    assert torch.allclose(found, y.flatten(1), atol=1e-5)
    sides = equal.sum(2).double().sqrt().unique().tolist()
    assert sides == list(asked or (1, 2, 4))


@pytest.mark.parametrize(("side", "cell"), [(1, 2), (1, 4), (2, 4), (4, 8), (2, 2), (4, 2)])
def test_the_best_reading_of_a_mean_is_as_bad_as_the_docstring_says(side, cell):
    x, y = objects_in_clutter(3000, sides=(side,), seed=6)
    means = F.avg_pool2d(x[:, -1:], cell).flatten(1)
    names, questions, _ = parts(x)
    at = (names == questions[:, :, :1]).all(1).float().argmax(1)  # the first pixel of the object
    cells = at // 16 // cell * (16 // cell) + at % 16 // cell
    seen, wanted = means.gather(1, cells[:, None])[:, 0], y[:, 0, 0, 0]
    best = (seen * wanted).mean() / seen.square().mean()
    left = max(0, cell**2 - side**2)
    error = (best * seen - wanted).square().mean().item()
    assert error == pytest.approx(left / (side**4 + left), abs=0.05)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n", 0),
        ("size", 1),
        ("sides", ()),
        ("sides", (1, 1)),
        ("sides", (0, 1)),
        ("sides", (3,)),
        ("sides", (8, 16)),
        ("sides", (16,)),
        ("asked", ()),
        ("asked", (8,)),
    ],
)
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"objects_in_clutter: {argument} must.*got"):
        objects_in_clutter(**{"n": 2, argument: value})
