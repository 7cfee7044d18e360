"""The folder of a service: held by one, waited for, cleaned."""

import contextlib
import os
import shutil
from pathlib import Path

from camixersr.errors import OutputError
from camixersr.image.locks import hold

__all__ = ["locked", "remove_path", "wait_for_others"]


def remove_path(path: Path) -> None:
    """Remove a file or a folder, as far as that works."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def wait_for_others(path: Path) -> None:
    """Wait until the processes of a service that was killed have ended; they do when they notice."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks
        hold(lock, wait=True)
    os.close(lock)


def locked(path: Path) -> int:
    """Hold a folder for this service alone, until it ends, however it ends.

    Raises:
        OutputError: another service holds it.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        hold(lock)
    except OSError as error:
        os.close(lock)
        raise OutputError(f"--data {path.parent}: another service uses this folder") from error
    return lock
