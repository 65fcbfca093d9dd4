import pytest
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import nn

from stitchwork.layers import PositionTable


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def table_of(grid, dim=8, **options):
    table = PositionTable(grid, dim, **options)
    nn.init.normal_(table.table)
    return table.double()


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_its_own_grid_gets_the_table_itself(prefix):
    table, x = table_of((3, 4), prefix=prefix), torch.randn(2, prefix + 12, 8, dtype=torch.double)
    assert torch.equal(table(x, (3, 4)), x + table.table)
    assert torch.equal(table(x, torch.Size((3, 4))), x + table.table)


@pytest.mark.parametrize("grid", [(6, 8), (5, 3), (2, 2), (1, 9)])
@pytest.mark.parametrize(("mode", "antialias"), [("bicubic", True), ("bicubic", False), ("bilinear", True)])
@pytest.mark.parametrize("prefix", [0, 1])
def test_another_grid_is_timms(grid, mode, antialias, prefix):
    table = table_of((4, 4), prefix=prefix, mode=mode, antialias=antialias).float()
    options = {"interpolation": mode, "antialias": antialias}
    theirs = resample_abs_pos_embed(table.table, list(grid), (4, 4), num_prefix_tokens=prefix, **options)
    torch.testing.assert_close(table.at(grid), theirs)


def test_the_first_tokens_have_no_place():
    table = table_of((3, 4), prefix=2)
    assert torch.equal(table.at((5, 5))[:, :2], table.table[:, :2])


def test_rows_stay_rows():
    """A table that grows with the row only does so on another grid, too, and is not turned round."""
    table = table_of((4, 6), dim=1)
    with torch.no_grad():
        table.table.copy_(torch.arange(4.0).repeat_interleave(6).view(1, 24, 1))
    places = table.at((8, 3)).view(8, 3)
    torch.testing.assert_close(places, places[:, :1].expand(8, 3))
    assert (places[1:, 0] > places[:-1, 0]).all()


def test_as_many_tokens_in_another_shape_are_another_grid():
    table = table_of((3, 4))
    expected = F.interpolate(
        table.table.unflatten(1, (3, 4)).permute(0, 3, 1, 2), (4, 3), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(table.at((4, 3)), expected.flatten(2).mT)


def test_bfloat16_is_interpolated_in_float32():
    table = table_of((4, 4)).float()
    wanted = table.at((7, 5)).bfloat16()
    rounded = table.table.detach().bfloat16().float()
    table.bfloat16()
    assert table.at((7, 5)).dtype == torch.bfloat16
    in_float32 = PositionTable((4, 4), 8)
    in_float32.table = nn.Parameter(rounded)
    assert torch.equal(table.at((7, 5)), in_float32.at((7, 5)).bfloat16())
    torch.testing.assert_close(table.at((7, 5)), wanted, atol=0.05, rtol=0.05)


def test_the_whole_table_learns():
    table = table_of((3, 4), prefix=1)
    table.at((6, 8)).square().sum().backward()
    assert (table.table.grad != 0).all()


def test_initialisation():
    table = PositionTable((20, 20), 64).table
    assert table.std().item() == pytest.approx(0.02, rel=0.1)
    assert table.abs().max() <= 2 and table.mean().abs() < 0.001
