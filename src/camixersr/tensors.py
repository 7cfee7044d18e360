"""`camixersr.image.planes` for those who hold tensors: pixels to a tensor and back."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.image.planes import Form

__all__ = ["channels_first", "from_array", "to_array"]


def channels_first(array: NDArray[Any]) -> Tensor:
    """Numbers as they are, such as the bytes of a patch: H x W x C to C x H x W."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def from_array(array: NDArray[Any]) -> Tensor:
    """Pixels to a tensor.

    Args:
        array: H x W x 1 (grey) or 3 (RGB), as for `Form.of`.

    Returns:
        3 x H x W float32 in [0, 1].

    Raises:
        ShapeError: as for `Form.of`.
        ValueRangeError: likewise.
    """
    return torch.from_numpy(Form.of(array).planes(array))


def to_array(planes: Tensor | NDArray[np.float32]) -> NDArray[np.uint8]:
    """Planes to pixels in 8 bits, rounded and clipped.

    Args:
        planes: 3 x H x W, a tensor or an array, nominally in [0, 1].

    Returns:
        H x W x 3.
    """
    return Form(np.dtype(np.uint8), grey=False).pixels(np.asarray(planes))
