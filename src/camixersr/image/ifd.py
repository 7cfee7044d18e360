"""Directories of tags: the skeleton that TIFF files and EXIF blocks share.

An image file directory (IFD) is a count, entries of tag, type, number of values and the values (or
where they lie), and the offset of the next directory (TIFF 6.0, section 2; BigTIFF widens the
offsets to eight bytes). Values are kept as the bytes they were, so that what is copied is not
interpreted. Nothing here trusts a number that a file holds.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["BadDirectoryError", "Entry", "Layout", "pack", "read_directory", "read_header"]

UNITS = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 4,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 4,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
"""Type -> bytes of what is swapped between byte orders (a rational is two numbers of four)."""

SIZES = {**UNITS, 5: 8, 10: 8}
"""Type -> bytes a value."""

LONGEST = 1 << 26
"""Bytes of values in one entry beyond which a directory is not believed."""


class BadDirectoryError(ValueError):
    """The bytes are no directory."""


@dataclass(frozen=True)
class Layout:
    """How numbers are written: `order` is struct's "<" or ">", `big` means BigTIFF."""

    order: str
    big: bool = False

    @property
    def offset(self) -> str:
        """Struct code of an offset, and of a number of values."""
        return "Q" if self.big else "I"

    @property
    def entry_size(self) -> int:
        """Bytes an entry."""
        return 20 if self.big else 12

    @property
    def inline(self) -> int:
        """Bytes of values that an entry itself has room for."""
        return 8 if self.big else 4


@dataclass(frozen=True)
class Entry:
    """One tag.

    Attributes:
        kind: TIFF type, a key of `SIZES`.
        data: the values, in the byte order of the file they came from.
        place: where `data` lies in that file.
    """

    kind: int
    data: bytes
    place: int = 0

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.data) // SIZES[self.kind]

    def numbers(self, order: str) -> tuple[int, ...]:
        """Values of an integer type; empty for any other."""
        code = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.kind)
        return struct.unpack(f"{order}{self.count}{code}", self.data) if code else ()

    def swapped(self, before: str, after: str) -> "Entry":
        """The same values in another byte order."""
        unit = UNITS[self.kind]
        if before == after or unit == 1:
            return self
        pieces = (self.data[at : at + unit][::-1] for at in range(0, len(self.data), unit))
        return Entry(self.kind, b"".join(pieces), self.place)


def _exactly(file: BinaryIO, place: int, length: int) -> bytes:
    try:
        file.seek(place)
        data = file.read(length)
    except (OverflowError, OSError, ValueError) as error:
        raise BadDirectoryError(str(error)) from error
    if len(data) != length:
        raise BadDirectoryError("an offset points beyond the end")
    return data


def read_header(file: BinaryIO) -> tuple[Layout, int]:
    """Read the eight (sixteen) bytes that begin a TIFF file or an EXIF block.

    Returns:
        The layout, and where the first directory lies.

    Raises:
        BadDirectoryError: no such header.
    """
    head = _exactly(file, 0, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise BadDirectoryError("no byte order mark")
    (version,) = struct.unpack(f"{order}H", head[2:4])
    if version == 42:
        return Layout(order), struct.unpack(f"{order}I", head[4:8])[0]
    if version == 43:
        return Layout(order, big=True), struct.unpack(f"{order}Q", _exactly(file, 8, 8))[0]
    raise BadDirectoryError(f"version {version}")


def read_directory(file: BinaryIO, place: int, layout: Layout) -> tuple[dict[int, Entry], int]:
    """Read one directory; entries that make no sense are left out.

    Args:
        file: the whole file or block.
        place: where the directory begins.
        layout: from `read_header`.

    Returns:
        Tag -> entry, and where the next directory lies (0 if there is none).

    Raises:
        BadDirectoryError: there is no directory at that place.
    """
    order, offset = layout.order, layout.offset
    head = 8 if layout.big else 2
    (count,) = struct.unpack(order + ("Q" if layout.big else "H"), _exactly(file, place, head))
    if not 0 < count <= 4096:
        raise BadDirectoryError(f"{count} entries")
    table = _exactly(file, place + head, count * layout.entry_size)
    entries: dict[int, Entry] = {}
    for number in range(count):
        start = number * layout.entry_size
        tag, kind, values = struct.unpack_from(f"{order}HH{offset}", table, start)
        if kind not in SIZES or not 0 < values * SIZES[kind] <= LONGEST:
            continue
        where = start + layout.entry_size - layout.inline
        size = values * SIZES[kind]
        if size <= layout.inline:
            entries[tag] = Entry(kind, table[where : where + size], place + head + where)
            continue
        (at,) = struct.unpack_from(order + offset, table, where)
        try:
            entries[tag] = Entry(kind, _exactly(file, at, size), at)
        except BadDirectoryError:
            continue
    end = place + head + len(table)
    try:
        (following,) = struct.unpack(order + offset, _exactly(file, end, layout.inline))
    except BadDirectoryError:
        following = 0  # EXIF blocks are seen that end here
    return entries, following


def pack(entries: Mapping[int, Entry], layout: Layout, place: int, following: int = 0) -> bytes:
    """Write one directory, with its values behind it.

    Args:
        entries: tag -> entry, in the byte order of `layout`.
        layout: how to write.
        place: where the directory will lie; even.
        following: where the next directory lies.

    Returns:
        The bytes, an even number of them.
    """
    order, offset = layout.order, layout.offset
    head = 8 if layout.big else 2
    table = struct.pack(order + ("Q" if layout.big else "H"), len(entries))
    data = b""
    data_place = place + head + len(entries) * layout.entry_size + layout.inline
    for tag in sorted(entries):
        entry = entries[tag]
        table += struct.pack(f"{order}HH{offset}", tag, entry.kind, entry.count)
        if len(entry.data) <= layout.inline:
            table += entry.data.ljust(layout.inline, b"\0")
        else:
            table += struct.pack(order + offset, data_place + len(data))
            data += entry.data + b"\0" * (len(entry.data) % 2)
    return table + struct.pack(order + offset, following) + data
