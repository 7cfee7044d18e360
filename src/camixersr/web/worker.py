"""The process of a device: it takes one job after another and does each as the command line would."""

import contextlib
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from camixersr.image.locks import hold
from camixersr.messages import Failed, Line, Reply
from camixersr.video.forms import FilmOptions
from camixersr.web.child import listen
from camixersr.web.store import State

__all__ = [
    "CancelJob",
    "DoJob",
    "JobAdvanced",
    "JobOver",
    "JobRemarked",
    "Orders",
    "WorkerReady",
    "devices",
    "shared_lock",
    "work",
]

TOLD = 0.2
"""Seconds between two words of progress."""
MOST_KEPT = 6
"""Models that stay loaded."""
LARGEST_MAP = 2048
"""Longest side of the layer that shows where attention went."""


@dataclass(frozen=True)
class DoJob:
    """Do a job.

    Attributes:
        job: its number.
        folder: where its files are.
        file: the picture there.
        action: "upscale" or "restore".
        options: an `Options`, or the `FilmOptions` of a film.
        suffix: of the result of a film.
    """

    job: str
    folder: Path
    file: str
    action: str
    options: Any
    suffix: str = ""


@dataclass(frozen=True)
class CancelJob:
    """Give a job up, now or when its turn comes."""

    job: str


@dataclass(frozen=True)
class WorkerReady:
    """Jobs may come; these models are there."""

    models: list[dict[str, Any]]


@dataclass(frozen=True)
class JobAdvanced:
    """How far a job is.

    Attributes:
        job: its number.
        done: of it.
        total: in all.
        before: of what is done: by a process that was ended.
    """

    job: str
    done: float
    total: float
    before: float = 0.0


@dataclass(frozen=True)
class JobRemarked:
    """A line about a job, for a person."""

    job: str
    text: str


@dataclass(frozen=True)
class JobOver:
    """A job has ended: what came of it, or why it failed."""

    job: str
    state: State
    outcome: dict[str, Any] | None
    error: str | None


def devices(given: str, connection: "Connection[Any, Any]") -> None:
    """Which devices "all" are; run in a process of its own, since torch is loaded for it."""
    from camixersr.backends.devices import devices_of

    try:
        answer = Reply(devices_of(given))
    except Exception as error:  # noqa: BLE001 - the server raises it
        answer = Failed.of(error)
    Line(connection).send(answer)


def shared_lock(path: Path) -> int:
    """Hold a file beside others; it is let go when the process ends, however it ends.

    Returns:
        Its descriptor.
    """
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks
        hold(held, shared=True, wait=True)
    return held


class Orders:
    """What the server asks of a process: jobs in their order, and which of them to stop.

    Attributes:
        line: to answer by.

    Args:
        connection: to the server, which is listened to from now on.
        lock: a file that is held as long as the process lives: another service waits for it.
    """

    def __init__(self, connection: "Connection[Any, Any]", lock: Path) -> None:
        self._held = shared_lock(lock)
        self._jobs: queue.SimpleQueue[DoJob] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self.line = listen(connection, self._hear)

    def _hear(self, message: DoJob | CancelJob) -> None:
        match message:
            case CancelJob(job):
                self._cancelled.add(job)
            case DoJob():
                self._jobs.put(message)

    def next(self) -> DoJob:
        """The next job, once there is one."""
        return self._jobs.get()

    def is_cancelled(self, job: str) -> bool:
        """Whether a job should stop."""
        return job in self._cancelled

    def forget(self, job: str) -> None:
        """Forget a job that is over."""
        self._cancelled.discard(job)

    def close(self) -> None:
        """Let go of the lock's file before the process ends."""
        os.close(self._held)


def work(
    connection: "Connection[Any, Any]",
    device: str,
    backend: Any,
    max_pixels: int,
    max_film: int,
    lock: Path,
) -> None:
    """Do jobs as they come, until the server hangs up.

    It hears `DoJob` and `CancelJob`, and says `WorkerReady`, or `Failed` if it cannot begin; then of each
    job `JobAdvanced` and `JobRemarked`, and at its end `JobOver`.

    Args:
        connection: to the server.
        device: to compute on.
        backend: what computes.
        max_pixels: larger pictures are refused.
        max_film: pixels of all frames of a film's result; more are refused.
        lock: a file that is held as long as the process lives: another service waits for it.
    """
    orders = Orders(connection, lock)
    line = orders.line
    with contextlib.suppress(OSError, AttributeError):  # Windows
        os.nice(5)  # the server answers first
    from camixersr.errors import CamixerError

    try:
        models = _models(device, backend)
    except CamixerError as error:
        line.send(Failed.of(error))
        orders.close()
        return
    line.send(WorkerReady(models))
    kept: dict[Any, Any] = {}
    while True:
        do = orders.next()
        if len(kept) > MOST_KEPT:
            kept.clear()
        job = _Job(line, do.job, do.folder, do.file, partial(orders.is_cancelled, do.job))
        if isinstance(do.options, FilmOptions):
            asked = replace(do.options, options=replace(do.options.options, device=device, backend=backend))
            job.run(lambda asked=asked, do=do, job=job: job.film(asked, do.suffix, max_film))
        else:
            options = replace(do.options, device=device, backend=backend, name=None)
            job.run(
                lambda options=options, do=do, job=job: job.picture(do.action, options, max_pixels, kept)
            )
        orders.forget(do.job)


def _models(device: str, backend: Any) -> list[dict[str, Any]]:
    """The models that are there, by what their names say; the first use loads one."""
    from camixersr.catalogue import OFFICIAL, PANORAMIC, cached_path, embedded
    from camixersr.enlarge.options import Options
    from camixersr.runs.models import Models

    Models(Options(device=device, backend=backend), restoring=False, say=lambda line: None)  # checks both
    there = [(name, "embedded") for name in embedded()]
    there += [(name, OFFICIAL[name].about) for name in OFFICIAL if cached_path(name).is_file()]
    found: list[dict[str, Any]] = []
    for name, about in there:
        factor = next((part[1:] for part in name.split("-") if part[0] == "x" and part[1:].isdecimal()), "")
        found.append(
            {
                "name": name,
                "action": "upscale" if factor else "restore",
                "scale": int(factor or 1),
                "panoramas": PANORAMIC in name,
                "about": about,
            }
        )
    return found


class _Job:
    """One job in its folder."""

    def __init__(
        self, line: Line, number: str, folder: Path, file: str, cancelled: Callable[[], bool]
    ) -> None:
        self._line, self._id, self._folder, self._file = line, number, folder, file
        self._cancelled = cancelled
        self._told = 0.0
        self._telling = threading.Lock()

    def run(self, compute: Callable[[], dict[str, Any]]) -> None:
        """Do it, and say what came."""
        from camixersr.errors import CamixerError, CancelledError

        try:
            outcome = compute()
        except CancelledError:
            self._tidy()
            self._over("cancelled")
        except CamixerError as error:
            self._over("failed", error=self._plain(str(error)))
        except MemoryError:
            self._over("failed", error="out of memory; choose a smaller tile")
        except OSError as error:
            self._over("failed", error=self._plain(str(error.strerror or error)))
        else:
            self._over("done", outcome=outcome)

    def _over(
        self, state: State, *, outcome: dict[str, Any] | None = None, error: str | None = None
    ) -> None:
        self._line.send(JobOver(self._id, state, outcome, error))

    def _plain(self, text: str) -> str:
        """A message without the place where the service keeps its files."""
        for path in (self._folder / self._file, self._folder / "out", self._folder):
            text = text.replace(f"{path}: ", "").replace(f"{path}/", "").replace(str(path), "the picture")
        return " ".join(text.split())

    def _tidy(self) -> None:
        """Remove what an earlier try has left, but for the tiles that it had computed."""
        out = self._folder / "out"
        out.mkdir(exist_ok=True)
        for path in (*out.iterdir(), self._folder / "route-map.png"):
            if path.is_file() or path.is_symlink():
                path.unlink()

    def film(self, asked: FilmOptions, suffix: str, most: int) -> dict[str, Any]:
        """Enlarge a film; the outcome."""
        from camixersr.web.films import enlarge

        return enlarge(
            self._folder,
            self._file,
            asked,
            suffix=suffix,
            most=most,
            hear=self._advanced,
            remark=lambda text: self._line.send(JobRemarked(self._id, self._plain(text))),
            plain=self._plain,
            cancelled=self._cancelled,
        )

    def picture(self, action: str, options: Any, max_pixels: int, kept: dict[Any, Any]) -> dict[str, Any]:
        """Enlarge or restore a picture; the outcome."""
        from camixersr.runs.files import restore_files, upscale_files

        self._tidy()
        run = (restore_files if action == "restore" else upscale_files)(
            self._folder / self._file,
            f"{self._folder / 'out'}/",
            options=options,
            existing="resume",
            route_map=self._folder / "route-map.png",
            max_pixels=max_pixels,
            on_progress=self._hear,
            cancel=self._cancelled,
            kept=kept,
        )
        (result,) = run
        if result.error is not None:
            raise result.cause if isinstance(result.cause, MemoryError) else result.error
        with result.target.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        facts = dict(result.facts) | {"input": self._file, "output": result.target.name}
        notes = [self._plain(note) for note in result.notes]
        outcome: dict[str, Any] = {
            "facts": facts,
            "notes": notes,
            "result": {
                "file": result.target.name,
                "bytes": result.target.stat().st_size,
                "sha256": sha256,
            },
        }
        try:
            outcome["views"] = self._views(result, facts)
        except Exception as error:  # noqa: BLE001 - the result is there; only the page cannot show it
            notes.append(f"cannot be shown in the page: {self._plain(str(error))}")
        return outcome

    def _views(self, result: Any, facts: dict[str, Any]) -> dict[str, Any]:
        """What the page shows: pyramids of the picture and of the result, and the layer of attention."""
        import numpy as np
        from PIL import Image

        from camixersr.image.files import replacing
        from camixersr.routemap import heat
        from camixersr.web.views import make_pyramid

        folder = self._folder
        views: dict[str, Any] = {"result": make_pyramid(result.target, folder / "result.tif")}
        if "part" not in facts:  # a preview has nothing to be laid over
            views["input"] = make_pyramid(folder / self._file, folder / "input.tif")
        if result.routes is not None:
            shares, side = result.routes.shares, result.routes.side
            each = max(1, min(16, LARGEST_MAP // max(shares.shape)))
            colours = heat(shares).round().astype(np.uint8).repeat(each, axis=0).repeat(each, axis=1)
            with replacing(folder / "route-layer.png") as partial:
                Image.fromarray(colours).save(partial)
            views["routes"] = {
                "width": shares.shape[1] * side[1],
                "height": shares.shape[0] * side[0],
                "window": side[1],
            }
        return views

    def _advanced(self, done: float, total: float, before: float = 0.0) -> None:
        with self._telling:
            if time.monotonic() - self._told < TOLD and done < total:
                return
            self._told = time.monotonic()
        self._line.send(JobAdvanced(self._id, float(done), float(total), float(before)))

    def _hear(self, event: Any) -> None:
        from camixersr.runs import results

        match event:
            case results.Advanced(_, done, total) | results.Measuring(_, done, total):
                self._advanced(done, total)
            case results.Remark(text):
                self._line.send(JobRemarked(self._id, self._plain(text)))
            case _:
                pass
