"""What is wrong with a PNG that a decoder refuses: libpng's own words seldom reach us."""

import struct
import zlib
from typing import BinaryIO

__all__ = ["fault"]

_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bit depths that each colour type may have (PNG, third edition, 11.2.1)."""

_PART = 1 << 20


def fault(file: BinaryIO) -> str:
    """The first thing that is wrong, in words; empty if every chunk is as it should be.

    Args:
        file: a PNG, seekable.
    """
    file.seek(8)
    place, data = 8, 0
    while True:
        head = file.read(8)
        if len(head) < 8:
            return f"it ends after {place + len(head)} bytes, before its end chunk"
        length, kind = struct.unpack(">I4s", head)
        if not kind.isalpha() or length > 2**31 - 1:
            return f"there is no chunk at byte {place}"
        check, left, body = zlib.crc32(kind), length, b""
        while left and (part := file.read(min(left, _PART))):
            check, left, body = zlib.crc32(part, check), left - len(part), body or part
        name, stored = kind.decode(), file.read(4)
        if left or len(stored) < 4:
            return f"it is cut off in its chunk {name} at byte {place}"
        if place == 8 and (kind != b"IHDR" or length != 13):
            return "it has no header"
        if place == 8 and (wrong := _header_fault(body)):
            return wrong
        if int.from_bytes(stored, "big") != check:
            return f"its chunk {name} at byte {place} is damaged: the checksum differs"
        if kind == b"IEND":
            return "" if data else "it has no data of pixels"
        data += kind == b"IDAT"
        place += 12 + length


def _header_fault(body: bytes) -> str:
    width, height, bits, colour = struct.unpack_from(">IIBB", body)
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        return f"its header says {width} x {height} pixels"
    if bits not in _BITS.get(colour, ()):
        return f"its header says {bits} bits of colour type {colour}, which there is not"
    return ""
