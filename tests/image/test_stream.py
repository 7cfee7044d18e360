"""Strips against the whole-picture codec: the same pixels, in pieces."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from camixersr.errors import ImageError, OutputError
from camixersr.image import stream
from camixersr.image.decode import read
from camixersr.image.raw import Layout, Raw
from camixersr.image.stream import decode, encode, encoding_seconds, look, reduced
from tests.conftest import ROOT, noise_picture


def decoded(path: Path, folder: Path) -> np.ndarray:
    layout = look(path).layout
    with Raw(folder / "low.raw", layout, create=True) as raw:
        seen: list[int] = []
        decode(path, raw, lambda done, total: seen.append(done))
        assert seen[-1] in (layout.height, layout.width)
        return raw.read(slice(0, layout.height), slice(0, layout.width))


def whole(path: Path) -> np.ndarray:
    picture = read(path)
    planes = [picture.pixels] + ([] if picture.alpha is None else [picture.alpha[:, :, None]])
    return np.concatenate(planes, axis=2)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (63, 200), (131, 67)])
def test_strips_are_the_picture(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(noise_picture(*size)).convert(mode).save(path)
    assert np.array_equal(decoded(path, tmp_path), whole(path))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_are_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise_picture(70, 150)).save(path, exif=exif)
    seen = look(path)
    assert seen.turned == (orientation != 1)
    assert (seen.layout.height, seen.layout.width) == ((70, 150) if orientation < 5 else (150, 70))
    assert np.array_equal(decoded(path, tmp_path), whole(path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.jpg", "low.raw"]


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (50, 60, 3), dtype=np.uint16)
    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16").write_to_file(str(path))
    assert look(path).layout == Layout(50, 60, 3, "uint16")
    assert np.array_equal(decoded(path, tmp_path), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_rectangles_in_any_order_are_the_file(tmp_path: Path, bands: int, dtype: str, suffix: str) -> None:
    layout = Layout(90, 70, bands, dtype)
    expected = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (90, 70, bands), dtype=dtype)
    target = tmp_path / f"o{suffix}"
    with Raw(tmp_path / "high.raw", layout, create=True) as raw:
        for top, left in ((40, 30), (0, 30), (40, 0), (0, 0)):
            raw.write(top, left, expected[top : top + 50, left : left + 40])
        assert np.array_equal(raw.read(slice(3, 80), slice(5, 66)), expected[3:80, 5:66])
        assert encode(raw, target, {}) == []
    assert np.array_equal(whole(target), expected)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["high.raw", target.name]


def test_a_large_tiff_is_tiled(tmp_path: Path) -> None:
    with Raw(tmp_path / "high.raw", Layout(300, 600, 3, "uint8"), create=True) as raw:
        encode(raw, tmp_path / "o.tif", {})
    with Image.open(tmp_path / "o.tif") as image:
        assert image.tag_v2[322] == image.tag_v2[323] == 256  # type: ignore[attr-defined]


def test_a_truncated_picture_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise_picture(300, 300)).save(path)
    path.write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(ImageError, match=r"a\.png: the picture is damaged or truncated"):
        decoded(path, tmp_path)


def test_a_raw_file_of_another_size_is_refused(tmp_path: Path) -> None:
    Raw(tmp_path / "a.raw", Layout(4, 4, 3, "uint8"), create=True).close()
    with pytest.raises(OutputError, match="expected 75 bytes, got 48"):
        Raw(tmp_path / "a.raw", Layout(5, 5, 3, "uint8"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_error(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.raw", Layout(4, 4, 3, "uint8"), create=True)
    raw._file.close()
    raw._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    with pytest.raises(OutputError, match="No space left on device; make room"):
        raw.write(0, 0, np.zeros((4, 4, 3), np.uint8))
    raw.close()


def test_an_encoder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with Raw(tmp_path / "high.raw", Layout(2000, 2000, 3, "uint8"), create=True) as raw:
        (tmp_path / "o.png").write_text("before")
        os.truncate(raw.path, 3_000_000)
        with pytest.raises(OutputError, match=r"o\.png: cannot be written"):
            encode(raw, tmp_path / "o.png", {})
    assert (tmp_path / "o.png").read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["high.raw", "o.png"]


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("size", [(1, 1), (64, 3), (65, 200), (700, 5)])
def test_the_head_makes_a_raw_file_a_tiff_for_others_too(
    tmp_path: Path, bands: int, dtype: str, size: tuple[int, int]
) -> None:
    expected = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (*size, bands), dtype=dtype)
    content = stream._tiff_head(Layout(*size, bands, dtype)) + expected.tobytes()
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        assert file.is_bigtiff
        assert np.array_equal(file.asarray().reshape(expected.shape), expected)


def test_an_interrupted_encoder_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        if done:
            signal.raise_signal(signal.SIGINT)  # heard by the main thread, while libvips works

    raw = Raw(tmp_path / "high.raw", Layout(4000, 4000, 3, "uint8"), create=True)
    with raw, pytest.raises(KeyboardInterrupt):
        encode(raw, tmp_path / "o.png", {}, interrupted)
    assert os.listdir(tmp_path) == ["high.raw"]


def test_a_reduced_copy_has_the_size_and_the_colours(tmp_path: Path) -> None:
    Image.new("RGBA", (400, 300), (200, 100, 50, 255)).save(tmp_path / "a.png")
    small = reduced(tmp_path / "a.png", height=30, width=41)
    assert small.shape == (30, 41, 3)
    assert np.abs(small.astype(int) - (200, 100, 50)).max() <= 1


def test_the_encoder_is_timed(tmp_path: Path) -> None:
    assert 0 < encoding_seconds(tmp_path / "o.png", noise_picture(64, 64)) < 1e-3


def test_a_link_planted_where_the_result_is_written_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "letters"
    victim.write_text("dear")
    (tmp_path / ".o.camixersr.png").symlink_to(victim)  # what it was called once
    layout = Layout(8, 8, 3, "uint8")
    with Raw(tmp_path / "raw", layout, create=True) as raw:
        encode(raw, tmp_path / "o.png", {})
    assert victim.read_text() == "dear"
    assert read(tmp_path / "o.png").width == 8


FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from camixersr.errors import OutputError
from camixersr.image.encode import write
from camixersr.image.picture import Picture
from camixersr.image.raw import Layout, Raw\nfrom camixersr.image.stream import encode
target, limit = Path(sys.argv[1]), int(sys.argv[2])
pixels = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
ways = [lambda: write(target, Picture(pixels))]
if not limit:  # a raw file must fit, too
    raw = Raw(Path(sys.argv[3]), Layout(700, 700, 3, "uint8"), create=True)
    raw.write(0, 0, pixels)
    ways.append(lambda: encode(raw, target, {}))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for way in ways:
    try:
        way()
    except OutputError as error:
        print(error)
"""


def full(target: Path, limit: int, raw: Path) -> list[str]:
    command = [sys.executable, "-c", FULL, str(target), str(limit), str(raw)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stderr == ""
    assert [each for each in os.listdir(target.parent) if each != "fill"] == []
    return result.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_a_limit_of_file_sizes_is_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "out").mkdir()
    lines = full(tmp_path / "out" / f"o{suffix}", 100_000, tmp_path / "raw")
    assert len(lines) == 1
    assert lines[0].endswith("cannot be written (File too large)")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_a_full_disk_is_named(tmp_path: Path, suffix: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", disk], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("needs to mount a small disk")
    try:
        lines = full(disk / f"o{suffix}", 0, tmp_path / "raw")
    finally:
        subprocess.run(["umount", disk], check=True)
    assert len(lines) == 2
    assert all(line.endswith("cannot be written (No space left on device)") for line in lines)
