"""Synapse (abdominal CT) and ACDC (cardiac MR) from a folder, in the files that the code of their papers reads.

Neither set may be passed on, so there is nothing to download here. Whoever has them in the layout of TransUNet's code
(Chen et al., 2021) for Synapse and of MT-UNet's (Wang et al., 2022) for ACDC points ``root`` at the folder::

    Synapse/                                 ACDC/
      train_npz/case0005_slice000.npz          train/case_001_sliceED_0.npz
      test_vol_h5/case0001.npy.h5              valid/case_019_sliceED_0.npz
      lists/lists_Synapse/train.txt            test/case_002_volume_ED.npz
      lists/lists_Synapse/test_vol.txt         lists_ACDC/train.txt, valid.txt, test.txt

Each list has one name a line. Synapse's arrays are called ``image`` and ``label``, ACDC's ``img`` and ``label``.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from stitchwork.data.phantom import ORGANS
from stitchwork.data.slices import Read, SliceDataset

Spacing = tuple[float, float, float]


class Volume(NamedTuple):
    """One scan: ``image`` (D, H, W), float; ``labels`` (D, H, W), int64; ``spacing`` of D, H and W, in millimetres."""

    name: str
    image: Tensor
    labels: Tensor
    spacing: Spacing


@dataclass(frozen=True)
class Part:
    """Where the files of a split are: their folder, their list, their ending and the axes of their arrays."""

    folder: str
    list: str
    suffix: str
    axes: int


@dataclass(frozen=True)
class MedicalSet:
    """A set: the names of its classes from 1 on, the names of its arrays, where its lists may lie, and its parts.

    ``spacing`` is what the published code writes into the headers of its predictions; the files have none.
    """

    classes: tuple[str, ...]
    image: str
    lists: tuple[str, ...]
    spacing: Spacing
    parts: Mapping[str, Part]


MEDICAL_SETS = {
    "synapse": MedicalSet(
        ORGANS,
        "image",
        ("lists/lists_Synapse", "lists_Synapse"),
        (1.0, 1.0, 1.0),
        {
            "train": Part("train_npz", "train.txt", ".npz", 2),
            "test": Part("test_vol_h5", "test_vol.txt", ".npy.h5", 3),
        },
    ),
    "acdc": MedicalSet(
        ("right ventricle", "myocardium", "left ventricle"),
        "img",
        ("lists/lists_ACDC", "lists_ACDC"),
        (10.0, 1.0, 1.0),
        {
            "train": Part("train", "train.txt", ".npz", 2),
            "valid": Part("valid", "valid.txt", ".npz", 2),
            "test": Part("test", "test.txt", ".npz", 3),
        },
    ),
}


def load_slices(
    name: str,
    root: str | Path,
    split: str = "train",
    *,
    size: int = 224,
    augment: bool | None = None,
    lists: str | Path | None = None,
) -> SliceDataset:
    """The slices of a split as a dataset of pairs (x, y).

    Args:
        name: ``"synapse"`` or ``"acdc"``.
        root: the folder of the set.
        split: ``"train"``, or for ACDC also ``"valid"``.
        size: side in pixels to which slices are resized: the image by cubic splines, labels to the nearest pixel.
        augment: mirror and turn at random as the papers do; by default in ``"train"``.
        lists: the folder of the lists, if it is not in ``root``.

    Returns:
        Pairs of x (1, size, size), float, and y (size, size), int64: 0 is no class, and i is
        ``MEDICAL_SETS[name].classes[i - 1]``.

    Raises:
        ValueError: an unknown name or split; when a slice is read, also a damaged file, missing arrays, shapes that
            do not fit or labels out of range.
        FileNotFoundError: the folder, the list or a file in it is missing.
    """
    part, files = _files(name, root, split, lists, axes=2)
    read = partial(_read_pair, name, part.axes)
    return SliceDataset(list(files.values()), read, size, split == "train" if augment is None else augment)


def load_volumes(
    name: str,
    root: str | Path,
    split: str = "test",
    *,
    spacing: Spacing | Mapping[str, Spacing] | None = None,
    lists: str | Path | None = None,
) -> "Volumes":
    """The scans of a split, each read when it is asked for.

    The files do not say how far apart their voxels are. Without ``spacing`` it is 1 in every direction for Synapse, and
    10 from slice to slice and 1 within for ACDC, as in the published code's settings; distances are then not in
    millimetres but in these units. The published code itself measures HD95 in voxels, whatever the settings say.

    Args:
        name: ``"synapse"`` or ``"acdc"``.
        root: the folder of the set.
        split: ``"test"``.
        spacing: distances in millimetres from slice to slice, row to row and column to column: one triple for all
            scans, or one for each name in the list.
        lists: the folder of the lists, if it is not in ``root``.

    Returns:
        A sequence of :class:`Volume`. Synapse's test volumes have 512 x 512 pixels a slice.

    Raises:
        ValueError: as in :func:`load_slices`; or ``spacing`` is not positive or lacks a scan.
        FileNotFoundError: the folder, the list or a file in it is missing.
        ModuleNotFoundError: h5py is not installed (Synapse).
    """
    part, files = _files(name, root, split, lists, axes=3)
    spacing = MEDICAL_SETS[name].spacing if spacing is None else spacing
    spacings = dict(spacing) if isinstance(spacing, Mapping) else dict.fromkeys(files, spacing)
    for case in files:
        if case not in spacings:
            raise ValueError(f"load_volumes: spacing has no entry for {case}; it has {', '.join(spacings) or 'none'}")
        given = spacings[case]
        if len(given) != 3 or min(given) <= 0:
            raise ValueError(f"load_volumes: spacing must be three positive distances in mm; got {given} for {case}")
    return Volumes(files, partial(_read_pair, name, part.axes), spacings)


class Volumes(Sequence):
    """Scans that are read one at a time: only the one that is looked at is in memory.

    Args:
        files: the name and the file of each.
        read: gives a file's image and labels, each (D, H, W).
        spacings: the distances between the voxels of each, in millimetres.
    """

    def __init__(self, files: Mapping[str, Path], read: Read, spacings: Mapping[str, Spacing]):
        self.names, self.files, self.read, self.spacings = list(files), dict(files), read, spacings

    def __len__(self) -> int:
        """The number of scans."""
        return len(self.names)

    def __getitem__(self, index: int) -> Volume:
        """Read one scan."""
        name = self.names[index]
        image, labels = self.read(self.files[name])
        image, labels = image.astype(numpy.float32), labels.astype(numpy.int64)
        spacing = tuple(float(distance) for distance in self.spacings[name])
        return Volume(name, torch.from_numpy(image), torch.from_numpy(labels), spacing)

    def __iter__(self) -> Iterator[Volume]:
        """Read them in turn, and keep none (the iterator of every sequence would keep the last one)."""
        return (self[index] for index in range(len(self)))


def _files(name: str, root: str | Path, split: str, lists: str | Path | None, axes: int) -> tuple[Part, dict]:
    """The part of the set, and the file of each name in its list."""
    if name not in MEDICAL_SETS:
        raise ValueError(f"there is no medical set named {name!r}; choose one of {', '.join(MEDICAL_SETS)}")
    chosen, root = MEDICAL_SETS[name], Path(root)
    splits = [split for split, part in chosen.parts.items() if part.axes == axes]
    if split not in splits:
        what = "slices" if axes == 2 else "volumes"
        raise ValueError(f"{name} has {what} for split {' or '.join(map(repr, splits))}; got {split!r}")
    part = chosen.parts[split]
    folder = root / part.folder
    if not folder.is_dir():
        found = ", ".join(sorted(path.name for path in root.iterdir())[:8]) if root.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"{name}: {folder} is missing ({root}: {found}); root must be the folder that holds {part.folder}/ with "
            f"files named *{part.suffix}, as in the layout of its papers' code (see stitchwork.data.medical_sets)"
        )
    places = [Path(lists)] if lists is not None else [root / place for place in chosen.lists]
    found = next((place / part.list for place in places if (place / part.list).is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{name}: there is no {part.list} in {' or '.join(map(str, places))}; it has the names of the {split} "
            "files one a line and comes with the papers' code: put it there, or pass lists= with its folder"
        )
    names = [line.strip().removesuffix(part.suffix) for line in found.read_text(encoding="utf-8").splitlines()]
    files = {name: folder / f"{name}{part.suffix}" for name in names if name}
    if not files:
        raise ValueError(f"{name}: {found} is empty; take the list that comes with the papers' code")
    missing = [path for path in files.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{name}: {missing[0]} is missing, one of {len(missing)} among the {len(files)} files that {found} names: "
            "copy them there, or use the list that belongs to this folder"
        )
    return part, files


def _read_pair(name: str, axes: int, path: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Image and labels of a file of a set, as arrays that fit together."""
    chosen = MEDICAL_SETS[name]
    image, labels = _read(path, (chosen.image, "label"))
    if image.ndim != axes or image.shape != labels.shape or 0 in image.shape:
        wanted = "(H, W)" if axes == 2 else "(D, H, W)"
        raise ValueError(
            f"{path}: {chosen.image} and label must both be {wanted}; they are {image.shape} and {labels.shape}: "
            "the file does not come from the papers' preprocessing"
        )
    low, high, most = labels.min(), labels.max(), len(chosen.classes)
    if low < 0 or high > most or (labels != labels.round()).any():
        raise ValueError(
            f"{path}: labels must be whole numbers from 0 to {most} ({', '.join(chosen.classes)}); they go from "
            f"{low} to {high}: map the classes of the raw data to these first"
        )
    if not numpy.isfinite(image).all():
        raise ValueError(f"{path}: {chosen.image} has values that are not finite: make the file anew")
    return image, labels


def _read(path: Path, keys: tuple[str, str]) -> list[numpy.ndarray]:
    """These arrays of an npz or h5 file."""
    try:
        with _open(path) as archive:
            names = list(archive)
            arrays = [numpy.asarray(archive[key][()]) for key in keys if key in names]
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): it is cut short or damaged; copy it again") from error
    if len(arrays) < len(keys):
        raise ValueError(
            f"{path} must have arrays named {' and '.join(keys)}; it has {', '.join(names) or 'none'}: the file does "
            "not come from the papers' preprocessing"
        )
    return arrays


def _open(path: Path) -> Mapping:
    if path.suffix != ".h5":
        return numpy.load(path)
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("volumes named *.h5 are read by h5py: pip install h5py") from error
    return h5py.File(path, "r")
