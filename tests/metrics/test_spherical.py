import math

import numpy as np
import pytest

from camixersr.errors import ShapeError
from camixersr.metrics import psnr, ssim, ws_psnr, ws_ssim
from camixersr.metrics.spherical import latitude_weights
from tests.conftest import noise_picture


def loop_ws_psnr(one: np.ndarray, two: np.ndarray) -> float:
    """Pixel by pixel, as the definition says."""
    total = weight = 0.0
    for row in range(one.shape[0]):
        w = math.cos((row + 0.5 - one.shape[0] / 2) * math.pi / one.shape[0])
        for column in range(one.shape[1]):
            for channel in range(one.shape[2]):
                total += w * (float(one[row, column, channel]) - float(two[row, column, channel])) ** 2
                weight += w
    return 10 * math.log10(255**2 / (total / weight))


def loop_ws_ssim(one: np.ndarray, two: np.ndarray) -> float:
    gauss = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(gauss, gauss) / gauss.sum() ** 2
    total = weight = 0.0
    for row in range(5, one.shape[0] - 5):
        w = math.cos((row + 0.5 - one.shape[0] / 2) * math.pi / one.shape[0])
        for column in range(5, one.shape[1] - 5):
            a = one[row - 5 : row + 6, column - 5 : column + 6].astype(float)
            b = two[row - 5 : row + 6, column - 5 : column + 6].astype(float)
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            value = (2 * ma * mb + 6.5025) * (2 * cov + 58.5225)
            value /= (ma**2 + mb**2 + 6.5025) * (va + vb + 58.5225)
            total += w * value
            weight += w
    return total / weight


def test_ws_psnr_equals_the_loop() -> None:
    one, two = noise_picture(12, 24, seed=1), noise_picture(12, 24, seed=2)
    assert ws_psnr(one, two) == pytest.approx(loop_ws_psnr(one, two), abs=1e-6)


def test_ws_ssim_equals_the_loop() -> None:
    one, two = noise_picture(20, 30, 1, seed=1)[..., 0], noise_picture(20, 30, 1, seed=2)[..., 0]
    assert ws_ssim(one, two) == pytest.approx(loop_ws_ssim(one, two), abs=1e-6)


def test_an_error_at_the_pole_counts_less_than_one_at_the_equator() -> None:
    clean = np.full((32, 64, 3), 100, np.uint8)
    pole, equator = clean.copy(), clean.copy()
    pole[0] += 50
    equator[16] += 50
    assert ws_psnr(pole, clean) > ws_psnr(equator, clean) + 10
    assert psnr(pole, clean) == psnr(equator, clean)


def test_with_errors_alike_everywhere_the_weights_do_not_matter() -> None:
    clean = np.full((32, 64, 3), 100, np.uint8)
    assert ws_psnr(clean + 3, clean) == pytest.approx(psnr(clean + 3, clean))
    assert ws_ssim(clean + 3, clean) == pytest.approx(ssim(clean + 3, clean))
    assert ws_psnr(clean, clean) == math.inf


def test_weights_are_symmetric_and_highest_at_the_equator() -> None:
    weights = latitude_weights(33)
    assert np.allclose(weights, weights[::-1])
    assert weights.argmax() == 16
    assert weights[16] == pytest.approx(1.0)


def test_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="one shape"):
        ws_psnr(np.zeros((4, 8)), np.zeros((4, 9)))
