"""Batches of a dataset, cut so that all processes together see each sample of a global batch once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from stitchwork.training.randomness import seed_everything

Prepare = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class BatchReader(Dataset):
    """A dataset that is indexed by a whole batch: ``(seed, indices)`` -> ``(x, y)``.

    It seeds the random generators first, so that a random augmentation depends on the step alone, in a worker
    process as in the main one. Tensors in memory are indexed at once, without collecting single samples.

    Args:
        dataset: pairs (x, y).
        prepare: called with the batch's x and y, and returns them; without it they stay as they are.
    """

    def __init__(self, dataset: Dataset, prepare: Prepare | None = None):
        self.dataset, self.prepare = dataset, prepare

    def __getitem__(self, key: tuple[tuple, list[int]]) -> tuple[Tensor, Tensor]:
        """The batch of these samples, read with this seed."""
        seed, indices = key
        seed_everything(*seed)
        if isinstance(self.dataset, TensorDataset):
            batch = tuple(tensor[indices] for tensor in self.dataset.tensors)
        else:
            batch = default_collate([self.dataset[i] for i in indices])
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError(
                f"the dataset must give pairs (x, y); a batch of it is {type(batch).__name__} of "
                f"{len(batch)}: wrap it so that each item is (input, target)"
            )
        return self.prepare(*batch) if self.prepare else tuple(batch)


def check_dataset(dataset: Dataset, name: str) -> int:
    """The length of a dataset that can be indexed.

    Raises:
        TypeError: it has no length or no items.
        ValueError: it is empty.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            f"{name} is a {type(dataset).__name__}; give a dataset with __len__ and __getitem__, such as a "
            "TensorDataset or a list of pairs (x, y): the batches are made here"
        )
    if len(dataset) == 0:
        raise ValueError(f"{name} is empty: there is nothing to learn from; look at the folder or the filter behind it")
    return len(dataset)


def read_batches(
    dataset: Dataset, keys: Sequence[tuple[tuple, list[int]]], workers: int = 0, prepare: Prepare | None = None
) -> DataLoader:
    """The batches of ``dataset`` for ``keys``, each a description of a seed and the indices of its samples."""
    pinned = torch.cuda.is_available() and workers > 0
    return DataLoader(
        BatchReader(dataset, prepare), batch_size=None, sampler=keys, num_workers=workers, pin_memory=pinned
    )
