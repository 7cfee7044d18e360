"""Several pictures on several devices: a process for each takes the next picture when it is ready.

Each decodes, computes and encodes its pictures as a run on one device does. The record of what is done
and whoever listens stay in the process that started them: a process asks, and tells.
"""

import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

from camixersr.enlarge.options import Options
from camixersr.processes import Ask, Processes, told
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
    processes = Processes(_work, given, models.devices)
    left = iter(range(len(jobs)))
    try:
        while len(processes.idle) < len(processes):
            number, what, said = processes.asked()
            check()
            if what == "picture":
                processes.answer(number, next(left, None))
            elif what == "manifest":
                name, positional, named = said
                processes.answer(number, getattr(manifest, name)(*positional, **named))
            elif what == "event":
                emit(said[0])
                processes.answer(number)
            elif what == "going on":
                processes.answer(number)
            elif what == "result":
                processes.answer(number)
                yield jobs[said[0]], said[1]
            elif what == "failed":
                processes.answer(number)
                raise said[0]
    finally:
        processes.rest()
        processes.close()


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

    def __getattr__(self, method: str) -> Any:
        return lambda *given, **named: self._ask("manifest", method, given, named)


def _work(
    ask: Ask, options: Options, restoring: bool, settings: Settings, jobs: Sequence[Job], recorded: bool
) -> None:
    """What a process does."""

    def emit(event: Event) -> None:
        if not isinstance(event, Advanced):  # of one of several it shows nowhere
            ask("event", event)

    def say(line: str) -> None:
        emit(Remark(line))

    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    manifest: Any = _Manifest(ask) if recorded else None
    numbers = {job.source: number for number, job in enumerate(jobs)}
    try:
        pictures = Pictures(
            Models(options, restoring=restoring, say=say),
            settings,
            jobs,
            manifest,
            emit=emit,
            check=lambda: ask("going on"),
        )
        todo = (jobs[number] for number in iter(lambda: ask("picture"), None))
        for job, outcome in pipeline(
            todo, decode=pictures.decode, compute=pictures.compute, encode=pictures.encode
        ):
            told_outcome = told(outcome) if isinstance(outcome, Exception) else outcome
            ask("result", numbers[job.source], told_outcome)
    except KeyboardInterrupt:  # of the run; `task` then ends the process
        pass
    ask("task")
