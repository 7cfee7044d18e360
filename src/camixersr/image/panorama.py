"""360-degree pictures: what part of the sphere an equirectangular picture shows.

Longitude is a circle and each pole is one point: beyond the right edge comes the left one, and beyond
the top row the same rows again, mirrored and half a turn away. Photo Sphere XMP ("GPano") says that
a picture is such a panorama, and what part of one it shows.

Source: Photo Sphere XMP metadata, https://developers.google.com/streetview/spherical-metadata.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ImageError
from camixersr.image.files import printable

__all__ = ["SLACK", "Panorama", "Piece", "Projection", "panorama_of", "pieces"]

LARGEST = 2.0**31
"""Pixels beyond which a size in the metadata is not believed."""

Projection = Literal["auto", "flat", "erp"]

SLACK = 2
"""Pixels by which a panorama may miss being twice as wide as high: odd sizes are rounded by cameras."""


@dataclass(frozen=True)
class Panorama:
    """What an equirectangular picture of `height` x `width` pixels shows.

    >>> whole = Panorama.whole(512, 1024)
    >>> whole.closed, whole.north, whole.south
    (True, True, True)
    >>> float(whole.cosines(slice(255, 256))[0]) > 0.9999
    True

    Attributes:
        height: rows of the picture.
        width: columns of it.
        sphere: rows from pole to pole, in the picture's own pixels.
        top: rows of those above the picture.
        closed: the picture goes all around, so that its right edge meets its left one.
    """

    height: int
    width: int
    sphere: float
    top: float
    closed: bool

    @classmethod
    def whole(cls, height: int, width: int) -> "Panorama":
        """The whole sphere.

        Raises:
            ImageError: the picture is not twice as wide as high.
        """
        if abs(width - 2 * height) > SLACK:
            raise ImageError(
                f"expected an equirectangular panorama, twice as wide as high, got {width} x {height}; "
                "use --projection flat for other pictures (cube maps too)"
            )
        return cls(height, width, height, 0.0, True)

    @property
    def north(self) -> bool:
        """Whether the picture begins at the upper pole, all around it."""
        return self.closed and abs(self.top) < 0.5

    @property
    def south(self) -> bool:
        """Whether the picture ends at the lower pole, all around it."""
        return self.closed and abs(self.top + self.height - self.sphere) < 0.5

    def cosines(self, rows: slice) -> NDArray[np.float32]:
        """Cosine of the latitude of rows; beyond a pole, of the mirrored row.

        Args:
            rows: of the picture; may begin before it and end after it.

        Returns:
            One number a row, at least 0.
        """
        latitude = (np.arange(rows.start, rows.stop) + self.top + 0.5) / self.sphere - 0.5
        return np.abs(np.cos(latitude * np.pi)).astype(np.float32)

    def fold(self, row: float, column: float) -> tuple[float, float]:
        """The place inside the picture of one that may lie beyond its edges, in pixels."""
        turn, row = divmod(row, self.height)
        if turn % 2:
            row, column = self.height - row, column + self.width // 2
        return row, column % self.width


@dataclass(frozen=True)
class Piece:
    """Part of a stretch of an axis that bends back into the picture.

    Attributes:
        inside: where it is inside the picture.
        turns: how often the picture's length had to be taken off (below 0: added).
    """

    inside: slice
    turns: int


def pieces(start: int, stop: int, length: int) -> Iterator[Piece]:
    """Take a stretch of an axis apart where the axis begins anew.

    >>> [(piece.inside.start, piece.inside.stop, piece.turns) for piece in pieces(-3, 12, 10)]
    [(7, 10, -1), (0, 10, 0), (0, 2, 1)]
    """
    place = start
    while place < stop:
        turns = place // length
        end = min(stop, (turns + 1) * length)
        yield Piece(slice(place - turns * length, end - turns * length), turns)
        place = end


def _tag(xmp: str, name: str) -> str | None:
    """The value of a tag, written as an attribute or as an element."""
    found = re.search(rf"\bGPano:{name}\s*(?:=\s*[\"']|>)\s*([^\"'<]{{1,40}})", xmp)
    return printable(found[1].strip()) if found else None


def _size(xmp: str, name: str) -> float | None:
    try:
        size = float(_tag(xmp, name) or "")
    except ValueError:
        return None
    return size if abs(size) <= LARGEST else None  # nor is NaN


def panorama_of(
    metadata: Mapping[str, tuple[int, Any]], height: int, width: int, projection: Projection = "auto"
) -> tuple[Panorama | None, str]:
    """Find out whether a picture is a panorama, and what it shows of the sphere.

    Args:
        metadata: as in `camixersr.image.picture.Picture`; `xmp-data` is what counts.
        height: rows of the picture.
        width: columns of it.
        projection: "auto" believes the metadata; "erp" takes a picture without any for a whole
            sphere; "flat" asks nothing.

    Returns:
        What it shows, None for a flat picture; and a remark for the user, empty as a rule.

    Raises:
        ImageError: with "erp", the picture cannot be an equirectangular panorama.
    """
    if projection == "flat":
        return None, ""
    block = metadata.get("xmp-data", (0, b""))[1]
    xmp = bytes(block).decode("utf-8", errors="replace")
    kind = _tag(xmp, "ProjectionType")
    if kind is not None and kind != "equirectangular":
        if projection == "erp":
            raise ImageError(
                f"expected an equirectangular panorama, but the picture's metadata says {kind!r}; use "
                "--projection flat"
            )
        return None, f"a panorama in {kind} projection, which is enlarged as a flat picture"
    if kind is None and projection == "auto":
        return None, ""
    try:
        return _shown(xmp, height, width), ""
    except ImageError as error:
        if projection == "erp":
            raise
        return None, f"its metadata calls it equirectangular, but it is enlarged flat: {error}"


def _shown(xmp: str, height: int, width: int) -> Panorama:
    """What the metadata says that the picture shows; the whole sphere if it says nothing."""
    across, down = _size(xmp, "FullPanoWidthPixels"), _size(xmp, "FullPanoHeightPixels")
    cut_across = _size(xmp, "CroppedAreaImageWidthPixels") or across
    cut_down = _size(xmp, "CroppedAreaImageHeightPixels") or down
    if not across or not down or not cut_across or not cut_down:
        return Panorama.whole(height, width)
    # sizes that another program forgot to change: the picture's own pixels count
    along, aside = height / cut_down, width / cut_across
    sphere, around = down * along, across * aside
    top = (_size(xmp, "CroppedAreaTopPixels") or 0.0) * along
    if abs(around - 2.0 * sphere) > SLACK + 0.002 * around or top < 0 or top + height > sphere + SLACK:
        raise ImageError(
            "expected a part of a panorama that is twice as wide as high, got "
            f"{width} x {height} of {around:g} x {sphere:g} pixels, {top:g} from the top; use "
            "--projection flat"
        )
    return Panorama(height, width, sphere, top, abs(around - width) < 0.5)
