"""What tests of the fleet share: folders of small pictures, the command, an S3 on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

CORRUPT = 60
"""Every so many pictures is cut off."""


def make_pictures(folder: Path, count: int, size: tuple[int, int], *, corrupt: int) -> list[str]:
    """Pictures in two folders, PNG and JPEG; some of the PNGs are cut off, and named in the result."""
    rng = np.random.default_rng(0)
    bad: list[str] = []
    for number in range(count):
        place = folder / ("b" if number % 2 else "a")
        place.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (6, 8, 3), np.uint8)
        image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        file = place / f"p{number:03}.{'jpg' if number % 3 == 0 else 'png'}"
        image.save(file, **({"quality": 95} if file.suffix == ".jpg" else {}))
        if number % 3 == 1 and len(bad) < corrupt:
            file.write_bytes(file.read_bytes()[:120])
            bad.append(file.relative_to(folder).as_posix())
    return bad


@pytest.fixture(scope="session")
def pictures() -> Callable[..., list[str]]:
    """See `make_pictures`."""
    return make_pictures


class Fleet:
    """Runs the command as a person does, in a process of its own.

    Attributes:
        more: variables of its environment.
    """

    def __init__(self) -> None:
        self.more: dict[str, str] = {}
        self.begun: list[subprocess.Popen[str]] = []

    def begin(self, *arguments: str | Path, group: bool = False) -> subprocess.Popen[str]:
        """Start it, in a group of processes of its own or not."""
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "CAMIXERSR_CONFIG": "off",
        } | self.more  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "camixersr", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
            start_new_session=group,
        )
        self.begun.append(process)
        return process

    def run(self, *arguments: str | Path, timeout: float = 1200) -> tuple[int, str, str]:
        """Run it to its end: exit code, stdout, stderr."""
        process = self.begin(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return process.returncode, out, err


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """See `Fleet`; what still runs afterwards is ended."""
    made = Fleet()
    yield made
    for process in made.begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


def read_rows(results: Path) -> list[dict[str, Any]]:
    """All rows in a folder of results."""
    parts = sorted((results / "camixersr-fleet" / "rows").glob("[!.]*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


@pytest.fixture(scope="session")
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    """See `read_rows`."""
    return read_rows


class Bucket:
    """A bucket of moto's.

    Attributes:
        url: its address.
        environment: that reaches it.
        multipart: how often an upload in parts was completed.
    """

    def __init__(self, port: int) -> None:
        self.url = "s3://fleet"
        self.multipart = 0
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "an-access-key-of-the-test",
            "AWS_SECRET_ACCESS_KEY": "hush-hush-of-the-test",
        }

    def count(self, *_: Any, **__: Any) -> None:
        self.multipart += 1


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket on the loopback address, with this process's environment set to it."""
    server_module = pytest.importorskip("moto.server")
    models = pytest.importorskip("moto.s3.models")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        made = Bucket(server._server.socket.getsockname()[1])
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        complete = models.FakeMultipart.complete

        def counted(self: Any, *given: Any, **named: Any) -> Any:
            made.count()
            return complete(self, *given, **named)

        monkeypatch.setattr(models.FakeMultipart, "complete", counted)
        import urllib.request

        request = urllib.request.Request(f"{made.environment['AWS_ENDPOINT_URL']}/fleet", method="PUT")
        urllib.request.urlopen(request).close()
        yield made
    finally:
        server.stop()
