"""What processes say to each other: values of a few types, pickled, through a pipe.

Here is what all of them say. What only one room says is declared there, as frozen dataclasses too, and who
hears it matches on its type. Processes that compute ask, and are answered each time
(`camixersr.processes`); those of the service (`camixersr.web`) speak when there is something to say.
"""

import pickle
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Call", "Failed", "GoingOn", "Idle", "Line", "Next", "Reply", "Stop"]


@dataclass(frozen=True)
class Idle:
    """A process has nothing to do; the answer is its next task."""


@dataclass(frozen=True)
class Next:
    """It wants the next piece of its task; the answer is None where none is left."""


@dataclass(frozen=True)
class GoingOn:
    """It asks, often, whether it may go on.

    Attributes:
        pixels: that it has computed since it asked last.
    """

    pixels: int = 0


@dataclass(frozen=True)
class Call:
    """A function that is to be called in the process that hears it; the answer is what it returns.

    Attributes:
        function: of a module, or of a class there.
        given: its arguments.
        named: likewise.
    """

    function: Callable[..., Any]
    given: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __call__(self, *before: Any) -> Any:
        """Call it, other arguments before its own."""
        return self.function(*before, *self.given, **self.named)


@dataclass(frozen=True)
class Reply:
    """Go on, with this."""

    value: Any = None


@dataclass(frozen=True)
class Stop:
    """Do not go on."""


@dataclass(frozen=True)
class Failed:
    """What was raised."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> "Failed":
        """An error that can be pickled: itself, or what it says."""
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return cls(error)
        return cls(RuntimeError(f"{type(error).__name__}: {error}"))


class Line:
    """One end of a pipe, which several threads may send on.

    Args:
        connection: the pipe.
    """

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Say something; it is lost where nobody is left to hear it."""
        data = pickle.dumps(message)  # the connection's own way puts every tensor into shared memory
        with self._lock, suppress(OSError):
            self.connection.send_bytes(data)

    def receive(self) -> Any:
        """What the other end says; None when it has gone."""
        try:
            return pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return None

    def close(self) -> None:
        """Hang up."""
        self.connection.close()
