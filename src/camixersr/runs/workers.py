"""Several pictures on several devices: a process for each takes the next picture when it is ready.

Each decodes, computes and encodes its pictures as a run on one device does. The record of what is done
and whoever listens stay in the process that started them: a process asks, and tells.
"""

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from camixersr.enlarge.options import Options
from camixersr.messages import Call, Failed, GoingOn, Next
from camixersr.processes import Ask, Processes, Work
from camixersr.runs.manifest import Manifest
from camixersr.runs.models import Models
from camixersr.runs.picture import Pictures
from camixersr.runs.pipeline import pipeline
from camixersr.runs.results import Advanced, Event, Listener, Remark, Result
from camixersr.runs.targets import Job
from camixersr.runs.work import Settings

__all__ = ["share"]


def share(
    models: Models,
    settings: Settings,
    jobs: Sequence[Job],
    manifest: Manifest | None,
    *,
    emit: Listener,
    check: Callable[[], None],
) -> Generator[tuple[Job, Result | Exception]]:
    """Do all jobs, on all devices.

    Args:
        models: to choose from, and the devices.
        settings: for all pictures.
        jobs: what to do; none of standard input.
        manifest: record to keep, or None.
        emit: told what happens; of pictures under way only that they began.
        check: called often; what it raises ends the run.

    Yields:
        Each job with its result, or with what was raised, as they come.

    Raises:
        DeviceError: the process of a device has ended.
    """
    given = [
        (_on(models, device), models.restoring, settings, tuple(jobs), manifest is not None)
        for device in models.devices
    ]
    processes = Processes(_begin, given, models.devices)
    try:
        with closing(processes.share(None, range(len(jobs)))) as said:
            for number, message in said:
                check()
                match message:
                    case Call():  # of the record
                        processes.answer(number, message(manifest))
                    case GoingOn():
                        processes.answer(number)
                    case _Ended(job, outcome):
                        processes.answer(number)
                        yield jobs[job], outcome.error if isinstance(outcome, Failed) else outcome
                    case _:  # an event
                        emit(message)
                        processes.answer(number)
    finally:
        processes.close()


@dataclass(frozen=True)
class _Ended:
    """A picture is done, or failed.

    Attributes:
        job: its number.
        outcome: what came of it.
    """

    job: int
    outcome: Result | Failed


def _on(models: Models, device: str) -> Options:
    """The options for one of the devices; those on the CPU share the memory granted."""
    options = models.on(device)
    if device != "cpu" or options.memory_bytes is None:
        return options
    return replace(options, memory=options.memory_bytes // models.devices.count("cpu"))


class _Manifest:
    """The manifest of the process that started this one."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __getattr__(self, name: str) -> Any:
        method = getattr(Manifest, name)
        return lambda *given, **named: self._ask(Call(method, given, named))


def _begin(
    options: Options, restoring: bool, settings: Settings, jobs: Sequence[Job], recorded: bool
) -> Work:
    """What a process does: pictures, one after another."""

    def work(ask: Ask, task: None) -> None:
        def emit(event: Event) -> None:
            if not isinstance(event, Advanced):  # of one of several it shows nowhere
                ask(event)

        def say(line: str) -> None:
            emit(Remark(line))

        warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
        manifest: Any = _Manifest(ask) if recorded else None
        numbers = {job.source: number for number, job in enumerate(jobs)}
        pictures = Pictures(
            Models(options, restoring=restoring, say=say),
            settings,
            jobs,
            manifest,
            emit=emit,
            check=lambda: ask(GoingOn()),
        )
        todo = (jobs[number] for number in iter(lambda: ask(Next()), None))
        for job, outcome in pipeline(
            todo, decode=pictures.decode, compute=pictures.compute, encode=pictures.encode
        ):
            told = Failed.of(outcome) if isinstance(outcome, Exception) else outcome
            ask(_Ended(numbers[job.source], told))

    return work
