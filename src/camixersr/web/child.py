"""What the processes of a service have in common: they hear, answer, and end with the server."""

import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Line", "listen"]


class Line:
    """One end of a pipe, used by several threads.

    Args:
        connection: the pipe.
    """

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, *message: Any) -> None:
        """Say something; it is lost where nobody is left to hear it."""
        data = pickle.dumps(message)
        with self._lock:
            try:
                self._connection.send_bytes(data)
            except OSError:
                return

    def receive(self) -> tuple[Any, ...] | None:
        """What the other end says; None when it has gone."""
        try:
            return pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            return None

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def listen(connection: "Connection[Any, Any]", hear: Callable[[tuple[Any, ...]], None]) -> Line:
    """In a process: hear the server in a thread, and end at once when it has gone.

    Ctrl-C in a terminal reaches all its processes; the server decides what that means.

    Args:
        connection: to the server.
        hear: called with each message.

    Returns:
        The line to answer on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = Line(connection)

    def run() -> None:
        while (message := line.receive()) is not None:
            hear(message)
        os._exit(0)  # whatever is under way: it will be begun again

    threading.Thread(target=run, name="server", daemon=True).start()
    return line
