import pytest
import torch
from torch import nn

import stitchwork
from stitchwork.analysis import capture


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True)))


def test_outputs_are_kept_before_an_in_place_activation_changes_them():
    model, x = net(), torch.randn(4, 3)
    with capture(model, "0") as outputs:
        model(x)
    assert list(outputs) == ["0"]
    assert outputs["0"].min() < 0
    torch.testing.assert_close(outputs["0"], nn.functional.linear(x, model[0].weight, model[0].bias).detach())
    assert not outputs["0"].requires_grad


def test_a_glob_matches_dots_and_the_order_is_that_of_execution():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early = nn.Sequential(nn.Identity()), nn.Identity()

        def forward(self, x):
            return self.late(self.early(x))

    with capture(model := Backwards(), "*") as outputs:
        model(torch.zeros(1))
    assert list(outputs) == ["early", "late.0", "late"]


def test_gates_of_a_block():
    block = stitchwork.create_block("coord_attention", 16)
    with capture(block, "gate_*") as gates:
        block(torch.randn(2, 16, 5, 7))
    assert {path: tuple(gate.shape) for path, gate in gates.items()} == {
        "gate_h": (2, 16, 5, 1),
        "gate_w": (2, 16, 1, 7),
    }


def test_the_last_call_and_the_first_of_several_tensors_stay():
    lstm = nn.LSTM(2, 3)
    model = nn.ModuleDict({"lstm": lstm})
    with capture(model, "lstm") as outputs:
        lstm(torch.randn(5, 2))
        expected, _ = lstm(torch.randn(4, 2))
    torch.testing.assert_close(outputs["lstm"], expected.detach())


def test_hooks_go_with_the_block_also_after_an_error():
    model = net()
    with pytest.raises(KeyError), capture(model, "*"):
        raise KeyError("stop")
    with capture(model, "*") as outputs:
        pass
    model(torch.randn(1, 3))
    assert not outputs
    assert not any(part._forward_hooks for part in model.modules())


def test_no_match_names_what_is_near():
    block = stitchwork.create_block("coord_attention", 16)
    message = "CoordAttention matches 'gate_x'; among its paths are .*gate_[hw]"
    with pytest.raises(ValueError, match=message), capture(block, "gate_x"):
        pass
    with pytest.raises(ValueError, match="ReLU matches 'x'; it has no submodules"), capture(nn.ReLU(), "x"):
        pass


def test_an_output_without_a_tensor():
    class Silent(nn.Module):
        def forward(self, x):
            return None

    model = nn.Sequential(Silent())
    with pytest.raises(TypeError, match="got NoneType"), capture(model, "0"):
        model(torch.zeros(1))
