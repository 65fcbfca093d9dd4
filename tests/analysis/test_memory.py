"""Peak memory of calls whose peak follows from counting their tensors."""

import gc

import pytest
import torch
from torch import nn

from stitchwork.analysis import measure_peak_memory

N = 1000
BYTES = 4 * N


def chain(layer: type[nn.Module], length: int = 5) -> nn.Sequential:
    return nn.Sequential(*[layer() for _ in range(length)])


def test_a_chain_without_gradients_holds_two_maps():
    assert measure_peak_memory(chain(nn.Sigmoid), torch.zeros(N)) == 2 * BYTES


def test_with_gradients_every_map_is_kept():
    net, x = chain(nn.Sigmoid), torch.zeros(N, requires_grad=True)
    assert measure_peak_memory(lambda: net(x)) == 5 * BYTES


def test_inputs_weights_and_views_cost_nothing():
    linear = nn.Linear(10, 30, bias=False)
    assert measure_peak_memory(linear, torch.zeros(7, 10)) == 7 * 30 * 4
    assert measure_peak_memory(lambda x: x.view(10, 7).T[2:].relu_(), torch.zeros(7, 10)) == 0


def test_in_place_operations_cost_nothing():
    assert measure_peak_memory(lambda x: x.clone().relu_().add_(1), torch.zeros(N)) == BYTES


def test_what_is_freed_before_the_peak_does_not_count():
    def call():
        torch.zeros(5 * N)
        a = torch.zeros(N)
        b = torch.cat([a, a])
        del a
        return torch.ones(3 * N), b

    assert measure_peak_memory(call) == 5 * BYTES
    assert measure_peak_memory(lambda: (call(), torch.zeros(2 * N))) == 7 * BYTES


def test_the_peak_may_lie_before_the_end():
    assert measure_peak_memory(lambda: [torch.zeros(n * N).shape for n in (1, 5, 2)]) == 5 * BYTES


def test_nothing_keeps_watching_the_weights_afterwards():
    linear = nn.Linear(3, 3)
    measure_peak_memory(linear, torch.zeros(1, 3))
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing).__name__ == "_LiveBytes"]


def test_a_cheap_tensor_at_the_address_of_a_freed_one_counts_again():
    def call():
        for _ in range(50):
            torch.zeros(N)
        return torch.zeros(N), torch.zeros(N)

    assert measure_peak_memory(call) == 2 * BYTES


def test_half_precision_costs_half():
    assert measure_peak_memory(chain(nn.Sigmoid), torch.zeros(N, dtype=torch.bfloat16)) == BYTES


def test_the_backward_pass_is_seen():
    x = torch.zeros(N, requires_grad=True)

    def step():
        x.grad = None
        x.exp().sum().backward()

    # exp(x), kept; the scalar sum and the scalar 1 that starts the backward pass; the gradient of x.
    assert measure_peak_memory(step) == 2 * BYTES + 2 * 4


def test_a_module_runs_in_inference_and_is_left_in_its_mode():
    net = nn.Sequential(nn.Linear(10, 10), nn.BatchNorm1d(10)).train()
    measure_peak_memory(net, torch.randn(4, 10))
    assert net.training and net[1].num_batches_tracked == 0


def test_it_ends_with_the_call_and_after_an_error():
    def fail():
        raise KeyError("stop")

    with pytest.raises(KeyError):
        measure_peak_memory(fail)
    weight = torch.zeros(N)
    assert [measure_peak_memory(lambda: weight + 1) for _ in range(3)] == [BYTES] * 3


def test_other_devices_are_refused():
    with pytest.raises(ValueError, match="cpu and cuda; got meta"):
        measure_peak_memory(nn.Identity(), torch.zeros(1, device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_counts_what_the_allocator_gives():
    x = torch.zeros(1024, device="cuda")
    assert measure_peak_memory(chain(nn.Sigmoid), x) == 2 * 4096
