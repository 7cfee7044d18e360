"""How a picture will be computed: its tiles, and what each is told of the others.

Most of a network is local, and a tile has the same pixels as the whole picture. What is not local is
told by the plan: which windows are attended, where that depends on the picture (`Classified`,
`Allowed`), and what channel attention knows of it (`Plan.pool_of`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.image.panorama import Panorama
from camixersr.inference.cells import pool_panorama
from camixersr.inference.tiles import GRID, Tile, of_owned
from camixersr.models.classsr import PATCH as CLASSIFIED
from camixersr.models.classsr import ByClass, PatchClassifier, windows_of
from camixersr.nn.predictor import Pool, PoolCells, Pooled, pool_image
from camixersr.nn.routing import Policy, TopShare

__all__ = ["Allowed", "Classified", "Plan", "Source", "classify"]

STRIP = 1 << 20
"""About how many low pixels are classified at once."""


class Source(Protocol):
    """A low picture that can be read in pieces."""

    @property
    def height(self) -> int:
        """Low pixels."""
        ...

    @property
    def width(self) -> int:
        """Low pixels."""
        ...

    @property
    def panorama(self) -> Panorama | None:
        """What it shows of a sphere; None for a flat picture."""
        ...

    def read(self, rows: slice, columns: slice) -> Tensor:
        """1 x 3 x h x w float32 RGB in [0, 1]; with the cosine of the latitude where it is wanted."""
        ...


@dataclass(frozen=True)
class Allowed:
    """Another policy, inside a fixed set of windows."""

    policy: Policy
    allowed: Tensor  # 1 x N bool

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        chosen = self.policy.choose(logits, block)
        return chosen * self.allowed.to(chosen)


@dataclass(frozen=True)
class Classified:
    """A policy for each class, and the class of every window of a picture.

    Attributes:
        policies: one a class, each local.
        classes: rows x columns of windows, int64.
    """

    policies: tuple[Policy, ...]
    classes: NDArray[np.int64]

    def inside(self, windows: NDArray[np.int64]) -> ByClass:
        """The policy for a piece of the picture, whose windows have these classes."""
        return ByClass(self.policies, torch.from_numpy(np.ascontiguousarray(windows)).reshape(1, -1))


@dataclass(frozen=True)
class _Each:
    """A policy of its own for every image of a batch."""

    policies: tuple[Policy, ...]

    def choose(self, logits: Tensor, block: int) -> Tensor:
        own = zip(self.policies, logits.split(1), strict=True)
        return torch.cat([policy.choose(row, block) for policy, row in own])


@dataclass(frozen=True)
class _OwnedMean:
    """The paper's pool over what a tile owns: what its halo repeats does not count twice."""

    tile: Tile

    def __call__(self, features: Tensor, block: int) -> Pooled:
        rows, columns = self.tile.rows, self.tile.columns
        top, left = rows.own_start - rows.start, columns.own_start - columns.start
        mean = features[:, top : top + rows.owned, left : left + columns.owned].mean((1, 2), keepdim=True)
        return Pooled(mean, (features.shape[1],))


@dataclass(frozen=True)
class _OwnedShare:
    """Attend the best share of the windows that a tile owns; its halo's go by the same threshold."""

    tile: Tile
    share: float
    window: int

    def choose(self, logits: Tensor, block: int) -> Tensor:
        own = of_owned(self.tile, logits, self.window).flatten()
        best = own[TopShare(self.share).choose(own[None], block)[0]]
        return logits >= (best.min() if len(best) else math.inf)


@dataclass(frozen=True)
class Plan:
    """How every tile of one picture is computed.

    Attributes:
        height: low pixels.
        width: low pixels.
        tiles: in order, row by row.
        policy: who routes, by class where the model has classes.
        pool: what channel attention knows.
        window: side of a window, in low pixels.
        allowed: rows x columns of windows that may be attended; None for all.
        panorama: what the picture shows of a sphere; None for a flat one.
    """

    height: int
    width: int
    tiles: tuple[Tile, ...]
    policy: Policy | Classified
    pool: Pool
    window: int = GRID
    allowed: NDArray[np.bool_] | None = None
    panorama: Panorama | None = None

    def policy_of(self, tile: Tile) -> Policy:
        """The policy for one tile, whose windows know where in the picture they are."""
        policy = self.policy
        if isinstance(policy, Classified):
            policy = policy.inside(self._windows(policy.classes, tile))
        elif self.panorama is not None and isinstance(policy, TopShare):
            policy = _OwnedShare(tile, policy.share, self.window)
        if self.allowed is None:
            return policy
        part = self._windows(self.allowed, tile)
        return Allowed(policy, torch.from_numpy(np.ascontiguousarray(part)).reshape(1, -1))

    def _windows(self, grid: NDArray[Any], tile: Tile) -> NDArray[Any]:
        """What a grid, rows x columns of the picture's windows, says of a tile's."""
        M = self.window
        rows = range(tile.rows.start // M, -(-tile.rows.stop // M))
        columns = range(tile.columns.start // M, -(-tile.columns.stop // M))
        if self.panorama is None:
            return grid[rows.start : rows.stop, columns.start : columns.stop]
        # a window beyond an edge is treated as the one in the picture that has its middle
        middles = [self.panorama.fold((r + 0.5) * M, (c + 0.5) * M) for r in rows for c in columns]
        return np.array([grid[int(row / M), int(column / M)] for row, column in middles])

    def pool_of(self, tile: Tile) -> Pool:
        """What channel attention knows of the picture while one tile is computed."""
        if self.panorama is not None and self.pool is pool_image:
            return _OwnedMean(tile)
        if isinstance(self.pool, PoolCells):
            side = self.pool.side
            if self.panorama is not None:
                return pool_panorama(tile, self.panorama, side)
            return PoolCells(side, (tile.rows.start % side, tile.columns.start % side))
        return self.pool

    def policy_of_batch(self, tiles: Sequence[Tile]) -> Policy:
        """The policy for tiles that are computed together, in order."""
        policies = tuple(self.policy_of(tile) for tile in tiles)
        return policies[0] if all(each is policies[0] for each in policies) else _Each(policies)


def classify(
    classifier: PatchClassifier, source: Source, *, window: int, device: torch.device
) -> NDArray[np.int64]:
    """Find the class of every window of a picture.

    Args:
        classifier: on `device`.
        source: the picture, read in strips.
        window: side of a window, in low pixels.
        device: where to compute.

    Returns:
        Rows x columns of windows.
    """
    step = max(1, STRIP // (CLASSIFIED * source.width)) * CLASSIFIED
    strips: list[Tensor] = []
    for top in range(0, source.height, step):
        low = source.read(slice(top, min(source.height, top + step)), slice(0, source.width))
        strips.append(classifier.classes(low[:, :3].to(device)).cpu())
    rows, columns = (-(-length // window) for length in (source.height, source.width))
    windows = windows_of(torch.cat(strips, dim=1), rows, columns, window)
    return windows.reshape(rows, columns).numpy()
