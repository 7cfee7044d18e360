"""Several pages in one TIFF file: which there are, and pages written singly put behind one another."""

import io
import json
import shutil
import struct
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from camixersr.image.files import open_regular
from camixersr.image.ifd import BadDirectoryError, Entry, Layout, pack, read_directory, read_header

__all__ = ["Page", "append", "full_pages", "layout_in", "misread", "pages_of"]

STRIPS, TILES = 273, 324  # tags whose values are places in the file


class Page(NamedTuple):
    """A page of a TIFF: the number of its directory, from 0, and where that lies in the file."""

    number: int
    place: int


def full_pages(file: BinaryIO) -> tuple[Page, ...]:
    """Directories that are pages, not thumbnails or reduced copies of one (a pyramid).

    Args:
        file: a TIFF file, seekable.

    Returns:
        The pages, in order; empty if the file cannot be followed.
    """
    found: list[Page] = []
    seen: set[int] = set()
    try:
        layout, place = read_header(file)
        while place and place not in seen and len(seen) < 65_536:
            entries, following = read_directory(file, place, layout)
            kind = entries[254].numbers(layout.order) if 254 in entries else (0,)
            if kind and not kind[0] & 1:
                found.append(Page(len(seen), place))
            seen.add(place)
            place = following
    except BadDirectoryError:
        pass
    return tuple(found)


def pages_of(source: Path | bytes) -> tuple[Page, ...]:
    """The full pages of a TIFF; of a file they are looked for once, however many are read.

    Args:
        source: the file, or its content.
    """
    if isinstance(source, bytes):
        return full_pages(io.BytesIO(source))
    there = source.stat()
    return _pages_of(source, there.st_size, there.st_mtime_ns)


@lru_cache(maxsize=8)
def _pages_of(path: Path, _size: int, _changed: int) -> tuple[Page, ...]:
    with open_regular(path) as file:
        return full_pages(file)


def misread(file: BinaryIO, page: Page) -> str:
    """What libvips would take for RGB although it is not, in words; empty as a rule.

    Args:
        file: a TIFF file, seekable.
        page: one of it.
    """
    try:
        layout, _ = read_header(file)
        entries, _ = read_directory(file, page.place, layout)
    except BadDirectoryError:
        return ""

    def value(tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        return (entries[tag].numbers(layout.order) if tag in entries else ()) or default

    colours, compression = value(262, (1,))[0], value(259, (1,))[0]
    if colours == 6 and compression not in (6, 7):  # 6 and 7 are JPEG, whose decoder converts
        if value(284, (1,))[0] == 2:
            return "YCbCr in separate planes"
        if value(530, (2, 2)) == (1, 1):
            return "YCbCr that is not subsampled"
    return {9: "ICC LAB", 10: "ITU LAB"}.get(colours, "")


def layout_in(description: str) -> tuple[str, bool]:
    """Whose description of a file's own layout a text is: its readers believe it more than the tags.

    >>> layout_in('{"shape": [20, 30, 3]}')
    ("tifffile's shape", False)
    >>> layout_in("a holiday")
    ('', False)

    Args:
        description: from the tag ImageDescription.

    Returns:
        What it is, in words, empty for any other text; and whether it tells more than sizes.
    """
    text = description.lstrip("\ufeff \r\n\t")
    if text.startswith("ImageJ="):
        return "ImageJ's", True
    if text.startswith("<") and "<OME" in text[:2000]:
        return "OME-XML", True
    if text.startswith("{") and '"shape"' in text:
        try:
            names = set(json.loads(text))
        except (ValueError, RecursionError, TypeError):
            names = set()
        return "tifffile's shape", names != {"shape"}
    return "", False


def append(page: Path, *, to: Path, pointer: int) -> int:
    """Put a one-page TIFF behind the pages of another.

    Args:
        page: written by libvips, in the byte order and kind (classic or BigTIFF) of `to`.
        to: a TIFF, or an empty file.
        pointer: what the call for the page before returned, so that no page costs more than another; 0
            for an empty file.

    Returns:
        Where the last directory keeps the place of the one that may follow.
    """
    if to.stat().st_size == 0:
        shutil.copyfile(page, to)
        with to.open("rb") as target:
            layout, place = read_header(target)
            return _pointer_behind(target, place, layout)
    with page.open("rb") as source, to.open("r+b") as target:
        layout, place = read_header(source)
        entries, _ = read_directory(source, place, layout)
        base = target.seek(0, io.SEEK_END)
        base += base % 2
        target.seek(base)
        source.seek(0)
        shutil.copyfileobj(source, target, 1 << 20)
        for tag in (STRIPS, TILES):
            if tag in entries:
                moved = [base + number for number in entries[tag].numbers(layout.order)]
                code = layout.offset
                data = struct.pack(f"{layout.order}{len(moved)}{code}", *moved)
                entries[tag] = Entry(16 if layout.big else 4, data)
        directory = target.tell()
        directory += directory % 2
        target.seek(directory)
        target.write(pack(entries, layout, directory))
        target.seek(pointer)
        target.write(struct.pack(layout.order + layout.offset, directory))
        return _pointer_behind(target, directory, layout)


def _pointer_behind(file: BinaryIO, place: int, layout: Layout) -> int:
    """Where a directory keeps the place of the next one."""
    head = 8 if layout.big else 2
    file.seek(place)
    (count,) = struct.unpack(layout.order + ("Q" if layout.big else "H"), file.read(head))
    return place + head + count * layout.entry_size
