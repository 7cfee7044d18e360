"""Codecs and what they are asked for; and a part of a film, encoded into a file of its own."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, get_args

import av
import av.error
from av.format import ContainerFormat
from av.video.stream import VideoStream
from numpy.typing import NDArray

from camixersr.errors import OutputError, UsageError, ValueRangeError
from camixersr.image.files import replacing, shown
from camixersr.video.chroma import Siting
from camixersr.video.containers import WRITTEN
from camixersr.video.film import Film
from camixersr.video.settings import CodecName
from camixersr.video.side import Light

__all__ = ["CODECS", "Codec", "Encoding", "encode", "encoding_for", "not_said"]


@dataclass(frozen=True)
class Codec:
    """A codec as this program uses it.

    Attributes:
        encoder: FFmpeg's name.
        about: for people.
        formats: pixel formats by the depth that is wanted, the least first.
        crf: the usual constant rate factor, and the greatest; None where there is none.
        preset: the usual one; None where there is none.
    """

    encoder: str
    about: str
    formats: Mapping[int, str]
    crf: tuple[int, int] | None = None
    preset: str | None = None


CODECS: Mapping[str, Codec] = {
    "h264": Codec("libx264", "H.264", {8: "yuv420p", 10: "yuv420p10le"}, (16, 51), "medium"),
    "h265": Codec(
        "libx265", "H.265", {8: "yuv420p", 10: "yuv420p10le", 12: "yuv420p12le"}, (18, 51), "medium"
    ),
    "av1": Codec("libsvtav1", "AV1", {8: "yuv420p", 10: "yuv420p10le"}, (24, 63), "6"),
    "prores": Codec("prores_ks", "ProRes 422 HQ", {10: "yuv422p10le"}),
    "ffv1": Codec("ffv1", "FFV1 (lossless)", {8: "bgr0", 16: "gbrp16le"}),
}
"""By the names that `--codec` knows. Chroma of a film of twice its lines has no more to tell in 4:4:4, so
4:2:0 is usual; FFV1 keeps the RGB that was computed, to the bit."""


REFUSED = {("mov", "libsvtav1")}
"""Containers and encoders that FFmpeg lets through, and cannot write in the end."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a film is encoded: plain values, which a manifest keeps.

    Attributes:
        codec: of `CODECS`.
        pixel_format: FFmpeg's name.
        crf: constant rate factor: smaller is better and larger; None where the codec has none.
        preset: how long the encoder may take, in its own words; None where it has none.
        threads: of the encoder: the stream of some depends on it.
        siting: where samples of chroma lie.
    """

    codec: CodecName
    pixel_format: str
    crf: int | None
    preset: str | None
    threads: int
    siting: Siting = "left"


def encoding_for(
    film: Film,
    target: Path,
    height: int,
    width: int,
    *,
    codec: CodecName | None = None,
    crf: int | None = None,
    preset: str | None = None,
    pixel_format: str | None = None,
    threads: int = 1,
) -> Encoding:
    """Settle how a film is encoded.

    Args:
        film: what is enlarged.
        target: the file to make; its suffix names the container.
        height: lines of the result.
        width: columns of it.
        codec: by default H.264 of 8 bits, H.265 of more, AV1 for WebM.
        crf: as for `Encoding`.
        preset: likewise.
        pixel_format: FFmpeg's name; by default as deep as the film.
        threads: of the encoder.

    Raises:
        UsageError: a suffix that is no container's; one that cannot hold the codec; a codec that cannot
            hold the pixel format, or the size.
        ValueRangeError: a constant rate factor that the codec does not have.
    """
    container = _container(target)
    if codec is None:
        codec = "av1" if container.name == "webm" else "h264" if film.bits <= 8 else "h265"
    if codec not in get_args(CodecName):
        raise UsageError(f"unknown --codec {codec!r}; use one of {', '.join(CODECS)}")
    used = CODECS[codec]
    try:
        encoder = av.Codec(used.encoder, "w")
    except ValueError:
        raise UsageError(f"this PyAV has no {used.encoder}; choose another --codec") from None
    _require_held(target, used)
    if crf is not None and used.crf is None:
        raise UsageError(f"{used.about} has no --crf; leave it out")
    if used.crf is not None and crf is not None and not 0 <= crf <= used.crf[1]:
        raise ValueRangeError(f"--crf must lie in 0 to {used.crf[1]} for {used.about}, got {crf}")
    if preset is not None and used.preset is None:
        raise UsageError(f"{used.about} has no --preset; leave it out")
    known = [each.name for each in encoder.video_formats or ()]
    if pixel_format is None:
        deep = [depth for depth in used.formats if depth >= film.bits]
        pixel_format = used.formats[min(deep, default=max(used.formats))]
    elif pixel_format not in known:
        raise UsageError(
            f"{used.about} does not know the pixel format {pixel_format!r}; use one of {', '.join(known)}"
        )
    _require_whole(pixel_format, height, width)
    return Encoding(
        codec=codec,
        pixel_format=pixel_format,
        crf=crf if crf is not None or used.crf is None else used.crf[0],
        preset=preset or used.preset,
        threads=threads,
        siting=_siting(film, codec, container.name),
    )


def _siting(film: Film, codec: CodecName, container: str) -> Siting:
    """Where chroma is put: where the film has it, if the codec or the container can say so; else left."""
    says: tuple[Siting, ...] = ()
    match codec:
        case "h264" | "h265":
            says = ("left", "center", "topleft", "top")
        case "av1":
            says = ("left", "topleft")
        case "ffv1" if container == "matroska":
            says = ("left", "center", "topleft", "top")
        case _:
            pass
    return film.colours.siting if film.colours.siting in says else "left"


def not_said(film: Film, encoding: Encoding, target: Path) -> list[str]:
    """What a result cannot say of the film, in words.

    FFmpeg's Matroska writer reads the shape of a pixel from `AVStream.sample_aspect_ratio`, which PyAV does
    not let us set. Readers then take it from the coded pictures. Of these codecs H.264 and H.265 alone
    say it. Its MP4 writer reads the codec's parameters, which we set.
    """
    aspect = film.aspect if film.aspect is not None else Fraction(1)
    about, notes = CODECS[encoding.codec].about, list[str]()
    in_stream = encoding.codec in ("h264", "h265")
    if aspect != 1 and not in_stream and _container(target).name in ("matroska", "webm"):
        notes.append(
            f"{about} in {target.suffix} cannot say that pixels are {aspect.numerator}:"
            f"{aspect.denominator}; .mp4, .mov, h264 and h265 can"
        )
    if film.light is not None and encoding.codec in ("prores", "ffv1"):
        notes.append(f"{about} cannot say what screen the film was made on; h264, h265 and av1 can")
    return notes


def _container(target: Path) -> ContainerFormat:
    name = WRITTEN.get(target.suffix.lower())
    if name is None:
        raise UsageError(
            f"{shown(target)}: expected a film's suffix, one of {', '.join(WRITTEN)}; it names the "
            "container"
        )
    return ContainerFormat(name, "w")


def container_name(target: Path) -> str:
    """FFmpeg's name of the container that a file's suffix stands for."""
    return _container(target).name


def _require_held(target: Path, codec: Codec) -> None:
    """Refuse a codec that the container cannot hold."""
    with av.open(io.BytesIO(), "w", format=_container(target).name) as container:
        try:
            if (container.format.name, codec.encoder) in REFUSED:
                raise ValueError
            container.add_stream(codec.encoder)
        except ValueError:
            raise UsageError(
                f"{target.suffix} cannot hold {codec.about}; use .mkv, or another --codec"
            ) from None


def _require_whole(pixel_format: str, height: int, width: int) -> None:
    """Refuse a size that subsampled chroma does not divide."""
    kind = av.VideoFormat(pixel_format)
    across, down = kind.chroma_width(256), kind.chroma_height(256)
    step_x, step_y = 256 // across, 256 // down
    if width % step_x or height % step_y:
        even = "an even width and height" if step_y == 2 else "an even width"
        raise UsageError(
            f"expected {even} for {pixel_format}, got {width} x {height}; choose another --scale, --width "
            "or --height, or --pixel-format yuv444p"
        )


def options_of(encoding: Encoding, light: Light | None) -> dict[str, str]:
    """What the encoder is told in its own words."""
    options: dict[str, str] = {}
    if not av.VideoFormat(encoding.pixel_format).is_rgb:
        options["chroma_sample_location"] = encoding.siting
    if encoding.crf is not None:
        options["crf"] = str(encoding.crf)
    if encoding.preset is not None:
        options["preset"] = encoding.preset
    match encoding.codec:
        case "h264":
            options["x264-params"] = ":".join([*_steady(), *_x264(light)])
        case "h265":
            options["x265-params"] = ":".join(
                ["log-level=error", f"pools={encoding.threads}", *_x265(light)]
            )
        case "av1":
            options["svtav1-params"] = ":".join([f"lp={min(6, encoding.threads)}", *_svt(light)])
        case "prores":
            options |= {"profile": "4" if "444" in encoding.pixel_format else "3", "vendor": "apl0"}
        case "ffv1":
            options |= {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}
    return options


@cache
def _steady() -> list[str]:
    """x264's code for AVX-512 gave other bytes from run to run, on an AMD EPYC; that for AVX2 does not."""
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    return ["asm=AVX2"] if " avx512f" in about else []


def _x264(light: Light | None) -> list[str]:
    if light is None:
        return []
    screen = [f"mastering-display={_screen(light)}"] if light.primaries else []
    return [*screen, *([f"cll={_content(light)}"] if light.content else [])]


def _x265(light: Light | None) -> list[str]:
    if light is None:
        return []
    screen = [f"master-display={_screen(light)}"] if light.primaries else []
    content = [f"max-cll={_content(light)}"] if light.content else []
    return ["hdr10=1", "repeat-headers=1", *screen, *content]


def _svt(light: Light | None) -> list[str]:
    if light is None:
        return []
    content = [f"content-light={_content(light)}"] if light.content else []
    if not light.primaries:
        return content
    places = [*(light.primaries[each] for each in (1, 2, 0)), light.white]
    names = ("G", "B", "R", "WP")
    screen = "".join(f"{name}({x:.4f},{y:.4f})" for name, (x, y) in zip(names, places, strict=True))
    screen += f"L({light.luminance[1]:.4f},{light.luminance[0]:.4f})"
    return [f"mastering-display={screen}", *content]


def _screen(light: Light) -> str:
    """As x264 and x265 read it: steps of 0.00002, and of 0.0001 cd/m2."""
    places = [*(light.primaries[each] for each in (1, 2, 0)), light.white]
    texts = [f"({round(50000 * x)},{round(50000 * y)})" for x, y in places]
    least, most = (round(10000 * each) for each in light.luminance)
    return "G{}B{}R{}WP{}L({},{})".format(*texts, most, least)


def _content(light: Light) -> str:
    assert light.content is not None
    return f"{light.content[0]},{light.content[1]}"


def encode(
    path: Path,
    frames: Iterable[tuple[int, NDArray[Any]]],
    encoding: Encoding,
    *,
    film: Film,
    aspect: Fraction | None,
    height: int,
    width: int,
) -> None:
    """Encode a part of a film into a file of its own, whole or not at all.

    The file is Matroska, whose clock is too coarse for a film's: a packet's time in it is the number of its
    frame, `STEP` seconds each.

    Args:
        path: the file to make.
        frames: times in ticks of the film, rising, with H x W x 3 pixels, uint8 or uint16.
        encoding: how.
        film: whose colours and clock they have.
        aspect: width of a pixel, of its height.
        height: of frames.
        width: of frames.

    Raises:
        OutputError: it cannot be written.
        UsageError: the encoder refuses its options.
    """
    with replacing(path) as partial:
        try:
            with av.open(str(partial), "w", format="matroska") as container:
                stream = _stream(container, encoding, film, aspect, height, width)
                _encode(container, stream, frames, encoding, film)
        except av.error.FFmpegError as error:
            if error.errno in NO_ROOM:
                raise OutputError(f"{shown(path)}: cannot be written: {error.strerror}") from error
            raise UsageError(
                f"{CODECS[encoding.codec].about} refuses what it is asked for ({error.strerror}); leave "
                "out --preset, --crf and --pixel-format"
            ) from error


def _stream(
    container: Any, encoding: Encoding, film: Film, aspect: Fraction | None, height: int, width: int
) -> VideoStream:
    """A stream with an encoder."""
    stored = film.colours.stored(encoding.pixel_format)
    stream = container.add_stream(
        CODECS[encoding.codec].encoder,
        rate=film.rate or Fraction(25),
        options=options_of(encoding, film.light),
    )
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = width, height, encoding.pixel_format
    context.time_base, context.thread_count = film.time_base, encoding.threads
    context.color_primaries, context.color_trc = stored.primaries, stored.transfer
    context.colorspace, context.color_range = stored.matrix, 2 if stored.full else 1
    if aspect is not None:
        context.sample_aspect_ratio = aspect
    stream.time_base = STEP
    return stream


def _encode(
    container: Any,
    stream: VideoStream,
    frames: Iterable[tuple[int, NDArray[Any]]],
    encoding: Encoding,
    film: Film,
) -> None:
    stored = film.colours.stored(encoding.pixel_format)
    numbers: dict[int | None, int] = {}
    put = 0

    def keep(packets: Iterable[Any]) -> None:
        nonlocal put
        for packet in packets:
            packet.pts = numbers[packet.pts]
            packet.dts, packet.time_base, packet.duration = put - REORDERED, STEP, 1
            put += 1
            container.mux_one(packet)

    stored = replace(stored, siting=encoding.siting)
    for pts, pixels in frames:
        frame = stored.frame(pixels, encoding.pixel_format)
        frame.pts, frame.time_base = pts, film.time_base
        numbers[pts] = len(numbers)
        keep(stream.encode(frame))
    if numbers:
        keep(stream.encode())


STEP = Fraction(1, 1000)
"""Seconds a tick of a part's file: a frame each."""

REORDERED = 32
"""Frames that a decoder may have to wait for: more than any codec here."""

NO_ROOM = (28, 27, 122)
"""What the system says where a disk, a limit of file sizes or a quota is reached: ENOSPC, EFBIG, EDQUOT."""
