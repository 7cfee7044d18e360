"""Damaged JPEGs: what their structure and libjpeg's warnings tell, so that no half-grey picture passes.

libjpeg goes on where data is missing, with grey, and only warns. A file that was cut off, or whose
download did not finish, lacks its end marker (ITU-T T.81, B.1.1.3): that is looked for here, since
libjpeg stops at the last row and may never get there.
"""

import re
from typing import BinaryIO

__all__ = ["is_harmless", "missing"]

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in coded data 0xFF is followed by 0, or a restart
_PART = 1 << 20
_END = b"\xd9"
_ALONE = (0x01, 0xD8)  # markers without a length, restarts aside
_MOST = 100_000
"""Segments beyond which a file is not believed."""

_HARMLESS = re.compile(
    r"Unknown Adobe color transform|unknown JFIF revision|Inconsistent progression sequence|"
    r"Invalid SOS parameters|\b\d{1,2} extraneous bytes before marker 0xd9|bad ICC marker"
)


def is_harmless(message: str) -> bool:
    """Whether a warning of libjpeg is about anything but the pixels.

    Args:
        message: libvips' error, a line each.
    """
    said = [line for line in message.splitlines() if "VipsJpeg:" in line]
    return bool(said) and all(_HARMLESS.search(line) for line in said)


def missing(file: BinaryIO) -> str:
    """What a JPEG file lacks at its end, in words; empty if it ends as it should.

    Args:
        file: seekable, from its beginning.
    """
    file.seek(0, 2)
    size = file.tell()
    place = 2
    for _ in range(_MOST):
        place = _next_marker(file, place)  # past fill bytes, and coded data after the head of a scan
        file.seek(max(place, 0))
        head = file.read(4)
        if place < 0 or len(head) < (2 if head[1:2] == _END else 4):
            return _cut(file, size)
        if head[1:2] == _END:
            return ""
        place += 2 if head[1] in _ALONE else 2 + int.from_bytes(head[2:], "big")
    return f"it has more than {_MOST} segments"


def _next_marker(file: BinaryIO, place: int) -> int:
    """Where the next marker lies; -1 if there is none."""
    file.seek(place)
    before, size = b"", 256  # most markers follow at once
    while part := file.read(size):
        found = _MARKER.search(before + part)
        if found:
            return place - len(before) + found.start()
        place += len(part)
        before, size = part[-1:], _PART
    return -1


def _cut(file: BinaryIO, size: int) -> str:
    """Say how the file ends."""
    zeros = 0
    while zeros < size:
        start = max(0, size - zeros - _PART)
        file.seek(start)
        part = file.read(size - zeros - start)
        left = part.rstrip(b"\0")
        zeros += len(part) - len(left)
        if left:
            break
    if zeros >= 64:
        return f"its last {zeros} of {size} bytes are zeros, as of a download that did not finish"
    return f"it ends after {size} bytes without its end marker, so it was cut off"
