import math

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.image.resize import resize
from camixersr.metrics import luma, psnr, psnr_b, ssim
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


def test_psnr_b_counts_steps_between_blocks() -> None:
    """Against the definition, pixel by pixel."""
    image, reference = (luma(noise_picture(24, 40, seed=seed)) for seed in (1, 2))
    image[:, 8:16] += 9.0  # a step at two borders
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for y in range(24):
        for x in range(40):
            for down, right in ((0, 1), (1, 0)):
                if y + down < 24 and x + right < 40:
                    border = (x + 1) % 8 == 0 if right else (y + 1) % 8 == 0
                    sums[border] += (image[y, x] - image[y + down, x + right]) ** 2
                    counts[border] += 1
    across, inside = (sums[border] / counts[border] for border in (True, False))
    weight = math.log2(8) / math.log2(24) if across > inside else 0.0
    error = np.mean((image - reference) ** 2) + weight * (across - inside)
    assert psnr_b(image, reference) == pytest.approx(10 * math.log10(255**2 / error))


def test_psnr_b_of_a_picture_without_blocks_is_psnr() -> None:
    ramp = np.linspace(16, 235, 64)[None].repeat(48, axis=0)
    waves = 120 + 60 * np.sin(np.arange(64) * 2 * np.pi / 8)[None].repeat(48, axis=0)
    waves = np.roll(waves, 2, axis=1)  # flat where blocks meet
    assert psnr_b(waves, ramp) == pytest.approx(psnr(waves, ramp))
    assert psnr_b(waves, waves) == math.inf
    blocky = np.kron(np.arange(48).reshape(6, 8) % 7 * 20.0, np.ones((8, 8)))
    assert psnr_b(blocky, blocky) < 30.0
    with pytest.raises(ShapeError, match="one channel"):
        psnr_b(noise_picture(24, 24), noise_picture(24, 24))
    with pytest.raises(ValueRangeError, match="two blocks"):
        psnr_b(ramp[:15], ramp[:15])
