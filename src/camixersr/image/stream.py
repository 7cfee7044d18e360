"""Pictures that are never whole in memory: decoded strip by strip into a plain file, and back.

What lies between is a `camixersr.image.raw.Raw` file.
"""

import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ImageError, OutputError
from camixersr.image.color import Color
from camixersr.image.decode import Opened, open_image, prepare, reopened, salvaged, why_refused
from camixersr.image.encode import complete, finish, save
from camixersr.image.files import remove_leftovers, replacing
from camixersr.image.formats import Depth, WriteOptions
from camixersr.image.libvips import DAMAGED, damaged, unwritable, vips
from camixersr.image.picture import MAX_PIXELS
from camixersr.image.raw import Layout, Raw

__all__ = ["HELD_WHOLE", "Look", "decode", "encode", "encoding_seconds", "look", "reduced"]

HELD_WHOLE = frozenset({".webp", ".avif"})
"""Suffixes whose encoders keep the whole picture in memory."""

STRIP = 64
"""Rows decoded at a time."""

Tick = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass(frozen=True)
class Look:
    """What a file's head tells.

    Attributes:
        layout: of the upright picture.
        turned: its rows are not stored from top to bottom, so decoding needs a second raw file.
        pages: pages or frames, of which the first is read.
        metadata: as in `camixersr.image.picture.Picture`.
        kind: likewise.
        lossless: likewise.
        notes: likewise.
    """

    layout: Layout
    turned: bool
    pages: int
    metadata: Mapping[str, tuple[int, Any]]
    kind: str
    lossless: bool
    notes: tuple[str, ...]

    @property
    def depth(self) -> Depth:
        """Bits a channel, or floating point."""
        depths: Mapping[str, Depth] = {"uint8": "8", "uint16": "16", "float32": "float"}
        return depths[self.layout.dtype]


def look(path: Path, *, color: Color = "keep", max_pixels: int = MAX_PIXELS, salvage: bool = False) -> Look:
    """Read a picture's head.

    Args:
        path: the picture.
        color: as for `camixersr.image.decode.prepare`.
        max_pixels: larger pictures are refused.
        salvage: as for `camixersr.image.decode.read`.

    Raises:
        ImageError: no picture, or none that can be read.
    """
    turned: list[bool] = []

    def note(image: Any) -> Any:
        turned.append(True)
        return image.autorot()

    with damaged(path):
        try:
            opened = open_image(path, max_pixels=max_pixels)
        except (vips().Error, ImageError) as error:
            if not salvage:
                raise
            opened = open_image(path, max_pixels=max_pixels, salvage=True)
            opened.notes.append(salvaged(error))
        image, metadata, pages = prepare(opened, note, color=color)
        dtype = {"uchar": "uint8", "ushort": "uint16", "float": "float32"}[image.format]
        layout = Layout(image.height, image.width, image.bands, dtype)
    return Look(layout, bool(turned), pages, metadata, opened.kind, opened.lossless, tuple(opened.notes))


def decode(
    path: Path,
    raw: Raw,
    tick: Tick = lambda done, total: None,
    *,
    color: Color = "keep",
    max_pixels: int = MAX_PIXELS,
    salvage: bool = False,
) -> list[str]:
    """Decode a picture into a raw file, in strips.

    Memory does not depend on the picture's height, except where its format cannot be read in order
    (interlaced PNG, progressive JPEG, WebP, AVIF).

    Args:
        path: the picture.
        raw: made for its `look(path).layout`.
        tick: told how far it is; twice from the start for a turned picture, and once more for a
            damaged one.
        color: as for `look`.
        max_pixels: as for `look`.
        salvage: as for `look`.

    Returns:
        What was found wrong among the pixels, in words.

    Raises:
        ImageError: the picture is damaged or truncated.
        OutputError: the disk is full.
    """
    with damaged(path):
        opened: Opened | None = None
        try:
            opened = open_image(path, max_pixels=max_pixels)
            try:
                _decode(opened, raw, tick, color)
                return []
            except vips().Error as error:
                if opened.kind != "jpeg":
                    why = why_refused(path, opened.kind, error)
                    raise ImageError(f"{DAMAGED} ({why})") from error
                opened = reopened(opened, path, error, max_pixels=max_pixels)
        except (vips().Error, ImageError) as error:
            if not salvage:
                raise
            opened = open_image(path, max_pixels=max_pixels, salvage=True)
            opened.notes.append(salvaged(error))
        _decode(opened, raw, tick, color)
        return opened.notes


def _decode(opened: Opened, raw: Raw, tick: Tick, color: Color) -> None:
    turned: list[Any] = []

    def later(image: Any) -> Any:
        turned.append(image.get("orientation"))
        return image

    image, _, _ = prepare(opened, later, color=color)
    if not turned:
        _copy(image, raw, tick)
        return
    # what comes first may be stored last: decode as stored, then turn from disk
    stored = Layout(image.height, image.width, raw.layout.bands, raw.layout.dtype)
    beside = raw.path.with_suffix(".stored")
    try:
        with Raw(beside, stored, create=True) as unturned:
            _copy(image, unturned, tick)
            _turn(unturned, raw, turned[0], tick)
    finally:
        beside.unlink(missing_ok=True)


def _copy(image: Any, raw: Raw, tick: Tick) -> None:
    region = vips().Region.new(image)
    for top in range(0, image.height, STRIP):
        rows = min(STRIP, image.height - top)
        strip = region.fetch(0, top, image.width, rows)
        pixels = np.frombuffer(strip, raw.layout.dtype).reshape(rows, image.width, raw.layout.bands)
        raw.write(top, 0, pixels)
        tick(top + rows, image.height)


def _turn(stored: Raw, raw: Raw, orientation: int, tick: Tick) -> None:
    """Copy upright what is stored with an EXIF orientation of 2 to 8, strip by strip."""
    height, width = stored.layout.height, stored.layout.width
    last = raw.layout.height
    for top in range(0, last, 4 * STRIP):
        bottom = min(last, top + 4 * STRIP)
        # mirrored orientations take their rows (or columns, where sides swap) from the other end
        there = slice(top, bottom) if orientation in (2, 5, 6) else slice(last - bottom, last - top)
        if orientation < 5:
            part = stored.read(there, slice(0, width))
        else:
            part = stored.read(slice(0, height), there)
        raw.write(top, 0, _UPRIGHT[orientation](part))
        tick(bottom, last)


_UPRIGHT: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda part: part[:, ::-1],
    3: lambda part: part[::-1, ::-1],
    4: lambda part: part[::-1],
    5: lambda part: part.swapaxes(0, 1),
    6: lambda part: part[::-1].swapaxes(0, 1),
    7: lambda part: part[::-1, ::-1].swapaxes(0, 1),
    8: lambda part: part[:, ::-1].swapaxes(0, 1),
}
"""What each EXIF orientation asks for."""


def _tiff_head(layout: Layout) -> bytes:
    """What makes a raw file a BigTIFF when put before it (TIFF 6.0 and Adobe's BigTIFF design).

    libvips' own loader of raw pixels maps the file, and mapped pages count as memory; its TIFF
    loader reads strips.
    """
    strips = -(-layout.height // STRIP)
    row = layout.width * layout.pixel
    sizes = [min(STRIP, layout.height - STRIP * number) * row for number in range(strips)]
    depth = 8 * np.dtype(layout.dtype).itemsize
    short, long = "H", "Q"
    tags: list[tuple[int, str, list[int]]] = [
        (256, long, [layout.width]),
        (257, long, [layout.height]),
        (258, short, [depth] * layout.bands),
        (259, short, [1]),  # not compressed
        (262, short, [1 if layout.bands < 3 else 2]),  # 0 is black; or RGB
        (273, long, [0] * strips),  # where strips lie: filled in below
        (277, short, [layout.bands]),
        (278, long, [STRIP]),
        (279, long, sizes),
        (284, short, [1]),  # pixel by pixel
    ]
    if layout.alpha:
        tags.append((338, short, [2]))  # the last channel is transparency, not multiplied in
    directory = 16 + 8 + 20 * len(tags) + 8
    values = sum(len(each) * struct.calcsize(kind) for _, kind, each in tags)
    first = directory + values + 8 * len(tags)  # with room for alignment
    tags[5] = (273, long, list(range(first, first + STRIP * row * strips, STRIP * row)))
    order = "<" if sys.byteorder == "little" else ">"
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQQ", 43, 8, 0, 16, len(tags))
    body = b""
    for tag, kind, each in tags:
        packed = struct.pack(f"{order}{len(each)}{kind}", *each)
        if len(packed) > 8:
            place = struct.pack(order + "Q", directory + len(body))
            body += packed + bytes(-len(packed) % 8)
        else:
            place = packed.ljust(8, b"\0")
        head += struct.pack(order + "HHQ", tag, {short: 3, long: 16}[kind], len(each)) + place
    return (head + bytes(8) + body).ljust(first, b"\0")


def _as_image(raw: Raw) -> Any:
    """A raw file as libvips' image, to be read once, from top to bottom."""
    head, size, place = _tiff_head(raw.layout), raw.layout.size, 0

    def read(wanted: int) -> bytes:
        nonlocal place
        data = head[place : place + wanted]
        if not data:
            try:
                data = raw.read_bytes(place - len(head), min(wanted, size + len(head) - place))
            except (OutputError, ValueError):  # closed: a stopped encoder reads on for a while
                return b""  # which libvips reports: this is called from its code, and cannot raise
        place += len(data)
        return data

    def seek(offset: int, whence: int) -> int:
        nonlocal place
        place = offset + {0: 0, 1: place, 2: len(head) + size}[whence]
        return place

    source = vips().SourceCustom()
    source.on_read(read)
    source.on_seek(seek)
    return vips().Image.new_from_source(source, "", access="sequential", fail_on="warning")


def encode(
    raw: Raw,
    target: Path,
    metadata: Mapping[str, tuple[int, Any]],
    tick: Tick = lambda done, total: None,
    *,
    options: WriteOptions | None = None,
    lossless: bool = False,
    check: Callable[[], None] = lambda: None,
) -> list[str]:
    """Encode a raw file, whole or not at all.

    TIFF is written in tiles of 256 x 256, and as BigTIFF from 2 GiB of pixels on.

    Args:
        raw: the pixels.
        target: the file to make or replace; its suffix decides the format.
        metadata: as in `camixersr.image.picture.Picture`.
        tick: told how far it is.
        options: as for `camixersr.image.encode.write`.
        lossless: as for `camixersr.image.encode.finish`.
        check: called now and then in the caller's thread; what it raises ends the encoding.

    Returns:
        What the format could not hold, in words.

    Raises:
        OutputError: the file cannot be written; nothing is left of it.
    """
    with unwritable(target):
        image = _as_image(raw)
        image, saver, notes = finish(target, image, metadata, options=options, lossless=lossless)
    if target.suffix.lower() in (".tif", ".tiff"):
        saver |= {"tile": True, "tile_width": 256, "tile_height": 256}
    image.set_progress(True)
    height = raw.layout.height
    image.signal_connect("eval", lambda _, progress: tick(progress.percent * height // 100, height))
    failures: list[Exception] = []

    def work(partial: Path) -> None:
        try:
            save(image, partial, saver)
        except Exception as error:  # noqa: BLE001  raised again below
            failures.append(error)

    remove_leftovers(target)  # of a run that was killed
    with replacing(target) as partial, unwritable(target):
        # libvips does not return until it is done; in a thread, so that Ctrl-C and SIGTERM are heard
        thread = threading.Thread(target=work, args=(partial,), name="encode", daemon=True)
        try:
            thread.start()
            while thread.is_alive():
                thread.join(0.2)
                check()
        finally:
            if thread.is_alive():
                image.set_kill(True)
                thread.join()
        for failure in failures:
            raise failure
        complete(partial, metadata, options=options)
    return notes


def encoding_seconds(target: Path, pixels: NDArray[np.uint8], options: WriteOptions | None = None) -> float:
    """Measure the encoder of a suffix: seconds a pixel, on a sample h x w x 3."""
    image, saver, _ = finish(target, vips().Image.new_from_array(pixels), {}, options=options)
    began = time.perf_counter()
    with unwritable(target):
        image.write_to_buffer(target.suffix.lower(), **saver)
    return (time.perf_counter() - began) / (pixels.shape[0] * pixels.shape[1])


def reduced(path: Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """A small copy of a picture, read in strips.

    Args:
        path: the picture.
        height: rows wanted.
        width: columns wanted.

    Returns:
        height x width x 3 uint8 RGB; transparency is dropped.

    Raises:
        ImageError: the picture is damaged.
    """
    # through a descriptor: libvips logs names, and pyvips takes them for UTF-8
    with damaged(path), path.open("rb") as file:
        source = vips().Source.new_from_descriptor(file.fileno())
        image = vips().Image.thumbnail_source(source, width, height=height, size="force")
        image = image.colourspace("srgb").extract_band(0, n=3).cast("uchar")
        return np.asarray(image.numpy()).reshape(height, width, 3)
