"""Films made on the spot: deep colours, a clock of its own, sound, subtitles, chapters."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from camixersr.models.calibration import Calibration
from camixersr.weights import Model, save
from tests.conftest import random_network

av = pytest.importorskip("av", reason="needs the extra `video`: av is not installed")

UNEVEN = (0, 40, 90, 121, 200, 260, 300, 333, 401, 440, 470, 520, 560, 600, 680, 760, 790, 800, 860, 901)
"""Times of frames in milliseconds: no frame rate."""

PQ = (9, 16, 9, 1)
"""BT.2020 primaries, PQ, BT.2020 matrix, limited range."""


def scenes(count: int, width: int = 64, height: int = 48, *, seed: int = 0) -> Iterator[NDArray[np.uint16]]:
    """Pictures H x W x 3 of a moving pattern with a moving square in it."""
    rng = np.random.default_rng(seed)
    pattern = rng.random((height // 4, width // 4, 3)).repeat(4, 0).repeat(4, 1)
    slope = np.linspace(0.1, 0.9, width)[None, :, None] * np.ones((height, 1, 3))
    for number in range(count):
        picture = 0.5 * np.roll(pattern, number, axis=1) + 0.4 * slope
        left = 2 * number % (width - 8)
        picture[height // 4 : height // 2, left : left + 8] = (0.9, 0.2, 0.1)
        yield (picture * 65535).round().astype(np.uint16)


def make_film(
    path: Path,
    pictures: Sequence[Any],
    times: Sequence[int] = UNEVEN,
    *,
    codec: str = "libx265",
    pixel_format: str = "yuv420p10le",
    tags: tuple[int, int, int, int] = PQ,
    aspect: Fraction | None = Fraction(4, 3),
    keys: int = 8,
    beside: bool = True,
    turned: int = 0,
    **options: str,
) -> Path:
    """Write a film with PyAV alone, of H x W x 3 or of frames; `times` are milliseconds."""
    first = pictures[0]
    height, width = (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
    clock, end = Fraction(1, 1000), times[len(pictures) - 1] + 40
    with av.open(str(path), "w") as film:
        quiet = {"x265-params": "log-level=error"} if codec == "libx265" else {}
        quality = {"crf": "8"} if codec.startswith("libx26") else {}
        stream = film.add_stream(codec, rate=25, options={"g": str(keys), **quality, **quiet, **options})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        context.time_base = stream.time_base = clock
        context.thread_count = 1
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if aspect:
            context.sample_aspect_ratio = aspect
        if turned:
            stream.set_display_rotation(turned)
        film.metadata["title"] = "A film"
        sound: list[Any] = []
        if beside:
            sound = [film.add_stream("aac", rate=48000) for _ in range(2)]
            for each, language in zip(sound, ("eng", "deu"), strict=True):
                each.metadata["language"] = language
            text = film.add_mux_stream("subrip" if path.suffix == ".mkv" else "mov_text")
            text.time_base = clock
            text.metadata["language"] = "fra"
            if path.suffix == ".mkv":
                film.add_attachment("font.ttf", "application/x-truetype-font", bytes(range(100)))
            film.set_chapters(
                [
                    {"id": 1, "start": 0, "end": 400, "time_base": clock, "metadata": {"title": "one"}},
                    {"id": 2, "start": 400, "end": end, "time_base": clock, "metadata": {"title": "two"}},
                ]
            )
        packets: list[Any] = []
        for time, picture in zip(times, pictures, strict=False):
            if isinstance(picture, av.VideoFrame):
                frame = picture
            else:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb48le")
                frame = frame.reformat(format=pixel_format, dst_colorspace=tags[2] or 1)
            frame.pts, frame.time_base = time, clock
            packets += stream.encode(frame)
        packets += stream.encode()
        for number, each in enumerate(sound):
            for block in range(end * 48 // 1024):
                phase = (np.arange(1024) + 1024 * block) / 48000 * (220 + 110 * number)
                wave = 0.3 * np.sin(2 * np.pi * phase, dtype=np.float32)[None].repeat(2, 0)
                tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
                tone.sample_rate, tone.pts, tone.time_base = 48000, 1024 * block, Fraction(1, 48000)
                packets += each.encode(tone)
            packets += each.encode()
        if beside:
            for begin, lasts, words in ((100, 300, b"Hello"), (500, 200, b"World")):
                packet = av.Packet(words)
                packet.pts = packet.dts = begin
                packet.duration, packet.time_base, packet.stream = lasts, clock, text
                packets.append(packet)
        for packet in sorted(packets, key=lambda each: float(each.dts * each.time_base)):
            film.mux(packet)
    return path


def packets_of(path: Path) -> dict[int, list[tuple[Fraction, bytes]]]:
    """Of every stream but the first its packets: time in seconds, and content."""
    found: dict[int, list[tuple[Fraction, bytes]]] = {}
    with av.open(str(path)) as film:
        for packet in film.demux():
            if packet.size and packet.stream.index:
                found.setdefault(packet.stream.index, []).append(
                    (packet.pts * packet.time_base, bytes(packet))
                )
    return found


def frames_in(path: Path) -> list[Any]:
    with av.open(str(path)) as film:
        return list(film.decode(video=0))


def times_of(path: Path) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in frames_in(path)]


def rgb16(frame: Any) -> NDArray[np.uint16]:
    """H x W x 3 of a frame in gbrp16le."""
    planes = [
        np.frombuffer(bytes(each), "<u2").reshape(each.height, -1)[:, : each.width] for each in frame.planes
    ]
    return np.stack((planes[2], planes[0], planes[1]), axis=-1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of scale 4 that pools over cells and routes by thresholds."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    network = random_network(channels=8, scale=4, blocks=(1,), pool=64)
    save(path, replace(Model("tiny", network), calibration=Calibration((0.5,), ((0.5,),))))
    return path


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 bits, BT.2020, PQ, uneven times, two sound tracks, subtitles, chapters, an attachment."""
    return make_film(tmp_path_factory.mktemp("film") / "film.mkv", list(scenes(len(UNEVEN))))
