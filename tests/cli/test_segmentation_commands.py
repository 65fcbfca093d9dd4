"""`stitchwork train` to segment, `predict` and `export`, from weights to labels."""

import signal
import subprocess
import sys

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import stitchwork
from stitchwork.cli import app, load_encoder
from stitchwork.data import phantom
from stitchwork.inference import labels_of, predict
from stitchwork.weights import save_safetensors, trained_network

SMALL = ["--model", "unet", "-a", "widths=(4, 4, 4, 4, 8)"]
PHANTOM = ["--data", "phantom", "--size", 32, "--samples", 8, "--batch-size", 4, *SMALL]


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(*arguments, code=2):
    """The one line that a bad request is answered with."""
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    if code == 2:
        assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One small run with everything, and what it said."""
    folder = tmp_path_factory.mktemp("trained")
    options = [
        "--output",
        folder / "net.safetensors",
        "--report",
        folder / "report",
        "--checkpoint-dir",
        folder / "run",
    ]
    return folder, succeed("train", *PHANTOM, "--epochs", 2, "--lr", 0.01, *options)


def small_network(path):
    return trained_network("unet", path, widths=(4, 4, 4, 4, 8)).eval()


def test_train(trained):
    folder, said = trained
    header, *rows = (line.split() for line in said.splitlines()[:3])
    assert [row[header.index("step")] for row in rows] == ["2", "4"]
    assert {"valid_dice", "valid_dice_liver", "valid_dice_left_kidney"} <= set(header)
    rates = [float(row[header.index("lr")]) for row in rows]
    assert rates == pytest.approx([0.01 * 0.75**0.9, 0.01 * 0.25**0.9], rel=1e-3), "poly, without a warm-up"
    dice = [float(row[header.index("valid_dice")]) for row in rows]
    (best,) = [line for line in said.splitlines() if line.startswith("best epoch: ")]
    assert dice[int(best[-1]) - 1] == max(dice)
    (kept,) = (folder / "run").glob("step-*/best.safetensors")
    ours, theirs = load_file(folder / "net.safetensors"), load_file(kept)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "unet on phantom" in page and "gallbladder" in page


def test_a_killed_command_goes_on_to_the_same_weights(trained, tmp_path):
    """The real thing, in a process of its own: asked to stop after the first step, then continued."""
    script = f"""
import os, signal
from stitchwork.training.run import Run
take = Run.take_step
def once(self, x, y):
    if self.step == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return take(self, x, y)
Run.take_step = once
import sys
sys.argv = ["stitchwork", *{[str(a) for a in PHANTOM]!r}, "--epochs", "2", "--lr", "0.01", *sys.argv[1:]]
sys.argv.insert(1, "train")
from stitchwork.cli import app, load_encoder
app()
"""
    if not hasattr(signal, "SIGTERM") or sys.platform == "win32":
        pytest.skip("Windows has no SIGTERM to be handled")
    options = ["--checkpoint-dir", str(tmp_path / "run"), "--output", str(tmp_path / "net.safetensors")]
    done = subprocess.run([sys.executable, "-c", script, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 130 and "stopped after step 2 of 4" in done.stderr, done.stderr
    assert not (tmp_path / "net.safetensors").exists()
    said = succeed("train", *PHANTOM, "--epochs", 2, "--lr", 0.01, *options, "--resume")
    ours, theirs = load_file(tmp_path / "net.safetensors"), load_file(trained[0] / "net.safetensors")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    columns = slice(0, -1)  # all but the seconds
    assert [line.split()[columns] for line in said.splitlines()[:3]] == [
        line.split()[columns] for line in trained[1].splitlines()[:3]
    ]


@pytest.mark.parametrize("data", [PHANTOM, ["--model", "mobilenet_v2_035", "--size", 8, "--batch-size", 512]])
def test_train_under_a_teacher(data, tmp_path):
    options = ["--epochs", 1, *data, "--output"]
    succeed("train", *options, tmp_path / "teacher.safetensors", "--seed", 1)
    teacher = ["--teacher", tmp_path / "teacher.safetensors", "--alpha", 0.5]
    said = succeed("train", *options, tmp_path / "student.safetensors", *teacher)
    succeed("train", *options, tmp_path / "alone.safetensors")
    student, alone = load_file(tmp_path / "student.safetensors"), load_file(tmp_path / "alone.safetensors")
    assert student.keys() == alone.keys() and not all(torch.equal(student[key], alone[key]) for key in alone)
    assert ("valid_dice" if data is PHANTOM else "valid_accuracy") in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "phantom", "--model", "resnet18"], ["resnet18 classifies images", "segment"]),
        (["--model", "unet_half"], ["unet_half segments images", "classify"]),
        (["--report", "x"], ["--report is for segmentation", "digits"]),
        (["--data", "synapse", "--root", "nowhere", "--model", "unet"], ["synapse", "nowhere", "missing"]),
        ([*PHANTOM, "--schedule", "linear"], ["schedule", "cosine, poly"]),
        ([*PHANTOM, "-a", "depth=3"], ["unet cannot be built with", "depth=3"]),
        ([*PHANTOM, "--teacher", "nowhere.safetensors"], ["no file nowhere.safetensors"]),
        ([*PHANTOM, "--samples", "2"], ["batch_size=4 is more than the 2 training samples"]),
        (["--data", "nothing"], ["'nothing'", "phantom", "synapse"]),
    ],
)
def test_train_refuses_in_one_line(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal("train", "--epochs", "1", *options)
    assert all(word in message for word in words), message


def test_the_encoder_in_both_halves(tmp_path):
    path = tmp_path / "encoder.safetensors"
    encoder = stitchwork.create_model("efficientformerv2_s0")
    save_safetensors(encoder, path)
    network = stitchwork.create_model("evit_unet_s0")
    assert " tensors loaded, " in str(load_encoder(network, "evit_unet_s0", str(path)))
    ours = {tuple(tensor.flatten()[:9].tolist()) for tensor in network.state_dict().values() if tensor.dim() == 4}
    theirs = [tuple(tensor.flatten()[:9].tolist()) for tensor in encoder.state_dict().values() if tensor.dim() == 4]
    assert sum(values in ours for values in theirs) > 0.9 * len(theirs)
    message = refusal("train", *PHANTOM, "--encoder-weights", path)
    assert "--encoder-weights is for evit_unet and its sizes; --model is unet" in message


def test_predict_a_folder(trained, tmp_path):
    """Every kind of file, a damaged one among them, which is told; what was done stays."""
    weights, inputs = trained[0] / "net.safetensors", tmp_path / "in"
    inputs.mkdir()
    array = phantom(3, size=40, seed=5)[0][:, 0].clamp(0, 1).numpy()
    numpy.save(inputs / "a.npy", array)
    (inputs / "b.npy").write_bytes((inputs / "a.npy").read_bytes()[:300])
    numpy.savez(inputs / "c.npz", image=array, label=array)
    Image.fromarray((255 * array[0]).astype(numpy.uint8)).save(inputs / "d.png")
    (inputs / "notes.txt").write_text("not this one")
    result = call("predict", inputs, *SMALL, "--weights", weights, "--output", tmp_path / "new" / "out", "--overlays")
    assert result.exit_code == 1 and "1 of 4 files could not be segmented" in result.stderr
    assert "b.npy cannot be read" in result.stderr and "a.npy: 3 x 40 x 40" in result.stdout
    out = tmp_path / "new" / "out"
    names = {"a.npy", "c.npy", "d.png", "a_overlay.png", "c_overlay.png", "d_overlay.png"}
    assert {path.name for path in out.iterdir()} == names
    expected = labels_of(predict(small_network(weights), torch.from_numpy(array)[:, None]))
    assert numpy.array_equal(numpy.load(out / "a.npy"), expected)
    assert numpy.array_equal(numpy.load(out / "c.npy"), expected)


@pytest.mark.parametrize("options", [["--tile", 32, "--overlap", 8, "--batch-size", 2], ["--size", 32]])
def test_predict_in_tiles_or_resized(trained, tmp_path, options):
    from stitchwork.image_files import segment

    array = phantom(2, size=50, seed=5)[0].clamp(0, 1)
    numpy.save(tmp_path / "a.npy", array[:, 0].numpy())
    weights = trained[0] / "net.safetensors"
    succeed("predict", tmp_path / "a.npy", *SMALL, "--weights", weights, "--output", tmp_path / "out", *options)
    network = small_network(weights)
    given = {"tile": 32, "overlap": 8, "batch_size": 2} if "--tile" in options else {"size": 32}
    assert numpy.array_equal(numpy.load(tmp_path / "out" / "a.npy"), segment(network, array, **given))


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("empty", [], ["empty has nothing to segment", ".png"]),
        ("nowhere", [], ["there is no file or folder nowhere"]),
        ("a.npy", ["--weights", "nowhere.safetensors"], ["no file nowhere.safetensors"]),
        ("a.npy", ["--weights", "cut.safetensors"], ["cut.safetensors is not a readable .safetensors file"]),
        ("a.npy", ["--weights", "other.safetensors"], ["other.safetensors do not fit"]),
        ("a.npy", ["-a", "width=3"], ["unet cannot be built with"]),
        ("a.npy", ["--model", "unet_hal"], ["unet_hal", "did you mean"]),
        ("a.npy", ["--output", "."], ["would go over the input"]),
    ],
)
def test_predict_refuses_in_one_line(trained, source, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    numpy.save("a.npy", numpy.zeros((1, 16, 16), numpy.float32))
    weights = trained[0] / "net.safetensors"
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:100])
    others = {f"x.{key}": value for key, value in load_file(weights).items()}
    save_file(others | {"head.weight": torch.zeros(9, 4, 1, 1)}, "other.safetensors")
    message = refusal("predict", source, *SMALL, "--weights", weights, "--output", "out", *options)
    assert all(word in message for word in words), message
    assert not (tmp_path / "out").exists()


def test_predict_with_a_network_that_classifies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_safetensors(stitchwork.create_model("mobilenet_v2_035", num_classes=3), "net.safetensors")
    numpy.save("a.npy", numpy.zeros((1, 16, 16), numpy.float32))
    options = ["--model", "mobilenet_v2_035", "--weights", "net.safetensors", "--output", "out"]
    assert "classifies images; take a network that segments" in refusal("predict", "a.npy", *options)


def test_predict_tells_of_wrong_channels(trained, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    options = [*SMALL, "--weights", trained[0] / "net.safetensors", "--output", tmp_path / "out"]
    assert "is in colour, but the network takes 1 channel" in refusal("predict", tmp_path / "a.png", *options, code=1)


def test_export(trained, tmp_path):
    import onnxruntime

    weights, path = trained[0] / "net.safetensors", tmp_path / "net.onnx"
    said = succeed("export", *SMALL, "--weights", weights, "--output", path, "--size", 32)
    assert said.startswith(f"{path}: greatest difference from torch ")
    x = torch.rand(3, 1, 32, 32)
    (found,) = onnxruntime.InferenceSession(path).run(None, {"image": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), small_network(weights)(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "net.pt"], [".onnx file in a folder that exists"]),
        (["--tolerance", "-1"], ["tolerance must be greater than 0"]),
        (["--size", "8"], ["at least 16"]),
    ],
)
def test_export_refuses_in_one_line(trained, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = trained[0] / "net.safetensors"
    message = refusal("export", *SMALL, "--weights", weights, "--output", "net.onnx", "--size", 32, *options)
    assert all(word in message for word in words), message
    assert list(tmp_path.iterdir()) == []
