"""What is shown of a film before and after it is enlarged: its head, and single frames of it."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ImageError
from camixersr.image.fallback import TooLargeError
from camixersr.image.files import shown
from camixersr.video.colours import Colours
from camixersr.video.containers import ALONE
from camixersr.video.film import frames_of, look
from camixersr.video.opening import opened, picture_stream

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Head", "head", "poster", "still"]

POSTER_AT = 0.1
"""Where in a film its poster is, of its whole length: the first frame is often black."""


@dataclass(frozen=True)
class Head:
    """What the head of a film says; none of it is sure until all of the film has been read.

    Attributes:
        container: FFmpeg's name.
        codec: likewise.
        width: columns, as it is shown.
        height: lines, as it is shown.
        frames: how many; None where it is not said.
        seconds: how long; None where it is not said.
    """

    container: str
    codec: str
    width: int
    height: int
    frames: int | None
    seconds: float | None

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def head(path: Path, *, max_pixels: int) -> Head:
    """Read the head of a film, and decode its first frame. Playlists and other lists of files are refused.

    Args:
        path: the film.
        max_pixels: of a frame; more are refused.

    Raises:
        ImageError: no film, one without pictures, or one that cannot be decoded.
        TooLargeError: its frames have too many pixels.
    """
    with opened(path, containers=ALONE) as container:
        stream = _stream(path, container)
        context = stream.codec_context
        _require_pixels(context.width, context.height, max_pixels)
        frame = _first(path, container, stream)
        _require_pixels(frame.width, frame.height, max_pixels)
        seconds = _seconds(container, stream)
        rate = stream.average_rate
        frames = stream.frames or (round(seconds * rate) if seconds is not None and rate else None)
        width, height = (frame.height, frame.width) if _turns(frame) % 2 else (frame.width, frame.height)
        return Head(container.format.name, context.name, width, height, frames, seconds)


def poster(path: Path) -> NDArray[Any]:
    """A frame near the beginning of a film, upright.

    Returns:
        H x W x 3, uint8 or uint16.

    Raises:
        ImageError: nothing can be decoded.
    """
    with opened(path, containers=ALONE) as container:
        stream = _stream(path, container)
        seconds = _seconds(container, stream)
        if seconds:
            start = container.start_time or 0
            container.seek(int(start + POSTER_AT * seconds * av.time_base))
        try:
            frame = _first(path, container, stream)
        except ImageError:  # nothing there: it ends before it says
            container.seek(container.start_time or 0)
            frame = _first(path, container, stream)
        return _upright(frame, _colours(frame))


def still(path: Path, number: int) -> NDArray[Any]:
    """A frame of a film, upright.

    Args:
        path: the film.
        number: of the frame, from 0; the last one where there are fewer.

    Returns:
        H x W x 3, uint8 or uint16.

    Raises:
        ImageError: it cannot be decoded.
    """
    film = look(path, salvage=True)
    number = min(number, len(film.times) - 1)
    for frame in frames_of(film, number, len(film.times), salvage=True):
        return _upright(frame, film.colours)
    raise _undecodable(path)


def _undecodable(path: Path) -> ImageError:
    return ImageError(f"{shown(path)}: expected a film, but none of its frames can be decoded")


def _stream(path: Path, container: "InputContainer") -> "VideoStream":
    stream = picture_stream(container)
    if stream is None:
        raise ImageError(f"{shown(path)}: expected a film, but it has no video stream")
    if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison] - it may be
        raise ImageError(f"{shown(path)}: expected a film, but there is no decoder for its video stream")
    return stream


def _first(path: Path, container: "InputContainer", stream: "VideoStream") -> "VideoFrame":
    for packet in container.demux(stream):
        with suppress(av.error.InvalidDataError):  # what is damaged is said when the film is read
            for frame in packet.decode():
                return frame
    raise _undecodable(path)


def _seconds(container: "InputContainer", stream: "VideoStream") -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _require_pixels(width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise TooLargeError(f"frames of {width} x {height} pixels are more than the limit of {limit}")


def _turns(frame: "VideoFrame") -> int:
    """Quarters of a turn, anticlockwise, that a player turns it."""
    return round(frame.rotation / 90) % 4


def _colours(frame: "VideoFrame") -> Colours:
    return Colours.of(
        frame.format.name,
        frame.height,
        matrix=frame.colorspace,
        range_=frame.color_range,
        primaries=frame.color_primaries,
        transfer=frame.color_trc,
    )


def _upright(frame: "VideoFrame", colours: Colours) -> NDArray[Any]:
    return np.ascontiguousarray(np.rot90(colours.pixels(frame), _turns(frame)))
