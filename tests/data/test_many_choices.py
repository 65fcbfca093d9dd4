import pytest
import torch

from stitchwork.data.tasks import many_choices


def oracle(x: torch.Tensor, known: int) -> torch.Tensor:
    """The best answer of one who sees the first ``known`` cues, as means over the image."""
    first, cue, second = (x[:, k::3] for k in range(3))
    sign = cue.mean((2, 3), keepdim=True).sign()
    answer = torch.where(sign > 0, first, second)
    answer[:, known:] = (first + second)[:, known:] / 2
    return answer


@pytest.mark.parametrize("known", range(4))
def test_the_error_falls_with_every_cue_that_is_known(known):
    x, y = many_choices(2000, choices=3, size=6, seed=0)
    assert (oracle(x, known) - y).square().mean().item() == pytest.approx((1 - known / 3) / 2, abs=0.01)


def test_the_cues_are_independent():
    x, _ = many_choices(4000, choices=3, size=4, seed=0)
    signs = x[:, 1::3].mean((2, 3)).sign()  # (n, 3)
    assert (signs.T @ signs / len(signs) - torch.eye(3)).abs().max() < 0.06


def test_each_cue_lies_between_its_textures():
    x, y = many_choices(20, choices=2, size=7, seed=3)
    assert x.shape == (20, 6, 7, 7) and y.shape == (20, 2, 7, 7)
    assert (x[:, [1, 4]] != 0).sum((2, 3)).eq(16).all()
    assert all((t == a).all() or (t == b).all() for t, a, b in zip(y[:, 1], x[:, 3], x[:, 5]))


def test_the_error_of_knowing_nothing_is_one_and_the_seed_decides():
    (x, y), (again, _), (other, _) = (many_choices(1000, size=5, seed=s) for s in (1, 1, 2))
    assert y.square().mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(x, again) and not torch.equal(x, other)


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("choices", 0), ("size", 3)])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"many_choices: {argument}.*{value}"):
        many_choices(**{"n": 2, argument: value})
