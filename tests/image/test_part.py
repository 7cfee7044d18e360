"""Parts of pictures: the same pixels as of the whole."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camixersr.image.decode import read
from camixersr.image.part import Part, bicubic_part, most_detailed, read_part
from camixersr.image.resize import resize
from tests.conftest import noise_picture


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_bicubic_of_a_part_is_the_part_of_the_bicubic(data: st.DataObject) -> None:
    """With four pixels around it, at any factor above 1, also at the borders."""
    low = data.draw(st.tuples(st.integers(4, 40), st.integers(4, 40)))
    high = tuple(data.draw(st.integers(side, 5 * side)) for side in low)
    top, left = (data.draw(st.integers(0, side - 2)) for side in low)
    height, width = data.draw(st.integers(1, low[0] - top)), data.draw(st.integers(1, low[1] - left))
    image = noise_picture(*low)
    part = Part(top, left, height, width)
    around, shows = part.around(4, low), part.scaled(low, (high[0], high[1]))
    whole = resize(image, height=high[0], width=high[1])
    cut = image[around.top : around.top + around.height, around.left : around.left + around.width]
    made = bicubic_part(cut, around, shows, low=low, high=(high[0], high[1]))
    expected = whole[shows.top : shows.top + shows.height, shows.left : shows.left + shows.width]
    assert made.shape == expected.shape
    assert np.abs(made.astype(int) - expected).max() <= 1  # sums in another order, at a half
    assert (made != expected).mean() < 0.02


def test_the_part_with_most_detail_is_found() -> None:
    image = np.full((80, 100, 3), 100, np.uint8)
    image[40:60, 70:90] = noise_picture(20, 20)
    image[:, 10:40] = 255  # one strong edge is not detail
    assert most_detailed(image, 20, 20) in [
        Part(40, 70, 20, 20),
        Part(39, 69, 20, 20),
        Part(40, 69, 20, 20),
    ]
    assert most_detailed(image, 500, 500) == Part(0, 0, 80, 100)
    assert most_detailed(image.astype(np.float32) / 255, 20, 20).left in (69, 70)


@pytest.mark.parametrize("name", ["a.png", "turned.jpg", "grey.png", "deep.png", "alpha.webp"])
def test_a_part_of_a_file_is_that_of_the_upright_picture(tmp_path: Path, name: str) -> None:
    path, image = tmp_path / name, Image.fromarray(noise_picture(30, 50))
    if name == "turned.jpg":
        exif = Image.Exif()
        exif[0x112] = 6
        image.save(path, exif=exif)
    elif name == "grey.png":
        image.convert("L").save(path)
    elif name == "deep.png":
        Image.fromarray(noise_picture(30, 50)[:, :, 0].astype(np.uint16) * 257).save(path)
    elif name == "alpha.webp":
        image.putalpha(image.getchannel("G"))
        image.save(path, lossless=True, exact=True)
    else:
        image.save(path)
    picture, part = read(path), Part(5, 7, 20, 12)
    whole = np.asarray(picture)
    whole = (whole // 257).astype(np.uint8) if whole.dtype == np.uint16 else whole
    whole = whole.repeat(3, axis=2) if whole.shape[2] == 1 else whole
    assert np.array_equal(read_part(path, part), whole[5:25, 7:19])
    assert np.array_equal(read_part(path.read_bytes(), part), whole[5:25, 7:19])
