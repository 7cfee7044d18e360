"""Processes that compute, one for each device, and what they ask of the process that started them.

A routed network launches thousands of small kernels and waits for the device in every block, to learn
which windows are attended: Python is busy all the time, and threads would take turns at it. So every
device gets a process of its own with its own copy of the weights (decision 0007).

A process only ever asks: for work, for leave to go on, or by telling that something is done
(`camixersr.messages`). It waits for every answer, and stops where it is told so instead, or where nobody is
left to answer.
"""

import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from camixersr.backends.devices import set_threads, threads
from camixersr.errors import CamixerError, DeviceError
from camixersr.messages import Failed, Idle, Line, Next, Reply, Stop

__all__ = ["Ask", "Processes", "Start", "Work"]

PATIENCE = 60.0
"""Seconds that a process has to stop, before it is made to: many times what a block of a tile takes."""

_OF_A_TERMINAL = {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}
"""Signals that a terminal sends to all its processes: Ctrl-C, and that it closes."""


class Ask:
    """How a process asks; called in any of its threads."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lock = threading.Lock()

    def __call__(self, message: Any) -> Any:
        """Say something, and wait for the answer.

        Raises:
            KeyboardInterrupt: the process is to stop what it does, or nobody is left to answer.
        """
        with self._lock:
            self._line.send(message)
            match self._line.receive():
                case Reply(value):
                    return value
                case _:
                    raise KeyboardInterrupt


Work = Callable[[Ask, Any], None]
"""A task done: called with an `Ask` and what the task is."""

Start = Callable[..., Work]
"""A process begun: called with what it was given."""


def _begin(connection: "Connection[Any, Any]", start: Start, given: bytes, count: int) -> None:
    """The life of a process: one task after another, until it is stopped while it has none."""
    for number in _OF_A_TERMINAL:
        signal.signal(number, signal.SIG_IGN)  # who started it gets it too, and tells
    set_threads(count)
    ask = Ask(Line(connection))
    with suppress(KeyboardInterrupt):
        try:
            work = start(*pickle.loads(given))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            ask(Failed.of(error))
            return
        while True:
            _do(ask, work, ask(Idle()))


def _do(ask: Ask, work: Work, task: Any) -> None:
    """A task, which nothing refers to once it is done."""
    try:
        work(ask, task)
    except KeyboardInterrupt:  # of this task; of the process, if it is stopped while it is idle
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        ask(Failed.of(error))


@contextmanager
def _spared() -> Generator[None]:
    """A terminal sends Ctrl-C, or that it closes, to all its processes; not to those started in here."""
    if not hasattr(signal, "pthread_sigmask"):  # then it gets it while it starts
        yield
        return
    resource_tracker.ensure_running()  # or it starts below, and lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_A_TERMINAL)  # which processes inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """Some processes; they start at once, and live until they are closed.

    Args:
        start: makes what does their tasks; a function of a module, that another process can import.
        given: for each what it is called with.
        names: for each its device, such as "cuda:1". Those on the CPU share its cores.
    """

    def __init__(self, start: Start, given: Sequence[tuple[Any, ...]], names: Sequence[str]) -> None:
        context = multiprocessing.get_context("spawn")
        each_has = max(1, threads() // max(1, names.count("cpu")))
        self._names = tuple(names)
        self._lines: list[Line] = []
        self._processes: list[Any] = []
        self._idle: set[int] = set()
        self._waiting: set[int] = set()  # for an answer to anything else
        self._unsure = False  # cut off between a question or an answer and the note of it
        for name, each in zip(names, given, strict=True):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_begin,
                args=(theirs, start, pickle.dumps(each), each_has),
                name=f"camixersr {name}",
                daemon=True,
            )
            with _spared():
                process.start()
            theirs.close()
            self._lines.append(Line(ours))
            self._processes.append(process)

    def share(self, task: Any, pieces: Iterable[Any]) -> Generator[tuple[int, Any]]:
        """Let all processes do a task, of which each gets the next piece when it asks for one.

        However this ends, they are idle then, or have ended.

        Args:
            task: given to each.
            pieces: of it.

        Yields:
            What a process says beside that, and before it its number; it waits for `answer`.

        Raises:
            DeviceError: a process has ended.
            Exception: what was raised in one.
        """
        left, begun = iter(pieces), set(self._idle)
        for number in begun:
            self.answer(number, task)
        try:
            while len(begun) < len(self) or len(self._idle) < len(self):
                number, message = self.hear()
                match message:
                    case Idle():
                        if number not in begun:
                            begun.add(number)
                            self.answer(number, task)
                    case Next():
                        self.answer(number, next(left, None))
                    case Failed(error):
                        self.answer(number)
                        raise error
                    case _:
                        yield number, message
        finally:
            self.rest()

    def hear(self) -> tuple[int, Any]:
        """Wait until a process that is not idle asks something.

        Returns:
            Its number, and its message; it waits for `answer`, or `stop`. One that says `Idle` is idle
            until it is answered.

        Raises:
            DeviceError: a process has ended.
        """
        busy = [each.connection for number, each in enumerate(self._lines) if number not in self._idle]
        connection = wait(busy)[0]
        number = next(n for n, each in enumerate(self._lines) if each.connection is connection)
        self._unsure = True  # a signal may end this anywhere
        message = self._lines[number].receive()
        if message is None:
            self._unsure = False
            raise self._lost(number)
        (self._idle if isinstance(message, Idle) else self._waiting).add(number)
        self._unsure = False
        return number, message

    def _lost(self, number: int) -> CamixerError:
        process = self._processes[number]
        process.join(PATIENCE)
        code = process.exitcode
        how = "" if code is None else f", by signal {-code}" if code < 0 else f" with {code}"
        hint = "out of memory, as a rule" if code == -9 else "see what it said above"
        if code == 1:  # Python could not even begin
            hint += "; a script needs `if __name__ == '__main__':` around what it does"
        return DeviceError(
            f"the process that computes on {self._names[number]} has ended{how} ({hint}); nothing was "
            "left half-written"
        )

    def answer(self, number: int, value: Any = None) -> None:
        """Let a process go on."""
        self._reply(number, Reply(value))

    def stop(self, number: int) -> None:
        """Let a process stop what it does, and ask for a task; an idle one ends."""
        self._reply(number, Stop())

    def _reply(self, number: int, answer: Reply | Stop) -> None:
        self._unsure = True
        self._idle.discard(number)
        self._waiting.discard(number)
        self._lines[number].send(answer)  # if it has ended, the next `hear` says so
        self._unsure = False

    @property
    def idle(self) -> tuple[int, ...]:
        """Numbers of those that wait for a task."""
        return tuple(sorted(self._idle))

    def __len__(self) -> int:
        """How many there are; none after `close`."""
        return len(self._processes)

    def rest(self) -> None:
        """Stop all processes, and wait until they are idle; end them all if one has ended.

        So they are if a signal came between a question and its answer: nobody knows who waits for what.
        """
        if self._unsure:
            self.close()
            return
        try:
            for number in tuple(self._waiting):
                self.stop(number)
            while len(self.idle) < len(self):
                number, message = self.hear()
                match message:
                    case Idle():
                        pass
                    case Failed():
                        self.answer(number)
                    case _:
                        self.stop(number)
        except DeviceError:
            self.close()
        except BaseException:
            self.close()
            raise

    def close(self, patience: float = PATIENCE) -> None:
        """End all processes; those that do not stop within so many seconds are made to."""
        for line in self._lines:
            line.close()
        for process in self._processes:
            process.join(patience)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._lines.clear()
        self._processes.clear()
        self._idle.clear()
        self._waiting.clear()
        self._unsure = False
