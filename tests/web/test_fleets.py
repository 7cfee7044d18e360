"""Fleets as jobs: only where the operator allows it, with progress, cancel, and what a kill leaves."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from camixersr.enlarge.options import Options
from camixersr.errors import UsageError
from camixersr.web.app import make_app
from camixersr.web.fleets import FleetOrder, NotAllowedError, admitted, run_fleet
from camixersr.web.settings import Settings
from camixersr.web.store import Store
from tests.conftest import run
from tests.web.conftest import Server, png
from tests.web.test_refusals import is_problem
from tests.web.test_store import job


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., FastAPI]]:
    """A service that is not started: it takes requests, and computes nothing."""
    made: list[FastAPI] = []

    def make(**settings: Any) -> FastAPI:
        app = make_app(Settings(data=tmp_path / "service", **settings))
        app.state.service.dispatcher.models = [{"name": "s-x4", "action": "upscale", "scale": 4}]
        made.append(app)
        return app

    yield make
    for app in made:
        app.state.service.store.close()
        os.close(app.state.service._lock)


def ask(app: FastAPI, method: str, path: str, **given: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, f"/api/v1{path}", **given)

    return asyncio.run(send())


def test_there_are_none_by_default(service: Callable[..., FastAPI], tmp_path: Path) -> None:
    app = service()
    body = {"source": str(tmp_path), "dest": str(tmp_path / "out")}
    is_problem(ask(app, "POST", "/fleets", json=body), 403, "--fleet-source")
    assert ask(app, "GET", "/fleets").json() == {"fleets": []}


def test_only_places_that_are_named(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "inner").mkdir(parents=True)
    (tmp_path / "photos-of-others").mkdir()
    (photos / "link").symlink_to(tmp_path / "photos-of-others")
    roots = (str(photos), "s3://archive/photos")
    for given, expected in (
        (f"{photos}", str(photos)),
        (f"{photos}/inner/", f"{photos}/inner"),
        (f"file://{photos}/inner", f"{photos}/inner"),
        ("s3://archive/photos/2026/", "s3://archive/photos/2026"),
    ):
        assert admitted("source", given, roots) == expected
    for given in (
        "/etc",
        f"{photos}/..",
        f"{photos}/link",
        f"{tmp_path}/photos-of-others",
        "s3://archive",
        "s3://archive/photos-of-others",
        "s3://archived/photos",
        "gs://archive/photos",
        "file:///etc",
    ):
        with pytest.raises(NotAllowedError, match="must lie in a place that the service allows"):
            admitted("source", given, roots)
    for given in (
        "photos",
        "",
        "s3://archive/photos/../secret",
        "s3://archive/photos/%2e%2e/secret",
        "s3://archive/photos/.%2e/secret",
        "s3://archive/photos//x",
        "s3://archive/photos\\..\\secret",
        "s3://key:secret@archive/photos",
        "http://archive/photos",
    ):
        with pytest.raises((UsageError, NotAllowedError)):
            admitted("source", given, roots)
    with pytest.raises(NotAllowedError, match="fleets are off"):
        admitted("source", str(photos), ())


def test_a_fleet_waits_apart_from_files(service: Callable[..., FastAPI], tmp_path: Path) -> None:
    app = service(fleet_sources=(str(tmp_path),), fleet_dests=(str(tmp_path / "out"),))
    body = {"source": f"{tmp_path}/photos", "dest": f"{tmp_path}/out/1", "options": {"scale": 2}}
    made = ask(app, "POST", "/fleets", json=body)
    assert made.status_code == 202, made.text
    shown = made.json()
    assert made.headers["location"] == shown["links"]["self"] == f"/api/v1/fleets/{shown['id']}"
    assert (shown["state"], shown["options"], shown["position"]) == ("queued", {"scale": 2.0}, 0)
    assert (shown["source"], shown["dest"]) == (body["source"], body["dest"])
    assert [each["id"] for each in ask(app, "GET", "/fleets").json()["fleets"]] == [shown["id"]]
    assert ask(app, "GET", "/jobs").json()["jobs"] == []
    for path in ("", "/result", "/thumbnail", "/events"):
        is_problem(ask(app, "GET", f"/jobs/{shown['id']}{path}"), 404)
    is_problem(ask(app, "GET", f"/fleets/{'0' * 32}"), 404)
    assert ask(app, "GET", f"/fleets/{shown['id']}").json()["id"] == shown["id"]
    assert ask(app, "DELETE", f"/fleets/{shown['id']}").json()["state"] == "cancelled"
    assert ask(app, "DELETE", f"/fleets/{shown['id']}").status_code == 204
    assert ask(app, "GET", "/fleets").json() == {"fleets": []}
    for wrong, status, word in (
        ({"dest": "/etc"}, 403, "dest must lie"),
        ({"source": 3}, 422, "as text"),
        ({"options": [1]}, 422, "JSON object"),
        ({"options": {"preview": True}}, 422, "no option 'preview'"),
        ({"options": {"device": "cuda"}}, 422, "no option 'device'"),
        ({"options": {"model": "/etc/passwd"}}, 422, "no model"),
        ({"source": "relative"}, 422, "whole path"),
    ):
        is_problem(ask(app, "POST", "/fleets", json={**body, **wrong}), status, word)


def test_files_and_fleets_are_claimed_by_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.sqlite", max_queue=9)
    for number, action in enumerate(("fleet", "upscale", "fleet", "upscale")):
        store.add(replace(job(number), action=action))
    assert store.position(job(3)) == 1
    taken = [store.claim(), store.claim(fleets=True), store.claim(fleets=True), store.claim(fleets=True)]
    assert [each and int(each.id, 16) for each in taken] == [1, 0, 2, None]
    assert [int(each.id, 16) for each in store.all_of("")] == [1, 3]
    assert [int(each.id, 16) for each in store.all_of("", fleets=True)] == [0, 2]
    store.close()


def test_what_a_fleet_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs the extra `fleet`: ray is not installed")
    from camixersr.fleet import run as fleet
    from camixersr.fleet.rows import Row

    failure = Row(key="b.png", size=1, version="1", options="", status="failed", error="no\npicture")
    asked: dict[str, Any] = {}

    def upscale_fleet(source: str, results: str, **given: Any) -> fleet.Summary:
        asked.update(given, source=source, results=results)
        for over in (0, 1, 2):
            given["on_progress"](fleet.Progress(2, over, 0, 1.5, None))
        return fleet.Summary(5, 2, 1, (failure,), 1, 0, 3.0, 4.0)

    monkeypatch.setattr(fleet, "upscale_fleet", upscale_fleet)
    heard: list[Any] = []
    for stopped, expected in ((False, "done"), (True, "cancelled")):
        state, outcome = run_fleet(
            FleetOrder("s3://a", "s3://b", Options(scale=2)), address="local", workers=3, max_pixels=7,
            advanced=lambda *given: heard.append(given), remark=heard.append,
            cancelled=lambda stopped=stopped: stopped,
        )  # fmt: skip
        assert state == expected
    assert (asked["source"], asked["results"], asked["max_pixels"]) == ("s3://a", "s3://b", 7)
    assert (asked["resources"].workers, asked["options"].scale) == (3, 2)
    assert outcome["failures"] == ["b.png: no picture"]
    assert outcome["facts"]["failed"] == outcome["facts"]["left"] == 1
    assert heard[:2] == [(0.0, 2.0), "1.50 Mpx/s"]
    assert (2.0, 2.0) in heard


def test_one_of_both_options_is_not_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--data", tmp_path / "service", "--fleet-source", tmp_path) == 2
    assert "--fleet-source and --fleet-dest go together" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fleet_makes_what_the_command_line_makes(serve: Callable[..., Server], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra `fleet`: ray is not installed")
    photos, out, alone = tmp_path / "photos", tmp_path / "out", tmp_path / "alone"
    (photos / "inner").mkdir(parents=True)
    for number in range(6):
        (photos / "inner" / f"{number}.png").write_bytes(png(24, 32, seed=number))
    (photos / "broken.png").write_bytes(png()[:60])
    server = serve("--fleet-source", photos, "--fleet-dest", out, "--fleet-workers", "1").ready()
    body = {"source": str(photos), "dest": str(out), "options": {"scale": 2}}

    def begin() -> dict[str, Any]:
        made = server.client.post("/api/v1/fleets", json=body)
        assert made.status_code == 202, made.text
        return made.json()

    def state(fleet: dict[str, Any]) -> dict[str, Any]:
        return server.client.get(fleet["links"]["self"]).json()

    def over(fleet: dict[str, Any]) -> dict[str, Any]:
        until = time.monotonic() + 300
        while (now := state(fleet))["state"] in ("queued", "running"):
            assert time.monotonic() < until, now
            time.sleep(0.2)
        return now

    first = begin()
    until = time.monotonic() + 300
    while not list(out.rglob("*.png")):
        now = state(first)
        assert now["state"] in ("queued", "running"), now["error"]
        assert time.monotonic() < until, now
        time.sleep(0.05)
    server.kill()  # and everything of it
    server.start()
    server.ready()
    ended = over(first)
    assert ended["state"] == "done", ended
    assert ended["facts"]["pictures"] == 7
    assert ended["facts"]["done"] + ended["facts"]["there"] == 6
    assert len(ended["failures"]) == 1
    assert ended["failures"][0].startswith("broken.png")
    assert run("upscale", photos, "-o", alone, "--scale", "2", "--device", "cpu") == 3
    expected = {path.relative_to(alone): path.read_bytes() for path in alone.rglob("*.png")}
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*.png")} == expected
    again = begin()
    assert server.client.delete(again["links"]["self"]).status_code == 202
    assert over(again)["state"] in ("cancelled", "done")
    news = server.client.get(again["links"]["events"]).text
    assert json.loads(news.rpartition("data: ")[2])["state"] in ("cancelled", "done")
    assert server.client.get("/api/v1/jobs").json()["jobs"] == []
