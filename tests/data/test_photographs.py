import pytest
import torch
from sklearn.datasets import load_sample_image

from stitchwork.data import normalise, photographs


def test_whole_photographs():
    images = photographs()
    assert {name: image.shape for name, image in images.items()} == {
        "china": (3, 427, 640),
        "flower": (3, 427, 640),
    }
    for name, image in images.items():
        assert torch.equal(
            (image * 255).round().byte().permute(1, 2, 0), torch.tensor(load_sample_image(f"{name}.jpg"))
        )


@pytest.mark.parametrize("size", [1, 97, 224, 500])
def test_squares(size):
    for image in photographs(size).values():
        assert image.shape == (3, size, size)
        assert image.min() >= 0 and image.max() <= 1


def test_the_square_is_the_middle():
    square, whole = photographs(427)["china"], photographs()["china"]
    left = (640 - 427) // 2
    assert torch.allclose(square, whole[:, :, left : left + 427], atol=1e-5)


def test_normalise_is_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision gives the reference")
    x = torch.rand(2, 3, 5, 4)
    reference = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert torch.allclose(normalise(x), reference(x))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"size.*-1"):
        photographs(-1)
    with pytest.raises(ValueError, match=r"\(1, 8, 8\)"):
        normalise(torch.rand(1, 8, 8))
