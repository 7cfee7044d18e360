"""Where tiles lie and how their results are blended: integers and 1-D weights, no torch.

Tiles start on the network's 16-pixel window grid, so that a window has the same content whatever
tile it is computed in. Neighbours overlap; in the overlap their results cross-fade, and the pixels
next to a tile's cut edge, which lack context, get no weight at all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ValueRangeError

__all__ = ["GRID", "GUARD", "OVERLAP", "Span", "Tile", "blend_weights", "plan"]

GRID = 16
"""Tiles start at multiples of this: the window side, in low pixels."""

OVERLAP = 32
"""Low pixels that neighbouring tiles share, at least."""

GUARD = 8
"""Low pixels beside a cut edge that are computed but not used."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in low pixels: `start` is a multiple of `GRID`."""

    start: int
    length: int

    @property
    def stop(self) -> int:
        """First pixel after the tile."""
        return self.start + self.length


@dataclass(frozen=True)
class Tile:
    """A tile: rows and columns of the low image."""

    rows: Span
    columns: Span


def plan(length: int, tile: int) -> tuple[Span, ...]:
    """Cover one axis with tiles.

    >>> [(span.start, span.stop) for span in plan(150, 64)]
    [(0, 64), (32, 96), (64, 128), (96, 150)]

    Args:
        length: low pixels to cover.
        tile: low pixels a tile, a multiple of `GRID` above `OVERLAP`; 0 covers all with one.

    Returns:
        Spans in order; neighbours share at least `OVERLAP` pixels, every pixel is in one or two.

    Raises:
        ValueRangeError: `tile` is no such number.
    """
    if tile == 0 or length <= tile:
        return (Span(0, length),)
    if tile < 0 or tile % GRID or tile < 2 * OVERLAP:
        raise ValueRangeError(f"tile must be 0 or a multiple of {GRID} from {2 * OVERLAP} up, got {tile}")
    step = tile - OVERLAP
    starts = list(range(0, length - tile, step))
    last = -(-(length - tile) // GRID) * GRID  # on the grid, and reaching the end
    starts.append(last)
    return tuple(Span(start, min(tile, length - start)) for start in starts)


def blend_weights(spans: tuple[Span, ...], scale: int) -> list[NDArray[np.float32]]:
    """How much each tile counts at each of its high pixels, along one axis.

    Args:
        spans: from `plan`.
        scale: high pixels a low pixel.

    Returns:
        For each span an array of scale * length weights in [0, 1]; over all spans they sum to one
        at every pixel.
    """
    stop = max(span.stop for span in spans)
    raw: list[NDArray[np.float64]] = []
    total = np.zeros(stop * scale)
    for span in spans:
        place = np.arange(span.length * scale) + 0.5
        nowhere = np.full_like(place, np.inf)  # the image's own border is no cut
        before = place if span.start > 0 else nowhere
        after = span.length * scale - place if span.stop < stop else nowhere
        ramp = (OVERLAP - 2 * GUARD) * scale
        weight = np.clip((np.minimum(before, after) - GUARD * scale) / ramp, 0.0, 1.0)
        raw.append(weight)
        total[span.start * scale : span.stop * scale] += weight
    return [
        (weight / total[span.start * scale : span.stop * scale]).astype(np.float32)
        for span, weight in zip(spans, raw, strict=True)
    ]
