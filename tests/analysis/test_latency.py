"""Timing, on a clock that the test turns by hand."""

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from stitchwork.analysis import compare_latency, latency, measure_latency


class Clock:
    """Stands still but for the calls that it hands out: each takes the next of its durations."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def perf_counter(self) -> float:
        return self.now

    def call(self, name, durations):
        durations = iter(durations)

        def run(*_inputs):
            self.log.append(name)
            self.now += next(durations)

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def test_the_warm_up_does_not_count(clock):
    m = measure_latency(clock.call("a", [100, 100, 1, 2, 3, 4, 5]), warmup=2, repeats=5)
    assert m.times == pytest.approx((1, 2, 3, 4, 5))
    assert (m.q1, m.median, m.q3) == pytest.approx((2, 3, 4))
    assert len(clock.log) == 7


def test_seconds_of_the_real_clock():
    m = measure_latency(lambda: time.sleep(0.01), warmup=0, repeats=3)
    assert 0.009 < m.median < 1
    assert "ms" in str(m) and "n=3" in str(m)


def test_a_module_is_timed_as_in_inference_and_left_as_it_was():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled(), x))

    spy, x = Spy().train(), torch.zeros(1)
    measure_latency(spy, x, warmup=0, repeats=2)
    compare_latency({"spy": spy}, x, warmup=0, repeats=2)
    assert seen == [(False, False, x)] * 4
    assert spy.training


def test_a_function_runs_as_it_stands():
    seen = []
    measure_latency(lambda: seen.append(torch.is_grad_enabled()), warmup=0, repeats=2)
    assert seen == [True, True]


def test_calls_alternate(clock):
    calls = {name: clock.call(name, [1] * 5) for name in "ab"}
    compare_latency(calls, warmup=2, repeats=3)
    assert "".join(clock.log) == "ab" * 5


def test_the_ratio_is_taken_within_each_round(clock):
    # The machine slows down fivefold half way; b always takes twice what a takes in the same round, but for one round.
    # The ratio of the medians would be 10 / 1.
    a, b = [1, 1, 1, 5, 5], [2, 2, 10, 10, 10]
    table = compare_latency({"a": clock.call("a", a), "b": clock.call("b", b)}, warmup=0, repeats=5)
    assert table["median"].tolist() == pytest.approx([1, 10])
    assert table["ratio"].tolist() == pytest.approx([1, 2])
    assert table["q1"].tolist() == pytest.approx([1, 2])
    assert table["q3"].tolist() == pytest.approx([5, 10])
    assert list(table.index) == ["a", "b"]


@pytest.mark.parametrize(
    ("numbers", "message"), [({"repeats": 1}, "at least 2.*got 1"), ({"warmup": -1}, "0 or more; got -1")]
)
def test_bad_numbers(numbers, message):
    with pytest.raises(ValueError, match=message):
        measure_latency(print, **numbers)
    with pytest.raises(ValueError, match=message):
        compare_latency({"a": print}, **numbers)


def test_the_warm_up_does_not_count_in_a_comparison(clock):
    calls = {"a": clock.call("a", [100, 100, 100, 1, 1]), "b": clock.call("b", [1, 1, 1, 3, 3])}
    assert compare_latency(calls, warmup=3, repeats=2)["ratio"].tolist() == pytest.approx([1, 3])


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="at least one call"):
        compare_latency({})
