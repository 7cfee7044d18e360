"""Files made to break image software: a correct picture or one clear line, never anything else."""

import json
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from camixersr.errors import ImageError
from camixersr.image.decode import read
from tests.conftest import ROOT, noise_picture, shared
from tests.image.files import png

# Pillow cannot read the orientation of the TIFF; and it takes that of a PNG from XMP, which is not ours
ORIENTED_OTHERWISE = ("a33.tif", "xmp_tags_orientation_exiftool.png")


def strict_pillow(path: Path) -> np.ndarray | None:
    """What Pillow makes of a file, upright, 8 bits RGB; None if it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.width * image.height > 50_000_000:
                    return None
                image.load()
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception:  # noqa: BLE001 - whatever it says
        return None


def strict_libvips(path: Path) -> bool:
    """Whether libvips decodes a file where errors count; of a TIFF warnings count too."""
    import pyvips

    try:
        level = "warning" if path.suffix.lower() in (".tif", ".tiff") else "error"
        pyvips.Image.new_from_file(str(path), access="sequential", fail_on=level).avg()
    except pyvips.Error:
        return False
    return True


def comparable(path: Path) -> bool:
    """Pillow's 8-bit RGB is what we should give: no conversion of colours or depth in between."""
    with Image.open(path) as image:
        return image.mode in ("RGB", "RGBA", "L", "P", "1", "LA") and image.info.get("transparency") is None


def test_hard_files_give_the_right_picture_or_one_line(capsys) -> None:
    outcomes: Counter[str] = Counter()
    for path in sorted(shared("data/hard").rglob("*")):
        if not path.is_file() or path.suffix == ".icc":
            continue
        expected, opens = strict_pillow(path), strict_libvips(path)
        try:
            picture = read(path)
        except ImageError as error:
            said = str(error)
        else:
            said = ""
        if said:
            assert "\n" not in said
            assert str(path) in said
            assert expected is None, f"Pillow opens {path}"
            assert not opens, f"libvips opens {path}"
            outcomes["refused, as libvips and Pillow do"] += 1
            continue
        who = (
            "both open"
            if opens and expected is not None
            else ("libvips opens" if opens else "Pillow opens")
        )
        if expected is None and not opens:
            who = "neither opens strictly"
        outcomes[f"read; {who}"] += 1
        outcomes["of these with a note"] += bool(picture.notes)
        if expected is None or not comparable(path) or picture.pixels.dtype != np.uint8:
            continue
        # two TIFFs whose orientation Pillow cannot read, one PNG that says it in XMP alone
        if (
            picture.pixels.shape[:2] != expected.shape[:2]
            or path.name == "xmp_tags_orientation_exiftool.png"
        ):
            assert path.name in ("a33.tif", "xmp_tags_orientation_exiftool.png"), path
            continue
        difference = np.abs(picture.pixels.astype(int) - expected)
        if picture.alpha is not None:
            difference = difference * (picture.alpha > 0)[:, :, None]
        assert difference.mean() < 2.0, path
        outcomes["of these compared with Pillow's pixels"] += 1
    with capsys.disabled():
        print()
        for outcome, count in sorted(outcomes.items()):
            print(f"  {count:4}  {outcome}")
    assert outcomes["read; both open"] > 300


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hard_files_through_the_command_line_in_bounded_time_and_memory(tmp_path: Path) -> None:
    """Seconds hold for a machine that is not busy otherwise."""
    from camixersr.weights import Model, save
    from tests.conftest import random_network

    save(tmp_path / "tiny.safetensors", Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    script = (
        "import resource, sys; from camixersr.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, "upscale", shared("data/hard"), "-o", tmp_path / "out"]
    result = subprocess.run(
        [*map(str, command), "--model", str(tmp_path / "tiny.safetensors")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 3
    assert "Traceback" not in result.stderr
    *lines, peak = result.stderr.splitlines()
    assert all(line.startswith("camixersr: ") for line in lines)
    assert int(peak.split()[1]) * 1024 < 2e9
    entries = [json.loads(line) for line in (tmp_path / "out" / "camixersr.jsonl").read_text().splitlines()]
    done = [entry for entry in entries if entry["result"] == "done"]
    assert len(done) + sum(entry["result"] == "failed" for entry in entries) == len(
        {entry["input"] for entry in entries}
    )
    assert max(entry["seconds"] for entry in done) < 10


def bomb_png(width: int, height: int) -> bytes:
    """A PNG of so many black pixels, in as few bytes as zlib allows."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(min(height, 2000))) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (400_000, 10_000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_absurd_sizes_are_refused_by_the_header(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(
        bomb_png(*size) if size[0] < 2**20 else bomb_png(8, 8)[:16] + struct.pack(">II", *size)
    )
    with pytest.raises(ImageError, match=r"limit|damaged"):
        read(path)
    bitmap = tmp_path / "a.bmp"
    head = b"BM" + struct.pack("<IHHI", 58, 0, 0, 54)
    bitmap.write_bytes(head + struct.pack("<IiiHHIIiiII", 40, *size, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(4))
    with pytest.raises(ImageError):
        read(bitmap)


def test_the_limit_holds_for_every_decoder(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".webp", ".tif", ".avif", ".gif", ".bmp", ".ppm"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(noise_picture(20, 30)).save(path)
        assert read(path, max_pixels=600).width == 30
        with pytest.raises(ImageError, match=r"30 x 20 pixels are more than the limit of 599"):
            read(path, max_pixels=599)
        assert read(path.read_bytes(), max_pixels=600).height == 20


def test_names_lie_and_content_decides(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise_picture(20, 30)).save(path, "JPEG")
    assert read(path).kind == "jpeg"


def test_devices_and_pipes_are_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(ImageError, match="standard input"):
            read(path)
    with pytest.raises(ImageError, match="cannot be read"):
        read(tmp_path / ("n" * 300 + ".png"))
    with pytest.raises(ImageError):
        read(tmp_path / "with\0null.png")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("row", [0, 3])
def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path, value: float, row: int) -> None:
    pixels = np.ones((8, 8, 3), np.float32)
    pixels[row, 3, 1] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    with pytest.raises(ImageError, match="NaN or infinity"):
        read(tmp_path / "a.tif")


def test_sixteen_bits_are_never_cut_by_the_second_decoder(tmp_path: Path) -> None:
    """Pillow reads 16-bit RGB as 8 bits without a word."""
    deep = np.random.default_rng(0).integers(0, 65536, (9, 11, 3), dtype=np.uint16)
    (tmp_path / "a.ppm").write_bytes(b"P6\n# a comment\n11 9\n65535\n" + deep.astype(">u2").tobytes())
    assert np.array_equal(read(tmp_path / "a.ppm").pixels, deep)
    (tmp_path / "b.pgm").write_bytes(b"P5 11 9 1023\n" + (deep[:, :, 0] >> 6).astype(">u2").tobytes())
    assert np.abs(read(tmp_path / "b.pgm").pixels[:, :, 0].astype(int) - deep[:, :, 0]).max() <= 65
    broken = bytearray(png(deep))
    broken[-20] ^= 255  # in the data's checksum: libvips refuses, and Pillow must not give 8 bits
    (tmp_path / "c.png").write_bytes(broken)
    try:
        pixels = read(tmp_path / "c.png").pixels
    except ImageError:
        return
    assert pixels.dtype == np.uint16


def test_a_directory_that_points_to_itself_ends(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise_picture(8, 8), photometric="rgb")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    place = struct.unpack_from("<I", data, 4)[0]
    (count,) = struct.unpack_from("<H", data, place)
    struct.pack_into("<I", data, place + 2 + 12 * count, place)
    (tmp_path / "a.tif").write_bytes(data)
    assert read(tmp_path / "a.tif").pages == 1


def test_an_xmp_packet_of_traps_is_done_with_at_once() -> None:
    from camixersr.image.metadata import correct_xmp

    traps = (
        b"<xmp:Thumbnails>" * 60_000,
        b"GPano:" * 200_000,
        b"hdrgm:" + b" hdrgm:a='" * 100_000,
        b"<" * 10**6,
    )
    for trap in traps:
        correct_xmp(trap, low=(1, 1), high=(2, 2))


def fuzz(count: int, seed: int) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.invariants.fuzz", str(count), str(seed)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


def test_a_few_mutated_files(capsys) -> None:
    outcomes = fuzz(500, seed=0)
    assert outcomes["refused"] > 100
    assert outcomes.get("in several lines", 0) == 0
    assert outcomes["read"] > 50
    assert outcomes["written"] > 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_thousand_mutated_files(capsys) -> None:
    outcomes = fuzz(20_000, seed=1)
    with capsys.disabled():
        print(f"\n  {outcomes}")
    assert outcomes["slowest"] < 10
    assert outcomes.get("in several lines", 0) == 0
