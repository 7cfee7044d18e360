"""The queue: jobs in SQLite, so that neither a reload nor a kill loses one.

Every change of a job's state is one statement that names the state before it, so that no job is done twice.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["AlreadyThereError", "Job", "QueueFullError", "State", "Store"]

State = Literal["queued", "running", "done", "failed", "cancelled"]

TRIES = 2
"""How often a job is begun whose process is ended from outside."""

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    key TEXT,
    action TEXT NOT NULL,
    name TEXT NOT NULL,
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    options TEXT NOT NULL,
    picture TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    tries INTEGER NOT NULL DEFAULT 0,
    cancelling INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    outcome TEXT NOT NULL DEFAULT '{}',
    error TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_state ON jobs (state, seq);
"""


class QueueFullError(Exception):
    """As many jobs wait as may."""


class AlreadyThereError(Exception):
    """A job with this key is there already."""

    def __init__(self, job: "Job") -> None:
        super().__init__(job.id)
        self.job = job


@dataclass(frozen=True, kw_only=True)
class Job:
    """A picture or a film to be enlarged or restored, and what came of it.

    Attributes:
        id: 32 hexadecimal digits, by chance.
        owner: whose it is; empty where no tokens are needed.
        key: of the request, so that it may be repeated.
        action: "upscale", "restore" or "fleet".
        name: of the file, for people; no path is made of it.
        file: name of the upload in the job's folder.
        sha256: of the upload.
        bytes: of the upload.
        options: that differ from the defaults.
        picture: what its head says: kind, width, height, pages; and `film` if it is one, see `films`.
            Of a fleet: `source` and `dest`.
        state: of the job.
        tries: times that it was begun and its process ended.
        cancelling: it is to be cancelled.
        created: seconds since 1970.
        started: likewise; None before.
        finished: likewise.
        outcome: of a job that is done: `facts`, `notes`, `result`, `views`, see `worker`.
        error: one line, of a job that failed.
    """

    id: str
    owner: str
    key: str | None
    action: str
    name: str
    file: str
    sha256: str
    bytes: int
    options: Mapping[str, Any]
    picture: Mapping[str, Any]
    created: float
    state: State = "queued"
    tries: int = 0
    cancelling: bool = False
    started: float | None = None
    finished: float | None = None
    outcome: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None

    @property
    def is_film(self) -> bool:
        """Whether it is a film, and no picture."""
        return "film" in self.picture

    @property
    def is_fleet(self) -> bool:
        """Whether it is a fleet's run, and no file."""
        return self.action == "fleet"

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ("done", "failed", "cancelled")


_JSON = ("options", "picture", "outcome")
_COLUMNS = (
    "id", "owner", "key", "action", "name", "file", "sha256", "bytes", "options", "picture", "created",
    "state", "tries", "cancelling", "started", "finished", "outcome", "error",
)  # fmt: skip


def _job(row: Sequence[Any]) -> Job:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    values |= {name: json.loads(values[name]) for name in _JSON}
    values["cancelling"] = bool(values["cancelling"])
    return Job(**values)


class Store:
    """All jobs of a service; used by any thread.

    Args:
        path: of the database, made if it is missing.
        max_queue: jobs that may wait.
    """

    def __init__(self, path: Path, *, max_queue: int) -> None:
        self._max_queue = max_queue
        self._lock = threading.RLock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        self._base.executescript(_TABLES)

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._base.close()

    def _run(self, statement: str, *values: Any) -> int:
        with self._lock:
            return self._base.execute(statement, values).rowcount

    def _select(self, where: str, *values: Any) -> list[Job]:
        with self._lock:
            rows = self._base.execute(f"SELECT {', '.join(_COLUMNS)} FROM jobs {where}", values).fetchall()
        return [_job(row) for row in rows]

    def add(self, job: Job) -> None:
        """Put a job at the end of the queue.

        Raises:
            QueueFullError: as many wait as may.
            AlreadyThereError: its key has been used.
        """
        with self._lock:
            if job.key is not None and (there := self.of_key(job.owner, job.key)) is not None:
                raise AlreadyThereError(there)
            self.require_room()
            values = [
                json.dumps(getattr(job, each)) if each in _JSON else getattr(job, each) for each in _COLUMNS
            ]
            marks = ", ".join("?" * len(_COLUMNS))
            self._base.execute(f"INSERT INTO jobs ({', '.join(_COLUMNS)}) VALUES ({marks})", values)

    def require_room(self) -> None:
        """Refuse what the queue has no room for.

        Raises:
            QueueFullError: it has none.
        """
        if self.counts()["queued"] >= self._max_queue:
            raise QueueFullError(f"{self._max_queue} jobs wait already")

    def of_key(self, owner: str, key: str) -> Job | None:
        """The job that a request with this key has made."""
        found = self._select("WHERE owner = ? AND key = ?", owner, key)
        return found[0] if found else None

    def get(self, number: str) -> Job | None:
        """A job by its id."""
        found = self._select("WHERE id = ?", number)
        return found[0] if found else None

    def all_of(
        self, owner: str, *, after: str | None = None, limit: int = -1, fleets: bool = False
    ) -> list[Job]:
        """Somebody's jobs, the oldest first.

        Args:
            owner: whose.
            fleets: runs of fleets, else files.
            after: id of a job of theirs; only those that came later.
            limit: how many at most; all below 0.
        """
        return self._select(
            "WHERE owner = ? AND (action = 'fleet') = ? "
            "AND seq > coalesce((SELECT seq FROM jobs WHERE id = ? AND owner = ?), 0) "
            "ORDER BY seq LIMIT ?",
            owner,
            fleets,
            after,
            owner,
            limit,
        )

    def position(self, job: Job) -> int:
        """How many jobs of its kind wait before this one."""
        with self._lock:
            found = self._base.execute(
                "SELECT count(*) FROM jobs "
                "WHERE state = 'queued' AND (action = 'fleet') = ? "
                "AND seq < (SELECT seq FROM jobs WHERE id = ?)",
                (job.is_fleet, job.id),
            ).fetchone()
        return int(found[0])

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._lock:
            found = self._base.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall()
        return dict.fromkeys(("queued", "running", "done", "failed", "cancelled"), 0) | dict(found)

    def claim(self, *, fleets: bool = False) -> Job | None:
        """Take the oldest job that waits; it then runs.

        Args:
            fleets: a run of a fleet, else a file.
        """
        with self._lock:
            found = self._select(
                "WHERE state = 'queued' AND (action = 'fleet') = ? ORDER BY seq LIMIT 1", fleets
            )
            if not found:
                return None
            began = time.time()
            self._run("UPDATE jobs SET state = 'running', started = ? WHERE id = ?", began, found[0].id)
            return self.get(found[0].id)

    def finish(
        self,
        number: str,
        state: State,
        *,
        outcome: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> bool:
        """End a job that runs.

        Returns:
            Whether it ran; else nothing is changed.
        """
        return bool(
            self._run(
                "UPDATE jobs SET state = ?, finished = ?, outcome = ?, error = ?, cancelling = 0 "
                "WHERE id = ? AND state = 'running'",
                state,
                time.time(),
                json.dumps(outcome or {}),
                error,
                number,
            )
        )

    def died(self, number: str, why: str) -> None:
        """The process of a job has ended: it is begun once more, or fails.

        Args:
            number: of the job.
            why: in one line, if it fails.
        """
        with self._lock:
            self._run("UPDATE jobs SET tries = tries + 1 WHERE id = ? AND state = 'running'", number)
            self._run(
                "UPDATE jobs SET state = 'cancelled', finished = ? "
                "WHERE id = ? AND state = 'running' AND cancelling",
                time.time(),
                number,
            )
            self._run(
                "UPDATE jobs SET state = 'queued', started = NULL "
                "WHERE id = ? AND state = 'running' AND tries < ?",
                number,
                TRIES,
            )
            self.finish(number, "failed", error=why)

    def recover(self) -> int:
        """Queue what ran when a service ended; it is not the job's fault.

        Returns:
            How many there were.
        """
        with self._lock:
            self._run(
                "UPDATE jobs SET state = 'cancelled', finished = ?, cancelling = 0 "
                "WHERE state = 'running' AND cancelling",
                time.time(),
            )
            return self._run("UPDATE jobs SET state = 'queued', started = NULL WHERE state = 'running'")

    def cancel(self, number: str) -> None:
        """Cancel a job that waits; one that runs is marked, for its process to be told."""
        with self._lock:
            self._run(
                "UPDATE jobs SET state = 'cancelled', finished = ? WHERE id = ? AND state = 'queued'",
                time.time(),
                number,
            )
            self._run("UPDATE jobs SET cancelling = 1 WHERE id = ? AND state = 'running'", number)

    def remove(self, number: str) -> bool:
        """Forget a job that is over; whether it was."""
        return bool(
            self._run("DELETE FROM jobs WHERE id = ? AND state IN ('done', 'failed', 'cancelled')", number)
        )

    def older(self, moment: float) -> list[Job]:
        """Jobs that were over before a moment."""
        return self._select("WHERE finished < ?", moment)

    def ids(self) -> set[str]:
        """Of all jobs."""
        with self._lock:
            return {row[0] for row in self._base.execute("SELECT id FROM jobs")}
