"""PSNR in the super-resolution convention.

Both pictures are 8-bit, luma is ITU-R BT.601 as MATLAB's `rgb2ycbcr` has it (16 to 235), and a
border of some pixels is cropped because networks differ there for want of context.
"""

import math

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ShapeError, ValueRangeError

__all__ = ["luma", "psnr"]


def luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """BT.601 luma as MATLAB's `rgb2ycbcr` computes it, but not rounded.

    Args:
        image: H x W x 3, uint8 RGB.

    Returns:
        H x W in [16, 235].

    Raises:
        ShapeError: not an 8-bit RGB image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ShapeError(f"expected H x W x 3 uint8, got {image.shape} {image.dtype}")
    return 16.0 + image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255.0


def psnr(image: NDArray[np.generic], reference: NDArray[np.generic], *, border: int = 0) -> float:
    """Peak signal-to-noise ratio for a peak of 255, in dB.

    Args:
        image: H x W or H x W x C, values in [0, 255].
        reference: the original, of the same shape.
        border: pixels left out at every side; the scale, by convention.

    Returns:
        dB; infinity for equal pictures.

    Raises:
        ShapeError: the shapes differ.
        ValueRangeError: the border leaves nothing.
    """
    if image.shape != reference.shape:
        raise ShapeError(f"expected two pictures of one shape, got {image.shape} and {reference.shape}")
    if border < 0 or min(image.shape[:2]) <= 2 * border:
        raise ValueRangeError(f"a border of {border} leaves nothing of {image.shape[:2]}")
    inner = slice(border, -border or None)
    difference = image[inner, inner].astype(np.float64) - reference[inner, inner].astype(np.float64)
    error = float(np.mean(np.square(difference)))
    return math.inf if error == 0.0 else 10.0 * math.log10(255.0**2 / error)
