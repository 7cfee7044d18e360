"""What the service refuses, and how: in problem documents, before anything is computed."""

import io
import json
import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from camixersr.web.store import Job, Store
from tests.web.conftest import Server, png

FIELD = b'Content-Disposition: form-data; name="a"\r\n\r\nb'


def bomb(side: int = 60_000) -> bytes:
    """A small PNG that says it is 3600 megapixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def is_problem(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert "\n" not in told["detail"]
    for word in words:
        assert word in told["detail"], told


@pytest.mark.parametrize(
    ("content", "fields", "status", "word"),
    [
        (b"", {}, 422, "empty"),
        (b"hello, I am a text", {}, 415, "picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}, 415, "picture"),
        (png()[:30], {}, 422, "damaged"),
        (bomb(), {}, 413, "megapixels"),
        (png(), {"scale": "9"}, 422, "scale"),
        (png(), {"scale": "nan"}, 422, "scale"),
        (png(), {"options": '{"scale": 1e999}'}, 422, "scale"),
        (png(), {"options": "{"}, 400, "JSON"),
        (png(), {"options": "[1]"}, 422, "object"),
        (png(), {"megapixels": "1e300"}, 413, "megapixels"),
        (png(), {"width": "60000", "height": "60000"}, 413, "megapixels"),
        (png(), {"colour": "keep"}, 422, "no option"),
        (png(), {"device": "cuda"}, 422, "no option"),
        (png(), {"model": "/etc/passwd"}, 422, "no model"),
        (png(), {"model": "s-jpeg"}, 422, "no model"),
        (png(), {"action": "delete"}, 422, "action"),
        (png(), {"action": "restore", "scale": "2"}, 422, "own size"),
        (png(), {"name": "../{stem}"}, 422, "name"),
        (png(), {f"f{number}": "1" for number in range(70)}, 413, "fields"),
        (png(), {"name": "x" * 100_000}, 413, "fields"),
    ],
)
def test_a_picture_or_option_that_cannot_be_used(
    server: Server, content: bytes, fields: dict, status: int, word: str
) -> None:
    is_problem(server.post(content, **fields), status, word)
    assert not list((server.data / "incoming").iterdir())


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("text/plain", png(), 415),
        ("", png(), 415),
        ("multipart/form-data", png(), 400),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + FIELD, 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + FIELD + b"\r\n--x--", 422),
        ("image/png", b"", 422),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_read(server: Server, kind: str, content: bytes, status: int) -> None:
    headers = {"content-type": kind}
    is_problem(server.client.post("/api/v1/jobs", content=content, headers=headers), status)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs/" + "0" * 32,
        "/api/v1/jobs/" + "0" * 32 + "/result",
        "/api/v1/nothing",
        "/nothing.html",
    ],
)
def test_what_is_not_there(server: Server, path: str) -> None:
    is_problem(server.client.get(path), 404)


def test_ids_and_names_are_no_paths(server: Server) -> None:
    for path in ("../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "A" * 32):
        assert server.client.get(f"/api/v1/jobs/{path}/result").status_code in (404, 422)
        assert server.client.get(f"/{path}").status_code in (404, 422)
    for name in ("../../evil.png", "/etc/passwd", "..\\evil.png", "a\0b.png", "con\r\nX-Evil: 1.png", ""):
        job = server.job(png(), name)
        assert "/" not in job["name"]
        assert "\\" not in job["name"]
        folder = server.data / "jobs" / job["id"]
        # all have names of our own, what is being written and what a job leaves when it is done already
        there = {path.name for path in folder.iterdir() if not path.name.startswith(".camixersr-")}
        assert there <= {"input.png", "input", "out", "input.tif", "result.tif", "route-map.png"}
        server.client.delete(f"/api/v1/jobs/{job['id']}")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://[broken"},
        {"origin": "http://127.0.0.1.evil.example:8000"},
    ],
)
def test_other_sites_may_not_use_it(server: Server, headers: dict) -> None:
    for method, path in (("GET", "/"), ("POST", "/api/v1/jobs"), ("GET", "/healthz")):
        is_problem(server.client.request(method, path, headers=headers), 403)


def test_every_answer_forbids_what_the_page_does_not_need(server: Server) -> None:
    for path in ("/", "/api/v1/jobs", "/nothing"):
        headers = server.client.get(path, headers={"origin": server.address}).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_limits(serve: Callable[..., Server]) -> None:
    server = serve(
        *("--max-megapixels-in", "0.02", "--max-megapixels-out", "0.1", "--max-upload", "60KB"),
        *("--max-queue", "1"),
    ).ready()
    is_problem(server.post(png(150, 150), scale="1"), 413, "0.02 megapixels")
    is_problem(server.post(png(100, 100), scale="4"), 413, "0.1 megapixels")
    is_problem(server.post(bytes(100_000)), 413, "60,000 bytes")

    def unsaid() -> object:
        for _ in range(100):
            yield bytes(10_000)

    streamed = server.client.post(
        "/api/v1/jobs", content=unsaid(), headers={"content-type": "application/octet-stream"}
    )
    is_problem(streamed, 413, "60,000 bytes")
    pictures = [png(70, 70, seed=number) for number in range(24)]
    with ThreadPoolExecutor(
        12
    ) as together:  # one after another, a fast machine would do each before the next
        answers = list(together.map(lambda picture: server.post(picture, scale="4"), pictures))
    refused = [each for each in answers if each.status_code == 429]
    assert refused
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
    for each in answers:
        if each.status_code == 202:
            assert server.over(each.json())["state"] == "done"


def test_tokens(serve: Callable[..., Server], tmp_path: Path) -> None:
    mine, other = "a-token-of-mine-0123", "a-token-of-another"
    (tmp_path / "tokens").write_text(f"# two\n{mine}\n{other}\n")
    (tmp_path / "service").mkdir()
    from camixersr.web.guard import owner_of

    store = Store(tmp_path / "service" / "jobs.sqlite", max_queue=10)
    job = Job(
        id="a" * 32, owner=owner_of(other), key=None, action="upscale", name="x.png", file="input.png",
        sha256="", bytes=1, options={}, created=1.0,
        picture={"kind": "png", "width": 1, "height": 1, "pages": 1},
    )  # fmt: skip
    store.add(job)
    store.cancel(job.id)
    store.close()
    server = serve("--token-file", tmp_path / "tokens")
    as_me, as_other = ({"authorization": f"Bearer {each}"} for each in (mine, other))
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {mine}"}):
        for path in ("/api/v1/jobs", "/api/v1/events", "/api/v1/openapi.json", "/metrics"):
            answer = server.client.get(path, headers=headers)
            is_problem(answer, 401, "Bearer")
            assert answer.headers["www-authenticate"] == "Bearer"
        is_problem(server.client.post("/api/v1/session", headers=headers), 401)
    assert server.client.get("/").status_code == 200  # which asks for the token
    assert server.client.get("/healthz").status_code == 200
    assert [each["id"] for each in server.client.get("/api/v1/jobs", headers=as_other).json()["jobs"]] == [
        job.id
    ]
    assert server.client.get("/api/v1/jobs", headers=as_me).json()["jobs"] == []
    for method in ("GET", "DELETE"):
        is_problem(server.client.request(method, f"/api/v1/jobs/{job.id}", headers=as_me), 404)
    is_problem(server.client.get(f"/api/v1/jobs.zip?ids={job.id}", headers=as_me), 404)
    entered = server.client.post("/api/v1/session", headers=as_me)
    cookie = entered.headers["set-cookie"]
    assert mine not in cookie
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert server.client.get("/api/v1/jobs").status_code == 200  # by the cookie
    assert mine not in (tmp_path / "service" / "jobs.sqlite").read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "--token-file"),
        (("--token-file", "nowhere"), "cannot be read"),
        (("--max-queue", "0"), "positive"),
        (("--port", "99999"), "65535"),
        (("--host", "203.0.113.7", "--token-file", "TOKENS"), "listened on"),
    ],
)
def test_a_wrong_start_is_one_line(
    arguments: tuple, words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from tests.conftest import run

    (tmp_path / "tokens").write_text("0123456789abcdef")
    given = [str(tmp_path / "tokens") if each == "TOKENS" else each for each in arguments]
    assert run("serve", "--data", tmp_path, *given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words in said


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from tests.conftest import run

    for name in [each for each in sys.modules if each.startswith("camixersr.web.app")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert run("serve") == 2
    said = capsys.readouterr().err
    assert said.startswith("camixersr: the service needs an extra; ")
    assert "[serve]" in said


def test_a_second_service_on_the_same_folder_is_refused(
    server: Server, capsys: pytest.CaptureFixture
) -> None:
    from tests.conftest import run

    assert run("serve", "--data", server.data, "--port", "0") == 3
    assert "another service" in capsys.readouterr().err


def test_bodies_of_json_are_objects_and_short(server: Server) -> None:
    path = "/api/v1/jobs/" + "0" * 32 + "/again"
    is_problem(server.client.post(path, json={}), 404)
    job = server.job(png())
    path = f"/api/v1/jobs/{job['id']}/again"
    is_problem(server.client.post(path, content=b"["), 400)
    is_problem(server.client.post(path, content=b"[" * 50_000), 400)
    is_problem(server.client.post(path, json=[1]), 422)
    is_problem(server.client.post(path, json={"options": 3}), 422)
    is_problem(server.client.post(path, json={"action": 3}), 422)
    is_problem(server.client.post(path, content=io.BytesIO(json.dumps(["x" * 100_000]).encode())), 413)
