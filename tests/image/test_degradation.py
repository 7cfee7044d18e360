import io

import numpy as np
import pytest
from PIL import Image

from camixersr.errors import ValueRangeError
from camixersr.image.degradation import Degradation, add_noise, compress, quality_of
from tests.conftest import noise_picture


def jpeg(quality: int, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise_picture(40, 56)).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


@pytest.mark.parametrize("full_chroma", [False, True])
def test_compressing_is_writing_and_reading_a_jpeg(full_chroma: bool) -> None:
    sampling = "4:4:4" if full_chroma else "4:2:0"
    with Image.open(io.BytesIO(jpeg(30, subsampling=sampling))) as stored:
        expected = np.asarray(stored)
    assert np.array_equal(compress(noise_picture(40, 56), 30, full_chroma=full_chroma), expected)


def test_every_quality_is_told_from_its_file() -> None:
    assert [quality_of(jpeg(quality)) for quality in range(1, 101)] == list(range(1, 101))


def test_no_quality_of_what_is_no_jpeg(tmp_path) -> None:
    Image.fromarray(noise_picture(8, 8)).save(tmp_path / "a.png")
    assert quality_of(tmp_path / "a.png") is None
    assert quality_of(tmp_path / "missing.jpg") is None
    assert quality_of(b"\xff\xd8\xff but nothing more") is None


@pytest.mark.parametrize("sigma", [0.0, 15.0, 25.0])
def test_noise_is_white_gaussian_of_its_sigma(sigma: float) -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = add_noise(grey, sigma, np.random.default_rng(1)).astype(float) - 128.0
    assert noise.mean() == pytest.approx(0.0, abs=0.2)
    assert noise.std() == pytest.approx(sigma, rel=0.02, abs=0.01)
    if sigma:
        neighbours = np.corrcoef(noise[:, 1:, 0].ravel(), noise[:, :-1, 0].ravel())[0, 1]
        channels = np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]
        assert abs(neighbours) < 0.03
        assert abs(channels) < 0.03


def test_a_degradation_is_a_function_of_picture_amount_and_seed() -> None:
    image = noise_picture(32, 48)
    for degradation, amount in ((Degradation("jpeg", 10, 60), 20.0), (Degradation("noise", 5, 50), 25.0)):
        once = degradation.apply(image, amount, seed=3)
        assert once.shape == image.shape
        assert not np.array_equal(once, image)
        assert np.array_equal(once, degradation.apply(image, amount, seed=3))
    noise = Degradation("noise", 5, 50)
    assert not np.array_equal(noise.apply(image, 25.0, seed=3), noise.apply(image, 25.0, seed=4))


def test_amounts_span_the_range() -> None:
    jpeg, noise = Degradation("jpeg", 10, 60), Degradation("noise", 5, 55)
    assert [jpeg.at(share) for share in (0.0, 1.0)] == [10, 60]
    assert 10 < jpeg.at(0.5) < 35, "geometric: as many steps below 24 as above"
    assert [noise.at(share) for share in (0.0, 0.5, 1.0)] == [5, 30, 55]
    assert noise.only(25) == Degradation("noise", 25, 25)
    assert noise.only(25).about == "Gaussian noise, sigma 25"


@pytest.mark.parametrize("given", [("jpeg", 0, 50), ("jpeg", 60, 10), ("noise", -1, 5), ("blur", 1, 2)])
def test_what_is_no_degradation_is_refused(given) -> None:
    with pytest.raises(ValueRangeError, match="expected"):
        Degradation(*given)


def test_amounts_out_of_range_are_refused() -> None:
    with pytest.raises(ValueRangeError, match="quality of 1 to 95, got 96"):
        compress(noise_picture(8, 8), 96)
    with pytest.raises(ValueRangeError, match="at least 0"):
        add_noise(noise_picture(8, 8), -1.0, np.random.default_rng(0))
