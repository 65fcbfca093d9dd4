import pytest
import torch

from stitchwork.layers import check_image, check_multiple, check_positive, check_size


@pytest.mark.parametrize(
    ("shape", "fragments"),
    [
        ((3, 8, 8), ["Net", "(B, 3, H, W)", "(3, 8, 8)", "x[None]"]),
        ((2, 3, 1, 8, 8), ["Net", "(2, 3, 1, 8, 8)", "four axes"]),
        ((2, 4, 8, 8), ["Net", "3 channels", "(2, 4, 8, 8)", "build it for 4"]),
        ((2, 8, 8, 3), ["Net", "3 channels", "(2, 8, 8, 3)", "permute"]),
        ((2, 3, 5, 8), ["Net", "at least 6", "(2, 3, 5, 8)", "enlarge"]),
        ((2, 3, 8, 0), ["Net", "at least 6", "(2, 3, 8, 0)", "enlarge"]),
    ],
    ids=str,
)
def test_check_image_refuses(shape, fragments):
    with pytest.raises(ValueError) as error:
        check_image(torch.zeros(shape), 3, "Net", min_size=6)
    for fragment in fragments:
        assert fragment in str(error.value)


def test_check_image_accepts():
    check_image(torch.zeros(1, 3, 6, 6), 3, "Net", min_size=6)
    check_image(torch.zeros(0, 3, 1, 1), 3, "Net")  # an empty batch is a batch


def test_check_positive():
    check_positive("Net", dim=1, ratio=0.1)
    for value in (0, -1, -0.5):
        with pytest.raises(ValueError, match=rf"Net: ratio must be greater than 0; got {value}"):
            check_positive("Net", dim=1, ratio=value)


def test_check_size():
    check_size(torch.zeros(1, 3, 6, 4), (6, 4), "Net")
    with pytest.raises(ValueError, match=r"size \(4, 6\); got \(6, 4\): build it with size="):
        check_size(torch.zeros(1, 3, 6, 4), (4, 6), "Net")


def test_check_multiple():
    check_multiple("Net", 64, heads=8, groups=1)
    with pytest.raises(ValueError, match=r"Net: dim must be a multiple of heads=8; got dim=67: take 72 channels, or"):
        check_multiple("Net", 67, groups=1, heads=8)
