"""A cluster that runs already: joined on its machine, and from outside by Ray's client."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytest.importorskip("grpc", reason="ray:// needs Ray's client: pip install 'ray[client]'")

ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the loopback address alone
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Head:
    """A cluster of this machine with two processors, and two accelerators by its own account.

    Attributes:
        port: that machines join.
        client: that clients join.
    """

    port: int
    client: int


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def started(head: Head, temporary: Path) -> subprocess.Popen[str] | None:
    """A cluster's process once clients are heard; None if Ray gave up, as it may on a machine at work."""
    options = {
        "port": head.port, "ray-client-server-port": head.client, "node-ip-address": "127.0.0.1",
        "num-cpus": 2, "num-gpus": 2, "include-dashboard": "false", "object-store-memory": 10**8,
        "temp-dir": temporary,
    }  # fmt: skip
    given = [f"--{name}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *given],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < until:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", head.client)) == 0:
                return process
        time.sleep(0.5)
    ended(process)
    return None


def ended(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)  # it ends all that it started
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    for _ in range(3):
        made = Head(free_port(), free_port())
        process = started(made, tmp_path_factory.mktemp("r"))
        if process is not None:
            yield made
            ended(process)
            return
    pytest.fail("Ray could not start a cluster three times")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("address", ["auto", "ray://"])
def test_a_cluster_that_runs_is_joined(
    tmp_path: Path, head: Head, fleet, pictures, rows, address: str
) -> None:
    source, results, alone = tmp_path / "photos", tmp_path / "results", tmp_path / "alone"
    (bad,) = pictures(source, 8, (24, 16), corrupt=1)
    fleet.more = ENVIRONMENT | {"RAY_ADDRESS": f"127.0.0.1:{head.port}"}  # for auto
    if address == "ray://":
        fleet.more, address = ENVIRONMENT, f"ray://127.0.0.1:{head.client}"
    command = ("fleet", "upscale", source, results, "--address", address, "--workers", "2")
    code, out, err = fleet.run(*command, "--gpus-per-worker", "0.5")
    assert code == 3, (out, err)
    assert out.startswith("8 pictures: 7 done, 1 failed"), out
    assert f"{bad}: " in err
    assert "ray" not in err.lower(), err
    assert fleet.run("upscale", source, "-o", alone)[0] == 3
    for row in rows(results):
        if row["status"] == "done":
            assert (results / row["result"]).read_bytes() == (alone / row["result"]).read_bytes()

    code, out, err = fleet.run(
        *command[:4], "--address", address, "--workers", "3", "--gpus-per-worker", "1"
    )
    assert code == 2, (out, err)
    assert "expected room for 3 workers of 1 processors and 1 accelerators, got 2 and 2" in err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_cluster_there_is_said_in_a_line(tmp_path: Path, fleet, pictures) -> None:
    pictures(tmp_path / "photos", 1, (8, 8), corrupt=0)
    fleet.more = ENVIRONMENT | {"RAY_ADDRESS": f"127.0.0.1:{free_port()}"}
    command = ("fleet", "upscale", tmp_path / "photos", tmp_path / "results", "--address")
    for address in ("auto", f"ray://127.0.0.1:{free_port()}"):
        code, _, err = fleet.run(*command, address)
        assert code == 2
        lines = err.splitlines()
        assert len(lines) == 1, err
        assert "cannot be used" in lines[0]
