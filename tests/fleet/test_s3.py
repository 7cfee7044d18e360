"""A fleet from bucket to bucket, by moto on the loopback address: kills, a result in parts, no secrets."""

import os
import signal
import time
from pathlib import Path

import pytest

from camixersr.fleet.places import PART, Place
from camixersr.fleet.rows import rows_in

pytest.importorskip("ray")

PICTURES, BAD = 60, 5
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


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_and_a_result_in_parts(bucket, tmp_path: Path, fleet, pictures) -> None:
    source, alone = tmp_path / "photos", tmp_path / "alone"
    bad = pictures(source, PICTURES, (64, 48), corrupt=BAD)
    pictures(source / "large", 1, (440, 440), corrupt=0)
    photos, results = Place(f"{bucket.url}/photos"), Place(f"{bucket.url}/results")
    there, made = photos.open(), results.open()
    for path in source.rglob("*.*"):
        there.write(path.relative_to(source).as_posix(), path.read_bytes())
    command = ("fleet", "upscale", photos.url, results.url, "--workers", "2", *FORMAT)

    first = fleet.begin(*command)
    until = time.monotonic() + 900
    killed = 0
    while len(found := {row.key: row for row in rows_in(made)}) < 40:
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < until
        if killed < 1 and len(found) > 10:
            newest = max(found.values(), key=lambda row: row.time)
            os.kill(int(newest.worker.rsplit(":", 1)[1]), signal.SIGKILL)
            killed += 1
        time.sleep(0.2)
    first.kill()
    first.communicate()
    assert killed == 1

    code, out, err = fleet.run(*command)
    assert code == 3, (out, err)
    every = list(rows_in(made))
    done = [row for row in every if row.status == "done"]
    assert len({row.key for row in done}) == len(done) == PICTURES - BAD + 1
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
