"""The Oxford-IIIT pets as a segmentation task: where is the animal, and where its outline?"""

from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from stitchwork.data.vision_sets import VISION_SETS, load_vision_set

PET_CLASSES = ("pet", "outline")  # classes 1 and 2; 0 is the background


class PetMasks(Dataset):
    """Photographs and the classes of their pixels, both square.

    Args:
        pairs: (image (3, H, W), trimap as a PIL image), as torchvision gives them.
        size: side in pixels.
    """

    def __init__(self, pairs: Dataset, size: int):
        self.pairs, self.size = pairs, size

    def __len__(self) -> int:
        """The number of photographs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The photograph (3, size, size), in [0, 1], and its classes (size, size), int64."""
        shape = (self.size, self.size)
        try:
            image, trimap = self.pairs[index]
            values = torch.from_numpy(numpy.array(trimap.resize(shape, resample=0)))  # 0: the nearest pixel
        except OSError as error:
            raise ValueError(
                f"photograph {index} of the pets or its trimap cannot be read ({error}): remove oxford-iiit-pet and "
                "load the set again"
            ) from error
        if values.dim() != 2 or values.min() < 1 or values.max() > 3:
            raise ValueError(
                f"{trimap.filename}: a trimap has values 1 (pet), 2 (background) and 3 (outline), one a pixel; this "
                f"one has {values.min()} to {values.max()} in shape {tuple(values.shape)}: load the set again"
            )
        x = F.interpolate(image[None], shape, mode="bilinear", antialias=True)[0].clamp(0, 1)
        return x, torch.tensor([0, 1, 0, 2])[values.long()]  # the trimap's 1, 2, 3


def load_pet_masks(root: str | Path, split: str = "train", *, size: int = 224, download: bool = False) -> PetMasks:
    """The Oxford-IIIT Pet set (Parkhi et al., 2012) with its trimaps: 3,680 photographs to train, 3,669 to test.

    Args:
        root: the folder of the data, in torchvision's layout.
        split: ``"train"`` or ``"test"``.
        size: side in pixels; photographs are resized bilinearly and trimaps to the nearest pixel, without regard to
            their proportions.
        download: fetch what is missing.

    Returns:
        Pairs of x (3, size, size), float in [0, 1], and y (size, size), int64: 0 is background, 1 pet, 2 the outline, a
        band of pixels that the annotators left undecided.

    Raises:
        ValueError: ``size`` or ``split`` is wrong, or a file is damaged (when it is read).
        FileNotFoundError: data are missing and ``download`` is off.
        ConnectionError: no address gave the files.
        ModuleNotFoundError: torchvision is not installed.
    """
    if size < 1:
        raise ValueError(f"load_pet_masks: size must be at least 1 pixel; got {size}")
    load_vision_set("oxford_iiit_pet", root, split, download)  # from here on everything is there
    from torchvision import datasets, transforms

    chosen = VISION_SETS["oxford_iiit_pet"]
    options = {"target_types": "segmentation", "transform": transforms.ToTensor()}
    options |= chosen.train if split == "train" else chosen.test
    return PetMasks(datasets.OxfordIIITPet(str(root), **options), size)
