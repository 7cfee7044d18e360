"""Where a huge job keeps what it has so far: a folder beside the target, gone when the job is done.

It holds the low picture and the growing high one as raw files, and a journal: first what the job is
(source, options, model), then one line for each finished tile. A tile's line is written after its
pixels have reached the disk, so that every line that can be read is true.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from camixersr.errors import CancelledError, OutputError, UsageError
from camixersr.image.files import open_regular, shown
from camixersr.image.locks import hold

__all__ = ["NO_LINK", "Spill", "digest", "folder_for"]

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Flag for `os.open`, where there is one: a link by that name is an error."""

FLAGS = os.O_RDWR | os.O_CREAT | NO_LINK | getattr(os, "O_BINARY", 0)
"""To open a journal: Windows would write other line ends without the last."""

OPEN_FILES_STAY = sys.platform == "win32"
"""Whether an open file cannot be removed."""


def folder_for(target: Path, spill: Path | None) -> Path:
    """The folder of a job: hidden, beside the target, or in the given folder."""
    name = f".{target.name}.camixersr"
    if len(os.fsencode(name)) > 200:  # file systems allow 255 bytes
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}.camixersr"
    if spill is None:
        return target.parent / name
    place = hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:8]
    return spill / f"{name}-{place}"


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_private(folder: Path) -> None:
    """Make a folder for this user alone, or take such a one that is there."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        there = folder.lstat()
        if not stat.S_ISDIR(there.st_mode):
            raise OutputError(
                f"{shown(folder)}: expected a folder of camixersr's own, found a link or a file; remove it"
            ) from None
        if hasattr(os, "geteuid") and there.st_uid != os.geteuid():
            raise OutputError(
                f"{shown(folder)}: belongs to another user; remove it, or use --spill"
            ) from None
        folder.chmod(0o700)


class Spill:
    """The folder of one job, locked for this process; close it, or use `with`.

    Args:
        folder: from `folder_for`.
        job: what makes the result what it is: plain JSON values.
        resume: go on with what is there, if there is something; else it is discarded.
        keep: leave it behind if the user stops the job. A job that resumes leaves it after any end.

    The folder is for its owner alone, and no link is followed in it: its name can be guessed, and in a
    folder that others write to somebody might have put one there that leads to a file of the user's.

    Raises:
        UsageError: what is there belongs to another job.
        OutputError: the folder cannot be used, is somebody else's, or another process is using it.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], resume: bool, *, keep: bool = False) -> None:
        self.folder = folder
        self.resume, self.keep = resume, keep
        self.done: list[dict[str, Any]] = []
        """The lines of finished tiles."""
        self.settled: dict[str, Any] = {}
        """What the first run settled, see `settle`; empty before."""
        try:
            _make_private(folder)
            journal = folder / "journal"
            self._journal = os.open(journal, FLAGS, 0o600)
        except OSError as error:
            raise OutputError(f"{shown(folder)}: cannot be made: {error.strerror or error}") from error
        try:
            self._lock()
            lines = _whole_lines(journal.read_bytes()) if resume else []
            if lines:
                _compare(folder, lines[0].get("job"), dict(job))
                self.settled = lines[0].get("settled", {})
                self.done = lines[1:]
            self._job = dict(job)
            kept = b"".join(_line(line) for line in lines)
            os.ftruncate(self._journal, len(kept))  # half a line from a kill
            os.lseek(self._journal, 0, os.SEEK_END)
        except BaseException:
            os.close(self._journal)
            raise

    def _lock(self) -> None:
        try:
            hold(self._journal)
        except OSError as error:
            raise OutputError(
                f"{shown(self.folder)}: another process is working on this picture; wait for it to end"
            ) from error

    def settle(self, settled: Mapping[str, Any]) -> None:
        """Begin the journal with what this run decided: a resumed one must decide the same."""
        self.settled = dict(settled)
        self._append({"job": self._job, "settled": self.settled})

    def record(self, tile: Mapping[str, Any]) -> None:
        """Add a line, after its pixels have been synced."""
        self._append(tile)

    def _append(self, value: Mapping[str, Any]) -> None:
        try:
            line = _line(value)
            while line:
                line = line[os.write(self._journal, line) :]
            os.fsync(self._journal)
        except OSError as error:
            raise OutputError(
                f"{shown(self.folder)}: cannot write there: {error.strerror or error}"
            ) from error

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Remove the folder, unless the job failed and may be resumed."""
        stopped = isinstance(kind, type) and issubclass(kind, KeyboardInterrupt | CancelledError)
        if OPEN_FILES_STAY:
            os.close(self._journal)
        if kind is None or not (self.resume or (self.keep and stopped)):
            with contextlib.suppress(OSError):
                shutil.rmtree(self.folder)
        if not OPEN_FILES_STAY:  # held to the last, so that nobody begins in a folder that goes
            os.close(self._journal)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _whole_lines(content: bytes) -> list[dict[str, Any]]:
    """The lines up to the first that is not whole."""
    lines: list[dict[str, Any]] = []
    for line in content.splitlines(keepends=True):
        try:
            value = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(value, dict):
            break
        lines.append(value)
    return lines


def _compare(folder: Path, before: Any, now: dict[str, Any]) -> None:
    """Refuse to go on with another job."""
    if before == now:
        return
    names: Iterable[str] = now
    other = [name for name in names if not isinstance(before, dict) or before.get(name) != now[name]]
    what = ", ".join(other).replace("_", " ") or "form"
    raise UsageError(
        f"{shown(folder)}: belongs to a job with another {what}; repeat that command, or "
        "start anew without --resume"
    )
