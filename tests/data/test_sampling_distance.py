import pytest
import torch
import torch.nn.functional as F

import stitchwork
from stitchwork.data.tasks import sampling_distance


def error(answer, y):
    """Without the columns that zeros reach."""
    return (answer - y)[..., :-3].square().mean().item()


def test_the_seed_decides_the_samples():
    one, same, other = sampling_distance(4, seed=1), sampling_distance(4, seed=1), sampling_distance(4, seed=2)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])


def test_shapes_and_the_error_of_knowing_nothing():
    x, y = sampling_distance(3000, size=9, seed=0)
    assert x.shape == (3000, 2, 9, 9) and y.shape == (3000, 1, 9, 9)
    assert error(torch.zeros_like(y), y) == pytest.approx(1, abs=0.02)
    assert (x[:, 1] == x[:, 1, :1, :1]).all() and x[:, 1].min() >= -1 and x[:, 1].max() <= 1


def test_the_texture_is_read_where_the_plane_says():
    x, y = sampling_distance(20, size=8, seed=3)
    for image, target in zip(x, y):
        for column in (0, 3, 7):
            place = column + 2 + image[1, 0, 0].item()
            left, share = int(place), place % 1
            value = [image[0, 5, c].item() if c < 8 else 0.0 for c in (left, left + 1)]
            expected = 1.5**0.5 * ((1 - share) * value[0] + share * value[1])
            assert target[0, 5, column].item() == pytest.approx(expected, abs=1e-5)


def test_a_deformable_convolution_of_linear_layers_solves_it():
    x, y = sampling_distance(10, seed=0)
    block = stitchwork.create_block("deformable_conv_v1", 2)
    torch.nn.init.zeros_(block.conv.weight)
    block.conv.weight.data[0, 0, 1, 1] = 1.5**0.5  # the middle tap, number 4 of 9, reads the texture,
    block.offset.weight.data[9 + 4, 1, 1, 1] = 1.0  # and its column moves by the plane
    block.offset.bias.data[9 + 4] = 2.0
    assert torch.allclose(block(x)[:, :1], y, atol=1e-5)


def test_no_linear_convolution_is_better_than_seven_sixteenths():
    x, y = sampling_distance(2000, size=12, seed=0)
    columns = F.unfold(x[:, :1], 9, padding=4).view(2000, 81, 12, 12)[..., :-3].transpose(0, 1).flatten(1)  # 9 x 9
    target = y[..., :-3].flatten()
    weights = torch.linalg.lstsq(columns.T, target[:, None]).solution
    assert ((weights[:, 0] @ columns - target) ** 2).mean().item() == pytest.approx(7 / 16, abs=0.01)
    assert (weights[[41, 42, 43], 0] / 1.5**0.5 - torch.tensor([0.25, 0.5, 0.25])).abs().max() < 0.02


@pytest.mark.parametrize(("reach", "floor"), [(1, 3 / 4), (2, 1 / 4), (3, 0)])
def test_who_sees_too_little_has_a_floor(reach, floor):
    """The best answer from what is seen: the pixels out of reach, which are independent, count as their mean, zero."""
    x, y = sampling_distance(3000, seed=0)
    padded = F.pad(x[:, 0], (0, 3))
    distance = x[:, 1, :1, :1] + 2
    best = sum(
        1.5**0.5 * (1 - (distance - m).abs()).clamp(min=0) * padded[:, :, m : m + 16] for m in range(1, reach + 1)
    )
    assert error(best[:, None], y) == pytest.approx(floor, abs=0.02)


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 3)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"sampling_distance: {argument}.*{value}"):
        sampling_distance(**{"n": 2, argument: value})
