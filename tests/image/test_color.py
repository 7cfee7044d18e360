"""Colour profiles by choice: kept, or converted; compared with LittleCMS through Pillow."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from camixersr.errors import ImageError
from camixersr.image.decode import read
from camixersr.image.encode import write
from tests.conftest import noise_picture
from tests.image.files import grey_profile, wide_profile


def reference(image: Image.Image, profile: bytes, mode: str) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    converted = ImageCms.profileToProfile(image, source, target, renderingIntent=intent, outputMode=mode)
    assert converted is not None
    return np.asarray(converted).astype(int)


@pytest.mark.parametrize("alpha", [False, True])
def test_srgb_by_choice(tmp_path: Path, alpha: bool) -> None:
    smooth = np.clip(noise_picture(20, 30).astype(int) // 2 + 60, 0, 255).astype(np.uint8)
    image = Image.fromarray(smooth)
    expected = reference(image, wide_profile(), "RGB")
    if alpha:
        image.putalpha(Image.fromarray(noise_picture(20, 30)[:, :, 0]))
    image.save(tmp_path / "a.png", icc_profile=wide_profile())
    kept, converted = read(tmp_path / "a.png"), read(tmp_path / "a.png", color="srgb")
    assert np.array_equal(kept.pixels, smooth)
    assert kept.metadata["icc-profile-data"][1] == wide_profile()
    assert np.abs(converted.pixels.astype(int) - expected).max() <= 2
    assert np.abs(converted.pixels.astype(int) - smooth).max() > 10, "there was something to convert"
    embedded = converted.metadata["icc-profile-data"][1]
    again = reference(Image.fromarray(converted.pixels), embedded, "RGB")
    assert np.abs(again - converted.pixels).max() <= 1, "the profile that goes with it is sRGB"
    if alpha:
        assert converted.alpha is not None
        assert np.array_equal(converted.alpha, np.asarray(image)[:, :, 3])


def test_grey_stays_grey_when_converted(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / "a.png", icc_profile=grey_profile())
    picture = read(tmp_path / "a.png", color="srgb")
    assert picture.pixels.shape == (4, 256, 1)
    assert "icc-profile-data" not in picture.metadata
    expected = reference(Image.fromarray(ramp), grey_profile(), "RGB")[:, :, 0]
    assert np.abs(picture.pixels[:, :, 0].astype(int) - expected).max() <= 2


def test_a_profile_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    pixels = noise_picture(9, 9)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=b"junk" * 50)
    picture = read(tmp_path / "a.png", color="srgb")
    assert np.array_equal(picture.pixels, pixels)
    write(tmp_path / "b.png", picture)
    with Image.open(tmp_path / "b.png") as image:
        assert "icc_profile" not in image.info


def test_cmyk_through_its_own_profile_is_told(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert any("CMYK" in note for note in read(tmp_path / "a.jpg").notes)


def test_lab_becomes_srgb(tmp_path: Path) -> None:
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (8, 8), (200, 80, 40)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    picture = read(tmp_path / "a.tif")
    assert np.abs(picture.pixels.reshape(-1, 3).mean(axis=0) - (200, 80, 40)).max() < 6
    assert picture.notes


def lab_and_rgb() -> tuple[np.ndarray, np.ndarray]:
    """A picture in 8-bit CIELAB as TIFF stores it (a and b signed), by LittleCMS, and in sRGB."""
    rows, columns = np.mgrid[0:32, 0:48]
    rgb = np.stack((columns * 5, rows * 7, np.full_like(rows, 100)), -1).astype(np.uint8)
    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    lab = ImageCms.profileToProfile(Image.fromarray(rgb), *profiles, outputMode="LAB")
    assert lab is not None
    return np.asarray(lab), rgb


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("transparent", [False, True])
def test_a_lab_tiff_keeps_colours_and_transparency(tmp_path: Path, kind: type, transparent: bool) -> None:
    lab, rgb = lab_and_rgb()
    alpha = np.where(np.arange(48) < 24, 255, 128) + np.zeros((32, 1), int)
    stored = np.dstack((lab, alpha)) if transparent else lab
    stored = stored.astype(np.uint8).astype(kind)
    if kind is np.uint16:
        stored[:, :, 1:3] *= 256  # a and b are signed, in steps of 1/256
        stored[:, :, ::3] *= 257
    extra = {"extrasamples": ["unassalpha"]} if transparent else {}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="cielab", **extra)
    picture = read(tmp_path / "a.tif")
    top = 255 if picture.pixels.dtype == np.uint8 else 65535
    assert np.abs(picture.pixels / top * 255 - rgb).mean() < 1.5
    assert (picture.alpha is not None) == transparent
    if picture.alpha is not None:
        assert np.abs(picture.alpha / top * 255 - alpha).max() < 0.5


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_tiff_in_ycbcr_is_right_or_refused(tmp_path: Path, planes: str, compression: str | None) -> None:
    _, rgb = lab_and_rgb()
    stored = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    stored = np.ascontiguousarray(stored if planes == "contig" else stored.transpose(2, 0, 1))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="ycbcr", planarconfig=planes, compression=compression)
    try:
        pixels = read(path).pixels
    except ImageError as error:
        assert planes == "separate"
        assert "YCbCr in separate planes" in str(error)  # noqa: PT017
    else:
        assert np.abs(pixels.astype(int) - rgb).max() <= 3


def test_icc_lab_is_refused_and_not_taken_for_rgb(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", lab_and_rgb()[0], photometric="icclab")
    with pytest.raises(ImageError, match="ICC LAB"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_cmyk_keeps_its_transparency(tmp_path: Path, kind: type) -> None:
    alpha = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    stored = np.dstack((np.full((8, 8, 4), 40, np.uint8), alpha)).astype(kind)
    stored *= 257 if kind is np.uint16 else 1
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="separated", extrasamples=["unassalpha"])
    read_back = read(path).alpha
    assert read_back is not None
    assert np.array_equal(read_back, stored[:, :, 4])
