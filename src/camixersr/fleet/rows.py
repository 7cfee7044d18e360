"""The record of a fleet: rows in the place of results, one for each picture that is done or failed.

`camixersr-fleet/rows/RUN-NNNNN.jsonl` are parts of a table, JSON lines, each part written whole; of a
result the row with the latest time counts. `camixersr-fleet/runs/RUN.json` says what a run was asked for.
A result without a row, which a killed run may leave, is made again, to the same bytes.
"""

import hashlib
import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from camixersr.fleet.places import Entry, Place, Store
from camixersr.fleet.scratch import private, temporary

__all__ = [
    "HOME", "ROWS", "RUNS", "SHARDS", "Row", "Task",
    "foreign_in", "locks_of", "rows_in", "runs_in", "standing", "todo", "write_part",
]  # fmt: skip

HOME = "camixersr-fleet/"
"""Where a fleet keeps its own among results."""

ROWS, RUNS, SHARDS = f"{HOME}rows/", f"{HOME}runs/", f"{HOME}shards/"

READERS = 16
"""Parts that are read at once."""

Status = Literal["done", "failed"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of a picture.

    Attributes:
        key: of the picture, below the source.
        size: of it, bytes.
        version: of it: its ETag, or time and size of its file.
        options: digest of all options, of the models' weights and of camixersr's version.
        status: whether there is a result.
        error: why not, in one line.
        model: that enlarged it.
        model_sha256: of its weights.
        result: key of the result, below the place of results.
        result_bytes: of the result.
        sha256: of the result.
        low_size: columns and rows of the picture.
        high_size: columns and rows of the result.
        megapixels: of the result.
        seconds: it took, reading and writing included.
        worker: host and process.
        attempt: from 1.
        run: that made it.
        time: when, seconds since 1970.
        notes: what a person wants to know.
    """

    key: str
    size: int
    version: str
    options: str
    status: Status
    error: str = ""
    model: str = ""
    model_sha256: str = ""
    result: str = ""
    result_bytes: int = 0
    sha256: str = ""
    low_size: tuple[int, int] = (0, 0)
    high_size: tuple[int, int] = (0, 0)
    megapixels: float = 0.0
    seconds: float = 0.0
    worker: str = ""
    attempt: int = 1
    run: str = ""
    time: float = 0.0
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """As a line of JSON, in ASCII whatever the key is made of."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str | bytes) -> "Row | None":
        """A row from its line; None if it is none."""
        try:
            value = json.loads(line)
            known = {each.name: value[each.name] for each in fields(cls) if each.name in value}
            for name in ("low_size", "high_size", "notes"):
                known[name] = tuple(known.get(name, ()))
            return cls(**known)
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True)
class Task:
    """A picture to be done.

    Attributes:
        key: of it, below the source.
        size: bytes.
        version: of it.
        result: key of the result, whose suffix may still change where `settled` is false.
        settled: the format was asked for.
        taken: suffixes that results of others have beside the same stem.
    """

    key: str
    size: int
    version: str
    result: str
    settled: bool
    taken: tuple[str, ...] = ()

    def line(self) -> str:
        """As JSON, in ASCII: what passes through Arrow must be UTF-8, and keys need not be."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> "Task":
        """The task of a line."""
        value: dict[str, Any] = json.loads(line)
        value["taken"] = tuple(value["taken"])
        return cls(**value)


def locks_of(results: Place) -> Path:
    """The folder of a place's locks: there, or on this machine if the place is a store, which has none.

    So two runs of one machine do not meet in a store either, nor one and what is left of a killed one.

    Raises:
        OutputError: it cannot be made, or is somebody else's.
    """
    if results.folder is not None:
        return results.folder / HOME
    root = temporary("camixersr-locks")
    private(root)
    return root / hashlib.sha256(results.url.encode()).hexdigest()[:16]


def rows_in(store: Store, below: str = "") -> Iterator[Row]:
    """All rows, of all runs, in no order; of results below a prefix that is empty or ends at a slash."""
    parts = [each.key for each in store.entries(f"{below}{ROWS}") if each.key.endswith(".jsonl")]
    with ThreadPoolExecutor(READERS) as readers:
        for content in readers.map(store.read, parts):
            for line in content.splitlines():
                row = Row.read(line)
                if row is not None:
                    yield row


def standing(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows that count, by key: of every result the latest one that tells of it."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.result and (row.result not in found or row.time >= found[row.result].time):
            found[row.result] = row
    by_key: dict[str, list[Row]] = {}
    for row in found.values():
        by_key.setdefault(row.key, []).append(row)
    return by_key


def write_part(store: Store, run: str, number: int, rows: Sequence[Row]) -> None:
    """Write rows as a part of the table, which replaces an earlier state of the same part."""
    content = "".join(f"{row.line()}\n" for row in rows)
    store.write(f"{ROWS}{run}-{number:05}.jsonl", content.encode("ascii"))


def todo(
    tasks: Iterable[Task], rows: Mapping[str, Sequence[Row]], there: Mapping[str, Entry], options: str
) -> list[Task]:
    """What is missing or has changed.

    Args:
        tasks: all.
        rows: from `standing`.
        there: what lies in the place of results, by key.
        options: the digest that a row must have.
    """

    def is_done(task: Task) -> bool:
        wanted = (task.size, task.version, options)
        for row in rows.get(task.key, ()):
            result = there.get(row.result)
            same = (row.size, row.version, row.options) == wanted
            if same and result is not None and result.size == row.result_bytes:
                return True
        return False

    return [task for task in tasks if not is_done(task)]


def runs_in(store: Store, below: str = "") -> Iterator[tuple[Entry, dict[str, Any]]]:
    """What every run was asked for, and the file that says so; `below` as for `rows_in`."""
    for entry in store.entries(f"{below}{RUNS}"):
        try:
            value: Any = json.loads(store.read(entry.key))
        except ValueError:
            continue
        if isinstance(value, dict):
            yield entry, value


def foreign_in(
    there: Iterable[Entry], ours: Container[str], runs: Iterable[tuple[Entry, Mapping[str, Any]]]
) -> dict[str, str]:
    """What no fleet has made in a place of results: key -> version.

    What lay there before the first run is not ours. Times are compared by the clock of the place itself:
    another machine's may be ahead, or behind. What a run refused to replace stays refused.

    Args:
        there: what lies in the place of results.
        ours: keys of results that have rows.
        runs: from `runs_in`.
    """
    first, refused = math.inf, dict[str, set[str]]()
    for entry, run in runs:
        first = min(first, entry.modified)
        for key, version in dict(run.get("foreign") or {}).items():
            refused.setdefault(key, set()).add(version)
    return {
        each.key: each.version
        for each in there
        if each.key not in ours and (each.modified < first or each.version in refused.get(each.key, ()))
    }
