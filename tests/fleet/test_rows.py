"""The table of what is done: read back as written, and believed only where it is true."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.errors import OutputError
from camixersr.fleet.places import Entry, Folder, Place
from camixersr.fleet.rows import (
    ROWS,
    Row,
    Task,
    foreign_in,
    locks_of,
    rows_in,
    standing,
    todo,
    write_part,
)
from camixersr.fleet.scratch import holding

ROW = Row(key="a.png", size=3, version="v", options="o", status="done", result="a_x4.png", result_bytes=9)
TASK = Task("a.png", 3, "v", "a_x4.png", False)
THERE = {"a_x4.png": Entry("a_x4.png", 9, "w", 0.0)}


@given(st.text(min_size=1), st.text(), st.lists(st.text(), max_size=2))
def test_rows_and_tasks_are_read_as_they_were_written(key: str, error: str, more: list[str]) -> None:
    row = replace(ROW, key=key, error=error, notes=tuple(more), low_size=(3, 4))
    assert Row.read(row.line()) == row
    assert "\n" not in row.line()
    task = Task(key, 1, "v", key, True, tuple(more))
    assert Task.read(task.line()) == task


def test_names_that_are_no_text_survive() -> None:
    row = replace(ROW, key="a\udcff.png")
    assert row.line().isascii()
    assert Row.read(row.line()) == row


def test_lines_that_a_kill_has_cut_are_passed_over(tmp_path: Path) -> None:
    store = Folder(tmp_path)
    write_part(store, "r", 0, [ROW, replace(ROW, key="b.png")])
    line = ROW.line().encode()
    store.write(
        f"{ROWS}r-00001.jsonl", line[:40] + b'\n{"key": 3}\n[]\nnull\n' + line.replace(b"a.png", b"c.png")
    )
    assert sorted(row.key for row in rows_in(store)) == ["a.png", "b.png", "c.png"]


def test_of_every_result_the_latest_row_counts() -> None:
    old, new = replace(ROW, time=1.0), replace(ROW, time=2.0, options="p")
    other, failed = replace(ROW, time=0.5, result="a_x2.png"), replace(ROW, status="failed", result="")
    rows = [old, new, other, failed]
    for both in (rows, rows[::-1]):
        assert sorted(standing(both)["a.png"], key=lambda row: row.time) == [other, new]
    stolen = replace(ROW, key="a.jpg", time=3.0)
    assert standing([*rows, stolen]) == {"a.png": [other], "a.jpg": [stolen]}


def test_results_of_two_sizes_are_both_done() -> None:
    there = THERE | {"a_x2.png": Entry("a_x2.png", 4, "w", 0.0)}
    rows = standing([ROW, replace(ROW, options="p", result="a_x2.png", result_bytes=4, time=1.0)])
    assert todo([TASK], rows, there, "o") == todo([TASK], rows, there, "p") == []


def test_what_no_fleet_has_made_is_known_by_the_clock_of_the_place() -> None:
    def entry(key: str, modified: float, version: str = "v") -> Entry:
        return Entry(key, 1, version, modified)

    there = [entry("before", 5.0), entry("ours", 5.0), entry("after", 99.0), entry("kept", 99.0, "w")]
    assert foreign_in(there, {"ours"}, []) == {"before": "v", "after": "v", "kept": "w"}, "a first run"
    runs = [(entry("run", 10.0), {"began": 999.0, "foreign": {"kept": "w", "after": "other"}})]
    assert foreign_in(there, {"ours"}, runs) == {"before": "v", "kept": "w"}


def test_what_is_done_is_left_out() -> None:
    assert todo([TASK], standing([ROW]), THERE, "o") == []


@pytest.mark.parametrize(
    ("task", "row", "there", "options"),
    [
        (TASK, None, THERE, "o"),
        (TASK, replace(ROW, status="failed", result=""), THERE, "o"),
        (TASK, ROW, THERE, "other options"),
        (replace(TASK, version="changed"), ROW, THERE, "o"),
        (replace(TASK, size=4), ROW, THERE, "o"),
        (TASK, ROW, {}, "o"),
        (TASK, ROW, {"a_x4.png": Entry("a_x4.png", 8, "w", 0.0)}, "o"),
    ],
)
def test_what_is_missing_or_has_changed_is_done(task, row, there, options) -> None:
    assert todo([task], standing([] if row is None else [row]), there, options) == [task]


def test_two_runs_of_a_machine_do_not_meet_in_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store, other = Place("s3://bucket/results"), Place("s3://bucket/more")
    assert locks_of(store) != locks_of(other)
    assert locks_of(Place("here", tmp_path / "out")).parent == tmp_path / "out"
    held = holding(locks_of(store) / ".held", str(store))
    os.close(holding(locks_of(other) / ".held", str(other)))
    with pytest.raises(OutputError, match="s3://bucket/results: another fleet writes there"):
        holding(locks_of(store) / ".held", str(store), patience=0.1)
    os.close(held)
    os.close(holding(locks_of(store) / ".held", str(store)))
    assert [path.stat().st_mode & 0o077 for path in tmp_path.iterdir()] == [0]
