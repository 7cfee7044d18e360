"""Which backend is the fastest here? Measured once for a model, a precision and a machine, then kept.

Every backend that is there enlarges the same piece of a photograph; one whose result is not torch's
(`camixersr.export.parity`), or that is not measured in time, is out. The choice stays until something it
depends on changes (the package, torch, a runtime, the number of threads), so that the same picture gives
the same bytes tomorrow.
"""

import json
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from camixersr import __version__
from camixersr.errors import CamixerError
from camixersr.inference.upscaler import Upscaler
from camixersr.nn.routing import TopShare
from camixersr.runtimes import Backend, available, engine
from camixersr.runtimes.cache import folder, keep, kept, key

__all__ = ["LONGEST", "Choice", "choices", "choose", "known"]

LONGEST = 15.0
"""Seconds that a measurement may take; what was not measured by then is left out."""

ROUNDS = 3
"""How often the piece is timed at most, after a round to warm up; the fastest counts."""

LARGE, SMALL = 256, 96
"""Sides of the piece, in low pixels: from 256 on OpenVINO has a graph of its own for every size."""

PREFIX = "choice-"


@dataclass(frozen=True)
class Choice:
    """What was measured.

    Attributes:
        model: its name.
        device: where.
        precision: in what.
        threads: of torch.
        backend: the fastest.
        microseconds: a low pixel, by backend, at attention ratio 0.5.
        left_out: why a backend was not considered, by its name.
    """

    model: str
    device: str
    precision: str
    threads: int
    backend: str
    microseconds: dict[str, float]
    left_out: dict[str, str]


def _name(upscaler: Upscaler) -> str:
    there = available(upscaler.device)
    return PREFIX + key(
        __version__,
        platform.node(),
        platform.machine(),
        os.cpu_count(),
        torch.get_num_threads(),
        upscaler.device,
        upscaler.precision,
        upscaler.model.sha256 or upscaler.model.name,
        [(each.name, each.version, each.missing) for each in there],
    )


def known(upscaler: Upscaler) -> Choice | None:
    """What was chosen here before; None if nothing was."""
    content = kept(_name(upscaler))
    return None if content is None else Choice(**json.loads(content))


def choices() -> list[Choice]:
    """All that is kept in the cache, also of other models and of versions that were here before."""
    names = sorted(path.name for path in folder().glob(f"{PREFIX}*"))
    return [Choice(**json.loads(content)) for content in map(kept, names) if content is not None]


def choose(
    upscaler: Upscaler,
    *,
    again: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Choice:
    """The fastest backend for what an upscaler does; known after `LONGEST` seconds at the latest.

    Args:
        upscaler: of the torch backend: its model, device and precision count.
        again: measure even if it is known.
        say: told, in a line each, that it measures, and what came of it.
        progress: told several times a second how many seconds it has measured, and how many at most;
            what it raises ends the measurement.

    Returns:
        The choice, measured now or before.
    """
    if not again and (choice := known(upscaler)) is not None:
        return choice
    say(
        f"measuring which backend computes {upscaler.model.name} fastest here, once, for at most "
        f"{LONGEST:g} seconds"
    )
    began = time.monotonic()
    race = _Race(upscaler, until=began + LONGEST)
    # A thread, since nothing interrupts a runtime that compiles; it ends after the step under way.
    thread = threading.Thread(target=race.run, name="measuring backends")
    thread.start()
    try:
        while thread.is_alive() and time.monotonic() < race.until:
            progress(time.monotonic() - began, LONGEST)
            thread.join(0.1)
    finally:
        race.over.set()
    if race.error is not None:
        raise race.error
    choice = race.choice()
    keep(_name(upscaler), json.dumps(asdict(choice)).encode())
    taken = ", ".join(f"{name} {value:g}" for name, value in choice.microseconds.items())
    say(f"{choice.backend} is used from now on (microseconds a low pixel: {taken or 'none in time'})")
    return choice


class _Race:
    """One measurement, in a thread of its own.

    Args:
        upscaler: whose model, device and precision; it is not used itself.
        until: when it is to be over, by `time.monotonic`.
    """

    def __init__(self, upscaler: Upscaler, *, until: float) -> None:
        self.upscaler = Upscaler(upscaler.model, device=str(upscaler.device), precision=upscaler.precision)
        self.until = until
        self.over = threading.Event()
        self.error: Exception | None = None
        self._there = available(upscaler.device)
        self._lock = threading.Lock()
        self._taken: dict[str, float] = {}
        self._left_out: dict[str, str] = {}

    def choice(self) -> Choice:
        """What is known now."""
        with self._lock:
            taken, left_out = dict(self._taken), dict(self._left_out)
        late = f"not measured within {LONGEST:g} seconds"
        unknown = [each.name for each in self._there if each.name not in taken | left_out]
        upscaler = self.upscaler
        return Choice(
            model=upscaler.model.name,
            device=str(upscaler.device),
            precision=upscaler.precision,
            threads=torch.get_num_threads(),
            backend=min(taken, key=taken.__getitem__, default="torch"),
            microseconds={name: round(1e6 * value, 2) for name, value in taken.items()},
            left_out=left_out | dict.fromkeys(unknown, late),
        )

    def run(self) -> None:
        """What the thread does; what goes wrong in it, other than with a backend, is kept in `error`."""
        try:
            self._measure()
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            self.error = error

    def _measure(self) -> None:
        """Measure every backend; torch, which is always there, first."""
        from camixersr.export.parity import compare, sample_photo

        photo = sample_photo()
        piece = photo[:, 64:112, 96:160].contiguous()
        low: torch.Tensor | None = None
        rivals = [each for each in self._there if not self._unfit(each)]
        for number, each in enumerate(rivals):
            if self.over.is_set():
                return
            try:
                runs = engine(
                    self.upscaler.model,
                    each.name,
                    device=self.upscaler.device,
                    precision=self.upscaler.precision,
                )
                if runs is not None:
                    parity = compare(runs, self.upscaler.model, [piece])
                    if not parity.passed:
                        self._leave_out(each.name, f"its results are {parity}")
                        continue
                if low is None:
                    low = self._low(photo)
                share = (self.until - time.monotonic()) / (len(rivals) - number)
                taken = _time(self.upscaler, runs, low, seconds=share)
                with self._lock:
                    self._taken[each.name] = taken
            except (CamixerError, RuntimeError) as error:
                self._leave_out(each.name, " ".join(str(error).split()))

    def _low(self, photo: torch.Tensor) -> torch.Tensor:
        """What is timed: a piece of the size of tiles; a smaller one where that would take too long."""
        small = photo[None, :, :SMALL, :SMALL].contiguous()
        expected = _time(self.upscaler, None, small, seconds=0.0) * LARGE**2
        if ROUNDS * expected > LONGEST / 4:
            return small
        return photo.repeat(1, 2, 1)[None, :, :LARGE, :LARGE].contiguous()

    def _unfit(self, each: Backend) -> bool:
        """Whether a backend need not be measured, and why."""
        why = each.missing
        if not why and each.name == "compile":
            why = "takes minutes to compile; use it with --backend compile"
        if not why and self.upscaler.precision not in each.precisions:
            why = f"does not compute in {self.upscaler.precision} here"
        if why:
            self._leave_out(each.name, why)
        return bool(why)

    def _leave_out(self, name: str, why: str) -> None:
        with self._lock:
            self._left_out[name] = why


def _time(upscaler: Upscaler, runs: Any, low: torch.Tensor, *, seconds: float) -> float:
    """Seconds a low pixel, the best of some rounds after one to warm up; in `seconds`, or two rounds."""
    before, upscaler.engine = upscaler.engine, runs
    taken: list[float] = []
    until = time.monotonic() + seconds
    try:
        while len(taken) < 2 or (len(taken) <= ROUNDS and time.monotonic() + taken[-1] < until):
            began = time.perf_counter()
            upscaler.route(low, TopShare(0.5))[0].cpu()
            taken.append(time.perf_counter() - began)
    finally:
        upscaler.engine = before
    return min(taken[1:]) / (low.shape[-2] * low.shape[-1])
