"""Films as jobs: they come out as the command line makes them, and a kill costs a segment."""

import asyncio
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI

from camixersr.errors import UsageError
from camixersr.video.containers import ALONE, WRITTEN, container_of
from camixersr.video.forms import described_of_films, film_options_from
from camixersr.video.settings import Settings
from camixersr.web.app import make_app
from camixersr.web.films import enlarge, expected_bytes, frames_asked
from camixersr.web.problems import ProblemError
from camixersr.web.settings import Settings as OfService
from camixersr.web.store import Job, Store
from tests.conftest import run
from tests.video.conftest import make_film, scenes
from tests.web.conftest import Server, pixels, png
from tests.web.test_refusals import is_problem

av = pytest.importorskip("av", reason="needs the extra `video`: av is not installed")

SDR = (1, 1, 1, 1)


def clip(path: Path, count: int = 4, width: int = 48, height: int = 32, **others: object) -> bytes:
    """A film as a file."""
    given = {"codec": "libx264", "pixel_format": "yuv420p", "tags": SDR, "aspect": None, "beside": False}
    return make_film(path, list(scenes(count, width, height)), **{**given, **others}).read_bytes()


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return clip(tmp_path_factory.mktemp("films") / "a.mp4")


@pytest.fixture(scope="module")
def done(server: Server, mp4: bytes) -> dict:
    job = server.over(server.job(mp4, "holiday.mp4", options=json.dumps({"scale": 2, "crf": 20})))
    assert job["state"] == "done", job["error"]
    return job


def test_a_film_comes_out_as_the_command_line_makes_it(
    server: Server, done: dict, mp4: bytes, tmp_path: Path
) -> None:
    (tmp_path / "holiday.mp4").write_bytes(mp4)
    torch.set_num_threads(1)  # as the service here has it
    assert run("video", tmp_path / "holiday.mp4", "--device", "cpu", "--scale", "2", "--crf", "20") == 0
    answer = server.client.get(done["links"]["result"])
    assert answer.content == (tmp_path / "holiday_x2.mp4").read_bytes()
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="holiday_x2.mp4"'
    assert done["result"]["name"] == "holiday_x2.mp4"
    part = server.client.get(done["links"]["result"], headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")  # so that a browser can seek
    assert (done["result"]["width"], done["result"]["height"], done["facts"]["frames"]) == (96, 64, 4)
    assert done["picture"]["film"] == {
        "codec": "h264",
        "frames": 4,
        "seconds": pytest.approx(0.16, abs=0.05),
    }
    assert not list((server.data / "jobs" / done["id"] / "out").glob("*.parts"))


def test_a_frame_of_it_is_shown_before_and_after(server: Server, done: dict) -> None:
    with av.open(io.BytesIO(server.client.get(done["links"]["result"]).content)) as film:
        frames = [each.to_ndarray(format="rgb24").astype(float) for each in film.decode(video=0)]
    tiles = f"/api/v1/jobs/{done['id']}/tiles"
    after = pixels(server.client.get(f"{tiles}/result/0/0/0").content).astype(float)
    before = pixels(server.client.get(f"{tiles}/bicubic/0/0/0").content).astype(float)
    assert after.shape == before.shape == frames[2].shape
    apart = [np.abs(after - each).mean() for each in frames]
    assert min(apart) == apart[2] < 8.0  # JPEG of quality 95, and libswscale's colours
    assert 0.5 < np.abs(before - after).mean() < 20.0
    poster = server.client.get(done["links"]["thumbnail"])
    assert pixels(poster.content).shape == (32, 48, 3)


def test_a_poster_is_there_before_the_film_is(server: Server, tmp_path: Path) -> None:
    long = server.job(clip(tmp_path / "a.mkv", 20, 256, 192, keys=4), "a.mkv")
    poster = server.client.get(long["links"]["thumbnail"])
    assert pixels(poster.content).shape == (192, 256, 3)
    assert server.client.delete(f"/api/v1/jobs/{long['id']}").status_code == 202
    assert server.over(long)["state"] == "cancelled"
    folder = server.data / "jobs" / long["id"]
    assert [each.name for each in (folder / "out").iterdir()] == []
    assert server.client.delete(f"/api/v1/jobs/{long['id']}").status_code == 204
    assert not folder.exists()


def test_options_of_the_film_are_taken_and_its_container_is_chosen(server: Server, mp4: bytes) -> None:
    options = {"scale": 2, "format": "mkv", "codec": "ffv1", "start": "0:00:00.05", "without": "audio"}
    job = server.over(server.job(mp4, "film.mov", **{**options, "attention_ratio": "0"}))
    assert job["options"] == {
        "scale": 2.0, "format": "mkv", "codec": "ffv1", "start": 0.05, "without": ["audio"],
        "attention_ratio": 0.0,
    }  # fmt: skip
    assert (job["result"]["name"], job["result"]["media_type"]) == ("film_x2.mkv", "video/x-matroska")
    with av.open(io.BytesIO(server.client.get(job["links"]["result"]).content)) as film:
        assert film.streams.video[0].codec_context.name == "ffv1"
        assert len(list(film.decode(video=0))) == 2
    again = server.client.post(f"/api/v1/jobs/{job['id']}/again", json={"options": {"preview": 0.01}})
    preview = server.over(again.json())
    assert (preview["result"]["name"], preview["result"]["width"]) == ("film_x4.mov", 2 * 4 * 48)
    assert preview["views"]["input"] is None  # the film itself is beside the result


def test_a_film_may_be_the_body_itself_whatever_it_is_called(server: Server, mp4: bytes) -> None:
    for kind, name in (("video/mp4", ""), ("application/octet-stream", "film.png")):
        answer = server.client.post(
            f"/api/v1/jobs?scale=1&filename={name}", content=mp4, headers={"content-type": kind}
        )
        assert answer.status_code == 202, answer.text
        assert answer.json()["picture"]["film"]["codec"] == "h264"
        assert server.over(answer.json())["result"]["name"].endswith("_x1.mkv")


def test_progress_counts_frames(server: Server, tmp_path: Path) -> None:
    # long enough that somebody asks how long it takes
    job = server.job(clip(tmp_path / "a.mkv", 8, 320, 240), "a.mkv", scale="2")
    seen = []
    with server.client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
    assert seen[-1]["state"] == "done"
    frames = [each["progress"]["frames"] for each in seen if each["progress"]]
    assert {each["total"] for each in frames} <= {0, 8}
    counts = [each["done"] for each in frames]
    assert counts == sorted(counts)
    assert counts[-1] == 8
    assert any(each["progress"]["remaining_seconds"] for each in seen if each["progress"])


@pytest.mark.parametrize(
    ("content", "fields", "status", "word"),
    [
        (b"\x1aE\xdf\xa3" + bytes(3000), {}, 422, "no film"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", {}, 415, "picture"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", {}, 415, "picture"),
        ("half", {}, 422, "damaged"),
        ("mp4", {"action": "restore"}, 422, "films are enlarged"),
        ("mp4", {"quality": "80"}, 422, "no option 'quality'"),
        ("mp4", {"codec": "vp6"}, 422, "one of h264"),
        ("mp4", {"without": "audio,video"}, 422, "some of audio"),
        ("mp4", {"start": "1:xx"}, 422, "0:01:30"),
        ("mp4", {"start": "3", "end": "2"}, 422, "--end must be after"),
        ("mp4", {"workers": "2"}, 422, "no option 'workers'"),
        ("mp4", {"width": "60000"}, 413, "megapixels"),
    ],
)
def test_a_film_or_option_that_cannot_be_used(
    server: Server, mp4: bytes, content: bytes | str, fields: dict, status: int, word: str
) -> None:
    sent = {"mp4": mp4, "half": mp4[: len(mp4) // 2]}.get(content, content)  # type: ignore[call-overload]
    is_problem(server.post(sent, "a.mp4", **fields), status, word)
    assert not list((server.data / "incoming").iterdir())


def test_what_only_computing_shows_fails_the_job_with_a_line(server: Server, mp4: bytes) -> None:
    for options, words in (
        ({"crf": "99"}, "--crf must lie in 0 to 51 for H.264, got 99"),
        ({"start": "9:00"}, "--start must lie within the film"),
        ({"format": "webm", "codec": "h264"}, ".webm cannot hold H.264"),
    ):
        job = server.over(server.job(mp4, "a.mp4", **options))
        assert job["state"] == "failed"
        assert words in job["error"]
        assert str(server.data) not in job["error"]
        assert [each.name for each in (server.data / "jobs" / job["id"] / "out").iterdir()] == []


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[FastAPI]:
    """A service that is not started: it takes requests, and computes nothing."""
    limits = {"max_upload": 2_000, "max_film_upload": 9_000, "max_film": 20_000}
    app = make_app(OfService(data=tmp_path / "service", **limits))
    yield app
    app.state.service.store.close()
    os.close(app.state.service._lock)


def send(app: FastAPI, content: bytes, name: str) -> httpx.Response:
    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post("/api/v1/jobs", files={"file": (name, content)})

    return asyncio.run(post())


def test_films_may_be_larger_than_pictures(
    idle: FastAPI, mp4: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_problem(send(idle, png() + bytes(9_000), "a.mp4"), 413, "2,000 bytes")  # told by its content
    is_problem(send(idle, mp4 + bytes(9_000), "a.png"), 413, "9,000 bytes")
    is_problem(send(idle, bytes(500_000), "a.mp4"), 413, "9,000 bytes")
    monkeypatch.setattr(idle.state.service.dispatcher, "trouble", "nothing computes here")
    assert 2_000 < len(mp4) < 9_000
    is_problem(send(idle, mp4, "a.mp4"), 503)  # it was taken in
    assert not list(idle.state.service.incoming.iterdir())


def test_without_the_extra_a_film_is_one_problem(
    idle: FastAPI, mp4: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camixersr.web import films

    monkeypatch.setattr(films.importlib.util, "find_spec", lambda name: None)
    is_problem(send(idle, mp4, "a.mp4"), 415, "films need an extra", "[video]")
    assert not list(idle.state.service.incoming.iterdir())


def test_no_film_is_queued_that_is_too_long_or_too_large_for_the_disk(idle: FastAPI) -> None:
    service = idle.state.service
    picture = {
        "kind": "mov",
        "width": 40,
        "height": 20,
        "film": {"codec": "h264", "frames": 9, "seconds": 1.0},
    }
    service.dispatcher.models = [{"name": "s-x2", "action": "upscale", "scale": 2}]
    for values in ({"start": 0.5}, {"scale": 1}):
        service._require_size(picture, film_options_from(values), "upscale", 1000)
    for values, size, status, word in (
        ({}, 1000, 413, "9 frames of 0.0032 megapixels"),
        ({"scale": 1}, 10**17, 507, "200,000,000,000,000,000 bytes"),
    ):
        with pytest.raises(ProblemError, match=word) as raised:
            service._require_size(picture, film_options_from(values), "upscale", size)
        assert raised.value.status == status


class Killed(BaseException):
    """Ends a process at once."""


def test_a_film_goes_on_where_its_process_was_ended(tmp_path: Path) -> None:
    times = [400 * number for number in range(8)]
    kind = {"codec": "libx264", "pixel_format": "yuv420p", "tags": SDR, "aspect": None, "beside": False}
    make_film(tmp_path / "input.mp4", list(scenes(8, 48, 32)), times, keys=2, **kind)
    asked = film_options_from({"scale": 2, "tile": 64})
    heard: list[tuple[float, float, float]] = []
    killed_at = 6.5

    def hear(done: float, total: float, before: float) -> None:
        heard.append((done, total, before))
        if done >= killed_at:
            raise Killed

    def do() -> dict:
        return enlarge(
            tmp_path, "input.mp4", asked, suffix=".mp4", most=10**9, hear=hear, remark=lambda line: None,
            plain=str, cancelled=lambda: False,
        )  # fmt: skip

    with pytest.raises(Killed):
        do()
    killed_at = 99.0
    heard.clear()
    outcome = do()
    before = int(heard[0][2])
    assert heard[0] == (before, 8, before)
    assert before in (4, 5, 6)  # the first segment
    assert heard[-1] == (8, 8, before)
    assert (outcome["facts"]["segments"], outcome["facts"]["resumed"]) == (2, 1)
    heard.clear()
    assert do() == outcome  # ended before it could say so: nothing is computed again
    assert heard == []
    (tmp_path / "out" / outcome["result"]["file"]).unlink()
    whole = do()
    assert whole["facts"]["resumed"] == 0
    assert whole["result"] == outcome["result"]


@pytest.mark.slow
def test_a_film_goes_on_where_a_service_was_killed(serve: Callable[..., Server], tmp_path: Path) -> None:
    times = [400 * number for number in range(10)]
    kind = {"codec": "libx264", "pixel_format": "yuv420p", "tags": SDR, "aspect": None, "beside": False}
    content = make_film(tmp_path / "a.mp4", list(scenes(10, 96, 64)), times, keys=2, **kind).read_bytes()
    server = serve().ready()
    whole = server.over(server.job(content, "a.mp4", scale="2"))
    assert whole["facts"]["segments"] == 2, whole
    job = server.job(content, "a.mp4", scale="2")
    first = server.data / "jobs" / job["id"] / "out" / "input_x2.mp4.parts" / "000000.json"
    until = time.monotonic() + 60
    while not first.exists() and time.monotonic() < until:
        time.sleep(0.01)
    server.kill()
    server.start()
    ended = server.ready().over(job)
    assert ended["state"] == "done", ended["error"]
    assert ended["facts"]["resumed"] == 1
    assert ended["result"]["sha256"] == whole["result"]["sha256"]


def test_what_is_left_of_a_film_by_another_version_is_begun_anew(tmp_path: Path) -> None:
    clip(tmp_path / "input.mp4")
    parts = tmp_path / "out" / "input_x2.mp4.parts"
    parts.mkdir(parents=True)
    (parts / "manifest.json").write_text('{"version": "0.0.1"}')
    outcome = enlarge(
        tmp_path, "input.mp4", film_options_from({"scale": 2, "attention_ratio": 0}), suffix=".mp4",
        most=10**9, hear=lambda *_: None, remark=lambda line: None, plain=str, cancelled=lambda: False,
    )  # fmt: skip
    assert outcome["facts"]["frames"] == 4
    assert not parts.exists()


def test_a_full_disk_ends_a_film_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camixersr.errors import OutputError, ValueRangeError
    from camixersr.web import films

    clip(tmp_path / "input.mp4")

    def do() -> None:
        enlarge(
            tmp_path, "input.mp4", film_options_from({"scale": 2}), suffix=".mp4", most=50_000,
            hear=lambda *_: None, remark=lambda line: None, plain=str, cancelled=lambda: False,
        )  # fmt: skip

    monkeypatch.setattr(films, "SPARE", 10**18)
    with pytest.raises(OutputError, match="disk of the service is full"):
        do()
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(films, "SPARE", 0)
    clip(tmp_path / "input.mp4", 9)  # whatever its head had said
    with pytest.raises(ValueRangeError, match="at most 5e-05 gigapixels in all, got 9 frames of 96 x 64"):
        do()
    assert list((tmp_path / "out").iterdir()) == []


def test_how_much_of_a_film_is_asked_for() -> None:
    film = {"codec": "h264", "frames": 100, "seconds": 4.0}
    for options, frames in (
        ({}, 100),
        ({"start": 1.0}, 75),
        ({"start": "0:01", "end": 2}, 25),
        ({"preview": 1.0}, 25),
        ({"start": 3.0, "preview": 9.0}, 25),
        ({"start": 9.0}, 0),
    ):
        assert frames_asked(film, film_options_from(options))[0] == pytest.approx(frames)
    assert frames_asked({**film, "frames": None}, film_options_from({})) == (None, 1.0)
    assert frames_asked({**film, "seconds": None}, film_options_from({})) == (100, 1.0)
    assert expected_bytes(1000, 4.0, 0.5) == 4000


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"scale": 2.0, "codec": "h265", "crf": 20, "preset": "fast", "format": "mov"},
        {"start": 1.5, "end": 9.0, "without": ["audio", "subtitle"], "interlaced": "keep", "salvage": True},
        {"preview": 5.0, "pixel_format": "yuv444p", "restore": "auto", "tile": 128},
    ],
)
def test_a_record_of_a_film_comes_back_from_json(values: dict) -> None:
    asked = film_options_from(values)
    assert asked.record() == values
    assert film_options_from(json.loads(json.dumps(asked.record()))) == asked
    assert asked.settings.workers == Settings().workers


def test_names_of_options_are_said_once_and_only_those_of_films() -> None:
    names = [each.name for each in described_of_films()]
    assert len(set(names)) == len(names)
    assert {"codec", "crf", "start", "preview", "without", "scale", "format"} <= set(names)
    assert not {"workers", "work", "route_maps", "resume", "overwrite", "quality"} & set(names)
    with pytest.raises(UsageError, match="no option 'work'"):
        film_options_from({"work": "/etc"})


@pytest.mark.parametrize("suffix", [*WRITTEN, ".avi", ".ts", ".mpg", ".flv", ".wmv", ".mxf", ".3gp"])
def test_containers_are_told_by_how_they_begin(tmp_path: Path, suffix: str) -> None:
    codecs = {
        ".webm": "libvpx",
        ".avi": "mpeg4",
        ".mpg": "mpeg2video",
        ".mxf": "mpeg2video",
        ".wmv": "wmv2",
    }
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codecs.get(suffix, "libx264"), rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in scenes(2):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb48le").reformat(format="yuv420p")
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    with av.open(str(path)) as film:
        assert container_of(path.read_bytes()[:1024]) in set(film.format.name.split(",")) & set(
            ALONE.split(",")
        )


def test_pictures_are_no_films() -> None:
    for head in (
        b"GIF89a",
        b"\0\0\0\x1cftypheic",
        b"\0\0\0\x1cftypavif",
        b"\0\0\0\x18ftypcrx ",
        b"RIFF1234WEBP",
    ):
        assert container_of(head + bytes(1000)) == ""
        assert container_of(head) == ""
    assert container_of((b"GIF8" + bytes(184)) * 3) == ""
    assert container_of((b"G@\0\x10" + bytes(184)) * 3) == "mpegts"
    assert container_of(png()) == ""


def test_jobs_from_before_films_are_shown(tmp_path: Path) -> None:
    from camixersr.web.shown import JobShown, show

    store = Store(tmp_path / "jobs.sqlite", max_queue=5)
    store.add(
        Job(
            id="a" * 32, owner="", key=None, action="upscale", name="a.png", file="input.png", sha256="5",
            bytes=9, options={}, picture={"kind": "png", "width": 1, "height": 1, "pages": 1}, created=1.0,
        )
    )  # fmt: skip
    job = store.get("a" * 32)
    assert job is not None
    assert not job.is_film
    assert JobShown.model_validate(show(job, None, position=0, keep=1.0)).picture.film is None
    store.close()
