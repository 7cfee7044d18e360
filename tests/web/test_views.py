"""What a viewer is shown, against arithmetic on the whole picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camixersr.image.part import Part
from camixersr.image.resize import resize
from camixersr.web.views import TILE, View, make_pyramid, part_of, size_of, tile
from tests.conftest import noise_picture
from tests.web.conftest import pixels


def pyramid(folder: Path, picture: np.ndarray) -> tuple[Path, View]:
    Image.fromarray(picture).save(folder / "a.png")
    return folder / "a.tif", View(**make_pyramid(folder / "a.png", folder / "a.tif"))


@pytest.mark.parametrize("size", [(1, 1), (64, 96), (3, 1500), (700, 17), (600, 900)])
def test_tiles_cover_every_level(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = noise_picture(*size)
    path, view = pyramid(tmp_path, picture)
    assert (view.height, view.width, view.alpha) == (*size, False)
    assert max(size_of(view, 0)) <= 2 * TILE or min(size) == 1 or min(size_of(view, 0)) <= 2
    for level in range(view.levels):
        height, width = size_of(view, level)
        rows = [
            np.concatenate(
                [pixels(tile(path, view, view, level, x, y)) for x in range(-(-width // TILE))], axis=1
            )
            for y in range(-(-height // TILE))
        ]
        assert np.concatenate(rows).shape == (height, width, 3)
        with pytest.raises(IndexError):
            tile(path, view, view, level, -(-width // TILE), 0)
    whole = part_of(path, view, size, Part(0, 0, *size))
    assert (whole == picture).all()  # to the bit


def test_bicubic_parts_are_parts_of_the_whole_however_they_are_cut(tmp_path: Path) -> None:
    picture = noise_picture(200, 300)
    path, view = pyramid(tmp_path, picture)
    high = (790, 1210)
    whole = resize(picture, height=high[0], width=high[1])
    for part in (Part(0, 0, *high), Part(5, 700, 600, 510), Part(789, 1209, 1, 1)):
        shown = part_of(path, view, high, part)
        expected = whole[part.top : part.top + part.height, part.left : part.left + part.width]
        assert (shown == expected).all()
    squares = part_of(path, view, (800, 1200), Part(400, 600, 100, 100), nearest=True)
    assert (squares == picture[100:125, 150:175].repeat(4, axis=0).repeat(4, axis=1)).all()


@pytest.mark.parametrize(("mode", "bands"), [("L", 3), ("LA", 4), ("RGBA", 4), ("I;16", 3), ("P", 3)])
def test_every_kind_of_picture_has_a_view(tmp_path: Path, mode: str, bands: int) -> None:
    grey = np.linspace(0, 65535, 64 * 48).reshape(48, 64)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16))
    else:
        image = Image.fromarray((grey / 257).astype(np.uint8)).convert(mode)
    image.save(tmp_path / "a.png")
    view = View(**make_pyramid(tmp_path / "a.png", tmp_path / "a.tif"))
    shown = part_of(tmp_path / "a.tif", view, (48, 64), Part(0, 0, 48, 64))
    assert shown.shape == (48, 64, bands)
    assert np.abs(shown[..., 0] - grey / 257).max() <= 1.0
    assert view.alpha == (bands == 4)
