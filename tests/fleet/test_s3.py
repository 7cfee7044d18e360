"""A fleet from bucket to bucket, by moto on the loopback address: kills, a result in parts, no secrets."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from camixersr.fleet.places import PART, Place
from camixersr.fleet.rows import Row, rows_in

pytest.importorskip("ray")

BAD = 5
FORMAT = ("--format", "tiff", "--compression", "none")


def test_a_bucket_is_read_and_written(bucket, tmp_path: Path) -> None:
    store = Place(f"{bucket.url}/deep/er").open()
    store.write("a b/ü.png", b"0123456789")
    assert [(each.key, each.size) for each in store.entries()] == [("a b/ü.png", 10)]
    assert store.ranges("a b/ü.png", [(0, 3), (8, 10)]) == [b"012", b"89"]
    large = tmp_path / "large"
    large.write_bytes(os.urandom(PART + 1000))
    assert bucket.multipart == 0
    store.deliver(large, "large.tiff")
    assert bucket.multipart == 1
    assert store.read("large.tiff") == large.read_bytes()
    store.remove(["a b/ü.png", "none"])
    assert [each.key for each in Place(bucket.url).open().entries("deep/")] == ["deep/er/large.tiff"]
    with pytest.raises(OSError, match="reading none") as caught:
        store.read("none")
    assert bucket.environment["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def waited(process, made, count: int) -> list[Row]:
    """Rows, once there are so many; the latest last."""
    until = time.monotonic() + 1800
    while len(found := list(rows_in(made))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.2)
    return sorted(found, key=lambda row: row.time)


def kill_a_worker(found: list[Row]) -> None:
    """The one that has the latest row and still runs."""
    for row in reversed(found):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(row.worker.rsplit(":", 1)[1]), signal.SIGKILL)
            return
    raise AssertionError("no worker is left to kill")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("count", "runs"),
    [
        (60, [([10], 40)]),
        (300, [([30, 70], 110), ([150], 200)]),
    ],
)
def test_kills_and_a_result_in_parts(
    bucket, tmp_path: Path, fleet, pictures, count: int, runs: list[tuple[list[int], int]]
) -> None:
    """In each run workers are killed at so many rows, then the driver is."""
    source, alone = tmp_path / "photos", tmp_path / "alone"
    size = (64, 48) if count == 60 else (32, 24)
    bad = pictures(source, count, size, corrupt=BAD)
    pictures(source / "large", 1, (440, 440), corrupt=0)
    photos, results = Place(f"{bucket.url}/pho tos%20"), Place(f"{bucket.url}/results")
    there, made = photos.open(), results.open()
    for path in source.rglob("*.*"):
        there.write(path.relative_to(source).as_posix(), path.read_bytes())
    command = ("fleet", "upscale", photos.url, results.url, "--workers", "2", *FORMAT)

    for workers, driver in runs:
        process = fleet.begin(*command)
        for rows in workers:
            kill_a_worker(waited(process, made, rows))
        waited(process, made, driver)
        process.kill()
        process.communicate()

    code, out, err = fleet.run(*command)
    assert code == 3, (out, err)
    every = list(rows_in(made))
    done = [row for row in every if row.status == "done"]
    assert len({row.key for row in done}) == len(done) == count - BAD + 1
    assert {row.key for row in every if row.status == "failed"} == set(bad)
    assert bucket.multipart >= 1
    assert max(row.result_bytes for row in done) > PART

    assert fleet.run("upscale", source, "-o", alone, *FORMAT)[0] == 3
    for row in done:
        assert made.read(row.result) == (alone / row.result).read_bytes()
    keys = {each.key for each in made.entries()}
    own = {key for key in keys if key.startswith("camixersr-fleet/")}
    assert keys - own == {row.result for row in done}
    assert {key.split("/")[1] for key in own} == {"rows", "runs"}
    for text in (out, err, *(made.read(key).decode() for key in own)):
        assert not any(bucket.environment[name] in text for name in bucket.environment if "KEY" in name)
