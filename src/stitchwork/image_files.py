"""Images and volumes in files: slices in, labels out, one batch of slices in memory at a time.

A picture is an image of 1 or 3 channels. A volume (D, H, W) is an array in an npy file, or the array ``image`` (or
``img``, or the only one) of an npz or h5 file; an array (H, W) is one slice. Bytes and 16-bit values become 0 to 1,
floating-point values are taken as they are, as the files of Synapse have them.
"""

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from stitchwork.data.slices import resize_slice
from stitchwork.inference import labels_of, predict

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".npy", ".npz", ".h5")
WHITE = {"bool": 1, "uint8": 255, "uint16": 65535}  # what becomes 1


def label_files(source: Path, output: Path) -> dict[Path, Path]:
    """For each file of a folder, or for the one that is given, where its labels go.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: nothing that can be read, or two files whose labels would have one name.
    """
    known = f"files that end in {', '.join((*PICTURES, *VOLUMES))}"
    if not source.exists():
        raise FileNotFoundError(f"there is no file or folder {source}")
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    files = [path for path in files if path.is_file() and path.suffix.lower() in (*PICTURES, *VOLUMES)]
    if not files:
        raise ValueError(f"{source} {'has nothing' if source.is_dir() else 'is nothing'} to segment: give {known}")
    targets: dict[Path, Path] = {}
    for path in files:
        name = path.stem.removesuffix(".npy") if path.suffix.lower() == ".h5" else path.stem
        target = output / f"{name}{'.png' if path.suffix.lower() in PICTURES else '.npy'}"
        if target in targets.values():
            first = next(other for other, taken in targets.items() if taken == target)
            raise ValueError(f"the labels of {first.name} and {path.name} would both go into {target}: rename one")
        if target.resolve() in {other.resolve() for other in files}:
            raise ValueError(f"the labels of {path.name} would go over the input {target}: take another --output")
        targets[path] = target
    return targets


def segment_file(
    network: nn.Module,
    path: Path,
    target: Path,
    size: int | None = None,
    tile: int | None = None,
    overlap: int = 64,
    batch_size: int = 1,
    grey: tuple[float, float] | None = None,
    overlays: bool = False,
) -> tuple[int, ...]:
    """Segment one file; its labels appear under their name when all are there.

    Args:
        network: a segmentation network in evaluation mode.
        path: the picture or volume.
        target: a png file for a picture, an npy file for a volume.
        size: side in pixels to which slices are resized first (and the labels back); ``None`` leaves them as they are.
        tile: side of the tiles; ``None`` takes slices whole.
        overlap: pixels that two tiles share, at least.
        batch_size: slices or tiles at a time.
        grey: values that become 0 and 1; what is beyond is cut.
        overlays: write a picture with the labels in colour beside them, of a volume's fullest slice.

    Returns:
        The shape of the labels.

    Raises:
        ValueError: the file cannot be read, or does not fit the network.
    """
    with open_slices(path, network.in_chans, grey) as slices:
        part = target.with_name(f"{target.name}.part")
        try:
            if slices.single:
                labels = numpy.empty(slices.shape, numpy.uint8)
            else:  # on the disk, so that the memory does not grow with the volume
                labels = open_memmap(part, mode="w+", dtype=numpy.uint8, shape=slices.shape)
            for first in range(0, len(slices), batch_size):
                images = torch.stack([slices[i] for i in range(first, min(first + batch_size, len(slices)))])
                labels[first : first + len(images)] = segment(network, images, size, tile, overlap, batch_size)
            if overlays:
                fullest = int(numpy.argmax([numpy.count_nonzero(found) for found in labels]))
                write_overlay(target.with_name(f"{target.stem}_overlay.png"), slices[fullest], labels[fullest])
            if target.suffix == ".png":
                write_picture(part, labels[0])
            elif slices.single:
                with part.open("wb") as file:
                    numpy.save(file, labels[0])
            del labels  # which closes the file
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    return slices.shape[1:] if slices.single else slices.shape


def segment(
    network: nn.Module,
    images: Tensor,
    size: int | None = None,
    tile: int | None = None,
    overlap: int = 64,
    batch_size: int = 1,
) -> Tensor:
    """The class of each pixel: (N, C, H, W) -> (N, H, W), uint8.

    With ``size`` the images are resized to a square by cubic splines, as they are for training, and the labels back to
    the nearest pixel.
    """
    if size is None:
        return labels_of(predict(network, images, tile, overlap, batch_size))
    from scipy import ndimage

    small = [[resize_slice(channel.numpy(), size, order=3) for channel in image] for image in images]
    labels = labels_of(predict(network, torch.from_numpy(numpy.array(small)), tile, overlap, batch_size))
    factors = images.shape[2] / size, images.shape[3] / size
    return torch.stack([torch.from_numpy(ndimage.zoom(found.numpy(), factors, order=0)) for found in labels])


class Slices(Sequence):
    """The slices of a file, each read when it is asked for.

    Args:
        path: of the file, for messages.
        array: (D, H, W) or (H, W), or (H, W, 3) of a picture; in memory or in the file.
        in_chans: channels that the network takes.
        grey: values that become 0 and 1.
        colour: whether the last axis is colour.

    Attributes:
        shape: (D, H, W).
        single: whether there is one slice without an axis of its own.
    """

    def __init__(self, path: Path, array, in_chans: int, grey: tuple[float, float] | None = None, colour: bool = False):
        if colour and in_chans != 3:
            raise ValueError(
                f"{path} is in colour, but the network takes {in_chans} channel: convert it to grey values"
            )
        if in_chans not in (1, 3):
            raise ValueError(f"{path} has 1 or 3 channels, but the network takes {in_chans}")
        if array.ndim not in (2, 3) or 0 in array.shape:
            raise ValueError(f"{path} must be (H, W) or (D, H, W); it is {tuple(array.shape)}")
        kind = array.dtype.name
        if grey is None and kind not in WHITE and array.dtype.kind != "f":
            raise ValueError(f"{path} has values of type {kind}: say with --grey LOW HIGH which become 0 and 1")
        if grey is not None and not grey[0] < grey[1]:
            raise ValueError(f"--grey must be a lower and a higher value; got {grey[0]} and {grey[1]}")
        self.path, self.array, self.in_chans, self.colour = path, array, in_chans, colour
        self.grey = grey or (0, WHITE.get(kind, 1))
        self.cut = grey is not None
        self.single = colour or array.ndim == 2
        self.shape = (1, *array.shape[:2]) if self.single else tuple(array.shape)

    def __len__(self) -> int:
        """D."""
        return self.shape[0]

    def __getitem__(self, index: int) -> Tensor:
        """A slice (C, H, W), float."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} slices; got index {index}")
        values = torch.from_numpy(numpy.array(self.array if self.single else self.array[index], numpy.float32))
        values = values.movedim(-1, 0) if self.colour else values.expand(self.in_chans, *values.shape)
        low, high = self.grey
        values = (values - low) / (high - low)
        if not values.isfinite().all():
            raise ValueError(f"{self.path}: slice {index} has values that are not finite")
        return values.clamp(0, 1) if self.cut else values


@contextmanager
def open_slices(path: Path, in_chans: int, grey: tuple[float, float] | None = None) -> Iterator[Slices]:
    """The slices of a picture or a volume, as long as its file is open.

    Raises:
        ValueError: the file is damaged, has no such array, or does not fit the network.
    """
    opened, pictured = None, path.suffix.lower() in PICTURES
    try:
        try:
            opened = _picture(path) if pictured else _volume(path)
            array = _array(opened)
        except (OSError, EOFError, SyntaxError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        yield Slices(path, array, in_chans, grey, colour=pictured and array.ndim == 3)
    finally:
        if hasattr(opened, "close"):
            opened.close()


def write_picture(path: Path, array: numpy.ndarray) -> None:
    """Write an array (H, W) or (H, W, 3) of bytes as png."""
    from PIL import Image

    with path.open("wb") as file:
        Image.fromarray(numpy.ascontiguousarray(array)).save(file, format="png")


def write_overlay(path: Path, image: Tensor, labels: numpy.ndarray) -> None:
    """Write an image (C, H, W) with its labels (H, W) in colour as png."""
    from stitchwork.figures.overlays import overlay

    write_picture(path, overlay(image, torch.from_numpy(numpy.array(labels))))


def _picture(path: Path) -> numpy.ndarray:
    """(H, W) or (H, W, 3)."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"):
                picture = picture.convert("RGB")
            elif picture.mode in ("1", "LA", "La"):
                picture = picture.convert("L")
            return numpy.asarray(picture)
    except Image.DecompressionBombError as error:
        raise OSError(f"{error} Save it as npy instead") from error


def _volume(path: Path):
    """An array on the disk, or an archive of arrays.

    Raises:
        OSError: the file is damaged.
    """
    if path.suffix.lower() != ".h5":
        try:
            return numpy.load(path, mmap_mode="r")
        except ValueError as error:  # cut short, or a pickle
            raise OSError(str(error)) from error
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("volumes in .h5 files are read by h5py: pip install h5py", name="h5py") from error
    return h5py.File(path, "r")


def _array(archive):
    """The array of a file that is the image."""
    if hasattr(archive, "ndim"):
        return archive
    names = list(archive)
    chosen = next((name for name in ("image", "img") if name in names), names[0] if len(names) == 1 else None)
    array = None if chosen is None else archive[chosen]
    if not hasattr(array, "ndim"):
        raise OSError(f"it has {', '.join(names) or 'no array'}, but no array named image")
    return array
