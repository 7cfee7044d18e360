import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.errors import ImageError
from camixersr.image.metadata import fitted
from camixersr.image.panorama import Panorama, panorama_of, pieces


def gpano(**tags: object) -> dict[str, tuple[int, bytes]]:
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in tags.items())
    return {"xmp-data": (0, f"<x:xmpmeta><rdf:Description {attributes}/></x:xmpmeta>".encode())}


WHOLE = gpano(
    ProjectionType="equirectangular",
    FullPanoWidthPixels=2000,
    FullPanoHeightPixels=1000,
    CroppedAreaImageWidthPixels=2000,
    CroppedAreaImageHeightPixels=1000,
    CroppedAreaLeftPixels=0,
    CroppedAreaTopPixels=0,
)


def cropped(width: int, height: int, left: int, top: int) -> dict[str, tuple[int, bytes]]:
    return gpano(
        ProjectionType="equirectangular",
        FullPanoWidthPixels=2000,
        FullPanoHeightPixels=1000,
        CroppedAreaImageWidthPixels=width,
        CroppedAreaImageHeightPixels=height,
        CroppedAreaLeftPixels=left,
        CroppedAreaTopPixels=top,
    )


@given(start=st.integers(-50, 50), length=st.integers(1, 20), count=st.integers(0, 60))
def test_pieces_are_the_stretch_folded(start: int, length: int, count: int) -> None:
    found = [
        place for each in pieces(start, start + count, length)
        for place in range(each.inside.start, each.inside.stop)
    ]  # fmt: skip
    assert found == [place % length for place in range(start, start + count)]


def test_the_metadata_is_believed() -> None:
    panorama, remark = panorama_of(WHOLE, 1000, 2000)
    assert panorama == Panorama(1000, 2000, 1000.0, 0.0, True)
    assert (panorama.north, panorama.south, remark) == (True, True, "")
    assert panorama_of(WHOLE, 1000, 2000, "flat") == (None, "")
    # sizes that an editor forgot to change when it reduced the picture
    assert panorama_of(WHOLE, 500, 1000)[0] == Panorama(500, 1000, 500.0, 0.0, True)
    # no sizes at all
    assert panorama_of(gpano(ProjectionType="equirectangular"), 64, 128)[0] == Panorama.whole(64, 128)


def test_elements_are_as_good_as_attributes() -> None:
    xmp = b"<GPano:ProjectionType>equirectangular</GPano:ProjectionType>"
    assert panorama_of({"xmp-data": (0, xmp)}, 64, 128)[0] is not None


def test_parts_of_a_panorama_wrap_as_far_as_they_reach() -> None:
    band, _ = panorama_of(cropped(2000, 600, 0, 200), 600, 2000)
    assert band is not None
    assert (band.closed, band.north, band.south) == (True, False, False)
    assert band.cosines(slice(299, 301)) == pytest.approx([1.0, 1.0], abs=1e-4)
    assert band.cosines(slice(0, 1)) == pytest.approx([math.cos(0.2995 * math.pi)], abs=1e-4)
    upper, _ = panorama_of(cropped(2000, 700, 0, 0), 700, 2000)
    assert upper is not None
    assert (upper.closed, upper.north, upper.south) == (True, True, False)
    sector, _ = panorama_of(cropped(1000, 1000, 300, 0), 1000, 1000)
    assert sector is not None
    assert (sector.closed, sector.north, sector.south) == (False, False, False)


@pytest.mark.parametrize("size", [(100, 300), (300, 400), (512, 512), (600, 100), (100, 203)])
def test_what_is_no_panorama_is_refused_if_it_is_called_one(size: tuple[int, int]) -> None:
    """3:1, a cube map's 4:3 and 1:6, a square, and a little off."""
    with pytest.raises(ImageError, match="twice as wide as high"):
        panorama_of({}, *size, "erp")
    assert panorama_of({}, *size) == (None, "")


def test_odd_sizes_are_rounded_panoramas() -> None:
    for size in ((1025, 2049), (1024, 2047), (1023, 2048)):
        assert panorama_of({}, *size, "erp")[0] == Panorama.whole(*size)


def test_a_cube_map_is_no_equirectangular_panorama() -> None:
    with pytest.raises(ImageError, match="'cubemap'"):
        panorama_of(gpano(ProjectionType="cubemap"), 400, 600, "erp")
    panorama, remark = panorama_of(gpano(ProjectionType="cylindrical"), 400, 600)
    assert panorama is None
    assert "cylindrical" in remark


def test_metadata_that_contradicts_the_picture_is_told_and_not_followed() -> None:
    for broken in (
        gpano(ProjectionType="equirectangular"),  # and the picture is no 2:1
        cropped(2000, 900, 0, 500),  # ends below the lower pole
    ):
        panorama, remark = panorama_of(broken, 900, 2000)
        assert panorama is None
        assert "enlarged flat" in remark
        with pytest.raises(ImageError):
            panorama_of(broken, 900, 2000, "erp")


def test_rubbish_in_the_metadata_does_no_harm() -> None:
    for block in (b"\xff\xfe\x00", b"GPano:ProjectionType=", b'GPano:ProjectionType="equirectangular" '
                  b'GPano:FullPanoWidthPixels="many"'):  # fmt: skip
        panorama_of({"xmp-data": (0, block)}, 50, 100)


@given(row=st.integers(-40, 60), column=st.integers(-90, 130))
def test_folding_goes_over_the_poles(row: int, column: int) -> None:
    """Against the sphere itself: both places are the same point."""
    height, width = 20, 40
    inside = Panorama.whole(height, width).fold(row + 0.5, column + 0.5)
    assert 0 <= inside[0] < height
    assert 0 <= inside[1] < width

    def point(row: float, column: float):
        latitude, longitude = math.pi * (0.5 - row / height), 2 * math.pi * column / width
        return (
            math.cos(latitude) * math.cos(longitude),
            math.cos(latitude) * math.sin(longitude),
            math.sin(latitude),
        )

    assert point(*inside) == pytest.approx(point(row + 0.5, column + 0.5), abs=1e-9)


def test_sizes_in_the_metadata_grow_with_the_picture() -> None:
    metadata = cropped(1200, 600, 300, 200)
    metadata["xmp-data"] = (0, metadata["xmp-data"][1].replace(
        b"/>", b' GPano:LargestValidInteriorRectLeft="10" GPano:PoseHeadingDegrees="90"/>'
    ))  # fmt: skip
    xmp = fitted(metadata, low=(600, 1200), high=(2400, 4800))["xmp-data"][1].decode()
    for tag in ('FullPanoWidthPixels="8000"', 'FullPanoHeightPixels="4000"', 'CroppedAreaLeftPixels="1200"',
                'CroppedAreaTopPixels="800"', 'CroppedAreaImageWidthPixels="4800"',
                'CroppedAreaImageHeightPixels="2400"', 'LargestValidInteriorRectLeft="40"',
                'PoseHeadingDegrees="90"'):  # fmt: skip
        assert f"GPano:{tag}" in xmp


@pytest.mark.parametrize("nonsense", ["nan", "inf", "-inf", "1e400", "9" * 400, "9" * 39, "-9", "0"])
@pytest.mark.parametrize("tag", [
    "FullPanoWidthPixels", "FullPanoHeightPixels", "CroppedAreaImageWidthPixels",
    "CroppedAreaImageHeightPixels", "CroppedAreaTopPixels",
])  # fmt: skip
def test_sizes_that_are_no_sizes_give_a_panorama_or_a_remark(tag: str, nonsense: str) -> None:
    """NaN compares with nothing, so that it passed every check, and the picture came out black."""
    known = {"FullPanoWidthPixels": 2000, "FullPanoHeightPixels": 1000,
             "CroppedAreaImageWidthPixels": 2000, "CroppedAreaImageHeightPixels": 1000}  # fmt: skip
    tags = gpano(ProjectionType="equirectangular", **{**known, tag: nonsense})
    panorama, remark = panorama_of(tags, 1000, 2000)
    if panorama is None:
        assert "enlarged flat" in remark
    else:
        assert math.isfinite(panorama.sphere)
        assert math.isfinite(panorama.top)
        assert all(math.isfinite(each) for each in panorama.cosines(slice(0, 1000)))
    assert fitted(tags, low=(1000, 2000), high=(2000, 4000))["xmp-data"][1]


def test_a_projections_name_brings_no_escape_codes() -> None:
    _, remark = panorama_of(gpano(ProjectionType="cy\x1b[31mlinder"), 1000, 2000)
    assert remark.isprintable()
    assert "cy" in remark
