"""How low pictures are made."""

import numpy as np
import pytest

from camixersr.data import BICUBIC, CLOSED
from camixersr.errors import ShapeError


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
