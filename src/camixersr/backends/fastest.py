"""Which backend is the fastest here? Measured once for a model, a precision and a machine, then kept.

Every backend that is there enlarges the same piece of a photograph; one whose result is not torch's
(`camixersr.backends.parity`), or that is not measured in time, is out. The choice stays until something it
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

import numpy as np

from camixersr import __version__
from camixersr.backends.cache import folder, keep, kept, key
from camixersr.backends.choose import Available, available, make
from camixersr.backends.devices import TORCH, threads
from camixersr.backends.protocol import Backend, Planes
from camixersr.errors import CamixerError, MissingExtraError
from camixersr.extras import install_line
from camixersr.nn.pool import Pool
from camixersr.nn.routing import TopShare
from camixersr.weights import Model

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


def _name(model: Model, device: str, precision: str) -> str:
    there = available(device)
    return PREFIX + key(
        __version__,
        platform.node(),
        platform.machine(),
        os.cpu_count(),
        threads(),
        device,
        precision,
        model.sha256 or model.name,
        [(each.name, each.version, each.missing) for each in there],
    )


def known(model: Model, device: str, precision: str = "fp32") -> Choice | None:
    """What was chosen here before; None if nothing was."""
    content = kept(_name(model, device, precision))
    return None if content is None else Choice(**json.loads(content))


def choices() -> list[Choice]:
    """All that is kept in the cache, also of other models and of versions that were here before."""
    names = sorted(path.name for path in folder().glob(f"{PREFIX}*"))
    return [Choice(**json.loads(content)) for content in map(kept, names) if content is not None]


def choose(
    model: Model,
    *,
    device: str,
    precision: str = "fp32",
    again: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Choice:
    """The fastest backend for a model; known after `LONGEST` seconds at the latest.

    Args:
        model: what is computed.
        device: where.
        precision: in what.
        again: measure even if it is known.
        say: told, in a line each, that it measures, and what came of it.
        progress: told several times a second how many seconds it has measured, and how many at most;
            what it raises ends the measurement.

    Returns:
        The choice, measured now or before.

    Raises:
        MissingExtraError: there is no torch, which the other backends are compared with.
    """
    if not TORCH:
        raise MissingExtraError(
            f"backend fastest needs torch, to compare results with; {install_line('research')}, or use "
            "--backend auto"
        )
    if not again and (choice := known(model, device, precision)) is not None:
        return choice
    say(
        f"measuring which backend computes {model.name} fastest here, once, for at most {LONGEST:g} seconds"
    )
    began = time.monotonic()
    race = _Race(model, device, precision, until=began + LONGEST)
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
    keep(_name(model, device, precision), json.dumps(asdict(choice)).encode())
    taken = ", ".join(f"{name} {value:g}" for name, value in choice.microseconds.items())
    say(f"{choice.backend} is used from now on (microseconds a low pixel: {taken or 'none in time'})")
    return choice


class _Race:
    """One measurement, in a thread of its own.

    Args:
        model: what is computed.
        device: where.
        precision: in what.
        until: when it is to be over, by `time.monotonic`.
    """

    def __init__(self, model: Model, device: str, precision: str, *, until: float) -> None:
        self.model, self.device, self.precision = model, device, precision
        self.until = until
        self.over = threading.Event()
        self.error: Exception | None = None
        self._there = available(device)
        self._lock = threading.Lock()
        self._taken: dict[str, float] = {}
        self._left_out: dict[str, str] = {}

    def choice(self) -> Choice:
        """What is known now."""
        with self._lock:
            taken, left_out = dict(self._taken), dict(self._left_out)
        late = f"not measured within {LONGEST:g} seconds"
        unknown = [each.name for each in self._there if each.name not in taken | left_out]
        return Choice(
            model=self.model.name,
            device=self.device,
            precision=self.precision,
            threads=threads(),
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
        """Measure every backend, torch first."""
        from camixersr.backends.parity import compare, sample_photo

        photo = sample_photo()
        piece = photo[:, 64:112, 96:160].contiguous()
        low: Planes | None = None
        rivals = [each for each in self._there if not self._unfit(each)]
        for number, each in enumerate(rivals):
            if self.over.is_set():
                return
            try:
                runs = make(self.model, each.name, device=self.device, precision=self.precision)
                if each.name != "torch":
                    parity = compare(runs, self.model, [piece])
                    if not parity.passed:
                        self._leave_out(each.name, f"its results are {parity}")
                        continue
                if low is None:
                    low = self._low(photo.numpy(), runs)
                share = (self.until - time.monotonic()) / (len(rivals) - number)
                taken = _time(runs, low, self.model.pool, seconds=share)
                with self._lock:
                    self._taken[each.name] = taken
            except (CamixerError, RuntimeError) as error:
                self._leave_out(each.name, " ".join(str(error).split()))

    def _low(self, photo: Planes, runs: Backend) -> Planes:
        """What is timed: a piece of the size of tiles; a smaller one where that would take too long."""
        small = np.ascontiguousarray(photo[None, :, :SMALL, :SMALL])
        expected = _time(runs, small, self.model.pool, seconds=0.0) * LARGE**2
        if ROUNDS * expected > LONGEST / 4:
            return small
        return np.ascontiguousarray(np.tile(photo, (1, 2, 1))[None, :, :LARGE, :LARGE])

    def _unfit(self, each: Available) -> bool:
        """Whether a backend need not be measured, and why."""
        why = each.missing
        if not why and each.name == "compile":
            why = "takes minutes to compile; use it with --backend compile"
        if not why and self.precision not in each.precisions:
            why = f"does not compute in {self.precision} here"
        if why:
            self._leave_out(each.name, why)
        return bool(why)

    def _leave_out(self, name: str, why: str) -> None:
        with self._lock:
            self._left_out[name] = why


def _time(backend: Backend, low: Planes, pool: Pool, *, seconds: float) -> float:
    """Seconds a low pixel, the best of some rounds after one to warm up; in `seconds`, or two rounds."""
    taken: list[float] = []
    until = time.monotonic() + seconds
    while len(taken) < 2 or (len(taken) <= ROUNDS and time.monotonic() + taken[-1] < until):
        began = time.perf_counter()
        backend.route(low, TopShare(0.5), pool)
        taken.append(time.perf_counter() - began)
    return min(taken[1:]) / (low.shape[-2] * low.shape[-1])
