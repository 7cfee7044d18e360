"""Matrix, range and depth against the equations of the standards, written a second time."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.errors import ImageError
from camixersr.video.colours import MATRICES, Colours, depth_of
from tests.video.conftest import av

FORMATS = (
    "yuv420p",
    "yuv422p",
    "yuv444p",
    "yuv420p10le",
    "yuv422p10le",
    "yuv444p10le",
    "yuv444p12le",
    "nv12",
    "p010le",
)


def flat(kind: str, y: int, u: int, v: int) -> Any:
    """A frame of one colour; codes of the format's depth."""
    frame = av.VideoFrame(32, 16, "yuv444p" if depth_of(kind) == 8 else f"yuv444p{depth_of(kind)}le")
    wide = "<u2" if depth_of(kind) > 8 else "u1"
    for plane, code in zip(frame.planes, (y, u, v), strict=True):
        plane.update(np.full(plane.buffer_size // np.dtype(wide).itemsize, code, wide).tobytes())
    return frame.reformat(
        format=kind, src_colorspace=1, dst_colorspace=1, src_color_range=1, dst_color_range=1
    )


def of_the_standard(
    y: float, u: float, v: float, kr: float, kb: float, bits: int, full: bool
) -> np.ndarray:
    """ITU-R BT.601, 709 and 2020: codes to R'G'B' in [0, 1]."""
    k = 2.0 ** (bits - 8)
    if full:
        top = 2.0**bits - 1
        luma, cb, cr = y / top, (u - 128 * k) / top, (v - 128 * k) / top
    else:
        luma, cb, cr = (y / k - 16) / 219, (u / k - 128) / 224, (v / k - 128) / 224
    kg = 1 - kr - kb
    forth = [
        [kr, kg, kb],
        [-kr / (2 - 2 * kb), -kg / (2 - 2 * kb), 0.5],
        [0.5, -kg / (2 - 2 * kr), -kb / (2 - 2 * kr)],
    ]
    return np.linalg.solve(forth, [luma, cb, cr]).clip(0, 1)


@given(
    st.sampled_from(FORMATS), st.sampled_from(sorted(MATRICES)), st.booleans(),
    st.floats(0, 1), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5),
)  # fmt: skip
def test_a_colour_is_what_the_standard_says(
    kind: str, matrix: int, full: bool, luma: float, cb: float, cr: float
) -> None:
    bits = depth_of(kind)
    k = 1 << (bits - 8)
    y, u, v = round((16 + 219 * luma) * k), round((128 + 224 * cb) * k), round((128 + 224 * cr) * k)
    pixels = Colours(matrix, full).pixels(flat(kind, y, u, v))
    wanted = of_the_standard(y, u, v, *MATRICES[matrix], bits, full)
    assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    top = np.iinfo(pixels.dtype).max
    assert np.abs(pixels / top - wanted).max() <= 0.5 / top + 2e-6


@pytest.mark.parametrize("kind", ["yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv420p"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [False, True])
def test_luma_is_where_it_was_after_a_pass_that_changes_nothing(kind: str, matrix: int, full: bool) -> None:
    """At most 2 of 1023 of 10 bits, for colours that RGB can hold."""
    rng = np.random.default_rng(1)
    colours = Colours(matrix, full)
    bits = depth_of(kind)
    top = 255 if bits == 8 else 65535
    smooth = np.linspace(0.2, 0.8, 64)[None, :, None] + 0.1 * rng.random((12, 1, 3)).repeat(4, 0)
    frame = colours.frame((smooth * top).round().astype(np.uint8 if bits == 8 else np.uint16), kind)
    again = colours.frame(colours.pixels(frame), kind)
    both = frame, again
    luma = [np.frombuffer(bytes(each.planes[0]), "<u2" if bits > 8 else "u1").astype(int) for each in both]
    assert np.abs(luma[0] - luma[1]).max() <= (2 if bits == 10 else 1 if bits == 8 else 8)
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        assert getattr(frame, name) == getattr(again, name)


@pytest.mark.parametrize(("kind", "dtype"), [("bgr0", "u1"), ("gbrp", "u1"), ("gbrp16le", "u2")])
def test_rgb_is_kept_to_the_bit(kind: str, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (17, 31, 3)).astype(dtype)
    colours = Colours.of(kind, 17, matrix=2, range_=0, primaries=2, transfer=2)
    np.testing.assert_array_equal(colours.pixels(colours.frame(pixels, kind)), pixels)


def test_white_is_white_in_every_depth() -> None:
    for kind, code in (("yuv420p", 235), ("yuv420p10le", 940), ("yuv444p12le", 3760)):
        middle = 1 << (depth_of(kind) - 1)
        pixels = Colours(9, False).pixels(flat(kind, code, middle, middle))
        assert np.unique(pixels).tolist() == [np.iinfo(pixels.dtype).max]


def test_what_is_not_said_follows_from_the_lines_and_is_said_then() -> None:
    def of(height: int, **said: int) -> Colours:
        return Colours.of(
            "yuv420p", height, **{"matrix": 2, "range_": 0, "primaries": 2, "transfer": 2, **said}
        )

    assert (of(1080).matrix, of(480).matrix, of(480).assumed) == (1, 6, True)
    assert not of(480, matrix=9).assumed
    assert of(480, range_=2).full
    assert Colours.of("yuvj420p", 480, matrix=5, range_=0, primaries=2, transfer=2).full
    with pytest.raises(ImageError, match="expected the colour matrix of"):
        of(480, matrix=14)


def test_rgb_stored_as_luma_gets_a_matrix() -> None:
    colours = Colours.of("gbrp16le", 1080, matrix=0, range_=2, primaries=9, transfer=16)
    assert (colours.stored("yuv420p10le").matrix, colours.stored("yuv420p10le").full) == (9, False)
    assert colours.stored("gbrp16le").matrix == 0
