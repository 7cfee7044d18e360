"""Where chroma lies: against ramps whose values are known everywhere, and against FFmpeg's own scaler."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from camixersr.video.chroma import Siting, planar, reduced, spread
from camixersr.video.colours import Colours
from camixersr.video.film import look
from tests.conftest import run
from tests.video.conftest import av, frames_in, make_film, scenes

SITINGS: tuple[Siting, ...] = get_args(Siting)
SUBSAMPLED = ((2, 2), (2, 1), (4, 1), (1, 2))


def place(siting: Siting, across: int, down: int) -> tuple[float, float]:
    """Line and column of luma at which the first sample of chroma lies: H.273, figures of 8.7."""
    beside = 0.0 if siting in ("left", "topleft") else (across - 1) / 2
    above = 0.0 if siting in ("topleft", "top") else (down - 1) / 2
    return above, beside


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize(("across", "down"), SUBSAMPLED)
def test_a_ramp_stays_where_it_is(siting: Siting, across: int, down: int) -> None:
    """Cubic convolution keeps straight lines: what is off by half a sample shows at once."""
    height, width = 39, 61
    lines, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = 0.01 * columns - 0.02 * lines
    few = reduced(ramp, across, down, siting)
    above, beside = place(siting, across, down)
    rows, along = np.mgrid[0 : -(-height // down), 0 : -(-width // across)]
    wanted = (0.01 * (across * along + beside) - 0.02 * (down * rows + above)).astype(np.float32)
    assert few.shape == wanted.shape
    np.testing.assert_allclose(few[2:-3, 2:-3], wanted[2:-3, 2:-3], atol=1e-6)
    again = spread(wanted, height, width, across, down, siting)
    inner = slice(2 * down, -3 * down), slice(2 * across, -3 * across)
    np.testing.assert_allclose(again[inner], ramp[inner], atol=1e-6)


def scaled_by_ffmpeg(frame: Any, siting: str) -> Any:
    """A frame of 4:2:0 in 4:4:4, by FFmpeg's filter, which is told where chroma lies."""
    graph = av.filter.Graph()
    into = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=1)
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
    how = f"in_chroma_loc={siting}:flags={flags}:in_range=tv:out_range=tv:param0=0:param1=0.5"
    scale = graph.add("scale", how)
    kind = graph.add("format", "yuv444p10le")
    out = graph.add("buffersink")
    for one, other in ((into, scale), (scale, kind), (kind, out)):
        one.link_to(other)
    graph.configure()
    into.push(frame)
    return out.pull()


def chroma_codes(frame: Any) -> Any:
    lines = [np.frombuffer(bytes(each), "<u2").reshape(each.height, -1) for each in frame.planes[1:]]
    return np.stack(lines)[:, :, : frame.planes[1].width]


@pytest.mark.parametrize("siting", SITINGS)
def test_chroma_is_where_ffmpeg_has_it(siting: Siting) -> None:
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(64, 48, "yuv420p10le")
    for plane in frame.planes:
        coarse = rng.integers(200, 800, (plane.height // 8, plane.width // 8)).repeat(8, 0).repeat(8, 1)
        smooth = sum(np.roll(coarse, (dy, dx), (0, 1)) for dy in range(6) for dx in range(6)) // 36
        whole = np.pad(smooth, ((0, 0), (0, plane.line_size // 2 - plane.width)))
        plane.update(whole.astype("<u2").tobytes())
    codes = chroma_codes(frame)
    off: dict[str, float] = {}
    reference = chroma_codes(scaled_by_ffmpeg(frame, siting)).astype(float)
    for each in SITINGS:
        ours = np.stack([spread(plane.astype(np.float32), 48, 64, 2, 2, each) for plane in codes])
        off[each] = float(np.abs(ours - reference)[:, 4:-4, 4:-4].mean())
    assert off[siting] < 1.0
    assert all(off[each] > 3 * off[siting] for each in SITINGS if each != siting), off


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("kind", ["yuv420p10le", "yuv422p10le", "yuv420p", "nv12", "p010le"])
def test_a_slope_of_colour_comes_back_where_it_was(siting: Siting, kind: str) -> None:
    colours = Colours(1, False, siting=siting)
    slope = np.linspace(0.2, 0.8, 64)[None, :, None] * np.ones((48, 1, 3))
    slope[:, :, 0] *= np.linspace(0.4, 1.0, 48)[:, None]
    wide = "10" in kind
    pixels = np.round(slope * (65535 if wide else 255)).astype(np.uint16 if wide else np.uint8)
    again = colours.pixels(colours.frame(pixels, kind))
    error = np.abs(again.astype(float) - pixels)[4:-4, 4:-4] / (257 if wide else 1)
    assert error.max() <= (0.6 if wide else 2.5)


def test_a_line_of_one_sample_and_odd_sides() -> None:
    for shape in ((1, 1), (3, 5), (2, 2)):
        plane = np.full(shape, 0.25, np.float32)
        few = reduced(plane, 2, 2, "left")
        assert few.shape == (-(-shape[0] // 2), -(-shape[1] // 2))
        np.testing.assert_allclose(few, 0.25, atol=1e-6)
        np.testing.assert_allclose(spread(few, *shape, 2, 2, "left"), 0.25, atol=1e-6)


def test_planes_of_formats() -> None:
    kinds = {"nv12": "yuv420p", "p010le": "yuv420p10le", "yuva422p": "yuv422p", "uyvy422": "yuv422p"}
    for name, planes in kinds.items():
        bits = max(each.bits for each in av.VideoFormat(name).components)
        assert planar(av.VideoFormat(name), bits)[0] == planes


@pytest.mark.parametrize(
    ("suffix", "codec", "siting", "kept"),
    [
        (".mkv", "h264", "topleft", "topleft"),
        (".mp4", "h265", "topleft", "topleft"),
        (".mkv", "h265", "center", "center"),
        (".mp4", "h264", "left", "left"),
        (".mp4", "av1", "topleft", "topleft"),
        (".mp4", "av1", "center", "left"),
    ],
)
def test_a_film_keeps_where_its_chroma_lies(
    tmp_path: Path, suffix: str, codec: str, siting: str, kept: str
) -> None:
    ramp = np.linspace(0.2, 0.8, 64)[None, :, None] * np.array([1.0, 0.5, 0.8]) * np.ones((48, 1, 1))
    picture = (65535 * ramp).round().astype(np.uint16)
    whole = Colours(9, False, 9, 16, siting=siting).frame(picture, "yuv420p10le")  # type: ignore[arg-type]
    source = make_film(
        tmp_path / "film.mkv", [whole], aspect=None, beside=False, chroma_sample_location=siting
    )
    assert look(source).colours.siting == siting
    target = tmp_path / f"large{suffix}"
    assert run("video", source, "-o", target, "--scale", "1", "--codec", codec, "--crf", "4") == 0
    assert look(target).colours.siting == kept
    pixels = look(target).colours.pixels(frames_in(target)[0])
    assert np.abs(pixels.astype(float) - picture)[6:-6, 6:-6].mean() / 65535 < 0.004


def test_a_film_that_does_not_say_is_taken_as_players_do(tmp_path: Path) -> None:
    source = make_film(tmp_path / "film.mkv", list(scenes(2)), codec="ffv1", aspect=None, beside=False)
    assert look(source).colours.siting == "left"
