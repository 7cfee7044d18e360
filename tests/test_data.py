"""How low pictures are made."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camixersr.data import BICUBIC, CLOSED, read_rgb
from camixersr.errors import ImageError, ShapeError
from tests.conftest import noise_picture, shared


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_closed_panorama_is_reduced_as_one(scale: int) -> None:
    rng = np.random.default_rng(scale)
    high = rng.integers(0, 256, (12 * scale, 24 * scale, 3), dtype=np.uint8)
    low = CLOSED.make(high, scale)
    assert low.shape == (12, 24, 3)
    plain = BICUBIC.make(high, scale)
    assert np.array_equal(low[2:-2, 2:-2], plain[2:-2, 2:-2])
    assert not np.array_equal(low[:, 0], plain[:, 0])
    turned = CLOSED.make(np.roll(high, 5 * scale, axis=1), scale)
    assert np.array_equal(turned, np.roll(low, 5, axis=1))
    # over a pole lies the same row, half a turn away: a sphere that is turned over is reduced turned over
    over = CLOSED.make(np.roll(high[::-1], 12 * scale, axis=1), scale)
    assert np.array_equal(over, np.roll(low[::-1], 12, axis=1))


@pytest.mark.parametrize("shape", [(16, 30, 3), (18, 36, 3), (12, 24, 3)])
def test_what_is_no_whole_panorama_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ShapeError, match="whole panorama"):
        CLOSED.make(np.zeros(shape, np.uint8), 4)


def test_pictures_are_read_as_they_always_were() -> None:
    """Pillow decoded them once: the pixels of every benchmark are the same."""
    files = [path for path in sorted(shared("data/bench").rglob("*.png")) if path.stat().st_size < 2**18]
    assert len(files) > 20
    for path in files[::4]:
        with Image.open(path) as picture:
            assert np.array_equal(read_rgb(path), np.asarray(picture.convert("RGB"))), path


def test_a_jpeg_is_read_as_by_pillow_but_upright_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise_picture(40, 56)).save(path, exif=exif)
    with Image.open(path) as picture:
        expected = np.rot90(np.asarray(picture), -1)
    assert np.abs(read_rgb(path).astype(int) - expected).max() <= 2
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ImageError, match="not whole"):
        read_rgb(path)


def test_what_is_no_plain_rgb_is_refused_if_it_must_be_faithful(tmp_path: Path) -> None:
    rgb = noise_picture(8, 9)
    alpha = np.full((8, 9, 1), 255, np.uint8)
    grey16 = np.arange(72, dtype=np.uint16).reshape(8, 9) * 900
    plain = {"rgb.png": Image.fromarray(rgb), "opaque.png": Image.fromarray(np.dstack((rgb, alpha))),
             "grey.png": Image.fromarray(rgb[:, :, 0]), "deep.png": Image.fromarray(grey16)}  # fmt: skip
    alpha[3, 3] = 254
    odd = {"veiled.png": Image.fromarray(np.dstack((rgb, alpha))), "cmyk.tif": Image.new("CMYK", (9, 8)),
           "lab.tif": Image.new("LAB", (9, 8)), "float.tif": Image.new("F", (9, 8), 0.5)}  # fmt: skip
    for name, image in {**plain, **odd}.items():
        image.save(tmp_path / name)
        assert read_rgb(tmp_path / name).shape == (8, 9, 3)
    for name in plain:
        assert read_rgb(tmp_path / name, faithful=True).dtype == np.uint8
    for name in odd:
        with pytest.raises(ImageError, match=r"convert it first|flatten it first"):
            read_rgb(tmp_path / name, faithful=True)
    assert np.array_equal(read_rgb(tmp_path / "deep.png")[:, :, 0], (grey16 / 257 + 0.5).astype(np.uint8))
