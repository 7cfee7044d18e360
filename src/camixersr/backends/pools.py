"""What channel attention knows of a picture while a piece of it is computed: values, as policies are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from camixersr.nn.pool import Pool, Pooled, pool_image

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OwnedMean", "PoolPanorama", "Recording", "Replayed"]


@dataclass(frozen=True, eq=False)
class Replayed:
    """A pool that hands in what was measured: for each block its c features."""

    means: tuple[NDArray[np.float32], ...]

    def __call__(self, features: "Tensor", block: int) -> Pooled:
        """See `Pool.__call__`."""
        import torch

        mean = torch.from_numpy(self.means[block]).reshape(1, 1, 1, -1)
        return Pooled(mean.to(features), (features.shape[1],))


@dataclass(frozen=True, eq=False)
class Recording:
    """A pool that notes each block's own mean, c numbers, and hands in another's."""

    inner: Pool
    means: dict[int, NDArray[np.float64]]

    def __call__(self, features: "Tensor", block: int) -> Pooled:
        """See `Pool.__call__`."""
        self.means[block] = pool_image(features, block).means.flatten().cpu().double().numpy()
        return self.inner(features, block)


@dataclass(frozen=True)
class OwnedMean:
    """The paper's pool over the part that a tile owns: what its halo repeats does not count twice."""

    rows: slice
    columns: slice

    def __call__(self, features: "Tensor", block: int) -> Pooled:
        """See `Pool.__call__`."""
        mean = features[:, self.rows, self.columns].mean((1, 2), keepdim=True)
        return Pooled(mean, (features.shape[1],))


@dataclass(frozen=True)
class PoolPanorama:
    """A pool over cells of several widths and heights.

    Attributes:
        heights: of the strips of cells, in pixels, from the top; padding below goes to the last.
        widths: for each strip those of its cells, from the left; padding goes to the last.
    """

    heights: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]

    def __call__(self, features: "Tensor", block: int) -> Pooled:
        """See `Pool.__call__`."""
        import torch

        _, H, W, _ = features.shape
        heights = _filled(self.heights, H)
        means: list[Tensor] = []
        for strip, widths in zip(features.split(heights, dim=1), self.widths, strict=True):
            widths = _filled(widths, W)
            column = strip.mean(dim=1)  # B x W x c
            cells = [part.mean(dim=1, keepdim=True) for part in column.split(widths, dim=1)]
            means.append(
                torch.cat(
                    [cell.expand(-1, width, -1) for cell, width in zip(cells, widths, strict=True)], dim=1
                )
            )
        return Pooled(torch.stack(means, dim=1), heights)


def _filled(lengths: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The same with a last one that reaches the end."""
    return *lengths[:-1], length - sum(lengths[:-1])
