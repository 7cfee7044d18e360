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

__all__ = ["Canvas", "HighInMemory", "InMemory", "NewHigh", "Piece", "Source"]


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

    @property
    def array(self) -> Planes:
        """What was put here, 3 x sH x sW."""
        return _array(self.high)

    def put(self, tile: Tile, pieces: Sequence[Piece]) -> None:
        """See `Canvas.put`."""
        high, s = self.array, self.scale
        for piece in pieces:
            y, x = piece.tile.rows, piece.tile.columns
            high[:, s * y.own_start : s * y.own_stop, s * x.own_start : s * x.own_stop] = piece.high

    def flush(self) -> None:
        """See `Canvas.flush`."""

    def close(self) -> None:
        """See `Canvas.close`."""


class NewHigh:
    """A `Canvas` that makes its array when it is wanted; a piece that is the whole picture becomes it.

    Args:
        shape: 3, sH and sW.
        scale: s.
    """

    def __init__(self, shape: tuple[int, int, int], scale: int) -> None:
        self._shape = shape
        self._scale = scale
        self._made: Planes | None = None

    @property
    def array(self) -> Planes:
        """What was put here, 3 x sH x sW."""
        if self._made is None:
            self._made = np.empty(self._shape, np.float32)
        return self._made

    def put(self, tile: Tile, pieces: Sequence[Piece]) -> None:
        """See `Canvas.put`."""
        first = pieces[0].high
        if self._made is None and first.shape == self._shape and first.flags.c_contiguous:
            self._made = first
        else:
            HighInMemory(self.array, self._scale).put(tile, pieces)

    def flush(self) -> None:
        """See `Canvas.flush`."""

    def close(self) -> None:
        """See `Canvas.close`."""
