"""How a picture will be computed: its tiles, and what each is told of the others.

Most of a network is local, and a tile has the same pixels as the whole picture. What is not local is
told by the plan: which windows are attended, where that depends on the picture (`Classified`,
`Allowed`), and what channel attention knows of it (`Plan.pool_of`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.pools import OwnedMean
from camixersr.image.panorama import Panorama
from camixersr.inference.cells import pool_panorama
from camixersr.inference.pace import Pace, Paced
from camixersr.inference.policies import Allowed, Classified, OwnedShare
from camixersr.inference.sources import Source
from camixersr.inference.tiles import GRID, Tile
from camixersr.models.classes import PATCH as CLASSIFIED
from camixersr.models.pools import PoolCells
from camixersr.nn.pool import Pool, pool_image
from camixersr.nn.routing import Policy, TopShare

if TYPE_CHECKING:
    from camixersr.backends.classes import PatchClasses

__all__ = ["Plan", "classify"]

STRIP = 1 << 20
"""About how many low pixels are classified at once."""


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
        pace: chooses among policies so that a deadline is kept; None for `policy` everywhere.
    """

    height: int
    width: int
    tiles: tuple[Tile, ...]
    policy: Policy | Classified
    pool: Pool
    window: int = GRID
    allowed: NDArray[np.bool_] | None = None
    panorama: Panorama | None = None
    pace: Pace | None = None

    def policy_of(self, tile: Tile) -> Policy:
        """The policy for one tile, whose windows know where in the picture they are."""
        pace = self.pace
        if pace is not None:
            return Paced(pace, tile, lambda number: self._inside(tile, pace.policies[number]))
        return self._inside(tile, self.policy)

    def _inside(self, tile: Tile, policy: Policy | Classified) -> Policy:
        if isinstance(policy, Classified):
            policy = policy.inside(self._windows(policy.classes, tile))
        elif self.panorama is not None and isinstance(policy, TopShare):
            policy = OwnedShare(tile, policy.share, self.window)
        if self.allowed is None:
            return policy
        part = self._windows(self.allowed, tile)
        return Allowed(policy, np.ascontiguousarray(part).reshape(1, -1))

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
            owned = (
                slice(span.own_start - span.start, span.own_stop - span.start)
                for span in (tile.rows, tile.columns)
            )
            return OwnedMean(*owned)
        if isinstance(self.pool, PoolCells):
            side = self.pool.side
            if self.panorama is not None:
                return pool_panorama(tile, self.panorama, side)
            return PoolCells(side, (tile.rows.start % side, tile.columns.start % side))
        return self.pool

    def policy_of_batch(self, tiles: Sequence[Tile]) -> Policy | tuple[Policy, ...]:
        """The policy for tiles that are computed together, or one for each, in order."""
        policies = tuple(self.policy_of(tile) for tile in tiles)
        return policies[0] if all(each is policies[0] for each in policies) else policies

    @property
    def cell(self) -> int:
        """Side of the cells that tiles are aligned to, in low pixels; 0 for none."""
        return self.pool.side if isinstance(self.pool, PoolCells) else 0


def classify(classifier: "PatchClasses", source: Source, *, window: int) -> NDArray[np.int64]:
    """Find the class of every window of a picture.

    Args:
        classifier: of a ClassSR.
        source: the picture, read in strips.
        window: side of a window, in low pixels.

    Returns:
        Rows x columns of windows.
    """
    step = max(1, STRIP // (CLASSIFIED * source.width)) * CLASSIFIED
    strips: list[NDArray[np.int64]] = []
    for top in range(0, source.height, step):
        low = source.read(slice(top, min(source.height, top + step)), slice(0, source.width))
        strips.append(classifier.of_patches(low[:, :3]))
    rows, columns = (-(-length // window) for length in (source.height, source.width))
    return classifier.of_windows(np.concatenate(strips, axis=1), rows, columns, window)
