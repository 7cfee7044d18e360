"""Benchmark sets: a folder of original pictures, with or without their reduced versions.

A set is a folder with `high/` and `low/`, pictures of the same names in both; or a folder of high
pictures alone, whose low ones are then made: by MATLAB's bicubic reduction, or otherwise.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ImageError, InputError, ShapeError
from camixersr.image.decode import read
from camixersr.image.degradation import Degradation
from camixersr.image.files import shown
from camixersr.image.fisheye import reduce_through_fisheyes
from camixersr.image.resize import resize

__all__ = [
    "BICUBIC",
    "CLOSED",
    "FISHEYES",
    "SUFFIXES",
    "BenchmarkSet",
    "Pair",
    "Reduction",
    "degrading",
    "open_set",
    "read_rgb",
]

SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
"""Files that are taken for pictures, by their name."""


@dataclass(frozen=True)
class Reduction:
    """How low pictures are made of high ones.

    Attributes:
        name: a few words, for the head of a table.
        make: the low picture, H x W x 3, of a high one, sH x sW x 3, and the scale s; uint8 RGB.
        label: added to the name of a set whose low pictures are made so, to tell it from others.
    """

    name: str
    make: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
    label: str = ""


def _reduce(high: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return resize(high, height=high.shape[0] // scale, width=high.shape[1] // scale)


BICUBIC = Reduction("bicubic", _reduce)
"""MATLAB's bicubic reduction, the usual one."""


def _reduce_closed(panorama: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    edge = 4  # low pixels around; the cubic reaches 2
    high = edge * scale
    if panorama.shape[1] != 2 * panorama.shape[0] or panorama.shape[0] % scale or len(panorama) < high:
        raise ShapeError(
            f"expected a whole panorama H x 2H x C, H a multiple of {scale} from {high}, "
            f"got shape {panorama.shape}"
        )
    half = panorama.shape[1] // 2
    above, below = panorama[:high][::-1], panorama[-high:][::-1]
    rows = np.concatenate((np.roll(above, half, axis=1), panorama, np.roll(below, half, axis=1)))
    return _reduce(np.pad(rows, ((0, 0), (high, high), (0, 0)), mode="wrap"), scale)[edge:-edge, edge:-edge]


CLOSED = Reduction("bicubic, as a sphere", _reduce_closed)
"""Of whole panoramas only: bicubic, around the sphere at the edges, so that the low one has no seam."""

FISHEYES = Reduction("through two fisheye pictures", reduce_through_fisheyes)
"""Of whole panoramas only."""


def degrading(degradation: Degradation) -> Reduction:
    """What makes low pictures of the same size, for models that restore.

    Args:
        degradation: whose least amount they suffer; noise is a function of the picture.
    """

    def make(high: NDArray[np.uint8], _: int) -> NDArray[np.uint8]:
        return degradation.apply(high, degradation.least, seed=zlib.crc32(high.tobytes()))

    return Reduction(degradation.about, make, f" {degradation.amount} {degradation.least:g}")


@dataclass(frozen=True)
class Pair:
    """One picture of a set.

    Attributes:
        name: of the files, without suffix.
        high: the original.
        low: the reduced one; None where it is to be made.
        reduction: how it is made.
    """

    name: str
    high: Path
    low: Path | None
    reduction: Reduction = BICUBIC

    def read(self, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Decode both pictures.

        Args:
            scale: high pixels a low pixel.

        Returns:
            low, H x W x 3, and high, sH x sW x 3, uint8 RGB; high is cropped at the right and bottom
            to what low covers.

        Raises:
            ImageError: a file cannot be decoded.
            InputError: the sizes do not match at this scale, or nothing says how to make low at
                scale 1.
        """
        high = read_rgb(self.high)
        height, width = high.shape[0] // scale, high.shape[1] // scale
        if min(height, width) < 1:
            raise InputError(f"{self.high}: smaller than one low pixel at x{scale}")
        if self.low is None:
            if scale == 1 and self.reduction is BICUBIC:
                raise InputError(
                    f"{self.high}: has no degraded counterpart; say how to make one, with --quality or "
                    "--sigma"
                )
            high = high[: scale * height, : scale * width]
            return self.reduction.make(high, scale), high
        low = read_rgb(self.low)
        if low.shape[:2] != (height, width):
            raise InputError(
                f"{self.low}: expected {width} x {height} pixels, high / {scale}, got "
                f"{low.shape[1]} x {low.shape[0]}"
            )
        return low, high[: scale * height, : scale * width]


@dataclass(frozen=True)
class BenchmarkSet:
    """Pictures to score on.

    Attributes:
        name: of the folder; of its parent where the folder is named after the scale (Set5/x4); with
            the reduction's label where low pictures are made ("photo quality 20").
        pairs: the pictures, by name.
        made: how the low pictures, which do not exist, are made; empty where they exist.
        problems: what is wrong with the folder, a line each: pictures without their other half.
    """

    name: str
    pairs: tuple[Pair, ...]
    made: str
    problems: tuple[str, ...]


def read_rgb(path: Path, *, faithful: bool = False) -> NDArray[np.uint8]:
    """Decode a picture as H x W x 3 uint8 RGB, upright; grey is repeated, 16 bits are rounded to 8.

    Transparency is dropped, and what lies beyond [0, 1] in floating point clipped.

    Args:
        path: the file.
        faithful: refuse what has no exact place in 8-bit RGB: transparency, CMYK, LAB, floating point.

    Raises:
        ImageError: the file cannot be decoded, or is refused.
    """
    picture = read(path)
    pixels: NDArray[Any] = picture.pixels
    most = {"uint8": 255.0, "uint16": 65535.0}.get(pixels.dtype.name, 1.0)
    if faithful and (not picture.exact or pixels.dtype.kind == "f"):
        why = picture.notes[0] if picture.notes else "floating point"
        raise ImageError(f"{shown(path)}: is no plain RGB ({why}); convert it first")
    if faithful and picture.alpha is not None and picture.alpha.min() < most:
        raise ImageError(f"{shown(path)}: has transparent parts; flatten it first")
    if pixels.dtype != np.uint8:
        pixels = np.floor(pixels.clip(0.0, most) * (255.0 / most) + 0.5).astype(np.uint8)
    return pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels


def _pictures(folder: Path) -> dict[str, Path]:
    return {
        file.stem: file
        for file in sorted(folder.iterdir())
        if file.is_file() and file.suffix.lower() in SUFFIXES
    }


def open_set(folder: str | Path, reduction: Reduction = BICUBIC) -> BenchmarkSet:
    """List the pictures of a set; nothing is decoded yet.

    Args:
        folder: holds `high/` and `low/`, or high pictures only.
        reduction: makes the low pictures where there are none.

    Returns:
        The set.

    Raises:
        InputError: no folder, or no pictures in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with high/ and low/, or with pictures")
    paired = (folder / "high").is_dir()
    high = _pictures(folder / "high" if paired else folder)
    low = _pictures(folder / "low") if (folder / "low").is_dir() else {}
    if not high:
        raise InputError(
            f"{folder}: expected pictures in high/ and low/, or in the folder itself; found none"
        )
    made = "" if low else reduction.name
    lonely = [("high", "low", name) for name in sorted(high.keys() - low.keys())]
    lonely += [("low", "high", name) for name in sorted(low.keys() - high.keys())]
    problems = tuple(
        f"{folder}: {name} is in {there}/ and not in {missing}/" for there, missing, name in lonely
    )
    resolved = folder.resolve()
    named_after_scale = resolved.name[:1] == "x" and resolved.name[1:].isdecimal()
    called = resolved.parent.name if named_after_scale else resolved.name
    return BenchmarkSet(
        name=called if low else called + reduction.label,
        pairs=tuple(
            Pair(name, path, low.get(name), reduction) for name, path in high.items() if made or name in low
        ),
        made=made,
        problems=() if made else problems,
    )
