"""Where pictures are read from and where results go: here, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.protocol import Planes
from camixersr.image.panorama import Panorama
from camixersr.inference.shared import Shared
from camixersr.inference.tiles import Tile

__all__ = ["Canvas", "HighInMemory", "InMemory", "Piece", "Source"]


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

    def read(self, rows: slice, columns: slice) -> Planes:
        """1 x 3 x h x w float32 RGB in [0, 1]; with the cosine of the latitude where it is wanted."""
        ...


@dataclass(frozen=True)
class Piece:
    """What came of a tile.

    Attributes:
        tile: where it lies.
        high: 3 x sh x sw float32: the pixels that the tile owns.
        attended: rows x columns: how many blocks attended each window that the tile owns.
        precision: what it was computed in.
        windows: windows computed, the halo's included.
        computed: how often these were attended, over all blocks.
    """

    tile: Tile
    high: Planes
    attended: NDArray[np.int64]
    precision: str
    windows: int
    computed: int


class Canvas(Protocol):
    """Where results go. Copies of it in other processes, made by pickling, go to the same place."""

    def put(self, tile: Tile, pieces: Sequence[Piece]) -> None:
        """Keep what a tile owns, of which pieces own a part each; in a thread, one call at a time."""
        ...

    def flush(self) -> None:
        """Return when what was put is where it will outlast this process."""
        ...

    def close(self) -> None:
        """Called of a copy, when there is nothing more for it."""
        ...


def _array(planes: Planes | Shared) -> Planes:
    return planes.array if isinstance(planes, Shared) else planes


@dataclass(frozen=True)
class InMemory:
    """A `Source` that is an array, 3 x H x W, or one that processes share."""

    low: Planes | Shared
    panorama: None = None

    @property
    def height(self) -> int:
        """See `Source.height`."""
        return _array(self.low).shape[1]

    @property
    def width(self) -> int:
        """See `Source.width`."""
        return _array(self.low).shape[2]

    def read(self, rows: slice, columns: slice) -> Planes:
        """See `Source.read`."""
        return _array(self.low)[None, :, rows, columns]


@dataclass(frozen=True)
class HighInMemory:
    """A `Canvas` that is an array, 3 x sH x sW, or one that processes share."""

    high: Planes | Shared
    scale: int

    def put(self, tile: Tile, pieces: Sequence[Piece]) -> None:
        """See `Canvas.put`."""
        high, s = _array(self.high), self.scale
        for piece in pieces:
            y, x = piece.tile.rows, piece.tile.columns
            high[:, s * y.own_start : s * y.own_stop, s * x.own_start : s * x.own_stop] = piece.high

    def flush(self) -> None:
        """See `Canvas.settle`."""

    def close(self) -> None:
        """See `Canvas.close`."""
