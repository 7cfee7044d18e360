import math

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.image.resize import resize
from camixersr.metrics import luma, psnr, ssim
from tests.conftest import noise_picture, shared


def test_luma_is_scikit_images() -> None:
    image = noise_picture(20, 30)
    assert np.allclose(luma(image), rgb2ycbcr(image)[..., 0], atol=1e-9)


@pytest.mark.parametrize("border", [0, 1, 4])
@pytest.mark.parametrize("grey", [False, True])
def test_psnr_is_scikit_images(border: int, grey: bool) -> None:
    one, two = noise_picture(24, 31, seed=1), noise_picture(24, 31, seed=2)
    a, b = (luma(one), luma(two)) if grey else (one, two)
    inner = np.s_[border : 24 - border, border : 31 - border]
    expected = peak_signal_noise_ratio(b[inner], a[inner], data_range=255)
    assert psnr(a, b, border=border) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("border", [0, 1, 4])
@pytest.mark.parametrize("grey", [False, True])
def test_ssim_is_scikit_images_in_the_valid_region(border: int, grey: bool) -> None:
    one, two = noise_picture(40, 53, seed=1), noise_picture(40, 53, seed=2)
    a, b = (luma(one), luma(two)) if grey else (one.astype(float), two.astype(float))
    inner = np.s_[border : 40 - border, border : 53 - border]
    _, whole = structural_similarity(
        a[inner], b[inner], data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, channel_axis=None if grey else 2, full=True,
    )  # fmt: skip
    assert ssim(a, b, border=border) == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-6)
    assert ssim(a, a, border=border) == pytest.approx(1.0)


def test_equal_pictures_are_infinitely_alike() -> None:
    assert psnr(noise_picture(8, 8), noise_picture(8, 8)) == math.inf


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="one shape"):
        psnr(np.zeros((4, 4)), np.zeros((4, 5)))
    with pytest.raises(ValueRangeError, match="leaves nothing"):
        psnr(np.zeros((8, 8)), np.zeros((8, 8)), border=4)
    with pytest.raises(ShapeError, match="uint8"):
        luma(np.zeros((4, 4, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueRangeError, match="11 x 11"):
        ssim(np.zeros((10, 40)), np.zeros((10, 40)))


def test_bicubic_scores_what_is_published_on_set5() -> None:
    """28.43 dB with the low images as stored: the whole chain of metric and kernel at once."""
    scores: list[float] = []
    for path in sorted(shared("data/bench/Set5/x4/high").glob("*.png")):
        high = np.asarray(Image.open(path))
        low = np.asarray(Image.open(path.parent.parent / "low" / path.name))
        big = resize(low, height=4 * low.shape[0], width=4 * low.shape[1])
        scores.append(psnr(luma(big), luma(high), border=4))
    assert np.mean(scores) == pytest.approx(28.43, abs=0.02)
