"""The service as its users meet it: pictures go in by HTTP, and come out as the command line makes them."""

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.image.resize import resize
from tests.conftest import ROOT, noise_picture, run
from tests.web.conftest import Server, pixels, png


def jpeg(quality: int = 60) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise_picture(48, 64, seed=3)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def done(server: Server) -> dict:
    return server.over(server.job(png(), "photo.png", options=json.dumps({"scale": 4})))


@pytest.mark.parametrize(
    ("command", "name", "content", "options"),
    [
        ("upscale", "a.png", png(), {}),
        ("upscale", "a.jpg", jpeg(), {"scale": "2", "attention_ratio": "0.3", "quality": "80"}),
        ("upscale", "b.png", png(40, 50), {"width": "101", "format": "tif"}),
        ("restore", "a.jpg", jpeg(30), {}),
    ],
)
def test_results_are_the_command_lines_byte_for_byte(
    server: Server, tmp_path: Path, command: str, name: str, content: bytes, options: dict
) -> None:
    job = server.over(server.job(content, name, action=command, **options))
    assert job["state"] == "done", job["error"]
    torch.set_num_threads(1)  # as the service here has it
    (tmp_path / name).write_bytes(content)
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)]
    assert run(command, tmp_path / name, "-o", f"{tmp_path / 'out'}/", "--device", "cpu", *flags) == 0
    (expected,) = (tmp_path / "out").iterdir()
    answer = server.client.get(job["links"]["result"])
    assert answer.content == expected.read_bytes()
    assert job["result"]["name"] == expected.name
    kinds = {".png": "image/png", ".jpg": "image/jpeg", ".tif": "image/tiff"}
    assert answer.headers["content-type"] == kinds[expected.suffix]
    assert expected.name in answer.headers["content-disposition"]


def test_a_picture_may_be_the_body_itself(server: Server) -> None:
    answer = server.client.post(
        "/api/v1/jobs?scale=2",
        content=png(),
        headers={
            "content-type": "image/png",
            "content-disposition": "attachment; filename*=UTF-8''ein%20Bild.png",
            "prefer": "wait=60",
        },
    )
    assert answer.status_code == 200, answer.text
    assert pixels(answer.content).shape == (128, 192, 3)
    assert "ein%20Bild_x2.png" in answer.headers["content-disposition"]
    number = answer.headers["location"].rsplit("/", 1)[-1]
    assert server.get({"id": number})["name"] == "ein Bild.png"


def test_a_part_of_a_result_is_sent_and_what_is_known_is_not(server: Server, done: dict) -> None:
    whole = server.client.get(done["links"]["result"])
    part = server.client.get(done["links"]["result"], headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert whole.headers["etag"] == f'"{done["result"]["sha256"]}"'
    known = server.client.get(done["links"]["result"], headers={"if-none-match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_tiles_show_the_result_the_picture_and_what_bicubic_makes_of_it(server: Server, done: dict) -> None:
    result = pixels(server.client.get(done["links"]["result"]).content)
    low = noise_picture(64, 96)
    bicubic = resize(low.astype(np.float32) / 255, height=256, width=384)
    expected = {
        "result": result,
        "input": low,
        "bicubic": np.rint(bicubic.clip(0, 1) * 255),
        "pixels": low.repeat(4, axis=0).repeat(4, axis=1),
    }
    for layer, whole in expected.items():
        tile = server.client.get(f"/api/v1/jobs/{done['id']}/tiles/{layer}/0/0/0")
        shown = pixels(tile.content)
        assert shown.shape == whole.shape
        assert np.abs(shown.astype(float) - whole).mean() < 2.0, layer  # JPEG of quality 95, of noise
        assert tile.headers["cache-control"].endswith("immutable")
    whole = server.client.get(
        f"/api/v1/jobs/{done['id']}/crop/bicubic?x=0&y=0&width=384&height=256&longest=192"
    )
    half = resize(low.astype(np.float32) / 255, height=128, width=192)
    assert np.abs(pixels(whole.content).astype(float) - half.clip(0, 1) * 255).mean() < 3.0
    part = server.client.get(f"/api/v1/jobs/{done['id']}/crop/result?x=30&y=20&width=100&height=80")
    assert np.abs(pixels(part.content).astype(float) - result[20:100, 30:130]).mean() < 4.0
    for wrong in ("tiles/result/1/0/0", "tiles/result/0/1/0", "tiles/result/0/0/1"):
        assert server.client.get(f"/api/v1/jobs/{done['id']}/{wrong}").status_code == 404


def test_the_layer_of_attention_covers_the_windows(server: Server, done: dict) -> None:
    layer = pixels(server.client.get(done["links"]["route_layer"]).content)
    assert done["views"]["routes"] == {"width": 384.0, "height": 256.0, "window": 64.0}
    assert layer.shape == (64, 96, 3)  # 4 x 6 windows, 16 pixels each
    assert (layer.reshape(4, 16, 6, 16, 3).std(axis=(1, 3)) == 0).all()
    legend = pixels(server.client.get(done["links"]["route_map"]).content)
    assert legend.shape[1] >= 480


def test_events_tell_how_a_job_goes_and_go_on_where_they_were_cut_off(server: Server) -> None:
    job = server.job(png(seed=9))
    heard = _events(server, f"/api/v1/jobs/{job['id']}/events")
    assert [name for name, _, _ in heard] == ["job"] * len(heard)
    assert heard[-1][2]["state"] == "done"
    first = heard[0][1]
    again = _events(server, f"/api/v1/jobs/{job['id']}/events", {"last-event-id": first})
    marks = [mark for _, mark, _ in heard]
    assert [mark for _, mark, _ in again] == [mark for mark in marks if mark != first] or marks == [first]
    anew = _events(server, f"/api/v1/jobs/{job['id']}/events", {"last-event-id": "nonsense-1"})
    assert len(anew) == 1


def _events(server: Server, path: str, headers: dict | None = None) -> list[tuple[str, str, dict]]:
    found, event = [], {}
    with server.client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                event[name] = value
            elif "data" in event:
                found.append((event["event"], event["id"], json.loads(event["data"])))
                event = {}
    return found


def test_jobs_are_listed_in_pages(server: Server, done: dict) -> None:
    every = server.client.get("/api/v1/jobs").json()
    assert every["next"] is None
    found, path = [], "/api/v1/jobs?limit=2"
    while path:
        page = server.client.get(path).json()
        assert len(page["jobs"]) <= 2
        found += page["jobs"]
        path = page["next"]
    assert [job["id"] for job in found] == [job["id"] for job in every["jobs"]]
    assert done["id"] in {job["id"] for job in found}
    assert server.client.get(f"/api/v1/jobs?after={'0' * 32}").status_code == 404
    assert server.client.get("/api/v1/jobs?limit=0").status_code == 422


def test_a_zip_has_every_result_under_a_name_of_its_own(server: Server, done: dict) -> None:
    other = server.over(server.job(png(seed=4), "photo.png"))
    answer = server.client.get(f"/api/v1/jobs.zip?ids={done['id']},{other['id']}")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["photo_x4.png", "photo_x4 (2).png"]
        for job, name in zip((done, other), archive.namelist(), strict=True):
            assert archive.read(name) == server.client.get(job["links"]["result"]).content


def test_the_same_picture_is_done_again_without_another_upload(server: Server, done: dict) -> None:
    answer = server.client.post(
        f"/api/v1/jobs/{done['id']}/again", json={"options": {"attention_ratio": 0.1, "scale": 2}}
    )
    assert answer.status_code == 202
    again = server.over(answer.json())
    assert again["picture"] == done["picture"]
    assert (again["result"]["width"], again["facts"]["attention_ratio"]) == (192, 0.1)
    same = server.over(server.client.post(f"/api/v1/jobs/{done['id']}/again").json())
    assert same["result"]["sha256"] == done["result"]["sha256"]


def test_a_key_makes_one_job_of_a_request_that_is_repeated(server: Server) -> None:
    def post(content: bytes) -> httpx.Response:
        return server.client.post(
            "/api/v1/jobs", files={"file": ("a.png", content)}, headers={"idempotency-key": "k1"}
        )

    first, second = post(png(seed=5)), post(png(seed=5))
    assert first.json()["id"] == second.json()["id"]
    assert post(png(seed=6)).status_code == 422


def test_a_job_is_cancelled_and_then_removed(server: Server) -> None:
    jobs = [server.job(png(900, 900)), server.job(png(400, 400))]
    for job in reversed(jobs):
        assert server.client.delete(f"/api/v1/jobs/{job['id']}").status_code == 202
    for job in jobs:
        assert server.over(job)["state"] == "cancelled"
        assert server.client.get(f"/api/v1/jobs/{job['id']}/result").status_code == 409
        assert server.client.delete(f"/api/v1/jobs/{job['id']}").status_code == 204
        assert server.client.get(f"/api/v1/jobs/{job['id']}").status_code == 404
        assert not (server.data / "jobs" / job["id"]).exists()


def test_what_was_not_kept_is_said_and_no_place_of_the_machine_is(server: Server) -> None:
    buffer = io.BytesIO()
    picture = Image.fromarray(noise_picture(40, 40, 4)).convert("RGBA")
    picture.save(buffer, "PNG")
    job = server.over(server.job(buffer.getvalue(), format="jpg"))
    assert any("transparen" in note or "alpha" in note for note in job["notes"]), job["notes"]
    broken = server.over(server.job(png(200, 200)[:20_000]))
    assert broken["state"] == "failed"
    assert str(server.data) not in json.dumps([job, broken])


def test_models_options_and_health_are_told(server: Server) -> None:
    names = {each["name"] for each in server.client.get("/api/v1/models").json()["models"]}
    assert {"s-x2", "s-x4", "s-jpeg"} <= names
    options = server.client.get("/api/v1/options").json()["options"]
    assert {"scale", "attention_ratio", "format"} <= {each["name"] for each in options}
    assert not {"device", "backend"} & {each["name"] for each in options}
    assert server.client.get("/healthz").json() == {"status": "ok"}
    assert 'camixersr_jobs_total{state="done"}' in server.client.get("/metrics").text
    text = server.client.get("/api/v1/openapi.json").json()
    assert set(text["components"]["schemas"]) >= {"Problem", "JobShown"}


def test_the_server_itself_loads_neither_torch_nor_libvips() -> None:
    code = (
        "import sys, camixersr.web.app; print({'torch', 'pyvips', 'cyclopts'} & set(sys.modules) or 'none')"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "none\n"


def test_the_documented_programs_run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "service.md").read_text().replace("http://127.0.0.1:8000", server.address)
    (script,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(jpeg())
    exec(compile(script, "service.md", "exec"), {})
    made = (tmp_path / "large.jpg").read_bytes()
    assert pixels(made).shape == (96, 128, 3)
    if shutil.which("curl"):
        (command,) = re.findall(r"```sh\n(curl .*?)```", text, re.DOTALL)
        subprocess.run(command, shell=True, check=True, capture_output=True)
        assert pixels((tmp_path / "large.jpg").read_bytes()).shape == (96, 128, 3)
