"""The two photographs that scikit-learn ships: real images for figures, without a download."""

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def photographs(size: int | None = None) -> dict[str, Tensor]:
    """A Chinese temple and a flower, both under CC BY.

    Args:
        size: side in pixels of the centred square to return, cut after the shorter side has been resized to it;
            ``None`` gives the whole photograph, 427 pixels high and 640 wide.

    Returns:
        ``{"china": (3, H, W), "flower": (3, H, W)}``, float in [0, 1].

    Raises:
        ValueError: ``size`` is less than 1.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    if size is not None and size < 1:
        raise ValueError(f"photographs: size must be at least 1 pixel; got {size}")
    from sklearn.datasets import load_sample_images

    bunch = load_sample_images()
    names = [path.rsplit(".", 1)[0].replace("\\", "/").rsplit("/", 1)[-1] for path in bunch.filenames]
    images = [torch.tensor(image).permute(2, 0, 1) / 255 for image in bunch.images]
    return dict(zip(names, images if size is None else [_square(image, size) for image in images]))


def _square(image: Tensor, size: int) -> Tensor:
    """(3, H, W) -> (3, size, size)."""
    height, width = image.shape[1:]
    scale = size / min(height, width)
    shape = (max(size, round(height * scale)), max(size, round(width * scale)))
    resized = F.interpolate(image[None], shape, mode="bilinear", antialias=True)[0]  # (3, >= size, >= size)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return resized[:, top : top + size, left : left + size].clamp(0, 1).contiguous()


def normalise(x: Tensor) -> Tensor:
    """Subtract ImageNet's mean and divide by its standard deviation, channel by channel.

    Args:
        x: images (..., 3, H, W) in [0, 1].

    Raises:
        ValueError: there are not three channels.
    """
    if x.dim() < 3 or x.shape[-3] != 3:
        raise ValueError(f"normalise takes images (..., 3, H, W); got shape {tuple(x.shape)}")
    return (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)
