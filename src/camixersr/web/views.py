"""Pictures for a screen: pyramids of tiles, and what is cut from them. In processes, not in the server.

A pyramid is one TIFF: tiled, sRGB in 8 bits, without loss; each page is half as large as the one before.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from camixersr.image.decode import open_image, prepare
from camixersr.image.files import replacing
from camixersr.image.libvips import damaged, vips
from camixersr.image.part import Part, bicubic_part

__all__ = [
    "TILE",
    "Layer",
    "View",
    "crop",
    "encoded",
    "head",
    "make_pyramid",
    "part_of",
    "shrunk",
    "thumbnail",
    "tile",
]

TILE = 512
"""Side of a tile, in pixels."""
MARGIN = 4
"""Pixels around a part that bicubic interpolation looks at."""
THUMBNAIL = 320
"""Longest side of a thumbnail."""

Layer = Literal["result", "input", "bicubic", "pixels"]
"""What is looked at: the result; the picture as it was; or that at the result's size, by bicubic
interpolation, or each pixel as a square."""


@dataclass(frozen=True)
class View:
    """A pyramid.

    Attributes:
        width: of its first page.
        height: likewise.
        levels: pages.
        alpha: it has transparency.
    """

    width: int
    height: int
    levels: int
    alpha: bool


def _for_a_screen(image: Any) -> Any:
    """Three or four bands of 8 bits."""
    if image.format == "float":
        image = (image * 255.0).rint()
    elif image.format == "ushort":
        image = image / 257.0
    if image.format != "uchar":
        image = (image < 0).ifthenelse(0, (image > 255).ifthenelse(255, image)).cast("uchar")
    if image.bands < 3:
        grey = image.extract_band(0)
        image = grey.bandjoin([grey, grey] + ([image.extract_band(1)] if image.bands == 2 else []))
    return image.copy(interpretation="srgb")


def _opened(path: Path) -> Any:
    """A picture's first page, upright, in sRGB; damage is taken as it is."""
    opened = open_image(path, salvage=True, tolerant=True)
    image, _, _ = prepare(opened, lambda each: each.copy_memory().autorot(), color="srgb")
    return _for_a_screen(image)


def make_pyramid(source: Path, target: Path) -> dict[str, Any]:
    """Write the pyramid of a picture, strip by strip.

    Args:
        source: the picture.
        target: the TIFF.

    Returns:
        A `View`, as JSON values.

    Raises:
        ImageError: the picture is damaged beyond use.
        OutputError: the disk is full.
    """
    with damaged(source):
        image = _opened(source)
        # libvips refuses to read tiles that are much larger than the picture
        side = min(TILE, 16 * math.ceil(max(image.width, image.height) / 16))
        with replacing(target) as partial:
            image.tiffsave(
                str(partial),
                tile=True,
                tile_width=side,
                tile_height=side,
                pyramid=True,
                compression="deflate",
                level=1,
                predictor="horizontal",
                bigtiff=True,
                keep="none",
            )
    first = vips().Image.new_from_file(str(target))
    return asdict(View(image.width, image.height, first.get("n-pages"), image.bands == 4))


def head(path: Path, *, max_pixels: int) -> dict[str, Any]:
    """What the head of a picture says.

    Args:
        path: the picture.
        max_pixels: more are refused before anything is decoded.

    Returns:
        `kind`, `width`, `height` (upright) and `pages`.

    Raises:
        ImageError: no picture, or too large.
    """
    with damaged(path):
        opened = open_image(path, max_pixels=max_pixels, salvage=True)
        image = opened.image
        turned = not opened.upright and image.get_typeof("orientation") and image.get("orientation") >= 5
    width, height = (image.height, image.width) if turned else (image.width, image.height)
    return {"kind": opened.kind, "width": width, "height": height, "pages": opened.pages}


def _page(path: Path, level: int) -> Any:
    return vips().Image.new_from_file(str(path), page=level, access="random")


def _pixels(image: Any, part: Part) -> NDArray[np.uint8]:
    return np.asarray(image.crop(part.left, part.top, part.width, part.height).numpy())


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    """JPEG of high quality, or PNG where there is transparency."""
    image = vips().Image.new_from_array(pixels, interpretation="srgb")
    if image.bands == 4:
        return image.pngsave_buffer(compression=1)
    return image.jpegsave_buffer(Q=95, subsample_mode="off")


def size_of(view: View, level: int) -> tuple[int, int]:
    """Height and width of a level, 0 for the smallest; rounded up, as viewers have it.

    Args:
        view: with its size.
        level: from 0 to `view.levels - 1`.
    """
    factor = 2 ** (view.levels - 1 - level)
    return math.ceil(view.height / factor), math.ceil(view.width / factor)


def tile(
    path: Path, source: View, view: View, level: int, x: int, y: int, *, nearest: bool = False
) -> bytes:
    """A tile of a picture at the size of another.

    Args:
        path: a pyramid.
        source: which it is.
        view: of what the viewer shows; the same, or that of the result.
        level: of `view`.
        x: column of the tile.
        y: row.
        nearest: do not interpolate.

    Returns:
        JPEG or PNG.

    Raises:
        IndexError: there is no such tile.
    """
    high = size_of(view, level)
    part = Part(y * TILE, x * TILE, min(TILE, high[0] - y * TILE), min(TILE, high[1] - x * TILE))
    if part.height <= 0 or part.width <= 0:
        raise IndexError("no such tile")
    return encoded(part_of(path, source, high, part, nearest=nearest))


def crop(path: Path, source: View, view: View, part: Part, *, longest: int, nearest: bool = False) -> bytes:
    """A part of a picture at the size of another, reduced to a longest side.

    Args:
        path: a pyramid.
        source: which it is.
        view: of what the viewer shows.
        part: of that, in its pixels.
        longest: side of the answer.
        nearest: do not interpolate.

    Returns:
        JPEG or PNG.
    """
    factor = min(1.0, longest / max(part.height, part.width))
    high = max(1, round(view.height * factor)), max(1, round(view.width * factor))
    scaled = part.scaled((view.height, view.width), high)
    return encoded(part_of(path, source, high, scaled, nearest=nearest))


def part_of(
    path: Path, source: View, high: tuple[int, int], part: Part, *, nearest: bool = False
) -> NDArray[np.uint8]:
    """A part of a picture at any size, bicubic where it is not a size of the pyramid.

    Args:
        path: a pyramid.
        source: which it is.
        high: height and width that the whole picture would have.
        part: of that.
        nearest: where it is enlarged, show each pixel as a square.
    """
    level = 0
    while level + 1 < source.levels and source.width >> (level + 1) >= high[1]:
        level += 1
    page = _page(path, level)
    low = (page.height, page.width)
    top, left = min(part.top, high[0] - 1), min(part.left, high[1] - 1)
    part = Part(top, left, min(part.height, high[0] - top), min(part.width, high[1] - left))
    if low == high:
        return _pixels(page, part)
    if nearest and high[0] > low[0]:
        rows = (np.arange(part.top, part.top + part.height) + 0.5) * low[0] / high[0]
        columns = (np.arange(part.left, part.left + part.width) + 0.5) * low[1] / high[1]
        rows, columns = rows.astype(int), columns.astype(int)
        first = Part(rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
        return np.ascontiguousarray(_pixels(page, first)[rows - rows[0]][:, columns - columns[0]])
    if max(part.height, part.width) > TILE:  # piece by piece: what a piece is made of is near it
        pixels = np.empty((part.height, part.width, page.bands), np.uint8)
        for row in range(0, part.height, TILE):
            for column in range(0, part.width, TILE):
                height, width = min(TILE, part.height - row), min(TILE, part.width - column)
                piece = Part(part.top + row, part.left + column, height, width)
                pixels[row : row + height, column : column + width] = part_of(path, source, high, piece)
        return pixels
    margin = MARGIN * max(1, math.ceil(max(low[0] / high[0], low[1] / high[1])))
    around = part.scaled(high, low).around(margin, low)
    return bicubic_part(_pixels(page, around), around, part, low=low, high=high)


def thumbnail(path: Path) -> bytes:
    """A small copy of a picture; one that is damaged is shown as far as it goes.

    Args:
        path: the picture, or its pyramid.

    Raises:
        ImageError: there is nothing to show.
    """
    with damaged(path):
        return encoded(_shrunk(_opened(path)))


def shrunk(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels as a thumbnail.

    Args:
        pixels: H x W x 3, uint8 or uint16.
    """
    deep = pixels.dtype != np.uint8
    image = vips().Image.new_from_array(pixels, interpretation="rgb16" if deep else "srgb")
    return _shrunk(_for_a_screen(image))


def _shrunk(image: Any) -> NDArray[np.uint8]:
    if max(image.width, image.height) > THUMBNAIL:
        image = image.thumbnail_image(THUMBNAIL, height=THUMBNAIL)
    return np.asarray(image.numpy())
