"""PSNR and SSIM in the super-resolution convention.

Both pictures are 8-bit, luma is ITU-R BT.601 as MATLAB's `rgb2ycbcr` has it (16 to 235), and a
border of some pixels is cropped because networks differ there for want of context.
"""

import math

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ShapeError, ValueRangeError

__all__ = ["decibels", "luma", "psnr", "psnr_b", "ssim", "ssim_map"]

_RADIUS = 5  # of the SSIM window: 11 x 11 pixels
_SIGMA = 1.5  # of its Gaussian, pixels


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


def decibels(error: float, *, data_range: float = 255.0) -> float:
    """Peak signal-to-noise ratio of a mean square error.

    >>> round(decibels(0.01, data_range=1.0), 6), decibels(0.0)
    (20.0, inf)

    Args:
        error: mean square, in the pixels' units.
        data_range: the largest value less the smallest one.

    Returns:
        dB; infinity where there is no error.
    """
    return math.inf if error == 0.0 else 10.0 * math.log10(data_range**2 / error)


def psnr(
    image: NDArray[np.generic],
    reference: NDArray[np.generic],
    *,
    border: int = 0,
    data_range: float = 255.0,
) -> float:
    """Peak signal-to-noise ratio, in dB.

    Args:
        image: H x W or H x W x C, values in [0, `data_range`].
        reference: the original, of the same shape.
        border: pixels left out at every side; the scale, by convention.
        data_range: the largest value less the smallest one.

    Returns:
        dB; infinity for equal pictures.

    Raises:
        ShapeError: the shapes differ.
        ValueRangeError: the border leaves nothing.
    """
    one, two = _inner(image, reference, border)
    return decibels(float(np.mean(np.square(one - two))), data_range=data_range)


def psnr_b(image: NDArray[np.generic], reference: NDArray[np.generic], *, block: int = 8) -> float:
    """PSNR that also counts blocking: steps that are larger across the borders of blocks than inside.

    Args:
        image: H x W, values in [0, 255]; its blocks begin at the top left.
        reference: the original, of the same shape; at least two blocks a side.
        block: side of a block, pixels.

    Returns:
        dB; at most `psnr`.

    Raises:
        ShapeError: the shapes differ, or they are no single channel.
        ValueRangeError: the picture is smaller than two blocks.

    Source: Yim and Bovik, "Quality assessment of deblocked images", IEEE TIP 2011.
    """
    one, two = _inner(image, reference, 0)
    if one.ndim != 2:
        raise ShapeError(f"expected one channel, H x W, got {one.shape}")
    if min(one.shape) < 2 * block:
        raise ValueRangeError(f"PSNR-B needs at least two blocks of {block} a side, got {one.shape}")
    steps = [np.square(np.diff(one, axis=axis)).sum(axis=1 - axis) for axis in (0, 1)]
    counts = [one.shape[1 - axis] for axis in (0, 1)]
    at = [np.arange(1, len(line) + 1) % block == 0 for line in steps]
    across = sum(float(line[where].sum()) for line, where in zip(steps, at, strict=True))
    across /= sum(int(where.sum()) * count for where, count in zip(at, counts, strict=True))
    inside = sum(float(line[~where].sum()) for line, where in zip(steps, at, strict=True))
    inside /= sum(int((~where).sum()) * count for where, count in zip(at, counts, strict=True))
    weight = math.log2(block) / math.log2(min(one.shape)) if across > inside else 0.0
    error = float(np.mean(np.square(one - two))) + weight * (across - inside)
    return decibels(error)


def ssim(image: NDArray[np.generic], reference: NDArray[np.generic], *, border: int = 0) -> float:
    """Structural similarity for a peak of 255.

    Window 11 x 11, Gaussian of sigma 1.5, weighted (biased) moments, K1 = 0.01, K2 = 0.03, mean over
    the positions where the window lies wholly inside the picture, and over channels.

    Args:
        image: H x W or H x W x C, values in [0, 255].
        reference: the original, of the same shape.
        border: pixels left out at every side; the scale, by convention.

    Returns:
        At most 1, which equal pictures have.

    Raises:
        ShapeError: the shapes differ.
        ValueRangeError: the border leaves less than a window.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity",
        IEEE TIP 2004.
    """
    one, two = _inner(image, reference, border)
    return float(ssim_map(one, two).mean())


def ssim_map(image: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """SSIM at every position where the window fits, see `ssim`.

    Args:
        image: H x W or H x W x C in [0, 255].
        reference: likewise.

    Returns:
        (H - 10) x (W - 10) (x C).

    Raises:
        ValueRangeError: the picture is smaller than a window.
    """
    if min(image.shape[:2]) < 2 * _RADIUS + 1:
        raise ValueRangeError(f"SSIM needs at least 11 x 11 pixels, got {image.shape[:2]}")
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    mean, other = _blur(image), _blur(reference)
    variance = _blur(image * image) - mean * mean
    other_variance = _blur(reference * reference) - other * other
    covariance = _blur(image * reference) - mean * other
    above = (2.0 * mean * other + c1) * (2.0 * covariance + c2)
    return above / ((mean**2 + other**2 + c1) * (variance + other_variance + c2))


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian mean over 11 x 11 pixels, valid region only."""
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        length = image.shape[axis] - 2 * _RADIUS
        image = sum(
            (
                weight * image.take(range(tap, tap + length), axis=axis)
                for tap, weight in enumerate(weights)
            ),
            start=np.zeros(()),
        )
    return image


def _inner(
    image: NDArray[np.generic], reference: NDArray[np.generic], border: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both pictures without their border, as float64."""
    if image.shape != reference.shape:
        raise ShapeError(f"expected two pictures of one shape, got {image.shape} and {reference.shape}")
    if border < 0 or min(image.shape[:2]) <= 2 * border:
        raise ValueRangeError(f"a border of {border} leaves nothing of {image.shape[:2]}")
    inner = slice(border, -border or None)
    return image[inner, inner].astype(np.float64), reference[inner, inner].astype(np.float64)
