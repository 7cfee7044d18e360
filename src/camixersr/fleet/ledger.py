"""Who does what: one ledger a run counts attempts, writes the rows, and tells how far the run is.

It is the only writer of rows. A row is noted before its worker tells Ray that the picture is done: when a
worker dies, Ray gives its pictures to another, who asks here first and is told what is done already. A
picture that takes its worker down again and again ends as a row of failure.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from camixersr.errors import CamixerError
from camixersr.fleet.places import Place, Store
from camixersr.fleet.rows import ROWS, Row, Task, locks_of, write_part
from camixersr.fleet.scratch import holding

__all__ = ["Asked", "Ledger", "Ledgers", "State"]

PART_ROWS = 1000
"""Rows of a part; until it has so many it is written anew with each flush."""

FLUSH = 1.0
"""Seconds between two flushes: what a killed run loses at most, to be made again to the same bytes."""

RECENT = 60.0
"""Seconds over which speed is told."""


@dataclass(frozen=True)
class Asked:
    """The answer to whoever wants to begin a picture.

    Attributes:
        go: whether to.
        attempt: which it is, from 1.
        last: whether a failure will be final.
    """

    go: bool
    attempt: int = 0
    last: bool = False


@dataclass(frozen=True)
class State:
    """How far a run is.

    Attributes:
        done: pictures with a result.
        failed: pictures without.
        large: pictures that are too large for one worker.
        running: pictures under way.
        input_bytes: of pictures that are done or failed.
        megapixels: of results.
        seconds: since the first picture began.
        speed: megapixels a second of late.
        retried: attempts beyond the first.
        stopping: no more pictures are begun.
    """

    done: int
    failed: int
    large: tuple[str, ...]
    running: int
    input_bytes: int
    megapixels: float
    seconds: float
    speed: float
    retried: int
    stopping: bool


class Ledgers(Protocol):
    """What workers see of a ledger, here or on another machine."""

    def begin(self, task: Task) -> Asked:
        """Ask for leave to begin, or to try again."""
        ...

    def end(self, row: Row) -> None:
        """Tell what came of it."""
        ...

    def set_aside(self, key: str) -> None:
        """Leave a picture to all workers together."""
        ...

    def claim(self, key: str, result: str) -> bool:
        """Whether a picture may have this name for its result: no other has it."""
        ...


class Ledger:
    """See the module; any thread may call it.

    Args:
        results: the place of results.
        run: name of this run.
        options: digest that rows have.
        retries: attempts beyond the first, of each picture.
        store: open; by default it is opened here.
        after: time of the latest row there; new rows are later, whatever the clock of this machine says.
    """

    def __init__(
        self,
        results: Place,
        run: str,
        options: str,
        retries: int,
        store: Store | None = None,
        *,
        after: float = 0.0,
    ) -> None:
        self._store = results.open() if store is None else store
        self._run, self._options, self._retries = run, options, retries
        self._latest = after
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._ended: set[str] = set()
        self._running: set[str] = set()
        self._large: list[str] = []
        self._names: dict[str, str] = {}
        self._failures: list[Row] = []
        self._part: list[Row] = []
        self._number, self._dirty, self._stopping = 0, False, False
        self._done = self._bytes = self._retried = 0
        self._megapixels, self._began = 0.0, 0.0
        self._recent: list[tuple[float, float]] = []
        self._trouble: Exception | None = None
        self._writing = threading.Lock()
        self._held: int | None = holding(locks_of(results) / ".rows", str(results))
        self._again()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._flush_often, name="rows", daemon=True)
        self._thread.start()

    def _again(self) -> None:
        """Go on with the parts that this very ledger wrote before its machine died."""
        for entry in self._store.entries(ROWS):
            if entry.key.startswith(f"{ROWS}{self._run}-"):
                self._number += 1
                for line in self._store.read(entry.key).splitlines():
                    if (row := Row.read(line)) is not None:
                        self._count(row)

    def _now(self) -> float:
        """A time for a row: later than those of all rows before."""
        self._latest = max(time.time(), self._latest + 1e-3)
        return self._latest

    def _count(self, row: Row) -> None:
        self._latest = max(self._latest, row.time)
        self._ended.add(row.key)
        self._running.discard(row.key)
        self._bytes += row.size
        self._megapixels += row.megapixels
        self._done += row.status == "done"
        if row.status == "done":
            self._names[row.result] = row.key
        if row.status == "failed":
            self._failures.append(row)
        self._recent.append((time.monotonic(), row.megapixels))

    def begin(self, task: Task) -> Asked:
        """See `Ledgers.begin`."""
        with self._lock:
            if task.key in self._ended or self._stopping:
                self._running.discard(task.key)  # a further attempt is not made
                return Asked(False)
            attempt = self._attempts[task.key] = self._attempts.get(task.key, 0) + 1
            self._began = self._began or time.monotonic()
            self._retried += attempt > 1
            if attempt > self._retries + 1:
                row = Row(
                    key=task.key,
                    size=task.size,
                    version=task.version,
                    options=self._options,
                    status="failed",
                    error=f"its worker ended without a word, {attempt - 1} times: out of memory, as a rule",
                    worker=socket.gethostname(),
                    attempt=attempt - 1,
                    run=self._run,
                    time=self._now(),
                )
                self._add(row)
                return Asked(False)
            self._running.add(task.key)
            return Asked(True, attempt, attempt > self._retries)

    def end(self, row: Row) -> None:
        """See `Ledgers.end`."""
        with self._lock:
            if row.key not in self._ended:
                self._add(replace(row, run=self._run, time=self._now()))

    def _add(self, row: Row) -> None:
        self._count(row)
        self._part.append(row)
        self._dirty = True

    def set_aside(self, key: str) -> None:
        """See `Ledgers.set_aside`."""
        with self._lock:
            self._running.discard(key)
            self._attempts.pop(key, None)
            if key not in self._large:
                self._large.append(key)

    def claim(self, key: str, result: str) -> bool:
        """See `Ledgers.claim`."""
        with self._lock:
            return self._names.setdefault(result, key) == key

    def release(self, key: str) -> None:
        """A picture under way was given up, and has no row: it was stopped."""
        with self._lock:
            self._running.discard(key)

    def stop(self) -> None:
        """Let nobody begin any more."""
        with self._lock:
            self._stopping = True

    def state(self) -> State:
        """How far the run is.

        Raises:
            CamixerError: rows cannot be written.
        """
        with self._lock:
            if self._trouble is not None:
                raise self._trouble
            now = time.monotonic()
            self._recent = [each for each in self._recent if each[0] > now - RECENT]
            seconds = now - self._began if self._began else 0.0
            over = min(max(seconds, 1e-3), RECENT)
            return State(
                self._done,
                len(self._failures),
                tuple(self._large),
                len(self._running),
                self._bytes,
                self._megapixels,
                seconds,
                sum(pixels for _, pixels in self._recent) / over,
                self._retried,
                self._stopping,
            )

    def failures(self) -> Sequence[Row]:
        """The rows of failure of this run."""
        with self._lock:
            return tuple(self._failures)

    def flush(self) -> None:
        """Write what has no part yet."""
        with self._writing:
            with self._lock:
                if not self._dirty:
                    return
                part, number = list(self._part), self._number
                self._dirty = False
                if len(part) >= PART_ROWS:
                    self._part, self._number = [], number + 1
            try:
                write_part(self._store, self._run, number, part)
            except BaseException:
                with self._lock:  # to be written with the next
                    self._dirty = True
                    if self._number != number:
                        self._part, self._number = part + self._part, number
                raise

    def _flush_often(self) -> None:
        while not self._over.wait(FLUSH):
            try:
                self.flush()
                self._trouble = None
            except (CamixerError, OSError) as error:
                self._trouble = error

    def close(self) -> None:
        """Flush, and be done."""
        self._over.set()
        with contextlib.suppress(RuntimeError):
            self._thread.join()
        try:
            self.flush()
        finally:
            if self._held is not None:
                os.close(self._held)
                self._held = None
