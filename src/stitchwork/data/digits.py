"""The 1,797 handwritten digits that scikit-learn ships: the smallest real images there are."""

import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset


def digits(split: str = "train", size: int = 8, seed: int = 0) -> TensorDataset:
    """One part of scikit-learn's digits (Alpaydin and Kaynak, 1998), four fifths of every class for training.

    Args:
        split: ``"train"`` (1,437 images) or ``"test"`` (360).
        size: side of the images in pixels; other than 8, they are resized bilinearly.
        seed: decides which image falls into which part; use one seed for both parts.

    Returns:
        Images (N, 1, size, size), float in [0, 1], and labels (N,), int64 in 0..9.

    Raises:
        ValueError: ``split`` or ``size`` is out of range.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    if split not in ("train", "test"):
        raise ValueError(f'digits: split must be "train" or "test"; got {split!r}')
    if size < 1:
        raise ValueError(f"digits: size must be at least 1 pixel; got {size}")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train, test = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=seed)
    chosen = train if split == "train" else test
    x = torch.tensor(images[chosen], dtype=torch.float32).view(-1, 1, 8, 8) / 16  # grey values are 0..16
    if size != 8:
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return TensorDataset(x, torch.tensor(labels[chosen], dtype=torch.int64))
