"""What the processes of a service have in common: they hear, answer, and end with the server."""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from camixersr.messages import Line

__all__ = ["listen"]


def listen(connection: "Connection[Any, Any]", hear: Callable[[Any], None]) -> Line:
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
