"""Cut an image into equal windows, and put it together again."""

import torch
import torch.nn.functional as F
from torch import Tensor


def pad_to_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Fill an image up with zeros, below and to the right, to whole windows of ``height`` x ``width`` pixels.

    Shapes:
        (B, C, H, W) -> (B, C, h · height, w · width) with h = ceil(H / height), w = ceil(W / width)
    """
    rows, columns = -x.shape[2] % height, -x.shape[3] % width
    return F.pad(x, (0, columns, 0, rows)) if rows or columns else x  # padding by nothing would copy


def split_windows(x: Tensor, height: int, width: int) -> Tensor:
    """The windows of ``height`` x ``width`` pixels that cover an image; zeros fill up the last row and column of them.

    Shapes:
        (B, C, H, W) -> (B, h, w, P, C): h x w windows of P = height · width pixels each, row by row
    """
    x = pad_to_windows(x, height, width)
    x = x.unflatten(3, (-1, width)).unflatten(2, (-1, height))  # (B, C, h, height, w, width)
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3, 4)  # (B, h, w, P, C)


def join_windows(windows: Tensor, height: int, width: int, size: tuple[int, int]) -> Tensor:
    """What :func:`split_windows` has taken apart, without the zeros.

    Shapes:
        (B, h, w, P, C) -> (B, C, H, W) with (H, W) = ``size``
    """
    x = windows.unflatten(3, (height, width)).permute(0, 5, 1, 3, 2, 4)  # (B, C, h, height, w, width)
    return x.flatten(4, 5).flatten(2, 3)[..., : size[0], : size[1]]


def padding_bias(size: tuple[int, int], height: int, width: int, like: Tensor) -> Tensor | None:
    """What keeps the zeros that fill up windows out of their softmax: -inf for these keys, 0 for pixels.

    Args:
        size: height and width of the image.
        height: of a window.
        width: of a window.
        like: a tensor of the device and the type.

    Returns:
        (h, w, 1, 1, P), to be added to logits (B, h, w, heads, P, P); ``None`` where the windows fill the image.
    """
    if size[0] % height == 0 and size[1] % width == 0:
        return None
    inside = split_windows(like.new_ones(1, 1, *size), height, width)  # (1, h, w, P, 1)
    return torch.zeros_like(inside).masked_fill(inside == 0, float("-inf"))[0].transpose(2, 3)[:, :, None]
