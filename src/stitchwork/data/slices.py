"""Slices of volumes with a label for every pixel: how they are read, varied and resized for training.

The augmentation is that of TransUNet's training code (Chen et al., 2021), which most networks that are compared on
Synapse and ACDC share: half of the slices are turned by a multiple of 90 degrees and then mirrored, half of the others
are turned by up to 20 degrees. A turn that is always followed by a mirror is a mirror itself, at the middle row, the
middle column or one of the diagonals. So half of the bodies are mirrored, and left and right have to be told apart by
what lies around them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import torch
from torch import Tensor
from torch.utils.data import Dataset

Read = Callable[[Path], tuple[numpy.ndarray, numpy.ndarray]]


class SliceDataset(Dataset):
    """Slices in files of their own.

    The random numbers come from NumPy's global generator, which the training loop seeds for each batch, so that a run
    that resumes sees the same variations.

    Args:
        files: one for each slice.
        read: gives a file's image and labels, each (H, W).
        size: side in pixels to which both are resized.
        augment: mirror and turn the slices at random.
    """

    def __init__(self, files: Sequence[Path], read: Read, size: int = 224, augment: bool = False):
        if size < 1:
            raise ValueError(f"slices: size must be at least 1 pixel; got {size}")
        self.files, self.read, self.size, self.augment = list(files), read, size, augment

    def __len__(self) -> int:
        """The number of slices."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The image (1, size, size), float, and its labels (size, size), int64."""
        image, labels = self.read(self.files[index])
        if self.augment:
            image, labels = vary_slice(image, labels)
        image, labels = resize_slice(image, self.size, order=3), resize_slice(labels, self.size, order=0)
        return torch.from_numpy(image.astype(numpy.float32))[None], torch.from_numpy(labels.astype(numpy.int64))


def vary_slice(image: numpy.ndarray, labels: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Mirror (probability 1/2), or turn by -20 to 19 degrees (1/4), or leave alone (1/4).

    Both arrays (H, W) are turned by the nearest pixel, the image too, as in the published code; what comes in from
    outside is 0. Mirrored at a diagonal, an H x W slice becomes W x H.
    """
    from scipy import ndimage

    random = numpy.random
    if random.random() < 0.5:
        turns, axis = random.randint(4), random.randint(2)  # as the published code puts it: one of four mirrors
        return tuple(numpy.flip(numpy.rot90(array, turns), axis).copy() for array in (image, labels))
    if random.random() < 0.5:
        angle = random.randint(-20, 20)
        return tuple(ndimage.rotate(array, angle, order=0, reshape=False) for array in (image, labels))
    return image, labels


def resize_slice(array: numpy.ndarray, size: int, order: int) -> numpy.ndarray:
    """An array (H, W) as (size, size), by splines of this order: 3 for images, 0 (the nearest pixel) for labels."""
    from scipy import ndimage

    if array.shape == (size, size):
        return array
    return ndimage.zoom(array, (size / array.shape[0], size / array.shape[1]), order=order)
