"""Pictures in, pictures out: files to arrays and back, through libvips.

What a file carries beside its pixels (colour profile, EXIF, XMP, resolution) is kept and written
back; the EXIF orientation is applied once and its tag reset. Decoding is strict: a truncated file
is an error, never a half-grey picture. Nothing is written half: see `camixersr.image.files`.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ImageError, OutputError
from camixersr.image.files import replacing, require_writable

__all__ = [
    "WRITABLE",
    "Picture",
    "check_writable",
    "damaged",
    "finish",
    "open_image",
    "prepare",
    "read",
    "unwritable",
    "vips",
    "write",
]

Pixels = NDArray[np.uint8 | np.uint16]


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: H x W x C, uint8 or uint16; C = 3 (RGB) or 1 (greyscale).
        alpha: H x W of the same dtype, straight (not premultiplied); None if there is none.
        metadata: what the file carries beside pixels: libvips' field names -> (type, value).
        pages: pages or frames of the file, of which this is the first.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    metadata: Mapping[str, tuple[int, Any]] = field(default_factory=dict[str, tuple[int, Any]])
    pages: int = 1

    @property
    def height(self) -> int:
        """Rows, in pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns, in pixels."""
        return self.pixels.shape[1]


@dataclass(frozen=True)
class _Format:
    """What a writable format can hold, and how we write it."""

    options: Mapping[str, object]
    longest: int  # longest side, pixels
    alpha: bool = True
    deep: bool = False  # 16 bits a channel


_JPEG = _Format({"Q": 95, "subsample_mode": "off"}, longest=65_500, alpha=False)
_TIFF = _Format({"compression": "deflate", "predictor": "horizontal"}, longest=2**31 - 1, deep=True)
WRITABLE: Mapping[str, _Format] = {
    ".avif": _Format({"Q": 90, "compression": "av1", "subsample_mode": "off"}, longest=16_383),
    ".jpeg": _JPEG,
    ".jpg": _JPEG,
    ".png": _Format({"compression": 6}, longest=2**31 - 1, deep=True),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": _Format({"Q": 95}, longest=16_383),
}
"""Suffixes that can be written: PNG and TIFF without loss, the others at a high quality."""


@cache
def vips() -> ModuleType:
    """libvips, loaded when first needed; its cache would serve a file's old content by its path."""
    try:
        import pyvips
    except OSError as error:
        raise ImageError(f"libvips cannot be loaded ({error}); install pyvips-binary") from error
    pyvips.cache_set_max(0)
    return pyvips


def _reason(error: Exception) -> str:
    """The last, most specific line of a libvips message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def read(path: str | Path) -> Picture:
    """Decode a picture: PNG, JPEG, WebP, TIFF, AVIF, GIF and what else libvips knows.

    Palettes are expanded, CMYK and Lab go to sRGB through their profiles, 1-bit becomes 8-bit. Of
    several pages or frames the first is read.

    Args:
        path: the file; its content decides the format, not its name.

    Returns:
        The picture, upright.

    Raises:
        ImageError: the file is missing, a folder, empty, truncated, no picture, or has pixels in
            floating point.
    """
    path = Path(path)
    with damaged(path):
        return _decode(open_image(path))


@contextmanager
def damaged(path: Path) -> Generator[None, None, None]:
    """Name the file in what goes wrong while its pixels are decoded."""
    try:
        yield
    except vips().Error as error:
        raise ImageError(f"{path}: the picture is damaged or truncated ({_reason(error)})") from error
    except ImageError as error:
        raise error if str(error).startswith(str(path)) else ImageError(f"{path}: {error}") from error


def open_image(path: Path) -> Any:
    """Open a picture without decoding it: libvips' image, to be read once, from top to bottom.

    Args:
        path: the file; its content decides the format, not its name.

    Returns:
        A `pyvips.Image`.

    Raises:
        ImageError: the file is missing, a folder, empty, or no picture.
    """
    try:
        if path.is_dir():
            raise ImageError(f"{path}: expected a picture, but this is a folder; name the files in it")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: expected a picture, but the file is empty")
        with path.open("rb"):
            pass
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    libvips = vips()
    try:
        image = libvips.Image.new_from_file(str(path), access="sequential", fail_on="error")
        if image.get("vips-loader").startswith("tiff"):
            # libvips only warns of a compression it lacks, and goes on with black
            image = libvips.Image.new_from_file(str(path), access="sequential", fail_on="warning")
    except libvips.Error as error:
        raise ImageError(
            f"{path}: expected a picture (PNG, JPEG, WebP, TIFF, AVIF ...), but its content is "
            f"none that can be decoded ({_reason(error)})"
        ) from error
    return image


def prepare(image: Any, turn: Callable[[Any], Any]) -> tuple[Any, dict[str, tuple[int, Any]], int]:
    """What is done to every opened picture before its pixels are taken.

    Args:
        image: from `open_image`.
        turn: applies the EXIF orientation; called if there is one to apply.

    Returns:
        The image as greyscale or RGB of 8 or 16 bits, with or without alpha; its metadata; the
        pages in the file.

    Raises:
        ImageError: pixels in floating point, or too many channels.
    """
    if image.format not in ("uchar", "ushort") and image.interpretation not in ("lab", "labs"):
        raise ImageError(
            f"expected 8 or 16 bits a channel, got {image.format} pixels; convert it to 16 bits first"
        )
    metadata = _metadata(image)
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if image.get_typeof("orientation") and image.get("orientation") != 1:
        image = turn(image)
    if image.interpretation in ("cmyk", "lab", "labs"):
        if image.interpretation == "cmyk":
            image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", intent="relative")
        image = image.colourspace("srgb")
        metadata.pop("icc-profile-data", None)  # the values are sRGB now
    elif image.interpretation not in ("b-w", "grey16", "srgb", "rgb", "rgb16", "multiband"):
        image = image.colourspace("srgb")
    if image.bands > 4:
        raise ImageError(f"expected greyscale or RGB, with or without alpha, got {image.bands} channels")
    return image, metadata, pages


def _decode(image: Any) -> Picture:
    # a turned picture cannot be read in order
    image, metadata, pages = prepare(image, lambda image: image.copy_memory().autorot())
    array: Pixels = image.numpy().reshape(image.height, image.width, image.bands)
    alpha = None
    if array.shape[2] in (2, 4):
        array, alpha = array[:, :, :-1], np.ascontiguousarray(array[:, :, -1])
    return Picture(np.ascontiguousarray(array), alpha, metadata, pages)


_DROPPED = {
    "bits-per-sample",
    "filename",
    "jpeg-chroma-subsample",
    "jpeg-multiscan",
    "jpeg-thumbnail-data",
    "n-pages",
    "orientation",
    "page-height",
    "palette",
    "vips-sequential",
}
"""Fields about the file as it was, not about the picture."""


def _metadata(image: Any) -> dict[str, tuple[int, Any]]:
    """Everything that belongs to the picture and not to its pixels or its old encoding."""
    pixels = {"width", "height", "bands", "format", "coding", "interpretation", "xoffset", "yoffset"}
    kept: dict[str, tuple[int, Any]] = {}
    for name in image.get_fields():
        if name in pixels | _DROPPED or name.startswith(("heif-", "tiff-", "png-", "webp-", "gif-")):
            continue
        if "Orientation" in name or "thumbnail" in name.lower() or name.startswith("exif-ifd1"):
            continue
        kept[name] = (image.get_typeof(name), image.get(name))
    return kept


def check_writable(path: str | Path, *, height: int, width: int) -> None:
    """Refuse a target that cannot work, before anything long is computed for it.

    Args:
        path: the file to be written.
        height: rows of the picture.
        width: columns of it.

    Raises:
        OutputError: unknown suffix, missing folder, a folder by that name, or a picture too large
            for the format.
    """
    path = Path(path)
    kind = WRITABLE.get(path.suffix.lower())
    if kind is None:
        raise OutputError(
            f"{path}: cannot write {path.suffix or 'a file without a suffix'}; "
            f"use one of {', '.join(WRITABLE)}"
        )
    if max(height, width) > kind.longest:
        raise OutputError(
            f"{path}: {path.suffix} holds at most {kind.longest} pixels a side, the result has "
            f"{width} x {height}; use .png or .tif"
        )
    require_writable(path)


def write(path: str | Path, picture: Picture) -> list[str]:
    """Encode a picture, whole or not at all.

    Args:
        path: the file; its suffix, one of `WRITABLE`, decides the format. It is replaced if it exists.
        picture: what to write.

    Returns:
        What the format could not hold, in words: empty if everything was kept.

    Raises:
        OutputError: the file cannot be written in that format or place.
    """
    path = Path(path)
    planes = [picture.pixels]
    if picture.alpha is not None:
        planes.append(picture.alpha[:, :, None])
    array = np.concatenate(planes, axis=2) if len(planes) > 1 else picture.pixels
    image = vips().Image.new_from_array(np.ascontiguousarray(array))
    image, options, notes = finish(path, image, picture.metadata)
    with replacing(path) as partial, unwritable(path):
        image.write_to_file(str(partial), **options)
    return notes


@contextmanager
def unwritable(path: Path) -> Generator[None, None, None]:
    """Name the file in what goes wrong while it is encoded."""
    try:
        yield
    except vips().Error as error:
        raise OutputError(f"{path}: cannot be written ({_reason(error)})") from error


def finish(
    path: Path, image: Any, metadata: Mapping[str, tuple[int, Any]]
) -> tuple[Any, dict[str, Any], list[str]]:
    """What is done to every picture before it is encoded.

    Args:
        path: the file; its suffix, one of `WRITABLE`, decides the format.
        image: libvips' image of 1 to 4 channels, the second or fourth being alpha.
        metadata: as in `Picture`.

    Returns:
        The image to encode, the encoder's options, and what the format cannot hold, in words.

    Raises:
        OutputError: the format cannot be written.
    """
    kind = WRITABLE.get(path.suffix.lower())
    if kind is None:
        raise OutputError(f"{path}: cannot write {path.suffix}; use one of {', '.join(WRITABLE)}")
    notes: list[str] = []
    grey, deep = image.bands < 3, image.format == "ushort"
    size = image.width * image.height * image.bands * (2 if deep else 1)
    image = image.copy(
        interpretation=("grey16" if grey else "rgb16") if deep else ("b-w" if grey else "srgb")
    )
    if deep and not kind.deep:
        image = ((image + 128) / 257.0).floor().cast("uchar").copy(interpretation="b-w" if grey else "srgb")
        notes.append(f"16 bits were reduced to 8, {path.suffix} holds no more")
    if image.bands in (2, 4) and not kind.alpha:
        image = image.flatten(background=255)
        notes.append(f"transparency was flattened onto white, {path.suffix} holds none")
    image = image.copy()
    for name, (kind_of_value, value) in metadata.items():
        image.set_type(kind_of_value, name, value)
    if "exif-data" in metadata:
        image.set_type(vips().GValue.gint_type, "orientation", 1)  # it has been applied
    options = dict(kind.options)
    if path.suffix.lower() in (".tif", ".tiff") and size > 2**31:
        options["bigtiff"] = True
    return image, options, notes
