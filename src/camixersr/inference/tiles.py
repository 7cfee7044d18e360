"""Where tiles lie: integers, no torch.

Every pixel of the picture is *owned* by exactly one tile. A tile is computed with a *halo* around
what it owns and the halo's results are thrown away, so no pixel's result depends on the order of
tiles, and none is a mixture. Tiles and halos start on the network's 16-pixel window grid: a window
has the same content whatever tile it is computed in. Where the network pools over *cells*, tiles own
whole cells, and halos have whole ones and some pixels more: a cell has the same mean whatever tile it is
computed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from camixersr.errors import ValueRangeError
from camixersr.image.panorama import Panorama

__all__ = [
    "CELL_HALO",
    "ENDS",
    "GRID",
    "HALO",
    "MARGIN",
    "SMALLEST",
    "Beyond",
    "Span",
    "Tile",
    "cover",
    "cut",
    "group",
    "halo_of",
    "halve",
    "of_owned",
    "owned",
    "smallest_tile",
]

GRID = 16
"""Owned spans and halos start at multiples of this: the window side, in low pixels."""

HALO = 48
"""Low pixels computed around a tile but not used. Measured by `tools/halo.py`: from 48 pixels on a cut
changes nothing of the embedded model's result at 8 bits (decision 0004)."""

CELL_HALO = 64
"""The same for a network that pools over cells: so many pixels of whole cells at least, ..."""

MARGIN = 16
"""... and so many beyond these. So far a cut's traces are strong; through the mean of a cell that lies
along it they would reach what is owned (decision 0004)."""

SMALLEST = 64
"""Smallest tile that may be asked for, in low pixels; below it the halo is most of the work."""


@dataclass(frozen=True)
class Beyond:
    """Whether there is something to see beyond a picture's edges, as in a panorama.

    Halos then reach out there, and end on the window grid: `start` may be negative, and `stop` more
    than the picture's length.
    """

    top: bool = False
    bottom: bool = False
    sides: bool = False

    @classmethod
    def of(cls, panorama: Panorama | None) -> "Beyond":
        """Where halos can reach out of a picture; nowhere for a flat one."""
        return ENDS if panorama is None else cls(panorama.north, panorama.south, panorama.closed)


ENDS = Beyond()
"""A picture that ends at its edges."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in low pixels.

    Attributes:
        start: first pixel computed, a multiple of `GRID`; below 0 where the picture goes on.
        stop: first pixel after what is computed.
        own_start: first pixel owned, a multiple of `GRID`.
        own_stop: first pixel after what is owned.
    """

    start: int
    stop: int
    own_start: int
    own_stop: int

    @property
    def length(self) -> int:
        """Pixels computed."""
        return self.stop - self.start

    @property
    def owned(self) -> int:
        """Pixels owned."""
        return self.own_stop - self.own_start


@dataclass(frozen=True)
class Tile:
    """A tile: rows and columns of the low image."""

    rows: Span
    columns: Span

    @property
    def computed(self) -> tuple[slice, slice]:
        """Rows and columns of the low image that are computed."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    @property
    def pixels(self) -> int:
        """Low pixels computed, halo included."""
        return self.rows.length * self.columns.length


def halo_of(cell: int) -> int:
    """Low pixels computed around a tile of a network that pools over cells of that side; 0: over all."""
    return -(-CELL_HALO // cell) * cell + MARGIN if cell else HALO


def smallest_tile(cell: int) -> int:
    """Smallest tile that may be asked for of a network that pools over cells of that side."""
    return -(-SMALLEST // cell) * cell if cell else SMALLEST


@dataclass(frozen=True)
class _Axis:
    """An axis of a picture, and how it is cut.

    Attributes:
        length: low pixels.
        cell: side of the cells that channel attention pools over; 0 for none.
        halo: low pixels computed beside what is owned.
        before: whether halos reach out before the first pixel.
        after: whether they do after the last.
        mirrored: beyond an end comes the same end again, and not the other one.
    """

    length: int
    cell: int
    halo: int
    before: bool
    after: bool
    mirrored: bool = False

    @property
    def grid(self) -> int:
        """What owned spans start at multiples of."""
        return self.cell or GRID

    def spans(self, first: int, last: int, step: int) -> tuple[Span, ...]:
        """Own `first` to `last` in spans of `step`, each with its halo."""
        spans: list[Span] = []
        for start in range(first, last, step):
            stop = min(last, start + step)
            cells = self.halo // self.grid * self.grid
            begin, end = start - cells, min(self.length, -(-stop // self.grid) * self.grid) + cells
            if begin < 0:
                begin = -self._beyond(-begin, self.mirrored)
            if end > self.length:
                end = self.length + self._beyond(end - self.length, not self.mirrored)
            # the margin, and on to the window grid
            begin = (begin - self.halo + cells) // GRID * GRID
            end = -(-(end + self.halo - cells) // GRID) * GRID
            begin = begin if self.before else max(0, begin)
            end = end if self.after else min(self.length, end)
            spans.append(Span(begin, end, start, stop))
        return tuple(spans)

    def _beyond(self, need: int, evenly: bool) -> int:
        """How far a halo reaches beyond an end, to see `need` pixels there and whole cells.

        Cells divide a picture from its first pixel on, so that the last one may be smaller. `evenly`
        says whether it comes last beyond this end, as it does where the picture begins anew.
        """
        if not self.cell:
            return need
        turns, rest = divmod(need, self.length)
        smaller = 0 if evenly != (self.mirrored and turns % 2 == 1) else self.length % self.cell
        cells = smaller + -(-max(0, rest - smaller) // self.cell) * self.cell if rest else 0
        return turns * self.length + min(self.length, cells)


def cover(
    length: int,
    tile: int,
    *,
    cell: int = 0,
    halo: int | None = None,
    beyond: tuple[bool, bool] = (False, False),
    mirrored: bool = False,
) -> tuple[Span, ...]:
    """Cover one axis with tiles of about equal length.

    >>> [(span.start, span.own_start, span.own_stop, span.stop) for span in cover(150, 64)]
    [(0, 0, 64, 112), (16, 64, 128, 150), (80, 128, 150, 150)]
    >>> [(span.start, span.own_start, span.own_stop, span.stop) for span in cover(150, 64, cell=64)]
    [(0, 0, 64, 144), (0, 64, 128, 150), (48, 128, 150, 150)]

    Args:
        length: low pixels to cover.
        tile: most low pixels a tile may own, a multiple of `GRID`, and of `cell`, from `SMALLEST` up;
            0 covers all with one.
        cell: side of the cells that channel attention pools over, a multiple of `GRID`; 0 for none.
        halo: low pixels to compute beside what is owned, a multiple of `GRID`; `halo_of(cell)` by
            default.
        beyond: whether halos reach out before the first pixel, and after the last.
        mirrored: what is beyond an end is the same end again, and not the other one.

    Returns:
        Spans in order; the owned parts follow one another without gap or overlap.

    Raises:
        ValueRangeError: `tile` or `halo` is no such number.
    """
    grid, halo = cell or GRID, halo_of(cell) if halo is None else halo
    least = smallest_tile(cell)
    if tile != 0 and (tile < least or tile % grid):
        raise ValueRangeError(
            f"tile must be 0 or a multiple of {grid} from {least} up, got {tile}; use "
            f"{max(least, tile // grid * grid)}"
        )
    if halo < 0 or halo % GRID:
        raise ValueRangeError(f"halo must be a multiple of {GRID}, got {halo}")
    step = length if tile == 0 else -(-length // (-(-length // tile) * grid)) * grid
    return _Axis(length, cell, halo, *beyond, mirrored).spans(0, length, step)


def cut(
    height: int, width: int, tile: int, *, cell: int = 0, halo: int | None = None, beyond: Beyond = ENDS
) -> list[Tile]:
    """Cut a picture into tiles, row by row; arguments and errors as for `cover`."""
    ends = beyond.top, beyond.bottom
    rows = cover(height, tile, cell=cell, halo=halo, beyond=ends, mirrored=True)
    columns = cover(width, tile, cell=cell, halo=halo, beyond=(beyond.sides, beyond.sides))
    return [Tile(row, column) for row in rows for column in columns]


def halve(tile: Tile, height: int, width: int, *, cell: int = 0, beyond: Beyond = ENDS) -> list[Tile]:
    """Cut a tile in four (two, one) of half its sides, for a machine that it was too large for.

    Args:
        tile: of a picture.
        height: rows of the picture.
        width: columns of it.
        cell: as for `cover`.
        beyond: as for `cut`.

    Returns:
        Tiles that own what `tile` owns and compute no pixel that it does not; one alone if it
        cannot be cut smaller.
    """
    halo = halo_of(cell)
    halves = [
        axis.spans(span.own_start, span.own_stop, -(-span.owned // (2 * axis.grid)) * axis.grid)
        for span, axis in (
            (tile.rows, _Axis(height, cell, halo, beyond.top, beyond.bottom, mirrored=True)),
            (tile.columns, _Axis(width, cell, halo, beyond.sides, beyond.sides)),
        )
    ]
    return [Tile(row, column) for row in halves[0] for column in halves[1]]


def group(tiles: Sequence[Tile], most: int, *, cell: int = 0) -> list[tuple[int, ...]]:
    """Put tiles that compute equally many rows and columns into batches of about equal length.

    >>> group(cut(448, 64, 64), 3)  # first and last have a halo on one side only
    [(0, 6), (1, 2), (3, 4, 5)]

    Args:
        tiles: of a picture.
        most: of them in a batch, from 1.
        cell: as for `cover`; those in a batch begin at the same place in a cell.

    Returns:
        Numbers of tiles, each once. It depends on nothing else, so that a tile always has the same
        company: the last bits of its result depend on that.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, tile in enumerate(tiles):
        spans = tile.rows, tile.columns
        key = (*(each.length for each in spans), *(each.start % (cell or GRID) for each in spans))
        alike.setdefault(key, []).append(number)
    batches: list[tuple[int, ...]] = []
    for numbers in alike.values():
        count = -(-len(numbers) // most)
        edges = [len(numbers) * part // count for part in range(count + 1)]
        batches += [tuple(numbers[first:last]) for first, last in pairwise(edges)]
    return sorted(batches)


def owned(tile: Tile, window: int) -> tuple[slice, slice]:
    """Which rows and columns of windows of the picture a tile owns."""
    return (
        slice(tile.rows.own_start // window, -(-tile.rows.own_stop // window)),
        slice(tile.columns.own_start // window, -(-tile.columns.own_stop // window)),
    )


def of_owned(tile: Tile, values: Any, window: int) -> Any:
    """Of one value for every window that a tile computed, row by row, those that it owns.

    `values` is an array or a tensor, and so is the result.
    """
    rows, columns = owned(tile, window)
    down, across = tile.rows.start // window, tile.columns.start // window
    grid = values.reshape(-1, -(-tile.columns.length // window))
    return grid[rows.start - down : rows.stop - down, columns.start - across : columns.stop - across]
