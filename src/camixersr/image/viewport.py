"""Flat views of an equirectangular panorama, as a viewer shows them.

A view looks from the middle of the sphere through a plane (rectilinear projection): straight edges
stay straight, and a seam or a smeared pole shows as it does to a person.
"""

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ValueRangeError

__all__ = ["VIEWS", "sample_sphere", "viewport"]

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
