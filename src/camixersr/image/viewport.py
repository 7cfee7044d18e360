"""Flat views of an equirectangular panorama, as a viewer shows them.

A view looks from the middle of the sphere through a plane (rectilinear projection): straight edges
stay straight, and a seam or a smeared pole shows as it does to a person.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import OutputError, ValueRangeError
from camixersr.image.decode import read
from camixersr.image.encode import write
from camixersr.image.files import make_folder, shown
from camixersr.image.panorama import Panorama
from camixersr.image.picture import Picture, in_8_bits

__all__ = ["VIEWS", "sample_sphere", "viewport", "write_views"]

VIEWS = {
    "front": (0.0, 0.0),
    "right": (90.0, 0.0),
    "back": (180.0, 0.0),
    "left": (-90.0, 0.0),
    "up": (0.0, 90.0),
    "down": (0.0, -90.0),
}
"""Yaw and pitch of the six views, in degrees; the seam runs through the middle of "back"."""


def viewport(
    panorama: NDArray[np.uint8], yaw: float, pitch: float, *, degrees: float = 90.0, side: int = 512
) -> NDArray[np.uint8]:
    """Look at a panorama in one direction.

    Args:
        panorama: H x W x C, a whole equirectangular panorama; its middle column is in front.
        yaw: to the right, in degrees.
        pitch: upwards, in degrees.
        degrees: how much the view takes in, from its left edge to its right one, below 180.
        side: rows and columns of the view.

    Returns:
        side x side x C, bilinear, wrapped around the sphere.

    Raises:
        ValueRangeError: the view is empty, or half of the sphere or more.
    """
    if not 0.0 < degrees < 180.0 or side < 1:
        raise ValueRangeError(f"expected a view of less than 180 degrees, got {degrees:g}, side {side}")
    reach = np.tan(np.radians(degrees) / 2.0)
    across = ((np.arange(side) + 0.5) / side * 2.0 - 1.0) * reach
    right, up = np.meshgrid(across, -across)
    tilt, turn = np.radians(pitch), np.radians(yaw)
    forward = np.cos(tilt) - up * np.sin(tilt)  # after tilting the view up
    up = np.sin(tilt) + up * np.cos(tilt)
    longitude = np.arctan2(right, forward) + turn
    latitude = np.arctan2(up, np.hypot(right, forward))
    seen = sample_sphere(panorama, longitude, latitude)
    return np.floor(seen + 0.5).clip(0, 255).astype(np.uint8)


def sample_sphere(
    panorama: NDArray[np.uint8], longitude: NDArray[np.float64], latitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Read a panorama bilinearly, around its seam and across its poles.

    Args:
        panorama: H x W x C, whole and equirectangular.
        longitude: eastwards of the middle column, in radians.
        latitude: northwards, in radians, from -pi / 2 to pi / 2; of the longitude's shape.

    Returns:
        That shape x C.
    """
    height, width = panorama.shape[:2]
    column = (longitude / (2.0 * np.pi) + 0.5) * width - 0.5
    row = (0.5 - latitude / np.pi) * height - 0.5
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    beside, below = (column - left)[..., None], (row - top)[..., None]
    result = np.zeros((*longitude.shape, panorama.shape[2]))
    for down, vertical in ((0, 1.0 - below), (1, below)):
        for over, horizontal in ((0, 1.0 - beside), (1, beside)):
            y, x = top + down, left + over
            beyond = (y < 0) | (y >= height)  # across a pole: the same rows, half a turn away
            y = np.where(y < 0, -1 - y, np.where(y >= height, 2 * height - 1 - y, y))
            x = (x + np.where(beyond, width // 2, 0)) % width
            result += vertical * horizontal * panorama[y, x]
    return result


def write_views(
    panoramas: Sequence[Path], folder: Path, *, degrees: float, side: int, overwrite: bool = False
) -> list[Path]:
    """Write the six views of panoramas of one place, side by side.

    Args:
        panoramas: files, from left to right.
        folder: for front.png and so on; made if it is missing.
        degrees: as for `viewport`.
        side: as for `viewport`.
        overwrite: replace views that exist.

    Returns:
        The pictures.

    Raises:
        ImageError: a file cannot be decoded, or is no panorama.
        OutputError: a view exists, or cannot be written.
    """
    pictures = [_in_8_bits(path) for path in panoramas]
    targets = {name: folder / f"{name}.png" for name in VIEWS}
    there = next((path for path in targets.values() if path.exists()), None)
    if there is not None and not overwrite:
        raise OutputError(f"{shown(there)}: exists already; add --overwrite to replace it")
    make_folder(folder)
    for name, (yaw, pitch) in VIEWS.items():
        views = [viewport(each, yaw, pitch, degrees=degrees, side=side) for each in pictures]
        write(targets[name], Picture(np.concatenate(views, axis=1)))
    return list(targets.values())


def _in_8_bits(path: Path) -> NDArray[np.uint8]:
    """A panorama's pixels, H x W x 3."""
    pixels = read(path, color="srgb").pixels
    Panorama.whole(*pixels.shape[:2])  # complains of another shape
    return in_8_bits(pixels)
