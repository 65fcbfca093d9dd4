"""Pictures and volumes in files: every format, every kind of damage, and a bounded memory."""

import subprocess
import sys
import textwrap

import h5py
import numpy
import pytest
import torch
from PIL import Image

from stitchwork.analysis.segmentation import predict_slices
from stitchwork.image_files import label_files, open_slices, segment, segment_file
from stitchwork.layers import Segmenter


class Threshold(Segmenter):
    """Class 1 where the mean of the channels is above one half."""

    multiple = 4

    def __init__(self, in_chans=1):
        super().__init__(in_chans, 1)
        self.num_classes = 2

    def forward(self, x):
        self.check_input(x)
        value = x.mean(1, keepdim=True) - 0.5
        return torch.cat([-value, value], 1)


def volume(shape=(5, 9, 14), seed=0):
    return numpy.random.default_rng(seed).random(shape, numpy.float32)


def picture(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def read(path, in_chans=1, grey=None):
    with open_slices(path, in_chans, grey) as slices:
        return torch.stack(list(slices))


def test_pictures(tmp_path):
    grey = (255 * volume((6, 7))).astype(numpy.uint8)
    colour = (255 * volume((6, 7, 3))).astype(numpy.uint8)
    found = read(picture(tmp_path / "grey.png", grey))
    assert found.shape == (1, 1, 6, 7) and numpy.allclose(found[0, 0], grey / 255)
    assert torch.equal(read(tmp_path / "grey.png", 3), found.expand(1, 3, 6, 7))
    assert numpy.allclose(read(picture(tmp_path / "colour.png", colour), 3)[0].movedim(0, -1), colour / 255)
    deep = (65535 * volume((6, 7))).astype(numpy.uint16)
    assert numpy.allclose(read(picture(tmp_path / "deep.png", deep))[0, 0], deep / 65535)
    alpha = numpy.concatenate([colour, colour[..., :1]], -1)
    assert numpy.allclose(read(picture(tmp_path / "alpha.png", alpha), 3)[0].movedim(0, -1), colour / 255)
    Image.fromarray(grey > 99).save(tmp_path / "bits.png")
    assert numpy.array_equal(read(tmp_path / "bits.png")[0, 0], (grey > 99).astype(float))


def test_volumes(tmp_path):
    array = volume()
    numpy.save(tmp_path / "a.npy", array)
    numpy.savez_compressed(tmp_path / "b.npz", image=array, label=array[:2])
    numpy.savez(tmp_path / "c.npz", img=array, label=array)
    numpy.savez(tmp_path / "d.npz", anything=array)
    with h5py.File(tmp_path / "e.npy.h5", "w") as file:
        file["image"], file["label"] = array, array > 0.5
    for path in tmp_path.iterdir():
        assert numpy.allclose(read(path)[:, 0], array), path.name
    numpy.save(tmp_path / "bytes.npy", (255 * array).astype(numpy.uint8))
    assert numpy.allclose(read(tmp_path / "bytes.npy")[:, 0], array, atol=1 / 255)
    numpy.save(tmp_path / "ct.npy", (2000 * array - 1000).astype(numpy.int16))
    found = read(tmp_path / "ct.npy", grey=(-125, 275))[:, 0]
    assert numpy.allclose(found, ((2000 * array - 1000).astype(numpy.int16) + 125.0).clip(0, 400) / 400)
    numpy.save(tmp_path / "one.npy", array[0])
    assert read(tmp_path / "one.npy", 3).shape == (1, 3, 9, 14)


@pytest.mark.parametrize(("tile", "overlap"), [(None, 0), (8, 3)])
@pytest.mark.parametrize("batch_size", [1, 2, 9])
def test_labels_of_a_volume(tmp_path, tile, overlap, batch_size):
    array = volume()
    numpy.save(tmp_path / "a.npy", array)
    options = {"tile": tile, "overlap": overlap, "batch_size": batch_size}
    assert segment_file(Threshold(), tmp_path / "a.npy", tmp_path / "labels.npy", **options) == array.shape
    labels = numpy.load(tmp_path / "labels.npy")
    assert labels.dtype == numpy.uint8 and numpy.array_equal(labels, array > 0.5)
    assert {path.name for path in tmp_path.iterdir()} == {"a.npy", "labels.npy"}


def test_labels_of_a_slice_and_of_a_picture(tmp_path):
    array = volume((9, 14))
    numpy.savez(tmp_path / "a.npz", image=array, label=array)
    assert segment_file(Threshold(), tmp_path / "a.npz", tmp_path / "a.npy") == (9, 14)
    assert numpy.array_equal(numpy.load(tmp_path / "a.npy"), array > 0.5)
    picture(tmp_path / "b.bmp", (255 * array).astype(numpy.uint8))
    assert segment_file(Threshold(3), tmp_path / "b.bmp", tmp_path / "b.png", overlays=True) == (9, 14)
    with Image.open(tmp_path / "b.png") as labels:
        assert labels.mode == "L"
        assert numpy.array_equal(labels, (255 * array).astype(numpy.uint8) > 127)
    with Image.open(tmp_path / "b_overlay.png") as overlay:
        assert overlay.mode == "RGB" and overlay.size == (14, 9)


def test_the_overlay_shows_the_fullest_slice(tmp_path):
    array = numpy.zeros((3, 8, 8), numpy.float32)
    array[1, :4], array[2, :2] = 1, 1
    numpy.save(tmp_path / "a.npy", array)
    segment_file(Threshold(), tmp_path / "a.npy", tmp_path / "labels.npy", overlays=True)
    with Image.open(tmp_path / "labels_overlay.png") as overlay:
        coloured = numpy.asarray(overlay).astype(int).std(-1) > 0
    assert numpy.array_equal(coloured, array[1] > 0)


@pytest.mark.parametrize("size", [8, 16])
def test_resizing_is_that_of_the_evaluation(size):
    """The order of TransUNet's code: cubic, argmax, back to the nearest."""
    array = torch.from_numpy(volume((3, 12, 20)))
    expected = predict_slices(Threshold(), array, size)
    found = segment(Threshold(), array[:, None], size)
    assert torch.equal(found, expected.byte()) and 0.2 < found.float().mean() < 0.8
    assert segment(Threshold(3), array[:, None].expand(3, 3, 12, 20), size).equal(found)


def test_where_the_labels_go(tmp_path):
    for name in ("a.png", "b.JPG", "case0001.npy.h5", "d.npz", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = {path.name: target.name for path, target in label_files(tmp_path, tmp_path / "out").items()}
    assert found == {"a.png": "a.png", "b.JPG": "b.png", "case0001.npy.h5": "case0001.npy", "d.npz": "d.npy"}
    assert list(label_files(tmp_path / "d.npz", tmp_path)) == [tmp_path / "d.npz"]


@pytest.mark.parametrize(
    ("names", "source", "output", "message"),
    [
        ([], ".", "out", "has nothing to segment: give files that end in .png"),
        (["notes.txt"], "notes.txt", "out", "is nothing to segment"),
        (["a.png", "a.jpg"], ".", "out", "of a.jpg and a.png would both go into .*a.png: rename one"),
        (["a.png"], ".", ".", "would go over the input .*a.png: take another --output"),
        (["b.npz", "b.npy"], "b.npz", ".", None),
    ],
)
def test_files_that_cannot_be_meant(tmp_path, names, source, output, message):
    for name in names:
        (tmp_path / name).touch()
    if message is None:  # only what is to be segmented counts
        assert label_files(tmp_path / source, tmp_path / output)
        return
    with pytest.raises(ValueError, match=message):
        label_files(tmp_path / source, tmp_path / output)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder "):
        label_files(tmp_path / "nowhere", tmp_path)


def damaged(path, original):
    """The first half of a file."""
    path.write_bytes(original.read_bytes()[: original.stat().st_size // 2])
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".png", ".jpg"])
@pytest.mark.parametrize("kind", ["empty", "half", "text"])
def test_damage(tmp_path, suffix, kind):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"bad{suffix}"
    if suffix == ".npy":
        numpy.save(whole, volume())
    elif suffix == ".npz":
        numpy.savez_compressed(whole, image=volume())
    elif suffix == ".h5":
        with h5py.File(whole, "w") as file:
            file["image"] = volume()
    else:
        picture(whole, (255 * volume((40, 40))).astype(numpy.uint8))
    if kind == "half":
        damaged(path, whole)
    else:
        path.write_bytes(b"" if kind == "empty" else b"This is a letter, and no picture of anything. " * 9)
    with pytest.raises(ValueError, match=rf"bad{suffix} cannot be read: "):
        segment_file(Threshold(), path, tmp_path / "labels.npy")
    assert {file.name for file in tmp_path.iterdir()} == {whole.name, path.name}


@pytest.mark.parametrize(
    ("array", "in_chans", "grey", "message"),
    [
        (volume((2, 3, 4, 5)), 1, None, r"must be \(H, W\) or \(D, H, W\); it is \(2, 3, 4, 5\)"),
        (volume((0, 4, 5)), 1, None, r"it is \(0, 4, 5\)"),
        (volume().astype(numpy.int16), 1, None, "values of type int16: say with --grey"),
        (volume().astype(numpy.complex64), 1, None, "values of type complex64"),
        (volume(), 2, None, "has 1 or 3 channels, but the network takes 2"),
        (volume(), 1, (3.0, 3.0), "--grey must be a lower and a higher value; got 3.0 and 3.0"),
        (numpy.full((2, 4, 4), numpy.nan, numpy.float32), 1, None, "slice 0 has values that are not finite"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, in_chans, grey, message):
    numpy.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=rf"{message}"):
        segment_file(Threshold(in_chans), tmp_path / "a.npy", tmp_path / "labels.npy", grey=grey)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_archives_without_an_image(tmp_path):
    numpy.savez(tmp_path / "a.npz", one=volume(), two=volume())
    with pytest.raises(ValueError, match="it has one, two, but no array named image"):
        read(tmp_path / "a.npz")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_group("image")
    with pytest.raises(ValueError, match="no array named image"):
        read(tmp_path / "b.h5")


def test_colour_for_a_network_of_grey_values(tmp_path):
    picture(tmp_path / "a.png", (255 * volume((6, 7, 3))).astype(numpy.uint8))
    with pytest.raises(ValueError, match=r"a\.png is in colour, but the network takes 1 channel"):
        read(tmp_path / "a.png")


WITH_PEAK = """
import resource, sys
from pathlib import Path
import torch
import stitchwork
from stitchwork.image_files import segment_file
from stitchwork.layers import Segmenter

def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    # Not the maximum that Linux keeps with a process: that counts the process by which this one was started.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024

def segment(path):
    segment_file(network, Path(path), Path(path).with_suffix(".labels.npy"))
"""


def megabytes(script, *paths):
    """What a process of its own prints, in which a script runs after the lines above."""
    command = [sys.executable, "-c", WITH_PEAK + textwrap.dedent(script), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not count a process's peak of memory this way")
def test_memory_does_not_grow_with_the_number_of_slices(tmp_path):
    """A volume of 400 slices takes little more than one of 4, beyond the file itself, which the system maps."""
    script = """
        class Network(Segmenter):
            def __init__(self):
                super().__init__(1, 16)
                self.first = torch.nn.Conv2d(1, 16, 3, padding=1)
                self.reset_head(9)
            def forward_features(self, x):
                return self.first(x)

        network = Network().eval()
        segment(sys.argv[1])
        before = peak()
        segment(sys.argv[2])
        print(peak() - before)
    """
    numpy.save(tmp_path / "small.npy", volume((4, 128, 128)))
    numpy.save(tmp_path / "large.npy", volume((400, 128, 128)))  # 26 MB, its logits 236 MB
    grown = megabytes(script, tmp_path / "small.npy", tmp_path / "large.npy")
    assert grown < 26 + 6.6 + 30, "both files, and a little"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not count a process's peak of memory this way")
def test_slices_of_a_ct_fit_into_four_gibibytes(tmp_path):
    """Of 512 x 512 pixels, with the largest EViT-UNet. A hundred need no more than two, but for the mapped files."""
    numpy.save(tmp_path / "ct.npy", volume((2, 512, 512)))
    files = 100 * 512 * 512 * (4 + 1) / 2**20
    script = 'network = stitchwork.create_model("evit_unet").eval()\nsegment(sys.argv[1])\nprint(peak())'
    assert megabytes(script, tmp_path / "ct.npy") + files < 4096
