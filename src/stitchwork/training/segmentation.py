"""Training for segmentation: a published recipe, its loss, Dice for each class, and the data under their names.

The numbers are those of EViT-UNet's training code (li2025evitunet), which stands on TransUNet's (chen2021transunet).
Where a set has no part to choose the epoch by, some of the scans for training are set aside, and none of those for the
test.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from torchmetrics.segmentation import DiceScore

from stitchwork.data import ORGANS, phantom
from stitchwork.data.medical_sets import MEDICAL_SETS, load_slices, load_volumes
from stitchwork.data.pet_masks import PET_CLASSES, load_pet_masks
from stitchwork.data.slices import SliceDataset
from stitchwork.losses import CrossEntropy, Dice, Distillation, WeightedSum
from stitchwork.training.distillation import Taught
from stitchwork.training.objectives import Loss
from stitchwork.training.recipe import Recipe
from stitchwork.training.task import Task

EVIT_UNET = Recipe(epochs=300, batch_size=128, lr=2e-3, weight_decay=1e-3, warmup=0.0, clip_norm=None, schedule="poly")
"""What EViT-UNet was trained with: AdamW, and a learning rate that falls as (1 - t)^0.9 from the first step on."""

SEGMENTATION_SETS = ("phantom", *MEDICAL_SETS, "oxford_pet")
HELD_OUT = 6  # of Synapse's scans for training, every sixth chooses the epoch: there is no list for that


def regions_and_pixels() -> WeightedSum:
    """What EViT-UNet's training minimises: 0.4 cross-entropy + 0.6 Dice with squares in its denominator."""
    return WeightedSum((0.4, CrossEntropy()), (0.6, Dice(squared=True)))


class ClassDice(DiceScore):
    """Dice of each class but 0, over all pixels of a dataset together, from logits.

    Computes ``{"dice": the mean, "dice_liver": ..., ...}``. A class that is neither there nor found is left out of the
    mean and is not a number by itself.

    Args:
        classes: names of the classes from 1 on.

    Shapes:
        logits (B, K, ...), labels (B, ...), K = len(classes) + 1, or 1 for a single class
    """

    def __init__(self, classes: Sequence[str]):
        super().__init__(
            len(classes) + 1,
            include_background=False,
            average="none",
            aggregation_level="global",
            input_format="index",
        )
        self.names = [name.replace(" ", "_") for name in classes]

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count the pixels of a batch: (B, K, ...), (B, ...)."""
        found = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
        super().update(found, labels)

    def compute(self) -> dict[str, Tensor]:
        """The mean, and each class."""
        scores = super().compute().flatten()
        return {"dice": scores.nanmean(), **{f"dice_{name}": score for name, score in zip(self.names, scores)}}


class PhantomSlices(Dataset):
    """Slices of the phantom, each drawn when it is asked for.

    Args:
        n: how many.
        size: side in pixels.
        part: which of the endless many: no slice is in two parts.
    """

    def __init__(self, n: int, size: int = 224, part: int = 0):
        self.n, self.size, self.part = n, size, part

    def __len__(self) -> int:
        """The number of slices."""
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The image (1, size, size) and its labels (size, size)."""
        if not 0 <= index < self.n:
            raise IndexError(f"there are {self.n} slices; got index {index}")
        x, y = phantom(1, size=self.size, seed=3 * index + self.part)
        return x[0], y[0]


def load_segmentation(
    name: str, root: str | Path, size: int = 224, samples: int = 1000, download: bool = False
) -> Task:
    """One of :data:`SEGMENTATION_SETS`, with the published recipe.

    Args:
        name: ``"phantom"``; ``"synapse"`` or ``"acdc"`` in a folder (:mod:`~stitchwork.data.medical_sets`);
            ``"oxford_pet"``, a pet, its outline and what is around it.
        root: the folder of the set.
        size: side in pixels to which the slices are resized.
        samples: slices of the phantom to learn from; to choose the epoch and for the test it has a tenth as many each.
        download: fetch the pets if they are not there.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as the set's own loader.
    """
    if name == "phantom":
        train, few = PhantomSlices(samples, size), max(1, samples // 10)
        valid, test, classes, in_chans = PhantomSlices(few, size, 1), PhantomSlices(few, size, 2), ORGANS, 1
    elif name in MEDICAL_SETS:
        train = load_slices(name, root, "train", size=size)
        if "valid" in MEDICAL_SETS[name].parts:
            valid = load_slices(name, root, "valid", size=size)
        else:
            train, valid = set_aside(train)
        test, classes, in_chans = load_volumes(name, root, "test"), MEDICAL_SETS[name].classes, 1
    elif name == "oxford_pet":
        pets = load_pet_masks(root, "train", size=size, download=download)
        train, valid = (Subset(pets, [i for i in range(len(pets)) if (i % 10 == 9) == last]) for last in (False, True))
        test, classes, in_chans = load_pet_masks(root, "test", size=size, download=download), PET_CLASSES, 3
    else:
        raise ValueError(f"there are no slices named {name!r}; choose one of {', '.join(SEGMENTATION_SETS)}")
    return Task(
        train,
        valid,
        in_chans,
        len(classes) + 1,
        EVIT_UNET,
        regions_and_pixels(),
        ClassDice(classes),
        "dice",
        tuple(classes),
        test,
    )


def taught(student: nn.Module, teacher: nn.Module, alpha: float, loss: Loss | None) -> Taught:
    """A student under a teacher with soft labels; what it learns from the true ones is ``loss``."""
    return Taught(student, teacher, Distillation("soft", alpha, loss=loss))


def set_aside(slices: SliceDataset) -> tuple[SliceDataset, SliceDataset]:
    """All slices but those of every sixth scan, and these, unvaried. A file is called ``<scan>_slice...``.

    Raises:
        ValueError: there are slices of one scan only.
    """
    scans = sorted({path.name.split("_slice")[0] for path in slices.files})
    if len(scans) < 2:
        raise ValueError(f"{len(scans)} scan is too few to set one aside for the choice of the epoch: take two or more")
    chosen = set(scans[HELD_OUT - 1 :: HELD_OUT] or scans[-1:])
    kept = [path for path in slices.files if path.name.split("_slice")[0] not in chosen]
    aside = [path for path in slices.files if path.name.split("_slice")[0] in chosen]
    return (
        SliceDataset(kept, slices.read, slices.size, slices.augment),
        SliceDataset(aside, slices.read, slices.size),
    )
