"""The real loading code, on small files in the formats of Synapse and ACDC."""

import pickle
import random
import sys

import numpy
import pytest
import torch
from scipy import ndimage

from stitchwork.data import MEDICAL_SETS, ORGANS, Volume, load_slices, load_volumes
from stitchwork.data.slices import vary_slice
from stitchwork.training.batches import read_batches

h5py = pytest.importorskip("h5py", reason="Synapse's volumes are read by h5py")


def picture(shape, most, seed=0):
    """Grey values in [0, 1] and labels with all classes up to ``most``, in the types of the papers' files."""
    rng = numpy.random.default_rng(seed)
    labels = numpy.arange(numpy.prod(shape)).reshape(shape) % (most + 1)
    return rng.random(shape, dtype=numpy.float32), labels.astype(numpy.float32)


def make_synapse(root, shape=(20, 24)):
    for folder in ("train_npz", "test_vol_h5", "lists/lists_Synapse"):
        (root / folder).mkdir(parents=True)
    slices = [f"case0005_slice00{i}" for i in range(4)]
    for i, name in enumerate(slices):
        image, label = picture(shape, 8, i)
        numpy.savez(root / "train_npz" / f"{name}.npz", image=image, label=label)
    for i, name in enumerate(("case0008", "case0022")):
        image, label = picture((3 + i, *shape), 8, i)
        with h5py.File(root / "test_vol_h5" / f"{name}.npy.h5", "w") as file:
            file["image"], file["label"] = image, label
    lists = root / "lists" / "lists_Synapse"
    (lists / "train.txt").write_text("\n".join(slices) + "\n")
    (lists / "test_vol.txt").write_text("case0022\ncase0008\n")
    return root


def make_acdc(root):
    for part, name, shape in (
        ("train", "case_001_sliceED_0", (18, 16)),
        ("valid", "case_019_sliceED_0", (18, 16)),
        ("test", "case_002_volume_ED", (4, 18, 16)),
    ):
        (root / part).mkdir(parents=True)
        image, label = picture(shape, 3)
        numpy.savez(root / part / f"{name}.npz", img=image, label=label)
        (root / "lists_ACDC").mkdir(exist_ok=True)
        (root / "lists_ACDC" / f"{part}.txt").write_text(f"{name}.npz\n")  # these lists have the ending, too
    return root


# --- what is read


def test_synapse_slices(tmp_path):
    slices = load_slices("synapse", make_synapse(tmp_path), size=32, augment=False)
    assert len(slices) == 4
    image, label = picture((20, 24), 8, 2)
    x, y = slices[2]
    assert x.shape == (1, 32, 32) and x.dtype == torch.float32 and y.shape == (32, 32) and y.dtype == torch.int64
    assert numpy.array_equal(x[0], ndimage.zoom(image, (32 / 20, 32 / 24), order=3))
    assert numpy.array_equal(y, ndimage.zoom(label, (32 / 20, 32 / 24), order=0))


def test_slices_of_the_right_size_are_left_as_they_are(tmp_path):
    x, y = load_slices("synapse", make_synapse(tmp_path, (20, 20)), size=20, augment=False)[1]
    image, label = picture((20, 20), 8, 1)
    assert numpy.array_equal(x[0], image) and numpy.array_equal(y, label)


def test_synapse_volumes(tmp_path):
    volumes = load_volumes("synapse", make_synapse(tmp_path))
    assert len(volumes) == 2 and volumes.names == ["case0022", "case0008"]  # in the order of the list
    name, image, labels, spacing = volumes[0]
    true, true_labels = picture((4, 20, 24), 8, 1)
    assert isinstance(volumes[0], Volume) and name == "case0022" and spacing == (1, 1, 1)
    assert numpy.array_equal(image, true) and image.dtype == torch.float32
    assert numpy.array_equal(labels, true_labels) and labels.dtype == torch.int64
    assert [volume.name for volume in volumes] == volumes.names


def test_acdc(tmp_path):
    make_acdc(tmp_path)
    for split in ("train", "valid"):
        (x, y), *more = load_slices("acdc", tmp_path, split, size=16, augment=False)
        assert x.shape == (1, 16, 16) and set(y.unique().tolist()) == {0, 1, 2, 3} and not more
    (volume,) = load_volumes("acdc", tmp_path)
    assert volume.name == "case_002_volume_ED" and volume.image.shape == (4, 18, 16) and volume.spacing == (10, 1, 1)
    assert numpy.array_equal(volume.image, picture((4, 18, 16), 3)[0])


def test_the_spacing_is_what_the_caller_says(tmp_path):
    make_synapse(tmp_path)
    assert {volume.spacing for volume in load_volumes("synapse", tmp_path, spacing=(3, 0.8, 0.7))} == {(3, 0.8, 0.7)}
    each = {"case0008": (3, 0.8, 0.8), "case0022": (5, 0.7, 0.7)}
    assert {volume.name: volume.spacing for volume in load_volumes("synapse", tmp_path, spacing=each)} == each
    with pytest.raises(ValueError, match="no entry for case0022; it has case0008"):
        load_volumes("synapse", tmp_path, spacing={"case0008": (1, 1, 1)})
    for wrong in ((1, 1), (1, 0, 1)):
        with pytest.raises(ValueError, match=r"three positive distances in mm; got \(1, .*case0022"):
            load_volumes("synapse", tmp_path, spacing=wrong)


def test_volumes_are_read_when_they_are_asked_for(tmp_path):
    volumes = load_volumes("synapse", make_synapse(tmp_path))
    (tmp_path / "test_vol_h5" / "case0008.npy.h5").write_bytes(b"")
    assert volumes[0].name == "case0022"
    with pytest.raises(ValueError, match=r"case0008\.npy\.h5"):
        volumes[1]


def test_the_lists_may_lie_elsewhere(tmp_path):
    root = make_synapse(tmp_path / "data")
    (root / "lists").rename(tmp_path / "lists")
    with pytest.raises(FileNotFoundError, match=r"no train\.txt in .*lists_Synapse.*pass lists="):
        load_slices("synapse", root)
    assert len(load_slices("synapse", root, lists=tmp_path / "lists" / "lists_Synapse")) == 4


def test_the_names_of_the_classes():
    assert MEDICAL_SETS["synapse"].classes == ORGANS and len(MEDICAL_SETS["acdc"].classes) == 3


# --- the augmentation


def corner(shape=(20, 20)):
    """A picture without any symmetry, whose grey values are its labels."""
    image = numpy.zeros(shape, dtype=numpy.float32)
    image[2:5, 3:12], image[5:11, 3:6], image[8:10, 8:9] = 1, 2, 3
    return image


def drawn(count, tmp_path, shape=(20, 20)):
    """What the training slices of one picture look like, with the seeds 0, 1, ..."""
    make_synapse(tmp_path)
    image = corner(shape)
    numpy.savez(tmp_path / "train_npz" / "case0005_slice000.npz", image=image, label=image)
    slices = load_slices("synapse", tmp_path, size=20)
    for seed in range(count):
        numpy.random.seed(seed)
        yield slices[0]


def mirrored(image):
    """At the middle row and column and at both diagonals."""
    return {flipped.tobytes() for flipped in (image[::-1], image[:, ::-1], image.T, image[::-1, ::-1].T)}


def test_half_are_mirrored_and_a_quarter_turned_by_some_degrees(tmp_path):
    image = corner()
    mirrors, seen = mirrored(image), []
    for x, y in drawn(400, tmp_path):
        assert numpy.array_equal(x[0], y)  # image and labels move together, both by the nearest pixel
        seen.append(x.numpy().tobytes())
    assert len(mirrors) == 4 and mirrors <= set(seen) and len(set(seen)) > 5 + 15  # all four, and many angles
    share = sum(key in mirrors for key in seen) / 400
    between = sum(key not in mirrors | {image.tobytes()} for key in seen) / 400
    assert 0.42 < share < 0.58 and 0.17 < between < 0.31


def test_labels_are_moved_and_not_replaced():
    numpy.random.seed(0)
    labels = corner()
    for image, moved in (vary_slice(labels / 2, labels) for _ in range(40)):
        assert numpy.array_equal(image, moved / 2)


def test_the_angles_are_small(tmp_path):
    """The middle of what there is goes round by 20 degrees at most, both ways."""
    image, centre = corner(), numpy.array([9.5, 9.5])
    known = mirrored(image) | {image.tobytes()}
    pictures = [image, *(x[0].numpy() for x, _ in drawn(200, tmp_path) if x.numpy().tobytes() not in known)]
    angle, *angles = (numpy.arctan2(*(numpy.argwhere(x > 0).mean(0) - centre)) for x in pictures)
    angles = numpy.degrees((numpy.array(angles) - angle + numpy.pi) % (2 * numpy.pi) - numpy.pi)
    assert numpy.abs(angles).max() < 24 and angles.min() < -10 and angles.max() > 10


def test_slices_that_are_not_square_come_out_square(tmp_path):
    assert all(x.shape == (1, 20, 20) and y.shape == (20, 20) for x, y in drawn(12, tmp_path, (20, 14)))


def test_training_slices_vary_and_the_others_do_not(tmp_path):
    make_acdc(tmp_path)
    train, valid = (load_slices("acdc", tmp_path, split, size=16) for split in ("train", "valid"))
    assert train.augment and not valid.augment
    assert len({train[0][0].numpy().tobytes() for _ in range(30)}) > 5
    assert len({valid[0][0].numpy().tobytes() for _ in range(30)}) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_the_step_decides_the_augmentation(tmp_path, workers):
    """As the training loop reads them: a step gives the same batch, whoever reads it and whatever came before."""
    slices = load_slices("synapse", make_synapse(tmp_path), size=16)
    keys = [((0, "augment", step), [0, 1, 2, 3]) for step in range(4)]
    batches = [x for x, _ in read_batches(slices, keys)]
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    again = [x for x, _ in read_batches(slices, keys[2:], workers)]
    assert all(map(torch.equal, batches[2:], again))
    assert not torch.equal(batches[0], batches[1])


def test_datasets_can_be_sent_to_another_process(tmp_path):
    make_synapse(tmp_path)
    slices = load_slices("synapse", tmp_path, augment=False, size=16)
    assert torch.equal(pickle.loads(pickle.dumps(slices))[0][0], slices[0][0])
    assert pickle.loads(pickle.dumps(load_volumes("synapse", tmp_path))).names == ["case0022", "case0008"]


# --- what is wrong


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda root: load_slices("brats", root), r"'brats'; choose one of synapse, acdc"),
        (lambda root: load_slices("synapse", root, "valid"), r"synapse has slices for split 'train'; got 'valid'"),
        (lambda root: load_slices("acdc", root, "test"), r"slices for split 'train' or 'valid'; got 'test'"),
        (lambda root: load_volumes("acdc", root, "train"), r"acdc has volumes for split 'test'; got 'train'"),
        (lambda root: load_slices("synapse", make_synapse(root), size=0), "size must be at least 1 pixel; got 0"),
    ],
)
def test_unknown_names(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path)


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/train_npz is missing .*no such folder.*\*\.npz"):
        load_slices("synapse", tmp_path / "nowhere")


def test_a_folder_with_another_layout_says_what_is_there(tmp_path):
    make_acdc(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"test_vol_h5 is missing .*lists_ACDC, test, train, valid"):
        load_volumes("synapse", tmp_path)


def test_a_list_that_names_other_files(tmp_path):
    make_synapse(tmp_path)
    for i in (1, 3):
        (tmp_path / "train_npz" / f"case0005_slice00{i}.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"slice001\.npz is missing, one of 2 among the 4 .*train\.txt"):
        load_slices("synapse", tmp_path)


def test_an_empty_list(tmp_path):
    make_synapse(tmp_path)
    (tmp_path / "lists" / "lists_Synapse" / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt is empty"):
        load_slices("synapse", tmp_path)


def damage(root, name, **arrays):
    """Write other arrays into a file."""
    path = next(root.rglob(f"{name}*"))
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array
    else:
        numpy.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.95])
@pytest.mark.parametrize("name", ["case0005_slice000", "case0022"])
def test_a_truncated_file(tmp_path, name, kept):
    make_synapse(tmp_path)
    path = next(tmp_path.rglob(f"{name}*"))
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError) as error:
        read_first(tmp_path, name)
    assert str(path) in str(error.value) and "cut short or damaged" in str(error.value)


def read_first(root, name):
    return load_slices("synapse", root)[0] if "slice" in name else load_volumes("synapse", root)[0]


def test_a_damaged_file(tmp_path):
    make_synapse(tmp_path)
    path = tmp_path / "train_npz" / "case0005_slice000.npz"
    image, label = picture((20, 24), 8)
    numpy.savez_compressed(path, image=image, label=label)
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"slice000\.npz cannot be read"):
        load_slices("synapse", tmp_path)[0]


@pytest.mark.parametrize("content", [b"not an array at all", b"\x93NUMPY bare"])
def test_a_file_of_another_kind(tmp_path, content):
    make_synapse(tmp_path)
    (tmp_path / "train_npz" / "case0005_slice000.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"slice000\.npz cannot be read"):
        load_slices("synapse", tmp_path)[0]
    with (tmp_path / "train_npz" / "case0005_slice000.npz").open("wb") as file:
        numpy.save(file, numpy.zeros(3))
    with pytest.raises(ValueError, match=r"slice000\.npz cannot be read"):
        load_slices("synapse", tmp_path)[0]


GOOD = {"case0005_slice000": (20, 24), "case0022": (4, 20, 24)}


@pytest.mark.parametrize("name", GOOD)
def test_arrays_with_other_names(tmp_path, name):
    make_synapse(tmp_path)
    image, label = picture(GOOD[name], 8)
    path = damage(tmp_path, name, img=image, label=label)
    with pytest.raises(ValueError) as error:
        read_first(tmp_path, name)
    assert f"{path} must have arrays named image and label; it has img, label" in str(error.value)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("wrong", ["shapes", "rank", "empty"])
def test_shapes_that_do_not_fit(tmp_path, name, wrong):
    make_synapse(tmp_path)
    image, label = picture(GOOD[name], 8)
    image, label = {
        "shapes": (image, label[:-1]),
        "rank": (image[0], label[0]),
        "empty": (image[:0], label[:0]),
    }[wrong]
    path = damage(tmp_path, name, image=image, label=label)
    with pytest.raises(ValueError) as error:
        read_first(tmp_path, name)
    for part in (str(path), "image and label must both be", str(image.shape), str(label.shape)):
        assert part in str(error.value)


@pytest.mark.parametrize(("value", "shown"), [(13, "0.0 to 13.0"), (-1, "-1.0 to 8.0"), (0.5, "0.0 to 8.0")])
@pytest.mark.parametrize("name", GOOD)
def test_labels_out_of_range(tmp_path, name, value, shown):
    """13: the classes of the raw data, which nobody has mapped to the eight."""
    make_synapse(tmp_path)
    image, label = picture(GOOD[name], 8)
    label.flat[5] = value
    path = damage(tmp_path, name, image=image, label=label)
    with pytest.raises(ValueError) as error:
        read_first(tmp_path, name)
    for part in (str(path), "whole numbers from 0 to 8", "gallbladder", shown):
        assert part in str(error.value)


def test_grey_values_that_are_not_finite(tmp_path):
    make_synapse(tmp_path)
    image, label = picture((20, 24), 8)
    image[3, 3] = numpy.nan
    path = damage(tmp_path, "case0005_slice000", image=image, label=label)
    with pytest.raises(ValueError, match="not finite") as error:
        load_slices("synapse", tmp_path)[0]
    assert str(path) in str(error.value)


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    scans = load_volumes("synapse", make_synapse(tmp_path))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match="pip install h5py"):
        scans[0]
