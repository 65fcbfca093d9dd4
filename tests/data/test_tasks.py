import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

import stitchwork
from stitchwork.data import tasks
from stitchwork.training import Recipe, fit

TASKS = [tasks.channel_identity, tasks.absolute_position, tasks.cross_channel_shift]


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_decides_the_samples(task):
    one, same, other = task(4, seed=1), task(4, seed=1), task(4, seed=2)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("task", TASKS)
def test_the_error_of_knowing_nothing_is_one(task):
    y = task(2000, seed=0)[1][..., 1:-1, 1:-1]  # the border of cross_channel_shift has zeros to look at
    assert y.square().mean().item() == pytest.approx(1, abs=0.03)
    assert y.mean().abs() < 0.01


@pytest.mark.parametrize("task", TASKS)
def test_the_callers_generator_is_left_alone(task):
    before = torch.get_rng_state()
    task(3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 0)])
def test_bad_arguments(task, argument, value):
    with pytest.raises(ValueError, match=rf"{task.__name__}: {argument}.*{value}"):
        task(**{"n": 2, argument: value})


def test_channel_identity_returns_the_texture_that_the_cue_names():
    x, y = tasks.channel_identity(50, size=9, seed=0)
    assert x.shape == (50, 3, 9, 9) and y.shape == (50, 1, 9, 9)
    sign = x[:, 2].mean((1, 2))
    assert set(sign.tolist()) == {-1.0, 1.0}
    for image, target, cue in zip(x, y, sign):
        assert (image[2] != 0).sum() == 16  # a whole patch, also where it runs over the edge
        assert torch.equal(target[0], image[0] if cue > 0 else image[1])


def test_channel_identity_puts_the_cue_everywhere():
    x, _ = tasks.channel_identity(2000, size=6, seed=0)
    often = (x[:, 2] != 0).float().mean(0)  # 16 of 36 places
    assert (often - 16 / 36).abs().max() < 0.06


def test_absolute_position_keeps_the_marked_row():
    x, y = tasks.absolute_position(50, size=7, seed=0)
    assert x.shape == (50, 2, 7, 7) and y.shape == (50, 1, 7, 7)
    for image, target in zip(x, y):
        (row, _column), *others = image[1].nonzero().tolist()
        assert not others
        expected = torch.zeros(7, 7)
        expected[row] = image[0, row] * 7**0.5
        assert torch.allclose(target[0], expected)


def test_absolute_position_is_the_same_number_to_a_mean_over_the_image():
    x, _ = tasks.absolute_position(50, seed=0)
    assert torch.allclose(x[:, 1].mean((1, 2)), torch.ones(50) / 16)
    assert len(set(x[:, 1].amax(2).argmax(1).tolist())) > 8  # while the marker is in many rows


def test_a_dense_convolution_is_the_answer_to_cross_channel_shift():
    x, y = tasks.cross_channel_shift(20, channels=3, size=6, seed=5, kernel_seed=2)
    assert torch.allclose(F.conv2d(x, tasks.cross_channel_kernel(3, 2), padding=1), y)


def test_no_separable_convolution_is_nearer_than_the_singular_values_say():
    """Least squares of rank 1, alternating over the two factors, reach the bound of the docstring and stop there."""
    kernel = tasks.cross_channel_kernel(8, 0)
    matrices = kernel.transpose(0, 1).flatten(2)  # (in, out, 9)
    sigma = torch.linalg.svdvals(matrices)
    bound = 1 - sigma[:, 0].square().sum() / sigma.square().sum()
    depthwise = torch.randn(8, 9, generator=torch.Generator().manual_seed(0))
    for _ in range(200):
        pointwise = torch.einsum("iok,ik->io", matrices, depthwise) / depthwise.square().sum(1, keepdim=True)
        depthwise = torch.einsum("iok,io->ik", matrices, pointwise) / pointwise.square().sum(1, keepdim=True)
    separable = torch.einsum("io,ik->oik", pointwise, depthwise).view(8, 8, 3, 3)
    x, y = tasks.cross_channel_shift(200, seed=1)
    error = (F.conv2d(x, separable, padding=1) - y)[..., 1:-1, 1:-1].square().mean()
    assert 0.5 < bound < 0.7
    assert error.item() == pytest.approx(bound.item(), abs=0.02)


CIRCULAR = {"padding": 1, "padding_mode": "circular"}


def around(task, middle):
    """A network that sees no border: 3 x 3 stem, the module in question, a linear answer for each pixel."""
    dim = task(1)[0].shape[1]
    return nn.Sequential(nn.Conv2d(dim, 16, 3, **CIRCULAR), middle, nn.Conv2d(16, 1, 1))


def error_after_training(task, middle, seed=0):
    train, test = (TensorDataset(*task(1024, seed=s)) for s in (seed, seed + 100))
    recipe = Recipe(epochs=10, batch_size=32, lr=0.01, weight_decay=0, clip_norm=None, seed=seed)
    history = fit(around(task, middle), train, test, recipe, loss=F.mse_loss, progress=False)
    return history.valid_loss.iloc[-1]


def test_channel_identity_needs_the_whole_image():
    torch.manual_seed(0)
    assert error_after_training(tasks.channel_identity, stitchwork.create_block("se", 16, reduction=4)) < 0.02
    convolutions = nn.Sequential(nn.ReLU(), nn.Conv2d(16, 16, 3, **CIRCULAR), nn.ReLU())
    assert error_after_training(tasks.channel_identity, convolutions) > 0.35


def test_absolute_position_needs_a_row():
    torch.manual_seed(0)
    assert error_after_training(tasks.absolute_position, stitchwork.create_block("coord_attention", 16)) < 0.02
    squeezed = error_after_training(tasks.absolute_position, stitchwork.create_block("se", 16, reduction=4))
    assert squeezed == pytest.approx(1 - 1 / 16, abs=0.03)


def test_bad_channels():
    with pytest.raises(ValueError, match=r"channels.*0"):
        tasks.cross_channel_shift(2, channels=0)
    with pytest.raises(ValueError, match=r"channels.*0"):
        tasks.cross_channel_kernel(0)
