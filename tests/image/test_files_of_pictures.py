import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from camixersr.errors import ImageError, OutputError
from camixersr.image.decode import read
from camixersr.image.encode import check_writable, write
from camixersr.image.formats import WRITABLE
from camixersr.image.picture import Picture
from tests.conftest import noise_picture

LOSSLESS = [".png", ".tif", ".tiff"]


def gradient(height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth picture, which lossy formats hold well."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack((4 * rows, 4 * columns, 255 - 2 * rows - 2 * columns), -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_round_trip(tmp_path: Path, suffix: str, channels: int, alpha: bool, dtype: type) -> None:
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    pixels = rng.integers(0, top, (13, 17, channels), dtype=dtype, endpoint=True)
    plane = rng.integers(0, top, (13, 17), dtype=dtype, endpoint=True) if alpha else None
    path = tmp_path / f"a{suffix}"
    assert write(path, Picture(pixels, plane)) == []
    back = read(path)
    assert back.pixels.dtype == dtype
    assert np.array_equal(back.pixels, pixels)
    if alpha:
        assert back.alpha is not None
        assert np.array_equal(back.alpha, plane)
    else:
        assert back.alpha is None


@pytest.mark.parametrize("suffix", sorted(set(WRITABLE) - set(LOSSLESS)))
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_hold_a_smooth_picture(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = gradient()[:, :, :channels]
    path = tmp_path / f"a{suffix}"
    assert write(path, Picture(pixels)) == []
    back = read(path).pixels
    assert back.shape[:2] == pixels.shape[:2]
    assert np.abs(back[:, :, :channels].astype(int) - pixels).mean() < 2.0


@pytest.mark.parametrize(("format_", "mode"), [
    ("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "1"), ("PNG", "RGBA"), ("PNG", "LA"),
    ("JPEG", "RGB"), ("JPEG", "L"), ("WEBP", "RGB"), ("TIFF", "RGB"), ("TIFF", "L"), ("GIF", "P"),
    ("AVIF", "RGB"),
])  # fmt: skip
def test_what_pillow_wrote_is_read_as_pillow_reads_it(tmp_path: Path, format_: str, mode: str) -> None:
    path = tmp_path / "a.bin"  # the content decides, not the name
    options = {"subsampling": "4:4:4"} if format_ == "AVIF" else {}  # decoders differ in chroma
    Image.fromarray(gradient()).convert(mode).save(path, format=format_, **options)
    picture = read(path)
    with Image.open(path) as again:
        expected = np.asarray(again.convert("RGB")).astype(int)
    pixels = np.broadcast_to(picture.pixels.astype(int), expected.shape)
    assert np.abs(pixels - expected).mean() < 1.0  # JPEG decoders differ in the last bit
    assert (picture.alpha is not None) == (mode in ("RGBA", "LA"))


def test_cmyk_becomes_srgb(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path)
    picture = read(path)
    assert picture.pixels.shape == (16, 16, 3)
    red, green, blue = picture.pixels.reshape(-1, 3).mean(axis=0)
    assert red > 150
    assert max(green, blue) < 100


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description"
    path, out = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(gradient()).save(path, exif=exif)
    from PIL import ImageOps

    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read(path)
    assert np.array_equal(picture.pixels, expected)
    write(out, picture)
    with Image.open(out) as image:
        kept = image.getexif()
        assert kept.get(0x0112, 1) == 1
        assert kept.get(0x010E) == "a description"
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_the_colour_profile_is_kept(tmp_path: Path, suffix: str) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path, out = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    Image.fromarray(gradient()).save(path, icc_profile=profile)
    write(out, read(path))
    with Image.open(out) as image:
        assert image.info.get("icc_profile") == profile


def test_sixteen_bits_reduced_and_transparency_flattened_are_told(tmp_path: Path) -> None:
    deep = np.full((4, 4, 3), 65535, dtype=np.uint16)
    alpha = np.zeros((4, 4), dtype=np.uint16)
    notes = write(tmp_path / "a.jpg", Picture(deep // 2, alpha))
    assert len(notes) == 2
    assert "16 bits" in notes[0]
    assert "transparency" in notes[1]
    back = read(tmp_path / "a.jpg")
    assert back.pixels.dtype == np.uint8
    assert (back.pixels == 255).all()  # fully transparent on white


@pytest.mark.parametrize("compression", ["zstd", "lzma", "tiff_lzw", "tiff_deflate", "packbits"])
def test_a_compression_that_libvips_lacks_is_never_silently_black(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(noise_picture(32, 32)).save(path, compression=compression)
    try:
        pixels = read(path).pixels
    except ImageError as error:
        assert compression in ("zstd", "lzma")
        assert "damaged" in str(error)  # noqa: PT017 - either outcome is right, black is not
    else:
        assert np.array_equal(pixels, noise_picture(32, 32))


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise_picture(64, 64)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"just some text\n", "none that can be decoded"),
        (png()[:3000], "damaged or truncated"),
        (png()[:40], "decoded|damaged"),
        (bytes(100), "none that can be decoded"),
    ],
)
def test_broken_files_are_one_clear_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "AVIF", "GIF"])
def test_truncated_files_of_any_format_are_errors(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise_picture(128, 128)).save(stream, kind)
    path = tmp_path / "a"
    path.write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    with pytest.raises(ImageError):
        read(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="folder"):
        read(tmp_path)


def test_floating_point_and_signed_pixels_keep_their_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.int16, np.int32, np.uint32):
        pixels = (rng.random((8, 9, 1)) * 1000 - (0 if dtype == np.uint32 else 500)).astype(dtype)
        tifffile.imwrite(tmp_path / "a.tif", pixels[:, :, 0], photometric="minisblack")
        picture = read(tmp_path / "a.tif")
        assert picture.pixels.dtype == np.float32
        assert np.array_equal(picture.pixels, pixels.astype(np.float32))
        assert bool(picture.notes) == (np.dtype(dtype).kind != "f")


def test_a_target_that_cannot_work_is_refused_early(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.png", height=10, width=10)
    with pytest.raises(OutputError, match="use one of"):
        check_writable(tmp_path / "a.xyz", height=10, width=10)
    with pytest.raises(OutputError, match=r"16383 pixels.*use \.png"):
        check_writable(tmp_path / "a.webp", height=10, width=16_384)
    with pytest.raises(OutputError, match="gone"):
        check_writable(tmp_path / "gone" / "a.png", height=10, width=10)
    assert list(tmp_path.iterdir()) == []
