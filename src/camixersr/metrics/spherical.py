"""PSNR and SSIM of equirectangular panoramas, weighted by the area a pixel covers on the sphere.

A row's weight is the cosine of its latitude: at the poles a whole row is one point.

Source: Sun et al., "Weighted-to-spherically-uniform quality evaluation for omnidirectional video",
IEEE Signal Processing Letters 2017.
"""

import math

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ShapeError
from camixersr.metrics.fidelity import decibels, ssim_map

__all__ = ["latitude_weights", "seam", "ws_psnr", "ws_ssim"]


def latitude_weights(height: int) -> NDArray[np.float64]:
    """Cosine of the latitude of each row's centre.

    >>> latitude_weights(2).round(4).tolist()
    [0.7071, 0.7071]

    Args:
        height: rows of the panorama, pole to pole.

    Returns:
        `height` weights in (0, 1].
    """
    return np.cos((np.arange(height) + 0.5 - height / 2.0) * math.pi / height)


def _weighted_mean(values: NDArray[np.float64], rows: NDArray[np.float64]) -> float:
    weights = rows.reshape(-1, *(1,) * (values.ndim - 1))
    return float((values * weights).sum() / (np.broadcast_to(weights, values.shape)).sum())


def ws_psnr(image: NDArray[np.generic], reference: NDArray[np.generic]) -> float:
    """Weighted-to-spherically-uniform PSNR for a peak of 255.

    Args:
        image: H x W or H x W x C, a whole equirectangular panorama, values in [0, 255].
        reference: the original, of the same shape.

    Returns:
        dB; infinity for equal pictures.

    Raises:
        ShapeError: the shapes differ.
    """
    one, two = _same_shape(image, reference)
    return decibels(_weighted_mean(np.square(one - two), latitude_weights(len(one))))


def ws_ssim(image: NDArray[np.generic], reference: NDArray[np.generic]) -> float:
    """Weighted-to-spherically-uniform SSIM: each position weighted by its window's middle row.

    Args:
        image: H x W or H x W x C, a whole equirectangular panorama, values in [0, 255].
        reference: the original, of the same shape.

    Returns:
        At most 1.

    Raises:
        ShapeError: the shapes differ.
        ValueRangeError: the picture is smaller than a window of 11 x 11.
    """
    one, two = _same_shape(image, reference)
    similarity = ssim_map(one, two)
    lost = (len(one) - len(similarity)) // 2
    return _weighted_mean(similarity, latitude_weights(len(one))[lost : len(one) - lost])


def seam(image: NDArray[np.generic], columns: int = 8) -> NDArray[np.generic]:
    """The columns on both sides of where a panorama closes, side by side, to be scored on their own.

    Args:
        image: H x W or H x W x C.
        columns: on each side, at most W / 2.

    Returns:
        H x 2 columns (x C), the seam in the middle.
    """
    return np.concatenate((image[:, -columns:], image[:, :columns]), axis=1)


def _same_shape(
    image: NDArray[np.generic], reference: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if image.shape != reference.shape:
        raise ShapeError(f"expected two panoramas of one shape, got {image.shape} and {reference.shape}")
    return image.astype(np.float64), reference.astype(np.float64)
