import itertools

import pytest
import torch
import torch.nn.functional as F

from stitchwork.data.tasks import thin_curves, thin_curves_posterior
from stitchwork.data.tasks.thin_curves import STAYS


def error(answer, y):
    return (answer - y).square().mean().item()


def test_the_seed_decides_the_samples():
    one, same, other = thin_curves(4, seed=1), thin_curves(4, seed=1), thin_curves(4, seed=2)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])


def test_shapes_and_the_error_of_knowing_nothing():
    x, y = thin_curves(5, size=9)
    assert x.shape == y.shape == (5, 1, 9, 9)
    assert y.square().mean().item() == pytest.approx(1, abs=1e-5)
    assert y.mean().abs() < 1e-6


def test_the_curve_is_one_pixel_a_column_and_in_one_piece():
    _, y = thin_curves(200, size=12, seed=0)
    curve = y[:, 0] > 0
    assert (curve.sum(1) == 1).all()
    steps = (curve.float().argmax(1).diff(dim=1) + 1) % 12 - 1  # modulo the image
    assert set(steps.unique().tolist()) == {-1, 0, 1}
    kept = (steps[:, 1:] == steps[:, :-1]).float().mean().item()
    assert kept == pytest.approx(STAYS + (1 - STAYS) / 3, abs=0.02)


def test_contrast_is_what_the_curve_adds():
    x, y = thin_curves(300, contrast=2.5, seed=0)
    assert x[y > 0].mean().item() == pytest.approx(2.5, abs=0.05)
    assert x[y < 0].mean().item() == pytest.approx(0, abs=0.02)
    assert x[y < 0].std().item() == pytest.approx(1, abs=0.02)


def test_the_posterior_is_that_of_all_curves_written_out():
    """Four columns and rows: 4 starts and 3^4 slopes are few enough to go through one by one."""
    size, contrast = 4, 1.5
    x, _ = thin_curves(3, size=size, contrast=contrast, seed=5)
    belief = torch.zeros(3, size, size)
    for first, slopes in itertools.product(range(size), itertools.product((-1, 0, 1), repeat=size)):
        rows = [(first + sum(slopes[: i + 1])) % size for i in range(size)]
        prior = 1.0
        for a, b in itertools.pairwise(slopes):
            prior *= STAYS * (a == b) + (1 - STAYS) / 3
        weight = prior * torch.exp(contrast * x[:, 0, rows, range(size)].sum(1))
        belief[:, rows, range(size)] += weight[:, None]
    belief /= belief.sum(1, keepdim=True)
    expected = (belief - 1 / size) / (1 / size - 1 / size**2) ** 0.5
    assert torch.allclose(thin_curves_posterior(x, contrast)[:, 0], expected, atol=1e-5)


def test_following_the_curve_decides():
    x, y = thin_curves(500, seed=0)
    assert error(thin_curves_posterior(x), y) < 0.15
    alone = torch.softmax(1.5 * x, 2)  # the best that a pixel can know of its own column
    assert error((alone - 1 / 24) / (1 / 24 - 1 / 24**2) ** 0.5, y) > 0.75


def test_a_straight_kernel_leaves_most_of_it():
    """The best linear kernel on a row, by least squares, is far from the posterior, at any length."""
    x, y = thin_curves(500, seed=0)
    columns = F.unfold(x, (1, 23), padding=(0, 11)).transpose(0, 1).flatten(1)
    weights = torch.linalg.lstsq(columns.T, y.flatten()[:, None]).solution
    assert ((weights[:, 0] @ columns - y.flatten()) ** 2).mean().item() > 0.7


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 2), ("contrast", -1.0)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"thin_curves: {argument}.*{value}"):
        thin_curves(**{"n": 2, argument: value})
