"""Learned positions: one vector for each place of a grid, stretched where the grid is another."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PositionTable(nn.Module):
    """Adds a learned vector to each token.

    Paper: dosovitskiy2021image, eq. 1 and section 3.2: for another grid than the one it was learned on, the part of
    the table that belongs to the grid is interpolated.

    Args:
        grid: rows and columns of tokens that it is learned on.
        dim: numbers C of a token.
        prefix: tokens in front of the grid's, such as a class token, which have no place in it.
        mode: of the interpolation, ``"bicubic"`` or ``"bilinear"``.
        antialias: average over what is skipped where the grid is coarser than that of the table.

    Shapes:
        (B, prefix + hw, C) -> (B, prefix + hw, C)
    """

    def __init__(self, grid: tuple[int, int], dim: int, prefix: int = 0, mode: str = "bicubic", antialias: bool = True):
        super().__init__()
        self.grid, self.prefix, self.mode, self.antialias = tuple(grid), prefix, mode, antialias
        self.table = nn.Parameter(torch.empty(1, prefix + grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def at(self, grid: tuple[int, int]) -> Tensor:
        """The table for a ``grid`` of h x w tokens: (1, prefix + hw, C)."""
        if tuple(grid) == self.grid:
            return self.table
        first, places = self.table[:, : self.prefix], self.table[:, self.prefix :]
        # Not every kernel has bfloat16, which would round off much of what neighbours differ by.
        places = places.to(torch.promote_types(places.dtype, torch.float32))
        places = places.unflatten(1, self.grid).permute(0, 3, 1, 2)  # (1, C, h', w')
        places = F.interpolate(places, tuple(grid), mode=self.mode, antialias=self.antialias)  # (1, C, h, w)
        return torch.cat([first, places.flatten(2).transpose(1, 2).to(first.dtype)], 1)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add the positions of a ``grid`` of h x w tokens: (B, prefix + hw, C) -> (B, prefix + hw, C)."""
        return x + self.at(grid)
