"""Reducing a panorama as cameras do: through two fisheye pictures.

A 360-degree camera has few pixels in its fisheye pictures, not in the equirectangular one that is made
of them. So the panorama is drawn as two fisheye pictures, those are reduced, and the small panorama is
made of the small ones. Near the poles, where an equirectangular row is one point many times over, this
blurs by the sphere's measure, where plain reduction keeps columns that no camera has seen.

Source: Yu et al., "OSRT: Omnidirectional image super-resolution with distortion-aware Transformer", CVPR
2023, and its published code for the numbers: equidistant fisheyes that look up and down, of 225 degrees
so that their edges meet, 1.5 times as many pixels over 180 degrees as the panorama has rows, bilinear
drawing, bicubic reduction. Differs: drawing wraps around the sphere, where theirs leaves a dark line at
the seam, and the reduction is MATLAB's as everywhere here.
"""

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.image.resize import resize
from camixersr.image.viewport import sample_sphere

__all__ = ["reduce_through_fisheyes"]

APERTURE = 1.25
"""Of a fisheye picture, times 180 degrees."""

DENSITY = 1.5
"""Pixels over 180 degrees of a fisheye picture, in rows of the panorama."""


def reduce_through_fisheyes(panorama: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Reduce a whole panorama.

    Args:
        panorama: sH x sW x C, a whole equirectangular panorama, both sides multiples of `scale`.
        scale: high pixels a low pixel, a side.

    Returns:
        H x W x C.

    Raises:
        ShapeError: no panorama H x W x C twice as wide as high.
        ValueRangeError: a side is no multiple of the scale.
    """
    if panorama.ndim != 3 or panorama.shape[1] != 2 * panorama.shape[0]:
        raise ShapeError(f"expected a panorama H x 2H x C, got shape {panorama.shape}")
    if scale < 1 or panorama.shape[0] % scale:
        raise ValueRangeError(
            f"expected rows that are a multiple of the scale {scale}, got {panorama.shape[0]}"
        )
    height, width = (length // scale for length in panorama.shape[:2])
    side = round(DENSITY * APERTURE * height)
    longitude = ((np.arange(width) + 0.5) / width * 2.0 - 1.0) * np.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    result = np.empty((height, width, panorama.shape[2]), np.uint8)
    for up, rows in ((1.0, latitude >= 0.0), (-1.0, latitude < 0.0)):
        picture = resize(_draw(panorama, side * scale, up), height=side, width=side)
        angle = np.pi / 2.0 - up * latitude[rows][:, None]  # from where the fisheye looks
        radius = angle / (np.pi / 2.0 * APERTURE) * side / 2.0
        column = side / 2.0 - 0.5 + radius * np.sin(longitude)
        row = side / 2.0 - 0.5 + radius * np.cos(longitude)
        result[rows] = _round(_bilinear(picture, row, column))
    return result


def _draw(panorama: NDArray[np.uint8], side: int, up: float) -> NDArray[np.uint8]:
    """The fisheye picture, side x side x C, that looks up (1) or down (-1)."""
    across = ((np.arange(side) + 0.5) / side * 2.0 - 1.0) * APERTURE * np.pi / 2.0
    column, row = np.meshgrid(across, across)
    angle = np.hypot(column, row)
    return _round(sample_sphere(panorama, np.arctan2(column, row), up * (np.pi / 2.0 - angle)))


def _bilinear(
    picture: NDArray[np.uint8], row: NDArray[np.float64], column: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Read a flat picture at places that are all inside of it."""
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    down, right = (row - top)[..., None], (column - left)[..., None]
    above = picture[top, left] * (1.0 - right) + picture[top, left + 1] * right
    below = picture[top + 1, left] * (1.0 - right) + picture[top + 1, left + 1] * right
    return above * (1.0 - down) + below * down


def _round(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)
