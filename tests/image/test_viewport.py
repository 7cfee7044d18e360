import math

import numpy as np
import pytest

from camixersr.errors import ValueRangeError
from camixersr.image.viewport import VIEWS, viewport


def smooth(height: int = 128) -> np.ndarray:
    """A panorama that is a function of the point on the sphere: no seam, no smear."""
    longitude = ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5) * 2 * math.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * math.pi
    x = np.cos(latitude)[:, None] * np.cos(longitude)
    y = np.cos(latitude)[:, None] * np.sin(longitude)
    z = np.sin(latitude)[:, None] * np.ones_like(longitude)
    return np.stack([127.5 + 120 * each for each in (x, y, z)], axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("name", VIEWS)
def test_the_middle_of_a_view_is_where_it_looks(name: str) -> None:
    yaw, pitch = (math.radians(angle) for angle in VIEWS[name])
    point = (math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch))
    view = viewport(smooth(), *VIEWS[name], side=33)
    assert view[16, 16].tolist() == pytest.approx([127.5 + 120 * each for each in point], abs=2)


@pytest.mark.parametrize("direction", [(0, 0), (180, 0), (35, 20), (-100, -70), (10, 90), (0, -90)])
def test_it_is_what_pyequilib_sees(direction: tuple[float, float]) -> None:
    """An independent projection; its pixels lie half a pixel elsewhere, hence the tolerance."""
    equilib = pytest.importorskip("equilib", exc_type=ImportError)
    yaw, pitch = direction
    panorama = smooth(256)
    ours = viewport(panorama, yaw, pitch, side=64)
    rotation = {"roll": 0.0, "pitch": math.radians(pitch), "yaw": math.radians(yaw)}
    theirs = equilib.equi2pers(
        equi=panorama.transpose(2, 0, 1).astype(np.float32), rots=rotation, height=64, width=64,
        fov_x=90.0, mode="bilinear", z_down=True,
    )  # fmt: skip
    assert np.abs(ours.transpose(2, 0, 1) - theirs).max() <= 6


def test_a_view_must_be_less_than_half_of_everything() -> None:
    for degrees in (0.0, 180.0, -10.0):
        with pytest.raises(ValueRangeError, match="180"):
            viewport(smooth(8), 0, 0, degrees=degrees)
