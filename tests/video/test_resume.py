"""However often a run is killed, the film is the one of an unbroken run; and so with several processes."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import run
from tests.video.conftest import frames_in, make_film, packets_of, scenes, times_of

# the embedded model: processes that compute it load no torch
FAST = ("--codec", "h264", "--preset", "ultrafast")


def command(source: Path, target: Path, *options: str) -> list[str]:
    options = options if "--codec" in options else (*FAST, *options)
    whole = ["video", source, "-o", target, "--segment", "0.08", *options]
    return [sys.executable, "-m", "camixersr", *map(str, whole)]


def stopped(arguments: list[str], folder: Path, number: int, done: int) -> tuple[int, str]:
    """Run a command, send a signal once so many segments are done; its exit code and what it said."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while process.poll() is None and len(list(folder.glob("0*.json"))) < done:
        assert time.monotonic() < until
        time.sleep(0.001)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    return process.returncode, said


def same(one: Path, other: Path) -> None:
    """The same packets, and so the same frames; at the same times."""
    assert times_of(one) == times_of(other)
    assert packets_of(one) == packets_of(other)
    for a, b in zip(frames_in(one), frames_in(other), strict=True):
        for plane, again in zip(a.planes, b.planes, strict=True):
            assert bytes(plane) == bytes(again)


def killed_and_resumed(tmp_path: Path, film: Path, moments: int, *options: str) -> None:
    whole, target = tmp_path / "whole.mkv", tmp_path / "large.mkv"
    assert run(*command(film, whole, *options)[3:]) == 0
    parts = tmp_path / "large.mkv.parts"
    arguments = command(film, target, *options, "--resume")
    rng = np.random.default_rng(0)
    for moment in range(moments):
        stopped(arguments, parts, signal.SIGKILL, moment + 1)
        time.sleep(0.01 * rng.random())
        assert not target.exists()
    assert run(*arguments[3:]) == 0
    same(whole, target)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["large.mkv", "whole.mkv"]


def test_a_run_that_is_killed_goes_on_to_the_same_film(tmp_path: Path, film: Path) -> None:
    killed_and_resumed(tmp_path, film, 2)


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_goes_on_to_the_same_film(tmp_path: Path, film: Path) -> None:
    killed_and_resumed(tmp_path, film, 10, "--codec", "h265")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_run_that_is_stopped_says_how_to_go_on(
    tmp_path: Path, film: Path, number: signal.Signals, code: int
) -> None:
    target, parts = tmp_path / "large.mkv", tmp_path / "large.mkv.parts"
    returned, said = stopped(command(film, target), parts, number, 2)
    assert returned == code, said
    assert not target.exists()
    done = {each.name: each.stat().st_mtime_ns for each in parts.glob("0*.mkv")}
    assert len(done) >= 2
    assert not list(parts.glob(".camixersr-*"))
    line = next(each for each in said.splitlines() if "--resume" in each)
    facts = tmp_path / "facts.json"
    ended = subprocess.run(
        [*shlex.split(line), "--json", str(facts)], check=False, stderr=subprocess.PIPE, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(facts.read_text())["resumed"] >= len(done)
    assert times_of(target) == times_of(film)
    assert not parts.exists()


@pytest.mark.slow
def test_several_processes_make_the_same_film(tmp_path: Path, film: Path) -> None:
    one, two = tmp_path / "one.mkv", tmp_path / "two.mkv"
    assert run(*command(film, one)[3:]) == 0
    arguments = command(film, two, "--workers", "2")
    ended = subprocess.run(arguments, check=False, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 0, ended.stderr
    same(one, two)


def test_what_is_there_belongs_to_the_job_that_left_it(tmp_path: Path, film: Path, capsys: Any) -> None:
    target, parts = tmp_path / "large.mkv", tmp_path / "large.mkv.parts"
    stopped(command(film, target), parts, signal.SIGKILL, 2)
    options = command(film, target)[3:]
    assert run(*options) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    for words, *other in (
        ("encoding", "--crf", "30"),
        ("options", "--attention-ratio", "0.1"),
        ("segments", "--end", "0.5"),
    ):
        assert run(*options, "--resume", *other) == 2
        assert words in capsys.readouterr().err
    another = make_film(tmp_path / "another.mkv", list(scenes(20, seed=1)))
    assert run("video", another, *options[2:], "--resume") == 2
    assert "input" in capsys.readouterr().err
    assert len(list(parts.glob("0*.json"))) >= 2
    assert run(*options, "--overwrite") == 0
    assert not parts.exists()
    assert times_of(target) == times_of(film)
