"""HEIC and camera RAW, which need extras; without them the tests are skipped, aloud."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from camixersr.errors import ImageError, MissingExtraError
from camixersr.image.codec import read
from camixersr.image.formats import suffix_for
from tests.image.files import SRGB, camera_exif

HEIC_HEAD = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")


@pytest.mark.parametrize("deep", [False, True])
def test_heic_is_read_with_its_depth_and_metadata(tmp_path: Path, deep: bool) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra `heic`")
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
    assert suffix_for("heic", height=9, width=9, depth="8")[0] == ".png"
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


@pytest.mark.parametrize(("module", "name"), [("pillow_heif", "a.heic"), ("rawpy", "a.dng")])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch, module: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / name
    if module == "rawpy":
        synthetic_dng(path)
    else:
        path.write_bytes(HEIC_HEAD + bytes(100))
    with pytest.raises(MissingExtraError, match=r"pip install 'camixersr\[(heic|raw)\]'"):
        read(path)


def test_standard_input_needs_no_name() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(stream, "PNG")
    assert read(stream.getvalue()).pixels.shape == (4, 5, 3)
