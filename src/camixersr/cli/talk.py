"""How much the command line says: errors alone, the usual, or the library's log as well."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["is_quiet", "say", "show_warning", "volume"]

_volume = {"quiet": False}


class _Lines(logging.Handler):
    """Prints the library's log on stderr, which progress bars exchange while they are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"camixersr: {self.format(record)}", file=sys.stderr, flush=True)


_handler = _Lines()


@contextmanager
def volume(*, quiet: bool, verbose: bool) -> Generator[None]:
    """Decide how much is said in here.

    Args:
        quiet: nothing but errors, and what a command is asked to print.
        verbose: what the library does, step by step.
    """
    _volume["quiet"] = quiet
    logger = logging.getLogger("camixersr")
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    _handler.setFormatter(logging.Formatter("%(relativeCreated)6.0f ms %(message)s" if verbose else None))
    logger.addHandler(_handler)
    try:
        yield
    finally:
        logger.removeHandler(_handler)
        logger.setLevel(logging.NOTSET)
        _volume["quiet"] = False


def is_quiet() -> bool:
    """Whether only errors are to be said."""
    return _volume["quiet"]


def say(line: str) -> None:
    """A remark for a person, on stderr."""
    if not is_quiet():
        print(f"camixersr: {' '.join(line.split())}", file=sys.stderr)


def show_warning(message: str | Warning, *_: object, **__: object) -> None:
    """Show a warning as one line, without the code that raised it."""
    say(f"warning: {message}")
