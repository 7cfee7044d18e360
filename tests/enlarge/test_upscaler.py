"""The library's face: pictures in whatever they are held, in and out."""

import io
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from camixersr.enlarge.options import Options
from camixersr.enlarge.upscaler import Upscaler
from camixersr.errors import (
    CancelledError,
    ImageError,
    OutputError,
    ShapeError,
    UsageError,
    ValueRangeError,
)
from camixersr.image.decode import read
from camixersr.image.picture import Picture
from camixersr.image.resize import resize
from camixersr.image.size import Size
from camixersr.weights import Model, load_file, save
from tests.conftest import noise_picture, random_network, run


def upscaler(*, scale: int = 2, **options) -> Upscaler:
    network = random_network(channels=12, scale=scale, blocks=(1, 1))
    return Upscaler(Model("test", network), device="cpu", **options)


def low(height: int = 40, width: int = 70) -> torch.Tensor:
    return torch.from_numpy(noise_picture(height, width)).permute(2, 0, 1).float() / 255.0


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


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((3, 4, 5), np.uint8), ShapeError),
        (np.zeros((0, 4, 3), np.uint8), ShapeError),
        (np.zeros((4, 4, 3), np.int32), ShapeError),
        (np.full((4, 4, 3), np.nan), ValueRangeError),
        (torch.zeros(4, 4), ShapeError),
        (torch.zeros(3, 4, 4, dtype=torch.int64), ShapeError),
        ("picture.png", ImageError),
        (b"no picture", ImageError),
        (7, ShapeError),
    ],
)
def test_what_is_no_picture_is_refused(image, error) -> None:
    with pytest.raises(error):
        upscaler().upscale(image)


def test_an_array_that_is_no_panorama_is_refused() -> None:
    with pytest.raises(ImageError, match="twice as wide"):
        upscaler().upscale(np.zeros((30, 40, 3), np.uint8), projection="erp")
    with pytest.raises(UsageError, match="projection"):
        upscaler().upscale(np.zeros((30, 40, 3), np.uint8), projection="cube")


def cover(height: int, width: int) -> np.ndarray:
    """Transparency with a hard and a soft edge, in [0, 1]; much is invisible."""
    columns = np.linspace(-0.5, 2.0, width).clip(0, 1)
    rows = (np.arange(height) < 0.7 * height).astype(float)
    return rows[:, None] * columns[None]


def kinds() -> dict[str, np.ndarray]:
    """Arrays of all kinds; what is invisible has a colour that would make a fringe."""
    height, width = 36, 44
    rgb, alpha = noise_picture(height, width), cover(height, width)
    rgb[alpha == 0] = (255, 0, 255)
    grey, eight, deep = rgb[:, :, :1], np.round(255 * alpha), np.round(65535 * alpha)
    hdr = (rgb / 255.0).astype(np.float32)
    hdr[5:9, 30:35], hdr[12, 3] = 40.0, -0.25
    return {
        "rgb": rgb,
        "grey": grey[:, :, 0],
        "rgba": np.dstack((rgb, eight)).astype(np.uint8),
        "la": np.dstack((grey, eight)).astype(np.uint8),
        "rgb16": rgb.astype(np.uint16) * 257,
        "grey16": grey[:, :, 0].astype(np.uint16) * 257,
        "rgba16": np.dstack((rgb.astype(np.uint16) * 257, deep)).astype(np.uint16),
        "la16": np.dstack((grey.astype(np.uint16) * 257, deep)).astype(np.uint16),
        "float": (rgb / np.float32(255.0)).astype(np.float32),
        "hdr": hdr,
        "hdr grey": hdr[:, :, 0],
        "hdr alpha": np.dstack((hdr, alpha)).astype(np.float32),
    }


def as_tiff(path: Path, array: np.ndarray) -> None:
    extra = ["unassalpha"] if array.ndim == 3 and array.shape[2] in (2, 4) else None
    rgb = array.ndim == 3 and array.shape[2] > 2
    tifffile.imwrite(
        path, array, photometric="rgb" if rgb else "minisblack", extrasamples=extra, planarconfig="contig"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return path


@pytest.mark.parametrize("options", [(), ("--alpha", "bicubic"), ("--scale", "1.5")], ids=str)
@pytest.mark.parametrize("kind", kinds())
def test_an_array_becomes_what_the_command_line_makes_of_its_file(
    model: Path, tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    array = kinds()[kind]
    as_tiff(tmp_path / "a.tif", array)
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    assert run("upscale", source, "-o", target, "--model", model, "--compression", "none", *options) == 0
    expected = tifffile.imread(tmp_path / "b.tif")
    import camixersr

    how: dict[str, Any] = {"alpha": "bicubic"} if "--alpha" in options else {}
    how |= {"scale": 1.5} if "--scale" in options else {}
    up = camixersr.load(str(model))
    result = up.upscale(array, **how)
    assert result.dtype == expected.dtype
    assert np.array_equal(result, expected)
    assert np.array_equal(np.asarray(up.upscale(tmp_path / "a.tif", **how)).squeeze(), expected)
    assert np.array_equal(
        np.asarray(up.upscale((tmp_path / "a.tif").read_bytes(), **how)).squeeze(), expected
    )
    if array.dtype != np.uint16:  # torch has no such
        planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        made = up.upscale(torch.from_numpy(planes.copy()), **how).numpy().transpose(1, 2, 0)
        assert np.array_equal(made.squeeze(), expected)


def phone(path: Path, mode: str = "RGB") -> Image.Image:
    """A photo as a phone stores it: lying on its side, in Display-P3, with a place."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Somebody's"
    exif.get_ifd(0x8769).update({0xA002: 30, 0xA003: 20})  # its size
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 0.0)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    image = Image.fromarray(noise_picture(20, 30)).convert(mode)
    image.save(path, exif=exif, icc_profile=profile, dpi=(300, 300), xmp=xmp, quality=95)
    with Image.open(path) as stored:
        stored.load()
    return stored


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_a_phones_photo_comes_back_upright_with_all_it_carries(tmp_path: Path, suffix: str) -> None:
    image = phone(tmp_path / f"a{suffix}")
    result = upscaler().upscale(image)
    assert (result.mode, result.size) == ("RGB", (40, 60))
    assert result.info["icc_profile"] == image.info["icc_profile"]
    exif = result.getexif()
    assert exif.get(0x0112, 1) == 1
    assert exif[0x010F] == "Somebody's"
    if suffix != ".tif":  # Pillow writes no more into these
        assert exif.get_ifd(0x8825)[1] == "N"
        assert {exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]} == {40, 60}
    if "xmp" in image.info:
        assert b'tiff:Orientation="1"' in result.info["xmp"]
    made = upscaler().upscale(tmp_path / f"a{suffix}")
    assert isinstance(made, Picture)
    assert np.array_equal(made.pixels, np.asarray(result))
    result.save(tmp_path / "b.jpg", exif=result.getexif())
    with Image.open(tmp_path / "b.jpg") as saved:
        assert saved.getexif()[0x010F] == "Somebody's"


def test_a_picture_that_came_from_a_file_can_be_saved_with_all_it_carries(tmp_path: Path) -> None:
    phone(tmp_path / "a.jpg")
    up = upscaler()
    for source in (tmp_path / "a.jpg", str(tmp_path / "a.jpg"), (tmp_path / "a.jpg").read_bytes()):
        assert up.upscale(source).save(tmp_path / "b.png") == []
        with Image.open(tmp_path / "b.png") as saved:
            saved.load()
        assert saved.size == (40, 60)
        assert saved.getexif()[0x010F] == "Somebody's"
        assert "icc_profile" in saved.info
    assert np.array_equal(np.asarray(up.upscale(read(tmp_path / "a.jpg"))), np.asarray(saved))


def test_palettes_with_transparency_become_rgba(tmp_path: Path) -> None:
    rgba = Image.fromarray(kinds()["rgba"])
    hard = Image.fromarray((np.asarray(rgba)[:, :, 3] > 100).astype(np.uint8) * 255)
    palette = rgba.convert("RGB").quantize(16)
    pixels = np.asarray(palette).copy()
    pixels[np.asarray(hard) == 0] = 15
    palette.putdata(pixels.ravel().tolist())
    palette.save(tmp_path / "p.png", transparency=15)
    image = Image.open(tmp_path / "p.png")
    assert image.mode == "P"
    result = upscaler().upscale(image)
    assert result.mode == "RGBA"
    assert np.array_equal(np.asarray(result), np.asarray(upscaler().upscale(tmp_path / "p.png")))


def test_a_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    for mode, becomes, colour in (("RGB", "RGBA", (255, 0, 255)), ("L", "LA", 255)):
        pixels = kinds()["rgb"] if mode == "RGB" else kinds()["grey"]
        Image.fromarray(pixels).save(tmp_path / "t.png", transparency=colour)
        image = Image.open(tmp_path / "t.png")
        result = upscaler().upscale(image)
        assert result.mode == becomes
        assert np.array_equal(np.asarray(result), np.asarray(upscaler().upscale(tmp_path / "t.png")))


def test_cmyk_is_what_its_file_is(tmp_path: Path) -> None:
    Image.fromarray(noise_picture(20, 30)).convert("CMYK").save(tmp_path / "c.tif")
    result = upscaler().upscale(Image.open(tmp_path / "c.tif"))
    assert result.mode == "RGB"
    assert np.array_equal(np.asarray(result), upscaler().upscale(tmp_path / "c.tif").pixels)


def test_deep_pil_modes_keep_mode_and_values() -> None:
    up, eight = upscaler(), noise_picture(20, 30, 1)[:, :, 0]
    deep = eight.astype(np.uint16) * 257
    expected = up.upscale(deep)
    for mode in ("I;16", "I;16B", "I"):
        dtype = {"I;16": np.uint16, "I;16B": ">u2", "I": np.int32}[mode]
        image = Image.fromarray(deep.astype(dtype))
        assert image.mode == mode
        result = up.upscale(image)
        assert result.mode == mode
        assert np.array_equal(np.asarray(result), expected)
    ones = Image.fromarray((eight / np.float32(255)).astype(np.float32))
    assert (ones.mode, up.upscale(ones).mode) == ("F", "F")
    assert np.array_equal(np.asarray(up.upscale(ones)), up.upscale(np.asarray(ones)))
    assert np.array_equal(
        np.asarray(up.upscale(Image.fromarray(eight.astype(np.int32)), white=255)), up.upscale(eight)
    )


def test_values_that_cannot_be_meant_are_refused_with_what_to_do() -> None:
    up, eight = upscaler(), noise_picture(20, 30)
    grey = Image.fromarray(eight).convert("L")
    tensor = torch.from_numpy(eight * 1.0).permute(2, 0, 1)
    for image in (eight.astype(np.float32), eight * 0.7, grey.convert("F"), tensor):
        with pytest.raises(ValueRangeError, match=r"white at 1.* white=255, or white=1 for HDR") as error:
            up.upscale(image)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueRangeError, match="65535"):
        up.upscale(eight.astype(np.float32) * 257)
    with pytest.raises(ValueRangeError, match="mode I with 16 bits, got at most 2"):
        up.upscale(grey.convert("I").point(lambda value: value * 0.1 + 0))
    with pytest.raises(ValueRangeError, match="mode I from 0 to 65535"):
        up.upscale(Image.fromarray(np.full((4, 4), 70_000, np.int32)))
    with pytest.raises(UsageError, match="white is for floating point"):
        up.upscale(eight, white=255)
    with pytest.raises(ShapeError, match="got LAB; convert it to RGB"):
        up.upscale(Image.new("LAB", (4, 4)))


def test_white_says_what_is_meant() -> None:
    up, eight = upscaler(), noise_picture(20, 30)
    result = up.upscale(eight.astype(np.float32), white=255)
    assert result.dtype == np.float32
    assert np.array_equal(np.floor(result + np.float32(0.5)).astype(np.uint8), up.upscale(eight))
    bright = eight.astype(np.float32)
    assert np.array_equal(up.upscale(bright, white=1), np.asarray(up.upscale(Picture(bright)).pixels))
    assert up.upscale(bright, white=1).max() > 100


def test_hdr_arrays_are_not_clipped() -> None:
    array = kinds()["hdr"]
    for dtype in (np.float32, np.float64, np.float16):
        result = upscaler().upscale(array.astype(dtype))
        assert result.dtype == dtype
        assert result.max() > 10
        assert result.min() < -0.1


def test_a_list_gives_a_list_of_what_each_gives_alone() -> None:
    up = upscaler()
    arrays = [noise_picture(20, 30), noise_picture(9, 11, 1)[:, :, 0], noise_picture(12, 12, 4)]
    shares: list[float] = []
    results = up.upscale(arrays, on_progress=lambda done, total: shares.append(done / total))
    assert isinstance(results, list)
    for array, result in zip(arrays, results, strict=True):
        assert np.array_equal(result, up.upscale(array))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert up.upscale([]) == []
    mixed = up.upscale([Image.fromarray(arrays[0]), arrays[0]])
    assert np.array_equal(np.asarray(mixed[0]), mixed[1])


@pytest.mark.parametrize("scale", [1, 1.37, 2])
def test_any_scale_up_to_the_models(scale: float) -> None:
    up, image = upscaler(), noise_picture(20, 30)
    assert up.upscale(image, scale=scale).shape == (round(20 * scale), round(30 * scale), 3)
    assert up.upscale(image, size=Size(fit=(50, 50))).shape == (33, 50, 3)
    if scale == 2:
        assert np.array_equal(up.upscale(image, scale=scale), up.upscale(image))


def test_what_is_asked_for_twice_or_is_too_large_is_refused() -> None:
    up, image = upscaler(), noise_picture(20, 30)
    with pytest.raises(UsageError, match="give one of them"):
        up.upscale(image, scale=2, size=Size(width=40))
    with pytest.raises(UsageError, match="more than the x2 model"):
        up.upscale(image, scale=2.5)
    with pytest.raises(ImageError, match="got 200000 x 133333 of 30 x 20"), pytest.warns(match="200000"):
        up.upscale(image, size=Size(width=200_000))


def test_a_size_beyond_the_models_is_interpolated_from_what_it_makes_and_said() -> None:
    """The frame of a screen is asked of small pictures, too; the rest is plain bicubic, and no secret."""
    up, image = upscaler(), noise_picture(20, 30)
    words = "enlarged to 60 x 40 by the model .x2., and from there to 90 x 60 by bicubic"
    with pytest.warns(UserWarning, match=words):
        high = up.upscale(image, size=Size(fit=(90, 90)))
    planes = up.run(low(20, 30)).high.clip(0.0, 1.0)
    expected = resize(planes.transpose(1, 2, 0), height=60, width=90).clip(0.0, 1.0)
    assert np.array_equal(high, np.floor(expected * 255 + 0.5).astype(np.uint8))
    picture = up.upscale(Picture(image), size=Size(fit=(90, 90)))
    assert np.array_equal(picture.pixels, high)
    assert re.search(words, " ".join(picture.notes))
    opaque = np.dstack([image, np.full((20, 30), 255, np.uint8)])
    with pytest.warns(match=words):
        assert (up.upscale(opaque, size=Size(fit=(90, 90)))[:, :, 3] == 255).all()


def test_at_most_is_what_the_model_makes() -> None:
    up, image = upscaler(), noise_picture(20, 30)
    for size in (Size(fit=(90, 90), at_most=True), Size(scale=7, at_most=True), Size(at_most=True)):
        assert np.array_equal(up.upscale(image, size=size), up.upscale(image))
    assert up.upscale(image, size=Size(width=45, at_most=True)).shape == (30, 45, 3)


def test_an_upscaler_says_what_it_is() -> None:
    assert repr(upscaler(tile=64, backend="torch")) == (
        "Upscaler('test', scale=2, device='cpu', backend='torch', precision='fp32', tile=64)"
    )


def test_progress_rises_and_is_told_in_this_thread() -> None:
    seen: list[float] = []
    threads: set[int] = set()

    def told(done: int, total: int) -> None:
        seen.append(done / total)
        threads.add(threading.get_ident())

    upscaler(tile=64).upscale(kinds()["rgba"], on_progress=told)
    assert len(seen) > 4
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("after", [0, 1, 5])
def test_cancelling_ends_within_a_tile(after: int) -> None:
    """No more is computed than what was told when it was asked, and the upscaler works on."""
    up, steps = upscaler(tile=64), []

    def cancel() -> bool:
        return len(steps) >= after

    with pytest.raises(CancelledError, match="cancelled"):
        up.upscale(noise_picture(200, 200), on_progress=lambda *step: steps.append(step), cancel=cancel)
    assert len(steps) == after
    assert up.upscale(noise_picture(9, 9)).shape == (18, 18, 3)


def test_threads_take_turns_at_the_network_and_get_their_own_pictures(monkeypatch) -> None:
    up = upscaler()
    images = [noise_picture(40 + number, 50, seed=number) for number in range(4)]
    expected = [up.upscale(image) for image in images]
    plain, inside, most = up.computer.run, [], []

    def watched(*given: Any, **options: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)  # a chance for others, who must not come
        try:
            return plain(*given, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(up.computer, "run", watched)
    results: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: up.upscale(images[n])})) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    for number in range(4):
        assert np.array_equal(results[number], expected[number])


def test_a_thread_that_waits_for_its_turn_can_be_cancelled() -> None:
    up, entered, leave, failed = upscaler(), threading.Event(), threading.Event(), []

    def first(*_: int) -> None:
        entered.set()
        leave.wait(20)

    def second() -> None:
        try:
            up.upscale(noise_picture(9, 9), cancel=lambda: True)
        except CancelledError as error:
            failed.append(error)

    one = threading.Thread(target=lambda: up.upscale(noise_picture(9, 9), on_progress=first))
    one.start()
    assert entered.wait(20)
    other = threading.Thread(target=second)
    other.start()
    other.join(20)
    assert len(failed) == 1
    leave.set()
    one.join(20)


def test_bytes_may_come_from_anywhere() -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise_picture(10, 12)).save(buffer, "PNG")
    assert upscaler().upscale(buffer.getvalue()).pixels.shape == (20, 24, 3)


@pytest.mark.parametrize(
    "name", ["rgba.png", "turned.jpg", "pages.tif", "hdr.tif", "large.png", "large.webp"]
)
@pytest.mark.parametrize("options", [{}, {"scale": 1.5}, {"strip": True}, {"alpha": "bicubic"}], ids=str)
def test_a_file_becomes_the_bytes_of_the_command_line(
    model: Path, tmp_path: Path, name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from camixersr.enlarge import files

    monkeypatch.setattr(files, "AUTO_WHOLE", 70 * 100)  # so that large is what the names say
    source = tmp_path / name
    if name == "turned.jpg":
        phone(source)
    elif name == "pages.tif":
        for number in range(3):
            tifffile.imwrite(source, noise_picture(10 + number, 12), photometric="rgb", append=number > 0)
    elif name == "hdr.tif":
        as_tiff(source, kinds()["hdr alpha"])
    else:
        image = kinds()["rgba"] if "rgba" in name else noise_picture(90, 100)
        Image.fromarray(image).save(source, lossless=True)
    expected, made = tmp_path / f"expected{source.suffix}", tmp_path / f"made{source.suffix}"
    flags = [
        part for each, value in options.items() for part in (f"--{each}", *([value] * (value is not True)))
    ]
    assert run("upscale", source, "-o", expected, "--model", model, "--tile", "64", *flags) == 0
    up = Upscaler(load_file(model), tile=64)
    shares: list[float] = []
    written = up.upscale_file(
        source, made, options=Options(**options), on_progress=lambda done, all_: shares.append(done / all_)
    )
    assert made.read_bytes() == expected.read_bytes()
    assert written.high_size == read(made).pixels.shape[:2]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    if "large" not in name:
        up.upscale_file(source.read_bytes(), str(made), options=Options(**options), overwrite=True)
        assert made.read_bytes() == expected.read_bytes()


def test_a_file_is_not_replaced_unasked_and_options_that_are_settled_are_refused(tmp_path: Path) -> None:
    up, source, target = upscaler(), tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(noise_picture(9, 9)).save(source)
    target.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="overwrite=True"):
        up.upscale_file(source, target)
    with pytest.raises(OutputError, match="input itself"):
        up.upscale_file(source, source, overwrite=True)
    with pytest.raises(UsageError, match="got tile, which the upscaler"):
        up.upscale_file(source, target, options=Options(tile=64), overwrite=True)
    with pytest.raises(UsageError, match="subsampling 4:2:0 means nothing for png"):
        up.upscale_file(source, target, options=Options(subsampling="4:2:0"), overwrite=True)
    with pytest.raises(CancelledError):
        up.upscale_file(source, target, overwrite=True, cancel=lambda: True)
    assert target.read_bytes() == b"somebody's"
    assert up.upscale_file(str(source), str(target), overwrite=True).notes == ()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", "b.png"]
