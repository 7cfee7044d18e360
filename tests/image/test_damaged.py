"""Damaged files: refused with what is wrong, never half a picture without a word; or salvaged."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camixersr.errors import ImageError
from camixersr.image import jpeg
from camixersr.image.decode import read
from camixersr.image.raw import Raw
from camixersr.image.stream import decode, look
from tests.conftest import ROOT, noise_picture


def encoded(kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise_picture(200, 300)).save(stream, kind, **options)
    return stream.getvalue()


JPEGS = {
    "baseline": encoded(quality=90),
    "progressive": encoded(quality=90, progressive=True),
    "restarts": encoded(quality=90, restart_marker_rows=1),
}


def damages(data: bytes) -> dict[str, bytes]:
    half = len(data) // 2
    return {
        "cut in half": data[:half],
        "cut in half and ended": data[:half] + b"\xff\xd9",
        "an unfinished download": data[:half] + bytes(len(data) - half),
        "the end marker gone": data[:-2],
        "a few bytes gone": data[:-9],
        "a piece gone": data[:half] + data[half + 3000 :],
    }


def streamed(path: Path, raw: Path, *, salvage: bool = False) -> tuple[np.ndarray, list[str]]:
    seen = look(path, salvage=salvage)
    with Raw(raw, seen.layout, create=True) as to:
        said = decode(path, to, salvage=salvage)
        return to.read(slice(0, 200), slice(0, 300)), said


@pytest.mark.parametrize("made", JPEGS)
@pytest.mark.parametrize("damage", damages(b""))
def test_a_damaged_jpeg_is_refused_and_salvaged_on_request(tmp_path: Path, made: str, damage: str) -> None:
    whole = read(JPEGS[made])
    assert whole.notes == ()
    data = damages(JPEGS[made])[damage]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"JPEG is (damaged|not whole).*--salvage") as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    picture = read(path, salvage=True)
    assert picture.pixels.shape == whole.pixels.shape
    assert any("not whole" in note for note in picture.notes)
    if made != "progressive":  # of which a half is a picture of less detail
        assert np.array_equal(picture.pixels[:64], whole.pixels[:64])  # what there is
        assert read(data, salvage=True).notes[0].count("--salvage") == 0


@pytest.mark.parametrize("damage", damages(b""))
def test_the_streamed_decoder_judges_alike(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(damages(JPEGS["baseline"])[damage])

    with pytest.raises(ImageError, match=r"--salvage"):
        streamed(path, tmp_path / "raw")
    pixels, said = streamed(path, tmp_path / "raw", salvage=True)
    assert any("not whole" in note for note in said)
    assert np.array_equal(pixels, read(path, salvage=True).pixels)


def test_what_is_no_damage_is_read_without_a_word() -> None:
    """Bytes behind the end, fill bytes before a marker, a thumbnail inside, a comment like an end."""
    data = JPEGS["baseline"]
    expected = read(data).pixels
    thumbnail = b"Exif\0\0" + JPEGS["progressive"][:9000]  # cut off, as some cameras leave it
    for good in (
        data + bytes(1000),
        data + b"\xff\xd8\xff\xe1" + bytes(50),
        data[:2] + b"\xff\xff\xff" + data[2:],
        data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:],
        data[:2] + b"\xff\xfe\0\x06\xff\xd9\xff\xd9" + data[2:],
    ):
        assert jpeg.missing(io.BytesIO(good)) == ""
        assert np.array_equal(read(good).pixels, expected)


def test_what_libjpeg_only_remarks_on_is_noted() -> None:
    """A newer JFIF than it knows."""
    data = bytearray(JPEGS["baseline"])
    place = data.index(b"JFIF\0") + 5
    data[place] = 9
    picture = read(bytes(data))
    assert np.array_equal(picture.pixels, read(JPEGS["baseline"]).pixels)
    assert any("warns of" in note for note in picture.notes)


def test_a_jpeg_of_nothing_but_markers_ends_at_once() -> None:
    assert "segments" in jpeg.missing(io.BytesIO(b"\xff\xd8" + b"\xff\xe0\0\2" * 200_000))
    assert "cut off" in jpeg.missing(io.BytesIO(b"\xff" * 10**7))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_other_formats_are_salvaged_too(kind: str) -> None:
    data = encoded(kind, **({"compression": "raw"} if kind == "TIFF" else {}))
    data = data[:-1] if kind == "TIFF" else data[: len(data) // 2]
    with pytest.raises(ImageError):
        read(data)
    try:
        picture = read(data, salvage=True)
    except ImageError as error:  # nothing can be had of it: then the first complaint stands
        assert kind == "WEBP"
        assert "damaged" in str(error)  # noqa: PT017
        return
    assert any("not whole" in note for note in picture.notes)
    assert np.array_equal(picture.pixels[:50], noise_picture(200, 300)[:50])


def broken_pngs() -> dict[str, tuple[bytes, str]]:
    data = encoded("PNG")

    def header(bits: int, colour: int) -> bytes:
        head = b"IHDR" + struct.pack(">IIBBBBB", 300, 200, bits, colour, 0, 0, 0)
        return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]

    flipped = bytearray(data)
    flipped[5000] ^= 255
    return {
        "cut off": (data[:5000], "cut off in its chunk IDAT"),
        "cut after the header": (data[:37], "ends after 37 bytes"),
        "flipped": (bytes(flipped), "IDAT at byte 33 is damaged: the checksum"),
        "bits": (header(7, 2), "7 bits of colour type 2"),
        "colour": (header(8, 5), "8 bits of colour type 5"),
        "no data": (data[:33] + data[-12:], "no data of pixels"),
    }


@pytest.mark.parametrize("which", broken_pngs())
def test_a_refused_png_says_what_is_wrong(tmp_path: Path, which: str) -> None:
    data, said = broken_pngs()[which]
    with pytest.raises(ImageError, match=said):
        read(data)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=said):
        streamed(path, tmp_path / "raw")


def test_libvips_remarks_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """They name no file; what matters in them is an error or a note of ours."""
    (tmp_path / "a.jpg").write_bytes(damages(JPEGS["baseline"])["a piece gone"])
    script = "import sys; from camixersr.image.decode import read; read(sys.argv[1], salvage=True)"
    command = [sys.executable, "-c", script, str(tmp_path / "a.jpg")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stderr == ""
