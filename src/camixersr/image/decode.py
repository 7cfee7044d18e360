"""Files to pixels, so that nothing a file says is lost or misread.

What a file carries beside its pixels (colour profile, EXIF, XMP, IPTC, resolution) is kept; the EXIF
orientation is applied once and its tag reset. libvips decodes strictly, Pillow tries what libvips
refuses. A truncated file is an error, never a half-grey picture.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from camixersr.errors import ImageError
from camixersr.image import exif, fallback, jpeg, png
from camixersr.image.color import Color, to_rgb
from camixersr.image.files import beginning, stream_of
from camixersr.image.formats import CAMERA_RAW, is_lossless, kind_of
from camixersr.image.libvips import DAMAGED, damaged, forget_errors, reason, vips
from camixersr.image.metadata import PNG_COLOUR, cicp_of_heif, gather, png_colour_chunks, upright_xmp
from camixersr.image.picture import MAX_PIXELS, Picture, Pixels
from camixersr.image.tiff import Page, layout_in, misread, pages_of

__all__ = ["Opened", "open_image", "prepare", "read", "reopened", "salvaged", "why_refused"]

_HEAD = 1 << 16  # bytes that tell the format and its colour


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
        exact: as of `Picture`; so far.
    """

    image: Any
    kind: str
    metadata: dict[str, tuple[int, Any]]
    pages: int
    lossless: bool
    upright: bool
    notes: list[str]
    exact: bool = True


def open_image(
    source: str | Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    page: int = 0,
    salvage: bool = False,
    tolerant: bool = False,
) -> Opened:
    """Open a picture without decoding it, where its format allows that.

    Call it inside `damaged`, which names the file in the errors.

    Args:
        source: the file, or its content; the content decides the format, not the name.
        max_pixels: more are refused before anything is decoded.
        page: which page of several, from 0.
        salvage: take a picture for what there is of it; what is missing comes out grey or black.
        tolerant: decode a JPEG whatever its decoder warns of.

    Returns:
        What `prepare` takes.

    Raises:
        ImageError: the file is missing, a folder, empty, no picture, or too large.
        MissingExtraError: camera RAW without its extra.
    """
    source = source if isinstance(source, bytes) else Path(source)
    head = beginning(source, _HEAD)
    kind = kind_of(head)
    forget_errors()
    notes: list[str] = []
    upright = False
    pages: tuple[Page, ...] = ()
    raw = isinstance(source, Path) and source.suffix.lower() in CAMERA_RAW and kind in ("", "tiff")
    if kind == "tiff":
        pages = pages_of(source)
        with stream_of(source) as stream:
            raw = raw or exif.is_dng(stream)
    if raw:
        image, kind, upright = fallback.read_with_rawpy(source, max_pixels=max_pixels), "raw", True
        pages = ()
    elif kind == "heic":
        image, upright = fallback.read_heic(source, max_pixels=max_pixels), True
    else:
        place = pages[page] if page < len(pages) else Page(page, 0)
        how = _How(place, max_pixels, salvage, tolerant)
        image, kind = _load(source, kind, how, notes)
        upright = kind == "avif"  # libheif has turned it
    exact = not notes
    metadata = gather(image)
    if kind in ("tiff", "raw"):
        described = _keep_description(metadata, notes)
        with stream_of(source) as stream:
            known = exif.from_tiff(stream, described=described)
            blocks = {"exif-data": known, "iptc-data": exif.iptc_from_tiff(stream)}
        for name, block in blocks.items():
            metadata.pop(name, None)
            if block:
                metadata[name] = vips().GValue.blob_type, block
    colours = {"png": png_colour_chunks, "avif": cicp_of_heif, "heic": cicp_of_heif}
    chunks = colours[kind](head) if kind in colours else b""
    if chunks:
        metadata[PNG_COLOUR] = vips().GValue.blob_type, chunks
    count = len(pages) or (image.get("n-pages") if image.get_typeof("n-pages") else 1)
    return Opened(image, kind, metadata, count, _is_lossless(source, kind), upright, notes, exact)


def _keep_description(metadata: dict[str, tuple[int, Any]], notes: list[str]) -> bool:
    """Drop a description that states sizes, which an enlargement makes untrue; false if it was one."""
    text = metadata.get("image-description", (0, ""))[1]
    whose, more = layout_in(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))
    if not whose:
        return True
    del metadata["image-description"]
    if more:
        notes.append(f"its description ({whose}) states sizes that change, and was left out")
    return False


def _is_lossless(source: Path | bytes, kind: str) -> bool:
    with stream_of(source) as stream:
        return is_lossless(kind, stream)


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


@dataclass(frozen=True)
class _How:
    """How to decode: as of `open_image`; the number of `page` counts every directory of a TIFF."""

    page: Page
    max_pixels: int
    salvage: bool = False
    tolerant: bool = False


def _load(source: Path | bytes, kind: str, how: _How, notes: list[str]) -> tuple[Any, str]:
    """Open with libvips, as strictly as the format allows, or else with Pillow."""
    why = "not one of the formats that libvips reads here"
    if kind == "jpeg" and not how.salvage:
        _require_whole(source)
    if kind == "tiff":
        with stream_of(source) as stream:
            colours = misread(stream, how.page)
        if colours:
            try:
                return _with_pillow(source, kind, how, "", [])
            except ImageError as error:
                if isinstance(error, fallback.TooLargeError):
                    raise
                raise ImageError(
                    f"its colours are {colours}, which cannot be read; convert it to RGB"
                ) from error
    if kind in _LOADERS:
        try:
            return _load_strictly(source, kind, how, notes), kind
        except vips().Error as error:
            why = why_refused(source, kind, error)
            if kind == "jpeg":  # Pillow has the same decoder, and is silent about damage
                raise ImageError(f"{DAMAGED} ({why})") from error
    return _with_pillow(source, kind, how, why, notes)


def why_refused(source: Path | bytes, kind: str, error: Exception) -> str:
    """What is wrong with a file that libvips refuses, in a few words.

    Args:
        source: the file, or its content.
        kind: of its format.
        error: libvips' error.
    """
    if kind == "png":
        with stream_of(source) as stream:
            return png.fault(stream) or reason(error)
    return reason(error)


def _require_whole(source: Path | bytes) -> None:
    with stream_of(source) as stream:
        missing = jpeg.missing(stream)
    if missing:
        raise ImageError(f"the JPEG is not whole: {missing}; {_AGAIN}")


def _load_strictly(source: Path | bytes, kind: str, how: _How, notes: list[str]) -> Any:
    libvips = vips()
    options: dict[str, object] = {"access": "sequential"}
    if how.page.number:
        options["page"] = how.page.number

    def load(fail_on: str) -> Any:
        # a path goes as bytes, because a name may be no text, or end in [options]
        content = isinstance(source, bytes)
        new = libvips.Source.new_from_memory if content else libvips.Source.new_from_file
        opened = new(source if content else bytes(source))
        return libvips.Operation.call(_LOADERS[kind], opened, fail_on=fail_on, **options)

    level = "none" if how.salvage else "error"
    image = load(level)
    fallback.check_pixels(image.height, image.width, how.max_pixels)
    if kind == "jpeg" and not (how.salvage or how.tolerant):
        # libjpeg only warns of data that is damaged, and goes on with grey
        try:
            image = load("warning")
        except libvips.Error as error:
            notes.append(_FAULT.format(kind="JPEG", what=reason(error)))
    if kind == "tiff" and not how.salvage:
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


_AGAIN = "get the file again, or add --salvage for what there is"
_FAULT = "the {kind} has a fault that its decoder warns of ({what}); check the result"


def _touch(image: Any) -> None:
    """Decode the first row, where a decoder that lacks a compression says so."""
    vips().Region.new(image).fetch(0, 0, image.width, 1)


def _with_pillow(source: Path | bytes, kind: str, how: _How, why: str, notes: list[str]) -> tuple[Any, str]:
    """The second decoder; `why` is what the first said."""
    try:
        image, format_name = fallback.read_with_pillow(
            source, max_pixels=how.max_pixels, page=how.page.number
        )
    except fallback.TooLargeError:
        raise
    except ImageError as error:
        if kind in _LOADERS:
            raise ImageError(f"{DAMAGED} ({why})") from error
        detail = str(error) if kind else "no format that is known"
        raise ImageError(
            "expected a picture (PNG, JPEG, WebP, TIFF, AVIF ...), but its content is none that can be "
            f"decoded ({detail})"
        ) from error
    if kind in _LOADERS:
        notes.append(f"libvips refuses the {kind} ({why}), Pillow decoded it; check the result")
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
    salvage: bool = False,
) -> Picture:
    """Decode a picture: PNG, JPEG, WebP, TIFF, AVIF, HEIC, GIF, BMP, PPM; camera RAW by an extra.

    Args:
        source: as for `open_image`.
        color: as for `prepare`.
        max_pixels: as for `open_image`.
        page: as for `open_image`.
        name: what to call it in messages, instead of its path.
        salvage: of a picture that is damaged or truncated give what there is, with a note.

    Returns:
        The picture, upright.

    Raises:
        ImageError: the file is missing, a folder, empty, truncated, no picture, too large, or holds
            NaN or infinity.
        MissingExtraError: camera RAW without its extra.
    """
    name = name or ("<standard input>" if isinstance(source, bytes) else str(source))
    with damaged(name):
        try:
            return _read(source, color, max_pixels, page)
        except (vips().Error, ImageError) as error:
            if not salvage or isinstance(error, fallback.TooLargeError):
                raise
            try:
                opened = open_image(source, max_pixels=max_pixels, page=page, salvage=True)
                opened.notes.append(salvaged(error))
                return _decode(opened, color)
            except (vips().Error, ImageError):
                raise error from None


def salvaged(error: Exception) -> str:
    """What is noted of a picture that was decoded in spite of an error."""
    why = reason(error) if isinstance(error, vips().Error) else str(error).removesuffix(f"; {_AGAIN}")
    return f"is not whole, and what is missing of it is grey or black ({why})"


def _read(source: str | Path | bytes, color: Color, max_pixels: int, page: int) -> Picture:
    opened = open_image(source, max_pixels=max_pixels, page=page)
    try:
        return _decode(opened, color)
    except vips().Error as error:
        return _decode(reopened(opened, source, error, max_pixels=max_pixels, page=page), color)


def reopened(
    opened: Opened, source: str | Path | bytes, error: Exception, *, max_pixels: int, page: int = 0
) -> Opened:
    """Open a picture anew, in another way, after libvips found a fault among its pixels.

    Args:
        opened: what was being decoded.
        source: as for `open_image`.
        error: libvips' error, raised again where there is no other way.
        max_pixels: as for `open_image`.
        page: as for `open_image`.

    Returns:
        What `prepare` takes, with a note.
    """
    origin = source if isinstance(source, bytes) else Path(source)
    if opened.kind == "jpeg":
        if not jpeg.is_harmless(str(error)):
            raise ImageError(f"the JPEG is damaged ({reason(error)}); {_AGAIN}") from error
        again = open_image(origin, max_pixels=max_pixels, tolerant=True)
        again.notes.append(_FAULT.format(kind="JPEG", what=reason(error)))
        return again
    if page:  # Pillow counts pages in another way
        raise error
    notes: list[str] = []
    why = why_refused(origin, opened.kind, error)
    image, _ = _with_pillow(origin, opened.kind, _How(Page(0, 0), max_pixels), why, notes)
    return replace(opened, image=image, notes=notes, exact=False)


def _decode(opened: Opened, color: Color) -> Picture:
    remarks = len(opened.notes)
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
        opened.exact and len(opened.notes) == remarks,
    )
