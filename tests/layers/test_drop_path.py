import pytest
import torch

from stitchwork.layers import DropPath, drop_path_rates


@pytest.mark.parametrize("shape", [(4000, 2, 3, 3), (4000, 5, 7), (4000, 6)], ids=str)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_whole_images_are_left_out(rate, shape):
    torch.manual_seed(0)
    y = DropPath(rate).train()(torch.ones(shape)).flatten(1)
    assert (y == y[:, :1]).all(), "an image was left out in part"
    kept = y[:, 0] != 0
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - rate)))
    # Four standard deviations of the share.
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=4 * (rate * (1 - rate) / 4000) ** 0.5)


def test_expectation_stays():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 2, 2).expand(20000, -1, -1, -1)
    torch.testing.assert_close(DropPath(0.3).train()(x).mean(0), x[0], atol=0.03, rtol=0)


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0.0, True), (0.0, False)])
def test_changes_nothing(rate, training):
    x = torch.randn(8, 3, 4, 4)
    assert DropPath(rate).train(training)(x) is x


def test_an_image_that_is_left_out_gets_no_gradient():
    torch.manual_seed(0)
    x = torch.ones(64, 2, 3, 3, requires_grad=True)
    y = DropPath(0.5).train()(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert (x.grad == 0).any() and (x.grad == 2).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_the_dtype(dtype):
    assert DropPath(0.5).train()(torch.ones(8, 2, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_refuses(rate):
    with pytest.raises(ValueError, match=f"DropPath: rate must be at least 0 and below 1; got {rate}"):
        DropPath(rate)


def test_rates_rise_linearly_over_all_blocks():
    assert drop_path_rates(0.4, (2, 3)) == [[0.0, 0.1], [0.2, 0.3, 0.4]]
    assert drop_path_rates(0.0, (1, 2)) == [[0.0], [0.0, 0.0]]
    assert drop_path_rates(0.3, (1,)) == [[0.0]]
    assert [len(stage) for stage in drop_path_rates(0.1, (3, 3, 27, 3))] == [3, 3, 27, 3]
