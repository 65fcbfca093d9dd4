"""Segment an image of any size: whole where the network takes it, else in overlapping tiles.

At its border a tile lacks what lies beyond. So neighbouring tiles overlap, and there each counts the less the nearer
its own border is. At a distance of t from that border, in shares of the overlap, its logits weigh

    w(t) = sin^2(pi t / 2),    and its neighbour's    w(1 - t) = cos^2(pi t / 2)

The result is the weighted mean: smooth, so that there is no seam, and at the border of the image what the only tile
says.

>>> logits = predict(model, image, tile=512, overlap=64)
>>> labels = labels_of(logits)
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.inference_mode()
def predict(model: nn.Module, image: Tensor, tile: int | None = None, overlap: int = 64, batch_size: int = 1) -> Tensor:
    """Logits for every pixel of an image, whatever its size.

    A size that the network does not take (``model.min_size``, ``model.multiple``) is filled up at the lower and right
    border with the last row and column, and cut off again. The memory is that of ``batch_size`` tiles and of the
    logits.

    Args:
        model: a segmentation network, on any device; it is used as it is: call ``eval()`` before.
        image: (C, H, W), or several of one size, (N, C, H, W).
        tile: side of the tiles in pixels; ``None``, or a tile as large as the image, takes the image whole.
        overlap: pixels that two neighbouring tiles share, at least.
        batch_size: images or tiles that go through the network together.

    Returns:
        (K, H, W) or (N, K, H, W), float32, on the CPU.

    Raises:
        ValueError: an argument out of range, or an image that is not of this kind; the network's own refusals.
    """
    if image.dim() not in (3, 4) or not image.is_floating_point():
        raise ValueError(
            f"predict takes a float image (C, H, W) or (N, C, H, W); got {image.dtype} of shape {tuple(image.shape)}"
        )
    if batch_size < 1:
        raise ValueError(f"predict: batch_size must be at least 1; got {batch_size}")
    if image.dim() == 3:
        return predict(model, image[None], tile, overlap, batch_size)[0]
    if tile is None or tile >= max(image.shape[2:]):
        return torch.cat([_forward(model, part) for part in image.split(batch_size)])
    multiple = getattr(model, "multiple", 1)
    if tile < 1 or tile % multiple:
        raise ValueError(f"predict: tile must be a multiple of {multiple}, which the network needs; got {tile}")
    if not 0 <= overlap < tile:
        raise ValueError(f"predict: overlap must be at least 0 and less than tile={tile}; got {overlap}")
    return torch.stack([_in_tiles(model, single, tile, overlap, batch_size) for single in image])


def labels_of(logits: Tensor) -> Tensor:
    """The likeliest class of each pixel: (K, H, W) -> (H, W), uint8; a single logit is the answer yes above 0.

    Raises:
        ValueError: more than 256 classes.
    """
    if logits.shape[-3] > 256:
        raise ValueError(f"labels_of: at most 256 classes go into a byte; got {logits.shape[-3]}")
    if logits.shape[-3] == 1:
        return (logits.squeeze(-3) > 0).byte()
    return logits.argmax(-3).byte()


def _forward(model: nn.Module, x: Tensor) -> Tensor:
    """The network's logits for images of any size: (B, C, H, W) -> (B, K, H, W) on the CPU."""
    height, width = x.shape[2:]
    least, multiple = getattr(model, "min_size", 1), getattr(model, "multiple", 1)
    rows, columns = (math.ceil(max(side, least) / multiple) * multiple for side in (height, width))
    device = next((p.device for p in model.parameters()), x.device)
    filled = F.pad(x.to(device), (0, columns - width, 0, rows - height), mode="replicate")
    return model(filled)[:, :, :height, :width].float().cpu()


def _in_tiles(model: nn.Module, image: Tensor, tile: int, overlap: int, batch_size: int) -> Tensor:
    """(C, H, W) -> (K, H, W), the weighted mean of the tiles."""
    height, width = image.shape[1:]
    tops, lefts = _starts(height, tile, overlap), _starts(width, tile, overlap)
    weight = torch.outer(_ramps(height, tile, overlap), _ramps(width, tile, overlap))
    places = [(top, left) for top in tops for left in lefts]
    total, weights = None, torch.zeros(height, width)
    for first in range(0, len(places), batch_size):
        some = places[first : first + batch_size]
        tiles = torch.stack([image[:, top : top + tile, left : left + tile] for top, left in some])
        for (top, left), logits in zip(some, _forward(model, tiles)):
            rows, columns = slice(top, top + logits.shape[1]), slice(left, left + logits.shape[2])
            if total is None:
                total = torch.zeros(len(logits), height, width)
            total[:, rows, columns] += logits * weight
            weights[rows, columns] += weight
    return total / weights


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles begin, evenly spread, so that neighbours share at least ``overlap`` pixels."""
    if length <= tile:
        return [0]
    gaps = math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / gaps) for i in range(gaps + 1)]


def _ramps(length: int, tile: int, overlap: int) -> Tensor:
    """The weight of each row of a tile, rising over the overlap and falling again; one in the middle."""
    side = min(length, tile)
    if length <= tile or not overlap:
        return torch.ones(side)
    distance = torch.arange(side) + 0.5
    nearest = torch.minimum(distance, side - distance)
    return torch.sin(math.pi / 2 * (nearest / min(overlap, side / 2)).clamp(max=1)).square()
