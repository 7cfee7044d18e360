"""What a film is: its picture stream, every frame's time, and what is copied beside it; and its frames.

A frame rate is never derived. Times are the `pts` that packets carry, in the stream's own `time_base`.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error
from av.filter import Graph
from av.video.frame import VideoFrame

from camixersr.errors import ImageError
from camixersr.image.files import beginning, shown
from camixersr.image.formats import kind_of
from camixersr.video.chroma import siting_of
from camixersr.video.colours import Colours, depth_of
from camixersr.video.opening import opened, picture_stream
from camixersr.video.side import LEFT_OUT, Light, display, side
from camixersr.video.side import light as light_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

__all__ = ["Film", "frames_of", "look"]

LOST = 0.5
"""Seconds that may be missing at the end of a film against what its head says: codecs round."""

LOOKED_AT = (0.0, 0.25, 0.5, 0.75)
"""Where in a film frames are decoded to see whether it is interlaced."""

HEIC = (b"heic", b"heix", b"heim", b"heis", b"mif1")
"""Brands of files that hold one picture."""


PROGRESSIVE = (0, 1)
"""FFmpeg's field orders: unknown, and none."""


@dataclass(frozen=True)
class Film:
    """A film that has been looked through.

    Attributes:
        path: the file.
        index: of the stream that is enlarged, among all.
        height: lines.
        width: columns.
        pixel_format: FFmpeg's name.
        colours: how they are coded.
        time_base: seconds a tick.
        times: of every frame, in ticks, rising.
        lasts: of every frame, how many ticks it is shown, as the film says; 0 where it does not.
        keys: times at which decoding can begin.
        rate: frames a second, on average: a hint for encoders; None if it is not known.
        aspect: width of a pixel, of its height; None if it is not said.
        rotation: degrees, anticlockwise, that a player turns it: 0, 90, 180, 270.
        display: the matrix that says so, and whether it is mirrored, in fixed point; None if there is none.
        interlaced: its frames are two fields each.
        light: of an HDR film; None where it is not said.
        dropped: what is inside the picture stream beside pictures and is left out, in words.
        transparent: it has an alpha channel.
    """

    path: Path
    index: int
    height: int
    width: int
    pixel_format: str
    colours: Colours
    time_base: Fraction
    times: tuple[int, ...]
    lasts: tuple[int, ...]
    keys: tuple[int, ...]
    rate: Fraction | None
    aspect: Fraction | None
    rotation: int
    display: tuple[int, ...] | None
    interlaced: bool
    light: Light | None = None
    dropped: tuple[str, ...] = ()
    transparent: bool = False

    @property
    def bits(self) -> int:
        """Of a channel."""
        return depth_of(self.pixel_format)

    @property
    def seconds(self) -> float:
        """From its first frame to the end of its last."""
        return float((self.times[-1] - self.times[0] + self.last_of(-1)) * self.time_base)

    def last_of(self, number: int) -> int:
        """Ticks that a frame is shown: until the next; the last one as it says, or as the one before."""
        number = number % len(self.times)
        if number + 1 < len(self.times):
            return self.times[number + 1] - self.times[number]
        return self.lasts[number] or (self.times[-1] - self.times[-2] if len(self.times) > 1 else 1)


def look(path: Path, *, salvage: bool = False, check: Callable[[], None] = lambda: None) -> Film:
    """Look a film through, without decoding more than a few frames.

    Args:
        path: the file.
        salvage: take what there is of a film that is cut short.
        check: called often; what it raises ends this.

    Returns:
        What there is to know of it.

    Raises:
        ImageError: no film, one without pictures, or one that is cut short.
    """
    head = beginning(path, 64)
    kind, name = kind_of(head), shown(path)
    if kind == "heic" and head[8:12] not in HEIC:
        kind = ""  # MP4 begins likewise
    if kind not in ("", "gif"):
        raise ImageError(f"{name}: expected a film, got a picture ({kind}); use `camixersr upscale`")
    with opened(path) as container:
        if container.format.name.endswith("_pipe") or container.format.name.startswith("image2"):
            raise ImageError(f"{name}: expected a film, got a picture; use `camixersr upscale`")
        stream = picture_stream(container)
        if stream is None:
            raise ImageError(f"{name}: expected a film, but it has no video stream")
        if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison] - it may be
            raise ImageError(f"{name}: expected a film, but there is no decoder for its video stream")
        times, lasts, keys = _times(container, stream, name, salvage=salvage, check=check)
        if kind and len(times) == 1:
            raise ImageError(f"{name}: expected a film, got a picture ({kind}); use `camixersr upscale`")
        return _film(path, container, stream, times, lasts, keys)


def _times(
    container: "InputContainer",
    stream: "VideoStream",
    name: str,
    *,
    salvage: bool,
    check: Callable[[], None],
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Read all packets: the times of frames, how long they last, and where decoding can begin."""
    found: dict[int, int] = {}
    keys: list[int] = []
    packets, end, damaged = 0, 0.0, False
    for number, packet in enumerate(container.demux()):
        if number % 1000 == 0:
            check()
        if packet.size == 0 or packet.pts is None:
            if packet.size and packet.stream.index == stream.index:
                raise ImageError(
                    f"{name}: expected a time on every frame, got one without; put it into another "
                    "container first (ffmpeg -i IN -c copy OUT.mkv)"
                )
            continue
        ends = packet.pts + (packet.duration or 0)
        end = max(end, float(ends * packet.time_base))
        if packet.stream.index != stream.index:
            continue
        packets += 1
        if packet.is_corrupt:
            damaged = True
            continue
        if packet.is_discard:  # decoded for others, and not shown
            continue
        found[packet.pts] = packet.duration or 0
        if packet.is_keyframe:
            keys.append(packet.pts)
    start = int(container.start_time or 0)  # it may be None
    if not found:
        raise ImageError(f"{name}: expected a film, but it has no frames")
    told = container.duration
    short = (
        told is not None
        and "mpegts" not in container.format.name
        and (end - start / av.time_base < told / av.time_base - LOST)
    )
    missing = stream.frames > packets and "mov" in container.format.name
    if not salvage and (damaged or short or missing):
        raise ImageError(
            f"{name}: expected {(told or 0) / av.time_base:.1f} s of film, got "
            f"{end - start / av.time_base:.1f} s: it is cut short or damaged; --salvage takes what there is"
        )
    times = sorted(found)
    return tuple(times), tuple(found[each] for each in times), tuple(sorted(keys))


def _film(
    path: Path,
    container: "InputContainer",
    stream: "VideoStream",
    times: tuple[int, ...],
    lasts: tuple[int, ...],
    keys: tuple[int, ...],
) -> Film:
    """Decode a few frames."""
    first: VideoFrame | None = None
    interlaced = stream.codec_context.field_order not in PROGRESSIVE
    dropped: dict[str, None] = {}
    for part in LOOKED_AT:
        container.seek(times[int(part * (len(times) - 1))], stream=stream)
        for frame in islice(container.decode(stream), 8):
            first = first or frame
            interlaced = interlaced or frame.interlaced_frame
            dropped |= {LEFT_OUT[each.type]: None for each in side(frame) if each.type in LEFT_OUT}
    if first is None:
        raise ImageError(f"{shown(path)}: expected a film, but none of its frames can be decoded")
    kind = first.format.name
    colours = Colours.of(
        kind,
        first.height,
        matrix=first.colorspace,
        range_=first.color_range,
        primaries=first.color_primaries,
        transfer=first.color_trc,
        siting=siting_of(stream),
    )
    aspect = stream.sample_aspect_ratio
    assert stream.time_base is not None
    return Film(
        path=path,
        index=stream.index,
        height=first.height,
        width=first.width,
        pixel_format=kind,
        colours=colours,
        time_base=stream.time_base,
        times=times,
        lasts=lasts,
        keys=keys or times[:1],
        rate=stream.average_rate,
        aspect=Fraction(aspect) if aspect else None,
        rotation=round(first.rotation / 90) * 90 % 360,
        display=display(first),
        interlaced=interlaced,
        light=light_of(first),
        dropped=tuple(dropped),
        transparent=len(first.format.components) in (2, 4),
    )


def frames_of(
    film: Film, first: int, stop: int, *, deinterlace: bool = False, salvage: bool = False
) -> Generator[VideoFrame]:
    """Decode some frames of a film, in the order in which they are shown.

    Args:
        film: from `look`.
        first: number of the first frame.
        stop: number after the last.
        deinterlace: make one whole frame of every two fields (bwdif).
        salvage: leave out frames that cannot be decoded, instead of refusing them.

    Yields:
        Frames, their `pts` in the film's time base.

    Raises:
        ImageError: a frame is damaged, or of another size.
    """
    begin = film.times[first]
    end = film.times[stop] if stop < len(film.times) else None
    # a deinterlacer sees the frames before and after
    around = film.times[max(0, first - 1)] if deinterlace else begin
    for seeking in (True, False):
        with opened(film.path) as container:
            stream = container.streams[film.index]
            assert stream.type == "video"
            if seeking:
                before = [each for each in film.keys if each <= around]
                container.seek(before[-1] if before else around, stream=stream)
            frames = _decoded(container, stream, film, salvage=salvage)
            if deinterlace:
                frames = _whole(frames, stream, film.time_base)
            late = False
            yielded = False
            for frame in frames:
                pts = frame.pts
                if pts is None or pts < begin:
                    continue
                if end is not None and pts >= end:
                    break
                if not yielded and pts > begin and seeking:
                    late = True  # the seek went too far
                    break
                yielded = True
                yield frame
        if not late:
            return


def _decoded(
    container: "InputContainer", stream: "Stream", film: Film, *, salvage: bool
) -> Generator[VideoFrame]:
    name = shown(film.path)
    for packet in container.demux(stream):
        try:
            frames: Any = _decode(packet)
        except av.error.InvalidDataError:
            if not salvage:
                raise
            continue
        for frame in frames:
            if frame.is_corrupt and not salvage:
                raise ImageError(
                    f"{name}: a frame at {_clock(frame)} is damaged; --salvage takes what there is"
                )
            if (frame.height, frame.width) != (
                film.height,
                film.width,
            ) or frame.format.name != film.pixel_format:
                raise ImageError(
                    f"{name}: expected frames of {film.width} x {film.height} in {film.pixel_format}, got "
                    f"{frame.width} x {frame.height} in {frame.format.name}, {_clock(frame)}; cut it there"
                )
            yield frame


def _decode(packet: "Packet[Any]") -> Any:
    return packet.decode()


def _clock(frame: VideoFrame) -> str:
    return f"{frame.time or 0.0:.2f} s"


def _whole(frames: Generator[VideoFrame], stream: Any, time_base: Fraction) -> Generator[VideoFrame]:
    """Frames of two fields as whole frames, as many as there were, at the same times."""
    graph = Graph()
    into = graph.add_buffer(template=stream, time_base=time_base)
    filter_ = graph.add("bwdif", "mode=send_frame:parity=auto:deint=all")
    out = graph.add("buffersink")
    into.link_to(filter_)
    filter_.link_to(out)
    graph.configure()

    def pull() -> Generator[VideoFrame]:
        while True:
            try:
                made = out.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(made, VideoFrame)
            assert made.time_base is not None
            assert made.pts is not None
            made.pts = int(made.pts * made.time_base / time_base)
            made.time_base = time_base
            yield made

    for frame in frames:
        into.push(frame)
        yield from pull()
    into.push(None)
    yield from pull()
