"""`stitchwork list`, `show`, `train`, `bench`, and the console entry itself."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import stitchwork
from stitchwork.cli import app


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments):
    """The one line that a bad request is answered with."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_list_has_every_name_once():
    lines = [line.split() for line in call("list").stdout.splitlines()]
    assert [line[0] for line in lines] == stitchwork.list_blocks() + stitchwork.list_models()
    assert ["se", "block", "hu2018squeeze", "02_se_cbam_coordatt"] in lines


def test_list_filters():
    def names(*options):
        return [line.split()[0] for line in call("list", *options).stdout.splitlines()]

    assert names("--blocks") == stitchwork.list_blocks()
    assert names("--models") == stitchwork.list_models()
    assert names("resnet1*") == ["resnet101", "resnet152", "resnet18"]
    assert "zz" in refusal("list", "zz*")


def test_show_a_block():
    text = call("show", "se").stdout
    # by hand: 64 x 4 and 4 x 64 weights, 4 + 64 biases
    assert "580" in text and "hu2018squeeze" in text and "recorded:se" in text
    assert "SqueezeExcitation(dim, reduction=16, bias=True)" in text


def test_show_a_model():
    text = call("show", "resnet18").stdout
    assert "11,689,512" in text and "1,814,073,344" in text and "torchvision:resnet18" in text
    assert "(2, 2, 2, 2), bottleneck=False" in text


@pytest.mark.parametrize(
    ("name", "proof", "words"),
    [
        ("unet", "proved equal to", "recorded:unet"),
        ("unet_half", "as published", "a relative with the same encoder is proved equal"),
        ("evit_unet_s0", "our own size", "of evit_unet, which is proved equal"),
    ],
)
def test_show_says_how_a_network_is_proved(name, proof, words):
    (line,) = [line for line in call("show", name).stdout.splitlines() if line.startswith(proof)]
    assert words in line


def test_show_suggests_on_a_typo():
    assert "did you mean resnet50" in refusal("show", "resnet5")


def test_train_on_digits(tmp_path):
    output = tmp_path / "weights.safetensors"
    options = ["--model", "mobilenet_v2_035", "--size", 8, "--epochs", 1, "--batch-size", 256, "--output", output]
    result = call("train", *options, "--checkpoint-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    header, row = result.stdout.splitlines()[:2]
    assert row.split()[header.split().index("epoch")] == "1"
    model = stitchwork.create_model("mobilenet_v2_035", num_classes=10, in_chans=1, weights=str(output))
    assert model.head.out_features == 10
    assert "resume" in refusal("train", *options, "--checkpoint-dir", tmp_path / "run")


def test_train_with_stages():
    options = ["--model", "mobilenet_v2_035", "--size", 8, "--epochs", 4, "--batch-size", 512, "--progressive", "m"]
    result = call("train", *options)
    assert result.exit_code == 0, result.output
    header, *rows = (line.split() for line in result.stdout.splitlines())
    assert [row[header.index("image_size")] for row in rows] == ["4", "4", "8", "8"]  # 4, 5.3, 6.7, 8: multiples of 4
    assert [row[header.index("randaugment")] for row in rows] == ["5", "10", "15", "20"]


def test_train_on_a_folder(tmp_path):
    from PIL import Image

    for part in ("train", "test"):
        for number, name in enumerate(("dark", "light")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (40, 30), (200 * number, 200 * number, i)).save(folder / f"{i}.png")
    options = ["--data", tmp_path, "--model", "mobilenet_v2_035", "--epochs", 1, "--batch-size", 4]
    result = call("train", *options)
    assert result.exit_code == 0, result.output
    (tmp_path / "test" / "light").rename(tmp_path / "test" / "bright")
    assert "same folders" in refusal("train", *options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "nothing"], ["'nothing'", "digits"]),
        (["--model", "resnet19"], ["resnet19", "did you mean"]),
        (["--epochs", "0"], ["epochs", "0"]),
        (["--precision", "fp8"], ["precision", "fp8"]),
        (["--progressive", "xl"], ["s, m or l", "xl"]),
        (["--progressive", "s"], ["4 epochs; got 1"]),
        (["--weights", "weights.pt"], ["pickle"]),
        (["--resume"], ["checkpoint_dir"]),
        (["--output", "weights.pt"], [".safetensors"]),
        (["--data", "cifar10", "--root", "nowhere"], ["cifar10"]),
    ],
)
def test_train_refuses_in_one_line(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal("train", "--epochs", "1", *options)
    assert all(word in message for word in words), message


def test_train_refuses_a_folder_without_parts(tmp_path):
    assert "no folder train/" in refusal("train", "--data", tmp_path)


def test_bench_speed_writes_a_record(tmp_path):
    output = tmp_path / "new" / "speed.json"
    result = call("bench", "speed", "mobilenet_v2", "--pairs", 2, "--batch", 2, "--pixels", 32, "--output", output)
    assert result.exit_code == 0, result.output
    record = json.loads(output.read_text())
    assert record["conditions"] == {"batch": 2, "pixels": 32, "threads": 1, "pairs": 2}
    assert record["environment"]["source"] == stitchwork.provenance.source_hash()
    expected = [(m, r) for m in ("eval", "train") for r in ("torchvision:mobilenet_v2", "timm:mobilenetv2_100")]
    expected.append(("fused", "unfused:mobilenet_v2"))
    assert [(row["mode"], row["reference"]) for row in record["rows"]] == expected
    for row in record["rows"]:
        assert 0 < row["q1"] <= row["ratio"] <= row["q3"] and row["images_per_second"] > 0
        # The input is 2 x 3 x 32 x 32 floats, and the first map is larger.
        assert row["peak_memory"] > 24_576 < row["reference_peak_memory"]
        assert row["reference"] in result.stdout


def test_bench_speed_against_the_plain_form():
    result = call("bench", "speed", "evit_unet_s0", "--pairs", 2, "--batch", 2, "--pixels", 32)
    assert result.exit_code == 0, result.output
    rows = [line.split()[:3] for line in result.stdout.splitlines()[1:]]
    against = [("plain", "eval"), ("unfused", "fused"), ("plain", "fused")]
    assert rows == [["evit_unet_s0", f"{reference}:evit_unet_s0", mode] for reference, mode in against]


def test_bench_refuses_in_one_line():
    assert "did you mean" in refusal("bench", "speed", "resnet19")
    assert "pairs" in refusal("bench", "speed", "resnet18", "--pairs", 1)
    assert "has a network se" in refusal("bench", "speed", "se")


def console(*arguments, block=()):
    """Run the command in a process of its own in which some libraries cannot be found."""
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {set(block)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
sys.argv = ["stitchwork", *{[str(a) for a in arguments]!r}]
from stitchwork.cli import app
app()
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_without_typer_the_command_says_what_to_install():
    done = console("list", block={"typer"})
    assert done.returncode == 1
    assert done.stderr == 'stitchwork: the command line needs typer: pip install "stitchwork[cli]"\n'


def test_without_papermill_run_says_what_to_install(tmp_path):
    done = console("run", tmp_path / "a.ipynb", block={"papermill"})
    assert done.returncode == 2
    assert done.stderr == 'stitchwork: papermill is not installed: pip install "stitchwork[cli]"\n'


def test_help_imports_nothing_heavy_beyond_torch():
    code = """
import sys, time
import torch
start = time.process_time()
from typer.testing import CliRunner
from stitchwork.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
seconds = time.process_time() - start
heavy = {"pandas", "matplotlib", "timm", "torchvision", "papermill", "accelerate", "sklearn"} & set(sys.modules)
assert not heavy, heavy
assert seconds < 1, seconds
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
