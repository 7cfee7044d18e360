"""Ctrl-C on a long job: the word at once, the end at the next moment that leaves nothing half-written.

The first Ctrl-C asks the library to stop, which it does within a tile; the second ends at once. What has
been computed of a large picture stays, and the command that goes on is made of the one that was typed.
"""

import os
import shlex
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["Stopping", "command", "typed"]

typed: list[str] = []
"""The arguments of the command that runs, as they were typed; `camixersr.cli.main` knows them."""


class Stopping:
    """Listens for Ctrl-C while it is entered; called, it tells whether there was one.

    Python looks at signals between two of its own instructions, and a tile may be one. So a thread of its
    own says that the wish was heard.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._asked = False
        self._before: Any = None
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._asked

    def __enter__(self) -> "Stopping":
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) != signal.default_int_handler
        ):
            return self  # somebody else listens, or nobody is to
        ours, theirs = self._ends = socket.socketpair()
        theirs.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._before = signal.signal(signal.SIGINT, self._hear)
        self._thread = threading.Thread(target=self._tell, args=(ours,), name="stopping", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ends is None:
            return
        signal.signal(signal.SIGINT, self._before)
        signal.set_wakeup_fd(self._wakeup)
        ours, theirs = self._ends
        theirs.close()
        self._thread.join()
        ours.close()
        self._ends = None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def _tell(self, signals: socket.socket) -> None:
        told = False
        while number := signals.recv(1):  # nothing is received once the other end is closed
            if number[0] == signal.SIGINT and not told:
                told = True
                with suppress(OSError):  # the terminal may be gone
                    self._say("stopping... (Ctrl-C again ends at once)")


def command(*flags: str, without: Sequence[str] = ()) -> str:
    """The command that was typed, for a shell.

    Args:
        flags: that it is to have as well.
        without: arguments to leave out.
    """
    arguments = [each for each in typed if each not in without]
    more = [flag for flag in flags if flag not in arguments]
    return shlex.join([*_program(), *arguments, *more])


def _program() -> list[str]:
    """How this program was started."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return [_short(sys.executable), "-m", "camixersr"]
    found = shutil.which(program.name)
    return [program.name if found and Path(found) == program else _short(str(program))]


def _short(path: str) -> str:
    beside = os.path.relpath(path)
    if beside.startswith(".."):
        return path
    return beside if os.sep in beside else f".{os.sep}{beside}"
