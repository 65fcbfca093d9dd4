import pytest
import torch

from stitchwork.data.tasks import announcement


def listen(x, ways):
    """Answer with what comes from the speaker along the ways (to, from); who hears nothing says 0."""
    return (x.flatten(2) @ ways.T.float() / x.shape[-1]).unflatten(2, x.shape[2:])


@pytest.mark.parametrize("size", [1, 5, 8])
def test_who_hears_everyone_knows_it(size):
    x, y = announcement(20, size=size, seed=1)
    torch.testing.assert_close(listen(x, torch.ones(size**2, size**2)), y)


def test_the_error_is_one_less_the_share_of_the_ways():
    """Ways within every second row and column only: a quarter of all."""
    x, y = announcement(2000, values=3, size=8, seed=2)
    place = torch.arange(64) // 8 % 2 * 2 + torch.arange(64) % 2
    ways = place[:, None] == place
    assert ways.float().mean() == 0.25
    assert (listen(x, ways) - y).square().mean().item() == pytest.approx(0.75, abs=0.001)


def test_signs_are_drawn_alone():
    """Whoever knows all but one of the signs knows nothing of that one; nor does the place of the speaker tell."""
    x, y = announcement(4000, size=4, seed=3)
    signs = y[:, :, 0, 0]  # (n, 4)
    place = torch.eye(16)[x[:, 0].flatten(1).abs().argmax(1)]
    for known in (signs[:, 1:], place - 1 / 16):
        assert (known.T @ signs[:, :1] / 4000).abs().max() < 0.06


def test_the_speaker_is_anywhere_and_the_seed_decides():
    (x, y), (again, _), (other, _) = (announcement(500, size=6, seed=s) for s in (1, 1, 2))
    assert x.shape == y.shape == (500, 4, 6, 6)
    speaks = (x != 0).flatten(2)
    assert (speaks.sum(2) == 1).all() and speaks.any(0).all()
    assert (x.square().mean((2, 3)) == 1).all() and (y.abs() == 1).all()
    assert torch.equal(x, again) and not torch.equal(x, other)


@pytest.mark.parametrize("argument", ["n", "size", "values"])
def test_bad_arguments(argument):
    with pytest.raises(ValueError, match=rf"announcement: {argument}.*0"):
        announcement(**{"n": 2, argument: 0})
