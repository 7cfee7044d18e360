"""Memory that several processes share, for pictures that several devices compute."""

import os
import tempfile
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import OutputError

__all__ = ["Shared"]


class Shared:
    """A float32 array. Copies of this object made by pickling, in other processes too, are the same memory.

    On Linux it is a file of no folder, which ends with the last process that uses it and is not limited
    by the size of /dev/shm (64 MB in a container, as a rule); elsewhere a temporary file.

    Args:
        shape: of the array.

    Raises:
        OutputError: there is no room for it.
    """

    array: NDArray[np.float32]

    def __init__(self, shape: tuple[int, ...]) -> None:
        size = max(1, prod(shape)) * np.dtype(np.float32).itemsize
        try:
            if hasattr(os, "memfd_create"):
                self._handle = os.memfd_create("camixersr")
                self._path = f"/proc/{os.getpid()}/fd/{self._handle}"
            else:
                self._handle, self._path = tempfile.mkstemp(prefix="camixersr-")
            os.ftruncate(self._handle, size)
            self.array = np.memmap(self._path, np.float32, "r+", shape=shape)
        except OSError as error:
            raise OutputError(
                f"{size / 1e6:.0f} MB of memory for several processes: cannot be had: "
                f"{error.strerror or error}; use one device"
            ) from error

    @classmethod
    def of(cls, array: NDArray[np.float32]) -> "Shared":
        """A copy of an array."""
        shared = cls(array.shape)
        shared.array[...] = array
        return shared

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self._path, self.array.shape)

    def __enter__(self) -> "Shared":
        return self

    def __exit__(self, *_: object) -> None:
        """No further process can share it; those that do keep it, as does `array`."""
        os.close(self._handle)
        if not self._path.startswith("/proc/"):
            try:
                Path(self._path).unlink()
            except OSError:  # Windows, as long as it is mapped
                finalize(mapping(self.array), _remove, self._path)


def mapping(array: NDArray[np.float32]) -> Any:
    """What maps the file that an array lies in."""
    return getattr(array, "_mmap")  # noqa: B009 - numpy does not type it


def _remove(path: str) -> None:
    with suppress(OSError):
        Path(path).unlink()


def _open(path: str, shape: tuple[int, ...]) -> Shared:
    shared = Shared.__new__(Shared)
    shared.array = np.memmap(path, np.float32, "r+", shape=shape)
    return shared
