"""A decoded picture: its pixels, and what its file says of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.image.formats import Depth

__all__ = ["MAX_PIXELS", "Picture", "Pixels"]

MAX_PIXELS = 2_000_000_000
"""Pixels of a file beyond which it is not decoded, unless asked."""

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
    """

    pixels: Pixels
    alpha: Pixels | None = None
    metadata: Mapping[str, tuple[int, Any]] = field(default_factory=dict[str, tuple[int, Any]])
    pages: int = 1
    kind: str = ""
    lossless: bool = False
    notes: tuple[str, ...] = ()

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
