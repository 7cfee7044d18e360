"""Pixels to the planes that a network computes with, and back: the only place where that is done.

A network sees RGB in [0, 1] and nothing else. Depth, greyscale, transparency and values beyond [0, 1]
are dealt with here, whole pictures and parts of them alike, so that a picture comes back as it was,
only larger. Where pixels come from and go to is nobody's business here: arrays in, arrays out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.image.alpha import bleed, keep_extremes
from camixersr.image.dynamic_range import Curve
from camixersr.image.resize import resize

__all__ = ["Form", "Planes", "enlarge_alpha", "join", "split"]

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Form:
    """How a picture stores its values, and its parts with it.

    >>> form = Form.of(np.full((2, 2, 1), 51, np.uint8))
    >>> float(form.planes(np.full((2, 2, 1), 51, np.uint8))[2, 0, 0])
    0.20000000298023224

    Attributes:
        dtype: uint8, uint16 or floating point.
        grey: one channel instead of three.
        curve: of floating point, what brings its values into [0, 1].
    """

    dtype: np.dtype[Any]
    grey: bool
    curve: Curve = Curve()  # noqa: RUF009  frozen

    @classmethod
    def of(cls, pixels: NDArray[Any]) -> "Form":
        """The form of a whole picture.

        Args:
            pixels: H x W x C, C = 1 (grey) or 3 (RGB); uint8, uint16, or floating point of any range.

        Raises:
            ShapeError: another dtype, another shape, or no pixels.
            ValueRangeError: floating point with NaN, infinity, or more than float32 holds.
        """
        dtype = pixels.dtype
        if dtype.kind not in "uf" or (dtype.kind == "u" and dtype.itemsize > 2):
            raise ShapeError(
                f"expected uint8, uint16 or floating-point pixels, got {dtype}; convert them first"
            )
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
            raise ShapeError(f"expected grey or RGB pixels H x W x 1 or 3, got shape {pixels.shape}")
        curve = Curve()
        if dtype.kind == "f":
            least, most = float(pixels.min()), float(pixels.max())  # NaN, if there is one
            if not max(abs(least), abs(most)) <= float(np.finfo(np.float32).max) or np.isnan(least):
                raise ValueRangeError(
                    "expected finite pixels that float32 holds, got NaN, infinity or more; replace them"
                )
            curve = Curve(min(0.0, least), max(1.0, most))
        return cls(dtype, pixels.shape[2] == 1, curve)

    def planes(self, pixels: NDArray[Any]) -> Plane:
        """Pixels to planes.

        Args:
            pixels: H x W x 1 or 3, the picture of this form or a part of it.

        Returns:
            3 x H x W float32 in [0, 1]; of grey the same plane three times, which is one in memory.
        """
        planes = self._unit(np.ascontiguousarray(pixels.transpose(2, 0, 1)), self.curve)
        if not self.grey:
            return planes
        # as `broadcast_to`, but torch complains of arrays that are not for writing
        strides = (0, *planes.strides[1:])
        return np.lib.stride_tricks.as_strided(planes, (3, *planes.shape[1:]), strides)

    def pixels(self, planes: Plane, *, size: tuple[int, int] | None = None) -> NDArray[Any]:
        """Planes to pixels; what lies outside [0, 1] is clipped there, integers are rounded.

        Args:
            planes: 3 x H x W.
            size: height and width to resize to (bicubic, antialiased), before anything is rounded.

        Returns:
            H x W (or `size`) x 1 or 3, of this form.
        """
        if self.grey:  # one plane three times, where no network has been, is to stay that to the bit
            planes = planes[:1] if planes.strides[0] == 0 else planes.mean(axis=0, keepdims=True)
        values = np.clip(planes, 0.0, 1.0)
        if size is not None and values.shape[1:] != size:
            interleaved = np.ascontiguousarray(values.transpose(1, 2, 0))
            values = resize(interleaved, height=size[0], width=size[1]).transpose(2, 0, 1)
            np.clip(values, 0.0, 1.0, out=values)
        return np.ascontiguousarray(self._stored(values, self.curve).transpose(1, 2, 0))

    def alpha_plane(self, alpha: NDArray[Any]) -> Plane:
        """Transparency as stored, H x W, to float32 in [0, 1]."""
        return self._unit(alpha, Curve()).clip(0.0, 1.0)

    def alpha(self, plane: Plane) -> NDArray[Any]:
        """A plane of transparency, H x W, to what is stored."""
        return self._stored(np.clip(plane, 0.0, 1.0), Curve())

    def _unit(self, values: NDArray[Any], curve: Curve) -> Plane:
        """Stored values to [0, 1], all bits of them."""
        if self.dtype.kind == "u":
            return values.astype(np.float32) / np.float32(np.iinfo(self.dtype).max)
        return curve.encode(values)

    def _stored(self, values: Plane, curve: Curve) -> NDArray[Any]:
        """Values in [0, 1], which may be overwritten: these are the largest arrays there are."""
        if self.dtype.kind == "u":
            values *= np.float32(np.iinfo(self.dtype).max)
            values += np.float32(0.5)
            return np.floor(values, out=values).astype(self.dtype)
        return curve.decode(values).astype(self.dtype)


@dataclass(frozen=True)
class Planes:
    """A picture taken apart.

    Attributes:
        colour: 3 x H x W float32 in [0, 1]; what is invisible has the colour of what is visible nearby.
        alpha: H x W float32 in [0, 1], 0 is invisible; None if there is none.
        form: the way back.
    """

    colour: Plane
    alpha: Plane | None
    form: Form

    @classmethod
    def of(cls, pixels: NDArray[Any], alpha: NDArray[Any] | None = None) -> "Planes":
        """Take a whole picture apart.

        Args:
            pixels: as for `Form.of`.
            alpha: H x W of the same dtype, straight (not premultiplied).

        Raises:
            ShapeError: as for `Form.of`.
            ValueRangeError: likewise.
        """
        form = Form.of(pixels)
        if alpha is None:
            return cls(form.planes(pixels), None, form)
        pixels = bleed(pixels, alpha)
        form = Form.of(pixels)  # what nobody sees does not decide about the range
        return cls(form.planes(pixels), form.alpha_plane(alpha), form)


def enlarge_alpha(alpha: Plane, scale: int) -> Plane:
    """Enlarge transparency bicubically; what is all transparent or all opaque stays exactly so.

    Args:
        alpha: H x W in [0, 1]; of a part with two pixels around what counts.
        scale: s.

    Returns:
        sH x sW in [0, 1].
    """
    height, width = (scale * length for length in alpha.shape)
    return keep_extremes(resize(alpha, height=height, width=width).clip(0.0, 1.0), alpha, scale)


def split(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Take the channels of an array apart.

    Args:
        array: H x W, or H x W x C with C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).

    Returns:
        Colour, H x W x 1 or 3, and alpha, H x W or None: views, not copies.

    Raises:
        ShapeError: another shape, or no pixels.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or array.size == 0:
        raise ShapeError(
            f"expected a picture H x W or H x W x 1, 2, 3 or 4 channels last, got shape {array.shape}"
        )
    if array.shape[2] % 2:
        return array, None
    return array[:, :, :-1], array[:, :, -1]


def join(pixels: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    """Put colour, H x W x 1 or 3, and alpha, H x W or None, into one array; the other way of `split`."""
    return pixels if alpha is None else np.concatenate((pixels, alpha[:, :, None]), axis=2)
