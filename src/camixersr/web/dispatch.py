"""The processes that compute, seen from the server: a thread for each gives it jobs and listens."""

import contextlib
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camixersr.errors import CamixerError
from camixersr.messages import Failed, Line, Reply
from camixersr.web import fleets
from camixersr.web.asked import options_of
from camixersr.web.store import Job, Store
from camixersr.web.worker import (
    CancelJob,
    DoJob,
    JobAdvanced,
    JobOver,
    JobRemarked,
    WorkerReady,
    devices,
    work,
)

__all__ = ["Dispatcher", "Standing"]

IDLE = 1.0
"""Seconds after which a thread looks again, though nobody has called."""
AGAIN = (0.0, 1.0, 5.0, 30.0)
"""Seconds before a process is started again, after so many that did not even begin."""


@dataclass(frozen=True)
class Standing:
    """How far a job is.

    Attributes:
        done: of it.
        total: in all.
        seconds: since its process took it.
        remark: the last that was said of it.
        before: of what is done: by a process that was ended, before `seconds` began.
    """

    done: float = 0.0
    total: float = 0.0
    seconds: float = 0.0
    remark: str = ""
    before: float = 0.0


class Dispatcher:
    """All processes that compute.

    Args:
        store: the queue.
        folder: of the jobs.
        device: where to compute: one, several with commas, or "all"; one process each.
        backend: what computes.
        max_pixels: larger pictures are refused.
        max_film: pixels of all frames of a film's result; more are refused.
        fleet: address of the cluster for fleets and how many workers it gets; None: no fleets.
        changed: told of each job about which there is news.
        over: told of each job that has ended, and how many seconds it took.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        device: str,
        backend: str,
        max_pixels: int,
        max_film: int,
        fleet: tuple[str, int | None] | None = None,
        changed: Callable[[str], None],
        over: Callable[[str, float], None],
    ) -> None:
        self.store, self.folder, self.changed, self.over = store, folder, changed, over
        self._device = device
        lock = folder.parent / "workers.lock"
        self.how = (backend, max_pixels, max_film, lock)
        one = "," not in device and device != "all"  # each worker of a fleet computes on one device
        self.fleet = (
            None if fleet is None else (device if one else "auto", backend, max_pixels, *fleet, lock)
        )
        self._fleets: list[_FleetThread] = []
        self._threads: list[_DeviceThread] = []
        self.stopping = threading.Event()
        self.work = threading.Condition()
        self.models: list[dict[str, Any]] = []
        """Those that are there; empty until the first process is ready."""
        self.trouble = ""
        """Why no process begins, in a line; empty if they do."""

    def start(self) -> None:
        """Start the processes.

        Raises:
            CamixerError: a device that is not there.
        """
        names = _all_of(self._device) if self._device == "all" else self._device.split(",")
        self._threads = [_DeviceThread(self, name.strip()) for name in names]
        self._fleets = [] if self.fleet is None else [_FleetThread(self)]
        for each in self._all():
            each.start()

    def _all(self) -> list["_DeviceThread"]:
        return [*self._threads, *self._fleets]

    def stop(self) -> None:
        """End the processes; what they do is queued again by the next start."""
        self.stopping.set()
        self.wake()
        for each in self._all():
            each.end()
        for each in self._all():
            each.join(10.0)

    def wake(self) -> None:
        """There is work."""
        with self.work:
            self.work.notify_all()

    def cancel(self, number: str) -> None:
        """Tell the process that does a job to stop."""
        for each in self._all():
            each.cancel(number)

    @property
    def ready(self) -> int:
        """How many processes can compute."""
        return sum(each.ready for each in self._threads)

    def __len__(self) -> int:
        """How many there are to be."""
        return len(self._threads)

    def progress(self, number: str) -> Standing | None:
        """How far a job is; None if none of the processes does it."""
        return next((each.progress for each in self._all() if each.job_id == number), None)


def _all_of(device: str) -> Sequence[str]:
    context = multiprocessing.get_context("spawn")
    own, its = context.Pipe()
    process = context.Process(target=devices, args=(device, its))
    process.start()
    its.close()
    answer = Line(own).receive()
    process.join()
    match answer:
        case Reply(names):
            return names
        case Failed(error):
            raise error
        case _:
            raise CamixerError("the devices of this machine cannot be listed")


class _DeviceThread(threading.Thread):
    """One process, and the thread that gives it jobs."""

    def __init__(self, dispatcher: Dispatcher, device: str) -> None:
        super().__init__(name=f"device {device}", daemon=True)
        self._dispatcher, self._device = dispatcher, device
        self._line: Line | None = None
        self._process: Any = None
        self.ready = False
        self.job_id = ""
        self.progress = Standing()

    def cancel(self, number: str) -> None:
        line = self._line
        if line is not None and number == self.job_id:
            line.send(CancelJob(number))

    def end(self) -> None:
        process = self._process
        if process is not None:
            process.kill()

    def run(self) -> None:
        failures = 0
        while not self._dispatcher.stopping.is_set():
            self._dispatcher.stopping.wait(AGAIN[min(failures, len(AGAIN) - 1)])
            begun = self._begin()
            failures = 0 if begun else failures + 1
            if begun:
                self._give()
            self.ready, self._line = False, None
            self._process.kill()
            self._process.join()

    def _begin(self) -> bool:
        """Start a process; whether it is ready."""
        if self._dispatcher.stopping.is_set():
            return False
        context = multiprocessing.get_context("spawn")
        own, its = context.Pipe()
        self._process = self._made(context, its)
        self._process.start()
        its.close()
        self._line = Line(own)
        match self._line.receive():
            case WorkerReady(models):
                self._is_ready(models)
                self.ready = True
            case Failed(error):
                self._dispatcher.trouble = f"device {self._device}: {error}"
            case _:
                self._dispatcher.trouble = f"device {self._device}: its process ended while it began"
        return self.ready

    def _made(self, context: Any, its: Any) -> Any:
        """The process, not started."""
        given = (its, self._device, *self._dispatcher.how)
        return context.Process(target=work, args=given, name=self._device, daemon=True)

    def _is_ready(self, models: list[dict[str, Any]]) -> None:
        self._dispatcher.trouble, self._dispatcher.models = "", models

    def _claim(self) -> Job | None:
        return self._dispatcher.store.claim()

    def _give(self) -> None:
        """Give jobs to the process until it ends."""
        dispatcher = self._dispatcher
        while not dispatcher.stopping.is_set() and self._process.is_alive():
            job = self._claim()
            if job is None:
                with dispatcher.work:
                    dispatcher.work.wait(IDLE)
                continue
            if not self._do(job):
                return

    def _do(self, job: Job) -> bool:
        """Do a job; whether the process is still there."""
        dispatcher, line = self._dispatcher, self._line
        assert line is not None
        began = time.monotonic()
        self.progress, self.job_id = Standing(), job.id
        dispatcher.changed(job.id)
        options, suffix = options_of(job)
        line.send(DoJob(job.id, dispatcher.folder / job.id, job.file, job.action, options, suffix))
        now = dispatcher.store.get(job.id)
        if now is not None and now.cancelling:  # meanwhile
            line.send(CancelJob(job.id))
        alive = True
        while True:
            message = line.receive()
            if message is None:
                alive = False
                if not dispatcher.stopping.is_set():
                    self._process.join(5.0)
                    dispatcher.store.died(job.id, _why(self._process.exitcode))
                break
            if message.job == job.id and self._heard(message, began):
                break
        self.job_id = ""
        over = dispatcher.store.get(job.id)
        if over is not None and over.is_over and not over.is_fleet:
            dispatcher.over(over.state, time.monotonic() - began)
        dispatcher.changed(job.id)
        return alive

    def _heard(self, message: JobAdvanced | JobRemarked | JobOver, began: float) -> bool:
        """Take what the process says; whether its job is over."""
        dispatcher, seconds = self._dispatcher, time.monotonic() - began
        match message:
            case JobAdvanced(job, done, total, before):
                self.progress = Standing(done, total, seconds, self.progress.remark, before)
                dispatcher.changed(job)
            case JobRemarked(job, text):
                self.progress = replace(self.progress, seconds=seconds, remark=text)
                dispatcher.changed(job)
            case JobOver(job, state, outcome, error):
                dispatcher.store.finish(job, state, outcome=outcome, error=error)
                return True
        return False


class _FleetThread(_DeviceThread):
    """The process for fleets: one at a time, in a process that ends with it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher, "of fleets")

    def _made(self, context: Any, its: Any) -> Any:
        assert self._dispatcher.fleet is not None
        given = (its, *self._dispatcher.fleet)
        return context.Process(target=fleets.work, args=given, name="fleet", daemon=True)

    def _is_ready(self, models: list[dict[str, Any]]) -> None:
        """It has none."""

    def _claim(self) -> Job | None:
        return self._dispatcher.store.claim(fleets=True)

    def _do(self, job: Job) -> bool:
        super()._do(job)
        return False  # another process does the next


def _why(code: int | None) -> str:
    ended = f"exit code {code}"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            ended = signal.Signals(-code).name
    return (
        f"the process that computed it was ended from outside twice ({ended}), mostly for want of memory; "
        "try a smaller tile, or a smaller picture"
    )
