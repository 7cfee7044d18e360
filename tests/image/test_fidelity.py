"""What goes in comes out: every format, depth, channel layout, profile and orientation.

Sources are made, and results opened, by Pillow, tifffile or by hand: never by our codec.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from camixersr.enlarge.enlarge import enlarge
from camixersr.image.decode import read
from camixersr.image.encode import write
from camixersr.image.formats import WriteOptions, suffix_for
from camixersr.weights import Model
from tests.conftest import TensorComputer, random_network
from tests.image.files import (
    SRGB,
    camera_exif,
    exif_of,
    grey_profile,
    open_independently,
    png,
    png_chunks,
    wide_profile,
)

HEIGHT, WIDTH = 22, 30
LOSSY = {"jpeg": 3.0, "avif": 3.0}
PROFILES = {"none": None, "sRGB": SRGB, "wide": wide_profile(), "grey": grey_profile()}


@pytest.fixture(scope="module")
def upscaler() -> TensorComputer:
    return TensorComputer(Model("tiny", random_network(channels=8, scale=2, blocks=(1,))), device="cpu")


def smooth(channels: int, dtype: type) -> np.ndarray:
    """Gradients, which lossy formats hold well, and which differ in every direction."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] / np.array([HEIGHT - 1, WIDTH - 1])[:, None, None]
    planes = [columns, rows, 1 - (rows + columns) / 2] if channels >= 3 else [(2 * rows + columns) / 3]
    if channels in (2, 4):
        planes.append(0.25 + 0.75 * columns * rows)
    image = np.stack(planes, -1)
    if dtype == np.float32:
        return image.astype(np.float32)
    return np.round(image * np.iinfo(dtype).max).astype(dtype)


def oriented(image: np.ndarray, orientation: int) -> np.ndarray:
    """The upright picture of pixels stored with an orientation, from the EXIF specification."""
    first = {1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1]}
    if orientation in first:
        return first[orientation]
    turned = image.swapaxes(0, 1)
    return {5: turned, 6: turned[:, ::-1], 7: turned[::-1, ::-1], 8: turned[::-1]}[orientation]


def make(path: Path, image: np.ndarray, profile: bytes | None, orientation: int) -> None:
    """Write a source file."""
    exif = camera_exif(orientation, width=WIDTH, height=HEIGHT)
    kind = path.suffix[1:]
    if kind == "tif" and image.dtype != np.uint8:
        tifffile.imwrite(
            path,
            image if image.shape[2] > 1 else image[:, :, 0],
            photometric="rgb" if image.shape[2] >= 3 else "minisblack",
            extrasamples=["unassalpha"] if image.shape[2] in (2, 4) else None,
            planarconfig="contig" if image.shape[2] > 1 else None,
            iccprofile=profile,
            resolution=(300, 300),
            resolutionunit="INCH",
            metadata=None,
            extratags=[(274, "H", 1, orientation, True), (315, "s", 0, "An Artist", True)],
        )
        return
    if kind == "png" and image.dtype == np.uint16:
        import zlib

        block = exif.tobytes().removeprefix(b"Exif\0\0")
        chunks = [(b"eXIf", block)]
        if profile is not None:
            chunks.insert(0, (b"iCCP", b"name\0\0" + zlib.compress(profile)))
        path.write_bytes(png(image, *chunks))
        return
    options = {
        "webp": {"lossless": True, "exact": True},
        "avif": {"quality": 95, "subsampling": "4:4:4"},
        "jpg": {"quality": 97, "subsampling": 0},
    }.get(kind, {})
    picture = Image.fromarray(image if image.shape[2] > 1 else image[:, :, 0])
    picture.save(path, exif=exif, icc_profile=profile, dpi=(300, 300), **options)


OF_THE_FILE = (*range(254, 270), *range(273, 300), *range(317, 348), 34675)
CHANGED = {(0, 0x0112), (0x8769, 0xA002), (0x8769, 0xA003), *((0, tag) for tag in OF_THE_FILE)}
"""EXIF tags that may differ: orientation, pixel sizes, and how a TIFF stores its pixels."""


def facts_of(path: Path) -> tuple[tuple[int, int], bytes | None, tuple[float, float]]:
    """Width and height, colour profile, and dots an inch of a result."""
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            dots = [page.tags[tag].value for tag in (282, 283)]
            assert page.tags[296].value == 2
            size = page.shape[1], page.shape[0]
            return size, page.iccprofile, tuple(above / below for above, below in dots)
    with Image.open(path) as image:
        return image.size, image.info.get("icc_profile"), image.info.get("dpi", (0.0, 0.0))


CASES = [
    (suffix, dtype, channels, profile)
    for suffix, depths, layouts in (
        (".png", (np.uint8, np.uint16), (1, 2, 3, 4)),
        (".tif", (np.uint8, np.uint16, np.float32), (1, 2, 3, 4)),
        (".jpg", (np.uint8,), (1, 3)),
        (".webp", (np.uint8,), (3, 4)),
        (".avif", (np.uint8,), (3, 4)),
    )
    for dtype, channels in itertools.product(depths, layouts)
    for profile in (("none", "grey") if channels < 3 else ("none", "sRGB", "wide"))
]


@pytest.mark.parametrize(("suffix", "dtype", "channels", "profile"), CASES)
def test_the_matrix(
    tmp_path: Path, upscaler: TensorComputer, suffix: str, dtype: type, channels: int, profile: str
) -> None:
    grey = channels < 3
    image = smooth(channels, dtype)
    block = PROFILES[profile]
    for orientation in range(1, 9):
        source = tmp_path / f"in{orientation}{suffix}"
        make(source, image, block, orientation)
        expected = oriented(image, orientation)
        picture = read(source)
        assert picture.notes == ()

        same = tmp_path / f"same{suffix}"
        unfloat = WriteOptions(compression="none") if dtype == np.float32 else None
        _, unchanged = enlarge(upscaler, picture, size=expected.shape[:2])
        assert write(same, unchanged, unfloat) == []
        result = open_independently(same)
        assert result.dtype == dtype
        if suffix in (".webp", ".avif") and grey:
            result = result[:, :, : expected.shape[2]]
        assert result.shape == expected.shape
        worst = np.abs(result.astype(float) - expected).max() / (1.0 if dtype == np.float32 else 1)
        assert worst <= {".jpg": 8, ".avif": 8}.get(suffix, 0), (orientation, worst)

        target = tmp_path / f"out{suffix}"
        _, high = enlarge(upscaler, picture)
        assert write(target, high) == []
        size, profile_kept, dots = facts_of(target)
        assert size == (2 * expected.shape[1], 2 * expected.shape[0])
        assert profile_kept == block
        told = 72 if suffix == ".png" and dtype == np.uint16 else 300
        if suffix in (".png", ".jpg", ".tif"):
            assert dots == pytest.approx((told, told), abs=0.1)
        if suffix == ".tif" and dtype != np.uint8:
            with tifffile.TiffFile(target) as file:
                assert file.pages[0].tags[274].value == 1
                assert file.pages[0].tags[315].value == "An Artist"
        else:
            kept, before = exif_of(target), exif_of(source)
            assert kept.get((0, 0x0112), 1) == 1, "the orientation is applied once, and reset"
            if suffix != ".tif":  # Pillow writes no EXIF directory into TIFF
                assert (kept[0x8769, 0xA002], kept[0x8769, 0xA003]) == size
            for tag in before.keys() - CHANGED:
                assert kept[tag] == before[tag], tag
        if orientation == 1 and suffix not in (".webp", ".avif"):
            continue
        if profile != "none" or channels not in (1, 3):
            break  # the other orientations are the same code


@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_exif_survives_every_change_of_format(tmp_path: Path, source: str, target: str) -> None:
    path, out = tmp_path / f"a{source}", tmp_path / f"b{target}"
    original = tmp_path / "original.jpg"
    make(original, smooth(3, np.uint8), SRGB, 6)
    if source == ".tif":  # Pillow writes no EXIF directory into TIFF
        write(path, read(original))
    else:
        make(path, smooth(3, np.uint8), SRGB, 6)
    write(out, read(path))
    before, after = exif_of(original), exif_of(out)
    for tag in ((0, 0x010E), (0, 0x013B), (0x8769, 0x9003), (0x8769, 0x927C), (0x8825, 2), (0x8825, 3)):
        assert after[tag] == before[tag], tag
    assert after.get((0, 0x0112), 1) == 1
    with Image.open(out) as image:
        assert image.size == (HEIGHT, WIDTH)  # upright
        assert ImageOps.exif_transpose(image).size == (HEIGHT, WIDTH)


def test_strip_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    make(source, smooth(3, np.uint8), SRGB, 1)
    for suffix in (".png", ".jpg", ".webp", ".tif", ".avif"):
        out = tmp_path / f"b{suffix}"
        write(out, read(source), WriteOptions(strip=True))
        told = {tag for tag in exif_of(out) if not (suffix == ".tif" and 254 <= tag[1] <= 340)}
        assert told <= {(0, 0x0112)}, suffix
        with Image.open(out) as image:
            assert not {"icc_profile", "xmp", "photoshop", "comment"} & set(image.info), suffix
        assert b"Maker" not in out.read_bytes()


def test_thumbnails_are_dropped(tmp_path: Path) -> None:
    path, out = tmp_path / "a.jpg", tmp_path / "b.jpg"
    exif = camera_exif(1)
    small = Image.fromarray(smooth(3, np.uint8)).resize((8, 6))
    import io

    stream = io.BytesIO()
    small.save(stream, "JPEG")
    first = exif.get_ifd(1)
    first[0x0103], first[0x0201], first[0x0202] = 6, stream.getvalue(), len(stream.getvalue())
    Image.fromarray(smooth(3, np.uint8)).save(path, exif=exif)
    picture = read(path)
    write(out, enlarge_by_nothing(picture))
    with Image.open(out) as image:
        assert image.getexif().get_ifd(1) == {}
    assert out.read_bytes().count(b"\xff\xd8\xff") == 1


def enlarge_by_nothing(picture):
    from dataclasses import replace

    from camixersr.image.metadata import fitted

    size = (picture.height, picture.width)
    return replace(picture, metadata=fitted(picture.metadata, low=size, high=size))


def test_text_that_is_not_utf8_is_kept(tmp_path: Path) -> None:
    exif = camera_exif(1)
    path, out = tmp_path / "a.jpg", tmp_path / "b.jpg"
    Image.fromarray(smooth(3, np.uint8)).save(path, exif=exif)
    path.write_bytes(path.read_bytes().replace(b"a description", b"caf\xe9 in Li\xe8ge"))
    write(out, read(path))
    assert b"caf\xe9 in Li\xe8ge" in out.read_bytes()
    path.write_bytes(png(smooth(3, np.uint8), (b"tEXt", b"Comment\0caf\xe9"), (b"tEXt", b"caf\xe9\0text")))
    assert write(tmp_path / "b.png", read(path)) == []


XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" GPano:ProjectionType="equirectangular"
 GPano:FullPanoWidthPixels="30" GPano:CroppedAreaLeftPixels="3" tiff:Orientation="1" tiff:ImageWidth="30">
<GPano:FullPanoHeightPixels>22</GPano:FullPanoHeightPixels>
<GPano:CroppedAreaTopPixels>5</GPano:CroppedAreaTopPixels><GPano:PoseHeadingDegrees>90.5</GPano:PoseHeadingDegrees>
<xmp:Thumbnails><rdf:Alt><rdf:li>base64</rdf:li></rdf:Alt></xmp:Thumbnails></rdf:Description></rdf:RDF>
</x:xmpmeta><?xpacket end="w"?>"""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_panorama_sizes_grow_with_the_picture(
    tmp_path: Path, upscaler: TensorComputer, suffix: str
) -> None:
    path, out = tmp_path / "a.jpg", tmp_path / f"b{suffix}"
    Image.fromarray(smooth(3, np.uint8)).save(path, xmp=XMP.encode())
    _, high = enlarge(upscaler, read(path))
    write(out, high)
    with Image.open(out) as image:
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
    text = packet.decode() if isinstance(packet, bytes) else packet
    for expected in (
        'FullPanoWidthPixels="60"', 'CroppedAreaLeftPixels="6"', "<GPano:FullPanoHeightPixels>44<",
        "<GPano:CroppedAreaTopPixels>10<", "PoseHeadingDegrees>90.5<", 'tiff:ImageWidth="60"',
        'ProjectionType="equirectangular"',
    ):  # fmt: skip
        assert expected in text, expected
    assert "base64" not in text


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_iptc_is_kept_or_its_loss_is_told(tmp_path: Path, suffix: str) -> None:
    from tests.conftest import shared

    source = shared("data/hard/jpeg_variants/image-rs__test-images__jpg__iptc.jpg")
    from PIL import IptcImagePlugin

    with Image.open(source) as image:
        before = IptcImagePlugin.getiptcinfo(image)
    assert before
    out = tmp_path / f"a{suffix}"
    write(out, read(source))
    with Image.open(out) as image:
        assert IptcImagePlugin.getiptcinfo(image) == before
    assert any("IPTC" in note for note in write(tmp_path / "a.png", read(source)))


def test_a_pngs_own_colour_description_is_kept(tmp_path: Path) -> None:
    chunks = [(b"cICP", bytes((9, 16, 0, 1))), (b"gAMA", b"\0\0\xb1\x8f")]
    path, out = tmp_path / "a.png", tmp_path / "b.png"
    path.write_bytes(png(smooth(3, np.uint16), *chunks))
    write(out, read(path))
    kept = png_chunks(out.read_bytes())
    assert kept[b"cICP"] == bytes((9, 16, 0, 1))
    assert kept[b"gAMA"] == b"\0\0\xb1\x8f"
    assert any("cICP" in note for note in write(tmp_path / "b.jpg", read(path)))


def test_an_hdr_avif_becomes_a_png_that_says_so(tmp_path: Path) -> None:
    from tests.conftest import shared

    picture = read(shared("data/hard/hdr_test/test_hlg.avif"))
    suffix, why = suffix_for("avif", height=1, width=1, depth="16", wide=True)
    assert suffix == ".png"
    assert "HDR" in why
    write(tmp_path / "a.png", picture)
    assert png_chunks((tmp_path / "a.png").read_bytes())[b"cICP"][1] == 18


def test_pages_come_back_as_pages(tmp_path: Path) -> None:
    from camixersr.image.encode import write_pages

    source, out = tmp_path / "a.tif", tmp_path / "b.tif"
    pages = [smooth(3, np.uint8), smooth(1, np.uint16)[:10], smooth(4, np.uint8)[:, :7]]
    with tifffile.TiffWriter(source) as writer:
        for page in pages:
            kind = "rgb" if page.shape[2] >= 3 else "minisblack"
            extra = ["unassalpha"] if page.shape[2] == 4 else None
            array = page if page.shape[2] > 1 else page[:, :, 0]
            writer.write(array, photometric=kind, extrasamples=extra, metadata=None)
        writer.write(pages[0][::2, ::2], photometric="rgb", subfiletype=1, metadata=None)  # a thumbnail
    read_pages = [read(source, page=number) for number in range(3)]
    assert [page.pages for page in read_pages] == [3, 3, 3]
    write_pages(out, iter(read_pages), count=3)
    with tifffile.TiffFile(out) as file:
        assert len(file.pages) == 3
        for page, expected in zip(file.pages, pages, strict=True):
            array = page.asarray()
            assert np.array_equal(array if array.ndim == 3 else array[:, :, None], expected)
    with Image.open(out) as image:
        assert image.n_frames == 3
        image.seek(2)
        assert np.array_equal(np.asarray(image), pages[2])


@pytest.mark.parametrize("quality", [50, 95])
def test_write_options_have_their_effect(tmp_path: Path, quality: int) -> None:
    rng = np.random.default_rng(0)
    from camixersr.image.picture import Picture

    noisy = (smooth(3, np.uint8) / 2 + rng.integers(0, 128, (HEIGHT, WIDTH, 3))).astype(np.uint8)
    picture = Picture(noisy)

    def size(suffix: str, options: WriteOptions) -> int:
        write(tmp_path / f"a{suffix}", picture, options)
        return (tmp_path / f"a{suffix}").stat().st_size

    for suffix in (".jpg", ".webp", ".avif"):
        assert size(suffix, WriteOptions(quality=quality - 30)) < size(
            suffix, WriteOptions(quality=quality)
        )
    for suffix in (".webp", ".avif"):
        size(suffix, WriteOptions(lossless=True))
        assert np.array_equal(open_independently(tmp_path / f"a{suffix}"), noisy)
    size(".jpg", WriteOptions(subsampling="4:2:0"))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.layer[0][1:3] == (2, 2)
    size(".jpg", WriteOptions())
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.layer[0][1:3] == (1, 1)
    assert size(".png", WriteOptions(compression="0")) > size(".png", WriteOptions(compression="9"))
    for name, code in (("none", 1), ("lzw", 5), ("deflate", 8), ("packbits", 32773)):
        size(".tif", WriteOptions(compression=name))
        with Image.open(tmp_path / "a.tif") as image:
            assert image.tag_v2[259] == code
            assert np.array_equal(np.asarray(image), noisy)


def test_webp_comes_back_as_lossless_as_it_was(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    for lossless, more in itertools.product((True, False), (0, 5_000, 70_001)):  # of a profile
        source, out = tmp_path / "a.webp", tmp_path / "b.webp"
        Image.fromarray(image).save(source, lossless=lossless, icc_profile=SRGB + bytes(more))
        picture = read(source)
        assert picture.lossless == lossless
        write(out, picture)
        assert (b"VP8L" in out.read_bytes()) == lossless
        if lossless:
            assert np.array_equal(np.asarray(Image.open(out)), image)


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="30" SizeY="20" '
    'SizeC="3" SizeZ="1" SizeT="1"/></Image></OME>'
)


@pytest.mark.parametrize(("description", "told"), [
    ('{"shape": [20, 30, 3]}', False), ('{"shape": [20, 30, 3], "axes": "YXS", "dose": 3}', True),
    ("ImageJ=1.53t\nimages=1\nunit=micron\n", True), (OME, True),
], ids=["shape", "shape and more", "ImageJ", "OME"])  # fmt: skip
def test_a_description_that_states_sizes_is_not_copied(
    tmp_path: Path, description: str, told: bool
) -> None:
    """Readers believe it more than the tags: tifffile refuses the old shape, ImageJ and OME show others."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    source, out = tmp_path / "a.tif", tmp_path / "b.tif"
    tifffile.imwrite(source, pixels, photometric="rgb", description=description, metadata=None)
    picture = read(source)
    assert any("description" in note for note in picture.notes) == told
    _, high = enlarge(TensorComputer(Model("tiny", random_network(channels=8, blocks=(1,)))), picture)
    assert write(out, high) == []
    with tifffile.TiffFile(out) as file:
        assert not file.pages[0].description
        assert not file.is_ome
        assert not file.is_imagej
        assert file.asarray().shape == (40, 60, 3)


@pytest.mark.parametrize("description", ["a holiday", "{not JSON}", "<p>some</p>", "the shape of it"])
def test_any_other_description_is_kept(tmp_path: Path, description: str) -> None:
    source, out = tmp_path / "a.tif", tmp_path / "b.tif"
    tifffile.imwrite(
        source, np.zeros((20, 30, 3), np.uint8), photometric="rgb", description=description, metadata=None
    )
    write(out, read(source))
    with tifffile.TiffFile(out) as file:
        assert file.pages[0].description == description


def test_no_page_costs_more_than_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in directories that are read, of 60 pages, while they are read and written in turn."""
    from camixersr.image import exif, tiff
    from camixersr.image.encode import write_pages

    source, out = tmp_path / "a.tif", tmp_path / "b.tif"
    stack = np.random.default_rng(0).integers(0, 256, (60, 8, 9), dtype=np.uint8)
    tifffile.imwrite(source, stack, photometric="minisblack")
    counted = [0]

    def counting(*arguments):
        counted[0] += 1
        return read_directory(*arguments)

    read_directory = tiff.read_directory
    for module in (tiff, exif):
        monkeypatch.setattr(module, "read_directory", counting)
    costs: list[int] = []

    def pages():
        for number in range(60):
            before = counted[0]
            yield read(source, page=number)
            costs.append(counted[0] - before)

    write_pages(out, pages(), count=60)
    assert len(set(costs[1:])) == 1
    assert costs[-1] < 12
    assert np.array_equal(tifffile.imread(out), stack)
