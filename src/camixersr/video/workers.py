"""Several processes on one film: each takes the next segment when it is ready."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from camixersr.enlarge.options import Options
from camixersr.messages import GoingOn, Next
from camixersr.processes import Ask, Processes, Work
from camixersr.runs.models import Models
from camixersr.video.frames import Frames
from camixersr.video.segments import Segment
from camixersr.video.task import Facts, Task, compute

__all__ = ["share"]

EVERY = 0.2
"""Seconds between two words of a process on how far it is."""


@dataclass(frozen=True)
class _Advanced:
    """How many frames of a segment are done."""

    number: int
    frames: float


@dataclass(frozen=True)
class _Ended:
    """A segment is done."""

    number: int
    facts: Facts


def _begin(task: Task, options: Options) -> Work:
    """What a process does: segments, one after another."""

    def work(ask: Ask, _: None) -> None:
        warnings.showwarning = lambda *_, **__: None  # the process that started this one warns
        models = Models(options, restoring=False, say=lambda line: None)

        def cancelled() -> bool:
            ask(GoingOn())  # it raises where this is to stop
            return False

        frames = Frames(models, task.film.height, task.film.width, task.size, cancelled)
        for number in iter(lambda: ask(Next()), None):
            told = time.monotonic()

            def advanced(done: float, number: int = number) -> None:
                nonlocal told
                if time.monotonic() - told >= EVERY:
                    told = time.monotonic()
                    ask(_Advanced(number, done))

            ask(_Ended(number, compute(task, frames, task.segments[number], advanced)))

    return work


def share(
    task: Task,
    models: Models,
    todo: Sequence[Segment],
    *,
    progress: Callable[[float], None],
    check: Callable[[], None],
) -> Iterator[tuple[Segment, Facts]]:
    """Compute segments in several processes: one for each device, or as many as were asked for.

    Args:
        task: the film.
        models: to choose from, and the devices.
        todo: segments.
        progress: told how many frames are done.
        check: called often; what it raises ends this.

    Yields:
        Segments as they are done.

    Raises:
        DeviceError: a process has ended.
    """
    count = min(len(todo), max(task.settings.workers, len(models.devices)))
    names = [models.devices[number % len(models.devices)] for number in range(count)]
    given = [(task, replace(task.options, device=name, backend=models.on(name).backend)) for name in names]
    processes = Processes(_begin, given, names)
    under_way: dict[int, float] = {}
    done = 0
    try:
        with closing(processes.share(None, [each.number for each in todo])) as said:
            for number, message in said:
                check()
                match message:
                    case _Advanced(segment, frames):
                        under_way[segment] = frames
                    case _Ended(segment, facts):
                        under_way.pop(segment, None)
                        done += task.segments[segment].frames
                        yield task.segments[segment], facts
                    case _:
                        pass
                progress(done + sum(under_way.values()))
                processes.answer(number)
    finally:
        processes.close()
