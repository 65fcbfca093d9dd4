"""The training loop.

One script serves one CPU, one GPU and many machines: Accelerate finds out which from the environment that
``accelerate launch`` or ``torchrun`` sets. Each process takes its share of every global batch, the gradients are
averaged, and so the number of processes changes nothing but the rounding (and the statistics of BatchNorm layers,
which are those of the share; ``torch.nn.SyncBatchNorm`` makes them global).
"""

import time
from pathlib import Path

from accelerate import Accelerator
from torch import nn
from torch.utils.data import Dataset
from torchmetrics import Metric, MetricCollection
from tqdm import tqdm

from stitchwork.training import checkpoint
from stitchwork.training.batches import check_dataset, read_batches
from stitchwork.training.evaluation import measure, visiting
from stitchwork.training.history import History
from stitchwork.training.interrupt import TrainingInterrupted, deferred_interrupt
from stitchwork.training.objectives import Loss
from stitchwork.training.progressive import dropout_restored
from stitchwork.training.randomness import borrowed_generators, epoch_order
from stitchwork.training.recipe import Recipe
from stitchwork.training.run import Run, check_best


def fit(
    model: nn.Module,
    train: Dataset,
    valid: Dataset | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    loss: Loss | None = None,
    metrics: Metric | MetricCollection | None = None,
    best: str | None = None,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
    workers: int = 0,
    progress: bool = True,
) -> History:
    """Train a network in place.

    On a CPU the same model, data and recipe give the same bits, in one go or resumed, also from the middle of an
    epoch. On a GPU that holds as far as the kernels are deterministic (``torch.use_deterministic_algorithms``).

    Args:
        model: the network; it is trained where the computer is fastest and comes back on the device it was on.
        train: pairs (x, y), with a length. Tensors in memory (``TensorDataset``) are the fastest.
        valid: pairs (x, y) to measure after each epoch; with a progressive recipe, at the last image size.
        recipe: all numbers of the run.
        loss: called with outputs and targets, a mean over the batch; without it cross-entropy. With a loss of one's
            own, ``label_smoothing`` must be 0; mixup blends the losses of both targets.
        metrics: from torchmetrics, for the validation; by default the accuracy, with a ``loss`` none.
        best: a score of the validation as the history names it, such as ``"valid_accuracy"``: the weights of the epoch
            in which it was highest (a loss: lowest) are kept too, those of the average for a name with ``ema_``.
        checkpoint_dir: a folder, seen by all machines, that gets a checkpoint after each epoch and on Ctrl-C.
        resume: continue from the checkpoint in ``checkpoint_dir``; where there is none yet, start.
        workers: processes that read the data.
        progress: show a progress bar.

    Returns:
        The history, one row an epoch; its attribute ``ema`` is the network with the averaged weights, ``best`` that
        with the weights of the best epoch, and ``best_epoch`` says which it was.

    Raises:
        ValueError: data, recipe and model do not fit each other, or not the checkpoint.
        ImportError: the recipe has RandAugment, and torchvision is not installed.
        FileExistsError: ``checkpoint_dir`` has a checkpoint already, and ``resume`` is off.
        FloatingPointError: loss or gradient is not finite. The model has the weights from before that step.
        TrainingInterrupted: Ctrl-C or SIGTERM came; the current step was finished and a checkpoint written, and the
            model has the weights of that step. (It is a KeyboardInterrupt. A second Ctrl-C stops at once.)
    """
    accelerator = Accelerator(mixed_precision="no")  # the precision is autocast's business, in run.py
    device, processes = accelerator.device, accelerator.num_processes
    per_epoch = _steps_per_epoch(train, valid, recipe, processes)
    folder = _checkpoint_folder(checkpoint_dir, resume)
    check_best(best, valid, recipe)
    identity = checkpoint.describe_run(model, recipe, len(train), best, loss)

    last = recipe.stage(recipe.epochs - 1)
    dropout = dropout_restored(model, recipe.progressive)
    with borrowed_generators(device), dropout, visiting(model, device) as home, deferred_interrupt() as stop:
        run = Run(accelerator, model, recipe, loss, per_epoch * recipe.epochs, stop, home, best)
        if folder and (path := checkpoint.newest(folder)):
            run.restore(*checkpoint.load(path, run.networks, identity))

        def save() -> str:
            if folder and accelerator.is_main_process:
                checkpoint.save(folder, run.networks, run.states(), {"identity": identity, **run.position})
            accelerator.wait_for_everyone()
            return f"; checkpoint in {folder}" if folder else ""

        with tqdm(total=run.steps, initial=run.step, disable=not (progress and accelerator.is_main_process)) as bar:
            for epoch in range(len(run.rows), recipe.epochs):
                order = epoch_order(len(train), recipe.seed, epoch)
                first, rank = epoch * per_epoch, accelerator.process_index
                keys = []
                for step in range(run.step, first + per_epoch):
                    batch = order[(step - first) * recipe.batch_size :][: recipe.batch_size]  # of all processes
                    keys.append(((recipe.seed, "sample", step, rank), batch[rank::processes]))
                model.train()
                clock = time.perf_counter()
                stage = recipe.stage(epoch)
                for x, y in read_batches(train, keys, workers, stage and stage.augment):
                    try:
                        stopped = run.take_step(x.to(device, non_blocking=True), y.to(device, non_blocking=True))
                    except FloatingPointError as error:
                        raise FloatingPointError(f"{error}{save()}") from None
                    bar.update()
                    if stopped:
                        run.seconds += time.perf_counter() - clock
                        message = (
                            f"stopped after step {run.step} of {run.steps}{save()}; resume=True (--resume) goes on"
                        )
                        raise TrainingInterrupted(message, run.history())
                scores = {}
                for name, network in {"valid": model, "ema": run.ema and run.ema.module}.items():
                    if valid is not None and network is not None:
                        size = recipe.batch_size
                        options = size, recipe.precision, workers, False, last and last.resize
                        result = measure(accelerator, network, valid, loss, metrics, *options)
                        scores |= {f"{name}_{key}": value for key, value in result.items()}
                run.end_epoch(scores, time.perf_counter() - clock)
                bar.set_postfix({key: f"{value:.4g}" for key, value in run.rows[-1].items() if "_" in key})
                save()
    if stop.raised:
        raise TrainingInterrupted(f"stopped after the last step{' with a checkpoint' if folder else ''}", run.history())
    return run.history()


def _steps_per_epoch(train: Dataset, valid: Dataset | None, recipe: Recipe, processes: int) -> int:
    samples = check_dataset(train, "the training dataset")
    if valid is not None:
        check_dataset(valid, "the validation dataset")
    if recipe.batch_size > samples:
        raise ValueError(
            f"batch_size={recipe.batch_size} is more than the {samples} training samples: set it to {samples} or less"
        )
    if recipe.batch_size % processes:
        raise ValueError(
            f"batch_size={recipe.batch_size} counts the samples of all processes together and must be a multiple of "
            f"their number, {processes}"
        )
    return samples // recipe.batch_size


def _checkpoint_folder(checkpoint_dir: str | Path | None, resume: bool) -> Path | None:
    if checkpoint_dir is None:
        if resume:
            raise ValueError("resume=True needs checkpoint_dir, the folder of the run to be continued")
        return None
    folder = Path(checkpoint_dir)
    if not resume and (path := checkpoint.newest(folder)):
        raise FileExistsError(f"{path} is a checkpoint already: resume=True (--resume) goes on, or take another folder")
    return folder
