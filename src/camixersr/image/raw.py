"""Files of pixels and nothing else, row by row.

Any rectangle is read and written in any order, by any thread, with plain reads and writes: pages of a
mapped file would count as this process's memory.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import OutputError
from camixersr.image.files import shown
from camixersr.image.spill import NO_LINK

__all__ = ["Layout", "Raw"]


@dataclass(frozen=True)
class Layout:
    """What a raw file holds.

    Attributes:
        height: rows.
        width: columns.
        bands: channels: 1 or 3, one more with alpha.
        dtype: "uint8", "uint16" or "float32".
    """

    height: int
    width: int
    bands: int
    dtype: str

    @property
    def pixel(self) -> int:
        """Bytes a pixel."""
        return self.bands * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.height * self.width * self.pixel

    @property
    def alpha(self) -> bool:
        """Whether the last channel is transparency."""
        return self.bands in (2, 4)

    def enlarged(self, scale: int) -> "Layout":
        """Of a picture that is `scale` times as high and wide."""
        return Layout(scale * self.height, scale * self.width, self.bands, self.dtype)


class Raw:
    """A raw file, open for reading and writing; close it, or use `with`.

    Args:
        path: the file.
        layout: what it holds.
        create: make it anew, of its full size (sparse where the file system can).

    Raises:
        OutputError: it cannot be made or opened, or has another size.
    """

    def __init__(self, path: Path, layout: Layout, *, create: bool = False) -> None:
        self.path, self.layout = path, layout
        self._lock = threading.Lock()  # around seek and what follows; `pread` is not everywhere
        try:
            flags = os.O_RDWR | NO_LINK | getattr(os, "O_BINARY", 0)
            flags |= os.O_CREAT | os.O_TRUNC if create else 0
            self._file = open(os.open(path, flags, 0o600), "r+b", buffering=0)  # noqa: PTH123, SIM115
            if create:
                self._file.truncate(layout.size)
            size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise OutputError(f"{shown(path)}: cannot be used: {error.strerror or error}") from error
        if size != layout.size:
            self.close()
            raise OutputError(
                f"{shown(path)}: expected {layout.size} bytes, got {size}; start without --resume"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return Raw, (self.path, self.layout)  # another process opens it, too

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Read a rectangle: h x w x bands."""
        layout = self.layout
        height, width = rows.stop - rows.start, columns.stop - columns.start
        result = np.empty((height, width, layout.bands), layout.dtype)
        if width == layout.width:
            self._read_into(result, (rows.start * layout.width) * layout.pixel)
        else:
            for number, row in enumerate(range(rows.start, rows.stop)):
                self._read_into(result[number], (row * layout.width + columns.start) * layout.pixel)
        return result

    def _read_into(self, array: NDArray[Any], place: int) -> None:
        buffer = array.data.cast("B")
        while buffer:
            data = self.read_bytes(place, len(buffer))
            buffer[: len(data)] = data
            buffer, place = buffer[len(data) :], place + len(data)

    def read_bytes(self, place: int, count: int) -> bytes:
        """Read up to `count` bytes, at least one if `count` is not 0.

        Raises:
            OutputError: the disk fails, or the file is shorter than it was.
        """
        try:
            with self._lock:
                self._file.seek(place)
                data = self._file.read(count) or b""
        except OSError as error:
            raise OutputError(f"{shown(self.path)}: cannot be read: {error.strerror or error}") from error
        if count and not data:
            raise OutputError(f"{shown(self.path)}: ends early; start without --resume")
        return data

    def write(self, top: int, left: int, pixels: NDArray[Any]) -> None:
        """Write h x w x bands at a place.

        Raises:
            OutputError: the disk is full or fails.
        """
        layout = self.layout
        assert pixels.dtype == layout.dtype
        assert pixels.shape[2] == layout.bands
        pixels = np.ascontiguousarray(pixels)
        whole = pixels.shape[1] == layout.width
        for number, part in enumerate([pixels] if whole else pixels):
            buffer = part.data.cast("B")
            place = ((top + number) * layout.width + left) * layout.pixel
            while buffer:
                try:
                    with self._lock:
                        self._file.seek(place)
                        put = self._file.write(buffer) or 0
                except OSError as error:
                    raise OutputError(
                        f"{shown(self.path.parent)}: cannot write there: {error.strerror or error}; "
                        "make room, or name a folder on another disk with --spill"
                    ) from error
                buffer, place = buffer[put:], place + put

    def sync(self) -> None:
        """Have what was written survive a crash of the machine."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"{shown(self.path.parent)}: cannot write there: {error.strerror or error}"
            ) from error
