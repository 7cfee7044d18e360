import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.errors import DeviceError, ShapeError, UsageError, ValueRangeError
from camixersr.image.codec import Picture
from camixersr.inference.upscaler import Upscaler
from camixersr.nn import Calibration, TopShare
from camixersr.operations import count
from camixersr.weights import Model
from tests.conftest import noise_picture, random_network


def upscaler(*, calibrated: bool = False, scale: int = 2, **options) -> Upscaler:
    network = random_network(channels=12, scale=scale, blocks=(1, 1))
    calibration = Calibration((0.5,), ((0.5, 0.5),)) if calibrated else None
    return Upscaler(Model("test", network, calibration), device="cpu", **options)


def low(height: int = 40, width: int = 70) -> torch.Tensor:
    return torch.from_numpy(noise_picture(height, width)).permute(2, 0, 1).float() / 255.0


def test_a_run_is_the_network_and_its_facts() -> None:
    up = upscaler()
    result = up.run(low(), attention_ratio=0.5)
    expected, routing = up.network.route(low()[None], TopShare(0.5))
    assert torch.equal(result.high, expected[0])
    assert result.attention_share == pytest.approx(float(routing.attention_share[0]))
    assert result.shares.shape == (3, 5)
    assert result.shares.mean() == pytest.approx(result.attention_share)
    attended = int(routing.attended.sum())
    assert result.macs == count(up.model.config, windows=15, attended=attended).total
    assert (result.tiles, result.precision) == (1, "fp32")
    assert result.peak_memory_bytes is None or result.peak_memory_bytes > 2**20
    assert result.seconds > 0


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_the_same_input_gives_the_same_bytes(ratio: float) -> None:
    for options in ({}, {"tile": 64}):
        up = upscaler(calibrated=True, **options)
        first = up.run(low(100, 130), attention_ratio=ratio)
        second = up.run(low(100, 130), attention_ratio=ratio)
        assert torch.equal(first.high, second.high)


def test_tiles_agree_with_the_whole_picture() -> None:
    """A network whose result is local (no pooled attention at work) must not show its tiles."""
    picture = low(150, 210)
    whole, tiled = upscaler(calibrated=True, tile=0), upscaler(calibrated=True, tile=64)
    for up in (whole, tiled):
        for group in up.network.body:
            for block in group.blocks:  # a constant channel attention makes the network local
                block.mixer.predictor.channel.weight.zero_()
    one, many = whole.run(picture), tiled.run(picture)
    assert one.tiles == 1
    assert many.tiles > 10
    assert (one.high - many.high).abs().max() < 0.02
    assert np.allclose(one.shares, many.shares, atol=0.2)


def test_large_pictures_are_tiled_by_themselves() -> None:
    up = upscaler()
    assert up.run(low(64, 128), attention_ratio=0.0).tiles == 1
    assert up.run(low(520, 520), attention_ratio=0.0).tiles == 9


def test_progress_ends_at_its_total() -> None:
    seen: list[tuple[int, int]] = []
    upscaler(tile=64).run(low(64, 100), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.float16])
def test_arrays_come_back_as_they_went_in(channels: int, dtype: type) -> None:
    image = noise_picture(21, 18, max(1, channels))
    image = image[:, :, 0] if channels == 0 else image
    if dtype == np.uint16:
        image = image.astype(np.uint16) * 257
    elif dtype != np.uint8:
        image = (image / 255.0).astype(dtype)
    result = upscaler().upscale(image)
    assert result.dtype == dtype
    assert result.shape == (42, 36, *image.shape[2:])
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= (1 if image.dtype.kind == "f" else np.iinfo(dtype).max)


def test_depths_agree() -> None:
    image = noise_picture(24, 24)
    up = upscaler()
    eight = up.upscale(image)
    deep = up.upscale(image.astype(np.uint16) * 257)
    real = up.upscale(image.astype(np.float32) / 255.0)
    assert np.array_equal(np.floor(deep / 257.0 + 0.5).astype(np.uint8), eight)
    assert np.array_equal(np.floor(real * 255.0 + 0.5).astype(np.uint8), eight)
    assert len(np.unique(deep)) > len(np.unique(eight))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_pil_images_keep_their_mode(mode: str) -> None:
    image = Image.fromarray(noise_picture(20, 30)).convert(mode)
    result = upscaler().upscale(image)
    assert (result.mode, result.size) == (mode, (60, 40))


@pytest.mark.parametrize(("mode", "becomes"), [("P", "RGB"), ("1", "L"), ("CMYK", "RGB"), ("I;16", "I;16")])
def test_other_pil_modes_are_expanded(mode: str, becomes: str) -> None:
    source = Image.fromarray(noise_picture(20, 30))
    image = source.convert("L").convert("I").convert("I;16") if mode == "I;16" else source.convert(mode)
    result = upscaler().upscale(image)
    assert (result.mode, result.size) == (becomes, (60, 40))


def test_tensors_stay_tensors_and_a_batch_is_its_images() -> None:
    up = upscaler()
    batch = torch.stack((low(), low().flip(2)))
    result = up.upscale(batch)
    assert result.shape == (2, 3, 80, 140)
    assert torch.equal(result[1], up.upscale(batch[1]))
    half = up.upscale(batch.half())
    assert half.dtype == torch.float16
    bytes_ = up.upscale((batch * 255).round().byte())
    assert bytes_.dtype == torch.uint8
    assert torch.equal(bytes_, (result * 255 + 0.5).floor().byte())


def test_a_decoded_file_keeps_alpha_depth_and_metadata() -> None:
    pixels = noise_picture(10, 12).astype(np.uint16) * 257
    alpha = np.zeros((10, 12), np.uint16)
    alpha[:, 6:] = 65535
    enlarged, picture = upscaler().enlarge(Picture(pixels, alpha, {"xres": (1, 2.0)}))
    assert picture.pixels.shape == (20, 24, 3)
    assert picture.pixels.dtype == np.uint16
    assert picture.alpha is not None
    assert picture.alpha.shape == (20, 24)
    assert (picture.alpha[:, :4] == 0).all()
    assert (picture.alpha[:, -4:] == 65535).all()
    assert picture.metadata == {"xres": (1, 2.0)}
    assert enlarged.high.shape == (3, 20, 24)


def test_grey_stays_grey() -> None:
    _, picture = upscaler().enlarge(Picture(noise_picture(10, 12, 1)))
    assert picture.pixels.shape == (20, 24, 1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_is_close_to_fp32(precision: str) -> None:
    full = upscaler().run(low(), attention_ratio=1.0).high
    result = upscaler(precision=precision).run(low(), attention_ratio=1.0)
    assert result.high.dtype == torch.float32
    assert result.precision == precision
    scale = float(full.abs().max())
    assert 0 < (result.high - full).abs().max() < 0.1 * scale


def test_an_overflow_in_reduced_precision_is_recomputed_in_fp32() -> None:
    up, full = upscaler(precision="fp16"), upscaler()
    for each in (up, full):
        each.network.head.weight.mul_(1e6)  # beyond fp16
    result = up.run(low())
    assert result.high.isfinite().all()
    assert torch.equal(result.high, full.run(low()).high)
    assert result.precision == "fp32"


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((3, 4, 5), np.uint8), ShapeError),
        (np.zeros((0, 4, 3), np.uint8), ShapeError),
        (np.zeros((4, 4, 3), np.int32), ShapeError),
        (np.full((4, 4, 3), np.nan), ValueRangeError),
        (torch.zeros(4, 4), ShapeError),
        (torch.zeros(3, 4, 4, dtype=torch.int64), ShapeError),
        ("picture.png", ShapeError),
    ],
)
def test_what_is_no_picture_is_refused(image, error) -> None:
    with pytest.raises(error):
        upscaler().upscale(image)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown device"):
        Upscaler(Model("t", random_network()), device="gpu")
    with pytest.raises(UsageError, match="unknown precision"):
        upscaler(precision="int8")
    with pytest.raises(ValueRangeError, match="multiple of 16"):
        upscaler(tile=50)
    with pytest.raises(ValueRangeError, match=r"\[0, 1\]"):
        upscaler().run(low(), attention_ratio=1.5)
    with pytest.raises(ShapeError, match="3 x H x W"):
        upscaler().run(torch.zeros(1, 8, 8))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no cuda device"):
            Upscaler(Model("t", random_network()), device="cuda")
