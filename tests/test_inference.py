"""Whole images and tiles: where the network sees enough, both say the same, and nowhere is a seam."""

import itertools
import math

import pytest
import torch
from torch import nn

from stitchwork.inference import _starts, labels_of, predict


def image(channels=2, height=50, width=70, seed=0):
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))


def convolution(kernel, classes=3):
    torch.manual_seed(0)
    return nn.Conv2d(2, classes, kernel, padding=kernel // 2)


class Recorder(nn.Module):
    """Keeps the shapes of what it gets and gives it back."""

    def __init__(self, **attributes):
        super().__init__()
        self.shapes = []
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return x


class MeanOfTheTile(nn.Module):
    """Says the same everywhere: what a network without a sense of place would."""

    def forward(self, x):
        return x.mean((1, 2, 3), keepdim=True).expand(len(x), 1, *x.shape[2:])


@pytest.mark.parametrize("tile", [None, 16, 24, 64, 100])
@pytest.mark.parametrize("overlap", [0, 5, 15])
def test_a_network_that_looks_at_single_pixels(tile, overlap):
    model, x = convolution(1), image()
    with torch.no_grad():
        expected = model(x[None])[0]
    torch.testing.assert_close(predict(model, x, tile, overlap, batch_size=3), expected, atol=1e-6, rtol=0)


def test_a_small_field_of_view_away_from_the_borders_of_the_tiles():
    """Near a border the tile has zeros where the image goes on; there it has almost no weight."""
    model, x, tile, overlap = convolution(3), image(), 32, 10
    with torch.no_grad():
        expected = model(x[None])[0]
    found = predict(model, x, tile, overlap)
    near = torch.zeros(50, 70, dtype=torch.bool)
    for start in _starts(50, tile, overlap):
        near[[row for row in (start, start + tile - 1) if 0 < row < 49]] = True
    for start in _starts(70, tile, overlap):
        near[:, [column for column in (start, start + tile - 1) if 0 < column < 69]] = True
    error = (found - expected).abs().amax(0)
    assert 0.7 > near.float().mean() > 0.05
    assert error[~near].max() < 1e-6
    assert 1e-6 < error[near].max() < math.sin(math.pi / 4 / overlap) ** 2 * expected.abs().max()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 93), (31, 33), (64, 64)])
@pytest.mark.parametrize(("tile", "overlap"), [(16, 0), (16, 8), (16, 15), (32, 3)])
def test_constant_networks_give_constants(height, width, tile, overlap):
    class Constant(nn.Module):
        def forward(self, x):
            return torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).expand(len(x), 2, *x.shape[2:])

    found = predict(Constant(), image(1, height, width), tile, overlap, batch_size=2)
    assert found.shape == (2, height, width)
    torch.testing.assert_close(found, torch.tensor([3.0, -1.0]).view(2, 1, 1).expand(2, height, width))


@pytest.mark.parametrize("overlap", [8, 16, 24])
def test_there_is_no_seam(overlap):
    """From a tile that says 0 to one that says 1 the way is the ramp's: pi / 2 over the overlap at the steepest."""
    x = torch.zeros(1, 32, 64 - overlap)
    x[..., 32 - overlap // 2 :] = 1
    found = predict(MeanOfTheTile(), x, 32, overlap)[0]
    assert (found == found[:1]).all(), "the rows are all in the same tiles"
    line, jump = found[0], found[0, -1] - found[0, 0]
    assert jump > 0.1
    assert (line[1:] - line[:-1]).max() < 1.1 * math.pi / 2 / overlap * jump
    left = line[32 - overlap : 32]
    share = torch.sin(math.pi / 2 * (torch.arange(overlap) + 0.5) / overlap) ** 2
    if overlap <= 16:
        torch.testing.assert_close(left, line[0] + share * jump)


def test_what_the_network_does_not_take_is_filled_up_and_cut():
    model = Recorder(multiple=8, min_size=24)
    x = image(1, 19, 30)
    found = predict(model, x)
    assert model.shapes == [(1, 1, 24, 32)] and torch.equal(found, x)

    class Last(nn.Module):
        multiple = 8

        def forward(self, x):
            return x[..., -1:, -1:].expand_as(x)

    assert (predict(Last(), x) == x[:, -1:, -1:]).all(), "filled up with the last row and column"


def test_tiles_have_one_size_and_cover_everything():
    model = Recorder(multiple=8)
    x = image(1, 50, 70)
    assert torch.allclose(predict(model, x, 24, 6, batch_size=4), x, atol=1e-6)
    assert {shape[1:] for shape in model.shapes} == {(1, 24, 24)}
    assert max(shape[0] for shape in model.shapes) == 4 and sum(shape[0] for shape in model.shapes) == 3 * 4


@pytest.mark.parametrize("length", [1, 24, 25, 42, 43, 100])
@pytest.mark.parametrize("overlap", [0, 6, 23])
def test_neighbours_share_at_least_the_overlap(length, overlap):
    starts = _starts(length, 24, overlap)
    assert starts[0] == 0 and starts[-1] == max(0, length - 24)
    assert all(0 < b - a <= 24 - overlap for a, b in itertools.pairwise(starts))


def test_a_narrow_image_is_cut_one_way_only():
    model = Recorder(multiple=8)
    x = image(1, 10, 100)
    assert torch.allclose(predict(model, x, 24, 6), x, atol=1e-6)
    assert {shape[2:] for shape in model.shapes} == {(16, 24)}


def test_several_images_in_any_batches():
    model, x = convolution(3), torch.stack([image(seed=seed) for seed in range(5)])
    single = torch.stack([predict(model, one, 32, 8) for one in x])
    for size in (1, 2, 7):
        torch.testing.assert_close(predict(model, x, 32, 8, size), single, atol=1e-6, rtol=0)
        assert predict(model, x, batch_size=size).shape == (5, 3, 50, 70)


def test_the_result_is_float_on_the_cpu_and_asks_for_no_gradient():
    found = predict(convolution(3).double(), image().double())
    assert found.dtype == torch.float32 and not found.requires_grad and found.device.type == "cpu"


def test_labels():
    logits = torch.tensor([[[0.0, 2.0]], [[1.0, -1.0]]])
    assert labels_of(logits).tolist() == [[1, 0]] and labels_of(logits).dtype == torch.uint8
    assert labels_of(torch.tensor([[[0.1, -0.1]]])).tolist() == [[1, 0]]
    assert labels_of(torch.stack([logits, -logits])).tolist() == [[[1, 0]], [[0, 1]]]
    with pytest.raises(ValueError, match="at most 256 classes go into a byte; got 257"):
        labels_of(torch.zeros(257, 1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 20}, "tile must be a multiple of 8, which the network needs; got 20"),
        ({"tile": 0}, "tile must be a multiple of 8, which the network needs; got 0"),
        ({"tile": 16, "overlap": 16}, "overlap must be at least 0 and less than tile=16; got 16"),
        ({"tile": 16, "overlap": -1}, "overlap must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        predict(Recorder(multiple=8), image(), **options)


@pytest.mark.parametrize("x", [torch.zeros(5, 5), torch.zeros(1, 5, 5, dtype=torch.uint8)])
def test_what_is_no_image(x):
    with pytest.raises(ValueError, match=r"takes a float image \(C, H, W\) or \(N, C, H, W\); got"):
        predict(Recorder(), x)
