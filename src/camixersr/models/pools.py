"""Pools over cells of a picture: what makes a tile know as much as the whole (decision 0004)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from camixersr.nn.pool import Pool, Pooled, pool_image

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PoolCells", "pool_of"]


@dataclass(frozen=True)
class PoolCells:
    """The mean over square cells, as large as the patches that the network was trained on.

    In training a network sees patches alone, and so their means only. Test-time Local Converter
    (Chu et al., ECCV 2022) pools over windows of that size for the same reason.

    Attributes:
        side: of a cell, in pixels; the last ones down and across are as large as the map has them.
        before: how many rows and columns of the first cells lie before the map: of a tile, which need
            not begin where a cell does.
    """

    side: int
    before: tuple[int, int] = (0, 0)

    def __call__(self, features: "Tensor", block: int) -> Pooled:
        """See `Pool.__call__`."""
        import torch.nn.functional as F

        _, H, W, _ = features.shape
        P, (above, left) = self.side, self.before
        if max(above + H, left + W) <= P:
            return pool_image(features, block)
        heights, widths = self.lengths(above, H), self.lengths(left, W)
        there = F.pad(features, (0, 0, left, 0, above, 0)).permute(0, 3, 1, 2)
        means = F.avg_pool2d(there, P, ceil_mode=True, divisor_override=P * P).permute(0, 2, 3, 1)
        down, across = (means.new_tensor(lengths) / P for lengths in (heights, widths))
        means = means / (down[:, None] * across)[:, :, None]  # of what is there
        return Pooled(means.repeat_interleave(P, dim=2)[:, :, left : left + W], heights)

    def lengths(self, before: int, length: int) -> tuple[int, ...]:
        """Of the cells along an axis that begins so many pixels into one."""
        edges = (0, *range(self.side - before, length, self.side), length)
        return tuple(stop - start for start, stop in pairwise(edges))


def pool_of(side: int) -> Pool:
    """The pool over cells of that side, in pixels; 0 is the whole image."""
    return PoolCells(side) if side else pool_image
