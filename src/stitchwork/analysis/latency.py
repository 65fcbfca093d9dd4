"""How long a call takes on this machine, and how much longer than another."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stitchwork.analysis.evaluation import evaluation_mode

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Measurement:
    """Repeated timings of one call, in seconds: the median, the quartiles, and every time in order."""

    median: float
    q1: float
    q3: float
    times: tuple[float, ...]

    @classmethod
    def of(cls, times: list[float]) -> "Measurement":
        """Summarise at least two times in seconds."""
        q1, median, q3 = statistics.quantiles(times, n=4, method="inclusive")
        return cls(median, q1, q3, tuple(times))

    def __str__(self) -> str:
        """Milliseconds, for people."""
        return f"{self.median * 1e3:.3g} ms (quartiles {self.q1 * 1e3:.3g} to {self.q3 * 1e3:.3g}, n={len(self.times)})"


def measure_latency(call: Callable | nn.Module, *inputs: Tensor, warmup: int = 3, repeats: int = 20) -> Measurement:
    """Time a call.

    A module is timed as in inference: evaluation mode, no gradients, modes restored afterwards. Any other callable
    runs as it stands, so that ``lambda: loss(net(x)).backward()`` times a training step. Work queued on a GPU is
    waited for before each reading of the clock.

    Args:
        call: a module or function.
        *inputs: its arguments.
        warmup: calls before the first that counts: they allocate, choose kernels and fill caches.
        repeats: calls that count, at least 2.

    Returns:
        Median, quartiles and times, in seconds.

    Raises:
        ValueError: ``repeats`` is under 2 or ``warmup`` under 0.
    """
    _check(warmup, repeats)
    with inference_if_module(call):
        for _ in range(warmup):
            call(*inputs)
        return Measurement.of([_seconds(call, inputs) for _ in range(repeats)])


def compare_latency(
    calls: Mapping[str, Callable | nn.Module], *inputs: Tensor, warmup: int = 3, repeats: int = 20
) -> "pd.DataFrame":
    """Time several calls side by side: A B C, A B C, ...

    Machines speed up and slow down while one looks away. Alternating lets every call meet the same weather, and the
    ratio is taken within each round, before the median.

    Args:
        calls: name to module or function; modules are timed as in :func:`measure_latency`. The first is the yardstick.
        *inputs: the arguments of every call.
        warmup: rounds before the first that counts.
        repeats: rounds that count, at least 2.

    Returns:
        One row a call; columns ``median``, ``q1``, ``q3`` in seconds, and ``ratio``: the median over the rounds of
        its time divided by the first call's time in that round (1 for the first; 2 is twice as slow).

    Raises:
        ValueError: no calls; ``repeats`` is under 2 or ``warmup`` under 0.
    """
    import pandas as pd

    _check(warmup, repeats)
    if not calls:
        raise ValueError("compare_latency needs at least one call; got none")
    times: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(warmup + repeats):
        for name, call in calls.items():
            with inference_if_module(call):
                seconds = _seconds(call, inputs)
            if index >= warmup:
                times[name].append(seconds)
    first = next(iter(times.values()))
    rows = {}
    for name, own in times.items():
        summary = Measurement.of(own)
        ratio = statistics.median(a / b for a, b in zip(own, first))
        rows[name] = {"median": summary.median, "q1": summary.q1, "q3": summary.q3, "ratio": ratio}
    return pd.DataFrame.from_dict(rows, orient="index")


@contextmanager
def inference_if_module(call: Callable | nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients if ``call`` is a module; nothing otherwise."""
    if isinstance(call, nn.Module):
        with evaluation_mode(call), torch.no_grad():
            yield
    else:
        yield


def _seconds(call: Callable, inputs: tuple[Tensor, ...]) -> float:
    _wait_for_device()
    start = time.perf_counter()
    call(*inputs)
    _wait_for_device()
    return time.perf_counter() - start


def _wait_for_device() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _check(warmup: int, repeats: int) -> None:
    if warmup < 0:
        raise ValueError(f"warmup must be 0 or more; got {warmup}")
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2, or there is no spread to report; got {repeats}")
