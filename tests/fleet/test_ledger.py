"""The ledger: every picture has one row at most, whatever dies."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from camixersr.errors import OutputError
from camixersr.fleet import ledger as module
from camixersr.fleet.ledger import Asked, Ledger
from camixersr.fleet.places import Folder, Place
from camixersr.fleet.rows import Row, Task, rows_in

DONE = Row(key="a", size=5, version="v", options="o", status="done", megapixels=2.0)


def task(key: str) -> Task:
    return Task(key, 5, "v", f"{key}_x4", False)


@pytest.fixture
def made(tmp_path: Path):
    ledgers: list[Ledger] = []

    def make(retries: int = 2) -> Ledger:
        ledgers.append(Ledger(Place(str(tmp_path), tmp_path), "run", "o", retries))
        return ledgers[-1]

    yield make
    for each in ledgers:
        each.close()


def test_a_picture_that_kills_its_workers_ends_as_a_row(made, tmp_path: Path) -> None:
    ledger = made(retries=2)
    assert [ledger.begin(task("a")) for _ in range(3)] == [
        Asked(True, 1, False), Asked(True, 2, False), Asked(True, 3, True),
    ]  # fmt: skip
    assert not ledger.begin(task("a")).go
    assert not ledger.begin(task("a")).go
    ledger.close()
    (row,) = rows_in(Folder(tmp_path))
    assert (row.status, row.attempt, row.run) == ("failed", 3, "run")
    assert "3 times" in row.error
    assert ledger.state().failed == 1


def test_a_picture_that_is_done_is_not_begun_again(made, tmp_path: Path) -> None:
    ledger = made()
    assert ledger.begin(task("a")).go
    ledger.end(DONE)
    assert not ledger.begin(task("a")).go, "its worker died before it told Ray"
    ledger.end(replace(DONE, seconds=9.0))
    ledger.close()
    assert len(list(rows_in(Folder(tmp_path)))) == 1
    state = ledger.state()
    assert (state.done, state.failed, state.running, state.input_bytes) == (1, 0, 0, 5)


def test_rows_are_flushed_often_and_in_parts(made, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "FLUSH", 0.02)
    monkeypatch.setattr(module, "PART_ROWS", 4)
    ledger = made()
    for number in range(11):
        ledger.end(replace(DONE, key=f"k{number}"))
        if number % 3 == 0:
            ledger.flush()
    until = time.monotonic() + 10
    while len(list(rows_in(Folder(tmp_path)))) < 11:
        assert time.monotonic() < until
        time.sleep(0.02)
    ledger.close()
    found = [row.key for row in rows_in(Folder(tmp_path))]
    assert sorted(found) == sorted(f"k{number}" for number in range(11))
    assert len(list((tmp_path / "camixersr-fleet" / "rows").iterdir())) >= 2


def test_a_ledger_whose_machine_died_goes_on(made, tmp_path: Path) -> None:
    first = made()
    first.end(DONE)
    first.end(replace(DONE, key="b", status="failed", megapixels=0.0))
    first.close()
    second = made()
    assert not second.begin(task("a")).go
    assert second.state().done == 1
    assert [row.key for row in second.failures()] == ["b"]
    second.end(replace(DONE, key="c"))
    second.close()
    assert sorted(row.key for row in rows_in(Folder(tmp_path))) == ["a", "b", "c"]


def test_when_it_is_stopped_nothing_begins_and_what_runs_may_end(made) -> None:
    ledger = made()
    assert ledger.begin(task("a")).go
    ledger.stop()
    assert not ledger.begin(task("b")).go
    assert ledger.state().running == 1
    ledger.end(DONE)
    assert (ledger.state().running, ledger.state().done) == (0, 1)


def test_when_it_is_stopped_a_failed_attempt_is_the_last(made) -> None:
    ledger = made()
    assert ledger.begin(task("a")).go
    ledger.stop()
    assert not ledger.begin(task("a")).go
    assert ledger.state().running == 0, "nobody waits for it"


def test_a_large_picture_is_set_aside_with_its_attempts(made) -> None:
    ledger = made(retries=0)
    assert ledger.begin(task("a")).go
    ledger.set_aside("a")
    assert ledger.state().large == ("a",)
    assert ledger.begin(task("a")).go, "the first attempt of all workers together"


def test_rows_that_cannot_be_written_are_told_and_written_later(made, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "FLUSH", 0.02)
    failing = threading.Event()
    failing.set()
    write = module.write_part

    def fail(*given) -> None:
        if failing.is_set():
            raise OutputError("the disk is full")
        write(*given)

    monkeypatch.setattr(module, "write_part", fail)
    ledger = made()
    ledger.end(DONE)
    time.sleep(0.2)
    with pytest.raises(OutputError, match="full"):
        ledger.state()
    failing.clear()
    time.sleep(0.2)
    assert ledger.state().done == 1
    assert [row.key for row in rows_in(Folder(tmp_path))] == ["a"]


def test_rows_are_later_than_those_before_whatever_the_clock_says(tmp_path: Path) -> None:
    ahead = time.time() + 1000
    ledger = Ledger(Place(str(tmp_path), tmp_path), "run", "o", 0, after=ahead)
    ledger.end(DONE)
    ledger.end(replace(DONE, key="b"))
    ledger.close()
    first, second = (row.time for row in rows_in(Folder(tmp_path)))
    assert ahead < first < second < ahead + 1


def test_a_name_that_was_not_foreseen_goes_to_one_picture(made) -> None:
    ledger = made()
    assert ledger.claim("a.webp", "a_x4.png")
    assert ledger.claim("a.webp", "a_x4.png"), "again, at another attempt"
    assert not ledger.claim("a.tif", "a_x4.png")
    ledger.end(replace(DONE, key="b.png", result="b_x4.png"))
    assert not ledger.claim("b.tif", "b_x4.png")
