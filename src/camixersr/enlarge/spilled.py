"""A picture that lies on the disk: read by tiles, written by tiles, and resized strip by strip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.protocol import Planes
from camixersr.image import resize as resizing
from camixersr.image.alpha import HALO, bleed, visible
from camixersr.image.planes import Form, enlarge_alpha, join, split
from camixersr.image.raw import Layout, Raw
from camixersr.inference.sources import Piece
from camixersr.inference.tiles import Tile

__all__ = ["High", "Low", "Readable", "Writable", "resize"]

CONTEXT = 4
"""Low pixels that bicubic enlargement looks at beside a place; it needs two."""

STRIP = 64
"""Rows that are resized at once, and fewer where they are long."""

STRIP_PIXELS = 1 << 20
"""Most pixels of such a strip."""


class Readable(Protocol):
    """What is read like a `Raw` file, wherever it lies."""

    @property
    def layout(self) -> Layout:
        """What it holds."""
        ...

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Raw.read`."""
        ...

    def close(self) -> None:
        """See `Raw.close`."""
        ...


class Writable(Protocol):
    """What is written like a `Raw` file."""

    @property
    def layout(self) -> Layout:
        """What it holds."""
        ...

    def write(self, top: int, left: int, pixels: NDArray[Any]) -> None:
        """See `Raw.write`."""
        ...

    def sync(self) -> None:
        """See `Raw.sync`."""
        ...

    def close(self) -> None:
        """See `Raw.close`."""
        ...


@dataclass(frozen=True)
class Low:
    """A `Source` that reads from a raw file."""

    raw: Readable
    panorama: None = None

    @property
    def form(self) -> Form:
        """How it stores its values."""
        return form_of(self.raw.layout)

    @cached_property
    def far(self) -> NDArray[np.float64] | None:
        """The mean of what is visible in the whole picture, as for `bleed`; None if nothing is."""
        total, count = np.zeros(self.raw.layout.bands - 1), 0
        for top in range(0, self.height, HALO):
            rows = slice(top, min(top + HALO, self.height))
            pixels, alpha = split(self.raw.read(rows, slice(0, self.width)))
            assert alpha is not None
            part, number = visible(pixels, alpha)
            total, count = total + part, count + number
        return total / count if count else None

    @property
    def height(self) -> int:
        """Rows."""
        return self.raw.layout.height

    @property
    def width(self) -> int:
        """Columns."""
        return self.raw.layout.width

    def read(self, rows: slice, columns: slice) -> Planes:
        """See `Source.read`."""
        if not self.raw.layout.alpha:
            return self.form.planes(self.raw.read(rows, columns))[None]
        # what is invisible takes the colour of what is visible nearby, as in a picture in one piece
        top, left = (max(0, each.start // HALO * HALO - HALO) for each in (rows, columns))
        bottom = min(self.height, -(-rows.stop // HALO) * HALO + HALO)
        right = min(self.width, -(-columns.stop // HALO) * HALO + HALO)
        pixels, alpha = split(self.raw.read(slice(top, bottom), slice(left, right)))
        colour = pixels if alpha is None else bleed(pixels, alpha, self.far)
        part = colour[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        return self.form.planes(part)[None]


def form_of(layout: Layout) -> Form:
    """How a raw file stores its values."""
    return Form(np.dtype(layout.dtype), grey=layout.bands < 3)


@dataclass(frozen=True)
class High:
    """A `Canvas` that is a raw file, with the transparency of another."""

    low: Readable
    high: Writable

    def put(self, tile: Tile, pieces: Sequence[Piece]) -> None:
        """See `Canvas.put`."""
        scale = self.high.layout.height // self.low.layout.height
        form = form_of(self.high.layout)
        for piece in pieces:
            y, x = piece.tile.rows, piece.tile.columns
            pixels = form.pixels(piece.high)
            alpha = _alpha(piece.tile, self.low, scale, form) if self.low.layout.alpha else None
            self.high.write(scale * y.own_start, scale * x.own_start, join(pixels, alpha))

    def flush(self) -> None:
        """See `Canvas.settle`."""
        self.high.sync()

    def close(self) -> None:
        """Close both files."""
        self.low.close()
        self.high.close()


def _alpha(tile: Tile, low: Readable, scale: int, form: Form) -> NDArray[Any]:
    """The transparency of what a tile owns, enlarged bicubically: h x w, as stored."""
    spans = []
    for span, length in ((tile.rows, low.layout.height), (tile.columns, low.layout.width)):
        spans.append((max(0, span.own_start - CONTEXT), min(length, span.own_stop + CONTEXT), span))
    (top, bottom, y), (left, right, x) = spans
    part = form_of(low.layout).alpha_plane(low.read(slice(top, bottom), slice(left, right))[:, :, -1])
    down, across = scale * (y.own_start - top), scale * (x.own_start - left)
    grown = enlarge_alpha(part, scale)
    return form.alpha(grown[down : down + scale * y.owned, across : across + scale * x.owned])


def resize(source: Raw, target: Raw, check: Callable[[], None]) -> None:
    """Resize a picture (bicubic, antialiased) as `Form.pixels` does with one in memory.

    Args:
        source: of 8 or 16 bits.
        target: of the size wanted, likewise; the same channels.
        check: called before every strip; what it raises ends this.
    """
    before, after = source.layout, target.layout
    given, wanted = form_of(before), form_of(after)
    index, weights = resizing.contributions(before.height, after.height)
    step = max(1, min(STRIP, STRIP_PIXELS // max(before.width, after.width)))
    for top in range(0, after.height, step):
        check()
        rows = slice(top, min(top + step, after.height))
        first, last = int(index[rows].min()), int(index[rows].max()) + 1
        matrix = np.zeros((rows.stop - top, last - first), np.float32)
        np.add.at(matrix, (np.arange(len(matrix))[:, None], index[rows] - first), weights[rows])
        stored = source.read(slice(first, last), slice(0, before.width))
        values = stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max)
        strip = np.tensordot(matrix, values, 1)
        strip = resizing.resize(strip, height=len(strip), width=after.width)
        colour = wanted.pixels(strip[:, :, : 1 if given.grey else 3].transpose(2, 0, 1))
        alpha = wanted.alpha(strip[:, :, -1]) if after.alpha else None
        target.write(top, 0, join(colour, alpha))
