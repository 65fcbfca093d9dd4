import pytest
import torch

from stitchwork.data.tasks import partner_lookup

WHERE = ["near", "line", "together", "anywhere"]


def look_up(x: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
    """Answer every question by comparison with the names of the allowed pixels; 0 where nobody has the name."""
    bits = (x.shape[1] - 1) // 2
    names, questions, values = (t.flatten(2) for t in x.split([bits, bits, 1], 1))
    found = questions.transpose(1, 2) @ names == bits  # (n, pixels, pixels)
    if allowed is not None:
        found &= allowed
    return (found.float() @ values.mT).mT.unflatten(2, x.shape[2:])


def distances(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns between any two pixels."""
    row, column = torch.arange(size**2) // size, torch.arange(size**2) % size
    return (row[:, None] - row).abs(), (column[:, None] - column).abs()


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("size", [4, 6, 8])
def test_one_comparison_of_names_solves_it(where, size):
    x, y = partner_lookup(30, where=where, size=size, seed=1)
    assert torch.equal(look_up(x), y)


@pytest.mark.parametrize("where", WHERE)
def test_the_partner_is_where_it_should_be(where):
    x, y = partner_lookup(100, where=where, seed=2)
    down, right = distances(8)
    inside = {"near": (down <= 1) & (right <= 1), "line": (down == 0) | (right == 0)}
    inside |= {"together": (down > 0) | (right > 0), "anywhere": (down > 0) | (right > 0)}
    assert torch.equal(look_up(x, inside[where]), y)
    assert (look_up(x, torch.eye(64, dtype=torch.bool)) == 0).all()  # never itself


def test_a_window_or_a_line_is_not_enough_for_partners_anywhere():
    x, y = partner_lookup(300, seed=3)
    down, right = distances(8)
    for allowed in ((down <= 1) & (right <= 1), (down == 0) | (right == 0)):
        share = (allowed.sum() - 64).item() / (64 * 63)
        assert (look_up(x, allowed) - y).square().mean().item() == pytest.approx(1 - share, abs=0.03)


def test_the_pixels_of_a_patch_have_their_partners_in_one_other_patch():
    x, _ = partner_lookup(50, where="together", seed=4)
    patch_of_question = x[:, 6 + 2 : 12]  # the four bits that name the patch
    corners = patch_of_question[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(patch_of_question, corners)
    assert not (patch_of_question == x[:, 2:6]).all(1).any()  # not its own


def test_who_finds_the_patch_only_is_left_with_three_quarters():
    x, y = partner_lookup(1000, where="together", seed=5)
    pooled = torch.nn.functional.avg_pool2d(x, 2)
    patches, questions = pooled[:, 2:6].flatten(2), x[:, 8:12].flatten(2)
    found = (questions.mT @ patches == 4).float()  # (n, 64, 16)
    answer = (found @ pooled[:, 12:].flatten(2).mT).mT.unflatten(2, (8, 8))
    assert (answer - y).square().mean().item() == pytest.approx(0.75, abs=0.02)


def test_names_are_unique_and_the_seed_decides():
    (x, y), (again, _), (other, _) = (partner_lookup(300, seed=s) for s in (1, 1, 2))
    codes = ((x[:, :6] > 0) * 2 ** torch.arange(6).view(6, 1, 1)).sum(1).flatten(1)
    assert all(len(set(row.tolist())) == 64 for row in codes)
    assert x.shape == (300, 13, 8, 8) and y.shape == (300, 1, 8, 8)
    assert y.square().mean().item() == pytest.approx(1, abs=0.04)
    assert torch.equal(x, again) and not torch.equal(x, other)


@pytest.mark.parametrize(("argument", "value"), [("n", 0), ("size", 2), ("size", 7), ("where", "nowhere")])
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"partner_lookup: {argument}.*{value}"):
        partner_lookup(**{"n": 2, argument: value})
