"""How a player is to turn a film: PyAV hands the display matrix of a stream on, and can set none.

So a template is made: a small MP4 whose track says how it is turned, which any container takes over.
"""

import io
import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import av

__all__ = ["turned"]

ONE = 1 << 16
"""One, in the fixed point of MP4's matrices."""

MATRICES = {90: (0, -ONE, ONE, 0), 180: (-ONE, 0, 0, -ONE), 270: (0, ONE, -ONE, 0)}
"""a, b, c, d by degrees anticlockwise (ISO/IEC 14496-12, 6.2.2)."""


@contextmanager
def turned(stream: Any, rotation: int) -> Generator[Any]:
    """A stream to take as a template, that says how it is turned.

    Args:
        stream: encoded frames.
        rotation: degrees, anticlockwise: 0, 90, 180 or 270.

    Yields:
        The stream itself where it is not turned.
    """
    if rotation not in MATRICES:
        yield stream
        return
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"strict": "-2"}) as container:
        made = container.add_stream_from_template(stream, opaque=True)
        packet = next(each for each in stream.container.demux(stream) if each.size)
        packet.stream = made
        packet.pts = packet.dts = 0
        container.mux_one(packet)
    content = bytearray(file.getvalue())
    place = content.index(b"tkhd") + 4
    version = content[place]
    at = place + (52 if version == 1 else 40)
    a, b, c, d = MATRICES[rotation]
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    with av.open(io.BytesIO(bytes(content))) as again:
        yield again.streams.video[0]
