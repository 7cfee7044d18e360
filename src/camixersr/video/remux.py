"""The film that results: segments one after another, and all else as it was, packet for packet."""

import io
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream

from camixersr.errors import OutputError, UsageError
from camixersr.image.files import replacing, shown
from camixersr.video.encode import STEP, container_name
from camixersr.video.film import Film
from camixersr.video.opening import opened, reading

__all__ = ["Part", "copied", "remux"]

MOST = 2**31 - 1
"""Greatest number of ticks a second that MP4 can say."""


UNTRUE = (
    "ENCODER", "encoder", "DURATION", "BPS", "NUMBER_OF_", "_STATISTICS_", "vendor_id",
    "major_brand", "minor_version", "compatible_brands",
)  # fmt: skip
"""Beginnings of the names of tags that tell of the file, or the stream, that was."""


@dataclass(frozen=True)
class Part:
    """A segment that has been encoded.

    Attributes:
        path: its file.
        times: of its frames, in ticks of the film.
    """

    path: Path
    times: Sequence[int]


def copied(film: Film, target: Path, leave_out: frozenset[str]) -> tuple[list[int], list[str]]:
    """Which streams are copied; refuse what the container cannot hold before anything is computed.

    Args:
        film: from `look`.
        target: the file to make.
        leave_out: kinds of streams: "audio", "subtitle", "data", "attachment".

    Returns:
        Numbers of the streams, and in words what cannot be copied at all.

    Raises:
        UsageError: the container cannot hold one of them.
    """
    numbers: list[int] = []
    notes: list[str] = []
    with opened(film.path) as source, av.open(io.BytesIO(), "w", format=container_name(target)) as trial:
        for stream in source.streams:
            if stream.index == film.index or stream.type in leave_out:
                continue
            words = f"{stream.type} stream {stream.index} ({_codec(stream)})"
            if stream.type == "data" and stream.name == "bin_data" and source.chapters():
                continue  # an MP4 has its chapters' titles twice
            if stream.type not in ("audio", "subtitle", "video", "attachment"):
                notes.append(
                    f"{words} is left out: only sound, subtitles, pictures and attachments are copied"
                )
                continue
            if stream.type == "video" and not _is_cover(stream):
                notes.append(f"{words} is left out: only the first video stream is enlarged")
                continue
            if stream.type == "attachment" and trial.format.name != "matroska":
                notes.append(f"{words} is left out: {target.suffix} holds no attachments")
                continue
            try:
                if not _is_cover(stream) or trial.format.name == "mp4":
                    trial.add_stream_from_template(stream, opaque=True)
                elif trial.format.name != "matroska":  # FFmpeg's MOV would pass over it without a word
                    raise ValueError
            except (ValueError, av.error.FFmpegError):
                if _is_cover(stream):
                    notes.append(f"its cover, {words}, is left out: {target.suffix} cannot hold it")
                    continue
                raise UsageError(
                    f"{target.suffix} cannot hold {words}; use .mkv, or --without {stream.type}"
                ) from None
            numbers.append(stream.index)
    return numbers, notes


def _is_cover(stream: Any) -> bool:
    """Whether it is one picture that stands for the film."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def _codec(stream: Stream) -> str:
    context: Any = stream.codec_context
    return stream.name or "unknown" if context is None else context.name


def remux(
    film: Film,
    parts: Sequence[Part],
    target: Path,
    *,
    copy: Sequence[int],
    aspect: Fraction | None,
    begin: Fraction | None,
    end: Fraction | None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write the film, whole or not at all.

    Args:
        film: the source.
        parts: in order.
        target: the file to make or replace.
        copy: numbers of streams to copy.
        aspect: width of a pixel of the result, of its height.
        begin: seconds of the source at which the result begins, and where its clock shows 0; None for the
            source's own beginning, and its own clock.
        end: where copied streams end; None for their ends.
        check: called often; what it raises ends this.

    Raises:
        OutputError: the container cannot hold something, or the file cannot be written.
    """
    window = _Window(begin, end)
    with (
        replacing(target) as partial,
        opened(film.path) as source,
        _writing(target),
        av.open(str(partial), "w", format=container_name(target)) as out,
    ):
        streams = _streams(source, out, film, parts[0].path, copy, aspect)
        out.metadata.update(_kept(source.metadata))
        out.set_chapters(window.chapters(source))
        _mux(source, out, streams, film, _in_order(parts, film, window), window, check)


@contextmanager
def _writing(target: Path) -> Generator[None]:
    """What FFmpeg says while a film is written; what it says of reading is an `ImageError` already."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise OutputError(f"{shown(target)}: cannot be written: {error.strerror}") from error


def _streams(
    source: Any, out: Any, film: Film, first: Path, copy: Sequence[int], aspect: Fraction | None
) -> dict[int, Any]:
    """Make the streams of the result, in the order of the source: its numbers -> them."""
    return {
        stream.index: _picture_stream(out, first, stream, film, aspect)
        if stream.index == film.index
        else _copy_of(out, stream)
        for stream in source.streams
        if stream.index == film.index or stream.index in copy
    }


def _mux(
    source: Any,
    out: Any,
    streams: Mapping[int, Any],
    film: Film,
    frames: "Iterator[Packet[Any]]",
    window: "_Window",
    check: Callable[[], None],
) -> None:
    """Write all packets, by their times."""

    def others() -> "Generator[Packet[Any]]":
        wanted = [
            stream for stream in source.streams if stream.index in streams and _has_packets(stream, out)
        ]
        wanted = [stream for stream in wanted if stream.index != film.index]
        wanted = [stream for stream in wanted if not _is_cover(stream)]
        packets = iter(source.demux(wanted) if wanted else ())
        while True:
            with reading(film.path):
                packet = next(packets, None)
            if packet is None:
                return
            if window.move(packet) and not _is_pause(packet):
                packet.stream = streams[packet.stream.index]
                yield packet

    def pictures() -> "Generator[Packet[Any]]":
        for packet in frames:
            packet.stream = streams[film.index]
            yield packet

    for stream in source.streams:
        if stream.index in streams and _is_cover(stream) and _has_packets(stream, out):
            for packet in _cover(stream):
                packet.stream, packet.pts, packet.dts = streams[stream.index], 0, 0
                out.mux_one(packet)
    for number, packet in enumerate(merge(pictures(), others(), key=_begins)):
        if number % 100 == 0:
            check()
        out.mux_one(packet)


def _is_pause(packet: Any) -> bool:
    """Whether it is the empty text between two subtitles of an MP4: its writer puts those in by itself."""
    if packet.stream.type != "subtitle" or packet.stream.codec_context.name != "mov_text":
        return False
    return bytes(packet) == b"\0\0"


def _has_packets(stream: Any, out: Any) -> bool:
    return stream.type != "attachment" and not (_is_cover(stream) and out.format.name == "matroska")


def _begins(packet: Any) -> float:
    ticks: Any = packet.dts if packet.dts is not None else packet.pts
    return float(ticks * packet.time_base)


def _picture_stream(out: Any, first: Path, stream: Any, film: Film, aspect: Fraction | None) -> Any:
    """The stream of enlarged frames: its codec is the first segment's, its words the film's."""
    with opened(first) as part:
        made = out.add_stream_from_template(part.streams.video[0], opaque=True)
    made.set_display_matrix(film.display)
    if film.rate is not None:
        made.codec_context.framerate = film.rate
    if aspect is not None:
        made.codec_context.sample_aspect_ratio = aspect
    made.metadata.update(_kept(stream.metadata))
    made.disposition = stream.disposition
    per_second = Fraction(1) / film.time_base
    made.time_base = film.time_base if per_second <= MOST else Fraction(1, 90000)
    return made


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    """Without what is no longer true."""
    return {name: value for name, value in metadata.items() if not name.startswith(UNTRUE)}


def _copy_of(out: Any, stream: Any) -> Any:
    """A stream that packets are copied into."""
    if _is_cover(stream) and out.format.name == "matroska":  # it is an attached file there
        data = next((bytes(packet) for packet in _cover(stream)), b"")
        kind = stream.codec_context.name
        name, mime = ("cover.jpg", "image/jpeg") if kind == "mjpeg" else (f"cover.{kind}", f"image/{kind}")
        said = stream.metadata
        return out.add_attachment(said.get("filename", name), said.get("mimetype", mime), data)
    made = out.add_stream_from_template(stream, opaque=True)
    if not isinstance(made, AttachmentStream):
        made.metadata.update(stream.metadata)
        made.disposition = stream.disposition
        made.time_base = stream.time_base
    return made


def _cover(stream: Any) -> Iterable[Any]:
    with opened(Path(stream.container.name)) as again:
        yield from (each for each in again.demux(again.streams[stream.index]) if each.size)


@dataclass(frozen=True)
class _Window:
    """The part of the source that the result has, in seconds of the source; None: no bound."""

    begin: Fraction | None
    end: Fraction | None

    def ticks(self, time_base: Fraction) -> int:
        """How many ticks earlier everything comes."""
        return 0 if self.begin is None else round(self.begin / time_base)

    def move(self, packet: Any) -> bool:
        """Move a copied packet's times; whether it is kept."""
        if packet.size == 0 or (packet.pts is None and packet.dts is None):
            return False
        if packet.pts is None:
            packet.pts = packet.dts
        time = packet.pts * packet.time_base
        if (self.begin is not None and time < self.begin) or (self.end is not None and time >= self.end):
            return False
        earlier = self.ticks(packet.time_base)
        packet.dts = (packet.pts if packet.dts is None else packet.dts) - earlier
        packet.pts -= earlier
        return True

    def chapters(self, source: Any) -> list[Any]:
        """The source's chapters, as far as there is film."""
        chapters: list[Any] = []
        for chapter in source.chapters():
            base = chapter["time_base"]
            start, end = (chapter[each] * base for each in ("start", "end"))
            start = start if self.begin is None else max(start, self.begin)
            end = end if self.end is None else min(end, self.end)
            if end > start:
                earlier = self.begin or 0
                moved = {"start": round((start - earlier) / base), "end": round((end - earlier) / base)}
                chapters.append({**chapter, **moved})
        return chapters


def _in_order(parts: Sequence[Part], film: Film, window: _Window) -> "Generator[Packet[Any]]":
    """The packets of all segments as one stream, with the film's own times."""
    ticks = window.ticks(film.time_base)
    times = [time for part in parts for time in part.times]
    lasts = dict(zip(film.times, film.lasts, strict=True))
    ranks: list[int] = []
    base = 0
    for part in parts:
        ranks += [base + rank for rank in _ranks(part)]
        base += len(part.times)
    wait = max((order - rank for order, rank in enumerate(ranks)), default=0)
    gap = min((after - before for before, after in pairwise(times)), default=1)
    order = 0
    for part in parts:
        for packet in _packets(part):
            rank = ranks[order]
            following = times[rank + 1] if rank + 1 < len(times) else None
            last = lasts.get(times[rank], 0) or (times[rank] - times[rank - 1] if rank else 1)
            packet.time_base = film.time_base
            packet.pts = times[rank] - ticks
            early = order - wait
            packet.dts = (times[early] if early >= 0 else times[0] + early * gap) - ticks
            packet.duration = last if following is None else following - times[rank]
            order += 1
            yield packet


def _ranks(part: Part) -> list[int]:
    """Of each packet the number of its frame."""
    return [round((packet.pts or 0) * packet.time_base / STEP) for packet in _packets(part)]


def _packets(part: Part) -> "Generator[Packet[Any]]":
    with opened(part.path) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                yield packet
