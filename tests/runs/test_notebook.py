"""What a notebook shows of results and of pictures."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import camixersr
from camixersr.image.picture import Picture
from tests.conftest import noise_picture


def test_a_result_shows_before_after_and_the_map(tmp_path: Path) -> None:
    Image.fromarray(noise_picture(60, 90)).save(tmp_path / "a <b>.png")
    (result,) = camixersr.upscale_files(tmp_path / "a <b>.png", output=tmp_path / "big.png")
    text = result._repr_html_()
    assert "a &lt;b&gt;.png" in text
    assert re.findall("<figcaption>(.*?)<", text) == ["bicubic", "camixersr", "route map"]
    shown = [
        Image.open(io.BytesIO(base64.b64decode(each))) for each in re.findall(r"base64,([^\"]+)", text)
    ]
    assert shown[0].size == shown[1].size
    with Image.open(tmp_path / "big.png") as big:
        detail = np.asarray(shown[1]).astype(float)
        around = np.asarray(big).astype(float)
        h, w = detail.shape[:2]
        best = min(
            abs(around[y : y + h, x : x + w] - detail).mean()
            for y in range(0, around.shape[0] - h + 1, 4)
            for x in range(0, around.shape[1] - w + 1, 4)
        )
        assert best < 4, "what is shown is a part of the result"
        assert shown[2].size[0] / shown[2].size[1] == pytest.approx(big.width / big.height, rel=0.02)
    (tmp_path / "big.png").unlink()
    assert "<img" not in result._repr_html_()


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)], ids=["8", "16", "float"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_shows_itself(dtype: type, white: float, channels: int) -> None:
    pixels = np.full((3, 2100, channels), white / 2, dtype)
    pixels[0] = white
    with Image.open(io.BytesIO(Picture(pixels)._repr_png_())) as image:
        assert image.size == (700, 1)
        assert np.asarray(image).max() == 255
