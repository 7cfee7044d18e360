"""Where tiles lie: integers, no torch.

Every pixel of the picture is *owned* by exactly one tile. A tile is computed with a *halo* around
what it owns and the halo's results are thrown away, so no pixel's result depends on the order of
tiles, and none is a mixture. Tiles and halos start on the network's 16-pixel window grid: a window
has the same content whatever tile it is computed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from camixersr.errors import ValueRangeError
from camixersr.image.panorama import Panorama

__all__ = [
    "AUTO_TILE",
    "AUTO_WHOLE",
    "ENDS",
    "GRID",
    "HALO",
    "SMALLEST",
    "Beyond",
    "Span",
    "Tile",
    "cut",
    "group",
    "halve",
    "of_owned",
    "owned",
    "plan",
]

AUTO_WHOLE = 512 * 512
"""Largest picture, in low pixels, that `tile="auto"` computes in one piece."""

AUTO_TILE = 320
"""Largest side of a tile, in low pixels, that `tile="auto"` cuts larger pictures into."""

GRID = 16
"""Owned spans and halos start at multiples of this: the window side, in low pixels."""

HALO = 48
"""Low pixels computed around a tile but not used. Measured by `tools/halo.py`: from 48 pixels on a cut
changes nothing of the embedded model's result at 8 bits (decision 0004)."""

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


def _spans(
    first: int, last: int, step: int, length: int, halo: int, beyond: tuple[bool, bool]
) -> tuple[Span, ...]:
    """Own `first` to `last` of an axis of `length` in spans of `step`, each with its halo."""
    least = -halo if beyond[0] else 0
    most = -(-length // GRID) * GRID + halo if beyond[1] else length
    return tuple(
        Span(max(least, start - halo), min(most, -(-stop // GRID) * GRID + halo), start, stop)
        for start in range(first, last, step)
        for stop in (min(last, start + step),)
    )


def plan(
    length: int, tile: int, *, halo: int = HALO, beyond: tuple[bool, bool] = (False, False)
) -> tuple[Span, ...]:
    """Cover one axis with tiles of about equal length.

    >>> [(span.start, span.own_start, span.own_stop, span.stop) for span in plan(150, 64)]
    [(0, 0, 64, 112), (16, 64, 128, 150), (80, 128, 150, 150)]

    Args:
        length: low pixels to cover.
        tile: most low pixels a tile may own, a multiple of `GRID` from `SMALLEST` up; 0 covers all
            with one.
        halo: low pixels to compute beside what is owned, a multiple of `GRID`.
        beyond: whether halos reach out before the first pixel, and after the last.

    Returns:
        Spans in order; the owned parts follow one another without gap or overlap.

    Raises:
        ValueRangeError: `tile` or `halo` is no such number.
    """
    if tile != 0 and (tile < SMALLEST or tile % GRID):
        raise ValueRangeError(f"tile must be 0 or a multiple of {GRID} from {SMALLEST} up, got {tile}")
    if halo < 0 or halo % GRID:
        raise ValueRangeError(f"halo must be a multiple of {GRID}, got {halo}")
    step = length if tile == 0 else -(-length // (-(-length // tile) * GRID)) * GRID
    return _spans(0, length, step, length, halo, beyond)


def cut(height: int, width: int, tile: int, *, halo: int = HALO, beyond: Beyond = ENDS) -> list[Tile]:
    """Cut a picture into tiles, row by row; arguments and errors as for `plan`."""
    rows = plan(height, tile, halo=halo, beyond=(beyond.top, beyond.bottom))
    columns = plan(width, tile, halo=halo, beyond=(beyond.sides, beyond.sides))
    return [Tile(row, column) for row in rows for column in columns]


def halve(tile: Tile, height: int, width: int, *, halo: int = HALO, beyond: Beyond = ENDS) -> list[Tile]:
    """Cut a tile in four (two, one) of half its sides, for a machine that it was too large for.

    Args:
        tile: of a picture.
        height: rows of the picture.
        width: columns of it.
        halo: as for `plan`.
        beyond: as for `cut`.

    Returns:
        Tiles that own what `tile` owns and compute no pixel that it does not; one alone if it
        cannot be cut smaller.
    """
    halves = [
        _spans(span.own_start, span.own_stop, -(-span.owned // (2 * GRID)) * GRID, length, halo, ends)
        for span, length, ends in (
            (tile.rows, height, (beyond.top, beyond.bottom)),
            (tile.columns, width, (beyond.sides, beyond.sides)),
        )
    ]
    return [Tile(row, column) for row in halves[0] for column in halves[1]]


def group(tiles: Sequence[Tile], most: int) -> list[tuple[int, ...]]:
    """Put tiles that compute equally many rows and columns into batches of about equal length.

    >>> group(cut(448, 64, 64), 3)  # first and last have a halo on one side only
    [(0, 6), (1, 2), (3, 4, 5)]

    Args:
        tiles: of a picture.
        most: of them in a batch, from 1.

    Returns:
        Numbers of tiles, each once. It depends on nothing else, so that a tile always has the same
        company: the last bits of its result depend on that.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for number, tile in enumerate(tiles):
        alike.setdefault((tile.rows.length, tile.columns.length), []).append(number)
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
