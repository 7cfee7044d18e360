"""Transparency: give colour to what is invisible, so that no edge draws a fringe.

A pixel with alpha 0 has a colour that nobody sees, usually black or white. Any filter, and a
network more than most, would mix it into its visible neighbours. Here it is replaced by the colour
of visible pixels nearby.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALO", "bleed", "keep_extremes", "visible"]

RINGS = 8
"""Rings of pixels around what is visible that take the mean colour of their visible neighbours."""

LEVELS = 6
"""Beyond the rings, blocks of 2, 4 ... 2**LEVELS pixels take their mean visible colour."""

HALO = 2**LEVELS
"""Pixels around a part of a picture from which `bleed` takes colours; parts are cut on its multiples."""


def _neighbours(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum of the 3 x 3 pixels around each, H x W x C."""
    padded: NDArray[Any] = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total: NDArray[np.float32] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return total


def visible(pixels: NDArray[Any], alpha: NDArray[Any]) -> tuple[NDArray[np.float64], int]:
    """What can be seen of a picture, or of a part of it, summed up.

    Args:
        pixels: as for `bleed`.
        alpha: likewise.

    Returns:
        The sum of the visible colours, C (exact for integers, so that parts add up), and their number.
    """
    shown = pixels[alpha != 0]
    return shown.sum(axis=0, dtype=np.float64), len(shown)


def bleed(
    pixels: NDArray[Any], alpha: NDArray[Any], far: NDArray[np.float64] | None = None
) -> NDArray[Any]:
    """Colour what is fully transparent as its visible surroundings; the rest is left as it is.

    Args:
        pixels: H x W x C, straight (not premultiplied) colour, any dtype.
        alpha: H x W; 0 is invisible.
        far: C, the colour of what is far from everything visible; by default the mean of what is visible.
            A part of a picture, with `HALO` pixels around it, needs that of the whole.

    Returns:
        H x W x C of the same dtype; `pixels` itself where nothing is, or all is, invisible.
    """
    hidden = alpha == 0
    if not hidden.any() or (far is None and hidden.all()):
        return pixels
    if far is None:
        total, count = visible(pixels, alpha)
        far = total / count
    colour = np.where(hidden[:, :, None], 0, pixels).astype(np.float32)
    known = ~hidden
    for _ in range(RINGS):
        if known.all():
            break
        weight = _neighbours(known[:, :, None].astype(np.float32))
        new = ~known & (weight[:, :, 0] > 0)
        # only rows and columns around the new ring would be enough; this is simpler, and whole
        colour[new] = _neighbours(colour)[new] / weight[new]
        known |= new
    if not known.all():
        _fill_blocks(colour, known, far.astype(np.float32))
    if pixels.dtype.kind == "u":
        colour = np.floor(colour + np.float32(0.5))
    result = pixels.copy()
    result[hidden] = colour[hidden].astype(pixels.dtype)
    return result


def _fill_blocks(colour: NDArray[np.float32], known: NDArray[np.bool_], far: NDArray[np.float32]) -> None:
    """Fill unknown pixels with the mean of the smallest aligned block that has a known one, or as `far`."""
    height, width, channels = colour.shape
    side = HALO
    padded = ((0, -height % side), (0, -width % side))
    total = np.pad(colour * known[:, :, None], (*padded, (0, 0)))
    weight = np.pad(known.astype(np.float32), padded)[:, :, None]
    missing = ~known
    for level in range(1, LEVELS + 1):
        total = total.reshape(total.shape[0] // 2, 2, -1, 2, channels).sum(axis=(1, 3))
        weight = weight.reshape(weight.shape[0] // 2, 2, -1, 2, 1).sum(axis=(1, 3))
        rows, columns = np.nonzero(missing)
        at = (rows >> level, columns >> level)
        found = weight[at][:, 0] > 0
        rows, columns, at = rows[found], columns[found], (at[0][found], at[1][found])
        colour[rows, columns] = total[at] / weight[at]
        missing[rows, columns] = False
    colour[missing] = far


def keep_extremes(high: NDArray[np.float32], low: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """Where all of a low pixel's neighbourhood is transparent, or all opaque, keep it so exactly.

    Args:
        high: sH x sW alpha in [0, 1], enlarged.
        low: H x W alpha in [0, 1].
        scale: s.

    Returns:
        sH x sW.
    """
    padded = np.pad(low, 1, mode="edge")
    rows = (padded[:-2], padded[1:-1], padded[2:])
    least, most = np.minimum.reduce(rows), np.maximum.reduce(rows)
    least = np.minimum.reduce((least[:, :-2], least[:, 1:-1], least[:, 2:]))
    most = np.maximum.reduce((most[:, :-2], most[:, 1:-1], most[:, 2:]))
    same = np.where(most == 0, 0.0, np.where(least == 1, 1.0, np.nan)).astype(np.float32)
    same = same.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.where(np.isnan(same), high, same)
