"""The process that reads heads and cuts tiles, and how the server asks it.

Uploads may be hostile and decoders have faults, so that nothing is decoded in the server itself. If this
process hangs or dies, its questions are answered with an error and another takes its place.
"""

import asyncio
import itertools
import multiprocessing
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from camixersr.errors import CamixerError, ImageError
from camixersr.messages import Call, Failed, Line, Reply
from camixersr.web.child import listen

__all__ = ["PictureReader"]

Given = ParamSpec("Given")
R = TypeVar("R")

PATIENCE = 30.0
"""Seconds for an answer."""
THREADS = 2
AT_ONCE = 64
"""Questions that wait for an answer; more wait in the server."""


@dataclass(frozen=True)
class _Question:
    """Something to call, and by which number its answer is known."""

    number: int
    call: Call


@dataclass(frozen=True)
class _Answered:
    """What came of a question."""

    number: int
    answer: Reply | Failed


def _serve(connection: "Connection[Any, Any]") -> None:
    """What the process does."""
    questions: queue.SimpleQueue[_Question] = queue.SimpleQueue()
    line = listen(connection, questions.put)

    def work() -> None:
        while True:
            question = questions.get()
            try:
                answer = Reply(question.call())
            except (CamixerError, IndexError) as error:
                answer = Failed(error)
            except Exception as error:  # noqa: BLE001 - of a decoder; the server must get an answer
                answer = Failed(ImageError(f"{type(error).__name__}: {error}"))
            line.send(_Answered(question.number, answer))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


class PictureReader:
    """The server's side: questions with answers."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._line: Line | None = None
        self._process: Any = None
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def ask(self, function: Callable[Given, R], *given: Given.args, **named: Given.kwargs) -> R:
        """Call a function, of `camixersr.web.views` for example, in the process.

        Args:
            function: of a module.
            given: its arguments.
            named: likewise.

        Returns:
            What it does.

        Raises:
            CamixerError: as it does; or the process has hung or ended over it.
            IndexError: as it does.
        """
        async with self._at_once:
            if self._line is None:
                self._start()
            number, line = next(self._numbers), self._line
            assert line is not None
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._waiting[number] = answer
            line.send(_Question(number, Call(function, given, named)))
            try:
                return await asyncio.wait_for(answer, PATIENCE)
            except TimeoutError:
                self._lose(line, "took too long to read")
                raise ImageError("the picture takes too long to read; it may be damaged") from None
            finally:
                self._waiting.pop(number, None)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        own, its = context.Pipe()
        self._process = context.Process(target=_serve, args=(its,), name="pictures", daemon=True)
        self._process.start()
        its.close()
        line, loop = Line(own), asyncio.get_running_loop()
        self._line = line

        def hear() -> None:
            while (message := line.receive()) is not None:
                loop.call_soon_threadsafe(self._answered, message)
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._lose, line, "ended the process that read it")

        threading.Thread(target=hear, name="pictures", daemon=True).start()

    def _answered(self, message: _Answered) -> None:
        waiting = self._waiting.get(message.number)
        if waiting is not None and not waiting.done():
            match message.answer:
                case Reply(value):
                    waiting.set_result(value)
                case Failed(error):
                    waiting.set_exception(error)

    def _lose(self, line: Line, why: str) -> None:
        """Give up a process; another is started when it is needed."""
        if line is not self._line:
            return
        self._line = None
        self._process.kill()
        for each in self._waiting.values():
            if not each.done():
                each.set_exception(ImageError(f"a picture {why}; try again"))

    def close(self) -> None:
        """End the process."""
        if self._line is not None:
            self._process.kill()
            self._process.join()
            self._line.close()
            self._line = None
