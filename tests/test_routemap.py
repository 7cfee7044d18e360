import numpy as np
import pytest

from camixersr.routemap import heat, render
from tests.conftest import noise_picture


def test_lightness_rises_with_the_share() -> None:
    lightness = heat(np.linspace(0, 1, 50)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all()


def test_each_window_shows_its_own_share() -> None:
    shares = np.array([[0.0, 1.0, 0.5]])
    image = np.full((16, 40, 3), 128, np.uint8)
    canvas = np.asarray(render(image, shares, side=16, attention_share=0.5)).astype(float)
    zoom = 12  # 480 / 40
    centres = [canvas[8 * zoom, column * zoom] for column in (8, 24, 36)]
    lightness = [float(c @ np.array([0.299, 0.587, 0.114])) for c in centres]
    assert lightness[0] < lightness[2] < lightness[1]
    assert canvas.shape[1] == 480


@pytest.mark.parametrize(("height", "width"), [(1, 1), (37, 61), (300, 700)])
def test_any_size_has_a_map_with_a_legend(height: int, width: int) -> None:
    shares = np.random.default_rng(0).random((-(-height // 16), -(-width // 16)))
    canvas = render(noise_picture(height, width), shares, side=16, attention_share=0.3)
    assert canvas.mode == "RGB"
    assert canvas.width >= 480
    foot = np.asarray(canvas)[-40:]
    assert (foot > 200).any(), "the legend has text"
