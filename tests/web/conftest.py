"""A service of its own process, as people run it, and pictures to send."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import noise_picture


class Server:
    """`camixersr serve` in a process of its own.

    Args:
        data: its folder.
        options: more of its options.
    """

    def __init__(self, data: Path, *options: object) -> None:
        self.data, self.options = data, [str(each) for each in options]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "camixersr", "serve", "--port", "0", "--data", str(self.data)]
        self.process = subprocess.Popen(
            [*command, "--device", "cpu", *self.options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"open (http://\S+)/ ", line)
        assert found, line + self.process.stderr.read()
        self.address = found[1]
        self.client = httpx.Client(base_url=self.address, timeout=120)

    def ready(self) -> "Server":
        for _ in range(600):
            try:
                if self.client.get("/readyz").status_code == 200:
                    return self
            except httpx.TransportError:
                assert self.process.poll() is None
            time.sleep(0.1)
        raise AssertionError("the service does not get ready")

    def kill(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def stop(self) -> str:
        """End it as Ctrl-C does; what it said."""
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=30)[1]

    def post(self, content: bytes, name: str = "a.png", /, **fields: Any) -> httpx.Response:
        return self.client.post("/api/v1/jobs", files={"file": (name, content)}, data=fields)

    def job(self, content: bytes, name: str = "a.png", /, **fields: Any) -> dict[str, Any]:
        answer = self.post(content, name, **fields)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def get(self, job: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/jobs/{job['id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def over(self, job: dict[str, Any], seconds: float = 120) -> dict[str, Any]:
        """The job when it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            now = self.get(job)
            if now["state"] in ("done", "failed", "cancelled"):
                return now
            time.sleep(0.1)
        raise AssertionError(now)

    def workers(self) -> list[int]:
        """Processes of this one that compute: those that hold the lock."""
        lock = (self.data / "workers.lock").stat().st_ino
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal() and int(folder.name) != self.process.pid:
                try:
                    held = {each.stat().st_ino for each in (folder / "fd").iterdir()}
                except OSError:
                    continue
                if lock in held:
                    found.append(int(folder.name))
        return found


def png(height: int = 64, width: int = 96, *, seed: int = 0) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(noise_picture(height, width, seed=seed)).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests that leave it as it is."""
    made = Server(tmp_path_factory.mktemp("service"))
    yield made.ready()
    made.stop()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Servers for one test."""
    made: list[Server] = []

    def start(*options: object, data: Path | None = None) -> Server:
        made.append(Server(data or tmp_path / "service", *options))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.stop()
