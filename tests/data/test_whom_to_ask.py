import pytest
import torch

from stitchwork.data.tasks import whom_to_ask

RULES = ["name", "step", "mirror", "direction"]
SIZES = [3, 6, 8]


def by_name(x: torch.Tensor) -> torch.Tensor:
    """Every question compared with every name."""
    names, questions, values = (t.flatten(2) for t in x.split([6, 6, 1], 1))
    found = (questions.mT @ names == 6).float()  # (n, pixels, pixels)
    return (found @ values.mT).mT.unflatten(2, x.shape[2:])


def neighbours(x: torch.Tensor) -> torch.Tensor:
    """The values below, above, to the right and to the left: (n, 4, size, size)."""
    values = x[:, 12]
    return torch.stack([values.roll(-1, 1), values.roll(1, 1), values.roll(-1, 2), values.roll(1, 2)], 1)


ORACLES = {
    "name": by_name,
    "step": lambda x: x[:, 12:].roll((-1, -2), (2, 3)),
    "mirror": lambda x: x[:, 12:].flip(2, 3),
    "direction": lambda x: (neighbours(x) * (x[:, 6:10] > 0)).sum(1, keepdim=True),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", SIZES)
def test_who_has_the_property_solves_it(rule, size):
    x, y = whom_to_ask(20, rule=rule, size=size, seed=1)
    assert torch.equal(ORACLES[rule](x), y)


def test_another_step():
    x, y = whom_to_ask(5, rule="step", step=(-1, 1), seed=1)
    assert torch.equal(x[:, 12:].roll((1, -1), (2, 3)), y)


@pytest.mark.parametrize("rule", RULES)
def test_a_permuted_image_has_the_permuted_answer_by_name_only(rule):
    x, y = whom_to_ask(20, rule=rule, seed=2)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    x, y = (t.flatten(2)[:, :, order].view_as(t) for t in (x, y))
    assert torch.equal(ORACLES[rule](x), y) == (rule == "name")


def test_the_mean_of_the_four_neighbours_is_left_with_three_quarters():
    x, y = whom_to_ask(500, rule="direction", seed=3)
    assert (neighbours(x).mean(1, keepdim=True) - y).square().mean().item() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("rule", RULES)
def test_no_pixel_asks_itself_and_its_own_value_says_nothing(rule):
    x, y = whom_to_ask(500, rule=rule, seed=4)
    own = x[:, 12:]
    assert not (own == y).any()
    assert (own * y).mean().abs() < 0.03
    assert y.square().mean().item() == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("rule", RULES)
def test_names_are_unique_and_the_seed_decides(rule):
    before = torch.get_rng_state()
    (x, y), (again, _), (other, _) = (whom_to_ask(300, rule=rule, seed=s) for s in (1, 1, 2))
    codes = ((x[:, :6] > 0) * 2 ** torch.arange(6).view(6, 1, 1)).sum(1).flatten(1)
    assert all(len(set(row.tolist())) == 36 for row in codes)
    assert x.shape == (300, 13, 6, 6) and y.shape == (300, 1, 6, 6)
    assert torch.equal(x, again) and not torch.equal(x, other)
    assert torch.equal(before, torch.get_rng_state())


def test_the_question_is_silent_where_it_is_not_needed():
    for rule, silent in zip(RULES, (False, True, True, False)):
        question = whom_to_ask(5, rule=rule)[0][:, 6:12]
        assert (not question.any()) == silent
        assert silent or torch.allclose(question.square().sum(1), torch.tensor(6.0))


@pytest.mark.parametrize(
    ("argument", "value"), [("n", 0), ("size", 2), ("size", 9), ("rule", "loudest"), ("step", (0, 6))]
)
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"whom_to_ask: {argument}") as caught:
        whom_to_ask(**{"n": 2, argument: value})
    assert str(value) in str(caught.value)
