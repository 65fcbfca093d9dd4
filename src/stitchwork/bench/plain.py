"""What a network's shortcuts are worth: its time and memory against those of its plain form.

Both share their weights and run in turn in one process, each in the memory layout that suits it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stitchwork.analysis import measure_peak_memory
from stitchwork.bench.blocks import alternate
from stitchwork.bench.clock import quiet_machine
from stitchwork.registry import create_model
from stitchwork.transcriptions import transcribe


@dataclass(frozen=True)
class PlainRow:
    """A network and its plain form, in evaluation, on a batch of square images.

    Attributes:
        network: the registered name.
        batch: images at a time.
        side: height and width.
        layout: the memory layout in which ours is faster.
        milliseconds: median time of ours.
        peak_bytes: of ours, beyond weights and input.
        plain_layout: the layout in which the plain form is faster.
        plain_milliseconds: median time of the plain form.
        plain_peak_bytes: of the plain form.
        ratio: median over the rounds of its time divided by ours: above 1, ours is faster.
        q1: first quartile of that ratio.
        q3: third quartile.
    """

    network: str
    batch: int
    side: int
    layout: str
    milliseconds: float
    peak_bytes: int
    plain_layout: str
    plain_milliseconds: float
    plain_peak_bytes: int
    ratio: float
    q1: float
    q3: float


@torch.no_grad()
def bench_plain(
    name: str = "evit_unet", batches: Sequence[int] = (1, 8), side: int = 224, budget: float = 20.0
) -> list[PlainRow]:
    """Time a network against its plain form: on the GPU if there is one, else on one CPU thread.

    Args:
        name: a registered network that has a plain form.
        batches: numbers of images at a time.
        side: of the images.
        budget: seconds to spend on each batch; at least 3 rounds are run.

    Returns:
        A row for each batch.

    Raises:
        ValueError: there is no plain form of this network, or the budget is not positive.
    """
    if budget <= 0:
        raise ValueError(f"budget must be greater than 0 seconds; got {budget}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    ours = create_model(name).to(device).eval()
    modules = {"ours": ours, "plain": transcribe(name, ours).eval()}
    rows = []
    with quiet_machine():
        for batch in batches:
            x = torch.randn(batch, ours.in_chans, side, side, generator=torch.Generator().manual_seed(0)).to(device)
            peaks = {label: measure_peak_memory(module, x) for label, module in modules.items()}
            layouts, times = alternate(modules, x, budget)
            q1, ratio, q3 = statistics.quantiles(
                [b / a for a, b in zip(times["ours"], times["plain"])], n=4, method="inclusive"
            )
            medians = {label: 1e3 * statistics.median(own) for label, own in times.items()}
            own, plain = ((layouts[label], medians[label], peaks[label]) for label in modules)
            rows.append(PlainRow(name, batch, side, *own, *plain, ratio, q1, q3))
    return rows
