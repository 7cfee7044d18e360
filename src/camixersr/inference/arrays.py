"""What people hold pictures in (numpy, PIL, torch), to planes in [0, 1], and back to the same kind."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.errors import ShapeError, ValueRangeError

__all__ = ["Planes", "from_array", "planes_of", "restore", "to_array"]


@dataclass(frozen=True)
class Planes:
    """A picture taken apart.

    Attributes:
        colour: 3 x H x W float32 RGB, nominally in [0, 1].
        grey: the picture had one channel, and shall have one again.
        alpha: H x W x 1 numpy array as it came, or None.
    """

    colour: Tensor
    grey: bool
    alpha: NDArray[Any] | None


def from_array(array: NDArray[Any]) -> Tensor:
    """Pixels to a tensor.

    Args:
        array: H x W x C; uint8, uint16, or floating point in [0, 1].

    Returns:
        C x H x W float32 in [0, 1].

    Raises:
        ShapeError: another dtype.
        ValueRangeError: floating point with NaN or infinity.
    """
    planes = np.ascontiguousarray(array.transpose(2, 0, 1))
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return torch.from_numpy(planes.astype(np.float32) / np.float32(np.iinfo(array.dtype).max))
    if array.dtype.kind != "f":
        raise ShapeError(f"expected uint8, uint16 or floating-point pixels, got {array.dtype}")
    if not np.isfinite(planes).all():
        raise ValueRangeError("expected finite pixels in [0, 1], got NaN or infinity")
    return torch.from_numpy(planes.astype(np.float32))


def to_array(planes: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A tensor to pixels; the other way of `from_array`.

    Args:
        planes: C x H x W in [0, 1].
        dtype: of the result; integers are rounded, and everything is clipped to the range.

    Returns:
        H x W x C.
    """
    image = planes.clamp(0.0, 1.0)
    if dtype.kind == "u":  # in place: these are the largest arrays there are
        image = image.mul_(float(np.iinfo(dtype).max)).add_(0.5).floor_()
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0), dtype=dtype)


def planes_of(array: NDArray[Any]) -> Planes:
    """Take a numpy picture apart.

    Args:
        array: H x W, or H x W x C with C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).

    Returns:
        Its planes.

    Raises:
        ShapeError: another shape or dtype, or no pixels.
        ValueRangeError: NaN or infinity.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or array.size == 0:
        raise ShapeError(
            f"expected a picture H x W or H x W x 1, 2, 3 or 4 channels last, got shape {array.shape}"
        )
    alpha = array[:, :, -1:] if array.shape[2] in (2, 4) else None
    grey = array.shape[2] < 3
    colour = from_array(array[:, :, :1] if grey else array[:, :, :3])
    return Planes(colour.expand(3, -1, -1), grey, alpha)


def restore(high: Tensor, planes: Planes, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Put the colours of an enlarged picture together.

    Args:
        high: 3 x sH x sW.
        planes: of the low picture.
        dtype: of the result.

    Returns:
        sH x sW x 3, or x 1 if the low picture was grey.
    """
    return to_array(high.mean(dim=0, keepdim=True) if planes.grey else high, dtype)
