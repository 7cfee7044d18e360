"""Pictures in, pictures out: files to pixels and back, so that a user's file comes back as theirs.

What a file carries beside its pixels (colour profile, EXIF, XMP, IPTC, resolution) is kept and
written back; the EXIF orientation is applied once and its tag reset. libvips decodes strictly, Pillow
tries what libvips refuses. A truncated file is an error, never a half-grey picture, and nothing is
written half: see `camixersr.image.files`.
"""

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ImageError, MissingExtraError, OutputError
from camixersr.image import exif, fallback
from camixersr.image.color import Color, to_rgb
from camixersr.image.files import replacing, require_writable, shown
from camixersr.image.formats import (
    CAMERA_RAW,
    WRITABLE,
    Depth,
    Format,
    WriteOptions,
    format_of,
    is_lossless,
    kind_of,
)
from camixersr.image.metadata import (
    BLOCKS,
    PNG_COLOUR,
    Metadata,
    cicp_of_avif,
    gather,
    iptc_for,
    png_colour_chunks,
    splice_png,
    upright_xmp,
)
from camixersr.image.tiff import append, full_pages

__all__ = [
    "MAX_PIXELS",
    "WRITABLE",
    "Opened",
    "Picture",
    "check_writable",
    "complete",
    "damaged",
    "finish",
    "open_image",
    "prepare",
    "read",
    "save",
    "unwritable",
    "vips",
    "write",
    "write_image",
    "write_pages",
]

MAX_PIXELS = 2_000_000_000
"""Pixels of a file beyond which it is not decoded, unless asked."""

Pixels = NDArray[np.uint8 | np.uint16 | np.float32]
_DAMAGED = "the picture is damaged or truncated, or of a kind that is not supported"
_HEAD = 1 << 16  # bytes that tell the format and its colour


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
        return _depth(self.pixels.dtype)


@dataclass(frozen=True)
class Opened:
    """A file whose header has been read, and whose pixels are decoded when they are asked for.

    Attributes:
        image: pyvips image as the decoder gives it; to be read once, from top to bottom.
        kind: as of `Picture`.
        metadata: as of `Picture`.
        pages: as of `Picture`.
        lossless: as of `Picture`.
        upright: the decoder has applied the orientation.
        notes: as of `Picture`; `prepare` adds to it.
    """

    image: Any
    kind: str
    metadata: dict[str, tuple[int, Any]]
    pages: int
    lossless: bool
    upright: bool
    notes: list[str]


def _depth(dtype: np.dtype[Any]) -> Depth:
    return "float" if dtype.kind == "f" else ("16" if dtype.itemsize == 2 else "8")


@cache
def vips() -> ModuleType:
    """libvips, loaded when first needed; its cache would serve a file's old content by its path."""
    os.environ.setdefault("VIPS_WARNING", "1")  # which means: do not print warnings
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


@contextmanager
def damaged(source: str | Path) -> Generator[None, None, None]:
    """Name the file in what goes wrong while it is opened, or while its pixels are decoded.

    Args:
        source: the file, or what to call it.

    Raises:
        ImageError: from libvips' errors, and from ours that name no file yet.
        MissingExtraError: the same.
    """
    name = shown(source)
    try:
        yield
    except vips().Error as error:
        raise ImageError(f"{name}: {_DAMAGED} ({_reason(error)})") from error
    except (ImageError, MissingExtraError) as error:
        raise error if str(error).startswith(name) else type(error)(f"{name}: {error}") from error


def _beginning(source: Path | bytes) -> bytes:
    """The first bytes; a source that cannot be a picture is refused."""
    if isinstance(source, bytes):
        if not source:
            raise ImageError("expected a picture, but the input is empty")
        return source[:_HEAD]
    try:
        if source.is_dir():
            raise ImageError("expected a picture, but this is a folder; name the files in it")
        if source.exists() and not source.is_file():
            raise ImageError("expected a file, but this is a device or a pipe; use - for standard input")
        with source.open("rb") as file:
            head = file.read(_HEAD)
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not head:
        raise ImageError("expected a picture, but the file is empty")
    return head


def _stream(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def open_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS, page: int = 0) -> Opened:
    """Open a picture without decoding it, where its format allows that.

    Call it inside `damaged`, which names the file in the errors.

    Args:
        source: the file, or its content; the content decides the format, not the name.
        max_pixels: more are refused before anything is decoded.
        page: which page of several, from 0.

    Returns:
        What `prepare` takes.

    Raises:
        ImageError: the file is missing, a folder, empty, no picture, or too large.
        MissingExtraError: HEIC or camera RAW without its extra.
    """
    source = source if isinstance(source, bytes) else Path(source)
    head = _beginning(source)
    kind = kind_of(head)
    notes: list[str] = []
    upright = False
    pages: list[int] = []
    raw = isinstance(source, Path) and source.suffix.lower() in CAMERA_RAW and kind in ("", "tiff")
    if kind == "tiff":
        with _stream(source) as stream:
            pages = full_pages(stream)
            raw = raw or exif.is_dng(stream)
    if raw:
        image, kind, upright = fallback.read_with_rawpy(source, max_pixels=max_pixels), "raw", True
        pages = []
    elif kind == "heic":
        image, upright = fallback.read_heic(source, max_pixels=max_pixels), True
    else:
        place = pages[page] if page < len(pages) else page
        image, kind = _load(source, kind, place, max_pixels, notes)
        upright = kind == "avif"  # libheif has turned it
    metadata = gather(image)
    if kind in ("tiff", "raw"):
        with _stream(source) as stream:
            blocks = {"exif-data": exif.from_tiff(stream), "iptc-data": exif.iptc_from_tiff(stream)}
        for name, block in blocks.items():
            metadata.pop(name, None)
            if block:
                metadata[name] = vips().GValue.blob_type, block
    chunks = {"png": png_colour_chunks, "avif": cicp_of_avif}.get(kind, lambda _: b"")(head)
    if chunks:
        metadata[PNG_COLOUR] = vips().GValue.blob_type, chunks
    count = len(pages) or (image.get("n-pages") if image.get_typeof("n-pages") else 1)
    return Opened(image, kind, metadata, count, is_lossless(kind, head), upright, notes)


def prepare(
    opened: Opened, turn: Callable[[Any], Any], *, color: Color = "keep"
) -> tuple[Any, dict[str, tuple[int, Any]], int]:
    """What is done to every opened picture before its pixels are taken.

    Palettes are expanded, CMYK and Lab go to sRGB through their profiles, 1-bit becomes 8-bit.

    Args:
        opened: from `open_image`.
        turn: applies the orientation that the image's field of that name tells; called if there is
            one to apply.
        color: "keep" leaves values and profile as they are; "srgb" converts to sRGB.

    Returns:
        The image, grey or RGB of uchar, ushort or float, with or without alpha as its last band; its
        metadata; the pages in the file.

    Raises:
        ImageError: pixels that are no picture.
    """
    image, metadata = opened.image, dict(opened.metadata)
    if not opened.upright:
        image = _upright(image, metadata, turn)
    image, said = to_rgb(image, color)
    opened.notes.extend(said)
    if PNG_COLOUR in metadata and color == "srgb":
        opened.notes.append("values described by cICP or gAMA are kept; --color srgb is for profiles")
    profile = "icc-profile-data"
    if image.get_typeof(profile):
        metadata[profile] = image.get_typeof(profile), image.get(profile)
    else:
        metadata.pop(profile, None)
    return image, metadata, opened.pages


_LOADERS = {
    "png": "pngload_source",
    "jpeg": "jpegload_source",
    "webp": "webpload_source",
    "tiff": "tiffload_source",
    "avif": "heifload_source",
    "gif": "gifload_source",
}


def _load(source: Path | bytes, kind: str, page: int, max_pixels: int, notes: list[str]) -> tuple[Any, str]:
    """Open with libvips, as strictly as the format allows, or else with Pillow."""
    reason = "not one of the formats that libvips reads here"
    if kind in _LOADERS:
        try:
            return _load_strictly(source, kind, page, max_pixels, notes), kind
        except vips().Error as error:
            reason = _reason(error)
    return _with_pillow(source, kind, max_pixels, reason, notes)


def _load_strictly(source: Path | bytes, kind: str, page: int, max_pixels: int, notes: list[str]) -> Any:
    libvips = vips()
    options: dict[str, object] = {"access": "sequential"}
    if page:
        options["page"] = page

    def load(fail_on: str) -> Any:
        # a path goes as bytes, because a name may be no text, or end in [options]
        content = isinstance(source, bytes)
        new = libvips.Source.new_from_memory if content else libvips.Source.new_from_file
        opened = new(source if content else bytes(source))
        return libvips.Operation.call(_LOADERS[kind], opened, fail_on=fail_on, **options)

    level = "error"
    image = load(level)
    fallback.check_pixels(image.height, image.width, max_pixels)
    if kind == "tiff":
        # libtiff only warns of a compression it lacks, and goes on with black
        level = "warning"
        try:
            _touch(load(level))
        except libvips.Error as error:
            if "not configured" in str(error) or "not support" in str(error):
                raise
            level = "error"
            _touch(load(level))
            notes.append("the TIFF has a fault that its decoder warns of; check the result")
        image = load(level)
    if kind == "avif" and image.get_typeof("bits-per-sample") and image.get("bits-per-sample") > 8:
        # libvips shifts 10 and 12 bits up, so that white falls short of 65535
        white = 65536 - 2 ** (16 - image.get("bits-per-sample"))
        kept = image.interpretation
        image = (image * (65535.0 / white) + 0.5).floor().cast("ushort").copy(interpretation=kept)
    return image


def _touch(image: Any) -> None:
    """Decode the first rows, where a decoder that lacks a compression says so."""
    image.crop(0, 0, image.width, 1).avg()


def _with_pillow(
    source: Path | bytes, kind: str, max_pixels: int, reason: str, notes: list[str]
) -> tuple[Any, str]:
    """The second decoder; `reason` is what the first said."""
    try:
        image, format_name = fallback.read_with_pillow(source, max_pixels=max_pixels)
    except fallback.TooLargeError:
        raise
    except ImageError as error:
        if kind in _LOADERS:
            raise ImageError(f"{_DAMAGED} ({reason})") from error
        detail = str(error) if kind else "no format that is known"
        raise ImageError(
            "expected a picture (PNG, JPEG, WebP, TIFF, AVIF ...), but its content is none that can be "
            f"decoded ({detail})"
        ) from error
    if kind in _LOADERS:
        notes.append(f"libvips refuses the {kind} ({reason}), Pillow decoded it; check the result")
    return image, kind or format_name


def _upright(image: Any, metadata: dict[str, tuple[int, Any]], turn: Callable[[Any], Any]) -> Any:
    """Apply the orientation, from the decoder's field or else from the EXIF block."""
    if not image.get_typeof("orientation") and "exif-data" in metadata:
        block = bytes(metadata["exif-data"][1]).removeprefix(b"Exif\0\0")
        turned = exif.orientation(block)
        if turned != 1:
            image = image.copy()
            image.set_type(vips().GValue.gint_type, "orientation", turned)
    if not image.get_typeof("orientation"):
        return image
    if "xmp-data" in metadata:  # which may say it once more
        kind, block = metadata["xmp-data"]
        metadata["xmp-data"] = kind, upright_xmp(bytes(block))
    return turn(image) if image.get("orientation") != 1 else image


def _turn(image: Any) -> Any:
    return image.copy_memory().autorot()  # a turned picture cannot be read in order


def read(
    source: str | Path | bytes,
    *,
    color: Color = "keep",
    max_pixels: int = MAX_PIXELS,
    page: int = 0,
    name: str = "",
) -> Picture:
    """Decode a picture: PNG, JPEG, WebP, TIFF, AVIF, GIF, BMP, PPM; HEIC and camera RAW by extras.

    Args:
        source: as for `open_image`.
        color: as for `prepare`.
        max_pixels: as for `open_image`.
        page: as for `open_image`.
        name: what to call it in messages, instead of its path.

    Returns:
        The picture, upright.

    Raises:
        ImageError: the file is missing, a folder, empty, truncated, no picture, too large, or holds
            NaN or infinity.
        MissingExtraError: HEIC or camera RAW without its extra.
    """
    name = name or ("<standard input>" if isinstance(source, bytes) else str(source))
    with damaged(name):
        opened = open_image(source, max_pixels=max_pixels, page=page)
        try:
            return _decode(opened, color)
        except vips().Error as error:
            # libvips found the fault among the pixels: the second decoder may know better
            origin = source if isinstance(source, bytes) else Path(source)
            notes: list[str] = []
            try:
                image, _ = _with_pillow(origin, opened.kind, max_pixels, _reason(error), notes)
            except ImageError:
                raise error from None
            if page:
                raise
            return _decode(replace(opened, image=image, notes=notes), color)


def _decode(opened: Opened, color: Color) -> Picture:
    image, metadata, pages = prepare(opened, _turn, color=color)
    array: Pixels = image.numpy().reshape(image.height, image.width, image.bands)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ImageError("expected finite pixels, got NaN or infinity")
    alpha = None
    if image.bands in (2, 4):
        array, alpha = array[:, :, :-1], np.ascontiguousarray(array[:, :, -1])
        alpha = alpha.clip(0.0, 1.0) if alpha.dtype.kind == "f" else alpha
    return Picture(
        np.ascontiguousarray(array),
        alpha,
        metadata,
        pages,
        opened.kind,
        opened.lossless,
        tuple(opened.notes),
    )


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
    kind = _format(path)
    if max(height, width) > kind.longest:
        raise OutputError(
            f"{shown(path)}: {path.suffix} holds at most {kind.longest} pixels a side, the result has "
            f"{width} x {height}; use .png or .tif"
        )
    require_writable(path)


def _format(path: Path) -> Format:
    try:
        return format_of(path.suffix)
    except OutputError as error:
        raise OutputError(f"{shown(path)}: {error}") from error


def write(path: str | Path, picture: Picture, options: WriteOptions | None = None) -> list[str]:
    """Encode a picture, whole or not at all.

    Args:
        path: the file; its suffix, one of `WRITABLE`, decides the format. It is replaced if it exists.
        picture: what to write.
        options: how; the defaults are those of `WriteOptions`.

    Returns:
        What the format could not hold, in words: empty if everything was kept.

    Raises:
        OutputError: the file cannot be written in that format or place.
    """
    return write_pages(path, [picture], options)


def write_pages(
    path: str | Path,
    pages: Iterable[Picture],
    options: WriteOptions | None = None,
    *,
    count: int = 1,
) -> list[str]:
    """Encode pages into one file; several need TIFF.

    Args:
        path: as for `write`.
        pages: at least one; they may differ in size, depth and channels. Taken one by one, so that
            only one is in memory.
        options: as for `write`.
        count: how many pages there will be.

    Returns:
        As `write`.

    Raises:
        OutputError: as `write`, and several pages for another format.
    """
    path = Path(path)
    kind = _format(path)
    if count > 1 and kind.kind != "tiff":
        raise OutputError(f"{shown(path)}: {path.suffix} holds one page, not {count}; use .tif")
    notes: list[str] = []
    size = 0
    with replacing(path) as partial, unwritable(path), tempfile.TemporaryDirectory() as folder:
        for number, page in enumerate(pages):
            size = size or count * (
                page.pixels.nbytes + (page.alpha.nbytes if page.alpha is not None else 0)
            )
            metadata = page.metadata
            if number:  # what is said of the whole is said once
                metadata = {name: each for name, each in metadata.items() if name != "exif-data"}
            target = Path(folder) / "page.tif" if count > 1 else partial
            image, saver, said = finish(
                path, _image_of(page), metadata, options=options, lossless=page.lossless, size=size
            )
            save(image, target, saver)
            complete(target, metadata, options=options)
            notes += said
            if count > 1:
                append(target, to=partial)
    return list(dict.fromkeys(notes))


def write_image(
    path: str | Path,
    image: Any,
    *,
    metadata: Metadata,
    options: WriteOptions | None = None,
    lossless: bool = False,
) -> list[str]:
    """Encode a pyvips image, pulling its pixels from the top down, whole or not at all.

    Args:
        path: as for `write`.
        image: as for `finish`; so are the others.
        metadata: as of `Picture`.
        options: as for `write`.
        lossless: as for `finish`.

    Returns:
        As `write`.

    Raises:
        OutputError: as `write`.
    """
    path = Path(path)
    image, saver, notes = finish(path, image, metadata, options=options, lossless=lossless)
    with replacing(path) as partial, unwritable(path):
        save(image, partial, saver)
        complete(partial, metadata, options=options)
    return notes


def _image_of(picture: Picture) -> Any:
    """The picture as a pyvips image, alpha last."""
    array = picture.pixels
    if picture.alpha is not None:
        array = np.concatenate((array, picture.alpha[:, :, None]), axis=2)
    return vips().Image.new_from_array(np.ascontiguousarray(array))


def _interpretation(image: Any) -> str:
    grey = image.bands < 3
    if image.format == "float":
        return "b-w" if grey else "scrgb"
    if image.format == "ushort":
        return "grey16" if grey else "rgb16"
    return "b-w" if grey else "srgb"


@contextmanager
def unwritable(path: str | Path) -> Generator[None, None, None]:
    """Name the file in what goes wrong while it is encoded.

    Raises:
        OutputError: from libvips' errors.
    """
    try:
        yield
    except vips().Error as error:
        raise OutputError(f"{shown(path)}: cannot be written ({_reason(error)})") from error


def finish(
    path: str | Path,
    image: Any,
    metadata: Metadata,
    *,
    options: WriteOptions | None = None,
    lossless: bool = False,
    size: int = 0,
) -> tuple[Any, dict[str, Any], list[str]]:
    """What is done to every picture before it is encoded; afterwards the file needs `complete`.

    Args:
        path: the file; its suffix, one of `WRITABLE`, decides the format.
        image: pyvips image, 1 to 4 bands (grey or RGB, with or without alpha), uchar, ushort or float.
        metadata: as of `Picture`.
        options: as for `write`.
        lossless: whether the source was, which is what WebP and AVIF go by.
        size: bytes of all pixels in the file; those of `image` by default.

    Returns:
        The image to encode, the options for libvips' saver, and what the format cannot hold, in words.

    Raises:
        OutputError: the format cannot be written.
    """
    kind, options = _format(Path(path)), options or WriteOptions()
    size = size or image.width * image.height * image.bands * {"uchar": 1, "ushort": 2}.get(image.format, 4)
    image, notes = _fitted_depth(image, kind)
    if image.bands in (2, 4) and not kind.alpha:
        image = image.flatten(background=255)
        notes.append(f"transparency was flattened onto white, {kind.kind} holds none")
    image = image.copy(interpretation=_interpretation(image))
    kept, said = _kept(image, kind, metadata, options)
    # without a resolution libvips would write its own default, 25.4 dots an inch
    image = image.copy(**{axis: kept.pop(axis, (0, 72 / 25.4))[1] for axis in ("xres", "yres")})
    for name, (kind_of_value, value) in kept.items():
        image.set_type(kind_of_value, name, value)
    blocks = [word for name, word in _KEEP.items() if name in kept]
    saver = options.saver(kind.kind, depth=_vips_depth(image), source_lossless=lossless, size=size)
    saver["keep"] = "none" if options.strip else ":".join((*blocks, "other"))
    return image, saver, notes + said


def save(image: Any, path: Path, saver: Mapping[str, Any]) -> None:
    """Have libvips write a file; call it inside `unwritable`, and `complete` the file afterwards.

    Args:
        image: from `finish`.
        path: the file, in a folder of any name; its suffix decides the format.
        saver: options from `finish`.
    """
    # as bytes: the name of a folder may be no text
    vips().Operation.call(_SAVERS[_format(path).kind], image, bytes(path), **saver)


def complete(path: Path, metadata: Metadata, *, options: WriteOptions | None = None) -> None:
    """Add to a file that libvips has written what libvips does not write.

    Args:
        path: the file, changed in place.
        metadata: as of `Picture`.
        options: as for `write`.

    Raises:
        OutputError: the disk is full.
    """
    kind = _format(path).kind
    try:
        if kind == "png" and PNG_COLOUR in metadata:
            _insert_chunks(path, metadata[PNG_COLOUR][1])
        if kind == "tiff" and not (options and options.strip):
            block = bytes(metadata.get("exif-data", (0, b""))[1]).removeprefix(b"Exif\0\0")
            records = iptc_for(kind, bytes(metadata.get("iptc-data", (0, b""))[1]))
            if block or records:
                exif.spread_into_tiff(path, block, records)
    except OSError as error:
        raise OutputError(f"{shown(path)}: cannot be written ({error.strerror or error})") from error


_SAVERS = {"png": "pngsave", "jpeg": "jpegsave", "webp": "webpsave", "tiff": "tiffsave", "avif": "heifsave"}
_KEEP = {"exif-data": "exif", "xmp-data": "xmp", "iptc-data": "iptc", "icc-profile-data": "icc"}


def _vips_depth(image: Any) -> Depth:
    depths: Mapping[str, Depth] = {"uchar": "8", "ushort": "16"}
    return depths.get(image.format, "float")


def _fitted_depth(image: Any, kind: Format) -> tuple[Any, list[str]]:
    """Reduce the depth to what a format holds."""
    depth = _vips_depth(image)
    if depth in kind.depths and not (depth == "16" and kind.kind == "avif"):
        return image, []
    if depth == "float":
        top, name, bits = (65535.0, "ushort", 16) if "16" in kind.depths else (255.0, "uchar", 8)
        image = (image * top + 0.5).floor().cast(name)
        notes = [f"floating point was reduced to {bits} bits, and what lies beyond 0 to 1 clipped"]
        return (_twelve_bits(image) if kind.kind == "avif" else image), notes
    if kind.kind == "avif":
        return _twelve_bits(image), ["16 bits were reduced to 12, avif holds no more"]
    image = ((image + 128) / 257.0).floor().cast("uchar")
    return image, [f"16 bits were reduced to 8, {kind.kind} holds no more"]


def _twelve_bits(image: Any) -> Any:
    """Round 16 bits to 12; libvips shifts them down by 4, which would darken."""
    return ((image * (4095.0 / 65535.0) + 0.5).floor() * 16).cast("ushort")


def _kept(
    image: Any, kind: Format, metadata: Metadata, options: WriteOptions
) -> tuple[dict[str, tuple[int, Any]], list[str]]:
    """The fields that this format takes, and what it does not take, in words."""
    if options.strip:
        return {}, []
    notes: list[str] = []
    kept: dict[str, tuple[int, Any]] = {}
    for name, entry in metadata.items():
        if name in BLOCKS and name not in kind.blocks:
            notes.append(f"{BLOCKS[name]} was left out, {kind.kind} holds none")
        elif name == PNG_COLOUR:
            if kind.kind != "png":
                notes.append(
                    f"the description of its colours (cICP, gAMA) was left out, {kind.kind} holds none"
                )
        elif name == "icc-profile-data":
            grey_file = image.bands < 3 and kind.kind not in ("webp", "avif")
            if bytes(entry[1])[16:20] == (b"GRAY" if grey_file else b"RGB "):
                kept[name] = entry
            else:
                notes.append(
                    f"its colour profile is not one of a {kind.kind} with these channels; left out"
                )
        elif name == "exif-data" and kind.kind != "tiff":
            fields = fallback.exif_fields(bytes(entry[1]).removeprefix(b"Exif\0\0"))
            if not fields or (kind.kind == "jpeg" and len(fields["exif-data"][1]) > 65_000):
                notes.append(f"EXIF was left out, {kind.kind} cannot hold it")
            kept.update(fields)
            kept["orientation"] = (vips().GValue.gint_type, 1)
        elif name == "iptc-data" and kind.kind == "jpeg":
            kept[name] = entry[0], iptc_for("jpeg", bytes(entry[1]))
        elif name not in ("exif-data", "iptc-data"):  # `complete` puts these into a TIFF
            kept[name] = entry
    return kept, notes


def _insert_chunks(path: Path, chunks: bytes) -> None:
    """Put chunks behind the first one of a PNG file."""
    whole = path.with_name(f"{path.name}.png")
    try:
        with path.open("rb") as before, whole.open("wb") as after:
            after.write(splice_png(before.read(33), chunks))
            shutil.copyfileobj(before, after, 1 << 20)
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)
