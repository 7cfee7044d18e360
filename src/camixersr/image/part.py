"""Parts of pictures: where there is most to see, what a file shows there, and what bicubic makes of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from camixersr.image.decode import open_image, prepare
from camixersr.image.libvips import damaged
from camixersr.image.metadata import PNG_COLOUR
from camixersr.image.picture import MAX_PIXELS, Picture, in_8_bits
from camixersr.image.resize import contributions

__all__ = ["Part", "bicubic_part", "most_detailed", "preview_of", "read_part"]

PREVIEW = 256
"""Side of a preview, in pixels of the picture."""


@dataclass(frozen=True)
class Part:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, low: tuple[int, int], high: tuple[int, int]) -> "Part":
        """The same part of the picture at another size.

        >>> Part(10, 20, 30, 40).scaled((100, 100), (250, 250))
        Part(top=25, left=50, height=75, width=100)

        Args:
            low: height, width of the picture.
            high: of the other size.
        """
        top, bottom = (round(each * high[0] / low[0]) for each in (self.top, self.top + self.height))
        left, right = (round(each * high[1] / low[1]) for each in (self.left, self.left + self.width))
        return Part(top, left, max(1, bottom - top), max(1, right - left))

    def around(self, margin: int, size: tuple[int, int]) -> "Part":
        """With so many pixels more on each side, as far as a picture of `size` goes."""
        top, left = max(0, self.top - margin), max(0, self.left - margin)
        bottom = min(size[0], self.top + self.height + margin)
        right = min(size[1], self.left + self.width + margin)
        return Part(top, left, bottom - top, right - left)


def most_detailed(pixels: NDArray[Any], height: int, width: int) -> Part:
    """The part with most detail: the highest sum of differences between neighbours.

    Differences count by their square root, so that texture counts more than one strong edge.

    Args:
        pixels: H x W x C, any dtype and range.
        height: rows of the part, at most H.
        width: columns, at most W.
    """
    rows, columns = pixels.shape[:2]
    height, width = min(height, rows), min(width, columns)
    luma = pixels.mean(axis=2, dtype=np.float32)
    detail = np.zeros((rows, columns), np.float32)
    detail[:, :-1] += np.abs(np.diff(luma, axis=1))
    detail[:-1] += np.abs(np.diff(luma, axis=0))
    sums = np.zeros((rows + 1, columns + 1))
    np.sqrt(detail).cumsum(axis=0, dtype=np.float64).cumsum(axis=1, out=sums[1:, 1:])
    inside = (
        sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    )
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return Part(int(top), int(left), height, width)


def preview_of(picture: Picture) -> tuple[Picture, Part]:
    """The part of a picture to have a quick look at: where there is most detail.

    Args:
        picture: any; one that is no larger than a preview is shown whole.

    Returns:
        The part, whose metadata say no more than what its colours mean; and where it is. Blocks of a JPEG
        begin at its top left, as they do in the picture.
    """
    found = most_detailed(picture.pixels, PREVIEW, PREVIEW)
    if (found.height, found.width) == (picture.height, picture.width):
        return picture, found
    part = replace(found, top=found.top // 16 * 16, left=found.left // 16 * 16)
    rows, columns = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
    colour = ("icc-profile-data", PNG_COLOUR)
    note = f"only the part with most detail is shown, {part.width} x {part.height} pixels at "
    return replace(
        picture,
        pixels=picture.pixels[rows, columns],
        alpha=None if picture.alpha is None else picture.alpha[rows, columns],
        metadata={name: picture.metadata[name] for name in colour if name in picture.metadata},
        notes=(*picture.notes, f"{note}{part.left}, {part.top}"),
    ), part


def read_part(source: Path | bytes, part: Part, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A part of a picture's first page, for a screen; of most formats without holding the whole.

    What is damaged is taken as it is: whoever decoded it before has decided about that.

    Args:
        source: the file, or its content.
        part: of the upright picture.
        max_pixels: larger pictures are refused.

    Returns:
        h x w x 3 or 4 (with alpha), sRGB.

    Raises:
        ImageError: the file has gone.
    """
    with damaged("<standard input>" if isinstance(source, bytes) else source):
        opened = open_image(source, max_pixels=max_pixels, salvage=True, tolerant=True)
        image, _, _ = prepare(opened, lambda each: each.copy_memory().autorot(), color="srgb")
        image = image.crop(part.left, part.top, part.width, part.height)
        pixels = cast("NDArray[Any]", image.numpy()).reshape(part.height, part.width, image.bands)
    return in_8_bits(pixels)


def bicubic_part(
    read: NDArray[np.uint8],
    around: Part,
    part: Part,
    *,
    low: tuple[int, int],
    high: tuple[int, int],
) -> NDArray[np.uint8]:
    """What `camixersr.image.resize.resize` makes of a picture in a part of the result.

    Args:
        read: pixels of the low picture, h x w x C.
        around: which of them those are; all that the part is made of.
        part: of the high picture.
        low: height, width of the low picture.
        high: of the high one.

    Returns:
        The part.
    """
    work = read.astype(np.float32)
    spans = ((around.top, part.top, part.height), (around.left, part.left, part.width))
    for axis, (origin, start, length) in enumerate(spans):
        index, weights = contributions(low[axis], high[axis])
        index, weights = index[start : start + length] - origin, weights[start : start + length]
        matrix = np.zeros((length, work.shape[0]), np.float32)
        np.add.at(matrix, (np.arange(length)[:, None], index), weights)
        work = (matrix @ work.reshape(len(work), -1)).reshape(length, *work.shape[1:])
        np.clip(np.floor(work + 0.5), 0, 255, out=work)
        work = np.ascontiguousarray(work.swapaxes(0, 1))
    return work.astype(np.uint8)
