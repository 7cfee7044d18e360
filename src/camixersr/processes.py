"""Processes that compute, one for each device, and what they ask of the process that started them.

A routed network launches thousands of small kernels and waits for the device in every block, to learn
which windows are attended: Python is busy all the time, and threads would take turns at it. So every
device gets a process of its own with its own copy of the weights (decision 0007).

A process only ever asks: for work, for leave to go on, or by telling that something is done. It waits for
every answer, and stops where it is told so instead, or where nobody is left to answer.
"""

import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from camixersr.errors import CamixerError, DeviceError

__all__ = ["Ask", "Processes", "Work", "told"]

PATIENCE = 60.0
"""Seconds that a process has to stop, before it is made to: many times what a block of a tile takes."""

_OF_A_TERMINAL = {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}
"""Signals that a terminal sends to all its processes: Ctrl-C, and that it closes."""


class Ask:
    """How a process asks; called in any of its threads."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, what: str, *given: Any) -> Any:
        """Ask, and wait for the answer.

        Raises:
            KeyboardInterrupt: the process is to stop what it does.
        """
        with self._lock:
            try:
                # bytes, and not `send`: that would put every tensor into shared memory
                self._connection.send_bytes(pickle.dumps((what, given)))
                go_on, answer = pickle.loads(self._connection.recv_bytes())
            except (EOFError, OSError):  # nobody is there any more
                go_on, answer = False, None
        if not go_on:
            raise KeyboardInterrupt
        return answer


Work = Callable[..., None]
"""What a process does: called with an `Ask`, and what it was given. What goes wrong in it ends it,
which asks "failed" first, with the error."""


def _begin(connection: "Connection[Any, Any]", work: Work, given: bytes, threads: int) -> None:
    """The life of a process."""
    for number in _OF_A_TERMINAL:
        signal.signal(number, signal.SIG_IGN)  # who started it gets it too, and tells
    torch.set_num_threads(threads)
    with suppress(KeyboardInterrupt):
        ask = Ask(connection)
        try:
            work(ask, *pickle.loads(given))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            ask("failed", told(error))


def told(error: Exception) -> Exception:
    """An error that can be told to another process: itself, or what it says."""
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


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
        work: what they do; a function of a module, that another process can import.
        given: for each what it is called with.
        names: for each its device, such as "cuda:1". Those on the CPU share its cores.
    """

    def __init__(self, work: Work, given: Sequence[tuple[Any, ...]], names: Sequence[str]) -> None:
        context = multiprocessing.get_context("spawn")
        threads = max(1, torch.get_num_threads() // max(1, names.count("cpu")))
        self._names = tuple(names)
        self._connections: list[Connection[Any, Any]] = []
        self._processes: list[Any] = []
        self._idle: set[int] = set()
        self._waiting: set[int] = set()  # for an answer to anything else
        self._unsure = False  # cut off between a question or an answer and the note of it
        for name, each in zip(names, given, strict=True):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_begin,
                args=(theirs, work, pickle.dumps(each), threads),
                name=f"camixersr {name}",
                daemon=True,
            )
            with _spared():
                process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def asked(self) -> tuple[int, str, tuple[Any, ...]]:
        """Wait until a process that is not idle asks something.

        Returns:
            Its number, what it asks and what it says; it waits for `answer`, or `stop`. A process that
            asks for "task" is idle until it is answered.

        Raises:
            DeviceError: a process has ended.
        """
        busy = [each for number, each in enumerate(self._connections) if number not in self._idle]
        connection = wait(busy)[0]
        number = next(n for n, each in enumerate(self._connections) if each is connection)
        self._unsure = True  # a signal may end this anywhere
        try:
            what, given = pickle.loads(self._connections[number].recv_bytes())
        except (EOFError, OSError):
            self._unsure = False
            raise self._lost(number) from None
        (self._idle if what == "task" else self._waiting).add(number)
        self._unsure = False
        return number, what, given

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
        self._reply(number, True, value)

    def stop(self, number: int) -> None:
        """Let a process stop what it does, and ask for a task; an idle one ends."""
        self._reply(number, False, None)

    def _reply(self, number: int, go_on: bool, value: Any) -> None:
        self._unsure = True
        self._idle.discard(number)
        self._waiting.discard(number)
        with suppress(OSError):  # it has ended: the next `asked` says so
            self._connections[number].send_bytes(pickle.dumps((go_on, value)))
        self._unsure = False

    @property
    def idle(self) -> tuple[int, ...]:
        """Numbers of those that wait for an answer to "task"."""
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
                number, what, _ = self.asked()
                if what == "failed":
                    self.answer(number)
                elif what != "task":
                    self.stop(number)
        except DeviceError:
            self.close()
        except BaseException:
            self.close()
            raise

    def close(self, patience: float = PATIENCE) -> None:
        """End all processes; those that do not stop within so many seconds are made to."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(patience)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._connections.clear()
        self._processes.clear()
        self._idle.clear()
        self._waiting.clear()
        self._unsure = False
