"""The cells of a panorama as a tile sees them, whose halo goes around the sphere.

A panorama's sides need be no multiple of a cell's: then the last cells down and across are smaller.
Beyond an edge of the picture lie the same cells again that it has at the other edge, and beyond a
pole those across, upside down and half a turn away. A cell is the same pixels wherever a tile sees
it, in what it owns or in its halo.
"""

from itertools import groupby

from camixersr.backends.pools import PoolPanorama
from camixersr.image.panorama import Panorama
from camixersr.inference.tiles import Tile
from camixersr.models.pools import PoolCells
from camixersr.nn.pool import Pool

__all__ = ["pool_panorama"]


def _is_even(lengths: tuple[int, ...], side: int) -> bool:
    """Whether all are `side`, but for smaller ones at the ends."""
    return max(lengths) <= side and set(lengths[1:-1]) <= {side}


def _runs(labels: list[tuple[int, int]]) -> tuple[int, ...]:
    """How long each run of equal labels is."""
    return tuple(len(list(run)) for _, run in groupby(labels))


def pool_panorama(tile: Tile, panorama: Panorama, side: int) -> Pool:
    """What channel attention knows while a tile of a panorama is computed.

    Args:
        tile: of the panorama.
        panorama: what the picture shows.
        side: of the cells, in low pixels.

    Returns:
        A pool over the cells that the panorama has from its first pixel on; a flat picture's where
        the tile sees no smaller ones but first and last.
    """
    rows: list[tuple[int, int]] = []
    for row in range(tile.rows.start, tile.rows.stop):
        turn, inside = divmod(row, panorama.height)
        rows.append((turn, (panorama.height - 1 - inside if turn % 2 else inside) // side))

    def columns(mirrored: bool) -> tuple[int, ...]:
        aside = panorama.width // 2 if mirrored else 0
        places = (divmod(x + aside, panorama.width) for x in range(tile.columns.start, tile.columns.stop))
        return _runs([(turn, inside // side) for turn, inside in places])

    patterns = columns(False), columns(True)
    heights = _runs(rows)
    widths = tuple(patterns[turn % 2] for (turn, _), _ in groupby(rows))
    if len(set(widths)) == 1 and all(_is_even(lengths, side) for lengths in (heights, widths[0])):
        above, left = (side - lengths[0] if len(lengths) > 1 else 0 for lengths in (heights, widths[0]))
        return PoolCells(side, (above, left))
    return PoolPanorama(heights, widths)
