"""What comes out is the film: its clock, its colours, its sound; and every frame as `upscale` has it."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import camixersr
from camixersr.enlarge.options import Options
from camixersr.video.colours import Colours
from camixersr.video.film import look
from camixersr.video.run import Settings, enlarge_film
from tests.conftest import run
from tests.video.conftest import (
    UNEVEN,
    av,
    frames_in,
    make_film,
    packets_of,
    rgb16,
    scenes,
    times_of,
)

TAGS = ("color_primaries", "color_trc", "colorspace", "color_range")


def heads(path: Path) -> list[object]:
    """What a file says of itself and its streams, less what tells of the encoder."""
    with av.open(str(path)) as film:
        streams = [
            (each.type, each.metadata.get("language"), each.disposition, each.time_base)
            for each in film.streams
            if each.type != "attachment"
        ]
        kept = [(each.name, each.mimetype, each.data) for each in film.streams if each.type == "attachment"]
        chapters = [
            (each["start"] * each["time_base"], each["end"] * each["time_base"], each["metadata"])
            for each in film.chapters()
        ]
        return [film.metadata["title"], streams, kept, chapters, film.streams.video[0].sample_aspect_ratio]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_everything_but_the_frames_stays_as_it_was(tmp_path: Path, model: Path, suffix: str) -> None:
    source = make_film(tmp_path / f"film{suffix}", list(scenes(len(UNEVEN))))
    target = tmp_path / f"large{suffix}"
    assert run("video", source, "-o", target, "--model", model, "--segment", "0.3") == 0
    assert times_of(target) == times_of(source) == [Fraction(time, 1000) for time in UNEVEN]
    assert packets_of(target) == packets_of(source)  # to the byte, and at the same times: no drift
    assert heads(target) == heads(source)
    low, high = frames_in(source), frames_in(target)
    assert (high[0].width, high[0].height, high[0].format.name) == (256, 192, "yuv420p10le")
    for tag in TAGS:
        assert {getattr(each, tag) for each in high} == {getattr(low[0], tag)}
    assert sorted(each.name for each in tmp_path.iterdir()) == [source.name, target.name]


def test_each_frame_is_what_upscale_makes_of_it(tmp_path: Path, film: Path, model: Path) -> None:
    target = tmp_path / "large.mkv"
    done = enlarge_film(
        film,
        target,
        options=Options(model=str(model), attention_ratio=0.3, restore="off"),
        settings=Settings(codec="ffv1", segment=0.25),
    )
    assert done.frames == len(UNEVEN)
    assert done.segments > 2
    colours = Colours(9, False, 9, 16)
    upscaler = camixersr.load(str(model))
    low, high = frames_in(film), frames_in(target)
    assert len(low) == len(high)
    for before, after in zip(low, high, strict=True):
        wanted = upscaler.upscale(colours.pixels(before), attention_ratio=0.3)
        assert after.format.name == "gbrp16le"
        assert (after.color_primaries, after.color_trc) == (9, 16)
        np.testing.assert_array_equal(rgb16(after), wanted)


def test_eight_bits_stay_eight_bits_and_are_exact_too(tmp_path: Path, model: Path) -> None:
    source = make_film(
        tmp_path / "film.mkv",
        list(scenes(4)),
        codec="libx264",
        pixel_format="yuv420p",
        tags=(1, 1, 1, 1),
        beside=False,
    )
    assert run("video", source, "-o", tmp_path / "large.mkv", "--model", model, "--codec", "ffv1") == 0
    assert run("video", source, "-o", tmp_path / "usual.mkv", "--model", model) == 0
    upscaler = camixersr.load(str(model))
    for before, after in zip(frames_in(source), frames_in(tmp_path / "large.mkv"), strict=True):
        low = Colours(1, False, 1, 1).pixels(before)
        assert low.dtype == np.uint8
        np.testing.assert_array_equal(after.to_ndarray(format="rgb24"), upscaler.upscale(low))
    with av.open(str(tmp_path / "usual.mkv")) as usual:
        assert usual.streams.video[0].codec_context.name == "h264"
        assert usual.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_a_part_begins_at_zero_and_keeps_what_belongs_to_it(
    tmp_path: Path, film: Path, model: Path
) -> None:
    target = tmp_path / "part.mkv"
    options = ("--model", model, "--start", "0.2", "--end", "0:00:00.6")
    assert run("video", film, "-o", target, *options) == 0
    kept = [time for time in UNEVEN if 200 <= time < 600]
    assert times_of(target) == [Fraction(time - 200, 1000) for time in kept]
    before, after = packets_of(film), packets_of(target)
    for number in (1, 2):  # whole packets, and as long after the frames as they were
        wanted = [(time, data) for time, data in before[number] if Fraction(1, 5) <= time < Fraction(3, 5)]
        assert [(time + Fraction(1, 5), data) for time, data in after[number]] == wanted
    assert [data for _, data in after[3]] == [b"World"]
    with av.open(str(target)) as part:
        edges = [
            (each["start"] * each["time_base"], each["end"] * each["time_base"]) for each in part.chapters()
        ]
    assert edges == [(0, Fraction(1, 5)), (Fraction(1, 5), Fraction(2, 5))]


def test_a_preview_is_the_interpolation_beside_the_result(tmp_path: Path, film: Path, model: Path) -> None:
    target = tmp_path / "preview.mkv"
    assert run("video", film, "-o", target, "--model", model, "--preview", "0.3", "--codec", "ffv1") == 0
    frames = frames_in(target)
    assert times_of(target) == times_of(film)[:6]
    assert (frames[0].width, frames[0].height) == (512, 192)
    low = Colours(9, False, 9, 16).pixels(frames_in(film)[0])
    both = rgb16(frames[0])
    np.testing.assert_array_equal(both[:, 256:], camixersr.load(str(model)).upscale(low))
    from skimage.transform import resize

    other = resize(low / 65535, (192, 256), order=3, mode="edge", anti_aliasing=False)
    assert np.abs(both[:, :256] / 65535 - other).mean() < 0.01


def test_a_turned_film_stays_turned_and_is_measured_as_it_is_shown(tmp_path: Path, model: Path) -> None:
    source = make_film(tmp_path / "film.mp4", list(scenes(3)), turned=90, aspect=None, beside=False)
    for suffix in (".mp4", ".mkv"):
        target = tmp_path / f"large{suffix}"
        assert run("video", source, "-o", target, "--model", model, "--width", "96") == 0
        frame = frames_in(target)[0]
        assert frame.rotation == frames_in(source)[0].rotation == 90
        assert (frame.width, frame.height) == (128, 96)


def test_what_repeats_is_computed_once(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camixersr.inference.computer import Computer

    ran: list[int] = []
    usual = Computer.run

    def counted(self: Computer, *given: object, **named: object) -> object:
        ran.append(1)
        return usual(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Computer, "run", counted)
    first, second = list(scenes(2))
    source = make_film(
        tmp_path / "film.mkv",
        [first, first, first, second, second, first],
        codec="ffv1",
        pixel_format="yuv444p10le",
        aspect=None,
        beside=False,
    )
    facts = tmp_path / "facts.json"
    assert run("video", source, "-o", tmp_path / "large.mkv", "--model", model, "--json", facts) == 0
    assert len(ran) == 3
    told = json.loads(facts.read_text())
    assert (told["frames"], told["repeated"]) == (6, 3)


def test_route_maps_have_a_picture_a_frame(tmp_path: Path, film: Path, model: Path) -> None:
    maps = tmp_path / "maps"
    options = ("--model", model, "--end", "0.3", "--segment", "0.1", "--route-map", maps)
    assert run("video", film, "-o", tmp_path / "large.mkv", *options) == 0
    assert [each.name for each in sorted(maps.iterdir())] == [f"{number:06}.png" for number in range(6)]


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
def test_an_hdr_film_says_what_screen_it_was_made_on(tmp_path: Path, codec: str) -> None:
    screen = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    told = f"log-level=error:hdr10=1:repeat-headers=1:master-display={screen}:max-cll=1000,400"
    source = make_film(tmp_path / "film.mkv", list(scenes(2)), beside=False, **{"x265-params": told})
    target = tmp_path / "large.mkv"
    assert run("video", source, "-o", target, "--scale", "1", "--codec", codec) == 0
    before, after = look(source).light, look(target).light
    assert before is not None
    assert after is not None
    assert before.content == after.content == (1000, 400)
    np.testing.assert_allclose(after.primaries, before.primaries, atol=2e-4)
    np.testing.assert_allclose(before.primaries, ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), atol=2e-5)
    np.testing.assert_allclose(after.white, before.white, atol=2e-4)
    np.testing.assert_allclose(after.luminance, before.luminance, rtol=0.05)
    assert before.luminance == (0.005, 1000.0)
