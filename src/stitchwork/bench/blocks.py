"""What each block costs as the image grows, against its plain form and, where a library has it, against theirs.

Ours and the transcription share their weights and run in turn in one process; each gets the memory layout that suits
it. Peak memory is counted tensor by tensor and does not depend on the machine.
"""

import json
import math
import os
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from stitchwork.analysis import count_multiply_adds, count_parameters, measure_peak_memory
from stitchwork.bench.clock import LAYOUTS, THREADS, quiet_machine, seconds
from stitchwork.bench.libraries import LIBRARIES
from stitchwork.provenance import environment
from stitchwork.registry import create_block, describe, list_blocks
from stitchwork.transcriptions import transcribe

SIDES = (32, 64, 128)
MOST_MEMORY = 6 * 2**30  # a call that would need more than this is left out, and the record says so


@dataclass(frozen=True)
class BlockRow:
    """One block on one image, of which one is in the batch.

    Attributes:
        block: the registered name.
        dim: channels.
        side: height and width.
        parameters: of ours.
        multiply_adds: of ours.
        layout: the memory layout in which ours is faster.
        milliseconds: median time of ours.
        fastest_milliseconds: the shortest time of ours.
        peak_bytes: of ours, beyond weights and input.
        plain_layout: the layout in which the transcription is faster.
        plain_milliseconds: median time of the transcription; None if it would need too much memory.
        plain_peak_bytes: of the transcription; None likewise.
        ratio: median over the rounds of its time divided by ours: above 1, ours is faster; None likewise.
        q1: first quartile of that ratio.
        q3: third quartile.
        library: timm or torchvision, if it has the block; None otherwise.
        library_ratio: as ``ratio``, for the library's layer of the same cost.
    """

    block: str
    dim: int
    side: int
    parameters: int
    multiply_adds: int
    layout: str
    milliseconds: float
    fastest_milliseconds: float
    peak_bytes: int
    plain_layout: str | None
    plain_milliseconds: float | None
    plain_peak_bytes: int | None
    ratio: float | None
    q1: float | None
    q3: float | None
    library: str | None = None
    library_ratio: float | None = None


@dataclass(frozen=True)
class Growth:
    """How a block's time grows: as a constant plus N to the ``exponent``, N = H W.

    The constant, what a call costs whatever the image, falls out of the differences between the three largest images.
    It is fitted to the fastest calls: whatever else runs on the machine only ever adds time.

    Attributes:
        block: the registered name.
        exponent: measured.
        claimed: what the block's documentation says.
    """

    block: str
    exponent: float
    claimed: float


def claimed_growth(name: str) -> float:
    """The exponent e of the line ``Growth: N^e`` in the documentation of a block.

    Raises:
        ValueError: it has no such line.
    """
    text = sys.modules[describe(name).module].__doc__ or ""
    found = re.search(r"^Growth: N\^([\d.]*\d)", text, re.MULTILINE)
    if not found:
        raise ValueError(f"the documentation of {name!r} has no line 'Growth: N^...'; add it")
    return float(found[1])


def bench_blocks(
    names: Sequence[str] | None = None,
    budget: float = 2.0,
    *,
    sides: Sequence[int] = SIDES,
    output: str | os.PathLike | None = None,
    report: Callable[[BlockRow], None] = lambda row: None,
) -> tuple[list[BlockRow], list[Growth]]:
    """Measure blocks on square images of growing size: on the GPU if there is one, else on one CPU thread.

    Args:
        names: registered blocks for images; all of them without it.
        budget: seconds to spend on the timing of one block at one size; at least 3 rounds are run.
        sides: of the images, each twice the one before.
        output: path of a JSON file for the rows and the growth, with the conditions and the machine.
        report: called with each row as soon as it is measured.

    Returns:
        A row for each block and side, and the growth of each block.

    Raises:
        ValueError: a name that is no block for images; sides that are not three or more, each twice the one before;
            a budget that is not positive.
    """
    images = list_blocks(layout="image")
    names = images if names is None else list(names)
    for name in names:
        if name not in images:
            raise ValueError(f"{name!r} is no block for images; take one of {', '.join(images)}")
    if len(sides) < 3 or sides[0] < 1 or any(large != 2 * small for small, large in pairwise(sides)):
        raise ValueError(
            f"sides must be three or more numbers of pixels, each twice the one before; got {tuple(sides)}"
        )
    if budget <= 0:
        raise ValueError(f"budget must be greater than 0 seconds; got {budget}")
    rows: list[BlockRow] = []
    with quiet_machine():
        for name in names:
            for row in measure(name, sides, budget):
                rows.append(row)
                report(row)
        growths = [growth([row for row in rows if row.block == name]) for name in names]
        conditions = {"batch": 1, "sides": list(sides), "threads": THREADS, "budget_seconds": budget}
        record = {
            "environment": environment(),
            "conditions": conditions,
            "rows": [asdict(row) for row in rows],
            "growth": [asdict(g) for g in growths],
        }
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return rows, growths


def growth(rows: Sequence[BlockRow]) -> Growth:
    """The growth of one block from its rows, whose sides double from one to the next."""
    times = [row.fastest_milliseconds for row in rows[-3:]]
    added = [large - small for small, large in pairwise(times)]
    exponent = math.log(max(added[1], 1e-9) / max(added[0], 1e-9)) / math.log(4)
    return Growth(rows[-1].block, exponent, claimed_growth(rows[-1].block))


@torch.no_grad()  # not inference mode: the counter of multiply-adds takes no parameters that were made in it
def measure(name: str, sides: Sequence[int], budget: float) -> Iterator[BlockRow]:
    """The rows of one block."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain_peaks: dict[int, int] = {}
    for side in sides:
        torch.manual_seed(0)
        arguments, shape = describe(name).example(side, side)
        ours = create_block(name, **arguments).to(device).eval()
        plain = transcribe(name, ours).eval()
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        cost = count_parameters(ours), count_multiply_adds(ours, input_size=shape)
        peak = measure_peak_memory(ours, x)
        modules = {"ours": ours}
        if expected_peak(plain_peaks, side) <= MOST_MEMORY:
            plain_peaks[side] = measure_peak_memory(plain, x)
            modules["plain"] = plain
        if name in LIBRARIES:
            library, build = LIBRARIES[name]
            modules["library"] = build(shape[1]).to(device).eval()
        layouts, times = alternate(modules, x, budget)
        rest: tuple = (None,) * 6
        if "plain" in modules:
            ratios = [b / a for a, b in zip(times["ours"], times["plain"])]
            q1, ratio, q3 = statistics.quantiles(ratios, n=4, method="inclusive")
            plain_time = 1e3 * statistics.median(times["plain"])
            rest = layouts["plain"], plain_time, plain_peaks[side], ratio, q1, q3
        if "library" in modules:
            ratio = statistics.median(b / a for a, b in zip(times["ours"], times["library"]))
            rest += library, ratio
        mine = [1e3 * time for time in times["ours"]]
        yield BlockRow(name, shape[1], side, *cost, layouts["ours"], statistics.median(mine), min(mine), peak, *rest)


def expected_peak(peaks: dict[int, int], side: int) -> float:
    """What a call will need at ``side``, if it goes on growing as from the second last size that ran to the last."""
    if not peaks:
        return 0.0
    (*before, last) = peaks
    exponent = math.log(peaks[last] / peaks[before[-1]]) / math.log(last / before[-1]) if before else 4.0
    return peaks[last] * (side / last) ** max(exponent, 2.0)


def alternate(
    modules: dict[str, nn.Module], x: torch.Tensor, budget: float
) -> tuple[dict[str, str], dict[str, list[float]]]:
    """Seconds of each module, run in turn, each in its faster layout; and these layouts."""
    layouts: dict[str, str] = {}
    calls: dict[str, Callable[[], object]] = {}
    expected = 0.0
    for label, module in modules.items():
        trial = {}
        for layout, memory_format in LAYOUTS.items():
            given = x.contiguous(memory_format=memory_format)
            module.to(memory_format=memory_format)
            module(given)
            call = partial(module, given)
            trial[layout] = seconds(call)
            for _ in range(max(2, min(30, int(0.05 * budget / trial[layout])))):
                trial[layout] = min(trial[layout], seconds(call))
        layouts[label] = min(trial, key=trial.get)
        expected += trial[layouts[label]]
    times: dict[str, list[float]] = {label: [] for label in modules}
    order = list(modules)
    for label, module in modules.items():
        given = x.contiguous(memory_format=LAYOUTS[layouts[label]])
        calls[label] = partial(module, given)
    for _ in range(max(3, min(200, int(budget / expected)))):
        for label in order:
            modules[label].to(memory_format=LAYOUTS[layouts[label]])
            times[label].append(seconds(calls[label]))
        order.reverse()
    return layouts, times
