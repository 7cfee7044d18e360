import math

import numpy as np
import pytest

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.image.fisheye import reduce_through_fisheyes
from camixersr.image.resize import resize
from tests.image.test_viewport import smooth


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_what_is_smooth_on_the_sphere_stays_what_it_is(scale: int) -> None:
    """At the seam, at the poles and where the fisheyes meet, too."""
    low = reduce_through_fisheyes(smooth(48 * scale), scale)
    assert low.shape == (48, 96, 3)
    assert np.abs(low.astype(int) - smooth(48)).max() <= 2


def test_a_quarter_turn_before_is_one_after() -> None:
    """The fisheyes look along the axis: their pictures only turn."""
    high = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    turned = reduce_through_fisheyes(np.roll(high, 32, axis=1), 4)
    expected = np.roll(reduce_through_fisheyes(high, 4), 8, axis=1)
    # where the last row meets the pole, a halfway case may round the other way
    assert np.abs(turned.astype(int) - expected).max() <= 1


def test_up_and_down_are_treated_alike() -> None:
    high = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    flipped = reduce_through_fisheyes(np.ascontiguousarray(high[::-1]), 4)
    assert np.abs(flipped[::-1].astype(int) - reduce_through_fisheyes(high, 4)).max() <= 1


def test_it_blurs_the_poles_and_keeps_the_equator() -> None:
    """Columns that alternate: near a pole they are one point, and only plain reduction keeps them."""
    high = np.zeros((256, 512, 1), np.uint8)
    high[:, np.arange(512) % 16 < 8] = 255
    plain, seen = resize(high, height=64, width=128), reduce_through_fisheyes(high, 4)
    assert plain[0].std() > 100.0
    assert seen[0].std() < 0.1 * plain[0].std()
    assert seen[31].std() > 0.8 * plain[31].std()


def test_what_it_does_not_take() -> None:
    with pytest.raises(ShapeError, match=r"H x 2H x C, got shape \(8, 12, 3\)"):
        reduce_through_fisheyes(np.zeros((8, 12, 3), np.uint8), 4)
    with pytest.raises(ValueRangeError, match="multiple of the scale 4, got 6"):
        reduce_through_fisheyes(np.zeros((6, 12, 3), np.uint8), 4)
    assert math.isclose(float(reduce_through_fisheyes(np.full((8, 16, 3), 77, np.uint8), 4).mean()), 77.0)
