"""The command ``stitchwork``: list, show, run, train, predict, export, comparisons, bench.

Each command imports what it needs when it is called, so that ``stitchwork --help`` answers at once. What goes wrong is
told in one line: exit code 2 for a request that cannot be met, 1 for work that failed.
"""

import ast
import contextlib
import difflib
import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
except ModuleNotFoundError:
    raise SystemExit('stitchwork: the command line needs typer: pip install "stitchwork[cli]"') from None

app = typer.Typer(
    help="Modern vision architectures, block by block: derived, built, proved, measured.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Measure how fast our networks and blocks are.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")


@contextmanager
def plain_errors(extra: str) -> Iterator[None]:
    """Tell what went wrong in one line, without a traceback; ``extra`` is what a missing library comes with."""
    try:
        yield
    except ModuleNotFoundError as error:
        fail(f'{error.name or error} is not installed: pip install "stitchwork[{extra}]"')
    except (ValueError, ImportError, OSError, FloatingPointError) as error:
        fail(str(error))


def fail(message: str, code: int = 2) -> None:
    """Print one line to the error stream and stop."""
    typer.echo(f"stitchwork: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


def show_table(rows: list[tuple[str, ...]]) -> None:
    """Print columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


@app.command("list")
@plain_errors("cli")
def list_names(
    pattern: Annotated[str, typer.Argument(help='A glob such as "resnet*".')] = "*",
    blocks: Annotated[bool, typer.Option("--blocks", help="Only plug-in modules.")] = False,
    models: Annotated[bool, typer.Option("--models", help="Only networks.")] = False,
) -> None:
    """List the registered names: kind, paper, chapter."""
    import stitchwork

    names = [] if models and not blocks else stitchwork.list_blocks(pattern)
    names += [] if blocks and not models else stitchwork.list_models(pattern)
    if not names:
        fail(f"no name matches {pattern!r}; `stitchwork list` shows all")
    entries = map(stitchwork.describe, names)
    show_table([(entry.name, entry.kind, entry.paper, entry.chapter) for entry in entries])


@app.command()
@plain_errors("cli")
def show(name: Annotated[str, typer.Argument(help="A registered name, such as cbam or resnet50.")]) -> None:
    """Show what a name builds: paper, cost, references, arguments."""
    import torch

    import stitchwork
    from stitchwork.analysis import count_multiply_adds, count_parameters

    known = stitchwork.list_blocks() + stitchwork.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        fail(f"there is nothing named {name!r}; " + (f"did you mean {', '.join(near)}?" if near else "see `list`"))
    entry = stitchwork.describe(name)
    with torch.device("meta"):
        if entry.kind == "block":
            arguments, size = entry.example(56, 56)
            module = stitchwork.create_block(name, **arguments)
            size_too = f", size={arguments['size']}" if "size" in arguments else ""
            call = f'create_block("{name}", {entry.dim}{size_too})'
        else:
            call, module = f'create_model("{name}")', stitchwork.create_model(name)
            size = (1, getattr(module, "in_chans", 3), 224, 224)
    summary = (inspect.getdoc(entry.constructor) or "").split("\n\n")[0]
    preset = [brief(value) for value in getattr(entry.build, "args", ())]
    preset += [f"{key}={brief(value)}" for key, value in getattr(entry.build, "keywords", {}).items()]
    rows = [
        ("name", f"{name} ({entry.kind})"),
        ("is", " ".join(summary.split())),
        ("paper", entry.paper),
        ("chapter", entry.chapter),
        ("parameters", f"{count_parameters(module):,}  for {call}"),
        ("multiply-adds", f"{count_multiply_adds(module, input_size=size):,}  for {' x '.join(map(str, size))}"),
    ]
    with contextlib.suppress(ValueError):  # there is nothing to fold
        fused = stitchwork.fuse(module)
        costs = f"{count_parameters(fused):,} parameters, {count_multiply_adds(fused, input_size=size):,} multiply-adds"
        rows.append(("fused", costs))
    arguments = [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={brief(parameter.default)}"
        for parameter in inspect.signature(entry.constructor).parameters.values()
    ]
    rows += [
        proof(entry.references),
        ("constructor", f"{entry.constructor.__name__}({', '.join(arguments)})"),
        ("called with", ", ".join(preset) or "its defaults"),
        ("source", entry.module),
    ]
    show_table(rows)


def proof(references: tuple[str, ...]) -> tuple[str, str]:
    """What stands behind a name, as a row of the table: equality, published counts, or a network that it resembles."""
    kind, _, other = references[0].partition(":")
    if kind == "counted":
        return "as published", "parameters, multiply-adds, structure; a relative with the same encoder is proved equal"
    if kind == "sibling":
        return "our own size", f"of {other}, which is proved equal to its published code; nobody published this one"
    return "proved equal to", ", ".join(references)


def brief(value: object) -> str:
    """A value in few words: a builder by its name, the rest as Python writes it, cut where it is long."""
    if isinstance(value, functools.partial):
        options = ", ".join(f"{key}={brief(option)}" for key, option in value.keywords.items())
        return f"{brief(value.func)}({options})"
    text = getattr(value, "__name__", None) or repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@app.command()
@plain_errors("cli")
def run(
    notebooks: Annotated[list[Path], typer.Argument(help="The notebooks to execute.")],
    preset: Annotated[
        str | None, typer.Option(help="smoke, cpu or gpu; without it STITCHWORK_PRESET, or what the hardware allows.")
    ] = None,
    parameter: Annotated[
        list[str], typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    force: Annotated[bool, typer.Option("--force", help="Execute also what is up to date.")] = False,
    output_dir: Annotated[
        Path | None, typer.Option(help="Where the executed notebooks go; without it they replace their sources.")
    ] = None,
) -> None:
    """Execute notebooks and store their outputs in them.

    What is up to date is skipped. A notebook that fails is left as it was; its failed run is written beside it (or into
    the output directory) as NAME.failed.ipynb, and the others go on. The exit code is 1 if any failed.
    """
    from stitchwork.notebooks import run_notebooks
    from stitchwork.presets import default_preset

    values = dict(parse_parameter(text) for text in parameter)
    outcomes = run_notebooks(
        notebooks,
        preset or default_preset(),
        values,
        force=force,
        output_dir=output_dir,
        report=lambda outcome: typer.echo(f"{outcome.path.name}: {outcome.status}", err=True),
    )
    show_table([(outcome.path.name, outcome.status, f"{outcome.seconds:.1f} s", outcome.error) for outcome in outcomes])
    if failures := sum(outcome.status == "failed" for outcome in outcomes):
        fail(f"{failures} of {len(outcomes)} notebooks failed", code=1)


@app.command("comparisons")
@plain_errors("cli")
def gather_comparisons(
    notebooks: Annotated[list[Path], typer.Argument(help="Executed notebooks.")],
    output: Annotated[Path, typer.Option(help="The JSON file to write.")],
) -> None:
    """Gather the training comparisons of executed chapters into one data file."""
    from stitchwork.comparisons import collect

    record = collect(notebooks, output)
    show_table([(chapter, f"{len(found['rows'])} rows") for chapter, found in record.items()])
    typer.echo(f"record: {output}")


def parse_parameter(text: str) -> tuple[str, Any]:
    """``"steps=10"`` -> ``("steps", 10)``: a Python literal where it is one, a string otherwise."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise ValueError(f"a parameter is written NAME=VALUE, such as seed=1; got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


@app.command()
@plain_errors("notebooks")
def train(
    model: Annotated[str, typer.Option(help="A registered network.")] = "resnet18",
    data: Annotated[
        str,
        typer.Option(
            help="digits, a set of torchvision such as cifar10, or a folder with train/ and test/; to segment: "
            "phantom, synapse, acdc or oxford_pet."
        ),
    ] = "digits",
    root: Annotated[Path, typer.Option(help="The folder of Synapse or ACDC, or where torchvision's sets are.")] = Path(
        "data"
    ),
    download: Annotated[bool, typer.Option("--download", help="Download the set if it is not in the root.")] = False,
    samples: Annotated[int, typer.Option(min=1, help="Slices of the phantom to learn from.")] = 1000,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the images in pixels.", show_default="32; to segment 224")
    ] = None,
    argument: Annotated[
        list[str],
        typer.Option("--argument", "-a", metavar="NAME=VALUE", help="An argument of the network; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training data.", show_default="10; to segment 300")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images of a step, over all processes together.", show_default="64; to segment 128"),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate.", show_default="1e-3; to segment 2e-3")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay.", show_default="0.01; to segment 1e-3")
    ] = None,
    optimiser: Annotated[str | None, typer.Option(help="adamw or sgd.", show_default="adamw")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="How the learning rate falls: cosine or poly.", show_default="cosine; to segment poly"),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(help="Share of the steps in which it rises first.", show_default="0.1; to segment 0"),
    ] = None,
    label_smoothing: Annotated[float, typer.Option(help="Share of the target spread over all classes.")] = 0.0,
    mixup: Annotated[float, typer.Option(help="Alpha of mixup; 0 for none.")] = 0.0,
    progressive: Annotated[
        str | None, typer.Option(help="s, m or l: size, RandAugment, mixup and dropout grow as in EfficientNetV2.")
    ] = None,
    ema: Annotated[float, typer.Option(help="Decay of the moving average of the weights; 0 for none.")] = 0.0,
    precision: Annotated[str, typer.Option(help="no, bf16 or fp16.")] = "no",
    seed: Annotated[int, typer.Option(help="Decides the initial weights and the order of the data.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read the data.")] = 0,
    weights: Annotated[str | None, typer.Option(help="Start from timm, torchvision or a .safetensors file.")] = None,
    encoder_weights: Annotated[
        str | None,
        typer.Option(help="Begin an evit_unet with EfficientFormerV2's in both halves: timm or a .safetensors file."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Learn also from a trained network with these weights, a .safetensors file.")
    ] = None,
    teacher_model: Annotated[
        str | None, typer.Option(help="The teacher's registered name.", show_default="the same network")
    ] = None,
    alpha: Annotated[float, typer.Option(help="The teacher's share of the loss, 0 to 1.")] = 0.1,
    checkpoint_dir: Annotated[Path | None, typer.Option(help="Folder for the checkpoints.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in that folder.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Where the trained weights go, a .safetensors file; to segment, those of the best epoch."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for a page of results; to segment.")] = None,
) -> None:
    """Train a network to classify images or to segment them.

    To segment, the numbers are those of EViT-UNet's training: AdamW, a polynomial schedule, 0.4 cross-entropy and
    0.6 Dice.
    On several GPUs or machines: `accelerate launch -m stitchwork.cli train ...`.
    """
    import dataclasses
    import importlib.util

    import torch
    from accelerate import PartialState
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy

    from stitchwork import training
    from stitchwork.training import TrainingInterrupted, fit
    from stitchwork.training.segmentation import SEGMENTATION_SETS, load_segmentation, taught
    from stitchwork.weights import save_safetensors

    if output is not None and (output.suffix != ".safetensors" or not output.parent.is_dir()):
        raise ValueError(f"--output must be a .safetensors file in a folder that exists; got {output}")
    if progressive not in (None, "s", "m", "l"):
        raise ValueError(f"--progressive must be s, m or l; got {progressive}")
    segments = data in SEGMENTATION_SETS
    if report is not None and not segments:
        raise ValueError(f"--report is for segmentation ({', '.join(SEGMENTATION_SETS)}); --data is {data}")
    if report is not None and importlib.util.find_spec("monai") is None:  # said now, not after the training
        raise ValueError('--report needs monai, which is not installed: pip install "stitchwork[medical]"')
    size = size or (224 if segments else 32)
    task = (
        load_segmentation(data, root, size, samples, download) if segments else load_images(data, root, size, download)
    )
    numbers = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": weight_decay,
        "optimiser": optimiser,
        "schedule": schedule,
        "warmup": warmup,
        "label_smoothing": label_smoothing,
        "mixup": mixup,
        "ema": ema,
        "precision": precision,
        "seed": seed,
        "progressive": progressive and getattr(training, f"EFFICIENTNET_V2_{progressive.upper()}").for_size(size),
    }
    recipe = dataclasses.replace(task.recipe, **{name: value for name, value in numbers.items() if value is not None})
    torch.manual_seed(seed)
    network = build_network(model, argument, task.num_classes, task.in_chans, weights, segments)
    if encoder_weights is not None:
        typer.echo(load_encoder(network, model, encoder_weights))
    learner = network
    if teacher is not None:
        same = teacher_model is None
        master = trained(model if same else teacher_model, teacher, argument if same else [])
        learner = taught(network, master, alpha, task.loss)
        accuracy = MulticlassAccuracy(task.num_classes, average="micro")
        metrics = task.metrics or MetricCollection({"accuracy": accuracy})
        task = dataclasses.replace(task, loss=learner.loss, metrics=metrics)
    try:
        history = fit(
            learner,
            task.train,
            task.valid,
            recipe,
            loss=task.loss,
            metrics=task.metrics,
            best=task.best and (f"ema_{task.best}" if ema else f"valid_{task.best}"),
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            workers=workers,
        )
    except TrainingInterrupted as error:
        fail(str(error), code=130)
    if not PartialState().is_main_process:
        return
    typer.echo(history.to_string(index=False, float_format="{:.4g}".format))
    result = history.best or history.ema or learner
    result = result if teacher is None else result.student
    if history.best_epoch:
        typer.echo(f"best epoch: {history.best_epoch}")
    if output is not None:
        save_safetensors(result, output, model)
        typer.echo(f"weights: {output}")
    if report is not None:
        from stitchwork.report import write_report

        facts = {"network": model, "data": data, "best epoch": history.best_epoch, "recipe": recipe}
        network = result.to(PartialState().device).eval()
        write_report(report, network, task.test, task.classes, history, f"{model} on {data}", facts, size)
        typer.echo(f"report: {report / 'report.html'}")


def build_network(
    name: str, arguments: list[str], num_classes: int, in_chans: int, weights: str | None, segments: bool
):
    """A network for the data, with the arguments that were given as NAME=VALUE.

    Raises:
        ValueError: it has no such argument, or it classifies where it should segment, or the other way round.
    """
    import stitchwork
    from stitchwork.layers import Segmenter

    with network_arguments(name, arguments) as values:
        network = stitchwork.create_model(name, num_classes, in_chans, weights=weights, **values)
    if segments != isinstance(network, Segmenter):
        does, should = ("classifies images", "segment") if segments else ("segments images", "classify")
        raise ValueError(f"{name} {does}, but these data are to {should}: take another --model or other --data")
    return network


def load_encoder(network, name: str, weights: str):
    """Put the weights of its encoder into both halves of an EViT-UNet, as its published training begins; tells which.

    Raises:
        ValueError: it is no EViT-UNet, or they do not fit.
    """
    import stitchwork
    from stitchwork.weights import load_mirrored

    if not name.startswith("evit_unet"):
        raise ValueError(f"--encoder-weights is for evit_unet and its sizes; --model is {name}")
    encoder = "efficientformerv2" + (name.removeprefix("evit_unet") or "_l")
    tensors = stitchwork.create_model(encoder, weights="timm").state_dict() if weights == "timm" else weights
    return load_mirrored(network, encoder, tensors)


def trained(name: str, weights: Path, arguments: list[str]):
    """The network that a file of weights is of, in evaluation mode."""
    from stitchwork.weights import trained_network

    with network_arguments(name, arguments) as values:
        return trained_network(name, weights, **values).eval()


@contextmanager
def network_arguments(name: str, arguments: list[str]) -> Iterator[dict[str, Any]]:
    """The values of NAME=VALUE; one that the network does not have is a request that cannot be met."""
    try:
        yield dict(parse_parameter(text) for text in arguments)
    except TypeError as error:
        raise ValueError(f"{name} cannot be built with {', '.join(arguments)}: {error}; see `show {name}`") from None


def load_images(data: str, root: Path, size: int, download: bool):
    """What ``--data`` names, to be classified.

    Raises:
        ValueError: it names nothing, or the folder has no images.
    """
    from stitchwork.data import VISION_SETS, digits, load_vision_set
    from stitchwork.training.segmentation import SEGMENTATION_SETS
    from stitchwork.training.task import Task

    if data == "digits":
        return Task(digits("train", size), digits("test", size), in_chans=1, num_classes=10)
    folder = Path(data)
    if data not in VISION_SETS and not folder.is_dir():
        known = ", ".join(("digits", *VISION_SETS, *SEGMENTATION_SETS))
        raise ValueError(f"there are no data named {data!r}; take {known} or a folder")

    from torchvision import datasets, transforms

    still = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    moved = [transforms.RandomResizedCrop(size, (0.35, 1.0)), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    transform = {"train": transforms.Compose(moved), "test": transforms.Compose(still)}
    if data in VISION_SETS:
        parts = [load_vision_set(data, root, part, download, transform[part]) for part in transform]
    else:
        if missing := [part for part in transform if not (folder / part).is_dir()]:
            raise ValueError(f"{folder} has no folder {missing[0]}/; put images into train/CLASS/ and test/CLASS/")
        parts = [datasets.ImageFolder(str(folder / part), transform[part]) for part in transform]
        if parts[0].classes != parts[1].classes:
            raise ValueError(f"{folder}/train and {folder}/test must have the same folders of classes")
    return Task(*parts, in_chans=parts[0][0][0].shape[0], num_classes=len(parts[0].classes))


@app.command("predict")
@plain_errors("notebooks")
def predict_files(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="An image, a volume, or a folder of them.")],
    model: Annotated[str, typer.Option(help="A registered network that segments.")],
    weights: Annotated[Path, typer.Option(help="Its weights, a .safetensors file.")],
    output: Annotated[Path, typer.Option(help="The folder for the labels; made if it does not exist.")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Resize to this side first, and the labels back, as on Synapse.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option(min=1, help="Side of overlapping tiles, for images that do not fit whole.")
    ] = None,
    overlap: Annotated[int, typer.Option(min=0, help="Pixels that two tiles share, at least.")] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="Slices or tiles at a time.")] = 1,
    grey: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Grey values of a volume that become 0 and 1; what is beyond is cut."),
    ] = None,
    overlays: Annotated[bool, typer.Option("--overlays", help="Write pictures with the labels in colour too.")] = False,
    argument: Annotated[
        list[str],
        typer.Option("--argument", "-a", metavar="NAME=VALUE", help="An argument of the network; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Segment images (png, jpg, ...) and volumes (npy, npz, h5: D x H x W), one file after the other.

    Labels go into NAME.png for an image and NAME.npy for a volume. A file that cannot be read is told and left out, and
    the others go on; the exit code is then 1.
    """
    from accelerate import PartialState

    from stitchwork.image_files import label_files, segment_file
    from stitchwork.layers import Segmenter

    targets = label_files(source, output)
    network = trained(model, weights, argument)
    if not isinstance(network, Segmenter):
        raise ValueError(f"{model} classifies images; take a network that segments, such as evit_unet")
    network.to(PartialState().device)
    output.mkdir(parents=True, exist_ok=True)
    failures = 0
    for path, target in targets.items():
        try:
            shape = segment_file(network, path, target, size, tile, overlap, batch_size, grey, overlays)
            typer.echo(f"{path}: {' x '.join(map(str, shape))} in {target}")
        except (ValueError, OSError) as error:
            failures += 1
            message = " ".join(str(error).split())
            typer.echo(message if str(path) in message else f"{path}: {message}", err=True)
    if failures:
        fail(f"{failures} of {len(targets)} files could not be segmented", code=1)


@app.command("export")
@plain_errors("onnx")
def export_network(
    model: Annotated[str, typer.Option(help="A registered network.")],
    weights: Annotated[Path, typer.Option(help="Its weights, a .safetensors file.")],
    output: Annotated[Path, typer.Option(help="The .onnx file to write.")],
    size: Annotated[int, typer.Option(min=1, help="Side of the images in pixels.")] = 224,
    tolerance: Annotated[float, typer.Option(help="Greatest difference of the logits that is accepted.")] = 1e-3,
    argument: Annotated[
        list[str],
        typer.Option("--argument", "-a", metavar="NAME=VALUE", help="An argument of the network; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Write a network as ONNX, for any batch of images of one size, and check it in onnxruntime against torch."""
    from stitchwork.onnx_export import export_onnx

    difference = export_onnx(trained(model, weights, argument), output, size, tolerance)
    typer.echo(f"{output}: greatest difference from torch {difference:.2g}")


@bench.command()
@plain_errors("weights")
def speed(
    names: Annotated[list[str] | None, typer.Argument(help="Networks; without any, one of each family.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every network that has something to run against.")] = False,
    pairs: Annotated[int, typer.Option(help="Rounds that count, for each network and mode.")] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 8,
    pixels: Annotated[int, typer.Option(min=32, help="Side of an image.")] = 224,
    output: Annotated[
        Path | None, typer.Option(help="A JSON file for the rows, the conditions and the machine.")
    ] = None,
) -> None:
    """Speed and peak memory against timm and torchvision, or against a plain form, on the same weights.

    On one CPU thread, or on the GPU if there is one. A ratio above 1 means that ours is faster, a memory below 1 that
    it needs less.
    """
    from stitchwork.bench import DEFAULT, bench_speed, comparable

    columns = "{:<22} {:<34} {:<6} {:>9} {:>9}  {:<21}  {}"
    typer.echo(columns.format("network", "reference", "mode", "images/s", "theirs", "ratio (quartiles)", "memory"))

    def report(row) -> None:
        ratio = f"{row.ratio:.3f} ({row.q1:.3f}-{row.q3:.3f})"
        speeds = f"{row.images_per_second:.2f}", f"{row.reference_images_per_second:.2f}"
        memory = f"{row.peak_memory / row.reference_peak_memory:.2f}"
        typer.echo(columns.format(row.network, row.reference, row.mode, *speeds, ratio, memory))

    chosen = comparable() if every else names or DEFAULT
    bench_speed(chosen, pairs, batch=batch, pixels=pixels, output=output, report=report)
    if output is not None:
        typer.echo(f"record: {output}")


@bench.command()
@plain_errors("analysis")
def blocks(
    names: Annotated[list[str] | None, typer.Argument(help="Blocks for images; without any, all.")] = None,
    budget: Annotated[float, typer.Option(help="Seconds of timing for each block and size.")] = 2.0,
    output: Annotated[
        Path | None, typer.Option(help="A JSON file for the rows, the growth, the conditions and the machine.")
    ] = None,
) -> None:
    """Time and peak memory of the blocks at 32, 64 and 128 pixels, against their plain forms.

    On one CPU thread, or on the GPU if there is one. A ratio above 1 means that ours is faster.
    """
    from stitchwork.bench import bench_blocks

    columns = "{:<29} {:>4} {:>10} {:>13} {:>9} {:>9}  {:<19} {:>8} {:>8}"
    header = ("block", "side", "parameters", "multiply-adds", "ms", "plain ms", "ratio (quartiles)", "MB", "plain MB")
    typer.echo(columns.format(*header) + "  against a library")

    def report(row) -> None:
        plain, ratio, memory = "-", "-", "-"
        if row.ratio is not None:
            plain, memory = f"{row.plain_milliseconds:.2f}", f"{row.plain_peak_bytes / 2**20:.1f}"
            ratio = f"{row.ratio:.2f} ({row.q1:.2f}-{row.q3:.2f})"
        ours = f"{row.parameters:,}", f"{row.multiply_adds:,}", f"{row.milliseconds:.2f}"
        line = columns.format(row.block, row.side, *ours, plain, ratio, f"{row.peak_bytes / 2**20:.1f}", memory)
        typer.echo(line + (f"  {row.library} {row.library_ratio:.2f}" if row.library else ""))

    _, growths = bench_blocks(names or None, budget, output=output, report=report)
    typer.echo("\ngrowth of the time with the number of pixels N")
    show_table([(g.block, f"N^{g.exponent:.2f}", f"documented: N^{g.claimed:g}") for g in growths])
    if output is not None:
        typer.echo(f"record: {output}")


if __name__ == "__main__":
    app()
