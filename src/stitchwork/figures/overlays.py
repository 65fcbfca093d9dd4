"""Pictures of segmentations: the image in grey, and what was found in colour."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from stitchwork.figures.style import PALETTE

WINE, YELLOW = "#882255", "#F0E442"  # for grey, which would not be seen here; and one too pale for a line on white
COLOURS = (*(colour for name, colour in PALETTE.items() if name != "grey"), WINE, YELLOW)


class Case(NamedTuple):
    """An image (C, H, W), the true labels (H, W), those that were found, and a line about them."""

    image: Tensor
    labels: Tensor
    found: Tensor
    title: str


def overlay(image: Tensor, labels: Tensor, opacity: float = 0.55) -> numpy.ndarray:
    """An image with its labels in colour, the classes from 1 on in the colours of :data:`COLOURS`, in turn.

    Args:
        image: (C, H, W), with 1 or 3 channels; its values are stretched from black to white.
        labels: (H, W), whole numbers; 0 stays as it is.
        opacity: of the colours.

    Returns:
        (H, W, 3), uint8.
    """
    grey = image.float().expand(3, *image.shape[1:]).movedim(0, -1)  # (H, W, 3)
    low, high = grey.aminmax()
    grey = (grey - low) / (high - low).clamp(min=1e-8)
    palette = torch.tensor([to_rgb(colour) for colour in COLOURS])
    colours = palette[(labels.long() - 1).clamp(min=0) % len(COLOURS)]
    mixed = torch.where((labels > 0)[..., None], (1 - opacity) * grey + opacity * colours, grey)
    return (255 * mixed).round().byte().numpy()


def draw_cases(cases: Sequence[Case], classes: Sequence[str]) -> Figure:
    """One row a case: the image, the truth, what the network found.

    Args:
        cases: what to draw.
        classes: names of the classes from 1 on, for the legend.
    """
    figure, axes = plt.subplots(len(cases), 3, figsize=(8.2, 2.75 * len(cases) + 0.6), squeeze=False)
    for row, case in zip(axes, cases):
        nothing = torch.zeros_like(case.labels)
        for ax, labels in zip(row, (nothing, case.labels, case.found)):
            ax.imshow(overlay(case.image, labels))
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(case.title)
    for ax, title in zip(axes[0], ("image", "truth", "found")):
        ax.set_title(title)
    patches = [Patch(color=COLOURS[i % len(COLOURS)], label=name) for i, name in enumerate(classes)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(4, len(patches)))
    return figure
