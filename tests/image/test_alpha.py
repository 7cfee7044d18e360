import numpy as np
import pytest

from camixersr.image.alpha import HALO, bleed, keep_extremes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_visible_pixels_are_untouched_and_invisible_ones_take_their_colour(dtype: type) -> None:
    rng = np.random.default_rng(0)
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = (rng.random((150, 170)) > 0.999).astype(dtype) * dtype(top)
    pixels = np.zeros((150, 170, 3), dtype)
    pixels[alpha > 0] = (np.array([0.8, 0.3, 0.1]) * top).astype(dtype)
    result = bleed(pixels, alpha)
    assert result.dtype == dtype
    assert np.array_equal(result[alpha > 0], pixels[alpha > 0])
    assert np.abs(result.astype(float) - pixels[alpha > 0][0]).max() <= (1e-6 if dtype == np.float32 else 1)


def test_the_nearest_visible_colour_wins() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :10], pixels[:, 50:] = (255, 0, 0), (0, 0, 255)
    alpha = np.zeros((20, 60), np.uint8)
    alpha[:, :10] = alpha[:, 50:] = 255
    result = bleed(pixels, alpha)
    assert (result[:, 10:18] == (255, 0, 0)).all()
    assert (result[:, 42:50] == (0, 0, 255)).all()


def test_nothing_to_do_is_nothing_done() -> None:
    pixels = np.ones((5, 5, 3), np.uint8)
    assert bleed(pixels, np.ones((5, 5), np.uint8)) is pixels
    assert bleed(pixels, np.zeros((5, 5), np.uint8)) is pixels


def test_parts_cut_on_the_grid_with_a_halo_are_the_whole() -> None:
    rng = np.random.default_rng(1)
    alpha = (rng.random((4 * HALO, 3 * HALO)) > 0.995).astype(np.uint8)
    pixels = rng.integers(0, 256, (*alpha.shape, 3), dtype=np.uint8)
    whole = bleed(pixels, alpha)
    rows = slice(0, 3 * HALO)
    part = bleed(pixels[rows], alpha[rows])
    assert np.array_equal(part[: 2 * HALO], whole[: 2 * HALO])


def test_extremes_are_kept_exactly() -> None:
    low = np.zeros((6, 6), np.float32)
    low[:, 4:] = 1
    high = np.full((12, 12), 0.5, np.float32)
    result = keep_extremes(high, low, 2)
    assert (result[:, :6] == 0).all()
    assert (result[:, 10:] == 1).all()
    assert (result[:, 6:10] == 0.5).all()
