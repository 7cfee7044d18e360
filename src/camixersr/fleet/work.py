"""What a worker does with one key: read, enlarge as `camixersr upscale` does, write, tell.

No Ray here. The step from file to file is `camixersr.runs.picture.Pictures`, with its bytes and its rules.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from camixersr.backends.devices import set_threads
from camixersr.enlarge.options import Options
from camixersr.errors import DeviceError, DownloadError, OutputError
from camixersr.fleet.ledger import Asked, Ledgers
from camixersr.fleet.places import Place, Store
from camixersr.fleet.rows import HOME, Row, Task
from camixersr.fleet.scratch import Scratch, private, temporary
from camixersr.fleet.secrets import one_line
from camixersr.image.files import make_folder
from camixersr.runs.find import Found
from camixersr.runs.models import Models
from camixersr.runs.picture import Pictures
from camixersr.runs.results import Listener, Result
from camixersr.runs.targets import Job
from camixersr.runs.work import Settings

__all__ = ["Orders", "Worker", "delivered", "digest_of", "enlarged", "make_scratch_root", "scratch_root"]


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What all workers of a run are told.

    Attributes:
        source: the place of pictures.
        results: the place of results.
        options: how to enlarge.
        digest: of these, of the models and of the version.
        models: digests of models' weights, by name.
        scratch: folder for what is under way; None for one beside the results, or of the system.
        max_pixels: larger pictures are refused.
        shard_above: pixels of a picture that all workers share; None for never.
        threads: that a worker computes with; None for all.
    """

    source: Place
    results: Place
    options: Options
    digest: str
    models: dict[str, str]
    scratch: Path | None
    max_pixels: int
    shard_above: int | None
    threads: int | None


def digest_of(record: dict[str, Any]) -> str:
    """The digest of what decides results; see `Models.record`."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def scratch_root(results: Place, scratch: Path | None) -> Path:
    """Where what is under way lies: on the disk of the results, if they lie on a disk."""
    if scratch is not None:
        return scratch / HOME.rstrip("/")
    if results.folder is not None:
        return results.folder / HOME / "scratch"
    return temporary(HOME.rstrip("/"))


def make_scratch_root(results: Place, scratch: Path | None) -> Path:
    """Make it. In the system's folder, whose names can be guessed, nobody else may look into it.

    Raises:
        OutputError: it cannot be made, or is somebody else's.
    """
    root = scratch_root(results, scratch)
    if scratch is None and results.folder is None:
        private(root)
    else:
        make_folder(root)
    return root


class Worker:
    """Enlarges pictures, one after another, with models that are loaded once.

    Args:
        orders: of the run.
        ledger: asked before a picture begins, and told what came of it.
        source: open; by default it is opened here.
        results: likewise.
    """

    def __init__(
        self, orders: Orders, ledger: Ledgers, source: Store | None = None, results: Store | None = None
    ) -> None:
        self.orders, self._ledger = orders, ledger
        if orders.threads is not None:
            set_threads(orders.threads)
        self._source = orders.source.open() if source is None else source
        self._results = orders.results.open() if results is None else results
        self._models = Models(orders.options, restoring=False, say=lambda line: None)
        if (own := digest_of(self._models.record())) != orders.digest:
            raise DeviceError(
                f"{socket.gethostname()}: expected the version and the models of the machine that started "
                f"this ({orders.digest[:12]}), got others ({own[:12]}); install the same camixersr on all"
            )
        self._scratch = Scratch(make_scratch_root(orders.results, orders.scratch))
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def close(self) -> None:
        """Remove what was under way."""
        self._scratch.close()

    def do(self, task: Task) -> str:
        """Do a picture, as often as it takes.

        Returns:
            "done", "failed", "large" or, if it was not to be begun, "left".
        """
        while (asked := self._ledger.begin(task)).go:
            began = time.perf_counter()
            with self._scratch.room() as room:
                file = self._source.local(task.key) or room / "in" / PurePosixPath(task.key).name
                try:
                    row = self._one(task, asked, file, room, began)
                except Exception as error:  # noqa: BLE001 - one bad picture never stops the rest
                    line = one_line(error).replace(str(file), task.key).replace(str(room), "scratch")
                    if asked.last:
                        self._ledger.end(self._row(task, asked, began, status="failed", error=line))
                        return "failed"
                    continue
            if row is None:
                self._ledger.set_aside(task.key)
                return "large"
            self._ledger.end(row)
            return "done"
        return "left"

    def _row(self, task: Task, asked: Asked, began: float, **facts: Any) -> Row:
        return Row(
            key=task.key,
            size=task.size,
            version=task.version,
            options=self.orders.digest,
            worker=self._name,
            attempt=asked.attempt,
            seconds=round(time.perf_counter() - began, 3),
            **facts,
        )

    def _one(self, task: Task, asked: Asked, file: Path, room: Path, began: float) -> Row | None:
        """Read, enlarge and write a picture; None if it is too large for one worker."""
        if self._source.local(task.key) is None:
            file.parent.mkdir()
            self._source.fetch(task.key, file)
            if (size := file.stat().st_size) != task.size:
                raise DownloadError(f"{task.key}: expected {task.size} bytes, got {size}; run again")
        result = enlarged(
            self._models, task, file, room, max_pixels=self.orders.max_pixels, most=self.orders.shard_above
        )
        if result is None:
            return None
        facts = delivered(self._results, task, result, self.orders.models, self._ledger)
        return self._row(task, asked, began, **facts)


def enlarged(
    models: Models,
    task: Task,
    file: Path,
    room: Path,
    *,
    max_pixels: int,
    most: int | None = None,
    settings: Settings | None = None,
    check: Callable[[], None] = lambda: None,
    emit: Listener = lambda event: None,
) -> Result | None:
    """Enlarge a file into a folder: the very steps of `camixersr upscale`.

    Args:
        models: to choose from, with the options.
        task: its key names the picture, its result the file.
        file: the picture.
        room: a folder; the result goes into `out` there.
        max_pixels: larger pictures are refused.
        most: pixels; a larger picture that is computed from disk to disk is left.
        settings: of the run, if others than usual.
        check: called often; what it raises ends this.
        emit: told what happens.

    Returns:
        The result; None if the picture was left.
    """
    out = room / "out"
    out.mkdir(exist_ok=True)
    job = Job(Found(file, Path(task.key)), out / PurePosixPath(task.result).name, task.settled)
    settings = settings or Settings(
        existing="overwrite", keep_begun=False, folder=None, spill=None, max_pixels=max_pixels
    )
    pictures = Pictures(models, settings, [job], None, emit=emit, check=check)
    work = pictures.decode(job)
    if work.seen is not None and most is not None:
        layout = work.seen.layout
        if layout.height * layout.width > most and models.options.seconds is None:
            return None
    return pictures.encode(job, pictures.compute(job, work))


def delivered(
    store: Store, task: Task, result: Result, models: dict[str, str], ledger: Ledgers
) -> dict[str, Any]:
    """Put a result in its place.

    Args:
        store: of results.
        task: that it comes of.
        result: its target is a local file, which may be gone afterwards.
        models: digests by name.
        ledger: asked whether another picture has taken a name that was not foreseen.

    Returns:
        What its row tells.

    Raises:
        OutputError: another result goes there.
    """
    file = result.target
    planned = PurePosixPath(task.result)
    key = (planned.parent / file.name).as_posix()
    unforeseen = bool(task.taken) and file.suffix != planned.suffix
    if unforeseen and (file.suffix in task.taken or not ledger.claim(task.key, key)):
        raise OutputError(
            f"{key}: another picture's result goes there, or another file was there; rename one"
        )
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    size = file.stat().st_size
    store.deliver(file, key)
    low, high = (tuple(result.facts[name]) for name in ("low_size", "high_size"))
    pages = int(result.facts["pages"])
    return {
        "status": "done",
        "model": result.facts["model"],
        "model_sha256": models.get(str(result.facts["model"]), ""),
        "result": key,
        "result_bytes": size,
        "sha256": sha256,
        "low_size": low,
        "high_size": high,
        "megapixels": round(pages * high[0] * high[1] / 1e6, 6),
        "notes": result.notes,
    }
