"""EXIF blocks: keep what the camera said, correct what an enlargement makes untrue.

JPEG, PNG, WebP and AVIF carry EXIF as a block, which libvips copies. TIFF files spread it over
their own directories, which libvips neither reads nor writes: here it is gathered into a block, and
spread again.
"""

import io
import struct
from pathlib import Path
from typing import BinaryIO

from camixersr.image.ifd import BadDirectoryError, Entry, Layout, pack, read_directory, read_header

__all__ = ["correct", "from_tiff", "iptc_from_tiff", "is_dng", "orientation", "spread_into_tiff"]

EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
ORIENTATION, WIDTH, HEIGHT, IPTC = 0x0112, 0xA002, 0xA003, 33723
DESCRIPTION, DNG_VERSION = 0x010E, 50706

GEOREFERENCE = frozenset({33550, 33922, 34264, 34735, 34736, 34737})
"""Tags that tie pixels to the ground, and would be wrong for other pixels."""

OF_THE_FILE = (
    frozenset(
        (
            *range(254, 270),
            *range(273, 285),
            *range(286, 305),
            *range(317, 348),
            512,
            513,
            514,
            *range(515, 533),
        )
    )
    | GEOREFERENCE
    | {700, IPTC, 34377, 34675, EXIF, GPS, INTEROPERABILITY, ORIENTATION, 37724}
)
"""Tags of a TIFF's first directory that say how its pixels are stored, or that libvips copies."""


def _opened(block: bytes) -> tuple[BinaryIO, Layout, int]:
    file = io.BytesIO(block)
    return file, *read_header(file)


def orientation(block: bytes) -> int:
    """The orientation that a block tells, 1 to 8; 1 if it tells none."""
    try:
        file, layout, place = _opened(block)
        entry = read_directory(file, place, layout)[0].get(ORIENTATION)
    except BadDirectoryError:
        return 1
    numbers = entry.numbers(layout.order) if entry else ()
    return numbers[0] if numbers and 1 <= numbers[0] <= 8 else 1


def correct(block: bytes, *, height: int, width: int) -> bytes:
    """Say what is true of an upright picture of this size, and drop the thumbnail.

    Every other byte stays where it was, so that maker's notes, which point into the block, survive.

    Args:
        block: EXIF, beginning with its byte order mark.
        height: rows of the picture.
        width: columns of it.

    Returns:
        The corrected block; empty if `block` was none.
    """
    try:
        file, layout, place = _opened(block)
        first, following = read_directory(file, place, layout)
    except BadDirectoryError:
        return b""
    result = bytearray(block)

    def put(entry: Entry | None, value: int) -> None:
        if entry is None or entry.count != 1 or entry.kind not in (3, 4):
            return
        if entry.kind == 3 and value > 0xFFFF:
            return
        struct.pack_into(layout.order + ("H" if entry.kind == 3 else "I"), result, entry.place, value)

    put(first.get(ORIENTATION), 1)
    put(first.get(256), width)
    put(first.get(257), height)
    pointer = first.get(EXIF)
    if pointer is not None and pointer.numbers(layout.order):
        try:
            inner, _ = read_directory(file, pointer.numbers(layout.order)[0], layout)
        except BadDirectoryError:
            inner = {}
        put(inner.get(WIDTH), width)
        put(inner.get(HEIGHT), height)
    if following:
        (count,) = struct.unpack_from(layout.order + "H", block, place)
        struct.pack_into(layout.order + "I", result, place + 2 + 12 * count, 0)
    return bytes(result)


def _children(
    file: BinaryIO, entries: dict[int, Entry], layout: Layout
) -> dict[int, tuple[dict[int, Entry], dict[int, Entry]]]:
    """EXIF and GPS directories below a first one, each with its interoperability directory."""
    found: dict[int, tuple[dict[int, Entry], dict[int, Entry]]] = {}
    for tag in (EXIF, GPS):
        try:
            place = entries[tag].numbers(layout.order)[0]
            inner, _ = read_directory(file, place, layout)
        except (KeyError, IndexError, BadDirectoryError):
            continue
        innermost: dict[int, Entry] = {}
        if INTEROPERABILITY in inner:
            pointer = inner.pop(INTEROPERABILITY).numbers(layout.order)
            try:
                innermost, _ = read_directory(file, pointer[0], layout)
            except (IndexError, BadDirectoryError):
                innermost = {}
        found[tag] = inner, innermost
    return found


def _swap(entries: dict[int, Entry], before: str, after: str) -> dict[int, Entry]:
    return {tag: entry.swapped(before, after) for tag, entry in entries.items()}


def _pack_children(
    children: dict[int, tuple[dict[int, Entry], dict[int, Entry]]], before: str, layout: Layout, place: int
) -> tuple[dict[int, Entry], bytes]:
    """Write EXIF and GPS directories at `place`: the pointers to them, and their bytes."""
    pointers: dict[int, Entry] = {}
    written = b""
    for tag, (inner, innermost) in children.items():
        entries = _swap(inner, before, layout.order)
        if innermost:
            at = place + len(written)
            entries[INTEROPERABILITY] = Entry(4, struct.pack(layout.order + "I", at))
            written += pack(_swap(innermost, before, layout.order), layout, at)
        if not entries:
            continue
        at = place + len(written)
        kind, code = (13, "I") if not layout.big else (18, "Q")
        pointers[tag] = Entry(4 if kind == 13 else kind, struct.pack(layout.order + code, at))
        written += pack(entries, layout, at)
    return pointers, written


def from_tiff(file: BinaryIO, *, described: bool = True) -> bytes:
    """Gather what a TIFF file tells about its picture.

    Args:
        file: the TIFF file, seekable.
        described: with its description (ImageDescription).

    Returns:
        An EXIF block; empty if there is nothing in it.
    """
    try:
        layout, place = read_header(file)
        first, _ = read_directory(file, place, layout)
    except BadDirectoryError:
        return b""
    kept = {tag: entry for tag, entry in first.items() if tag not in OF_THE_FILE and entry.kind < 14}
    if not described:
        kept.pop(DESCRIPTION, None)
    children = _children(file, first, layout)
    if not kept and not children:
        return b""
    small = Layout(layout.order)
    mark = b"II*\0" if layout.order == "<" else b"MM\0*"
    pointers, inner = _pack_children(children, layout.order, small, 8)
    at = 8 + len(inner)
    return mark + struct.pack(layout.order + "I", at) + inner + pack({**kept, **pointers}, small, at)


def is_dng(file: BinaryIO) -> bool:
    """Whether a TIFF file is a camera's negative, whatever its name: it has a DNG version."""
    try:
        layout, place = read_header(file)
        return DNG_VERSION in read_directory(file, place, layout)[0]
    except BadDirectoryError:
        return False


def iptc_from_tiff(file: BinaryIO) -> bytes:
    """The IPTC records of a TIFF file; libvips gets their length wrong. Empty if there are none."""
    try:
        layout, place = read_header(file)
        first, _ = read_directory(file, place, layout)
    except BadDirectoryError:
        return b""
    return first[IPTC].data if IPTC in first else b""


def spread_into_tiff(path: Path, block: bytes, iptc: bytes = b"") -> None:
    """Add what blocks tell to the first directory of a TIFF file, which lacks it.

    The directory is written anew at the end of the file; pixels are not moved.

    Args:
        path: a whole TIFF file, changed in place.
        block: EXIF, beginning with its byte order mark; or empty.
        iptc: IPTC records; or empty.
    """
    told: dict[int, Entry] = {}
    children: dict[int, tuple[dict[int, Entry], dict[int, Entry]]] = {}
    theirs = Layout("<")
    try:
        source, theirs, begin = _opened(block)
        told, _ = read_directory(source, begin, theirs)
        children = _children(source, told, theirs)
    except BadDirectoryError:
        pass
    with path.open("r+b") as file:
        layout, place = read_header(file)
        entries, following = read_directory(file, place, layout)
        for tag, entry in _swap(told, theirs.order, layout.order).items():
            if tag not in OF_THE_FILE:
                entries[tag] = entry
        if iptc:
            entries[IPTC] = Entry(7, iptc)
        end = file.seek(0, io.SEEK_END)
        end += end % 2
        pointers, inner = _pack_children(children, theirs.order, layout, end)
        entries.update(pointers)
        file.seek(end)
        file.write(inner + pack(entries, layout, end + len(inner), following))
        file.seek(8 if layout.big else 4)
        file.write(struct.pack(layout.order + layout.offset, end + len(inner)))
