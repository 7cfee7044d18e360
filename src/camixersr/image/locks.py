"""Files that one process holds and others wait for; let go when the process ends, however it ends.

POSIX has `flock`. Windows has no shared locks in Python: there one byte far behind the content is held,
exclusively, and a shared lock is none at all. Where a system has neither, nothing is held.
"""

import contextlib
import errno
import os
from importlib import import_module
from types import ModuleType

__all__ = ["hold"]

FAR = 1 << 30
"""The byte that is held on Windows: a locked byte cannot be written, and no file of ours is so long."""


def _module(name: str) -> ModuleType | None:
    with contextlib.suppress(ImportError):
        return import_module(name)
    return None


def hold(descriptor: int, *, shared: bool = False, wait: bool = False) -> None:
    """Hold an open file until its descriptor is closed.

    Args:
        descriptor: of the file.
        shared: beside others who share it.
        wait: until nobody else holds it; on Windows a shared one is not waited for.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the file system has no locks.
    """
    if fcntl := _module("fcntl"):
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    elif (msvcrt := _module("msvcrt")) and not shared and not wait:
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            os.lseek(descriptor, FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process holds it") from error
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)
