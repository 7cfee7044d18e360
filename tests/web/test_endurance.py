"""Many clients, kills and hostile files: nothing is lost, nothing is done twice, the server stays up.

Run with `pytest -m slow tests/web/test_endurance.py -s`: figures are printed.
"""

import collections
import io
import json
import os
import random
import socket
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import camixersr
from tests.conftest import shared
from tests.web.conftest import Server, png
from tests.web.test_refusals import bomb

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def expected(contents: list[bytes], folder: Path, **options: object) -> list[bytes]:
    """What the command line makes of pictures, by the function that it calls."""
    torch.set_num_threads(1)
    folder.mkdir()
    found, kept = [], {}
    for number, content in enumerate(contents):
        source = folder / f"{number}.png"
        source.write_bytes(content)
        given = camixersr.Options(device="cpu", **options)
        (result,) = camixersr.upscale_files(source, folder / f"{number}_big.png", options=given, kept=kept)
        found.append(result.target.read_bytes())
    return found


def resident(server: Server) -> int:
    """Bytes of memory of the server's own process."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def test_200_jobs_of_16_clients(serve: Callable[..., Server], tmp_path: Path) -> None:
    contents = [png(seed=number) for number in range(20)]
    results = expected(contents, tmp_path / "expected")
    server = serve().ready()
    before, most, answers, over = resident(server), [0], [], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            began = time.perf_counter()
            assert server.client.get("/healthz").status_code == 200
            answers.append(time.perf_counter() - began)
            most.append(resident(server))

    def client(number: int) -> str:
        job = server.job(contents[number % 20], f"{number}.png")
        done = server.over(job, 1500)
        assert done["state"] == "done", done
        content = server.client.get(done["links"]["result"]).content
        assert content == results[number % 20]
        return job["id"]

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.perf_counter()
    try:
        with ThreadPoolExecutor(16) as clients:
            ids = list(clients.map(client, range(200)))
    finally:
        over.set()
        watching.join()
    seconds = time.perf_counter() - began
    listed = server.client.get("/api/v1/jobs").json()["jobs"]
    assert len(set(ids)) == len(listed) == 200
    assert {each["state"] for each in listed} == {"done"}
    assert 'camixersr_jobs_total{state="done"} 200.0' in server.client.get("/metrics").text
    grown, median = max(most) - before, statistics.median(answers)
    print(
        f"\n200 jobs, 16 clients: {seconds:.0f} s; memory {before / 1e6:.0f} MB at the start, "
        f"{grown / 1e6:+.0f} MB at most; /healthz {1000 * median:.1f} ms median, "
        f"{1000 * max(answers):.0f} ms at most"
    )
    assert grown <= 200e6
    assert median < 0.1


def test_a_server_that_is_killed_ten_times(serve: Callable[..., Server], tmp_path: Path) -> None:
    contents = [png(200, 300, seed=number) for number in range(20)]
    results = expected(contents, tmp_path / "expected")
    server = serve().ready()
    jobs = [server.job(content, f"{number}.png") for number, content in enumerate(contents)]
    chance, states = random.Random(1), []
    for number in range(10):
        if number % 2:
            server.ready()  # else it is killed while it begins
        time.sleep(chance.uniform(0.0, 4.0))
        server.kill()
        server.start()
        listed = server.client.get("/api/v1/jobs").json()["jobs"]
        assert [each["id"] for each in listed] == [each["id"] for each in jobs]
        states.append(sum(each["state"] == "done" for each in listed))
    ended = [server.over(job, 600) for job in jobs]
    assert {each["state"] for each in ended} == {"done"}
    for job, result in zip(ended, results, strict=True):
        assert server.client.get(job["links"]["result"]).content == result
    assert len(server.workers()) == 1
    print(f"\ndone after each of 10 kills: {states}, of 20; then all, with the right bytes")


def test_a_worker_that_is_killed(serve: Callable[..., Server]) -> None:
    server = serve().ready()
    job, small = server.job(png(1200, 1200), "large.png"), server.job(png(), "small.png")
    killed: set[int] = set()
    until = time.monotonic() + 300
    while (now := server.get(job))["state"] not in ("failed", "done") and time.monotonic() < until:
        if now["state"] == "running" and (now["progress"] or {}).get("percent", 0) > 0:
            for each in set(server.workers()) - killed:
                os.kill(each, 9)
                killed.add(each)
        time.sleep(0.1)
    assert len(killed) == 2
    assert now["state"] == "failed"
    assert "ended from outside twice (SIGKILL)" in now["error"]
    assert server.over(small)["state"] == "done"  # another process has taken its place
    print(f"\n{now['error']}")


def test_hostile_files(serve: Callable[..., Server], capsys: pytest.CaptureFixture) -> None:
    folder = shared("data/hard")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    server = serve("--max-megapixels-in", "30").ready()
    found: collections.Counter[str] = collections.Counter()

    def send(path: Path) -> str:
        answer = server.post(path.read_bytes(), path.name, scale="1")
        if answer.status_code != 202:
            assert answer.status_code < 500, (path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            return str(answer.status_code)
        job = server.over(answer.json(), 900)
        assert "from outside" not in (job["error"] or ""), (path, job["error"])
        if job["state"] == "done":
            assert server.client.get(f"/api/v1/jobs/{job['id']}/thumbnail").status_code in (200, 404)
        server.client.delete(f"/api/v1/jobs/{job['id']}")
        return f"202, {job['state']}"

    with ThreadPoolExecutor(8) as clients:
        found.update(clients.map(send, paths))
    whole = png(300, 300)
    cut = [whole[:length] for length in range(0, len(whole), len(whole) // 20)]
    for content in (
        bomb(),
        bomb(2**31 - 1),
        *cut,
        os.urandom(10_000),
        b"\x89PNG\r\n\x1a\n" + os.urandom(500),
    ):
        answer = server.post(content, scale="1")
        assert answer.status_code < 500
        found[f"made: {answer.status_code}"] += 1
    assert server.client.get("/healthz").status_code == 200
    assert server.over(server.job(png(), scale="1"))["state"] == "done"
    with capsys.disabled():
        print(f"\n{len(paths)} files of data/hard, and 24 made: {dict(sorted(found.items()))}")


def test_10000_tiny_requests_and_slow_uploads(serve: Callable[..., Server]) -> None:
    server = serve().ready()
    host, port = server.address.removeprefix("http://").split(":")
    slow = []
    for _ in range(50):  # that say much and send little
        connection = socket.create_connection((host, int(port)))
        connection.sendall(
            f"POST /api/v1/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
            "Content-Length: 1000000\r\n\r\n\x89PNG".encode("latin-1")
        )
        slow.append(connection)
    before = resident(server)
    kinds = [
        lambda: server.client.get("/healthz"),
        lambda: server.client.get("/api/v1/jobs/" + "0" * 32),
        lambda: server.post(b""),
        lambda: server.client.get("/api/v1/jobs", headers={"host": "evil.example"}),
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(16) as clients:
        statuses = collections.Counter(
            clients.map(lambda number: kinds[number % 4]().status_code, range(10_000))
        )
    seconds = time.perf_counter() - began
    assert statuses == {200: 2500, 404: 2500, 422: 2500, 403: 2500}
    answers = []
    for connection in slow:
        connection.settimeout(60)
        answers.append(connection.recv(4096).split(b"\r\n")[0].decode())
        connection.close()
    assert set(answers) == {"HTTP/1.1 408 Request Timeout"}
    assert not list((server.data / "incoming").iterdir())
    print(
        f"\n10,000 requests in {seconds:.0f} s: {dict(statuses)}; 50 slow uploads: {set(answers)}; "
        f"memory {(resident(server) - before) / 1e6:+.0f} MB"
    )


def test_a_result_of_12_megapixels_is_zoomed_without_being_held(serve: Callable[..., Server]) -> None:
    server = serve().ready()
    buffer = io.BytesIO()
    import numpy as np
    import pyvips

    noise = np.random.default_rng(0).integers(0, 65536, (3000, 4000, 3), dtype=np.uint16)
    picture = pyvips.Image.new_from_memory(noise.tobytes(), 4000, 3000, 3, "ushort")
    buffer.write(picture.copy(interpretation="rgb16").pngsave_buffer(compression=1))
    job = server.over(server.job(buffer.getvalue(), scale="1"), 600)
    assert job["state"] == "done", job["error"]
    levels = job["views"]["result"]["levels"]
    before, most, took = resident(server), 0, []
    for level in range(levels):
        scale = 2 ** (levels - 1 - level)
        for y in range(-(-3000 // (512 * scale))):
            for x in range(-(-4000 // (512 * scale))):
                for layer in ("result", "bicubic"):
                    began = time.perf_counter()
                    answer = server.client.get(f"/api/v1/jobs/{job['id']}/tiles/{layer}/{level}/{x}/{y}")
                    took.append(time.perf_counter() - began)
                    assert answer.status_code == 200, answer.text
        most = max(most, resident(server))
    print(
        f"\nresult of {job['result']['bytes'] / 1e6:.0f} MB: {len(took)} tiles, "
        f"{1000 * statistics.median(took):.0f} ms median; memory {(most - before) / 1e6:+.0f} MB"
    )
    assert job["result"]["bytes"] >= 48e6
    assert most - before < 20e6


def test_a_full_disk(serve: Callable[..., Server], tmp_path: Path) -> None:
    """On a file system of 96 MB, where one can be made."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=96m tmpfs {place} 2>/dev/null"):
        pytest.skip("needs to mount a small file system, which this machine does not allow")
    try:
        server = serve(data=place / "service").ready()
        job = server.over(server.job(png()))
        assert job["state"] == "done"
        (place / "filler").write_bytes(bytes(40_000_000))
        answer = server.post(png(), "b.png")
        assert (answer.status_code, answer.json()["title"]) == (507, "The disk is full")
        assert server.get(job)["state"] == "done"
        (place / "filler").unlink()
        assert server.over(server.job(png(), "b.png"))["state"] == "done"
        assert json.loads(server.client.get("/healthz").text) == {"status": "ok"}
        server.stop()
    finally:
        os.system(f"umount {place}")
