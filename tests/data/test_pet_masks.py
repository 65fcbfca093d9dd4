"""The pets and their trimaps, from small files in the layout of the set."""

import hashlib
from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image

from stitchwork.data import PET_CLASSES, VISION_SETS, load_pet_masks

pytest.importorskip("torchvision.datasets", reason="torchvision reads this set")


def trimap():
    """10 rows of 12: a frame of background (2), an outline (3), and the pet (1)."""
    values = numpy.full((10, 12), 2, dtype=numpy.uint8)
    values[2:8, 2:10], values[3:7, 3:9] = 3, 1
    return values


def make_pets(root):
    base = root / "oxford-iiit-pet"
    for folder in ("images", "annotations/trimaps"):
        (base / folder).mkdir(parents=True)
    for part, lines in {"trainval": ["Abyssinian_1 1 1 1", "pug_7 2 2 1"], "test": ["pug_8 2 2 1"]}.items():
        (base / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
        for name in (line.split()[0] for line in lines):
            image = numpy.zeros((10, 12, 3), dtype=numpy.uint8)
            image[trimap() == 1] = 255, 0, 0
            Image.fromarray(image).save(base / "images" / f"{name}.jpg", quality=100, subsampling=0)
            Image.fromarray(trimap()).save(base / "annotations" / "trimaps" / f"{name}.png")
    return base


def test_trimaps_become_classes(tmp_path):
    make_pets(tmp_path)
    train, test = load_pet_masks(tmp_path, size=40), load_pet_masks(tmp_path, "test", size=40)
    assert (len(train), len(test)) == (2, 1)
    x, y = train[1]
    assert x.shape == (3, 40, 40) and x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
    assert y.shape == (40, 40) and y.dtype == torch.int64
    expected = {1: 1, 2: 0, 3: PET_CLASSES.index("outline") + 1}  # the trimap's values and ours
    places = ((torch.arange(40) + 0.5) * 10 / 40).long(), ((torch.arange(40) + 0.5) * 12 / 40).long()
    for value, ours in expected.items():
        assert torch.equal(y == ours, torch.from_numpy(trimap() == value)[places[0][:, None], places[1]])
    assert x[0][y == 1].mean() > 0.7 > 0.2 > x[0][y == 0].mean()  # the picture lies where its labels do


def test_missing_data_and_bad_arguments(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images\.tar\.gz.*download=True"):
        load_pet_masks(tmp_path)
    with pytest.raises(ValueError, match="size must be at least 1 pixel; got 0"):
        load_pet_masks(tmp_path, size=0)
    with pytest.raises(ValueError, match="'valid'"):
        load_pet_masks(tmp_path, "valid")


def test_archives_that_lie_there_are_checked_and_unpacked(tmp_path, monkeypatch):
    import tarfile

    make_pets(tmp_path / "made")
    folder = tmp_path / "root" / "oxford-iiit-pet"
    folder.mkdir(parents=True)
    archives = []
    for archive in VISION_SETS["oxford_iiit_pet"].archives:
        path = tmp_path / "root" / archive.path
        with tarfile.open(path, "w:gz") as tar:
            tar.add(tmp_path / "made" / archive.content, arcname=path.name.split(".")[0])
        archives.append(replace(archive, md5=hashlib.md5(path.read_bytes()).hexdigest()))
    chosen = replace(VISION_SETS["oxford_iiit_pet"], archives=tuple(archives))
    monkeypatch.setitem(VISION_SETS, "oxford_iiit_pet", chosen)
    assert load_pet_masks(tmp_path / "root", size=8)[0][1].unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("file", ["images/pug_8.jpg", "annotations/trimaps/pug_8.png"])
def test_a_truncated_file(tmp_path, file):
    path = make_pets(tmp_path) / file
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"photograph 0 of the pets.*load the set again"):
        load_pet_masks(tmp_path, "test")[0]


def test_a_trimap_with_other_values_is_named(tmp_path):
    path = make_pets(tmp_path) / "annotations" / "trimaps" / "pug_8.png"
    Image.fromarray(trimap() * 80).save(path)
    with pytest.raises(ValueError, match=r"pug_8\.png: a trimap has values.*80 to 240"):
        load_pet_masks(tmp_path, "test", size=12)[0]
