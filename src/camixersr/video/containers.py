"""Files that hold films: how to tell them apart without FFmpeg, and which of them are written."""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["ALONE", "SUFFIXES", "WRITTEN", "container_of", "suffix_for"]

WRITTEN: Mapping[str, str] = {
    ".mkv": "matroska",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".webm": "webm",
}
"""Suffix -> FFmpeg's name, of the containers that are written."""

_READ = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".mpeg", ".mpg", ".mts", ".mxf", ".ogg", ".ogv", ".ts", ".vob",
    ".wmv",
)  # fmt: skip
SUFFIXES = frozenset(WRITTEN) | frozenset(_READ)
"""Suffixes that films have."""

ALONE = "asf,avi,flv,matroska,mov,mp4,mpeg,mpegts,mxf,ogg,webm"
"""FFmpeg's names of containers that hold all that belongs to them; playlists name other files."""

_PICTURES = (
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx ",
)  # fmt: skip
"""Brands of files that begin as MP4 does and hold pictures."""

_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def container_of(head: bytes) -> str:
    r"""Tell a container by how a file begins.

    >>> container_of(b"\x1aE\xdf\xa3\x9fB\x86\x81"), container_of(b"GIF89a")
    ('matroska', '')

    Args:
        head: the first 400 bytes or more.

    Returns:
        One of `ALONE`; empty if it is none of them.
    """
    for mark, name in (
        (b"\x1aE\xdf\xa3", "matroska"),
        (b"\0\0\x01\xba", "mpeg"),
        (b"FLV\x01", "flv"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
        (b"OggS", "ogg"),
        (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", "mxf"),
    ):
        if head.startswith(mark):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in _ATOMS and not (head[4:8] == b"ftyp" and head[8:12] in _PICTURES):
        return "mov"
    for first, step in ((0, 188), (4, 192)):  # with a time before each packet, as cameras write them
        if head[first : first + 2 * step + 1 : step] == b"GGG" and not head.startswith(b"GIF8"):
            return "mpegts"
    return ""


def suffix_for(name: str) -> str:
    """The suffix of a result: that of the film, if such films are written; else .mkv.

    >>> suffix_for("holiday.MP4"), suffix_for("tape.avi")
    ('.MP4', '.mkv')
    """
    suffix = Path(name).suffix
    return suffix if suffix.lower() in WRITTEN else ".mkv"
