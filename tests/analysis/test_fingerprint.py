"""The procedure, step by step, against numbers that the program which made the recorded fingerprints gave."""

import copy
import json
import math
from importlib import resources

import pytest
import torch
from torch import nn

from stitchwork.analysis import deviation, fill, fingerprint, images, recorded, same, tokens


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(24), nn.MultiheadAttention(24, 3, batch_first=True)

    def forward(self, x):
        x = self.norm(x)
        return self.attention(x, x, x)


def small_net(stride: int = 2, dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(16, 5),
    )


class RenamedNet(nn.Module):
    """small_net with other names, another order, and a 1x1 convolution for the linear layer."""

    def __init__(self):
        super().__init__()
        self.out = nn.Conv2d(16, 5, 1)
        self.norm, self.conv = nn.BatchNorm2d(16), nn.Conv2d(3, 16, 3, 2, 1, bias=False)

    def forward(self, x):
        return self.out(self.norm(self.conv(x)).relu().mean((2, 3), keepdim=True)).flatten(1)


def test_images_and_tokens_are_the_recorded_ones():
    x = images(2, 3, 4)
    assert x.shape == (2, 2, 3, 4) and x.dtype == torch.float64
    expected = [-0.3237298391244984, 0.07066339647377647, 2.7408481619717575]
    assert x.flatten()[[0, 5, 13]].tolist() == pytest.approx(expected, abs=1e-12)
    expected = [1.3067709020636173, -1.7847104543189105, -1.1636929322732223]
    assert x.flatten()[[23, 24, 47]].tolist() == pytest.approx(expected, abs=1e-12)

    x = tokens(3, 4)
    assert x.shape == (2, 3, 4) and x.dtype == torch.float64
    expected = [0.313282813281152, -0.5858266163789744, -3.205870961622618, -1.9254414154022261]
    assert x.flatten()[[0, 5, 12, 23]].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("net", "x", "n_params", "out", "rms", "proj"),
    [
        (
            small_net(),
            images(3, 32, 32),
            549,
            [2, 5],
            0.047947393077373356,
            [-0.026504365084548807, -0.5276091766659146, 0.026504365084548807, 0.5276091766659146],
        ),
        (
            Attention(),
            tokens(10, 24),
            2448,
            [2, 10, 24],
            0.2231162587130403,
            [-0.4961317738499228, -0.65420791073007, 1.0580623367860604, 1.077678597288774],
        ),
        (
            nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)),
            tokens(2, 6)[:, 0],
            27,
            [2, 3],
            0.7887475079586677,
            [-1.6661259526518621, 0.7422871987548454, 0.8128431598869218, -1.6661259526518621],
        ),
    ],
    ids=["convolution", "attention", "one-dimensional"],
)
def test_fingerprints_are_those_of_the_recording_program(net, x, n_params, out, rms, proj):
    f = fingerprint(net, x)
    assert (f["n_params"], f["out"], f["in"], f["dtype"]) == (n_params, out, [list(x.shape)], "float64")
    assert f["rms"] == pytest.approx(rms, rel=1e-9)
    assert f["proj"][:4] == pytest.approx(proj, abs=1e-9)
    assert len(f["proj"]) == 32


def test_names_order_and_initialisation_do_not_matter():
    x = images(3, 32, 32)
    assert deviation(fingerprint(RenamedNet(), x), fingerprint(small_net(), x)) < 1e-12
    assert same(fingerprint(small_net(dropout=0.5), x), fingerprint(small_net(), x))


def test_what_the_net_computes_does():
    x = images(3, 32, 32)
    other_eps = small_net()
    other_eps[1].eps = 1e-3
    other_activation = small_net()
    other_activation[2] = nn.ReLU6()
    assert not same(fingerprint(small_net(stride=1), x), fingerprint(small_net(), x))
    assert not same(fingerprint(other_eps, x), fingerprint(small_net(), x))
    assert same(fingerprint(other_activation, x), fingerprint(small_net(), x))  # nothing here is above 6
    other_activation[2] = nn.SiLU()
    assert not same(fingerprint(other_activation, x), fingerprint(small_net(), x))


def test_a_double_module_gives_the_fingerprint_of_a_single_one():
    x = images(3, 8, 8)
    assert deviation(fingerprint(small_net().double(), x), fingerprint(small_net(), x)) == 0


def test_float32_is_close():
    x = images(3, 32, 32)
    single, double = fingerprint(small_net(), x, dtype=torch.float32), fingerprint(small_net(), x)
    assert single["dtype"] == "float32"
    assert 0 < deviation(single, double) < 2e-3


def test_the_module_is_left_as_it_was():
    net = small_net().train()
    before = copy.deepcopy(net.state_dict())
    fingerprint(net, images(3, 8, 8))
    assert net.training and not net[1]._forward_pre_hooks
    assert all(before[key].equal(value) for key, value in net.state_dict().items())


def test_fill_depends_on_the_shape_alone():
    a, b = nn.Linear(6, 4), nn.Conv2d(6, 4, 1)
    assert fill(a) is a
    fill(b)
    assert a.weight.equal(b.weight.flatten(1)) and a.bias.equal(b.bias)
    assert 0.2 < a.bias.mean() < 0.6


def test_batches_other_than_two_are_refused():
    with pytest.raises(ValueError, match=r"batch 2, as from images\(\); got \[\]"):
        fingerprint(nn.Identity())
    with pytest.raises(ValueError, match=r"got \[\(3, 4, 5, 5\)\]"):
        fingerprint(nn.Identity(), torch.zeros(3, 4, 5, 5))
    with pytest.raises(ValueError, match=r"output of batch 2; got shape \(8,\)"):
        fingerprint(nn.Flatten(0), tokens(2, 2))


def record(rms=1.0, dtype="float64", shift=0.0, out=(2, 3)):
    return {"out": list(out), "dtype": dtype, "rms": rms, "proj": [2.0, -1.0 + shift]}


def test_deviation_is_the_worst_of_projections_and_rms():
    assert deviation(record(shift=0.5), record()) == pytest.approx(0.25)
    assert deviation(record(rms=3.0), record(rms=2.0)) == pytest.approx(0.5)
    assert deviation(record(), record(out=(2, 4))) == math.inf
    assert deviation(record(rms=math.nan), record()) == math.inf
    assert deviation(record(shift=math.inf), record()) == math.inf
    assert deviation(record(rms=0.0), record(rms=0.0)) == math.inf  # nothing of the input survives: nothing is shown


def test_tolerances():
    assert same(record(shift=1e-6), record())
    assert not same(record(shift=1e-4), record())
    assert same(record(shift=1e-4), record(), tol=1e-3)
    assert same(record(1e-4, shift=1e-3), record(1e-4)) and not same(record(1e-4, shift=4e-3), record(1e-4))
    assert same(record(shift=3e-3), record(dtype="float32")) and not same(record(shift=6e-3), record(dtype="float32"))


def test_unknown_records():
    with pytest.raises(ValueError, match="'coord_atention'; there are coord_attention"):
        recorded("coord_atention")


def test_a_record_can_be_changed_without_changing_the_next():
    recorded("se")["canonical"]["proj"].clear()
    assert len(recorded("se")["canonical"]["proj"]) == 32


def test_every_record_is_complete():
    data = json.loads(resources.files("stitchwork.analysis").joinpath("fingerprints.json").read_text("utf-8"))
    for name, entry in data.items():
        assert set(entry) <= {"canonical", "also"} and entry.get("canonical", entry["also"]), name
        for label, item in [*((k, v) for k, v in entry.items() if k == "canonical"), *entry["also"].items()]:
            keys = {"source", "config", "note", "n_params", "in", "out", "dtype", "rms", "proj"}
            assert set(item) == keys, (name, label)
            assert len(item["proj"]) == 32 and item["source"], (name, label)
