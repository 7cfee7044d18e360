import pytest

from camixersr.errors import OutputError, UsageError
from camixersr.image.formats import HELD_BY_JPEG, WRITABLE, WriteOptions, format_of, kind_of, suffix_for


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp"), ("tiff", ".tif"), ("avif", ".avif")],
)
def test_the_source_decides_where_it_can(kind: str, expected: str) -> None:
    assert suffix_for(kind, height=9, width=9, depth="8") == (expected, "")


def test_what_cannot_be_held_goes_elsewhere_and_is_told() -> None:
    assert suffix_for("jpeg", height=9, width=9, depth="8", name_suffix=".JPEG") == (".jpeg", "")
    for kind, size, depth, expected in (
        ("jpeg", 65_501, "8", ".png"),
        ("webp", 16_384, "8", ".png"),
        ("avif", 16_384, "16", ".png"),
        ("bmp", 9, "8", ".png"),
        ("raw", 9, "16", ".png"),
        ("png", 9, "float", ".tif"),
        ("heic", 9, "float", ".tif"),
    ):
        suffix, why = suffix_for(kind, height=size, width=9, depth=depth)  # pyright: ignore[reportArgumentType]
        assert suffix == expected
        assert expected in why


def test_content_tells_the_kind() -> None:
    assert kind_of(b"") == kind_of(b"P") == kind_of(b"text") == kind_of(b"P9 ") == ""
    assert kind_of(b"P6\n1 1") == "netpbm"
    assert kind_of(b"\0\0\0\x18ftypmif1\0\0\0\0avifmif1") == "avif"
    assert kind_of(b"\0\0\0\x18ftypheic") == "heic"


@pytest.mark.parametrize(
    "wrong",
    [{"quality": 0}, {"quality": 101}, {"subsampling": "4:1:1"}, {"compression": "zip"}],
)  # fmt: skip
def test_options_that_no_format_knows(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        WriteOptions(**wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("png", {"quality": 5}), ("tiff", {"compression": "5"}), ("png", {"compression": "lzw"}),
        ("jpeg", {"lossless": True}), ("webp", {"subsampling": "4:2:0"}),
        ("webp", {"lossless": True, "quality": 9}),
    ],
)  # fmt: skip
def test_options_that_this_format_lacks(kind: str, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="means nothing"):
        WriteOptions(**options).require_use(kind)  # pyright: ignore[reportArgumentType]


def test_every_writable_suffix_has_its_format() -> None:
    assert {format_of(suffix.upper()).kind for suffix in WRITABLE} == {
        "png",
        "jpeg",
        "webp",
        "tiff",
        "avif",
    }
    with pytest.raises(OutputError, match="use one of"):
        format_of(".gif")


def test_large_jpegs_are_encoded_without_holding_them() -> None:
    """Fitted code tables need the whole picture in libjpeg's memory (benchmarks/memory.py)."""
    saver = WriteOptions().saver
    small = saver("jpeg", depth="8", source_lossless=False, size=HELD_BY_JPEG)
    large = saver("jpeg", depth="8", source_lossless=False, size=HELD_BY_JPEG + 1)
    assert small["optimize_coding"]
    assert not large["optimize_coding"]
