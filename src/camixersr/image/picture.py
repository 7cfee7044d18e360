"""A decoded picture: its pixels, and what its file says of them."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camixersr.image.formats import Depth, WriteOptions

__all__ = ["MAX_PIXELS", "Picture", "Pixels", "in_8_bits"]

MAX_PIXELS = 2_000_000_000
"""Pixels of a file beyond which it is not decoded, unless asked."""

SHOWN = 1024
"""Longest side of what a notebook shows."""

Pixels = NDArray[np.uint8 | np.uint16 | np.float32]


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: H x W x C, uint8, uint16 or float32 (any finite value); C = 3 (RGB) or 1 (grey).
        alpha: H x W of the same dtype, straight (not premultiplied); None if there is none.
        metadata: what the file carries beside pixels: libvips' field names -> (type, value).
        pages: pages or frames of the file, of which this is one.
        kind: format of the file, as `formats.kind_of` says it; empty if there is none.
        lossless: the file holds exactly what was put into it.
        notes: what was changed in reading, or could not be kept, in words.
        exact: colours are those of the file: neither converted, nor decoded against a decoder's advice.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    metadata: Mapping[str, tuple[int, Any]] = field(default_factory=dict[str, tuple[int, Any]])
    pages: int = 1
    kind: str = ""
    lossless: bool = False
    notes: tuple[str, ...] = ()
    exact: bool = True

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """H x W x C, with alpha, where there is any, as the last channel: for `np.asarray`."""
        if self.alpha is None:
            return np.array(self.pixels, dtype, copy=copy)
        both = np.concatenate((self.pixels, self.alpha[:, :, None]), axis=2)
        return both if dtype is None else both.astype(dtype)

    def save(self, path: str | Path, options: WriteOptions | None = None) -> list[str]:
        """Encode it, whole or not at all; see `camixersr.image.encode.write`.

        Args:
            path: the file, replaced if it exists; its suffix decides the format.
            options: how to encode.

        Returns:
            What the format could not hold, in words: empty if everything was kept.

        Raises:
            OutputError: the file cannot be written in that format or place.
        """
        from camixersr.image.encode import write  # which knows pictures

        return write(path, self, options)

    def _repr_png_(self) -> bytes:
        """For notebooks: the picture, reduced to `SHOWN` pixels where it is larger."""
        every = max(1, -(-max(self.height, self.width) // SHOWN))
        pixels = np.asarray(self)[::every, ::every]
        if self.depth != "8":
            white = 1.0 if self.depth == "float" else 65535.0
            pixels = np.rint(pixels.astype(np.float32).clip(0.0, white) * (255.0 / white)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)).save(
            buffer, "PNG"
        )
        return buffer.getvalue()

    @property
    def height(self) -> int:
        """Rows, in pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns, in pixels."""
        return self.pixels.shape[1]

    @property
    def depth(self) -> Depth:
        """Bits a channel, or floating point."""
        dtype = self.pixels.dtype
        return "float" if dtype.kind == "f" else ("16" if dtype.itemsize == 2 else "8")


def in_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels for a screen.

    Args:
        pixels: H x W x C, uint8, uint16 or float32 (white is 1; what is beyond is clipped); C is 1 or 2
            (grey), 3 or 4 (RGB), alpha last.

    Returns:
        H x W x 3 or 4.
    """
    if pixels.dtype.kind == "f":
        pixels = np.rint(pixels.clip(0.0, 1.0) * 255.0)
    elif pixels.dtype == np.uint16:
        pixels = pixels // 257
    pixels = pixels.astype(np.uint8, copy=False)
    if pixels.shape[2] < 3:
        pixels = np.concatenate((*[pixels[:, :, :1]] * 3, pixels[:, :, 1:]), axis=2)
    return np.ascontiguousarray(pixels)
