"""What is no film, or not all of one, is refused in one line, and nothing is left behind."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camixersr.errors import UsageError
from tests.conftest import noise_picture, run
from tests.video.conftest import av, frames_in, make_film, scenes, times_of


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.4 seconds of 8 bits, in MP4 with its head first, so that it can be cut short."""
    folder = tmp_path_factory.mktemp("plain")
    film = make_film(
        folder / "film.mkv",
        list(scenes(60)),
        [40 * number for number in range(60)],
        codec="libx264",
        pixel_format="yuv420p",
        tags=(1, 1, 1, 1),
        beside=False,
    )
    with (
        av.open(str(film)) as source,
        av.open(str(folder / "film.mp4"), "w", options={"movflags": "faststart"}) as made,
    ):
        stream = made.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    return folder


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: object, code: int = 3) -> str:
    """Run a command that is refused: one line, and the folder as it was."""
    capsys.readouterr()
    before = sorted(each.name for each in folder.iterdir())
    assert run("video", *arguments) == code
    said = capsys.readouterr().err
    assert said.startswith("camixersr: ")
    assert said.count("\n") == 1, said
    assert sorted(each.name for each in folder.iterdir()) == before
    return said


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4"])
@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.75])
def test_a_film_cut_short(tmp_path: Path, plain: Path, model: Path, capsys, name: str, part: float) -> None:
    content = (plain / name).read_bytes()
    source = tmp_path / name
    source.write_bytes(content[: max(1, round(part * len(content)))])
    said = refused(capsys, tmp_path, source, "-o", tmp_path / "large.mkv", "--model", model)
    assert "cut short" in said or "no frames" in said or "damaged" in said
    if part >= 0.5:
        assert run("video", source, "-o", tmp_path / "large.mkv", "--model", model, "--salvage") == 0
        found = times_of(tmp_path / "large.mkv")
        assert 10 < len(found) < 60
        assert set(found) <= set(times_of(plain / name))


def test_a_film_with_bytes_changed_in_the_middle_is_refused_or_whole(
    tmp_path: Path, plain: Path, model: Path, capsys
) -> None:
    content = bytearray((plain / "film.mkv").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = bytes(600)
    source = tmp_path / "film.mkv"
    source.write_bytes(content)
    code = run("video", source, "-o", tmp_path / "large.mkv", "--model", model)
    assert code in (0, 3)
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "large.mkv").exists() == (code == 0)


def test_files_that_are_no_films(tmp_path: Path, model: Path, capsys) -> None:
    picture = Image.fromarray(noise_picture(48, 64))
    for name in ("a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tif", "a.avif", "a.ppm"):
        picture.save(tmp_path / name)
        said = refused(capsys, tmp_path, tmp_path / name, "-o", tmp_path / "large.mkv", "--model", model)
        assert "picture" in said
        assert "camixersr upscale" in said
    with av.open(str(tmp_path / "sound.mkv"), "w") as sound:
        stream = sound.add_stream("aac", rate=48000)
        silence = np.zeros((2, 1024), np.float32)
        tone = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
        tone.sample_rate, tone.pts = 48000, 0
        sound.mux(stream.encode(tone) + stream.encode())
    (tmp_path / "empty.mkv").touch()
    (tmp_path / "text.mp4").write_text("no film at all\n" * 50)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "folder").mkdir()
    for name, words in {
        "sound.mkv": "no video stream",
        "empty.mkv": "empty",
        "text.mp4": "no film",
        "list.m3u8": "expected a film",
        "folder": "folder",
        "missing.mkv": "No such file",
    }.items():
        said = refused(capsys, tmp_path, tmp_path / name, "-o", tmp_path / "large.mkv", "--model", model)
        assert words in said


def test_options_that_do_not_fit(tmp_path: Path, film: Path, model: Path, capsys) -> None:
    for code, words, target, *options in (
        (2, "an even width and height", "large.mkv", "--width", "97", "--height", "72"),
        (2, "cannot hold", "large.mov", "--codec", "ffv1", "--without", "subtitle"),
        (2, "--without subtitle", "large.mp4"),
        (2, "cannot hold", "large.webm"),
        (2, "cannot hold AV1", "large.mov", "--codec", "av1", "--without", "subtitle"),
        (2, "suffix", "large.avi"),
        (2, "--crf must lie in 0 to 51", "large.mkv", "--crf", "70"),
        (2, "has no --crf", "large.mkv", "--codec", "ffv1", "--crf", "7"),
        (2, "refuses what it is asked for", "large.mkv", "--preset", "no-such"),
        (2, "pixel format", "large.mkv", "--pixel-format", "yuv9"),
        (2, "within the film", "large.mkv", "--start", "100"),
        (2, "after --start", "large.mkv", "--start", "1", "--end", "0.5"),
        (2, "hours:minutes:seconds", "large.mkv", "--start", "soon"),
        (2, "exclude each other", "large.mkv", "--overwrite", "--resume"),
        (2, "give one of them", "large.mkv", "--preview", "1", "--end", "1"),
        (3, "input itself", str(film)),
        (3, "No such file", "nowhere/large.mkv"),
    ):
        said = refused(
            capsys, tmp_path, film, "-o", tmp_path / target, "--model", model, *options, code=code
        )
        assert words in said, said
    (tmp_path / "large.mkv").write_bytes(b"precious")
    assert "--overwrite" in refused(capsys, tmp_path, film, "-o", tmp_path / "large.mkv", "--model", model)
    assert (tmp_path / "large.mkv").read_bytes() == b"precious"


def test_an_odd_film_is_enlarged_where_its_chroma_allows(tmp_path: Path, model: Path, capsys) -> None:
    odd = [each[:47, :63] for each in scenes(3)]
    source = make_film(
        tmp_path / "film.mkv", odd, codec="ffv1", pixel_format="yuv420p10le", aspect=None, beside=False
    )
    target = tmp_path / "large.mkv"
    assert run("video", source, "-o", target, "--model", model) == 0
    assert (frames_in(target)[0].width, frames_in(target)[0].height) == (252, 188)
    options = ("--model", model, "--scale", "3", "--overwrite")
    assert "189 x 141" in refused(capsys, tmp_path, source, "-o", target, *options, code=2)
    assert run("video", source, "-o", target, *options, "--pixel-format", "yuv444p10le") == 0
    assert (frames_in(target)[0].width, frames_in(target)[0].height) == (189, 141)


def test_an_interlaced_film_waits_for_a_word(tmp_path: Path, model: Path, capsys) -> None:
    fields: list[object] = []
    pictures = list(scenes(25))
    for above, below in pairwise(pictures):
        woven = above.copy()
        woven[1::2] = below[1::2]
        fields.append(woven)
    source = make_film(
        tmp_path / "film.mkv",
        fields,  # type: ignore[arg-type]
        [40 * number for number in range(24)],
        codec="libx264",
        pixel_format="yuv420p",
        tags=(1, 1, 1, 1),
        beside=False,
        **{"x264-params": "interlaced=1"},
    )
    options = (source, "-o", tmp_path / "large.mkv", "--model", model, "--segment", "0.3")
    assert "--interlaced deinterlace" in refused(capsys, tmp_path, *options)
    codec = ("--codec", "ffv1", "--scale", "1", "--overwrite")
    combs: dict[str, float] = {}
    for how in ("keep", "deinterlace"):
        assert run("video", *options, *codec, "--interlaced", how) == 0
        assert times_of(tmp_path / "large.mkv") == times_of(source)
        picture = frames_in(tmp_path / "large.mkv")[10].to_ndarray(format="rgb24").astype(float)
        combs[how] = abs(2 * picture[1:-1] - picture[:-2] - picture[2:]).mean()
    assert combs["deinterlace"] < 0.7 * combs["keep"]


def test_times_are_read_as_people_write_them() -> None:
    from camixersr.video.settings import seconds_of

    assert [seconds_of(each, "--end") for each in ("7", "0.5", "1:30", "2:03:04.5")] == [7, 0.5, 90, 7384.5]
    for wrong in ("", "-1", "1:2:3:4", "1h", "1:", ":1"):
        with pytest.raises(UsageError, match=re.escape("--end must be seconds")):
            seconds_of(wrong, "--end")
