"""Chroma of half the columns or lines, to that of all and back, from where its samples lie.

A sample of 4:2:0 lies at the left of two columns of luma and between two lines (MPEG-2, H.264, most films),
between both (JPEG, MPEG-1), or at the upper left (HDR discs). Who takes one for another shifts colours by
half a pixel. Places are those of H.273 and FFmpeg (`AVChromaLocation`). Kernels are bicubic (Keys,
a = -0.5), widened where they reduce.
"""

from io import BytesIO
from typing import Any, Literal

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from camixersr.image.resize import cubic

__all__ = ["Siting", "planar", "reduced", "siting_of", "spread"]

Siting = Literal["left", "center", "topleft", "top"]
"""Where a sample of chroma lies among those of luma; FFmpeg's names."""

_PLACES: dict[tuple[int, int], Siting] = {
    (1, 2): "left", (2, 2): "center", (1, 1): "topleft", (2, 1): "top",
}  # fmt: skip
"""By Matroska's ChromaSitingHorz and ChromaSitingVert: 1 is beside the first sample, 2 is half way."""

_MASTERS = {0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x55B0}
"""Matroska's Segment, Tracks, TrackEntry, Video and Colour."""


def siting_of(stream: Any) -> Siting:
    """Where a stream's chroma lies; "left", as players take it, where it is not said.

    PyAV does not tell. FFmpeg's Matroska writer does, in the head of a file that is never written.

    Args:
        stream: of a container that is open.
    """
    head = BytesIO()
    try:
        with av.open(head, "w", format="matroska") as made:
            made.add_stream_from_template(stream, opaque=True)
            made.start_encoding()
            content = head.getvalue()
    except (ValueError, av.error.FFmpegError):  # a codec that Matroska does not hold
        return "left"
    found: dict[int, int] = {}
    _walk(content, 0, len(content), found)
    return _PLACES.get((found.get(0x55B7, 0), found.get(0x55B8, 0)), "left")


def _walk(content: bytes, place: int, end: int, found: dict[int, int]) -> None:
    """Read elements of EBML down to those of colour: number -> value."""
    while place < end:
        element, place = _number(content, place, keep=True)
        size, place = _number(content, place, keep=False)
        stop = min(place + size, end)
        if element in _MASTERS:
            _walk(content, place, stop, found)
        elif element in (0x55B7, 0x55B8):
            found[element] = int.from_bytes(content[place:stop], "big")
        place = stop


def _number(content: bytes, place: int, *, keep: bool) -> tuple[int, int]:
    """A number of one to eight bytes, with the bits that say its length or without; and where it ends."""
    first = content[place] if place < len(content) else 0
    length = 9 - first.bit_length() if first else 8
    value = int.from_bytes(content[place : place + length], "big")
    return value if keep else value & ((1 << 7 * length) - 1), place + length


def planar(kind: av.VideoFormat, bits: int) -> tuple[str, int, int]:
    """Planes for a format, without alpha: FFmpeg's name; and luma for one of chroma, across and down.

    Args:
        kind: of luma and chroma.
        bits: of a channel.
    """
    across, down = 256 // kind.chroma_width(256), 256 // kind.chroma_height(256)
    names = {
        (1, 1): "yuv444p", (2, 1): "yuv422p", (2, 2): "yuv420p",
        (1, 2): "yuv440p", (4, 1): "yuv411p", (4, 4): "yuv410p",
    }  # fmt: skip
    ending = "" if bits <= 8 else f"{bits}le"
    name = f"{names.get((across, down), '')}{ending}"
    try:
        av.VideoFormat(name)
    except ValueError:
        return f"yuv444p{ending}", 1, 1
    return name, across, down


def _offset(factor: int, *, beside: bool) -> float:
    """Where the first sample of chroma lies, in samples of luma."""
    return 0.0 if beside or factor == 1 else (factor - 1) / 2


def _offsets(siting: Siting, across: int, down: int) -> tuple[float, float]:
    """Of lines and of columns."""
    return (
        _offset(down, beside=siting in ("topleft", "top")),
        _offset(across, beside=siting in ("left", "topleft")),
    )


def spread(
    plane: NDArray[np.float32], height: int, width: int, across: int, down: int, siting: Siting
) -> NDArray[np.float32]:
    """Chroma for every sample of luma.

    Args:
        plane: ceil(height / down) x ceil(width / across).
        height: lines of luma.
        width: columns of luma.
        across: columns of luma for one of chroma.
        down: lines, likewise.
        siting: where samples lie.

    Returns:
        height x width.
    """
    lines, columns = _offsets(siting, across, down)
    plane = _grown(plane, height, down, lines)
    return _grown(plane.T, width, across, columns).T


def reduced(plane: NDArray[np.float32], across: int, down: int, siting: Siting) -> NDArray[np.float32]:
    """Chroma of fewer lines and columns; the way back of `spread`.

    Args:
        plane: height x width.
        across: as for `spread`.
        down: likewise.
        siting: where samples are to lie.

    Returns:
        ceil(height / down) x ceil(width / across).
    """
    lines, columns = _offsets(siting, across, down)
    plane = _shrunk(plane, down, lines)
    return _shrunk(plane.T, across, columns).T


def _taps(position: float, squeeze: float) -> tuple[int, NDArray[np.float32]]:
    """Samples that make the one at a position: the first, and the weight of each."""
    reach = 2.0 / squeeze
    index = np.arange(int(np.ceil(position - reach)), int(np.floor(position + reach)) + 1)
    weights = cubic(squeeze * (position - index))
    used = np.flatnonzero(weights)
    index, weights = index[used[0] : used[-1] + 1], weights[used[0] : used[-1] + 1]
    return int(index[0]), (weights / weights.sum()).astype(np.float32)


def _padded(plane: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    return np.pad(plane, ((by, by), (0, 0)), mode="symmetric")


def _grown(plane: NDArray[np.float32], target: int, factor: int, offset: float) -> NDArray[np.float32]:
    if factor == 1:
        return plane
    around = 4
    padded = _padded(plane, around)
    made = np.empty((target, plane.shape[1]), np.float32)
    for phase in range(min(factor, target)):
        first, weights = _taps((phase - offset) / factor, 1.0)
        count = len(range(phase, target, factor))
        begin = around + first
        made[phase::factor] = sum(
            weight * padded[begin + tap : begin + tap + count] for tap, weight in enumerate(weights)
        )
    return made


def _shrunk(plane: NDArray[np.float32], factor: int, offset: float) -> NDArray[np.float32]:
    if factor == 1:
        return plane
    around = 4 * factor
    padded = _padded(plane, around)
    target = -(-plane.shape[0] // factor)
    first, weights = _taps(offset, 1.0 / factor)
    begin = around + first
    return sum(weight * padded[begin + tap :: factor][:target] for tap, weight in enumerate(weights))  # pyright: ignore[reportReturnType] - of arrays
