"""HEIC, camera RAW, which needs an extra, and what is said where one is missing."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pillow_heif as heif
import pytest
import tifffile
from PIL import Image

import camixersr
from camixersr.cli import main
from camixersr.enlarge.options import Options
from camixersr.errors import ImageError, MissingExtraError
from camixersr.image.decode import read
from camixersr.image.formats import suffix_for
from camixersr.image.metadata import cicp_of_heif
from tests.image.files import SRGB, camera_exif


@pytest.mark.parametrize("deep", [False, True])
def test_heic_is_read_with_its_depth_and_metadata(tmp_path: Path, deep: bool) -> None:
    rows, columns = np.mgrid[0:64, 0:96]
    smooth = np.stack((columns * 2, rows * 3, 255 - columns), -1).astype(np.uint8)
    path = tmp_path / "a.heic"
    if deep:
        stored = smooth.astype(np.uint16) * 257
        heif.encode("RGB;16", (96, 64), stored.tobytes(), path, quality=-1)
    else:
        file = heif.from_pillow(Image.fromarray(smooth))
        file.save(path, quality=95, exif=camera_exif(1).tobytes(), icc_profile=SRGB)
    picture = read(path)
    assert picture.kind == "heic"
    assert picture.pixels.shape == (64, 96, 3)
    top = 65535 if deep else 255
    assert picture.pixels.dtype == (np.uint16 if deep else np.uint8)
    assert np.abs(picture.pixels / top - smooth / 255).mean() < 0.02
    if not deep:
        assert picture.metadata["icc-profile-data"][1] == SRGB
        assert b"An Artist" in picture.metadata["exif-data"][1]
    with pytest.raises(ImageError, match="limit"):
        read(path, max_pixels=100)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError):
        read(path)


def synthetic_dng(path: Path) -> None:
    """The least that a raw converter takes: a mosaic of red, green and blue, and what it means."""
    rows, columns = np.mgrid[0:128, 0:192]
    light = 4000 + 200 * columns // 2
    mosaic = np.where((rows % 2 == 0) & (columns % 2 == 0), light, light // 2).astype(np.uint16)  # reddish
    matrix = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    tifffile.imwrite(
        path,
        mosaic,
        photometric=32803,
        metadata=None,
        extratags=[
            (33421, "H", 2, (2, 2), True),  # CFARepeatPatternDim
            (33422, "B", 4, (0, 1, 1, 2), True),  # CFAPattern: RGGB
            (50706, "B", 4, (1, 4, 0, 0), True),  # DNGVersion
            (50708, "s", 0, "Synthetic", True),  # UniqueCameraModel
            (50717, "I", 1, 65535, True),  # WhiteLevel
            (50721, "2i", 9, matrix, True),  # ColorMatrix1
            (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),  # AsShotNeutral
            (271, "s", 0, "Maker", True),
        ],
    )


def test_camera_raw_is_developed_in_sixteen_bits(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs the extra `raw`")
    path = tmp_path / "a.dng"
    synthetic_dng(path)
    picture = read(path)
    assert picture.kind == "raw"
    assert picture.pixels.dtype == np.uint16
    assert abs(picture.height - 128) <= 16
    red, green, _ = picture.pixels.reshape(-1, 3).mean(axis=0)
    assert red > green, "developed, not taken for a grey TIFF"
    assert len(np.unique(picture.pixels)) > 256
    assert b"Maker" in picture.metadata["exif-data"][1]
    path = path.rename(tmp_path / "a.tif")
    assert read(path).kind == "raw", "content decides, not the name"
    with pytest.raises(ImageError, match="limit"):
        read(path, max_pixels=100)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError):
        read(path)


def _heic(path: Path, mode: str = "RGB", *, bits: int = 8, orientation: int = 1) -> None:
    rows, columns = np.mgrid[0:24, 0:40]
    picture = np.stack((columns * 6, rows * 9, 255 - columns * 3, 200 + rows), -1).astype(np.uint8)
    if bits > 8:
        heif.encode("RGB;16", (40, 24), (picture[..., :3].astype(np.uint16) * 257).tobytes(), path)
        return
    file = heif.from_pillow(Image.fromarray(picture).convert(mode))
    file.save(path, quality=95, exif=camera_exif(orientation).tobytes(), icc_profile=SRGB)


def test_a_phones_heic_becomes_an_upright_jpeg_that_keeps_what_it_knew(tmp_path: Path, capsys) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.heic", "b.HEIC"):
        _heic(tmp_path / "photos" / name, orientation=6)
    with pytest.raises(SystemExit, match="0"):
        main([str(tmp_path / "photos"), "--attention-ratio", "0", "--device", "cpu"])
    assert sorted(each.name for each in (tmp_path / "photos_x4").glob("*.jpg")) == ["a_x4.jpg", "b_x4.jpg"]
    with Image.open(tmp_path / "photos_x4" / "a_x4.jpg") as result:
        assert result.size == (96, 160)
        assert result.getexif().get(0x112, 1) == 1, "it is turned already"
        assert result.getexif()[0x10F] == "Maker"
        assert result.info["icc_profile"] == SRGB
    said = capsys.readouterr().err
    assert said.count("HEIC is not written, so the result is .jpg; --format png") == 1, "of a folder once"


@pytest.mark.parametrize(("mode", "bits"), [("RGBA", 8), ("RGB", 10)])
def test_a_heic_that_jpeg_cannot_hold_becomes_avif(tmp_path: Path, mode: str, bits: int) -> None:
    _heic(tmp_path / "a.heic", mode, bits=bits)
    (result,) = camixersr.upscale_files(
        tmp_path / "a.heic", options=Options(attention_ratio=0.0, device="cpu")
    )
    assert result.target == tmp_path / "a_x4.avif"
    before, after = read(tmp_path / "a.heic"), read(result.target)
    assert (before.alpha is None) == (after.alpha is None)
    assert before.pixels.dtype == after.pixels.dtype == (np.uint16 if bits > 8 else np.uint8)


def test_hdr_in_heic_is_described_in_png(tmp_path: Path) -> None:
    head = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
    described = head + b"\0\0\0\x13colrnclx" + struct.pack(">HHHB", 9, 16, 9, 128)
    assert cicp_of_heif(described)[8:12] == bytes((9, 16, 0, 1))
    assert suffix_for("heic", height=9, width=9, depth="16", wide=True)[0] == ".png"


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    path = tmp_path / "a.dng"
    synthetic_dng(path)
    with pytest.raises(MissingExtraError, match=r"install '.*\[raw\]'"):
        read(path)


def test_standard_input_needs_no_name() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(stream, "PNG")
    assert read(stream.getvalue()).pixels.shape == (4, 5, 3)
