"""Loss and metrics on data that the network has not seen."""

from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import convert_to_fp32
from torch import nn
from torch.utils.data import Dataset
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from tqdm import tqdm

from stitchwork.training.batches import Prepare, check_dataset, read_batches
from stitchwork.training.objectives import Loss, cross_entropy

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a network computes at ``precision`` (``"no"``, ``"bf16"`` or ``"fp16"``)."""
    return torch.autocast(device.type, DTYPES.get(precision), enabled=precision != "no")


@contextmanager
def visiting(model: nn.Module, device: torch.device):
    """Take the network to ``device``, and bring it home, in the mode it was in; gives the home."""
    home, training = next((p.device for p in model.parameters()), device), model.training
    model.to(device)
    try:
        yield home
    finally:
        model.to(home).train(training)


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    *,
    loss: Loss | None = None,
    metrics: Metric | MetricCollection | None = None,
    batch_size: int = 256,
    precision: str = "no",
    workers: int = 0,
    progress: bool = False,
) -> dict[str, float]:
    """Loss and metrics of a network on a dataset, in eval mode, over all processes that run the script.

    Args:
        model: the network; it comes back on the device and in the mode it had.
        dataset: pairs (x, y).
        loss: called with outputs and targets, a mean over the batch; without it cross-entropy.
        metrics: from torchmetrics; without them, and without a ``loss``, the share of correct answers.
        batch_size: samples of a batch over all processes together; it does not change the result.
        precision: ``"no"``, ``"bf16"`` or ``"fp16"``.
        workers: processes that read the data.
        progress: show a progress bar.

    Returns:
        ``"loss"``, and ``"accuracy"`` or the names of ``metrics``.

    Raises:
        ValueError: the dataset is empty, or its labels do not fit the model.
    """
    accelerator = Accelerator(mixed_precision="no")
    with visiting(model, accelerator.device):
        return measure(accelerator, model, dataset, loss, metrics, batch_size, precision, workers, progress)


@torch.no_grad()
def measure(
    accelerator: Accelerator,
    model: nn.Module,
    dataset: Dataset,
    loss: Loss | None,
    metrics: Metric | MetricCollection | None,
    batch_size: int,
    precision: str,
    workers: int,
    progress: bool = False,
    prepare: Prepare | None = None,
) -> dict[str, float]:
    """What :func:`evaluate` does, for a network that is where it must be; ``prepare`` is called with each batch."""
    length, device = check_dataset(dataset, "the dataset to evaluate"), accelerator.device
    share = range(length)[accelerator.process_index :: accelerator.num_processes]
    size = max(1, batch_size // accelerator.num_processes)
    keys = [(("evaluate", i), list(share[i : i + size])) for i in range(0, len(share), size)]
    mean = MeanMetric().to(device)
    scores = None if metrics is None else MetricCollection(metrics).clone().to(device)
    model.eval()
    bar = tqdm(total=len(keys), desc="evaluate", disable=not (progress and accelerator.is_main_process))
    for x, y in read_batches(dataset, keys, workers, prepare):
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        with autocast(device, precision):
            output = model(x)
        output = convert_to_fp32(output)
        mean.update((loss or cross_entropy)(output, y), len(x))
        if scores is None and loss is None:
            scores = MetricCollection({"accuracy": MulticlassAccuracy(output.shape[1], average="micro")}).to(device)
        if scores is not None:
            scores.update(output, y)
        bar.update()
    bar.close()
    computed = {} if scores is None else scores.compute()
    return {"loss": mean.compute().item(), **{name: float(value) for name, value in computed.items()}}
