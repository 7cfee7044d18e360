"""What a result cannot keep is told in one line each; covers are kept where the container can."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camixersr.video.film import look
from tests.conftest import run
from tests.video.conftest import av, make_film, scenes

FAST = ("--scale", "1")


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """Lines of a run that ends well, without its last."""
    capsys.readouterr()
    assert run("video", *arguments) == 0
    return capsys.readouterr().err.splitlines()[:-1]


def bits(*fields: tuple[int, int]) -> bytes:
    """Numbers of so many bits each, and zeros to the end of a byte."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def hdr10_plus() -> bytes:
    """A NAL unit of HEVC with the least that SMPTE ST 2094-40 allows, in an SEI message (T.35)."""
    head = bytes((0xB5, 0x00, 0x3C, 0x00, 0x01, 4, 1))
    body = bits(
        (1, 2), (400, 27), (0, 1), *((1000, 17),) * 3, (100, 17), (0, 4), (0, 10), (0, 1), (0, 1), (0, 1)
    )
    payload = head + body
    escaped = b"".join(bytes((each,)) for each in payload)
    for zeros in (b"\0\0\0", b"\0\0\1", b"\0\0\2", b"\0\0\3"):
        escaped = escaped.replace(zeros, b"\0\0\3" + zeros[2:])
    return bytes((39 << 1, 1, 4, len(payload))) + escaped + b"\x80"


def dolby_vision() -> bytes:
    """A NAL unit of the kind that Dolby Vision's data has; no decoder here reads what is in it."""
    return bytes((62 << 1, 1)) + bytes(range(25, 60)) + b"\x80"


def with_units(source: Path, target: Path, change: Callable[[bytes], bytes]) -> Path:
    """A copy of a film whose packets are changed."""
    with av.open(str(source)) as film, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(film.streams.video[0], opaque=True)
        for packet in film.demux(film.streams.video[0]):
            if packet.size:
                other = av.Packet(change(bytes(packet)))
                other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
                other.is_keyframe, other.stream = packet.is_keyframe, stream
                made.mux(other)
    return target


def sized(unit: bytes) -> bytes:
    return len(unit).to_bytes(4, "big") + unit


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("its HDR10+ data is left out", lambda packet: sized(hdr10_plus()) + packet),
        ("its Dolby Vision data is left out", lambda packet: packet + sized(dolby_vision())),
    ],
)
def test_data_for_each_frame_is_left_out_in_one_line(
    tmp_path: Path, capsys, words: str, change: Callable[[bytes], bytes]
) -> None:
    plain = make_film(tmp_path / "plain.mkv", list(scenes(2)), aspect=None, beside=False)
    assert told(capsys, plain, "-o", tmp_path / "large.mkv", *FAST) == []
    source = with_units(plain, tmp_path / "film.mkv", change)
    lines = told(capsys, source, "-o", tmp_path / "large.mkv", *FAST, "--overwrite")
    assert lines == [f"camixersr: {words}"]


def test_the_shape_of_pixels_is_kept_or_it_is_said(tmp_path: Path, capsys) -> None:
    source = make_film(tmp_path / "film.mkv", list(scenes(4)), beside=False)
    for codec, suffix, kept in (
        ("h264", ".mkv", True),
        ("av1", ".mkv", False),
        ("prores", ".mkv", False),
        ("ffv1", ".mkv", False),
        ("av1", ".mp4", True),
        ("prores", ".mov", True),
        ("ffv1", ".mp4", True),
    ):
        target = tmp_path / f"{codec}{suffix}"
        lines = told(capsys, source, "-o", target, *FAST, "--codec", codec)
        assert (look(target).aspect == look(source).aspect) == kept
        assert any("cannot say that pixels are 4:3" in line for line in lines) != kept


def test_the_brightness_of_a_film_is_kept_without_its_screen(tmp_path: Path, capsys) -> None:
    light = {"x265-params": "log-level=error:hdr10=1:repeat-headers=1:max-cll=1000,400"}
    source = make_film(tmp_path / "film.mkv", list(scenes(2)), aspect=None, beside=False, **light)
    before = look(source).light
    assert before is not None
    assert (before.primaries, before.content) == ((), (1000, 400))
    for codec in ("h264", "h265", "av1"):
        target = tmp_path / f"{codec}.mp4"
        assert told(capsys, source, "-o", target, *FAST, "--codec", codec) == []
        assert look(target).light == before
    for codec in ("prores", "ffv1"):
        lines = told(capsys, source, "-o", tmp_path / f"{codec}.mkv", *FAST, "--codec", codec)
        assert len(lines) == 1
        assert "cannot say what screen" in lines[0]


def cover(kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((32, 40, 3), 90, np.uint8)).save(content, kind)
    return content.getvalue()


def covers_of(path: Path) -> list[tuple[str | None, bytes]]:
    """Names and contents; each is read by itself."""
    found: list[tuple[str | None, bytes]] = []
    with av.open(str(path)) as film:
        numbers = [
            each.index
            for each in film.streams.video
            if each.disposition & av.stream.Disposition.attached_pic
        ]
    for number in numbers:
        with av.open(str(path)) as film:
            stream: Any = film.streams[number]
            data = next(bytes(packet) for packet in film.demux(stream) if packet.size)
            found.append((stream.metadata.get("filename"), data))
    return found


def test_covers_are_kept_where_there_is_a_place_for_them(tmp_path: Path, capsys) -> None:
    plain = make_film(tmp_path / "plain.mkv", list(scenes(2)), aspect=None, beside=False)
    covers = [("cover.jpg", "image/jpeg", cover("jpeg")), ("small.png", "image/png", cover("png"))]
    source = tmp_path / "film.mkv"
    with av.open(str(plain)) as film, av.open(str(source), "w") as made:
        stream = made.add_stream_from_template(film.streams.video[0], opaque=True)
        for each in covers:
            made.add_attachment(*each)
        for packet in film.demux(film.streams.video[0]):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    contents = [data for _, _, data in covers]
    assert told(capsys, source, "-o", tmp_path / "large.mkv", *FAST) == []
    assert covers_of(tmp_path / "large.mkv") == [(name, data) for name, _, data in covers]
    assert told(capsys, source, "-o", tmp_path / "large.mp4", *FAST) == []
    assert [data for _, data in covers_of(tmp_path / "large.mp4")] == contents
    assert told(capsys, tmp_path / "large.mp4", "-o", tmp_path / "again.mp4", *FAST) == []
    assert [data for _, data in covers_of(tmp_path / "again.mp4")] == contents
    assert told(capsys, tmp_path / "large.mp4", "-o", tmp_path / "back.mkv", *FAST) == []
    assert covers_of(tmp_path / "back.mkv") == [("cover.jpg", contents[0]), ("cover.png", contents[1])]
    for suffix in (".mov", ".webm"):
        lines = told(capsys, source, "-o", tmp_path / f"large{suffix}", *FAST)
        assert [f"{suffix} cannot hold it" in line for line in lines] == [True, True]
