import pytest
import torch

from stitchwork.layers import join_windows, pad_to_windows, split_windows


def test_windows_are_the_image_cut():
    x = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    windows = split_windows(x, 2, 3)
    assert windows.shape == (2, 2, 2, 6, 3)
    for i in range(2):
        for j in range(2):
            cut = x[:, :, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3]
            assert torch.equal(windows[:, i, j], cut.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1), (2, 9)])
def test_join_undoes_split(size):
    x = torch.randn(2, 3, *size)
    assert torch.equal(join_windows(split_windows(x, 2, 3), 2, 3, size), x)


def test_zeros_below_and_to_the_right():
    x = torch.ones(1, 1, 3, 4)
    padded = pad_to_windows(x, 2, 3)
    assert padded.shape == (1, 1, 4, 6) and padded.sum() == 12 and (padded[..., :3, :4] == 1).all()
    assert torch.equal(pad_to_windows(x, 3, 2), x)
