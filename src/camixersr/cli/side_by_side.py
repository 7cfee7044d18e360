"""Several pictures on several devices: a process for each takes the next picture when it is ready.

Each decodes, computes and encodes its pictures as a run on one device does. The record of what is done,
the bars and the terminal stay here: a process asks for them.
"""

import io
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from camixersr.cli.pictures import Models, Pictures, Settings
from camixersr.inference.hands import Ask, Hands, told
from camixersr.runs.manifest import Manifest
from camixersr.runs.pipeline import Failure, run
from camixersr.runs.targets import Job

if TYPE_CHECKING:
    from camixersr.cli.bars import Bars

__all__ = ["Did", "share"]


@dataclass(frozen=True)
class Did:
    """What came of a run.

    Attributes:
        failures: what failed, in the order of the pictures.
        facts: of each picture that was done, likewise.
        skipped: how many were there already.
    """

    failures: list[Failure]
    facts: list[dict[str, Any]]
    skipped: int


def share(
    models: Models, settings: Settings, jobs: Sequence[Job], manifest: Manifest | None, bar: "Bars"
) -> Did:
    """Do all jobs, on all devices.

    Args:
        models: to choose from, and the devices.
        settings: what was asked for.
        jobs: what to do; none of standard input.
        manifest: record to keep, or None.
        bar: told how far the run is.

    Returns:
        What came of it.

    Raises:
        DeviceError: the process of a device has ended.
    """
    memory = settings.budget.memory
    each_of_cpu = None if memory is None else memory // max(1, models.devices.count("cpu"))
    given = [
        (
            models.on(device),
            replace(settings, budget=replace(settings.budget, memory=each_of_cpu))
            if device == "cpu"
            else settings,
            tuple(jobs),
            manifest is not None,
        )
        for device in models.devices
    ]
    hands = Hands(_work, given, models.devices)
    order = {str(job.source): number for number, job in enumerate(jobs)}
    left = iter(range(len(jobs)))
    here = {"manifest": manifest, "bar": bar, "stdout": sys.stdout, "stderr": sys.stderr}
    failures: list[Failure] = []
    facts: list[dict[str, Any]] = []
    skipped = 0
    try:
        while len(hands.idle) < len(hands):
            number, what, told_us = hands.asked()
            if what == "picture":
                hands.answer(number, next(left, None))
            elif what == "call":
                whom, name, positional, named = told_us
                hands.answer(number, getattr(here[whom], name)(*positional, **named))
            elif what == "going on":
                hands.answer(number)
            elif what == "did":
                failures += told_us[0]
                facts += told_us[1]
                skipped += told_us[2]
                hands.answer(number)
            elif what == "failed":
                hands.answer(number)
                raise told_us[0]
    finally:
        hands.rest()
        hands.close()
    return Did(
        sorted(failures, key=lambda each: order[str(each.job.source)]),
        sorted(facts, key=lambda each: order[each["input"]]),
        skipped,
    )


class _There:
    """An object of the process that started this one: its methods are called there."""

    def __init__(self, ask: Ask, name: str) -> None:
        self._ask, self._name = ask, name

    def __getattr__(self, method: str) -> Any:
        return lambda *given, **named: self._ask("call", self._name, method, given, named)


class _Bar(_There):
    """A bar for all pictures: how far one of several is shows nowhere, but it may have to stop."""

    def __call__(self, done: int, total: int) -> None:
        self._ask("going on")


class _Terminal(io.TextIOBase):
    """Where whole lines go that are printed here."""

    def __init__(self, there: _There) -> None:
        self._there, self._line = there, ""

    def write(self, text: str, /) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._there.write(f"{line}\n")
        return len(text)


def _work(
    ask: Ask, models: dict[str, Any], settings: Settings, jobs: Sequence[Job], recorded: bool
) -> None:
    """What a process does."""
    from camixersr.cli import show_in_one_line

    sys.stdout, sys.stderr = (_Terminal(_There(ask, name)) for name in ("stdout", "stderr"))
    warnings.showwarning = show_in_one_line
    bar: Any = _Bar(ask, "bar")
    manifest: Any = _There(ask, "manifest") if recorded else None
    try:
        pictures = Pictures(Models(**models), settings, jobs, manifest, bar)
        failures = run(
            (jobs[number] for number in iter(lambda: ask("picture"), None)),
            decode=pictures.decode,
            compute=pictures.compute,
            encode=pictures.encode,
            finished=lambda job: bar.finished(None),
        )
        failures = [replace(each, cause=told(each.cause)) for each in failures]
        ask("did", failures, pictures.facts, pictures.skipped)
    except KeyboardInterrupt:  # of the run; `task` then ends the process
        pass
    ask("task")
