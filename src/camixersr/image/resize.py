"""Bicubic resizing as MATLAB's `imresize` does it, the degradation that super-resolution is measured by.

Cubic convolution with a = -0.5 (Keys, 1981), widened by the factor when it reduces (antialiasing),
pixel centres aligned, border mirrored with the edge pixel repeated. 8-bit and 16-bit images are
rounded (halves away from zero) after each of the two passes, rows first, as MATLAB does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ShapeError, ValueRangeError

__all__ = ["contributions", "cubic", "resize", "resize_matrix"]

_BLOCK = 32  # target rows a matrix product


def cubic(x: NDArray[Any]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5; zero beyond +-2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))


def contributions(length: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which source pixels make each target pixel along one axis, and how much.

    Args:
        length: source pixels.
        target: target pixels; the factor is target / length.

    Returns:
        Indices into the source, target x P, and weights, target x P, each row summing to one.

    Raises:
        ValueRangeError: a length is not positive.
    """
    if length < 1 or target < 1:
        raise ValueRangeError(f"expected lengths of at least 1 pixel, got {length} -> {target}")
    factor = target / length
    squeeze = min(factor, 1.0)  # below 1 the kernel widens: antialiasing
    width = 4.0 / squeeze
    centre = (np.arange(target) + 0.5) / factor - 0.5
    first = np.floor(centre - width / 2.0).astype(np.int64)
    index = first[:, None] + np.arange(int(np.ceil(width)) + 2)
    weights = squeeze * cubic(squeeze * (centre[:, None] - index))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = index % (2 * length)
    mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    used = np.any(weights != 0.0, axis=0)
    return mirrored[:, used], weights[:, used]


def resize_matrix(length: int, target: int) -> NDArray[np.float64]:
    """`contributions` as a dense matrix, target x length, for those who multiply.

    >>> resize_matrix(8, 2).sum(axis=1).tolist()
    [1.0, 1.0]
    """
    index, weights = contributions(length, target)
    matrix = np.zeros((target, length))
    np.add.at(matrix, (np.arange(target)[:, None], index), weights)
    return matrix


def _along_rows(image: NDArray[Any], target: int) -> NDArray[Any]:
    """Resize the first axis of a contiguous array.

    Rows are made in blocks, each a small dense matrix times the source rows it needs: far more
    multiplications than the kernel has taps, but in a matrix product, which is many times faster
    than gathering rows tap by tap.
    """
    index, weights = contributions(image.shape[0], target)
    flat = image.reshape(image.shape[0], -1)
    result = np.empty((target, flat.shape[1]), dtype=image.dtype)
    for start in range(0, target, _BLOCK):
        rows = slice(start, min(start + _BLOCK, target))
        first, last = index[rows].min(), index[rows].max() + 1
        matrix = np.zeros((rows.stop - start, last - first), dtype=image.dtype)
        np.add.at(matrix, (np.arange(len(matrix))[:, None], index[rows] - first), weights[rows])
        np.matmul(matrix, flat[first:last], out=result[rows])
    return result.reshape(target, *image.shape[1:])


def resize(image: NDArray[Any], *, height: int, width: int) -> NDArray[Any]:
    """Resize a picture.

    Args:
        image: H x W or H x W x C; uint8, uint16, float32 or float64 (no range assumed).
        height: rows of the result.
        width: columns of the result.

    Returns:
        `height` x `width` (x C), of the same dtype; integers rounded and clipped to their range.

    Raises:
        ShapeError: neither H x W nor H x W x C.
        ValueRangeError: a side is not positive.
    """
    if image.ndim not in (2, 3):
        raise ShapeError(f"expected an image H x W or H x W x C, got shape {image.shape}")
    depth = image.dtype
    work = image.astype(np.float64 if depth == np.float64 else np.float32)
    for target in (height, width):  # rows first; the transpose makes columns rows
        work = _along_rows(np.ascontiguousarray(work), target)
        if depth.kind == "u":
            work += 0.5
            np.floor(work, out=work)
            np.clip(work, 0, np.iinfo(depth).max, out=work)
        work = work.swapaxes(0, 1)
    return np.ascontiguousarray(work.astype(depth))
