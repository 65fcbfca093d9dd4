"""What a run does: it learns, reports, is repeatable, and leaves everything of the caller's as it was."""

import random
from dataclasses import replace

import numpy
import pandas
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from stitchwork.training import Recipe, evaluate, fit
from stitchwork.training.objectives import cross_entropy, mixup
from stitchwork.training.randomness import epoch_order
from stitchwork.training.schedule import learning_rate

from .helpers import FAST, Noisy, mean_square, network, same_weights, samples


def quick(model, train=None, valid=None, recipe=FAST, **kwargs):
    return fit(model, train or samples(), valid, recipe, progress=False, **kwargs)


def test_equals_a_loop_written_out():
    """Plain steps on plain tensors: the same order, learning rates, clipping and weight decay give the same weights."""
    recipe = Recipe(epochs=2, batch_size=10, lr=0.02, weight_decay=0.1, warmup=0.5, clip_norm=0.3, ema=0.8)
    torch.manual_seed(3)
    ours, plain = (nn.Linear(6, 3) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    data = samples(25)
    optimiser = torch.optim.AdamW(
        [{"params": [plain.weight], "weight_decay": 0.1}, {"params": [plain.bias], "weight_decay": 0.0}]
    )
    averages, losses = None, []
    for step in range(4):
        order = epoch_order(25, recipe.seed, step // 2)
        chosen = order[step % 2 * 10 :][:10]
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, 4, 0.02, 0.5)
        loss = F.cross_entropy(plain(data.tensors[0][chosen]), data.tensors[1][chosen])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.3)
        optimiser.step()
        losses.append(loss.item())
        decay = min(0.8, (1 + step) / (10 + step))
        new = [p.detach().clone() for p in plain.parameters()]
        averages = [decay * a + (1 - decay) * p for a, p in zip(averages, new)] if averages else new
    history = quick(ours, data, recipe=recipe)
    for a, b in zip(ours.parameters(), plain.parameters()):
        assert torch.allclose(a, b, atol=1e-7)
    for a, b in zip(history.ema.parameters(), averages):
        assert torch.allclose(a, b, atol=1e-7)
    assert history.train_loss.tolist() == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:]) / 2])
    assert history.lr.tolist() == [learning_rate(step, 4, 0.02, 0.5) for step in (1, 3)]
    assert history.step.tolist() == [2, 4]


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_learns(optimiser):
    model = network()
    history = quick(model, samples(200), samples(100, seed=1), replace(FAST, epochs=10, optimiser=optimiser))
    assert history.valid_accuracy.iloc[-1] > 0.9
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0] / 2


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_learns_with_less_precision(precision):
    seen = []
    model = network()
    model[0].register_forward_hook(lambda _module, _args, output: seen.append(output.dtype))
    history = quick(model, samples(200), samples(100, seed=1), replace(FAST, epochs=10, precision=precision))
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert history.valid_accuracy.iloc[-1] > 0.9
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_rate_falls_as_the_recipe_says():
    history = quick(network(), recipe=replace(FAST, schedule="poly", warmup=0.0))
    assert history.lr.tolist() == pytest.approx([0.01 * (1 - step / 18) ** 0.9 for step in (5, 11, 17)])


def test_the_history():
    history = quick(network(), valid=samples(30, 1), recipe=replace(FAST, ema=0.9))
    assert isinstance(history, pandas.DataFrame)
    assert list(history) == [
        *("epoch", "step", "lr", "train_loss", "valid_loss", "valid_accuracy", "ema_loss", "ema_accuracy", "seconds")
    ]
    assert history.epoch.tolist() == [1, 2, 3] and history.step.tolist() == [6, 12, 18]
    assert not history.isna().any().any() and (history.seconds > 0).all()
    assert type(history[["epoch"]]) is pandas.DataFrame


def test_validation_is_what_evaluate_says():
    valid, model = samples(31, 1), network()
    history = quick(model, valid=valid, recipe=replace(FAST, ema=0.9))
    assert evaluate(model, valid, batch_size=8) == {
        key: history[f"valid_{key}"].iloc[-1] for key in ("loss", "accuracy")
    }
    assert evaluate(history.ema, valid, batch_size=8) == {
        key: history[f"ema_{key}"].iloc[-1] for key in ("loss", "accuracy")
    }


def test_evaluate_is_right_whatever_the_batch():
    model, data = network().eval(), samples(31)
    logits, y = model(data.tensors[0]), data.tensors[1]
    for size in (1, 7, 31, 100):
        result = evaluate(model, data, batch_size=size)
        assert result["loss"] == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
        assert result["accuracy"] == pytest.approx((logits.argmax(1) == y).float().mean().item())


def test_metrics_of_ones_own():
    metrics = MetricCollection({"f1": MulticlassF1Score(3), "accuracy": MulticlassAccuracy(3, average="micro")})
    history = quick(network(), valid=samples(30, 1), metrics=metrics)
    assert {"valid_f1", "valid_accuracy"} <= set(history)
    assert metrics["f1"].update_count == 0  # the caller's own is not touched
    assert "MulticlassF1Score" in evaluate(network(), samples(), metrics=MulticlassF1Score(3))


def test_a_loss_of_ones_own():
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, x @ torch.tensor([1.0, -2.0, 0.5, 0.0]))
    history = quick(nn.Linear(4, 1), data, data, replace(FAST, epochs=30, lr=0.1), loss=mean_square)
    assert history.valid_loss.iloc[-1] < 1e-3
    assert "valid_accuracy" not in history


def test_dense_targets():
    model = nn.Conv2d(2, 3, 1)
    data = TensorDataset(torch.randn(8, 2, 4, 4), torch.randint(3, (8, 4, 4)))
    assert quick(model, data, data, replace(FAST, batch_size=4)).valid_accuracy.notna().all()


@pytest.mark.parametrize("change", [{}, {"mixup": 0.3}, {"label_smoothing": 0.1, "ema": 0.9}])
def test_the_same_seed_gives_the_same_bits(change):
    runs = []
    for state in (1, 2):  # whatever the caller's generators have been through
        model = network()
        torch.manual_seed(state)
        runs.append((model, quick(model, valid=samples(20, 1), recipe=replace(FAST, **change))))
    (a, first), (b, second) = runs
    assert same_weights(a, b)
    assert first.drop(columns="seconds").equals(second.drop(columns="seconds"))
    other = network()
    quick(other, recipe=replace(FAST, seed=1, **change))
    assert not same_weights(a, other)


def test_a_dataset_gives_the_same_as_its_tensors():
    a, b, c = network(), network(), network()
    data = samples()
    quick(a, data)
    quick(b, [data[i] for i in range(len(data))])
    quick(c, data, workers=2)
    assert same_weights(a, b) and same_weights(a, c)


def test_augmentation_is_the_same_in_a_worker():
    a, b, c = network(), network(), network()
    quick(a, Noisy())
    quick(b, Noisy(), workers=2)
    quick(c, Noisy(), recipe=replace(FAST, seed=1))
    assert same_weights(a, b) and not same_weights(a, c)


def test_every_sample_comes_once_an_epoch_in_a_new_order():
    orders = [epoch_order(100, 0, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_the_caller_keeps_random_states_mode_and_device():
    model = network().eval()
    torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
    expected = torch.rand(1).item(), random.random(), numpy.random.rand()
    torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
    quick(model)
    assert (torch.rand(1).item(), random.random(), numpy.random.rand()) == expected
    assert not model.training
    assert quick(model.train()) is not None and model.training
    evaluate(model, samples())
    assert model.training


def test_the_average_includes_the_statistics_of_batch_norm():
    model, seen = network(), []
    model.register_forward_pre_hook(lambda module, _args: seen.append(module[1].running_mean.clone()))
    history = quick(model, recipe=replace(FAST, epochs=1, ema=0.9))
    averaged, *later = [*seen[1:], model[1].running_mean]  # after each step
    for n, mean in enumerate(later, 1):
        decay = min(0.9, (1 + n) / (10 + n))
        averaged = decay * averaged + (1 - decay) * mean
    assert torch.allclose(history.ema[1].running_mean, averaged, atol=1e-6)
    assert not torch.allclose(averaged, model[1].running_mean, atol=1e-3)


def test_frozen_parameters_stay():
    model = network()
    before = model[0].weight.detach().clone()
    model[0].requires_grad_(False)
    quick(model)
    assert torch.equal(model[0].weight, before)


def test_label_smoothing_and_mixup_are_the_formulas():
    logits, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    target = 0.9 * F.one_hot(y, 4) + 0.1 / 4
    assert cross_entropy(logits, y, 0.1).item() == pytest.approx(
        -(target * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-5
    )
    x = torch.eye(6)
    torch.manual_seed(0)
    blended, loss = mixup(x, y, 0.4, cross_entropy)
    # Row i of the blended identity shows the shares: target = blend of the one-hot labels by the same shares.
    assert torch.allclose(blended.sum(1), torch.ones(6))
    assert (blended > 0).sum() > 6
    expected = -((blended @ F.one_hot(y, 4).float()) * logits.log_softmax(1)).sum(1).mean()
    assert loss(logits, y).item() == pytest.approx(expected.item(), rel=1e-5)


def test_quiet(capfd):
    quick(network(), valid=samples(20, 1))
    evaluate(network(), samples())
    assert capfd.readouterr() == ("", "")
    fit(network(), samples(), recipe=FAST)
    assert "18/18" in capfd.readouterr().err


def test_a_data_loader_is_no_dataset():
    with pytest.raises(TypeError, match="DataLoader"):
        quick(network(), DataLoader(samples(), batch_size=4))
