"""The real loading code, on small files of each format; mirrors on a server of our own on loopback."""

import gzip
import hashlib
import pickle
import struct
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy
import pytest
import torch
from PIL import Image

from stitchwork.data import VISION_SETS, load_vision_set

datasets = pytest.importorskip("torchvision.datasets", reason="torchvision reads these sets")
WNIDS = [
    "n01440764",
    "n02102040",
    "n02979186",
    "n03000684",
    "n03028079",
    "n03394916",
    "n03417042",
    "n03425413",
    "n03445777",
    "n03888257",
]


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def pack(folder, archive):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return archive


def make_cifar(folder, monkeypatch, dataset, files, meta, label_key):
    """Batches in CIFAR's pickle format; torchvision checks their hashes, so it is told those of these files."""
    folder.mkdir(parents=True)
    rng = numpy.random.default_rng(0)
    for name in files:
        batch = {"data": rng.integers(0, 256, (4, 3072), dtype=numpy.uint8), label_key: [0, 1, 2, 3]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = [f"class {i}" for i in range(4)]
    (folder / meta["filename"]).write_bytes(pickle.dumps({meta["key"]: names}))
    train, test = files[:-1], files[-1:]
    monkeypatch.setattr(dataset, "train_list", [[name, md5(folder / name)] for name in train])
    monkeypatch.setattr(dataset, "test_list", [[name, md5(folder / name)] for name in test])
    monkeypatch.setattr(dataset, "meta", {**meta, "md5": md5(folder / meta["filename"])})
    return folder


def make_cifar10(root, monkeypatch):
    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return make_cifar(
        root / "cifar-10-batches-py", monkeypatch, datasets.CIFAR10, files, datasets.CIFAR10.meta, "labels"
    )


def make_imagenette(root, size=160):
    for part in ("train", "val"):
        for i, wnid in enumerate(WNIDS):
            folder = root / f"imagenette2-{size}" / part / wnid
            folder.mkdir(parents=True)
            Image.new("RGB", (20 + i, 16), (25 * i, 0, 0)).save(folder / f"{wnid}_{i}.JPEG")
    return root / f"imagenette2-{size}"


def make_pets(root):
    base = root / "oxford-iiit-pet"
    for folder in ("images", "annotations/trimaps"):
        (base / folder).mkdir(parents=True)
    for part, lines in {"trainval": ["Abyssinian_1 1 1 1", "pug_7 2 2 1"], "test": ["pug_8 2 2 1"]}.items():
        (base / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            Image.new("RGB", (12, 10), (0, 255, 0)).save(base / "images" / f"{line.split()[0]}.jpg")
    return base


def idx(array):
    """An array in the format of MNIST's files."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def with_archives(monkeypatch, name, files, bases=()):
    """Tell the table the hashes of these small archives, and where they are."""
    archives = tuple(
        replace(
            archive,
            md5=md5(files[archive.path.split("/")[-1]]),
            urls=tuple(f"{base}/{archive.path.split('/')[-1]}" for base in bases),
        )
        for archive in VISION_SETS[name].archives
    )
    monkeypatch.setitem(VISION_SETS, name, replace(VISION_SETS[name], archives=archives))


@pytest.fixture
def server(tmp_path):
    """The URL of a server on loopback and the folder that it serves; a path with "cut" in it gets half of the file."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.path, cut = self.path.replace("/cut", ""), "/cut" in self.path
            if not cut:
                return super().do_GET()
            content = (folder / self.path.strip("/")).read_bytes()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])

    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_cifar10_from_a_folder(tmp_path, monkeypatch):
    make_cifar10(tmp_path, monkeypatch)
    train, test = load_vision_set("cifar10", tmp_path), load_vision_set("cifar10", tmp_path, "test")
    assert (len(train), len(test)) == (20, 4)
    x, y = train[1]
    assert x.shape == (3, 32, 32) and x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1 and y == 1


def test_cifar100_from_a_folder(tmp_path, monkeypatch):
    meta = datasets.CIFAR100.meta
    make_cifar(tmp_path / "cifar-100-python", monkeypatch, datasets.CIFAR100, ["train", "test"], meta, "fine_labels")
    assert len(load_vision_set("cifar100", tmp_path, "test")) == 4


@pytest.mark.parametrize(("name", "size"), [("imagenette", 160), ("imagenette_320", 320)])
def test_imagenette_from_a_folder(tmp_path, name, size):
    make_imagenette(tmp_path, size)
    test = load_vision_set(name, tmp_path, "test")
    assert [label for _, label in test] == list(range(10))
    assert test[3][0].shape == (3, 16, 23)


def test_pets_from_a_folder(tmp_path):
    make_pets(tmp_path)
    train, test = (load_vision_set("oxford_iiit_pet", tmp_path, part) for part in ("train", "test"))
    assert [label for _, label in train] == [0, 1] and [label for _, label in test] == [1]
    assert train.classes == ["Abyssinian", "Pug"]


def test_fashion_mnist_from_its_archives(tmp_path, monkeypatch):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    files = {}
    for part, n in {"train": 5, "t10k": 2}.items():
        arrays = {"images-idx3": numpy.full((n, 28, 28), 51, numpy.uint8), "labels-idx1": numpy.arange(n, dtype="u1")}
        for kind, array in arrays.items():
            path = raw / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array)))
            files[path.name] = path
    with_archives(monkeypatch, "fashion_mnist", files)
    train, test = (load_vision_set("fashion_mnist", tmp_path, part) for part in ("train", "test"))
    assert [label for _, label in train] == [0, 1, 2, 3, 4] and len(test) == 2
    assert torch.allclose(train[0][0], torch.full((1, 28, 28), 0.2))


def test_a_transform_replaces_the_default(tmp_path):
    make_imagenette(tmp_path)
    x, _ = load_vision_set("imagenette", tmp_path, transform=lambda image: torch.tensor(image.size))[0]
    assert x.tolist() == [20, 16]


def test_the_second_mirror_serves_when_the_first_fails(tmp_path, monkeypatch, server):
    url, served = server
    archive = pack(make_imagenette(tmp_path / "made"), served / "imagenette2-160.tgz")
    with_archives(monkeypatch, "imagenette", {archive.name: archive}, [f"{url}/missing", f"{url}/cut", url])
    root = tmp_path / "root"
    assert len(load_vision_set("imagenette", root, download=True)) == 10
    assert {path.name for path in root.iterdir()} == {"imagenette2-160", "imagenette2-160.tgz"}
    monkeypatch.setattr("urllib.request.urlopen", None)  # nothing is fetched a second time
    assert len(load_vision_set("imagenette", root, download=True)) == 10


def test_pets_are_fetched_in_two_archives(tmp_path, monkeypatch, server):
    url, served = server
    base = make_pets(tmp_path / "made")
    files = {f"{part}.tar.gz": pack(base / part, served / f"{part}.tar.gz") for part in ("images", "annotations")}
    with_archives(monkeypatch, "oxford_iiit_pet", files, [url])
    assert len(load_vision_set("oxford_iiit_pet", tmp_path / "root", download=True)) == 2


def test_all_mirrors_fail(tmp_path, monkeypatch, server):
    url, served = server
    archive = pack(make_imagenette(tmp_path / "made"), served / "imagenette2-160.tgz")
    dead = "http://127.0.0.1:9"  # the discard port: nobody listens
    with_archives(monkeypatch, "imagenette", {archive.name: archive}, [dead, f"{url}/missing", f"{url}/cut"])
    root = tmp_path / "root"
    with pytest.raises(ConnectionError) as error:
        load_vision_set("imagenette", root, download=True)
    message = str(error.value)
    for part in (dead, "404", "/cut", md5(archive), "imagenette2-160.tgz", str(root)):
        assert part in message
    assert everything(root) == []


def test_missing_data(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_vision_set("cifar10", tmp_path / "nowhere")
    for part in ("cifar-10-batches-py", "download=True", "c58f30108f718f92721af3b95e74349a", "https://www.cs.toronto"):
        assert part in str(error.value)
    assert not (tmp_path / "nowhere").exists()


def test_a_truncated_archive_is_named_and_left(tmp_path, monkeypatch):
    archive = pack(make_imagenette(tmp_path / "made"), tmp_path / "imagenette2-160.tgz")
    with_archives(monkeypatch, "imagenette", {archive.name: archive}, ["http://somewhere"])
    expected = md5(archive)
    archive.write_bytes(archive.read_bytes()[:500])
    with pytest.raises(ValueError) as error:
        load_vision_set("imagenette", tmp_path, download=True)
    for part in (str(archive), expected, md5(archive), "remove it", "http://somewhere"):
        assert part in str(error.value)
    assert everything(tmp_path / "made")[0] == "imagenette2-160"
    assert {path.name for path in tmp_path.iterdir()} == {"made", "imagenette2-160.tgz"}


@pytest.mark.parametrize("content", [b"no archive at all", None])
def test_an_archive_with_the_right_hash_and_the_wrong_content(tmp_path, monkeypatch, content):
    archive = tmp_path / "imagenette2-160.tgz"
    if content is None:
        pack(make_imagenette(tmp_path / "made", 320), archive)
    else:
        archive.write_bytes(content)
    with_archives(monkeypatch, "imagenette", {archive.name: archive})
    with pytest.raises(ValueError, match=r"imagenette2-160\.tgz cannot be unpacked"):
        load_vision_set("imagenette", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"made", "imagenette2-160.tgz"}


def test_an_archive_cannot_write_outside_its_folder(tmp_path, monkeypatch):
    archive = tmp_path / "root" / "imagenette2-160.tgz"
    archive.parent.mkdir()
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "evil", arcname="../../escaped")
    with_archives(monkeypatch, "imagenette", {archive.name: archive})
    with pytest.raises(ValueError, match="cannot be unpacked"):
        load_vision_set("imagenette", tmp_path / "root")
    assert not list(tmp_path.rglob("escaped"))


def test_a_damaged_folder(tmp_path, monkeypatch):
    folder = make_cifar10(tmp_path, monkeypatch)
    (folder / "data_batch_3").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cifar10 in .* is damaged") as error:
        load_vision_set("cifar10", tmp_path)
    assert str(folder) in str(error.value)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"cifar1000.*cifar10, cifar100"):
        load_vision_set("cifar1000", ".")
    with pytest.raises(ValueError, match=r"split.*'valid'"):
        load_vision_set("cifar10", ".", "valid")


def test_the_hashes_are_torchvisions():
    theirs = {
        "cifar10": [datasets.CIFAR10.tgz_md5],
        "cifar100": [datasets.CIFAR100.tgz_md5],
        "fashion_mnist": [hash for _, hash in datasets.FashionMNIST.resources],
        "imagenette": [datasets.Imagenette._ARCHIVES["160px"][1]],
        "imagenette_320": [datasets.Imagenette._ARCHIVES["320px"][1]],
        "oxford_iiit_pet": [hash for _, hash in datasets.OxfordIIITPet._RESOURCES],
    }
    assert {name: [archive.md5 for archive in chosen.archives] for name, chosen in VISION_SETS.items()} == theirs


def test_every_file_has_two_addresses():
    assert all(len(set(archive.urls)) >= 2 for chosen in VISION_SETS.values() for archive in chosen.archives)
