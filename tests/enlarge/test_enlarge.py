"""Depth, range, transparency and size around the network."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import camixersr
from camixersr.enlarge.enlarge import enlarge
from camixersr.enlarge.upscaler import Upscaler
from camixersr.errors import ImageError, UsageError
from camixersr.image.decode import read
from camixersr.image.encode import write
from camixersr.image.formats import WriteOptions
from camixersr.image.picture import Picture
from camixersr.weights import Model
from tests.conftest import noise_picture, random_network


@pytest.fixture(scope="module")
def tiny() -> Upscaler:
    return Upscaler(Model("tiny", random_network(channels=8, scale=2, blocks=(1,))), device="cpu")


@pytest.fixture(scope="module")
def real() -> Upscaler:
    return camixersr.load("s-x4", device="cpu")


def disc(size: int, *, soft: bool) -> np.ndarray:
    """Coverage of a disc, in [0, 1]; a hard one has no pixel between."""
    rows, columns = np.mgrid[0:size, 0:size] - (size - 1) / 2
    distance = size * 0.35 - np.hypot(rows, columns)
    return (distance > 0).astype(float) if not soft else np.clip(distance / 4 + 0.5, 0, 1)


def test_plain_pictures_are_what_the_library_makes(tiny: Upscaler) -> None:
    pixels = noise_picture(24, 31)
    _, high = enlarge(tiny, Picture(pixels))
    assert np.array_equal(high.pixels, tiny.upscale(pixels))


def test_a_sixteen_bit_gradient_keeps_its_levels(real: Upscaler) -> None:
    """An 8-bit path anywhere would leave at most 256 of them."""
    ramp = np.linspace(0, 65535, 64 * 24).reshape(24, 64)  # along the rows, and from row to row
    pixels = np.round(np.repeat(ramp[:, :, None], 3, axis=2)).astype(np.uint16)
    _, high = enlarge(real, Picture(pixels))
    assert high.pixels.dtype == np.uint16
    assert len(np.unique(high.pixels)) >= 4000
    for channel in range(3):
        assert len(np.unique(high.pixels[:, :, channel])) >= 4000
    inner = high.pixels[8:-8, 8:-8].astype(float)
    assert np.abs(inner.mean(axis=(0, 1)) - pixels[2:-2, 2:-2].mean(axis=(0, 1))).max() < 0.01 * 65535


@pytest.mark.parametrize("alpha_by", ["model", "bicubic"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("hidden", [0, 255])
def test_transparent_edges_have_no_fringe(real: Upscaler, alpha_by: str, soft: bool, hidden: int) -> None:
    """A disc of one colour on transparent black (or white) is that colour to its very edge."""
    coverage = disc(40, soft=soft)
    alpha = np.round(255 * coverage).astype(np.uint8)
    colour = np.array([200, 60, 40])
    pixels = np.where((alpha > 0)[:, :, None], colour, hidden).astype(np.uint8)
    _, high = enlarge(real, Picture(pixels, alpha), alpha_by=alpha_by)
    assert high.alpha is not None
    assert np.array_equal(np.unique(high.alpha[[0, -1]]), [0])
    assert high.alpha[80, 80] == 255
    cover = high.alpha[:, :, None] / 255.0
    for background in (0.0, 255.0):
        shown = high.pixels * cover + background * (1 - cover)
        ideal = colour * cover + background * (1 - cover)
        assert np.abs(shown - ideal).max() < 6, "no dark and no bright fringe"
    if not soft:  # without the bleeding the same check sees the fringe
        naive = real.upscale(pixels)
        assert np.abs((naive - colour) * cover).max() > 40


def test_alpha_that_says_nothing_costs_nothing(tiny: Upscaler) -> None:
    pixels = noise_picture(20, 20)
    opaque = np.full((20, 20), 255, np.uint8)
    plain, _ = enlarge(tiny, Picture(pixels))
    cost, high = enlarge(tiny, Picture(pixels, opaque))
    assert cost is not None
    assert plain is not None
    assert cost.macs == plain.macs
    assert high.alpha is not None
    assert (high.alpha == 255).all()
    twice, _ = enlarge(tiny, Picture(pixels, noise_picture(20, 20)[:, :, 0]))
    assert twice is not None
    assert twice.macs > plain.macs


def test_all_transparent_stays_so(tiny: Upscaler) -> None:
    _, high = enlarge(tiny, Picture(noise_picture(9, 9), np.zeros((9, 9), np.uint8)))
    assert high.alpha is not None
    assert not high.alpha.any()


@pytest.mark.parametrize("top", [1.0, 3.0, 4000.0])
def test_hdr_is_neither_clipped_nor_invented(real: Upscaler, top: float) -> None:
    """A bright spot keeps its brightness; nothing leaves the picture's own range; shadows survive."""
    columns = np.mgrid[0:40, 0:40][1]
    pixels = np.repeat((0.1 + 0.1 * columns / 40)[:, :, None], 3, axis=2).astype(np.float32)
    pixels[8:20, 8:20] = top
    _, high = enlarge(real, Picture(pixels))
    assert high.pixels.dtype == np.float32
    assert high.pixels.max() <= top
    assert high.pixels.min() >= 0
    assert high.pixels[50:62, 50:62].mean() == pytest.approx(top, rel=0.05)
    shadow = high.pixels[120:150, 8:150].mean(axis=(0, 2))
    expected = np.interp((np.arange(8, 150) - 1.5) / 4, np.arange(40), pixels[30, :, 0])
    assert np.abs(shadow / expected - 1).max() < 0.12


def test_negative_values_survive(tiny: Upscaler) -> None:
    pixels = (noise_picture(20, 20) / 255.0 - 0.5).astype(np.float32)
    _, high = enlarge(tiny, Picture(pixels))
    assert high.pixels.min() < -0.2
    assert high.pixels.min() >= pixels.min()


def test_float_tiff_stays_float_through_files(tiny: Upscaler, tmp_path: Path) -> None:
    pixels = (noise_picture(20, 24) / 100.0).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    _, high = enlarge(tiny, read(tmp_path / "a.tif"))
    write(tmp_path / "b.tif", high, WriteOptions(compression="none"))
    result = tifffile.imread(tmp_path / "b.tif")
    assert result.dtype == np.float32
    assert np.array_equal(result, high.pixels)
    _, same = enlarge(tiny, read(tmp_path / "a.tif"), size=(20, 24))
    assert same.pixels == pytest.approx(pixels, rel=1e-5)
    assert same.pixels.max() > 1.5
    notes = write(tmp_path / "b.png", high)
    assert any("clipped" in note for note in notes)


@pytest.mark.parametrize("size", [(40, 60), (31, 47), (21, 60), (20, 30), (7, 9), (20, 45), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_comes_out(tiny: Upscaler, size: tuple[int, int], channels: int) -> None:
    pixels, alpha = noise_picture(20, 30, channels), noise_picture(20, 30)[:, :, 0]
    cost, high = enlarge(tiny, Picture(pixels, alpha), size=size)
    assert high.pixels.shape == (*size, channels)
    assert high.alpha is not None
    assert high.alpha.shape == size
    assert (cost is None) == (size[0] <= 20 and size[1] <= 30)


def test_one_pixel_beyond_the_model_is_noted_and_what_cannot_be_held_is_refused(tiny: Upscaler) -> None:
    _, high = enlarge(tiny, Picture(noise_picture(10, 10)), size=(21, 20))
    assert high.pixels.shape == (21, 20, 3)
    assert "to 20 x 20 by the model (x2), and from there to 20 x 21" in high.notes[0]
    with pytest.raises(ImageError, match="beyond what the x2 model makes"):
        enlarge(tiny, Picture(noise_picture(10, 10)), size=(2_000_000_000, 20))
    with pytest.raises(UsageError, match="model, bicubic"):
        enlarge(tiny, Picture(noise_picture(10, 10)), alpha_by="nearest")  # pyright: ignore


def test_progress_rises_to_its_end(tiny: Upscaler) -> None:
    steps: list[tuple[int, int]] = []
    picture = Picture(noise_picture(20, 20), noise_picture(20, 20)[:, :, 0])
    enlarge(tiny, picture, progress=lambda done, total: steps.append((done, total)))
    shares = [done / total for done, total in steps]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([np.uint8, np.uint16]), st.integers(0, 9))
def test_a_size_of_its_own_is_the_picture_itself(height: int, width: int, dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype, endpoint=True)
    upscaler = Upscaler(Model("tiny", random_network(channels=8, scale=2, blocks=(1,))), device="cpu")
    _, same = enlarge(upscaler, Picture(pixels), size=(height, width))
    assert np.array_equal(same.pixels, pixels)
