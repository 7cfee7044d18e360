"""A fleet is killed, in every way there is, and goes on: nothing missing, nothing twice."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import noise_picture

pytest.importorskip("ray")

PICTURES, BAD = 300, 5


def waited(process, results: Path, rows, count: int) -> list[dict]:
    """Rows, once there are so many."""
    until = time.monotonic() + 600
    while len(found := rows(results)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def kill_a_worker(found: list[dict]) -> None:
    """The one that has the latest row, and is at another by now."""
    for row in reversed(found):
        try:
            os.kill(int(row["worker"].rsplit(":", 1)[1]), signal.SIGKILL)
        except (ProcessLookupError, IndexError):
            continue
        return
    raise AssertionError("no worker is left to kill")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_workers_and_two_drivers_killed(tmp_path: Path, fleet, pictures, rows) -> None:
    source, results, alone = tmp_path / "photos", tmp_path / "results", tmp_path / "alone"
    bad = pictures(source, PICTURES, (32, 24), corrupt=BAD)
    command = ("fleet", "upscale", source, results, "--workers", "2")

    first = fleet.begin(*command)
    kill_a_worker(waited(first, results, rows, 30))
    kill_a_worker(waited(first, results, rows, 70))
    waited(first, results, rows, 110)
    first.kill()
    first.communicate()
    second = fleet.begin(*command)
    kill_a_worker(waited(second, results, rows, 150))
    waited(second, results, rows, 200)
    second.kill()
    second.communicate()
    assert len({row["key"] for row in rows(results) if row["status"] == "done"}) < PICTURES - BAD

    code, out, err = fleet.run(*command)
    assert code == 3, (out, err)
    assert not any("ray" in line.lower() for line in err.splitlines()), err
    found = rows(results)
    times = Counter(row["key"] for row in found if row["status"] == "done")
    assert len(times) == PICTURES - BAD
    assert set(times.values()) == {1}
    assert {row["key"] for row in found if row["status"] == "failed"} == set(bad)
    assert all("\n" not in row["error"] and row["error"] for row in found if row["status"] == "failed")

    assert fleet.run("upscale", source, "-o", alone)[0] == 3
    expected = {path.relative_to(alone): path for path in alone.rglob("*") if path.is_file()}
    expected.pop(Path("camixersr.jsonl"))
    there = {path.relative_to(results): path for path in results.rglob("*") if path.is_file()}
    own = {path for path in there if path.parts[0] == "camixersr-fleet"}
    assert there.keys() - own == expected.keys()
    assert len(expected) == PICTURES - BAD
    assert all(there[name].read_bytes() == path.read_bytes() for name, path in expected.items())
    kinds = {path.parts[1] for path in own}
    assert kinds == {".held", ".rows", "rows", "runs"}, "no file under way is left"

    code, out, err = fleet.run(*command)
    assert code == 3
    assert f"{PICTURES - BAD} there already" in out
    assert len([row for row in rows(results) if row["status"] == "done"]) == PICTURES - BAD


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ctrl_c_lets_pictures_under_way_end(tmp_path: Path, fleet, pictures, rows) -> None:
    source, results = tmp_path / "photos", tmp_path / "results"
    pictures(source, 60, (32, 24), corrupt=0)
    command = ("fleet", "upscale", source, results, "--workers", "2")
    first = fleet.begin(*command, group=True)
    waited(first, results, rows, 5)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: Ray's processes hear it, too
    out, err = first.communicate(timeout=600)
    assert first.returncode == 130, (out, err)
    assert " left" in out
    assert "to go on:" in err
    done = {row["key"] for row in rows(results)}
    assert all(row["status"] == "done" for row in rows(results))
    files = [path for path in results.rglob("*_x4*") if path.is_file()]
    assert len(files) == len(done) < 60
    code, out, _ = fleet.run(*command)
    assert code == 0
    assert f"{60 - len(done)} done" in out
    assert len(rows(results)) == 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_driver_killed_amid_a_shared_picture(tmp_path: Path, fleet, rows) -> None:
    source, results, alone = tmp_path / "photos", tmp_path / "results", tmp_path / "alone"
    source.mkdir()
    image = Image.fromarray(noise_picture(12, 20)).resize((640, 384), Image.Resampling.BICUBIC)
    image.save(source / "large.png")
    how = ("--tile", "64", "--memory", "8GB", "--scale", "2")
    command = ("fleet", "upscale", source, results, "--workers", "2", "--shard-above", "0.1", *how)
    own = results / "camixersr-fleet"

    first = fleet.begin(*command)
    until = time.monotonic() + 600
    while sum(len(each.read_bytes().splitlines()) for each in own.glob("scratch/large-*/.*/journal")) < 4:
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    first.kill()
    first.communicate()
    assert not rows(results)
    assert list(own.glob("shards/*/*")), "raw pixels wait for workers"

    code, out, err = fleet.run(*command)
    assert code == 0, (out, err)
    assert "tiles are there already" in err
    assert "1 done" in out
    assert fleet.run("upscale", source, "-o", alone, *how)[0] == 0
    assert (results / "large_x2.png").read_bytes() == (alone / "large_x2.png").read_bytes()
    assert sorted(path.name for path in results.iterdir()) == ["camixersr-fleet", "large_x2.png"]
    assert {path.name for path in own.iterdir()} == {".held", ".rows", "rows", "runs"}
    assert [row["status"] for row in rows(results)] == ["done"]
