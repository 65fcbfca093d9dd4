"""The command ``stitchwork``: list, show, run, train, bench.

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
    equal = [reference for reference in entry.references if not reference.startswith("counted:")]
    arguments = [
        parameter.name if parameter.default is parameter.empty else f"{parameter.name}={brief(parameter.default)}"
        for parameter in inspect.signature(entry.constructor).parameters.values()
    ]
    rows += [
        ("proved equal to", ", ".join(equal))
        if equal
        else ("as published", "parameters, multiply-adds, structure; a relative of the same class is proved equal"),
        ("constructor", f"{entry.constructor.__name__}({', '.join(arguments)})"),
        ("called with", ", ".join(preset) or "its defaults"),
        ("source", entry.module),
    ]
    show_table(rows)


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
        str, typer.Option(help="digits, a set of torchvision such as cifar10, or a folder with train/ and test/.")
    ] = "digits",
    root: Annotated[Path, typer.Option(help="Where torchvision's sets are.")] = Path("data"),
    download: Annotated[bool, typer.Option("--download", help="Download the set if it is not in the root.")] = False,
    size: Annotated[int, typer.Option(min=1, help="Side of the images in pixels.")] = 32,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Images of a step, over all processes together.")] = 64,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.01,
    optimiser: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
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
    checkpoint_dir: Annotated[Path | None, typer.Option(help="Folder for the checkpoints.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in that folder.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the trained weights go, a .safetensors file.")] = None,
) -> None:
    """Train a network on images.

    On several GPUs or machines: `accelerate launch -m stitchwork.cli train ...`.
    """
    import torch

    import stitchwork
    from stitchwork import training
    from stitchwork.training import Recipe, TrainingInterrupted, fit
    from stitchwork.weights import save_safetensors

    if output is not None and (output.suffix != ".safetensors" or not output.parent.is_dir()):
        raise ValueError(f"--output must be a .safetensors file in a folder that exists; got {output}")
    if progressive not in (None, "s", "m", "l"):
        raise ValueError(f"--progressive must be s, m or l; got {progressive}")
    schedule = progressive and getattr(training, f"EFFICIENTNET_V2_{progressive.upper()}").for_size(size)
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        mixup=mixup,
        ema=ema,
        precision=precision,
        seed=seed,
        optimiser=optimiser,
        progressive=schedule,
    )
    train_set, test_set, num_classes = load_images(data, root, size, download)
    torch.manual_seed(seed)
    in_chans = train_set[0][0].shape[0]
    network = stitchwork.create_model(model, num_classes=num_classes, in_chans=in_chans, weights=weights)
    try:
        history = fit(
            network, train_set, test_set, recipe, checkpoint_dir=checkpoint_dir, resume=resume, workers=workers
        )
    except TrainingInterrupted as error:
        fail(str(error), code=130)
    typer.echo(history.to_string(index=False, float_format="{:.4g}".format))
    if output is not None:
        save_safetensors(network if history.ema is None else history.ema, output, model)
        typer.echo(f"weights: {output}")


def load_images(data: str, root: Path, size: int, download: bool):
    """Training set, test set and number of classes of what ``--data`` names.

    Raises:
        ValueError: it names nothing, or the folder has no images.
    """
    from stitchwork.data import VISION_SETS, digits, load_vision_set

    if data == "digits":
        return digits("train", size), digits("test", size), 10
    folder = Path(data)
    if data not in VISION_SETS and not folder.is_dir():
        raise ValueError(f"there are no data named {data!r}; take digits, {', '.join(VISION_SETS)} or a folder")

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
    return *parts, len(parts[0].classes)


@bench.command()
@plain_errors("weights")
def speed(
    names: Annotated[list[str] | None, typer.Argument(help="Networks; without any, one of each family.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every network that timm or torchvision has too.")] = False,
    pairs: Annotated[int, typer.Option(help="Rounds that count, for each network and mode.")] = 10,
    batch: Annotated[int, typer.Option(min=2, help="Images at a time.")] = 8,
    pixels: Annotated[int, typer.Option(min=32, help="Side of an image.")] = 224,
    output: Annotated[
        Path | None, typer.Option(help="A JSON file for the rows, the conditions and the machine.")
    ] = None,
) -> None:
    """Speed and peak memory against timm and torchvision, on the same weights.

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
